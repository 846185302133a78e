/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bulk operations on a GPU: memory, and the units that each operation is made of (bulk_units.h).
 *
 * Memory that is given back while something is in flight is kept until nothing is, because the
 * driver's own call would wait for that and hold this thread.
 */
#include "worker/cuda/bulk_cuda.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/unused.h"
#include "worker/cuda/bulk_units.h"
#include "worker/cuda/cublas_api.h"

#define UNIT_NS (2 * NS_PER_MS)
#define COPY_BYTES (16u << 20)
#define ELEMENTS_MIN 65536u
#define ELEMENTS_MAX (1u << 28)
#define BLOCK_THREADS 256u
/* Of the kernel vgpu_sgemm: a block's side.  Units of a product are multiples. */
#define SGEMM_SIDE 128u
/* The driver's own grain. */
#define SMALL_BYTES (1u << 20)
#define SMALL_GRAIN 512u
#define LARGE_GRAIN (2u << 20)

struct dead {
    SLIST_ENTRY(dead) link;
    uint64_t address, bytes;
};

struct bulk_cuda {
    struct bulk_engine engine;
    const struct cuda_api *api;
    struct memory_account *account;
    struct cublas_api cublas;
    bool cublas_tried, has_cublas;
    cuda_function add_i32, add_f32, saxpy, sgemm;
    struct bulk_units units;
    SLIST_HEAD(, dead) dead;
};

/* ---- memory ---- */

static uint64_t charged(uint64_t bytes)
{
    uint64_t grain = bytes <= SMALL_BYTES ? SMALL_GRAIN : LARGE_GRAIN;

    return bytes > UINT64_MAX - grain ? bytes : (bytes + grain - 1) / grain * grain;
}

static void give_back(struct bulk_cuda *bulk, uint64_t address, uint64_t bytes)
{
    bulk->api->MemFree(address);
    memory_discharge(bulk->account, charged(bytes));
}

/* True: there is no dead memory left. */
static bool bury(struct bulk_cuda *bulk)
{
    struct dead *dead;

    if (!SLIST_EMPTY(&bulk->dead) && !bulk_units_idle(&bulk->units)) {
        return false;
    }
    while ((dead = SLIST_FIRST(&bulk->dead)) != NULL) {
        SLIST_REMOVE_HEAD(&bulk->dead, link);
        give_back(bulk, dead->address, dead->bytes);
        free(dead);
    }
    return true;
}

static enum bulk_state cuda_alloc(void *opaque, uint64_t bytes, uint64_t *address)
{
    struct bulk_cuda *bulk = opaque;
    bool buried = bury(bulk);

    if (!memory_charge(bulk->account, charged(bytes))) {
        return buried ? BULK_FAILED : BULK_FULL;
    }
    if (bulk->api->MemAlloc(address, bytes) != CUDA_OK) {
        memory_discharge(bulk->account, charged(bytes));
        return buried ? BULK_FAILED : BULK_FULL;
    }
    return BULK_DONE;
}

static void cuda_free(void *opaque, uint64_t address, uint64_t bytes)
{
    struct bulk_cuda *bulk = opaque;
    struct dead *dead = bulk_units_idle(&bulk->units) ? NULL : malloc(sizeof(*dead));

    if (!dead) {
        give_back(bulk, address, bytes); /* waits for what is in flight, if anything is */
        return;
    }
    dead->address = address;
    dead->bytes = bytes;
    SLIST_INSERT_HEAD(&bulk->dead, dead, link);
}

static void cuda_share(void *opaque, void *memory, uint64_t bytes)
{
    struct bulk_cuda *bulk = opaque;
    cuda_result error = bulk->api->MemHostRegister(memory, bytes, CUDA_HOST_REGISTER_PORTABLE);

    if (error != CUDA_OK) {
        char text[CUDA_REASON_BYTES];

        cuda_error_text(bulk->api, error, text);
        log_warning("a channel's memory cannot be pinned, copies of it are slow: %s", text);
    }
}

static void cuda_unshare(void *opaque, void *memory, UNUSED uint64_t bytes)
{
    struct bulk_cuda *bulk = opaque;

    bulk->api->MemHostUnregister(memory); /* fails where share() did */
}

/* ---- operations ---- */

static enum bulk_state step_copy(struct bulk_cuda *bulk, struct bulk_op *op)
{
    bool up = op->record.record.op == VGPU_BULK_UPLOAD;
    unsigned index = up ? QUEUE_UP : QUEUE_DOWN;
    uint64_t left = op->record.count - op->done;
    uint64_t now = left < COPY_BYTES ? left : COPY_BYTES;
    uint64_t target = op->target + op->done, from = op->a + op->done;
    cuda_stream stream = bulk->units.queues[index].stream;
    struct unit *unit;
    cuda_result error;

