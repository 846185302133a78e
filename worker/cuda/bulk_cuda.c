/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * Four queues, each a stream of the driver: two that compute, one that copies to the GPU, one
 * that copies back, so that copies go on beside computing and the ends of two products' units
 * overlap.  A unit is a kernel or a copy; an event after it says when it is over.
 *
 * The process sees one ordered stream.  So a unit waits, on the GPU, for those before it in other
 * queues that write what it reads or writes, or read what it writes: each unit's ranges of memory
 * are kept until it is over, and compared.  Units that don't touch each other's memory overlap.
 *
 * Sizes.  A unit should take a few milliseconds, whatever the GPU: how long a byte and a
 * multiplication take is learned from units that are over, starting from the number of
 * multiprocessors.  What computes and is in flight is bounded too, so that a turn can end.
 *
 * Memory that is given back while something is in flight is kept until nothing is, because the
 * driver's own call would wait for that and hold this thread.
 */
#include "worker/cuda/bulk_cuda.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/unused.h"
#include "worker/cuda/cublas_api.h"

#define UNITS_MAX 64u /* in flight in one queue */
#define UNIT_NS (2 * NS_PER_MS)
#define SGEMM_NS (4 * NS_PER_MS)
#define FLIGHT_NS (2 * SGEMM_NS) /* of computing in flight; a unit alone may take longer */
#define COPY_BYTES (16u << 20)
#define COPIES_MAX 16u
#define ELEMENTS_MIN 65536u
#define ELEMENTS_MAX (1u << 28)
#define BLOCK_THREADS 256u
/* Of the kernel vgpu_sgemm: a block's side and threads.  Units of a product are multiples. */
#define SGEMM_SIDE 128u
#define SGEMM_THREADS 256u
/* First guesses, for each multiprocessor and nanosecond: on the slow side for what is sold. */
#define GUESS_BYTES 8.0
#define GUESS_FLOPS 250.0
/* Shorter units say more about the driver than about the GPU. */
#define LEARN_NS (200 * NS_PER_US)
/* The driver's own grain. */
#define SMALL_BYTES (1u << 20)
#define SMALL_GRAIN 512u
#define LARGE_GRAIN (2u << 20)

enum queue { QUEUE_COMPUTE, QUEUE_COMPUTE_TOO, QUEUE_UP, QUEUE_DOWN };

enum rate { RATE_BYTES, RATE_FLOPS, RATE_COUNT, RATE_NONE = RATE_COUNT };

struct range {
    uint64_t from, to; /* not included */
    bool written;
};

struct unit {
    cuda_event over;
    struct range ranges[3];
    enum rate rate;
    double work; /* bytes or floating-point operations */
    uint64_t issued_ns, expected_ns;
};

struct queue_state {
    cuda_stream stream;
    cublas_handle products;
    struct unit units[UNITS_MAX];
    uint64_t issued, over; /* numbers of the last ones, from 1 */
};

struct dead {
    struct dead *next;
    uint64_t address, bytes;
};

struct bulk_cuda {
    struct bulk_engine engine;
    const struct cuda_api *api;
    struct cuda_account *account;
    struct cublas_api cublas;
    bool cublas_tried, has_cublas, lost;
    cuda_function add_i32, add_f32, saxpy, sgemm;
    struct queue_state queues[BULK_QUEUES];
    double ns_per[RATE_COUNT];
    bool known[RATE_COUNT]; /* seen, not guessed */
    uint64_t computed_ns;   /* when the last computing unit was seen to be over */
    struct dead *dead;
};

/* ---- what is in flight ---- */

static bool computes(unsigned queue)
{
    return queue == QUEUE_COMPUTE || queue == QUEUE_COMPUTE_TOO;
}

static struct unit *unit_of(struct queue_state *queue, uint64_t number)
{
    return &queue->units[number % UNITS_MAX];
}

/* Completion to completion where they follow each other closely. */
static void learn(struct bulk_cuda *bulk, const struct unit *unit, uint64_t now_ns)
{
    uint64_t start_ns = unit->issued_ns > bulk->computed_ns ? unit->issued_ns : bulk->computed_ns;

    bulk->computed_ns = now_ns;
    if (unit->rate == RATE_NONE || now_ns <= start_ns) {
        return;
    }
    if (unit->expected_ns >= LEARN_NS || !bulk->known[unit->rate]) {
        double *ns_per = &bulk->ns_per[unit->rate];
        double seen = (double)(now_ns - start_ns) / unit->work;

        /* Another worker's turn, or a job before it, may have come between. */
        if (bulk->known[unit->rate]) {
            seen = seen > 2 * *ns_per ? 2 * *ns_per : seen;
            seen = *ns_per + (seen - *ns_per) / 4;
        }
        *ns_per = seen;
        bulk->known[unit->rate] = true;
    }
}

