/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of the supervisor share these declarations: its workers, and what is done with one. */
#ifndef MEDIATOR_WORKERS_SUPERVISOR_INTERNAL_H
#define MEDIATOR_WORKERS_SUPERVISOR_INTERNAL_H

#include <sys/queue.h>

#include "mediator/base/handle_map.h"
#include "mediator/base/host_wait.h"
#include "mediator/workers/lives.h"
#include "mediator/workers/supervisor.h"
#include "mediator/workers/turn_page.h"

/* Frames that are taken with one system call. */
#define SUPERVISOR_BATCH 4u
/* Frames that don't fit the packet are cut by the kernel, and seen by that. */
#define SUPERVISOR_FRAME_ROOM (VGPU_WORKER_FRAME_MAX + 8u)

/* From the core's wish to the process's end. */
enum worker_step {
    WORKER_WAITS,  /* for its turn to start, or for a keeper */
    WORKER_STARTS, /* the keeper has the order */
    WORKER_READY,
    WORKER_FAILED,  /* it never will: to be reported to the core */
    WORKER_ORPHAN,  /* of a mediator that was before us, and nobody's yet */
    WORKER_ADOPTED, /* it was one, is a VM's now, and was ready: to be reported, too */
    WORKER_CLAIMED, /* ... and was not: it is still at work for that mediator; to be reported */
    WORKER_ENDS,    /* ... that is reported, and its READY awaited.  It needs no turn to start */
};

/* A channel that it has from a mediator before us, until the core knows it. */
struct held_channel {
    TAILQ_ENTRY(held_channel) link;
    uint64_t number; /* the worker's */
    vgpu_worker_channel what;
    int life;
    uint32_t chunks_due; /* of chunk_count */
    uint32_t chunk_count;
    struct core_chunk_held chunks[];
};
TAILQ_HEAD(held_list, held_channel);

/*
 * A worker's end has two signs, the socket's and the keeper's word.  Only the
 * second counts.  At the first one a process that is not ending is killed: it
 * has closed its socket and is of no use.
 */
struct worker {
    uv_poll_t poll;
    struct supervisor *supervisor;
    LIST_ENTRY(worker) link;
    TAILQ_ENTRY(worker) turn; /* while it WAITS */
    uint64_t handle;          /* the core's */
    uint64_t number;          /* the keeper's */
    vgpu_keeper_worker what;
    uint32_t gpu;
    enum worker_step step;
    pid_t pid;         /* 0: not known yet, or never */
    int fd;            /* -1: closed */
    int peer_fd;       /* the worker's end, until the keeper has it */
    int error;         /* errno, when FAILED */
    uint64_t adopting; /* what its READY must say; until then all that it says is not for us */
    vgpu_worker_ready ready; /* an ORPHAN's, once it is there */
    bool poll_open;
    vgpu_worker_figures figures;
    bool has_figures;
    bool has_ready;
    uint32_t held_due;      /* HELDs that are still to come */
    uint64_t held_until_ns; /* ... with their chunks; then it is killed */
    struct held_list held;
    bool told_to_go;            /* an ORPHAN that nobody wanted */
    bool closed;                /* its end of the socket */
    bool killed;                /* by us */
    bool kill_due;              /* ... and the keeper could not be told yet */
    uint64_t host_memory_bytes; /* 0: no limit */
    bool memory_due;            /* the keeper is to be told of that */
    bool protocol_error;        /* that is why it was killed */
    unsigned running;           /* jobs handed to it, and not answered */
    uint64_t busy_since_ns;     /* it has done nothing else since than the oldest of them */
    struct host_wait wait;
    VGPUTurnPage *turn_page; /* NULL: it has had no turn from this mediator */
};

LIST_HEAD(worker_list, worker);
TAILQ_HEAD(worker_queue, worker);

