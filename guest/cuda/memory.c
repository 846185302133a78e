/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the GPU, and pinned memory of the host.
 *
 * An address of the GPU is the driver's own, since kernels are given it in all kinds of ways.
 * Pinned memory lies in the channel's arena, which has the same address in the worker; so the
 * pointer that the program has is the one that a kernel can use.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define PAGE 4096u
#define FLAGS_DEVICEMAP 2u /* what cuMemHostGetFlags adds */
#define FLAGS_KNOWN 7u

/* ---- the GPU's ---- */

CUresult hand_cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_ALLOC, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!dptr || bytesize == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, bytesize);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        *dptr = call.out[0];
        cuda_range_add(*dptr, bytesize, CUDA_RANGE_DEVICE);
    }
    return result;
}

/* The rows' distance is what cuMemAllocPitch gives for every element's size: 512. */
CUresult hand_cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes,
                                 size_t Height, unsigned int ElementSizeBytes)
{
    uint64_t pitch = (WidthInBytes + 511u) / 512u * 512u;
    CUresult result;

    if (cuda_state() == CUDA_READY && cuda_current() &&
        (!pPitch || WidthInBytes == 0 || Height == 0 || pitch < WidthInBytes ||
         (ElementSizeBytes != 4 && ElementSizeBytes != 8 && ElementSizeBytes != 16))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = hand_cuMemAlloc_v2(dptr, bytes_of(pitch, Height));
    if (result == CUDA_SUCCESS) {
        *pPitch = pitch;
    }
    return result;
}

CUresult hand_cuMemFree_v2(CUdeviceptr dptr)
{
    struct cuda_call call;
    struct cuda_range range;
    CUresult result = cuda_begin(&call, CUDA_OP_FREE, dptr ? CUDA_NEEDS_CONTEXT : 0);

    if (result || dptr == 0) {
        return result;
    }
    if (!cuda_range_find(dptr, &range) || range.start != dptr ||
        (range.kind != CUDA_RANGE_DEVICE && range.kind != CUDA_RANGE_ASYNC)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, dptr);
    /* First, so that no other thread gets the address while it is still known here. */
    cuda_range_remove(dptr);
    /* The driver would wait for the context's work here.  Where that is known to be over there is
     * nothing to wait for, and nothing that can fail. */
    return cuda_is_idle(call.context) ? cuda_forget(&call) : cuda_ask(&call);
}

CUresult hand_cuMemGetInfo_v2(size_t *free, size_t *total)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_MEM_INFO, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!free || !total) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        *free = call.out[0];
        *total = call.out[1];
    }
    return result;
}

CUresult hand_cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr)
{
    struct cuda_call call;
    struct cuda_range range;
    CUresult result = cuda_begin(&call, CUDA_OP_ALLOC, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!cuda_range_find(dptr, &range)) {
        return CUDA_ERROR_NOT_FOUND;
    }
    if (pbase) {
        *pbase = range.start;
    }
    if (psize) {
        *psize = range.bytes;
    }
    return CUDA_SUCCESS;
}

/* ---- pinned ---- */

/* Blocks of the arena in use, sorted by their offsets. */
struct block {
    uint64_t offset, bytes;
};

static struct block *blocks;
static size_t block_count, block_room;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool make_room(void)
{
    if (block_count == block_room) {
        size_t wanted = block_room ? block_room * 2 : 64;
        struct block *more = realloc(blocks, wanted * sizeof(*more));

        if (!more) {
            return false;
        }
        blocks = more;
        block_room = wanted;
    }
    return true;
}

/* The first gap that is large enough; 0: there is none. */
static uint64_t take_block(uint64_t bytes)
{
    uint64_t end = cuda_process.pinned;
    size_t place = 0;

    if (!make_room()) {
        return 0;
    }
    while (place < block_count && blocks[place].offset - end < bytes) {
        end = blocks[place].offset + blocks[place].bytes;
        place++;
    }
    if (place == block_count && cuda_process.arena_bytes - end < bytes) {
        return 0;
    }
    memmove(&blocks[place + 1], &blocks[place], (block_count - place) * sizeof(*blocks));
    blocks[place] = (struct block){end, bytes};
    block_count++;
    return end;
}