static void refresh(struct bulk_cuda *bulk, unsigned index)
{
    struct queue_state *queue = &bulk->queues[index];

    while (queue->over < queue->issued && !bulk->lost) {
        struct unit *unit = unit_of(queue, queue->over + 1);
        cuda_result error = bulk->api->EventQuery(unit->over);

        if (error == CUDA_NOT_READY) {
            return;
        }
        if (error != CUDA_OK) {
            char text[CUDA_REASON_BYTES];

            cuda_error_text(bulk->api, error, text);
            log_error("bulk operations: %s; this worker's GPU context is lost", text);
            bulk->lost = true;
            return;
        }
        queue->over++;
        if (computes(index)) {
            learn(bulk, unit, clock_now_ns());
        }
    }
}

static bool is_idle(struct bulk_cuda *bulk)
{
    for (unsigned i = 0; i < BULK_QUEUES; i++) {
        refresh(bulk, i);
        if (bulk->queues[i].over < bulk->queues[i].issued) {
            return false;
        }
    }
    /* Jobs of 1.0 are no units. */
    return bulk->api->StreamQuery(bulk->queues[QUEUE_COMPUTE].stream) == CUDA_OK;
}

/* What computes and is in flight.  *since_ns: when the oldest of it began, at the earliest. */
static uint64_t in_flight_ns(const struct bulk_cuda *bulk, uint64_t *since_ns)
{
    uint64_t sum_ns = 0, oldest_ns = UINT64_MAX;

    for (unsigned i = 0; i < BULK_QUEUES; i++) {
        const struct queue_state *queue = &bulk->queues[i];

        for (uint64_t n = queue->over + 1; computes(i) && n <= queue->issued; n++) {
            const struct unit *unit = &queue->units[n % UNITS_MAX];

            sum_ns += unit->expected_ns;
            oldest_ns = unit->issued_ns < oldest_ns ? unit->issued_ns : oldest_ns;
        }
    }
    *since_ns = oldest_ns > bulk->computed_ns ? oldest_ns : bulk->computed_ns;
    return sum_ns;
}

static uint64_t cuda_busy_ns(void *opaque)
{
    struct bulk_cuda *bulk = opaque;
    uint64_t sum_ns, since_ns, gone_ns;

    refresh(bulk, QUEUE_COMPUTE);
    refresh(bulk, QUEUE_COMPUTE_TOO);
    sum_ns = in_flight_ns(bulk, &since_ns);
    if (sum_ns == 0) {
        return 0;
    }
    gone_ns = clock_now_ns() - since_ns;
    return gone_ns < sum_ns ? sum_ns - gone_ns : 1;
}

static enum bulk_state cuda_poll(void *opaque, const uint64_t last[BULK_QUEUES])
{
    struct bulk_cuda *bulk = opaque;

    for (unsigned i = 0; i < BULK_QUEUES; i++) {
        if (last[i] > bulk->queues[i].over) {
            refresh(bulk, i);
            if (last[i] > bulk->queues[i].over) {
                return bulk->lost ? BULK_LOST : BULK_STARTED;
            }
        }
    }
    return BULK_DONE;
}

/* ---- memory ---- */

static uint64_t charged(uint64_t bytes)
{
    uint64_t grain = bytes <= SMALL_BYTES ? SMALL_GRAIN : LARGE_GRAIN;

    return bytes > UINT64_MAX - grain ? bytes : (bytes + grain - 1) / grain * grain;
}

static void give_back(struct bulk_cuda *bulk, uint64_t address, uint64_t bytes)
{
    bulk->api->MemFree(address);
    bulk->account->used_bytes -= charged(bytes);
}

/* True: there is no dead memory left. */
static bool bury(struct bulk_cuda *bulk)
{
    if (bulk->dead && !is_idle(bulk)) {
        return false;
    }
    while (bulk->dead) {
        struct dead *next = bulk->dead->next;

        give_back(bulk, bulk->dead->address, bulk->dead->bytes);
        free(bulk->dead);
        bulk->dead = next;
    }
    return true;
}

static enum bulk_state cuda_alloc(void *opaque, uint64_t bytes, uint64_t *address)
{
    struct bulk_cuda *bulk = opaque;
    struct cuda_account *account = bulk->account;
    bool buried = bury(bulk);