struct supervisor {
    struct supervisor_uses uses;
    struct handle_map by_handle, by_number;
    struct worker_list all;
    struct worker_queue waiting;
    uint32_t count;
    uint32_t to_report;        /* among them: FAILED and ADOPTED */
    uint32_t starting;         /* among them: WORKER_STARTS */
    uint64_t adoptions;        /* how many there were */
    uint64_t orphans_until_ns; /* so long they are kept; 0: there are none */
    struct lives *lives;       /* of the channels that they had */
    uv_timer_t orphans;        /* looks after both */
    struct host_wait own_wait;
    bool started;
    void (*all_gone)(void *opaque);
    void *all_gone_opaque;
    uint8_t frames[SUPERVISOR_BATCH][SUPERVISOR_FRAME_ROOM] __attribute__((aligned(8)));
};

/* ---- supervisor.c ---- */

void worker_kill(struct worker *worker);
void worker_kill_for_protocol(struct worker *worker, const char *what);
/* It has said that it is ready: another one may start. */
void worker_now_ready(struct worker *worker);
/* It can't be had: told to the core by supervisor_settle(). */
void worker_fail(struct worker *worker, int error);
void worker_enter(struct worker *worker, enum worker_step step);
/* A worker that is in the list of all, without a handle or a socket. */
struct worker *worker_new(struct supervisor *supervisor, uint64_t number,
                          const vgpu_keeper_worker *what);
/* -errno.  `fd` is taken over only if it is 0. */
int worker_watch(struct worker *worker, int fd);

/* ---- adoption.c ---- */

/* A worker of a mediator that was before us.  `fd` is taken over. */
void adoption_held(struct supervisor *supervisor, uint64_t number, const vgpu_keeper_held *held,
                   int fd);
/*
 * An orphan that is what the core wants, now with this handle; NULL: there is none, and one that
 * is of the same VM is ended.
 */
struct worker *adoption_take(struct supervisor *supervisor, const vgpu_keeper_worker *what,
                             uint64_t handle);
/* Its READY says how many channels it has.  It has SUPERVISOR_ORPHAN_MS to tell of all. */
void adoption_announced(struct worker *worker, uint32_t channels);
/* HELD and HELD_CHUNK of a worker, whose answer to ADOPT has come; `fd` is taken over, -1: none.
 * False: that makes no sense. */
bool adoption_take_held(struct worker *worker, uint64_t number, const uint8_t *body, size_t length,
                        int fd);
bool adoption_take_chunk(struct worker *worker, uint64_t number, const uint8_t *body,
                         size_t length);
/* A worker that is READY: what it has of channels goes to the core. */
void adoption_hand_over(struct worker *worker);
/* Tells the core of one that was given to it: it is ready, or another mediator's job ends first. */
void adoption_report(struct worker *worker);
void adoption_report_claimed(struct worker *worker);
/* Is all there that such a worker announced? */
bool adoption_has_all(const struct worker *worker);
void adoption_forget_held(struct worker *worker);
/*
 * The connection to a keeper was lost, and the keeper lived on: it holds workers whose VMs are to
 * get new ones meanwhile.  Two of one VM would take the GPU's memory twice.
 */
void adoption_end_replaced(struct supervisor *supervisor);
/* All that the keeper holds were told of: those that nobody wants are kept for so long. */
void adoption_begin_wait(struct supervisor *supervisor);
void adoption_on_timer(uv_timer_t *timer);

/* ---- worker_frames.c ---- */

/*
 * Reads what is there, `batch` frames at a time; as many batches as have `limit` frames, if `batch`
 * is SUPERVISOR_BATCH, else one.  False: the socket has ended.
 */
bool worker_drain(struct worker *worker, unsigned batch, unsigned limit);

/* A channel that the worker had told of by this number has this handle; 0: nobody wants it. */
void supervisor_claim(struct supervisor *supervisor, uint64_t handle, uint64_t number,
                      uint64_t channel);

#endif /* MEDIATOR_WORKERS_SUPERVISOR_INTERNAL_H */
