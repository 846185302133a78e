/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of the executor share these declarations: its state, and what each part does for the
 * others. executor.c is the loop, executor_frames.c reads what the mediator sends, executor_jobs.c
 * has the ring of jobs and turns, executor_channels.c the channels.
 */
#ifndef WORKER_EXECUTOR_INTERNAL_H
#define WORKER_EXECUTOR_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "worker/channel/channel_set.h"
#include "worker/cuda/channel/driver_set.h"
#include "worker/executor.h"
#include "worker/forecast.h"

struct slot {
    uint64_t job_id;
    uint64_t taken_ns; /* CLOCK_MONOTONIC */
    uint32_t opcode;
    uint64_t channel; /* not 0: a turn of it, not a job */
    bool adopt;       /* no job either: READY is due */
    uint64_t budget_ns;
    bool own_thread; /* the turn is under way in the channel's own thread */
    enum backend_state state;
    struct backend_result result;
};

struct executor {
    const struct executor_config *config;
    vgpu_worker_ready ready;
    struct slot slots[WORKER_DEPTH_MAX];
    unsigned head, count;
    uint64_t head_since_ns; /* when the head had the GPU for itself */
    uint64_t idle_since_ns; /* when the last job in flight was answered */
    struct forecast forecast;
    bool lost;
    bool broken; /* the mediator does not take what it is told */
    struct channel_set *channels;
    struct driver_set drivers; /* channels of profile CUDA, each with its own thread */
    bool has_drivers;
    LIST_HEAD(, channel_mapping) partials; /* whose guest memory has not all come */
    unsigned spins, idle_looks; /* at the rings: how many before sleep, how many so far */
    unsigned looks;             /* for LOOKS_FOR_SOCKET */
    uint32_t credit;            /* as the mediator last said, for channels to come */
    vgpu_worker_limits limits;  /* likewise */
    const VGPUTurnPage *turn_page;
    uint64_t held; /* the last number that a channel without a mediator had */
    /* One byte more than any valid frame, so that a longer one shows. */
    _Alignas(8) uint8_t frame[VGPU_WORKER_FRAME_MAX + 1];
};

/* What became of a frame. */
enum take {
    TAKE_NOTHING,
    TAKE_JOB,
    TAKE_QUIT,
    TAKE_CLOSED,
    TAKE_MALFORMED,
};

/* ---- frames ---- */

/* The next one; `flags` for recvmsg(). */
enum take executor_take_frame(struct executor *e, int flags);
/* Logs it.  TAKE_MALFORMED. */
enum take executor_malformed(const char *what, size_t length);
void executor_close_fds(const int *fds, unsigned count);
/* One frame to the mediator: a fixed part, and a body behind it.  -errno. */
int executor_send(struct executor *e, uint16_t type, uint64_t job_id, void *fixed,
                  size_t fixed_bytes, void *body, size_t body_bytes);
/* The same with a descriptor, which stays the caller's. */
int executor_send_fd(struct executor *e, uint16_t type, uint64_t job_id, void *fixed,
                     size_t fixed_bytes, int fd);

/* ---- jobs and turns; `length` is the frame's, which is in e->frame ---- */

enum take executor_take_job(struct executor *e, size_t length, uint64_t job_id);
enum take executor_take_turn(struct executor *e, size_t length, uint64_t job_id);
enum take executor_take_adopt(struct executor *e, size_t length, uint64_t number);
/* What needs no GPU is answered at once, the rest submitted to the backend in slot `index`. */
enum backend_state executor_answer(struct executor *e, unsigned index,
                                   const struct backend_job *job, struct backend_result *result);
/* The head's answer goes out and its slot is free. */
int executor_send_done(struct executor *e);

/* ---- channels; descriptors are the callee's ---- */

/* A word about a channel to the mediator; `opaque` is the executor. */
void executor_tell(void *opaque, uint16_t type, uint64_t channel, uint32_t value);
bool executor_has_channels(const struct executor *e);
enum take executor_begin_channel(struct executor *e, size_t length, uint64_t handle, const int *fds,
                                 unsigned fd_count);
/* A part of a channel's guest memory. */
enum take executor_add_pieces(struct executor *e, size_t length, uint64_t handle, const int *fds,
                              unsigned fd_count);
/* A chunk beyond chunk 0. */
enum take executor_take_chunk(struct executor *e, size_t length, uint64_t handle, int *fds,
                              unsigned fd_count);
enum take executor_remove_chunk(struct executor *e, size_t length, uint64_t handle);
enum take executor_close_channel(struct executor *e, size_t length, uint64_t handle);
enum take executor_take_turn_page(struct executor *e, size_t length, int *fds, unsigned fd_count);
/* The DONEs that were due to the mediator before are out: READY, and what goes on.  -errno. */
int executor_adopted(struct executor *e, uint64_t number);
enum take executor_take_claim(struct executor *e, size_t length, uint64_t number);
enum take executor_take_credit(struct executor *e, size_t length);
enum take executor_take_limits(struct executor *e, size_t length);

#endif /* WORKER_EXECUTOR_INTERNAL_H */