    if (left == 0) {
        return BULK_DONE;
    }
    unit = bulk_unit_next(&bulk->units, index, RATE_NONE);
    if (!unit) {
        return BULK_FULL;
    }
    bulk_unit_touch(unit, 0, target, now, true);
    bulk_unit_touch(unit, 1, from, now, false);
    error = bulk_unit_after_others(&bulk->units, index, unit);
    if (error == CUDA_OK) {
        error = up ? bulk->api->MemcpyHtoDAsync(target, (const void *)(uintptr_t)from, now, stream)
                   : bulk->api->MemcpyDtoHAsync((void *)(uintptr_t)target, from, now, stream);
    }
    op->done += now;
    return bulk_unit_issued(&bulk->units, op, index, unit, error, op->done == op->record.count);
}

/* ALLOC: its new memory is zeroed. */
static enum bulk_state step_zero(struct bulk_cuda *bulk, struct bulk_op *op)
{
    double at_most = UNIT_NS / bulk->units.ns_per[RATE_BYTES];
    uint64_t left = op->target_bytes - op->done;
    uint64_t now = (double)left < at_most ? left : ((uint64_t)at_most | (SMALL_BYTES - 1)) + 1;
    struct unit *unit = bulk_unit_next(&bulk->units, QUEUE_COMPUTE, RATE_BYTES);
    cuda_result error;

    if (!unit) {
        return BULK_FULL;
    }
    now = now < left ? now : left;
    bulk_unit_touch(unit, 0, op->target + op->done, now, true);
    bulk_unit_expect(&bulk->units, unit, RATE_BYTES, (double)now);
    error = bulk_unit_after_others(&bulk->units, QUEUE_COMPUTE, unit);
    if (error == CUDA_OK) {
        error = bulk->api->MemsetD8Async(op->target + op->done, 0, now,
                                         bulk->units.queues[QUEUE_COMPUTE].stream);
    }
    op->done += now;
    return bulk_unit_issued(&bulk->units, op, QUEUE_COMPUTE, unit, error,
                            op->done == op->target_bytes);
}

static cuda_result launch(struct bulk_cuda *bulk, unsigned index, cuda_function kernel,
                          unsigned grid_x, unsigned grid_y, void **params)
{
    return bulk->api->LaunchKernel(kernel, grid_x, grid_y, 1, BLOCK_THREADS, 1, 1, 0,
                                   bulk->units.queues[index].stream, params, NULL);
}

static cuda_result start_elements(struct bulk_cuda *bulk, const struct bulk_op *op, uint32_t count)
{
    const VGPUBulkRecord *r = &op->record;
    uint64_t offset = op->done * 4;
    cuda_address target = op->target + offset, a = op->a + offset, b = op->b + offset;
    void *add[] = {&a, &b, &target, &count};
    uint32_t alpha = r->alpha;
    void *saxpy[] = {&target, &a, &alpha, &count};
    unsigned grid = (count + BLOCK_THREADS - 1) / BLOCK_THREADS;

    switch (r->record.op) {
    case VGPU_BULK_FILL:
        return bulk->api->MemsetD32Async(target, r->value, count,
                                         bulk->units.queues[QUEUE_COMPUTE].stream);
    case VGPU_BULK_ADD_I32: return launch(bulk, QUEUE_COMPUTE, bulk->add_i32, grid, 1, add);
    case VGPU_BULK_ADD_F32: return launch(bulk, QUEUE_COMPUTE, bulk->add_f32, grid, 1, add);
    default: return launch(bulk, QUEUE_COMPUTE, bulk->saxpy, grid, 1, saxpy);
    }
}

static enum bulk_state step_elements(struct bulk_cuda *bulk, struct bulk_op *op)
{
    unsigned bytes_each = op->record.record.op == VGPU_BULK_FILL ? 4 : 12;
    double at_most = UNIT_NS / bulk->units.ns_per[RATE_BYTES] / bytes_each;
    uint64_t left = op->record.count - op->done;
    uint32_t now = ELEMENTS_MIN;
    struct unit *unit;
    cuda_result error;

