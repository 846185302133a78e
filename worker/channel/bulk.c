/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/channel/bulk.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* One unit: about a millisecond of one processor. */
#define UNIT_BYTES (1u << 20)
#define UNIT_ELEMENTS (1u << 18)
#define UNIT_MULTIPLICATIONS (1u << 21)
/* Rows of b that are multiplied at a time, so that they stay in the cache. */
#define SGEMM_DEPTH 128u
#define CANONICAL_NAN 0x7fffffffu

struct buffer {
    uint8_t *memory; /* NULL: free */
    uint64_t bytes;
    uint32_t generation;
};

struct bulk {
    struct bulk_account *account;
    uint8_t *chunk0;
    uint64_t chunk0_bytes, arena_offset;
    struct buffer buffers[VGPU_BUFFERS_MAX];
};

struct bulk *bulk_new(struct bulk_account *account, uint8_t *chunk0, uint64_t chunk0_bytes,
                      uint64_t arena_offset)
{
    struct bulk *bulk = calloc(1, sizeof(*bulk));

    if (bulk) {
        bulk->account = account;
        bulk->chunk0 = chunk0;
        bulk->chunk0_bytes = chunk0_bytes;
        bulk->arena_offset = arena_offset;
    }
    return bulk;
}

static void free_buffer(struct bulk *bulk, struct buffer *buffer)
{
    munmap(buffer->memory, buffer->bytes);
    bulk->account->used_bytes -= buffer->bytes;
    buffer->memory = NULL;
}

void bulk_free(struct bulk *bulk)
{
    for (uint32_t i = 0; bulk && i < VGPU_BUFFERS_MAX; i++) {
        if (bulk->buffers[i].memory) {
            free_buffer(bulk, &bulk->buffers[i]);
        }
    }
    free(bulk);
}

bool bulk_needs_turn(uint16_t opcode)
{
    switch (opcode) {
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

    return buffer && buffer->memory && buffer->generation == vgpu_handle_generation(handle) ? buffer
                                                                                            : NULL;
}

/* `bytes` of a buffer from `offset` on, or NULL. */
static uint8_t *range(struct bulk *bulk, uint64_t handle, uint64_t offset, uint64_t bytes)
{
    struct buffer *buffer = find(bulk, handle);

    if (!buffer || offset % 4 != 0 || offset > buffer->bytes || bytes > buffer->bytes - offset) {
        return NULL;
    }
    return buffer->memory + offset;
}

/* The same of chunk 0's arena. */
static uint8_t *arena_range(struct bulk *bulk, uint32_t chunk, uint64_t offset, uint64_t bytes)
{
    if (chunk != 0 || offset < bulk->arena_offset || offset > bulk->chunk0_bytes ||
        bytes > bulk->chunk0_bytes - offset) {
        return NULL;
    }
    return bulk->chunk0 + offset;
}

static bool overlap(const uint8_t *x, uint64_t x_bytes, const uint8_t *y, uint64_t y_bytes)
{
    return x < y + y_bytes && y < x + x_bytes;
}

/* ---- beginning ---- */

static enum vgpu_error allocate(struct bulk *bulk, const VGPUBulkRecord *record)
{
    struct buffer *buffer = place_of(bulk, record->target);
    struct bulk_account *account = bulk->account;
    void *memory;

    if (!buffer || buffer->memory || record->count == 0) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (record->count > account->limit_bytes - account->used_bytes) {
        return VGPU_ERR_MEMORY_LIMIT;
    }
    memory = mmap(NULL, record->count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return VGPU_ERR_MEMORY_LIMIT;
    }
    account->used_bytes += record->count;
    buffer->memory = memory;
    buffer->bytes = record->count;
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

static enum vgpu_error begin_elements(struct bulk *bulk, struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;
    uint64_t bytes = r->count * 4;
    bool two = r->record.op == VGPU_BULK_ADD_I32 || r->record.op == VGPU_BULK_ADD_F32;

    if (r->count > UINT64_MAX / 4) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    op->target = range(bulk, r->target, r->target_offset, bytes);
    if (r->record.op == VGPU_BULK_FILL) {
        return found(op->target);
    }
    op->a = range(bulk, r->a, r->a_offset, bytes);
    op->b = two ? range(bulk, r->b, r->b_offset, bytes) : op->a;
    if (!op->target || !op->a || !op->b) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    /* The same place is well defined, a shifted one is not. */
    return found((op->target == op->a || !overlap(op->target, bytes, op->a, bytes)) &&
                 (op->target == op->b || !overlap(op->target, bytes, op->b, bytes)));
}

static enum vgpu_error begin_sgemm(struct bulk *bulk, struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;
    uint64_t target_bytes = (uint64_t)r->m * r->n * 4;
    uint64_t a_bytes = (uint64_t)r->m * r->k * 4;
    uint64_t b_bytes = (uint64_t)r->k * r->n * 4;

    if (r->m == 0 || r->n == 0 || r->k == 0 || r->m > VGPU_SGEMM_DIM_MAX ||
        r->n > VGPU_SGEMM_DIM_MAX || r->k > VGPU_SGEMM_DIM_MAX) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    op->target = range(bulk, r->target, r->target_offset, target_bytes);
    op->a = range(bulk, r->a, r->a_offset, a_bytes);
    op->b = range(bulk, r->b, r->b_offset, b_bytes);
    return found(op->target && op->a && op->b &&
                 !overlap(op->target, target_bytes, op->a, a_bytes) &&
                 !overlap(op->target, target_bytes, op->b, b_bytes));
}

enum vgpu_error bulk_begin(struct bulk *bulk, struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;

    op->done = 0;
    op->target = NULL;
    op->a = op->b = NULL;
    switch (r->record.op) {
    case VGPU_BULK_ALLOC: return allocate(bulk, r);
    case VGPU_BULK_FREE: return deallocate(bulk, r);
    case VGPU_BULK_UPLOAD:
        op->target = range(bulk, r->target, r->target_offset, r->count);
        op->a = arena_range(bulk, r->chunk, r->chunk_offset, r->count);
        return found(op->target && op->a);
    case VGPU_BULK_DOWNLOAD:
        op->target = arena_range(bulk, r->chunk, r->chunk_offset, r->count);
        op->a = range(bulk, r->a, r->a_offset, r->count);
        return found(op->target && op->a);
    case VGPU_BULK_FILL:
    case VGPU_BULK_ADD_I32:
    case VGPU_BULK_ADD_F32:
    case VGPU_BULK_SAXPY: return begin_elements(bulk, op);
    case VGPU_BULK_SGEMM: return begin_sgemm(bulk, op);
    default: return VGPU_ERR_UNSUPPORTED_OP;
    }
}

/* ---- doing ---- */

static float as_float(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* As a GPU answers: one NaN, whatever the operands held. */
static float canonical(float value)
{
    return value != value ? as_float(CANONICAL_NAN) : value;
}

static bool copy(struct bulk_op *op)
{
    uint64_t left = op->record.count - op->done;
    uint64_t now = left < UNIT_BYTES ? left : UNIT_BYTES;

    if (now) {
        memcpy(op->target + op->done, op->a + op->done, now);
    }
    op->done += now;
    return op->done == op->record.count;
}

static void fill(uint32_t *target, uint32_t value, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        target[i] = value;
    }
}

static void add_i32(uint32_t *target, const uint32_t *a, const uint32_t *b, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        target[i] = a[i] + b[i];
    }
}

static void add_f32(float *target, const float *a, const float *b, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        target[i] = canonical(a[i] + b[i]);
    }
}