    if (account->limit_bytes && (account->used_bytes > account->limit_bytes ||
                                 charged(bytes) > account->limit_bytes - account->used_bytes)) {
        return buried ? BULK_FAILED : BULK_FULL;
    }
    if (bulk->api->MemAlloc(address, bytes) != CUDA_OK) {
        return buried ? BULK_FAILED : BULK_FULL;
    }
    account->used_bytes += charged(bytes);
    return BULK_DONE;
}

static void cuda_free(void *opaque, uint64_t address, uint64_t bytes)
{
    struct bulk_cuda *bulk = opaque;
    struct dead *dead = is_idle(bulk) ? NULL : malloc(sizeof(*dead));

    if (!dead) {
        give_back(bulk, address, bytes); /* waits for what is in flight, if anything is */
        return;
    }
    dead->address = address;
    dead->bytes = bytes;
    dead->next = bulk->dead;
    bulk->dead = dead;
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

/* ---- units ---- */

static bool conflict(const struct unit *x, const struct unit *y)
{
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned j = 0; j < 3; j++) {
            const struct range *a = &x->ranges[i], *b = &y->ranges[j];

            if (a->from < b->to && b->from < a->to && (a->written || b->written)) {
                return true;
            }
        }
    }
    return false;
}

/* Lets the queue wait for what comes before the unit and touches its memory, in other queues. */
static cuda_result wait_for_others(struct bulk_cuda *bulk, unsigned index, const struct unit *unit)
{
    cuda_result error = CUDA_OK;

    for (unsigned i = 0; i < BULK_QUEUES && error == CUDA_OK; i++) {
        struct queue_state *other = &bulk->queues[i];

        if (i == index) {
            continue;
        }
        refresh(bulk, i);
        for (uint64_t n = other->issued; n > other->over; n--) {
            if (conflict(unit, unit_of(other, n))) {
                error = bulk->api->StreamWaitEvent(bulk->queues[index].stream,
                                                   unit_of(other, n)->over, 0);
                break;
            }
        }
    }
    return error;
}

static void touch(struct unit *unit, unsigned which, uint64_t from, uint64_t bytes, bool written)
{
    unit->ranges[which] = (struct range){from, from + bytes, written};
}

/*
 * The next unit of a queue, to be filled in; NULL: there is no room.  While a rate is only
 * guessed, a unit of it is alone.
 */
static struct unit *next_unit(struct bulk_cuda *bulk, unsigned index, enum rate rate)
{
    struct queue_state *queue = &bulk->queues[index];
    struct unit *unit = unit_of(queue, queue->issued + 1);
    uint64_t max = computes(index) ? UNITS_MAX : COPIES_MAX, since_ns;

    refresh(bulk, index);
    if (queue->issued - queue->over == max ||
        (computes(index) && in_flight_ns(bulk, &since_ns) >=
                                (rate == RATE_NONE || bulk->known[rate] ? FLIGHT_NS : 1))) {
        return NULL;
    }
    memset(unit->ranges, 0, sizeof(unit->ranges));
    unit->rate = RATE_NONE;
    unit->expected_ns = 1;
    return unit;
}

static void expect(struct bulk_cuda *bulk, struct unit *unit, enum rate rate, double work)
{
    unit->rate = rate;
    unit->work = work;
    unit->expected_ns = (uint64_t)(work * bulk->ns_per[rate]) + 3000;
}

/* The unit's kernel or copy was started, with this result. */
static enum bulk_state issued(struct bulk_cuda *bulk, struct bulk_op *op, unsigned index,
                              struct unit *unit, cuda_result error, bool last)
{
    struct queue_state *queue = &bulk->queues[index];
    char text[CUDA_REASON_BYTES];

    if (error == CUDA_OK) {
        error = bulk->api->EventRecord(unit->over, queue->stream);
    }
    if (error == CUDA_OK) {
        unit->issued_ns = clock_now_ns();
        op->last[index] = ++queue->issued;
        return last ? BULK_STARTED : BULK_MORE;
    }
    cuda_error_text(bulk->api, error, text);
    log_error("a bulk operation failed to start: %s", text);
    error = bulk->api->StreamQuery(queue->stream);
    bulk->lost |= error != CUDA_OK && error != CUDA_NOT_READY;
    return bulk->lost ? BULK_LOST : BULK_FAILED;
}

static enum bulk_state step_copy(struct bulk_cuda *bulk, struct bulk_op *op)
{
    bool up = op->record.record.op == VGPU_BULK_UPLOAD;
    unsigned index = up ? QUEUE_UP : QUEUE_DOWN;
    uint64_t left = op->record.count - op->done;
    uint64_t now = left < COPY_BYTES ? left : COPY_BYTES;
    uint64_t target = op->target + op->done, from = op->a + op->done;
    cuda_stream stream = bulk->queues[index].stream;
    struct unit *unit;
    cuda_result error;

