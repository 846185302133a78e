/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/cpu/bulk_cpu.h"

#include <string.h>
#include <sys/mman.h>

#include "common/unused.h"

/* One unit: about a millisecond of one processor. */
#define UNIT_BYTES (1u << 20)
#define UNIT_ELEMENTS (1u << 18)
#define UNIT_MULTIPLICATIONS (1u << 21)
/* Rows of b that are multiplied at a time, so that they stay in the cache. */
#define SGEMM_DEPTH 128u
#define CANONICAL_NAN 0x7fffffffu

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

static void *at(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

static bool copy(struct bulk_op *op)
{
    uint64_t left = op->record.count - op->done;
    uint64_t now = left < UNIT_BYTES ? left : UNIT_BYTES;

    if (now) {
        memcpy(at(op->target + op->done), at(op->a + op->done), now);
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
    uint64_t offset = op->done * 4;
    void *target = at(op->target + offset);
    const void *a = at(op->a + offset);

    switch (r->record.op) {
    case VGPU_BULK_FILL: fill(target, r->value, now); break;
    case VGPU_BULK_ADD_I32: add_i32(target, a, at(op->b + offset), now); break;
    case VGPU_BULK_ADD_F32: add_f32(target, a, at(op->b + offset), now); break;
    default: saxpy(target, a, as_float(r->alpha), now); break;
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
    float *target = (float *)at(op->target) + (uint64_t)row * n;
    const float *a = (const float *)at(op->a) + (uint64_t)row * r->k;
    const float alpha = as_float(r->alpha), beta = as_float(r->beta);

    for (uint32_t j = 0; first == 0 && j < n; j++) {
        target[j] = beta == 0 ? 0 : target[j] * beta; /* 0: whatever was there */
    }
    for (uint32_t i = first; i < first + depth; i++) {
        add_row(target, (const float *)at(op->b) + (uint64_t)i * n, alpha * a[i], n);
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

static enum bulk_state cpu_step(UNUSED void *opaque, struct bulk_op *op)
{
    bool done = true;

    switch (op->record.record.op) {
    case VGPU_BULK_UPLOAD:
    case VGPU_BULK_DOWNLOAD: done = copy(op); break;
    case VGPU_BULK_FILL:
    case VGPU_BULK_ADD_I32:
    case VGPU_BULK_ADD_F32:
    case VGPU_BULK_SAXPY: done = elements(op); break;
    case VGPU_BULK_SGEMM: done = sgemm(op); break;
    default: break; /* ALLOC: new pages are zeros; FREE: done */
    }
    return done ? BULK_DONE : BULK_MORE;
}

static enum bulk_state cpu_alloc(void *opaque, uint64_t bytes, uint64_t *address)
{
    struct bulk_cpu *cpu = opaque;
    void *memory;

    if (!memory_charge(&cpu->account, bytes)) {
        return BULK_FAILED;
    }
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        memory_discharge(&cpu->account, bytes);
        return BULK_FAILED;
    }
    *address = (uintptr_t)memory;
    return BULK_DONE;
}

static void cpu_free(void *opaque, uint64_t address, uint64_t bytes)
{
    struct bulk_cpu *cpu = opaque;

    munmap(at(address), bytes);
    memory_discharge(&cpu->account, bytes);
}

static void cpu_share(UNUSED void *opaque, UNUSED void *memory, UNUSED uint64_t bytes)
{
}

static void cpu_prepare_products(UNUSED void *opaque)
{
}

/* No unit is ever in flight. */
static enum bulk_state cpu_poll(UNUSED void *opaque, UNUSED const uint64_t last[BULK_QUEUES])
{
    return BULK_DONE;
}

static uint64_t cpu_busy_ns(UNUSED void *opaque)
{
    return 0;
}

void bulk_cpu_init(struct bulk_cpu *cpu, uint64_t limit_bytes)
{
    *cpu = (struct bulk_cpu){
        .account = {.limit_bytes = limit_bytes},
        .engine =
            {
                .opaque = cpu,
                .alloc = cpu_alloc,
                .free = cpu_free,
                .share = cpu_share,
                .unshare = cpu_share,
                .prepare_products = cpu_prepare_products,
                .step = cpu_step,
                .poll = cpu_poll,
                .busy_ns = cpu_busy_ns,
            },
    };
}