    if (left == 0) {
        return BULK_DONE;
    }
    unit = bulk_unit_next(&bulk->units, QUEUE_COMPUTE, RATE_BYTES);
    if (!unit) {
        return BULK_FULL;
    }
    if (at_most > ELEMENTS_MIN) {
        now = at_most < ELEMENTS_MAX ? (uint32_t)at_most & ~1023u : ELEMENTS_MAX;
    }
    now = left < now ? (uint32_t)left : now;
    bulk_unit_touch(unit, 0, op->target + op->done * 4, now * 4ull, true);
    bulk_unit_touch(unit, 1, op->a + op->done * 4, op->a_bytes ? now * 4ull : 0, false);
    bulk_unit_touch(unit, 2, op->b + op->done * 4, op->b_bytes ? now * 4ull : 0, false);
    bulk_unit_expect(&bulk->units, unit, RATE_BYTES, (double)now * bytes_each);
    error = bulk_unit_after_others(&bulk->units, QUEUE_COMPUTE, unit);
    if (error == CUDA_OK) {
        error = start_elements(bulk, op, now);
    }
    op->done += now;
    return bulk_unit_issued(&bulk->units, op, QUEUE_COMPUTE, unit, error,
                            op->done == op->record.count);
}

/* ---- products ---- */

/* A part of the product: all of k. */
struct tile {
    uint32_t row, rows, column, columns;
};

static uint32_t in_pieces(uint32_t length, double pieces)
{
    uint32_t each = pieces < length ? (uint32_t)((double)length / pieces) + 1 : 1;

    each = (each + SGEMM_SIDE - 1) / SGEMM_SIDE * SGEMM_SIDE;
    return each < length ? each : length;
}

/*
 * op->done is the place of the next one, row * n + column.  Bands of whole rows that take about
 * SGEMM_NS, all alike; where the lowest band takes longer, it is cut into columns.
 */
static struct tile next_tile(const struct bulk_cuda *bulk, const struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;
    struct tile tile = {.row = (uint32_t)(op->done / r->n), .column = (uint32_t)(op->done % r->n)};
    double row_ns = 2.0 * r->n * r->k * bulk->units.ns_per[RATE_FLOPS];
    uint32_t left = r->m - tile.row;
    double band_ns = row_ns * (left < SGEMM_SIDE ? left : SGEMM_SIDE);

    if (tile.column == 0 && band_ns <= SGEMM_NS) {
        double pieces = (double)left * row_ns / SGEMM_NS;

        tile.rows = in_pieces(left, pieces <= 1 ? 1 : (double)((uint64_t)pieces + 1));
        tile.columns = r->n;
        return tile;
    }
    tile.rows = left < SGEMM_SIDE ? left : SGEMM_SIDE;
    tile.columns = in_pieces(r->n - tile.column, band_ns / SGEMM_NS);
    return tile;
}

static void cuda_prepare_products(void *opaque)
{
    struct bulk_cuda *bulk = opaque;
    uint64_t start_ns = clock_now_ns();

    if (bulk->cublas_tried) {
        return;
    }
    bulk->cublas_tried = true;
    if (!cublas_api_open(&bulk->cublas)) {
        log_debug("there is no cuBLAS: products by our own kernel");
        return;
    }
    for (unsigned i = QUEUE_COMPUTE; i <= QUEUE_COMPUTE_TOO; i++) {
        struct queue_state *queue = &bulk->units.queues[i];
        int error = bulk->cublas.Create(&queue->products);

        if (!error) {
            error = bulk->cublas.SetStream(queue->products, queue->stream);
        }
        if (error) {
            log_warning("cuBLAS does not start (error %d): products by our own kernel", error);
            return;
        }
    }
    bulk->has_cublas = true;
    log_debug("cuBLAS started in %llu ms",
              (unsigned long long)((clock_now_ns() - start_ns) / NS_PER_MS));
}

static cuda_result start_tile(struct bulk_cuda *bulk, const struct bulk_op *op, unsigned index,
                              const struct tile *tile)
{
    const VGPUBulkRecord *r = &op->record;
    cuda_address a = op->a + (uint64_t)tile->row * r->k * 4, b = op->b + tile->column * 4ull;
    cuda_address c = op->target + ((uint64_t)tile->row * r->n + tile->column) * 4;
    uint32_t m = tile->rows, n = tile->columns, k = r->k, stride = r->n;
    float alpha, beta;
    void *params[] = {&a, &b, &c, &m, &n, &k, &stride, &alpha, &beta};

    memcpy(&alpha, &r->alpha, sizeof(alpha));
    memcpy(&beta, &r->beta, sizeof(beta));
    if (bulk->has_cublas) {
        /* By columns, ours are transposed: c' = b' a'. */
        return bulk->cublas.Sgemm(bulk->units.queues[index].products, CUBLAS_AS_IT_IS,
                                  CUBLAS_AS_IT_IS, (int)n, (int)m, (int)k, &alpha, b, (int)stride,
                                  a, (int)k, &beta, c, (int)stride);
    }
    return launch(bulk, index, bulk->sgemm, (n + SGEMM_SIDE - 1) / SGEMM_SIDE,
                  (m + SGEMM_SIDE - 1) / SGEMM_SIDE, params);
}