    if (left == 0) {
        return BULK_DONE;
    }
    unit = next_unit(bulk, index, RATE_NONE);
    if (!unit) {
        return BULK_FULL;
    }
    touch(unit, 0, target, now, true);
    touch(unit, 1, from, now, false);
    error = wait_for_others(bulk, index, unit);
    if (error == CUDA_OK) {
        error = up ? bulk->api->MemcpyHtoDAsync(target, (const void *)(uintptr_t)from, now, stream)
                   : bulk->api->MemcpyDtoHAsync((void *)(uintptr_t)target, from, now, stream);
    }
    op->done += now;
    return issued(bulk, op, index, unit, error, op->done == op->record.count);
}

/* ALLOC: its new memory is zeroed. */
static enum bulk_state step_zero(struct bulk_cuda *bulk, struct bulk_op *op)
{
    double at_most = UNIT_NS / bulk->ns_per[RATE_BYTES];
    uint64_t left = op->target_bytes - op->done;
    uint64_t now = (double)left < at_most ? left : ((uint64_t)at_most | (SMALL_BYTES - 1)) + 1;
    struct unit *unit = next_unit(bulk, QUEUE_COMPUTE, RATE_BYTES);
    cuda_result error;

    if (!unit) {
        return BULK_FULL;
    }
    now = now < left ? now : left;
    touch(unit, 0, op->target + op->done, now, true);
    expect(bulk, unit, RATE_BYTES, (double)now);
    error = wait_for_others(bulk, QUEUE_COMPUTE, unit);
    if (error == CUDA_OK) {
        error = bulk->api->MemsetD8Async(op->target + op->done, 0, now,
                                         bulk->queues[QUEUE_COMPUTE].stream);
    }
    op->done += now;
    return issued(bulk, op, QUEUE_COMPUTE, unit, error, op->done == op->target_bytes);
}

static cuda_result launch(struct bulk_cuda *bulk, unsigned index, cuda_function kernel,
                          unsigned grid_x, unsigned grid_y, void **params)
{
    return bulk->api->LaunchKernel(kernel, grid_x, grid_y, 1, BLOCK_THREADS, 1, 1, 0,
                                   bulk->queues[index].stream, params, NULL);
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
                                         bulk->queues[QUEUE_COMPUTE].stream);
    case VGPU_BULK_ADD_I32: return launch(bulk, QUEUE_COMPUTE, bulk->add_i32, grid, 1, add);
    case VGPU_BULK_ADD_F32: return launch(bulk, QUEUE_COMPUTE, bulk->add_f32, grid, 1, add);
    default: return launch(bulk, QUEUE_COMPUTE, bulk->saxpy, grid, 1, saxpy);
    }
}

static enum bulk_state step_elements(struct bulk_cuda *bulk, struct bulk_op *op)
{
    unsigned bytes_each = op->record.record.op == VGPU_BULK_FILL ? 4 : 12;
    double at_most = UNIT_NS / bulk->ns_per[RATE_BYTES] / bytes_each;
    uint64_t left = op->record.count - op->done;
    uint32_t now = ELEMENTS_MIN;
    struct unit *unit;
    cuda_result error;

    if (left == 0) {
        return BULK_DONE;
    }
    unit = next_unit(bulk, QUEUE_COMPUTE, RATE_BYTES);
    if (!unit) {
        return BULK_FULL;
    }
    if (at_most > ELEMENTS_MIN) {
        now = at_most < ELEMENTS_MAX ? (uint32_t)at_most & ~1023u : ELEMENTS_MAX;
    }
    now = left < now ? (uint32_t)left : now;
    touch(unit, 0, op->target + op->done * 4, now * 4ull, true);
    touch(unit, 1, op->a + op->done * 4, op->a_bytes ? now * 4ull : 0, false);
    touch(unit, 2, op->b + op->done * 4, op->b_bytes ? now * 4ull : 0, false);
    expect(bulk, unit, RATE_BYTES, (double)now * bytes_each);
    error = wait_for_others(bulk, QUEUE_COMPUTE, unit);
    if (error == CUDA_OK) {
        error = start_elements(bulk, op, now);
    }
    op->done += now;
    return issued(bulk, op, QUEUE_COMPUTE, unit, error, op->done == op->record.count);
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
    double row_ns = 2.0 * r->n * r->k * bulk->ns_per[RATE_FLOPS];
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
        struct queue_state *queue = &bulk->queues[i];
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
        return bulk->cublas.Sgemm(bulk->queues[index].products, CUBLAS_AS_IT_IS, CUBLAS_AS_IT_IS,
                                  (int)n, (int)m, (int)k, &alpha, b, (int)stride, a, (int)k, &beta,
                                  c, (int)stride);
    }
    return launch(bulk, index, bulk->sgemm, (n + SGEMM_SIDE - 1) / SGEMM_SIDE,
                  (m + SGEMM_SIDE - 1) / SGEMM_SIDE, params);
}

