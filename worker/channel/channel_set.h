/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has the channels of one worker: their memory, their records, their answers.
 *
 * All of it belongs to the worker's one thread.  A record that needs the GPU waits for a turn;
 * what stands behind it in its channel waits with it, other channels go on.
 */
#ifndef WORKER_CHANNEL_CHANNEL_SET_H
#define WORKER_CHANNEL_CHANNEL_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu/vgpu_turn.h"
#include "vgpu/vgpu_worker.h"
#include "worker/backend.h"
#include "worker/channel/bulk.h"
#include "worker/channel/mapping.h"

#define CHANNEL_SET_MAX 64u
/* Turns of looking at the rings before the thread sleeps, where it has a processor to spare. */
#define CHANNEL_SET_SPINS 20000u

struct channel_set;

struct channel_set_uses {
    void *opaque;
    /* An operation of 1.0 in a slot of ours, below BACKEND_CHANNEL_JOBS.  The result is zeroed. */
    enum backend_state (*run)(void *opaque, unsigned slot, const struct backend_job *job,
                              struct backend_result *result);
    /* Of one that is RUNNING. */
    enum backend_state (*poll)(void *opaque, unsigned slot, struct backend_result *result);
    /* Tells the mediator; type: CHANNEL_CLOSED, CHUNK_REMOVED or ASK with a value, or WANT
     * without. */
    void (*tell)(void *opaque, uint16_t type, uint64_t channel, uint32_t value);
    const struct bulk_engine *engine;
    bool units_fly; /* units and jobs are started, not done, when they are asked for */
};

/* NULL when there is no memory. */
struct channel_set *channel_set_new(const struct channel_set_uses *uses);
/* Closes all without telling the mediator, but the processes. */
void channel_set_free(struct channel_set *set);

bool channel_set_empty(const struct channel_set *set);
/* The backend said so: the worker leaves. */
bool channel_set_lost(const struct channel_set *set);

/* Takes a complete mapping, whatever it answers.  enum vgpu_error. */
enum vgpu_error channel_set_add(struct channel_set *set, struct channel_mapping *mapping);
/* Unknown ones are ignored: CHANNEL_CLOSED of them is on its way. */
void channel_set_close(struct channel_set *set, uint64_t channel, enum vgpu_channel_reason reason);

/* A chunk beyond chunk 0.  Takes the descriptor, whatever it answers. */
enum vgpu_error channel_set_add_chunk(struct channel_set *set, uint64_t channel, uint32_t chunk,
                                      uint64_t bytes, int fd);
/* The same of a guest's, which comes in parts; an answer is owed when no more follow. */
enum vgpu_error channel_set_add_part(struct channel_set *set, uint64_t channel,
                                     const VGPUChunkAdd *add, const VGPUPiece *pieces, int fd);
/* Records that were not begun can't name it any more; CHUNK_REMOVED is told when those before are
 * over.  Unknown ones are ignored: the channel is ending. */
void channel_set_remove_chunk(struct channel_set *set, uint64_t channel, uint32_t chunk);

/* Who is told of the channels that go on. */
struct channel_heirs {
    void *opaque;
    void (*held)(void *opaque, uint64_t number, const struct channel_mapping *mapping,
                 unsigned chunks);
    void (*chunk)(void *opaque, uint64_t number, uint32_t chunk, uint64_t bytes);
};

/* How many channels would go on if another mediator came. */
unsigned channel_set_count_lives(const struct channel_set *set);
/*
 * Another mediator is there, and no turn is under way.  Channels without a life of their own end;
 * the heirs are told of the others, by numbers from *next + 1 on.  These wait for
 * channel_set_claim() with what needs a turn.
 */
void channel_set_adopt(struct channel_set *set, uint64_t *next, const struct channel_heirs *heirs);
/* It has this handle from now on; 0: it ends.  False: there is no such channel any more. */
bool channel_set_claim(struct channel_set *set, uint64_t number, uint64_t handle);

/* The worker's turn page, which outlives it; NULL: there is none. */
void channel_set_turn_page(struct channel_set *set, const VGPUTurnPage *page);
/* VGPU_WORKER_CREDIT.  Without it there is no limit. */
void channel_set_credit(struct channel_set *set, uint32_t records);

/* Does what can be done without a turn.  False: there was nothing. */
bool channel_set_serve(struct channel_set *set);

struct channel_turn {
    uint64_t budget_ns;
    bool goes_on; /* the VM has the next turn already: what is in flight need not end in this one */
};

/*
 * A piece of a turn.  True: the turn is over, since its budget is used up, the channel has
 * nothing to do or is gone, and nothing of it is in flight.  *used_ns grows by the time that it
 * took: of the processor, or what passed where units fly.
 */
bool channel_set_turn(struct channel_set *set, uint64_t channel, const struct channel_turn *turn,
                      uint64_t *used_ns);

/*
 * Sleeps until the socket is readable or a doorbell rings, unless there is work.  `other`, -1 for
 * none, is an eventfd that ends the sleep, too, and is drained.
 */
void channel_set_sleep(struct channel_set *set, int socket, int other);

#endif /* WORKER_CHANNEL_CHANNEL_SET_H */
