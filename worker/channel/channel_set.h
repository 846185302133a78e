/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The channels of one worker: their memory, their records, their answers.
 *
 * All of it belongs to the worker's one thread.  A record that needs the GPU waits for a turn;
 * what stands behind it in its channel waits with it, other channels go on.
 */
#ifndef WORKER_CHANNEL_CHANNEL_SET_H
#define WORKER_CHANNEL_CHANNEL_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu/vgpu_worker.h"
#include "worker/backend.h"

#define CHANNEL_SET_MAX 64u
#define CHANNEL_SET_FDS (VGPU_FD_CHUNK0 + 1u)
/* Turns of looking at the rings before the thread sleeps, where it has a processor to spare. */
#define CHANNEL_SET_SPINS 20000u

struct channel_set;

struct channel_set_uses {
    void *opaque;
    /* An operation of 1.0, done when it returns.  The result is zeroed. */
    void (*run)(void *opaque, const struct backend_job *job, struct backend_result *result);
    /* Tells the mediator; type: CHANNEL_CLOSED with a value, or WANT without. */
    void (*tell)(void *opaque, uint16_t type, uint64_t channel, uint32_t value);
    uint64_t memory_bytes; /* all buffers together */
};

/* NULL when there is no memory. */
struct channel_set *channel_set_new(const struct channel_set_uses *uses);
/* Closes all without telling the mediator, but the processes. */
void channel_set_free(struct channel_set *set);

bool channel_set_empty(const struct channel_set *set);

/* Takes the descriptors, whatever it answers.  enum vgpu_error. */
enum vgpu_error channel_set_add(struct channel_set *set, uint64_t channel,
                                const vgpu_worker_channel *what, const int *fds);
/* Unknown ones are ignored: CHANNEL_CLOSED of them is on its way. */
void channel_set_close(struct channel_set *set, uint64_t channel, enum vgpu_channel_reason reason);

/* Does what can be done without a turn.  False: there was nothing. */
bool channel_set_serve(struct channel_set *set);

/*
 * A piece of a turn.  True: the turn is over, since its budget is used up, the channel has
 * nothing to do or is gone.  *used_ns grows by the processor's time that it took.
 */
bool channel_set_turn(struct channel_set *set, uint64_t channel, uint64_t budget_ns,
                      uint64_t *used_ns);

/* Sleeps until the socket is readable or a doorbell rings, unless there is work. */
void channel_set_sleep(struct channel_set *set, int socket);

#endif /* WORKER_CHANNEL_CHANNEL_SET_H */
