/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies of rows and of slices.
 *
 * Both forms of the interface become CUDACopy (cuda/wire.h).  The GPU copies pinned memory itself;
 * ordinary memory goes through pieces of the arena, as many rows at a time as fit one.
 */
#include <string.h>

#include "cuda/copy.h"
#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define ORDINARY UINT32_MAX /* in place of a side's kind: memory that only the process has */
#define PLAIN 0u
#define STAGED 1u

static void *host(uint64_t address)
{
    return (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): it is no GPU's */
}

/* ---- what is copied ---- */

/* Can the worker give all of it to the driver in one call? */
static bool is_one_part(uint64_t address, uint64_t bytes)
{
    uint64_t offset = address - (uint64_t)(uintptr_t)cuda_process.arena;

    return offset / CUDA_PIN_BYTES == (offset + bytes - 1) / CUDA_PIN_BYTES;
}

/* The kind of a side becomes what its memory is. */
static CUresult resolve(CUDASide *side, const CUDACopy *copy)
{
    uint64_t start = cuda_side_start(side), bytes = cuda_side_span(side, copy);
    struct cuda_range range;
    bool known = cuda_range_find(start, &range), pinned = known && range.kind == CUDA_RANGE_PINNED;

    if (side->type == CU_MEMORY_DEVICE || (side->type == CU_MEMORY_UNIFIED && known)) {
        side->type = pinned && side->type == CU_MEMORY_UNIFIED ? CU_MEMORY_HOST : CU_MEMORY_DEVICE;
        return cuda_range_ok(start, bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    if (side->type == CU_MEMORY_HOST || side->type == CU_MEMORY_UNIFIED) {
        side->type = pinned && cuda_range_ok(start, bytes) && is_one_part(start, bytes)
                         ? CU_MEMORY_HOST
                         : ORDINARY;
        return side->address && bytes != UINT64_MAX ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    return side->type == CU_MEMORY_ARRAY ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

static bool rows_fit(const CUDASide *side, const CUDACopy *copy)
{
    return (copy->height == 1 && copy->depth == 1) || side->pitch >= cuda_sum(side->x, copy->width);
}

static bool slices_fit(const CUDASide *side, const CUDACopy *copy)
{
    return copy->depth == 1 || side->height >= cuda_sum(side->y, copy->height);
}

/* There is something to copy. */
static CUresult check(CUDACopy *copy)
{
    CUresult result;

    if (!rows_fit(&copy->src, copy) || !rows_fit(&copy->dst, copy) ||
        !slices_fit(&copy->src, copy) || !slices_fit(&copy->dst, copy)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = resolve(&copy->src, copy);
    return result ? result : resolve(&copy->dst, copy);
}

static uint64_t address_of(int type, const void *memory, CUdeviceptr device)
{
    return type == CU_MEMORY_HOST ? (uint64_t)(uintptr_t)memory : device;
}

static CUDACopy of_3d(const CUmemcpy3D *from)
{
    return (CUDACopy){
        .src = {.address = address_of(from->srcMemoryType, from->srcHost, from->srcDevice),
                .x = from->srcXInBytes,
                .y = from->srcY,
                .z = from->srcZ,
                .pitch = from->srcPitch,
                .height = from->srcHeight,
                .type = (uint32_t)from->srcMemoryType},
        .dst = {.address = address_of(from->dstMemoryType, from->dstHost, from->dstDevice),
                .x = from->dstXInBytes,
                .y = from->dstY,
                .z = from->dstZ,
                .pitch = from->dstPitch,
                .height = from->dstHeight,
                .type = (uint32_t)from->dstMemoryType},
        .width = from->WidthInBytes,
        .height = from->Height,
        .depth = from->Depth,
    };
}

CUresult cuda_take_copy(const CUmemcpy3D *from, CUDACopy *to)
{
    CUresult result;

    *to = of_3d(from);
    if (!to->width || !to->height || !to->depth || from->srcLOD || from->dstLOD) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = check(to);
    return result || (to->src.type != ORDINARY && to->dst.type != ORDINARY)
               ? result
               : CUDA_ERROR_NOT_SUPPORTED; /* whoever runs it would have to have the memory */
}

void cuda_give_copy(const CUDACopy *from, CUmemcpy3D *to)
{
    bool from_host = from->src.type == CU_MEMORY_HOST, to_host = from->dst.type == CU_MEMORY_HOST;

    *to = (CUmemcpy3D){
        .srcXInBytes = from->src.x,
        .srcY = from->src.y,
        .srcZ = from->src.z,
        .srcMemoryType = (int)from->src.type,
        .srcHost = from_host ? host(from->src.address) : NULL,
        .srcDevice = from_host ? 0 : from->src.address,
        .srcPitch = from->src.pitch,
        .srcHeight = from->src.height,
        .dstXInBytes = from->dst.x,
        .dstY = from->dst.y,
        .dstZ = from->dst.z,
        .dstMemoryType = (int)from->dst.type,
        .dstHost = to_host ? host(from->dst.address) : NULL,
        .dstDevice = to_host ? 0 : from->dst.address,
        .dstPitch = from->dst.pitch,
        .dstHeight = from->dst.height,
        .WidthInBytes = from->width,
        .Height = from->height,
        .Depth = from->depth,
    };
}

/* ---- copying ---- */

static CUresult send(struct cuda_call *call, const CUDACopy *copy, CUstream stream, int mode,
                     uint64_t how, bool wait)
{
    bool within = copy->src.type == CU_MEMORY_DEVICE && copy->dst.type == CU_MEMORY_DEVICE;

    call->head.record.op = within ? CUDA_OP_COPY_WITHIN : CUDA_OP_COPY_ROWS;
    call->head.arg_count = 0;
    if (!cuda_add_stream(call, stream, mode)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    cuda_add(call, how);
    call->payload_bytes[0] = 0;
    cuda_add_bytes(call, copy, sizeof(*copy));
    return wait ? cuda_wait(call) : cuda_captures() ? cuda_ask(call) : cuda_forget(call);
}

/* From where, how many bytes and rows of one slice. */
struct block {
    uint64_t x, y, z, width, height;
};

static void move_rows(const CUDASide *side, const struct block *block, uint8_t *piece,
                      bool to_piece)
{
    uint64_t at = cuda_side_start(side) + block->x + block->y * side->pitch +
                  block->z * side->pitch * side->height;

    for (uint64_t row = 0; row < block->height; row++) {
        uint8_t *memory = host(at + row * side->pitch), *staged = piece + row * block->width;

        memcpy(to_piece ? staged : memory, to_piece ? memory : staged, block->width);
    }
}

static CUDASide side_of(const CUDASide *side, const struct block *block)
{
    CUDASide moved = *side;

    moved.x += block->x;
    moved.y += block->y;
    moved.z += block->z;
    return moved;
}

static CUresult copy_block(struct cuda_call *call, const CUDACopy *copy, const struct block *block,
                           CUstream stream, int mode)
{
    bool in = copy->src.type == ORDINARY;
    CUDASide staged = {.pitch = block->width, .height = block->height, .type = CU_MEMORY_HOST};
    CUDACopy part = {.width = block->width, .height = block->height, .depth = 1};
    unsigned piece;
    CUresult result = cuda_piece_take(&piece, false);

    if (result == CUDA_SUCCESS) {
        staged.address = (uint64_t)(uintptr_t)cuda_piece_bytes(piece);
        part.src = in ? staged : side_of(&copy->src, block);
        part.dst = in ? side_of(&copy->dst, block) : staged;
        if (in) {
            move_rows(&copy->src, block, cuda_piece_bytes(piece), true);
        }
        call->number = 0;
        result = send(call, &part, stream, mode, STAGED, !in);
        if (!in && result == CUDA_SUCCESS) {
            move_rows(&copy->dst, block, cuda_piece_bytes(piece), false);
        }
    }
    cuda_piece_give(piece, call->number);
    return result;
}

/* One side is ordinary memory, the other is not. */
static CUresult copy_staged(struct cuda_call *call, const CUDACopy *copy, CUstream stream, int mode)
{
    uint64_t width = copy->width < CUDA_PIECE_BYTES ? copy->width : CUDA_PIECE_BYTES;
    uint64_t rows = CUDA_PIECE_BYTES / width;
    CUresult result = CUDA_SUCCESS;

    for (uint64_t z = 0; z < copy->depth; z++) {
        for (uint64_t y = 0; y < copy->height; y += rows) {
            for (uint64_t x = 0; x < copy->width && result == CUDA_SUCCESS; x += width) {
                struct block block = {.x = x, .y = y, .z = z};

                block.width = copy->width - x < width ? copy->width - x : width;
                block.height = copy->height - y < rows ? copy->height - y : rows;
                result = copy_block(call, copy, &block, stream, mode);
            }
        }
    }
    return result;
}

/* From host to host: what the stream has to do comes first. */
static CUresult copy_in_host(const CUDACopy *copy, CUstream stream, int mode)
{
    uint64_t from = cuda_side_start(&copy->src), to = cuda_side_start(&copy->dst);
    CUresult result = hand_cuStreamSynchronize(stream, mode);

    for (uint64_t z = 0; z < copy->depth && result == CUDA_SUCCESS; z++) {
        for (uint64_t y = 0; y < copy->height; y++) {
            memmove(host(to + (z * copy->dst.height + y) * copy->dst.pitch),
                    host(from + (z * copy->src.height + y) * copy->src.pitch), copy->width);
        }
    }
    return result;
}

static bool is_host(const CUDASide *side)
{
    return side->type == CU_MEMORY_HOST || side->type == ORDINARY;
}

static CUresult copy_3d(CUDACopy copy, CUstream stream, int mode, bool wait)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_COPY_ROWS, CUDA_NEEDS_CONTEXT);

    if (result || !copy.width || !copy.height || !copy.depth) {
        return result;
    }
    result = check(&copy);
    if (result) {
        return result;
    }
    if (is_host(&copy.src) && is_host(&copy.dst)) {
        return copy_in_host(&copy, stream, mode);
    }
    if (copy.src.type == ORDINARY || copy.dst.type == ORDINARY) {
        return copy_staged(&call, &copy, stream, mode);
    }
    return send(&call, &copy, stream, mode, PLAIN,
                wait && (is_host(&copy.src) || is_host(&copy.dst)));
}

static CUresult copy_2d(const CUmemcpy2D *from, CUstream stream, int mode, bool wait)
{
    CUDACopy copy;

    if (!from) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    copy = (CUDACopy){
        .src = {.address = address_of(from->srcMemoryType, from->srcHost, from->srcDevice),
                .x = from->srcXInBytes,
                .y = from->srcY,
                .pitch = from->srcPitch,
                .type = (uint32_t)from->srcMemoryType},
        .dst = {.address = address_of(from->dstMemoryType, from->dstHost, from->dstDevice),
                .x = from->dstXInBytes,
                .y = from->dstY,
                .pitch = from->dstPitch,
                .type = (uint32_t)from->dstMemoryType},
        .width = from->WidthInBytes,
        .height = from->Height,
        .depth = 1,
    };
    return copy_3d(copy, stream, mode, wait);
}

CUresult hand_cuMemcpy2D_v2(const CUmemcpy2D *pCopy, int mode)
{
    return copy_2d(pCopy, NULL, mode, true);
}

CUresult hand_cuMemcpy2DUnaligned_v2(const CUmemcpy2D *pCopy, int mode)
{
    return copy_2d(pCopy, NULL, mode, true);
}

CUresult hand_cuMemcpy2DAsync_v2(const CUmemcpy2D *pCopy, CUstream hStream, int mode)
{
    return copy_2d(pCopy, hStream, mode, false);
}

CUresult hand_cuMemcpy3D_v2(const CUmemcpy3D *pCopy, int mode)
{
    return pCopy ? copy_3d(of_3d(pCopy), NULL, mode, true) : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuMemcpy3DAsync_v2(const CUmemcpy3D *pCopy, CUstream hStream, int mode)
{
    return pCopy ? copy_3d(of_3d(pCopy), hStream, mode, false) : CUDA_ERROR_INVALID_VALUE;
}
