/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/channel/bulk.h"

#include <stdlib.h>
#include <string.h>

struct buffer {
    uint64_t address;
    uint64_t bytes; /* 0: free */
    uint32_t generation;
};

/* What records may name of a chunk. */
struct area {
    uint8_t *memory; /* NULL: there is none */
    uint64_t from, end;
    bool hidden;
};

struct bulk {
    const struct bulk_engine *engine;
    struct area areas[VGPU_CHUNKS_MAX];
    struct buffer buffers[VGPU_BUFFERS_MAX];
};

struct bulk *bulk_new(const struct bulk_engine *engine)
{
    struct bulk *bulk = calloc(1, sizeof(*bulk));

    if (bulk) {
        bulk->engine = engine;
    }
    return bulk;
}

void bulk_add_chunk(struct bulk *bulk, uint32_t number, uint8_t *memory, uint64_t from,
                    uint64_t bytes)
{
    if (bytes > from) {
        bulk->areas[number] = (struct area){memory, from, bytes, false};
        bulk->engine->share(bulk->engine->opaque, memory + from, bytes - from);
    }
}

void bulk_hide_chunk(struct bulk *bulk, uint32_t number)
{
    bulk->areas[number].hidden = true;
}

void bulk_remove_chunk(struct bulk *bulk, uint32_t number)
{
    struct area *area = &bulk->areas[number];

    if (area->memory) {
        bulk->engine->unshare(bulk->engine->opaque, area->memory + area->from,
                              area->end - area->from);
        area->memory = NULL;
    }
}

static void free_buffer(struct bulk *bulk, struct buffer *buffer)
{
    bulk->engine->free(bulk->engine->opaque, buffer->address, buffer->bytes);
    buffer->bytes = 0;
}

void bulk_free(struct bulk *bulk)
{
    if (!bulk) {
        return;
    }
    for (uint32_t i = 0; i < VGPU_BUFFERS_MAX; i++) {
        if (bulk->buffers[i].bytes) {
            free_buffer(bulk, &bulk->buffers[i]);
        }
    }
    for (uint32_t i = 0; i < VGPU_CHUNKS_MAX; i++) {
        bulk_remove_chunk(bulk, i);
    }
    free(bulk);
}

bool bulk_needs_turn(const struct bulk *bulk, uint16_t opcode)
{
    switch (opcode) {
    case VGPU_BULK_ALLOC: return bulk->engine->alloc_needs_turn;
    case VGPU_BULK_FILL:
    case VGPU_BULK_ADD_I32:
    case VGPU_BULK_ADD_F32:
    case VGPU_BULK_SAXPY:
    case VGPU_BULK_SGEMM: return true;
    default: return false;
    }
}

/* ---- checking ---- */

/* The place of a handle in the table, whatever is there; NULL: no buffer's handle. */
static struct buffer *place_of(struct bulk *bulk, uint64_t handle)
{
    uint32_t index = vgpu_handle_index(handle);

    if (index >= VGPU_BUFFERS_MAX || vgpu_handle_kind(handle) != VGPU_HANDLE_BUFFER ||
        handle != vgpu_handle(VGPU_HANDLE_BUFFER, vgpu_handle_generation(handle), index)) {
        return NULL;
    }
    return &bulk->buffers[index];
}

static struct buffer *find(struct bulk *bulk, uint64_t handle)
{
    struct buffer *buffer = place_of(bulk, handle);

    return buffer && buffer->bytes && buffer->generation == vgpu_handle_generation(handle) ? buffer
                                                                                           : NULL;
}

/* `bytes` of a buffer from `offset` on; false: they are not all in it. */
static bool range(struct bulk *bulk, uint64_t handle, uint64_t offset, uint64_t bytes,
                  uint64_t *address)
{
    struct buffer *buffer = find(bulk, handle);

    if (!buffer || offset % 4 != 0 || offset > buffer->bytes || bytes > buffer->bytes - offset) {
        return false;
    }
    *address = buffer->address + offset;
    return true;
}

/* The same of a chunk. */
static bool chunk_range(struct bulk *bulk, uint32_t chunk, uint64_t offset, uint64_t bytes,
                        uint64_t *address)
{
    const struct area *area = chunk < VGPU_CHUNKS_MAX ? &bulk->areas[chunk] : NULL;

    if (!area || !area->memory || area->hidden || offset < area->from || offset > area->end ||
        bytes > area->end - offset) {
        return false;
    }
    *address = (uintptr_t)(area->memory + offset);
    return true;
}

static bool overlap(uint64_t x, uint64_t x_bytes, uint64_t y, uint64_t y_bytes)
{
    return x < y + y_bytes && y < x + x_bytes;
}

/* ---- beginning ---- */

static enum vgpu_error allocate(struct bulk *bulk, struct bulk_op *op, bool *full)
{
    const VGPUBulkRecord *record = &op->record;
    struct buffer *buffer = place_of(bulk, record->target);
    enum bulk_state state;

