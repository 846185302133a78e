/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor has the worker processes: it has them started and killed by vgpu-keeper
 * (keeper_link.h), feeds and watches them.
 *
 * Each has a SOCK_SEQPACKET pair.  What it sends is
 * checked like a peer's bytes; a worker that sends nonsense is killed, and so is
 * one that closes its socket.  Else a worker is killed when the core says so:
 * nothing here has a clock, for how long a worker may take is the core's to know.
 * The core is told of a worker's end exactly once, after its last good frames.
 */
#ifndef MEDIATOR_WORKERS_SUPERVISOR_H
#define MEDIATOR_WORKERS_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "core/core.h"
#include "mediator/workers/keeper_link.h"

#define SUPERVISOR_WORKERS_MAX (VGPU_KEEPER_WORKERS_MAX - 8u) /* some places are for probes */
/* At a time: a start takes memory and time of the driver, and VMs can cause many at once. */
#define SUPERVISOR_STARTS_MAX 16u
/* For so long a worker of a mediator before us waits for its VM to come back; then it is ended. */
#define SUPERVISOR_ORPHAN_MS 10000u
#define SUPERVISOR_LOOK_MS 200u /* how often it is looked after them, and their channels */

struct supervisor;

/* What it works with.  All of it outlives supervisor_free(). */
struct supervisor_uses {
    uv_loop_t *loop;
    struct core *core;
    const struct core_config *config; /* what workers are told of it */
    struct keeper_link *keeper;       /* open; the supervisor watches and stops it */
    const char *backend;              /* "cpu" or "cuda", as it is when a worker starts */
};

/* NULL when there is no memory. */
struct supervisor *supervisor_new(const struct supervisor_uses *uses);
int supervisor_start(struct supervisor *supervisor);
/* All workers are gone and the loop has run since supervisor_close(). */
void supervisor_free(struct supervisor *supervisor);

/* Workers that exist as processes. */
uint32_t supervisor_count(const struct supervisor *supervisor);
/* Pid of a worker, 0 = none. */
pid_t supervisor_pid(const struct supervisor *supervisor, uint64_t worker);

/* What it last said of its CUDA programs; NULL: nothing. */
const vgpu_worker_figures *supervisor_figures(const struct supervisor *supervisor, uint64_t worker);

/* `done` is called once, when no worker is left; see core_stop_workers(). */
void supervisor_when_empty(struct supervisor *supervisor, void (*done)(void *opaque), void *opaque);
/* Lets go of all of them, which go on in the keeper's hands, for the next mediator. */
void supervisor_leave(struct supervisor *supervisor);
void supervisor_close(struct supervisor *supervisor);

/* ---- effects ---- */

void supervisor_start_worker(struct supervisor *supervisor, const struct core_worker_spec *spec);
void supervisor_run(struct supervisor *supervisor, uint64_t worker, uint64_t job_id,
                    const struct request_view *request);
/* The descriptors stay the caller's, here and below; CHANNEL_FDS_MAX at most. */
void supervisor_channel_start(struct supervisor *supervisor, uint64_t worker, uint64_t channel,
                              enum vgpu_channel_transport transport, const VGPUChannelOpen *open,
                              const int *fds, unsigned fd_count);
/* SHARED: a part of a chunk.  The worker answers when it has all; chunk 0: the channel's start. */
void supervisor_channel_part(struct supervisor *supervisor, uint64_t worker, uint64_t channel,
                             const VGPUChunkAdd *add, const VGPUPiece *pieces, int fd);
void supervisor_channel_stop(struct supervisor *supervisor, uint64_t worker, uint64_t channel,
                             uint32_t reason);
/* `fd` stays the caller's. */
void supervisor_chunk_start(struct supervisor *supervisor, uint64_t worker, uint64_t channel,
                            uint32_t chunk, uint64_t bytes, int fd);
void supervisor_chunk_stop(struct supervisor *supervisor, uint64_t worker, uint64_t channel,
                           uint32_t chunk);
/* For the turn that it has. */
void supervisor_yield(struct supervisor *supervisor, uint64_t worker, uint64_t yield_ns);
void supervisor_credit(struct supervisor *supervisor, uint64_t worker, uint32_t records);
/* Of the host's memory, from now on; 0: no limit. */
void supervisor_memory(struct supervisor *supervisor, uint64_t worker, uint64_t bytes);
void supervisor_limits(struct supervisor *supervisor, uint64_t worker, uint64_t kernel_ns);
void supervisor_turn(struct supervisor *supervisor, uint64_t worker, uint64_t job_id,
                     uint64_t channel, uint64_t budget_ns);
void supervisor_stop_worker(struct supervisor *supervisor, uint64_t worker, bool kill);

/*
 * Tells the core of workers that could not be started, and of those that are ready because a
 * mediator before us had started them.  True: there was one.
 */
bool supervisor_settle(struct supervisor *supervisor);

/* Of channels that live since a mediator before us; as core_effects.channel_match() says. */
uint64_t supervisor_channel_match(struct supervisor *supervisor, const struct core_vm_config *vm,
                                  int life);
/* Nothing happens for a channel of ours. */
void supervisor_channel_forget(struct supervisor *supervisor, uint64_t channel);

#endif /* MEDIATOR_WORKERS_SUPERVISOR_H */
