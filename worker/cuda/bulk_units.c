/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/cuda/bulk_units.h"

#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define FLIGHT_NS (2 * SGEMM_NS) /* of computing in flight; a unit alone may take longer */
#define COPIES_MAX 16u
/* Shorter units say more about the driver than about the GPU. */
#define LEARN_NS (200 * NS_PER_US)
/* First guesses, for each multiprocessor and nanosecond: on the slow side for what is sold. */
#define GUESS_BYTES 8.0
#define GUESS_FLOPS 250.0

/* ---- what is in flight ---- */

static struct unit *unit_of(struct queue_state *queue, uint64_t number)
{
    return &queue->units[number % UNITS_MAX];
}

/* Completion to completion where they follow each other closely. */
static void learn(struct bulk_units *units, const struct unit *unit, uint64_t now_ns)
{
    uint64_t start_ns = unit->issued_ns > units->computed_ns ? unit->issued_ns : units->computed_ns;

    units->computed_ns = now_ns;
    if (unit->rate == RATE_NONE || now_ns <= start_ns) {
        return;
    }
    if (unit->expected_ns >= LEARN_NS || !units->known[unit->rate]) {
        double *ns_per = &units->ns_per[unit->rate];
        double seen = (double)(now_ns - start_ns) / unit->work;

        /* Another worker's turn, or a job before it, may have come between. */
        if (units->known[unit->rate]) {
            seen = seen > 2 * *ns_per ? 2 * *ns_per : seen;
            seen = *ns_per + (seen - *ns_per) / 4;
        }
        *ns_per = seen;
        units->known[unit->rate] = true;
    }
}

static void refresh(struct bulk_units *units, unsigned index)
{
    struct queue_state *queue = &units->queues[index];

    while (queue->over < queue->issued && !units->lost) {
        struct unit *unit = unit_of(queue, queue->over + 1);
        cuda_result error = units->api->EventQuery(unit->over);

        if (error == CUDA_NOT_READY) {
            return;
        }
        if (error != CUDA_OK) {
            char text[CUDA_REASON_BYTES];

            cuda_error_text(units->api, error, text);
            log_error("bulk operations: %s; this worker's GPU context is lost", text);
            units->lost = true;
            return;
        }
        queue->over++;
        if (bulk_queue_computes(index)) {
            learn(units, unit, clock_now_ns());
        }
    }
}

bool bulk_units_idle(struct bulk_units *units)
{
    for (unsigned i = 0; i < BULK_QUEUES; i++) {
        refresh(units, i);
        if (units->queues[i].over < units->queues[i].issued) {
            return false;
        }
    }
    /* Jobs of 1.0 are no units. */
    return units->api->StreamQuery(units->queues[QUEUE_COMPUTE].stream) == CUDA_OK;
}

/* What computes and is in flight.  *since_ns: when the oldest of it began, at the earliest. */
static uint64_t in_flight_ns(const struct bulk_units *units, uint64_t *since_ns)
{
    uint64_t sum_ns = 0, oldest_ns = UINT64_MAX;

    for (unsigned i = 0; i < BULK_QUEUES; i++) {
        const struct queue_state *queue = &units->queues[i];

        for (uint64_t n = queue->over + 1; bulk_queue_computes(i) && n <= queue->issued; n++) {
            const struct unit *unit = &queue->units[n % UNITS_MAX];

            sum_ns += unit->expected_ns;
            oldest_ns = unit->issued_ns < oldest_ns ? unit->issued_ns : oldest_ns;
        }
    }
    *since_ns = oldest_ns > units->computed_ns ? oldest_ns : units->computed_ns;
    return sum_ns;
}

uint64_t bulk_units_busy_ns(struct bulk_units *units)
{
    uint64_t sum_ns, since_ns, gone_ns;

    refresh(units, QUEUE_COMPUTE);
    refresh(units, QUEUE_COMPUTE_TOO);
    sum_ns = in_flight_ns(units, &since_ns);
    if (sum_ns == 0) {
        return 0;
    }
    gone_ns = clock_now_ns() - since_ns;
    return gone_ns < sum_ns ? sum_ns - gone_ns : 1;
}