static void saxpy(float *target, const float *a, float alpha, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        target[i] = canonical(target[i] + alpha * a[i]);
    }
}

static bool elements(struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;
    uint64_t left = r->count - op->done;
    uint64_t now = left < UNIT_ELEMENTS ? left : UNIT_ELEMENTS;
    uint64_t at = op->done * 4;

    switch (r->record.op) {
    case VGPU_BULK_FILL: fill((uint32_t *)(op->target + at), r->value, now); break;
    case VGPU_BULK_ADD_I32:
        add_i32((uint32_t *)(op->target + at), (const uint32_t *)(op->a + at),
                (const uint32_t *)(op->b + at), now);
        break;
    case VGPU_BULK_ADD_F32:
        add_f32((float *)(op->target + at), (const float *)(op->a + at),
                (const float *)(op->b + at), now);
        break;
    default:
        saxpy((float *)(op->target + at), (const float *)(op->a + at), as_float(r->alpha), now);
        break;
    }
    op->done += now;
    return op->done == r->count;
}

/* target += factor * b, for n elements that don't overlap. */
static void add_row(float *restrict target, const float *restrict b, float factor, uint32_t n)
{
    for (uint32_t j = 0; j < n; j++) {
        target[j] += factor * b[j];
    }
}

/* Row `row` of the target, with rows `first` to `first + depth - 1` of b. */
static void sgemm_row(const struct bulk_op *op, uint32_t row, uint32_t first, uint32_t depth)
{
    const VGPUBulkRecord *r = &op->record;
    const uint32_t n = r->n;
    float *target = (float *)op->target + (uint64_t)row * n;
    const float *a = (const float *)op->a + (uint64_t)row * r->k;
    const float alpha = as_float(r->alpha), beta = as_float(r->beta);

    for (uint32_t j = 0; first == 0 && j < n; j++) {
        target[j] = beta == 0 ? 0 : target[j] * beta; /* 0: whatever was there */
    }
    for (uint32_t i = first; i < first + depth; i++) {
        add_row(target, (const float *)op->b + (uint64_t)i * n, alpha * a[i], n);
    }
}

/* `done` counts rows of the target, for each block of rows of b in turn. */
static bool sgemm(struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;
    uint32_t depth = UNIT_MULTIPLICATIONS / r->n;
    uint64_t end, work = 0;

    depth = depth < 1 ? 1 : depth > SGEMM_DEPTH ? SGEMM_DEPTH : depth;
    end = (r->k + depth - 1ull) / depth * r->m;
    while (op->done < end && work < UNIT_MULTIPLICATIONS) {
        uint32_t first = (uint32_t)(op->done / r->m) * depth;
        uint32_t now = r->k - first < depth ? r->k - first : depth;

        sgemm_row(op, (uint32_t)(op->done % r->m), first, now);
        work += (uint64_t)now * r->n;
        op->done++;
    }
    return op->done == end;
}

bool bulk_step(struct bulk_op *op)
{
    switch (op->record.record.op) {
    case VGPU_BULK_UPLOAD:
    case VGPU_BULK_DOWNLOAD: return copy(op);
    case VGPU_BULK_FILL:
    case VGPU_BULK_ADD_I32:
    case VGPU_BULK_ADD_F32:
    case VGPU_BULK_SAXPY: return elements(op);
    case VGPU_BULK_SGEMM: return sgemm(op);
    default: return true;
    }
}
