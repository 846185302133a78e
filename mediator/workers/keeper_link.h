/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The link is our end of vgpu-keeper, which starts and kills the workers for us.
 *
 * It connects to the keeper that the administrator runs, or starts one of its own, which then
 * ends with us.  A keeper that is lost is looked for, or started, again; its workers are lost
 * with it.  Nothing here waits but keeper_link_open().
 */
#ifndef MEDIATOR_WORKERS_KEEPER_LINK_H
#define MEDIATOR_WORKERS_KEEPER_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "vgpu/vgpu_keeper.h"

#define KEEPER_LINK_DEADLINE_MS 20000 /* of keeper_link_open() */
#define KEEPER_LINK_AGAIN_MS 1000     /* between two tries */
#define KEEPER_LINK_PARK_MS 500
#define KEEPER_LINK_ARGS_MAX 20u

struct keeper_link;

/* Strings live as long as the link. */
struct keeper_link_config {
    const char *socket_path; /* of a keeper that runs; NULL: ours */
    const char *program;     /* ours: vgpu-keeper; NULL: beside our own executable */
    /* Ours: more arguments for it, NULL behind the last. */
    const char *args[KEEPER_LINK_ARGS_MAX];
    void (*there)(struct keeper_link *link); /* each time that one takes orders; NULL: nobody */
};

/* What the link tells, from the loop. */
struct keeper_link_events {
    void *opaque;
    /* A worker that lives since before us; `fd` is the callee's. */
    void (*held)(void *opaque, uint64_t number, const vgpu_keeper_held *held, int fd);
    void (*started)(void *opaque, uint64_t number, const vgpu_keeper_process *process);
    void (*ended)(void *opaque, uint64_t number, const vgpu_keeper_end *end);
    void (*lost)(void *opaque);
    /* All held ones were told of, or it takes more after an -EAGAIN. */
    void (*ready)(void *opaque);
};

/*
 * Waits until the keeper is there and has said what it holds.  -errno with an `error` for the
 * administrator.  While there is one thread.
 */
int keeper_link_open(const struct keeper_link_config *config, struct keeper_link **link,
                     char *error, size_t error_bytes);
/* From now on the loop serves it. */
int keeper_link_watch(struct keeper_link *link, uv_loop_t *loop,
                      const struct keeper_link_events *events);
/* A keeper of ours ends; the loop ends its part of the link. */
void keeper_link_stop(struct keeper_link *link);
/* Not watched, or the loop has run since keeper_link_stop(). */
void keeper_link_free(struct keeper_link *link);

/* Is one there that takes orders? */
bool keeper_link_ready(const struct keeper_link *link);
/* What the latest keeper said; valid while `link` is. */
const vgpu_keeper_welcome *keeper_link_welcome(const struct keeper_link *link);
/* How often one was lost. */
uint32_t keeper_link_losses(const struct keeper_link *link);
/* Why there is none; "" when there is. */
const char *keeper_link_trouble(const struct keeper_link *link);

/* A number that no process has.  Any thread. */
uint64_t keeper_link_number(struct keeper_link *link);

/*
 * The descriptors stay the caller's.  -EAGAIN: again after ready(); -ENOTCONN: there is no
 * keeper, ready() follows when there is.
 */
int keeper_link_start(struct keeper_link *link, uint64_t number, const vgpu_keeper_worker *worker,
                      const int fds[VGPU_KEEPER_FDS]);
int keeper_link_kill(struct keeper_link *link, uint64_t number);
/* A worker's host memory from now on, 0: no limit: if its welcome has VGPU_KEEPER_LIMITS_MEMORY. */
int keeper_link_memory(struct keeper_link *link, uint64_t number, uint64_t bytes);
/* Any thread. */
int keeper_link_probe(struct keeper_link *link, uint64_t number, uint32_t backend,
                      const int fds[VGPU_KEEPER_FDS]);
int keeper_link_kill_probe(struct keeper_link *link, uint64_t number);
/* Two sockets, each for a helper (vgpu_host.h): if its welcome has VGPU_KEEPER_HELPS. */
int keeper_link_help(struct keeper_link *link, const int fds[VGPU_KEEPER_FDS]);
/*
 * A connection and its story for the next mediator, if its welcome has VGPU_KEEPER_PARKS.  Waits
 * for room, KEEPER_LINK_PARK_MS in all: for who stops.
 */
int keeper_link_park(struct keeper_link *link, const int fds[VGPU_KEEPER_FDS]);
/* What the mediator before has parked: `parked` is called from the loop, with what is its own. */
int keeper_link_fetch(struct keeper_link *link,
                      void (*parked)(void *opaque, const int fds[VGPU_KEEPER_FDS]), void *opaque);
/* Any thread.  If its welcome has VGPU_KEEPER_RESETS. */
int keeper_link_reset(struct keeper_link *link, const char *gpu, const int fds[VGPU_KEEPER_FDS]);

#endif /* MEDIATOR_WORKERS_KEEPER_LINK_H */