    if (!buffer || buffer->bytes || record->count == 0) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    state = bulk->engine->alloc(bulk->engine->opaque, record->count, &op->target);
    *full = state == BULK_FULL;
    if (state != BULK_DONE) {
        return *full ? VGPU_ERR_NONE : VGPU_ERR_MEMORY_LIMIT;
    }
    buffer->address = op->target;
    buffer->bytes = op->target_bytes = record->count;
    buffer->generation = vgpu_handle_generation(record->target);
    return VGPU_ERR_NONE;
}

static enum vgpu_error deallocate(struct bulk *bulk, const VGPUBulkRecord *record)
{
    struct buffer *buffer = find(bulk, record->target);

    if (!buffer) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    free_buffer(bulk, buffer);
    return VGPU_ERR_NONE;
}

static enum vgpu_error found(bool all)
{
    return all ? VGPU_ERR_NONE : VGPU_ERR_INVALID_REQUEST;
}

static enum vgpu_error begin_copy(struct bulk *bulk, struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;

    op->target_bytes = op->a_bytes = r->count;
    if (r->record.op == VGPU_BULK_UPLOAD) {
        return found(range(bulk, r->target, r->target_offset, r->count, &op->target) &&
                     chunk_range(bulk, r->chunk, r->chunk_offset, r->count, &op->a));
    }
    return found(chunk_range(bulk, r->chunk, r->chunk_offset, r->count, &op->target) &&
                 range(bulk, r->a, r->a_offset, r->count, &op->a));
}

static enum vgpu_error begin_elements(struct bulk *bulk, struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;
    uint64_t bytes = r->count * 4;
    bool two = r->record.op == VGPU_BULK_ADD_I32 || r->record.op == VGPU_BULK_ADD_F32;

    if (r->count > UINT64_MAX / 4 ||
        !range(bulk, r->target, r->target_offset, bytes, &op->target)) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    op->target_bytes = bytes;
    if (r->record.op == VGPU_BULK_FILL) {
        return VGPU_ERR_NONE;
    }
    if (!range(bulk, r->a, r->a_offset, bytes, &op->a) ||
        (two && !range(bulk, r->b, r->b_offset, bytes, &op->b))) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    op->a_bytes = bytes;
    op->b_bytes = two ? bytes : 0;
    /* The same place is well defined, a shifted one is not. */
    return found((op->target == op->a || !overlap(op->target, bytes, op->a, bytes)) &&
                 (!two || op->target == op->b || !overlap(op->target, bytes, op->b, bytes)));
}

static enum vgpu_error begin_sgemm(struct bulk *bulk, struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;

    if (r->m == 0 || r->n == 0 || r->k == 0 || r->m > VGPU_SGEMM_DIM_MAX ||
        r->n > VGPU_SGEMM_DIM_MAX || r->k > VGPU_SGEMM_DIM_MAX) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    op->target_bytes = (uint64_t)r->m * r->n * 4;
    op->a_bytes = (uint64_t)r->m * r->k * 4;
    op->b_bytes = (uint64_t)r->k * r->n * 4;
    return found(range(bulk, r->target, r->target_offset, op->target_bytes, &op->target) &&
                 range(bulk, r->a, r->a_offset, op->a_bytes, &op->a) &&
                 range(bulk, r->b, r->b_offset, op->b_bytes, &op->b) &&
                 !overlap(op->target, op->target_bytes, op->a, op->a_bytes) &&
                 !overlap(op->target, op->target_bytes, op->b, op->b_bytes));
}

enum vgpu_error bulk_begin(struct bulk *bulk, struct bulk_op *op, bool *full)
{
    const VGPUBulkRecord *r = &op->record;

    *full = false;
    op->done = 0;
    op->target = op->a = op->b = 0;
    op->target_bytes = op->a_bytes = op->b_bytes = 0;
    memset(op->last, 0, sizeof(op->last));
    switch (r->record.op) {
    case VGPU_BULK_ALLOC: return allocate(bulk, op, full);
    case VGPU_BULK_FREE: return deallocate(bulk, r);
    case VGPU_BULK_UPLOAD:
    case VGPU_BULK_DOWNLOAD: return begin_copy(bulk, op);
    case VGPU_BULK_FILL:
    case VGPU_BULK_ADD_I32:
    case VGPU_BULK_ADD_F32:
    case VGPU_BULK_SAXPY: return begin_elements(bulk, op);
    case VGPU_BULK_SGEMM: return begin_sgemm(bulk, op);
    default: return VGPU_ERR_UNSUPPORTED_OP;
    }
}

void bulk_undo(struct bulk *bulk, const struct bulk_op *op)
{
    if (op->record.record.op == VGPU_BULK_ALLOC) {
        deallocate(bulk, &op->record);
    }
}
