/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has the channels of profile CUDA of one worker, as the executor sees them.
 *
 * Each has a thread of its own, since each is a program of its own: no call of one makes another
 * wait.  They share the worker's account of the VM's memory, and a fault of the GPU, after which
 * the driver serves none of them any more.
 */
#ifndef WORKER_CUDA_CHANNEL_DRIVER_SET_H
#define WORKER_CUDA_CHANNEL_DRIVER_SET_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "vgpu/vgpu_worker.h"
#include "worker/channel/channel_set.h"
#include "worker/channel/mapping.h"
#include "worker/memory_account.h"

/*
 * The absolute path of a driver to use in place of the host's own (which the CPU backend has not);
 * for tests on machines without a GPU.  It is the mediator's environment, which no guest reaches.
 */
#define DRIVER_PATH_VARIABLE "VGPU_CUDA_DRIVER"

#define DRIVER_SET_MAX 64u

struct driver_set_uses {
    void *opaque;
    /*
     * Tells the mediator; type: CHANNEL_CLOSED or LATE with a value, or WANT without.  Called by
     * the channels' own threads.
     */
    void (*tell)(void *opaque, uint16_t type, uint64_t channel, uint32_t value);
    /* Tells the figures, the last ones of a channel; by the channels' own threads.  False: not
     * now.  May be NULL. */
    bool (*tell_figures)(void *opaque, const vgpu_worker_figures *figures, bool last);
    /* The same of one channel. */
    bool (*tell_program)(void *opaque, uint64_t channel, const vgpu_worker_program *program,
                         bool last);
    const char *gpu_uuid;           /* "GPU-..."; it outlives the set */
    struct memory_account *account; /* the VM's; it outlives the set */
    uint32_t vm_id;                 /* for the UUID that the guest sees */
};

struct driver_set {
    struct driver_set_uses uses;
    struct driver_channel *all[DRIVER_SET_MAX];
    unsigned count;
    uint64_t staged_bytes; /* atomic: host memory for images on their way */
    int lost;              /* atomic: the driver's error that ended all contexts; 0: none */
    pthread_mutex_t lock;  /* of all and count, as threads of the driver look at them */
    FILE *output;          /* the process's stdout, before it was the channels' */
    struct {
        uint64_t units, copies, turns, refused, contexts_made, contexts_ended; /* atomic */
        uint64_t told, told_ns; /* atomic: which were told, and when */
    } figures;
    int over;                 /* eventfd: a turn or a channel is over */
    int to_release;           /* atomic: channels have let go whose memory is still mapped */
    uint64_t turns_ns;        /* atomic: the time of all turns that are over */
    uint64_t kernel_limit_ns; /* atomic: how long a kernel may run; 0: no limit */
    int live; /* atomic: channels that have made a context, and whose threads have not let go */
    /* A thread that looks without a pause takes no processor from another one: a little, long. */
    bool spare_cpu, spare_cpus;
};

/* False, after saying why on the log: there is no memory for it. */
bool driver_set_init(struct driver_set *set, const struct driver_set_uses *uses);
void driver_set_end(struct driver_set *set);

/* Takes a complete mapping, whatever it answers. */
enum vgpu_error driver_set_add(struct driver_set *set, struct channel_mapping *mapping);
/* From now on a kernel may run so long; 0: no limit, as at first. */
void driver_set_limit(struct driver_set *set, uint64_t kernel_ns);
/* True: it was one of these; CHANNEL_CLOSED is told when it has let go. */
bool driver_set_close(struct driver_set *set, uint64_t handle, enum vgpu_channel_reason reason);

/*
 * Gives back the memory of channels whose threads have let go: their devices wait for it.  Cheap
 * where there is none; `over` can be read when there is.
 */
void driver_set_release(struct driver_set *set);

/* As those of channel_set.h, for these.  Count first: who was counted is told of. */
unsigned driver_set_count_lives(struct driver_set *set);
void driver_set_adopt(struct driver_set *set, uint64_t *next, const struct channel_heirs *heirs);
bool driver_set_claim(struct driver_set *set, uint64_t number, uint64_t handle);

/* True: the handle is one of these, and its turn has begun (or is over at once). */
bool driver_set_begin_turn(struct driver_set *set, uint64_t handle, uint64_t budget_ns);
/*
 * Is the turn over?  Then *used_ns is what it took.  goes_on: the next turn is there, of any
 * channel; next_budget_ns: of this one, which may begin it by itself: *begun says that it has.
 */
bool driver_set_turn_over(struct driver_set *set, uint64_t handle, bool goes_on,
                          uint64_t next_budget_ns, uint64_t *used_ns, bool *begun);

#endif
