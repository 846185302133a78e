/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of the channel set share these declarations: channel_set.c has the set, its channels'
 * lives and sleep, channel_chunks.c more chunks, channel_flights.c what is in flight and its
 * answers, channel_records.c the way from a record to a unit, channel_turns.c turns.
 */
#ifndef WORKER_CHANNEL_CHANNEL_INTERNAL_H
#define WORKER_CHANNEL_CHANNEL_INTERNAL_H

#include "common/clock.h"
#include "common/request.h"
#include "vgpu/vgpu_ring.h"
#include "worker/channel/channel_set.h"
#include "worker/channel/outbox.h"

/* Records of one channel that are in flight. */
#define FLIGHTS_MAX 64u
/* The time of one look at a channel's records. */
#define SERVE_NS NS_PER_MS

/* A record that is on its way. */
struct flight {
    enum { FLIGHT_OVER, FLIGHT_JOB, FLIGHT_BULK } kind;
    uint32_t seq, status; /* OVER */
    uint16_t flags, lane;
    unsigned slot;              /* JOB */
    uint64_t expected_ns;       /* JOB */
    uint64_t last[BULK_QUEUES]; /* BULK */
    struct outbox_range out;    /* what it writes into a chunk */
};

/* One beyond chunk 0. */
struct chunk {
    struct stretch map;     /* complete: records may name it */
    enum vgpu_error status; /* of its parts so far */
    bool removing;
    uint64_t gone_at; /* removing: when so many records are over */
    bool asked;       /* COPIED: nothing more is asked for; what was, up to this: */
    uint64_t asked_tail;
};

struct channel {
    uint64_t handle; /* 0: no mediator knows it */
    uint64_t held;   /* its number until one does */
    struct channel_mapping *mapping;
    int doorbell, interrupt; /* the mapping's, as what follows */
    uint8_t *chunk0;
    VGPUGeometry geometry;
    struct vgpu_channel_layout layout;
    VGPUControl *control; /* shared: read each word once */
    struct vgpu_ring commands, notices;
    struct bulk *bulk;
    uint32_t seq;
    uint64_t retired;
    bool has_record; /* taken from the ring and not over */
    bool begun;      /* a bulk operation that has passed its checks */
    bool needs_turn; /* the record does */
    bool wants;      /* WANT was sent, its turn has not begun */
    bool in_turn;
    bool stopping; /* its turn starts nothing more */
    bool closing;  /* told to the process; `reason` goes to the mediator at the end */
    bool answered; /* since the process was last looked after */
    bool woken;    /* a notice has found it asleep: it is to be signalled */
    bool pulling;  /* COPIED: what the record takes from a chunk was asked for */
    uint64_t pull_tail;
    struct outbox outbox;
    enum vgpu_channel_reason reason;
    uint64_t turn_start_ns, turn_budget_ns;
    struct bulk_op op;
    struct chunk *chunks; /* VGPU_CHUNKS_MAX; NULL: there were none */
    unsigned removing;    /* of them */
    struct flight flights[FLIGHTS_MAX];
    unsigned first, in_flight;
    _Alignas(8) uint8_t record[VGPU_RECORD_BYTES_MAX];
};

struct channel_set {
    struct channel_set_uses uses;
    uint32_t free_slots;   /* of the backend, a bit each */
    uint64_t jobs_ns;      /* what jobs in flight will take together, as expected */
    uint64_t job_since_ns; /* when the oldest of them had the GPU */
    bool lost;
    bool counted, asked; /* records need credit; it was asked for */
    uint32_t credit;
    const VGPUTurnPage *turn_page; /* shared: read each word once */
    struct channel *all[CHANNEL_SET_MAX];
    unsigned count;
    struct backend_result result;
};

/* channel_set.c */
struct channel *channel_find(struct channel_set *set, uint64_t handle); /* NULL: there is none */
/* Is anything of it still on its way in the engine?  The operation that it has begun is, too. */
bool channel_has_flown(struct channel_set *set, struct channel *channel);
/* Nothing of it is in flight: the memory is let go of, and the mediator told. */
void channel_end(struct channel_set *set, struct channel *channel);
/* Tells the process, and ends the channel as soon as nothing of it is in flight: perhaps now. */
void channel_end_and_tell(struct channel_set *set, struct channel *channel,
                          enum vgpu_channel_reason reason);
/* Up to `budget_ns`.  False: it had nothing to do.  The channel may be gone. */
bool channel_serve(struct channel_set *set, struct channel *channel, bool in_turn,
                   uint64_t budget_ns);

/* COPIED: hands what the guest has not seen to the copy engine. */
void channel_push(struct channel *channel);

/* channel_chunks.c */
/* What a record may name of a chunk beyond 0; 0: there is none. */
uint64_t channel_chunk_bytes(const struct channel *channel, uint32_t number);
/* Lets go of those that were removed and whose records are over. */
void channel_remove_chunks(struct channel_set *set, struct channel *channel);
/* Is there one to let go of? */
bool channel_has_gone_chunk(struct channel *channel);
/* The channel ends. */
void channel_free_chunks(struct channel *channel);

/* channel_flights.c */
void channel_clear_result(struct backend_result *result, uint32_t status);
/* The record that was taken is on its way, behind those before it. */
struct flight *channel_fly(struct channel *channel);
/* The record that was taken is over, with what stands in set->result; or with a bare status. */
void channel_finish_record(struct channel_set *set, struct channel *channel);
void channel_finish_with(struct channel_set *set, struct channel *channel, enum vgpu_error status);
/* Ends the flights that are over, in their order.  True: there was one. */
bool channel_land(struct channel_set *set, struct channel *channel);

/* channel_records.c */
/* The next record into private memory.  EMPTY, or BROKEN: the channel was closed. */
int channel_take(struct channel_set *set, struct channel *channel);
/* One unit of the record that the channel has.  False: it can't be started now. */
bool channel_run_unit(struct channel_set *set, struct channel *channel);

/* channel_turns.c */
/* There will be work beyond this turn, or there is without one: says so, once. */
void channel_want(struct channel_set *set, struct channel *channel);
/* May another unit of its turn be started?  Without a GPU the units' own time decides. */
bool channel_has_room_in_turn(const struct channel_set *set, struct channel *channel);

#endif /* WORKER_CHANNEL_CHANNEL_INTERNAL_H */