enum bulk_state bulk_units_poll(struct bulk_units *units, const uint64_t last[BULK_QUEUES])
{
    for (unsigned i = 0; i < BULK_QUEUES; i++) {
        if (last[i] > units->queues[i].over) {
            refresh(units, i);
            if (last[i] > units->queues[i].over) {
                return units->lost ? BULK_LOST : BULK_STARTED;
            }
        }
    }
    return BULK_DONE;
}

/* ---- the next one ---- */

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

cuda_result bulk_unit_after_others(struct bulk_units *units, unsigned index,
                                   const struct unit *unit)
{
    cuda_result error = CUDA_OK;

    for (unsigned i = 0; i < BULK_QUEUES && error == CUDA_OK; i++) {
        struct queue_state *other = &units->queues[i];

        if (i == index) {
            continue;
        }
        refresh(units, i);
        for (uint64_t n = other->issued; n > other->over; n--) {
            if (conflict(unit, unit_of(other, n))) {
                error = units->api->StreamWaitEvent(units->queues[index].stream,
                                                    unit_of(other, n)->over, 0);
                break;
            }
        }
    }
    return error;
}

struct unit *bulk_unit_next(struct bulk_units *units, unsigned index, enum rate rate)
{
    struct queue_state *queue = &units->queues[index];
    struct unit *unit = unit_of(queue, queue->issued + 1);
    uint64_t max = bulk_queue_computes(index) ? UNITS_MAX : COPIES_MAX, since_ns;

    refresh(units, index);
    if (queue->issued - queue->over == max ||
        (bulk_queue_computes(index) &&
         in_flight_ns(units, &since_ns) >=
             (rate == RATE_NONE || units->known[rate] ? FLIGHT_NS : 1))) {
        return NULL;
    }
    memset(unit->ranges, 0, sizeof(unit->ranges));
    unit->rate = RATE_NONE;
    unit->expected_ns = 1;
    return unit;
}

void bulk_unit_expect(struct bulk_units *units, struct unit *unit, enum rate rate, double work)
{
    unit->rate = rate;
    unit->work = work;
    unit->expected_ns = (uint64_t)(work * units->ns_per[rate]) + 3000;
}

enum bulk_state bulk_unit_issued(struct bulk_units *units, struct bulk_op *op, unsigned index,
                                 struct unit *unit, cuda_result error, bool last)
{
    struct queue_state *queue = &units->queues[index];
    char text[CUDA_REASON_BYTES];

    if (error == CUDA_OK) {
        error = units->api->EventRecord(unit->over, queue->stream);
    }
    if (error == CUDA_OK) {
        unit->issued_ns = clock_now_ns();
        op->last[index] = ++queue->issued;
        return last ? BULK_STARTED : BULK_MORE;
    }
    cuda_error_text(units->api, error, text);
    log_error("a bulk operation failed to start: %s", text);
    error = units->api->StreamQuery(queue->stream);
    units->lost |= error != CUDA_OK && error != CUDA_NOT_READY;
    return units->lost ? BULK_LOST : BULK_FAILED;
}

/* ---- opening ---- */

static cuda_result open_queue(struct bulk_units *units, unsigned index, cuda_stream stream)
{
    struct queue_state *queue = &units->queues[index];
    cuda_result error = CUDA_OK;

    queue->stream = stream;
    if (!stream) {
        error = units->api->StreamCreate(&queue->stream, CUDA_STREAM_NON_BLOCKING);
    }
    for (unsigned i = 0; i < UNITS_MAX && error == CUDA_OK; i++) {
        error = units->api->EventCreate(&queue->units[i].over, CUDA_EVENT_NO_TIMING);
    }
    return error;
}

cuda_result bulk_units_open(struct bulk_units *units, const struct cuda_api *api,
                            unsigned multiprocessors, cuda_stream stream)
{
    cuda_result error = CUDA_OK;

    units->api = api;
    units->ns_per[RATE_BYTES] = 1 / (GUESS_BYTES * multiprocessors);
    units->ns_per[RATE_FLOPS] = 1 / (GUESS_FLOPS * multiprocessors);
    for (unsigned i = 0; i < BULK_QUEUES && error == CUDA_OK; i++) {
        error = open_queue(units, i, i == QUEUE_COMPUTE ? stream : NULL);
    }
    return error;
}