static void give_block(uint64_t offset)
{
    for (size_t i = 0; i < block_count; i++) {
        if (blocks[i].offset == offset) {
            memmove(&blocks[i], &blocks[i + 1], (block_count - i - 1) * sizeof(*blocks));
            block_count--;
            return;
        }
    }
}

CUresult hand_cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_PIN, CUDA_NEEDS_CONTEXT);
    uint64_t bytes = (bytesize + PAGE - 1) / PAGE * PAGE, offset;

    if (result) {
        return result;
    }
    if (!pp || Flags > FLAGS_KNOWN) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (bytesize == 0) {
        *pp = NULL;
        return CUDA_SUCCESS;
    }
    if (bytes < bytesize) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    pthread_mutex_lock(&lock);
    offset = take_block(bytes);
    pthread_mutex_unlock(&lock);
    if (offset == 0) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    cuda_add(&call, offset);
    cuda_add(&call, bytes);
    result = cuda_ask(&call);
    if (result) {
        pthread_mutex_lock(&lock);
        give_block(offset);
        pthread_mutex_unlock(&lock);
        return result;
    }
    *pp = cuda_process.arena + offset;
    cuda_range_add_pinned((uint64_t)(uintptr_t)*pp, bytesize, Flags | FLAGS_DEVICEMAP);
    return CUDA_SUCCESS;
}

CUresult hand_cuMemAllocHost_v2(void **pp, size_t bytesize)
{
    return hand_cuMemHostAlloc(pp, bytesize, 0);
}

void cuda_pinned_drop(const struct cuda_context *context)
{
    struct cuda_range range = {.start = 0};

    while (cuda_range_next_pinned(context, range.start, &range)) {
        pthread_mutex_lock(&lock);
        give_block(range.start - (uint64_t)(uintptr_t)cuda_process.arena);
        pthread_mutex_unlock(&lock);
    }
}

static CUresult find_pinned(const void *p, struct cuda_range *range)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_PIN, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    return cuda_range_find((uint64_t)(uintptr_t)p, range) && range->kind == CUDA_RANGE_PINNED
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuMemFreeHost(void *p)
{
    struct cuda_range range;
    CUresult result = find_pinned(p, &range);

    if (result == CUDA_SUCCESS && range.start != (uint64_t)(uintptr_t)p) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS) {
        result = hand_cuCtxSynchronize(); /* the GPU may still use it */
    }
    if (result == CUDA_SUCCESS && cuda_range_remove(range.start)) {
        pthread_mutex_lock(&lock);
        give_block(range.start - (uint64_t)(uintptr_t)cuda_process.arena);
        pthread_mutex_unlock(&lock);
    }
    return result;
}

CUresult hand_cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int Flags)
{
    struct cuda_range range;
    CUresult result = find_pinned(p, &range);

    if (result == CUDA_ERROR_INVALID_VALUE &&
        cuda_registered_find((uint64_t)(uintptr_t)p, &range)) {
        return CUDA_ERROR_NOT_SUPPORTED; /* the worker doesn't have it */
    }
    if (result == CUDA_SUCCESS && (!pdptr || Flags)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS) {
        *pdptr = (CUdeviceptr)(uintptr_t)p;
    }
    return result;
}

CUresult hand_cuMemHostGetFlags(unsigned int *pFlags, void *p)
{
    struct cuda_range range;
    CUresult result = find_pinned(p, &range);

    if (result == CUDA_ERROR_INVALID_VALUE &&
        cuda_registered_find((uint64_t)(uintptr_t)p, &range)) {
        result = CUDA_SUCCESS;
    }
    if (result == CUDA_SUCCESS && !pFlags) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS) {
        *pFlags = range.flags;
    }
    return result;
}
