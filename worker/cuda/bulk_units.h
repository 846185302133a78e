/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The units of bulk operations are what a GPU has in flight.
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
 */
#ifndef WORKER_CUDA_BULK_UNITS_H
#define WORKER_CUDA_BULK_UNITS_H

#include "common/ns.h"
#include "worker/channel/bulk.h"
#include "worker/cuda/cublas_api.h"
#include "worker/cuda/cuda_api.h"

#define UNITS_MAX 64u /* in flight in one queue */
#define SGEMM_NS (4 * NS_PER_MS)

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

struct bulk_units {
    const struct cuda_api *api;
    struct queue_state queues[BULK_QUEUES];
    double ns_per[RATE_COUNT];
    bool known[RATE_COUNT]; /* seen, not guessed */
    uint64_t computed_ns;   /* when the last computing unit was seen to be over */
    bool lost;              /* the context */
};

static inline bool bulk_queue_computes(unsigned queue)
{
    return queue == QUEUE_COMPUTE || queue == QUEUE_COMPUTE_TOO;
}

static inline void bulk_unit_touch(struct unit *unit, unsigned which, uint64_t from, uint64_t bytes,
                                   bool written)
{
    unit->ranges[which] = (struct range){from, from + bytes, written};
}

/* `stream` is that of the first queue, the others get new ones. */
cuda_result bulk_units_open(struct bulk_units *units, const struct cuda_api *api,
                            unsigned multiprocessors, cuda_stream stream);

/* Nothing is in flight. */
bool bulk_units_idle(struct bulk_units *units);
/* How long what computes and is in flight still takes; 0: nothing does. */
uint64_t bulk_units_busy_ns(struct bulk_units *units);
/* DONE: these units and all before them are over; else STARTED or LOST. */
enum bulk_state bulk_units_poll(struct bulk_units *units, const uint64_t last[BULK_QUEUES]);

/*
 * The next unit of a queue, to be filled in; NULL: there is no room.  While a rate is only
 * guessed, a unit of it is alone.
 */
struct unit *bulk_unit_next(struct bulk_units *units, unsigned index, enum rate rate);
/* So much work of that rate. */
void bulk_unit_expect(struct bulk_units *units, struct unit *unit, enum rate rate, double work);
/* Lets the queue wait for what comes before the unit and touches its memory, in other queues. */
cuda_result bulk_unit_after_others(struct bulk_units *units, unsigned index,
                                   const struct unit *unit);
/* The unit's kernel or copy was started, with this result. */
enum bulk_state bulk_unit_issued(struct bulk_units *units, struct bulk_op *op, unsigned index,
                                 struct unit *unit, cuda_result error, bool last);

#endif /* WORKER_CUDA_BULK_UNITS_H */