static enum bulk_state step_sgemm(struct bulk_cuda *bulk, struct bulk_op *op)
{
    const VGPUBulkRecord *r = &op->record;
    uint64_t end = (uint64_t)r->m * r->n;
    /* The one that has less to do: ends and beginnings of units overlap. */
    unsigned index = op->last[QUEUE_COMPUTE] &&
                             op->last[QUEUE_COMPUTE_TOO] <= bulk->queues[QUEUE_COMPUTE_TOO].over
                         ? QUEUE_COMPUTE_TOO
                         : QUEUE_COMPUTE;
    struct unit *unit;
    struct tile tile;
    cuda_result error;

    unit = next_unit(bulk, index, RATE_FLOPS);
    if (!unit) {
        return BULK_FULL;
    }
    tile = next_tile(bulk, op);
    touch(unit, 0, op->target + ((uint64_t)tile.row * r->n + tile.column) * 4,
          ((tile.rows - 1ull) * r->n + tile.columns) * 4, true);
    touch(unit, 1, op->a + (uint64_t)tile.row * r->k * 4, (uint64_t)tile.rows * r->k * 4, false);
    touch(unit, 2, op->b, op->b_bytes, false);
    expect(bulk, unit, RATE_FLOPS, 2.0 * tile.rows * tile.columns * r->k);
    error = wait_for_others(bulk, index, unit);
    if (error == CUDA_OK) {
        error = start_tile(bulk, op, index, &tile);
    }
    op->done = tile.column + tile.columns == r->n ? (uint64_t)(tile.row + tile.rows) * r->n
                                                  : op->done + tile.columns;
    return issued(bulk, op, index, unit, error, op->done == end);
}

static enum bulk_state cuda_step(void *opaque, struct bulk_op *op)
{
    struct bulk_cuda *bulk = opaque;

    if (bulk->lost) {
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

/* ---- opening ---- */

static cuda_result open_queue(struct bulk_cuda *bulk, unsigned index, cuda_stream stream)
{
    struct queue_state *queue = &bulk->queues[index];
    cuda_result error = CUDA_OK;

    queue->stream = stream;
    if (!stream) {
        error = bulk->api->StreamCreate(&queue->stream, CUDA_STREAM_NON_BLOCKING);
    }
    for (unsigned i = 0; i < UNITS_MAX && error == CUDA_OK; i++) {
        error = bulk->api->EventCreate(&queue->units[i].over, CUDA_EVENT_NO_TIMING);
    }
    return error;
}

cuda_result bulk_cuda_open(const struct bulk_cuda_config *config, struct bulk_cuda **opened)
{
    struct bulk_cuda *bulk = calloc(1, sizeof(*bulk));
    unsigned multiprocessors = config->multiprocessors ? config->multiprocessors : 1;
    cuda_result error = CUDA_OK;

    if (!bulk) {
        return CUDA_OUT_OF_MEMORY;
    }
    bulk->api = config->api;
    bulk->account = config->account;
    bulk->add_i32 = config->add_i32;
    bulk->add_f32 = config->add_f32;
    bulk->saxpy = config->saxpy;
    bulk->sgemm = config->sgemm;
    bulk->ns_per[RATE_BYTES] = 1 / (GUESS_BYTES * multiprocessors);
    bulk->ns_per[RATE_FLOPS] = 1 / (GUESS_FLOPS * multiprocessors);
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
    for (unsigned i = 0; i < BULK_QUEUES && error == CUDA_OK; i++) {
        error = open_queue(bulk, i, i == QUEUE_COMPUTE ? config->stream : NULL);
    }
    if (error != CUDA_OK) {
        free(bulk);
        return error;
    }
    *opened = bulk;
    return CUDA_OK;
}

void bulk_cuda_close(struct bulk_cuda *bulk)
{
    while (bulk && bulk->dead) {
        struct dead *next = bulk->dead->next;

        free(bulk->dead);
        bulk->dead = next;
    }
    free(bulk);
}

const struct bulk_engine *bulk_cuda_engine(const struct bulk_cuda *bulk)
{
    return &bulk->engine;
}