static enum bulk_state step_sgemm(struct bulk_cuda *bulk, struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;
    uint64_t end = (uint64_t)r->m * r->n;
    /* The one that has less to do: ends and beginnings of units overlap. */
    unsigned index = op->last[QUEUE_COMPUTE] && op->last[QUEUE_COMPUTE_TOO] <=
                                                    bulk->units.queues[QUEUE_COMPUTE_TOO].over
                         ? QUEUE_COMPUTE_TOO
                         : QUEUE_COMPUTE;
    struct unit *unit;
    struct tile tile;
    cuda_result error;

    unit = bulk_unit_next(&bulk->units, index, RATE_FLOPS);
    if (!unit) {
        return BULK_FULL;
    }
    tile = next_tile(bulk, op);
    bulk_unit_touch(unit, 0, op->target + ((uint64_t)tile.row * r->n + tile.column) * 4,
                    ((tile.rows - 1ull) * r->n + tile.columns) * 4, true);
    bulk_unit_touch(unit, 1, op->a + (uint64_t)tile.row * r->k * 4, (uint64_t)tile.rows * r->k * 4,
                    false);
    bulk_unit_touch(unit, 2, op->b, op->b_bytes, false);
    bulk_unit_expect(&bulk->units, unit, RATE_FLOPS, 2.0 * tile.rows * tile.columns * r->k);
    error = bulk_unit_after_others(&bulk->units, index, unit);
    if (error == CUDA_OK) {
        error = start_tile(bulk, op, index, &tile);
    }
    op->done = tile.column + tile.columns == r->n ? (uint64_t)(tile.row + tile.rows) * r->n
                                                  : op->done + tile.columns;
    return bulk_unit_issued(&bulk->units, op, index, unit, error, op->done == end);
}

static enum bulk_state cuda_step(void *opaque, struct bulk_op *op)
{
    struct bulk_cuda *bulk = opaque;

    if (bulk->units.lost) {
        return BULK_LOST;
    }
    switch (op->record.record.op) {
    case VGPU_BULK_ALLOC: return step_zero(bulk, op);
    case VGPU_BULK_UPLOAD:
    case VGPU_BULK_DOWNLOAD: return step_copy(bulk, op);
    case VGPU_BULK_FILL:
    case VGPU_BULK_ADD_I32:
    case VGPU_BULK_ADD_F32:
    case VGPU_BULK_SAXPY: return step_elements(bulk, op);
    case VGPU_BULK_SGEMM: return step_sgemm(bulk, op);
    default: return BULK_DONE; /* FREE */
    }
}

static enum bulk_state cuda_poll(void *opaque, const uint64_t last[BULK_QUEUES])
{
    struct bulk_cuda *bulk = opaque;

    return bulk_units_poll(&bulk->units, last);
}

static uint64_t cuda_busy_ns(void *opaque)
{
    struct bulk_cuda *bulk = opaque;

    return bulk_units_busy_ns(&bulk->units);
}

/* ---- opening ---- */

cuda_result bulk_cuda_open(const struct bulk_cuda_config *config, struct bulk_cuda **opened)
{
    struct bulk_cuda *bulk = calloc(1, sizeof(*bulk));
    unsigned multiprocessors = config->multiprocessors ? config->multiprocessors : 1;
    cuda_result error;

    if (!bulk) {
        return CUDA_OUT_OF_MEMORY;
    }
    bulk->api = config->api;
    bulk->account = config->account;
    bulk->add_i32 = config->add_i32;
    bulk->add_f32 = config->add_f32;
    bulk->saxpy = config->saxpy;
    bulk->sgemm = config->sgemm;
    bulk->engine = (struct bulk_engine){
        .opaque = bulk,
        .alloc_needs_turn = true,
        .alloc = cuda_alloc,
        .free = cuda_free,
        .share = cuda_share,
        .unshare = cuda_unshare,
        .prepare_products = cuda_prepare_products,
        .step = cuda_step,
        .poll = cuda_poll,
        .busy_ns = cuda_busy_ns,
    };
    error = bulk_units_open(&bulk->units, config->api, multiprocessors, config->stream);
    if (error != CUDA_OK) {
        free(bulk);
        return error;
    }
    *opened = bulk;
    return CUDA_OK;
}

void bulk_cuda_close(struct bulk_cuda *bulk)
{
    struct dead *dead;

    while (bulk && (dead = SLIST_FIRST(&bulk->dead)) != NULL) {
        SLIST_REMOVE_HEAD(&bulk->dead, link);
        free(dead);
    }
    free(bulk);
}

const struct bulk_engine *bulk_cuda_engine(const struct bulk_cuda *bulk)
{
    return &bulk->engine;
}
