/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header has the daemon's parts, and says how they know each other.
 *
 * Theory of operation.  One thread runs the libuv loop and owns everything
 * below.  What happens outside (bytes on a session's socket, a worker's frame,
 * an exit, a timer) becomes a call into the pure core; what the core decides
 * comes back as effects (effects.c), which only queue bytes, send a worker its
 * frame or start a process.  Effects never call into the core: what one of
 * them finds broken (a full buffer, a worker that can't be started) is put on
 * a list, and effects_settle() reports it once the core has returned.
 *
 * One request's way: session_io.c reads the socket once and hands each frame to
 * core_session_frame(); the scheduler picks the job, supervisor.c sends RUN on
 * the worker's socket; its DONE comes back in the same way, and the answer lands
 * in the session's out buffer.  After all sockets that were ready have had
 * their turn, effects_settle() writes each touched buffer with one system call.
 *
 * What may block has its own thread of libuv's pool: reading other processes'
 * /proc files (discovery.c) and the database (config_store.c), one piece of work of
 * each at a time.
 *
 * This header is the key to all parts, and for main.c, effects.c and control/ only
 * (tests/layering_check.py).  Every other part is handed what it uses at its start,
 * so that it can be read, and tested, without the rest.
 */
#ifndef MEDIATOR_MEDIATOR_H
#define MEDIATOR_MEDIATOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "core/core.h"
#include "mediator/control/holds.h"
#include "mediator/options.h"

struct admin_server;
struct channel_memory;
struct config_store;
struct discovery;
struct events;
struct gpu_list;
struct effects;
struct driver_watch;
struct gpu_health;
struct memory_watch;
struct health;
struct health_watch;
struct job_trace;
struct listen_point;
struct http_metrics;
struct identity_cache;
struct keeper_link;
struct kept_state;
struct listeners;
struct own_metrics;
struct session_io;
struct session_park;
struct shares;
struct stats_log;
struct supervisor;
struct test_mode;

struct mediator {
    struct options options;
    uv_loop_t loop;
    struct core *core;

    struct effects *effects;
    struct session_io *sessions;
    struct session_park *session_park;
    struct listeners *listeners;
    struct discovery *discovery; /* NULL with --no-discovery, or while another one does it */
    struct discovery_lock *discovery_lock; /* NULL where it is not needed */
    struct identity_cache *identities;
    struct keeper_link *keeper; /* who starts the workers; NULL: not asked for yet */
    struct supervisor *supervisor;
    struct channel_memory *channel_memory;
    struct config_store *config; /* NULL with --no-db */
    struct events *events;
    struct job_trace *trace;
    struct admin_server *admin;
    struct listen_point *admin_point; /* its socket, NULL before it listens */
    struct holds holds;               /* who paused which GPU */
    struct shares *shares;
    struct stats_log *stats_log;
    struct kept_state *kept_state; /* NULL without --state */
    struct test_mode *test_mode;   /* NULL without --test-mode */
    struct own_metrics *own_metrics;
    struct http_metrics *http; /* NULL: off */
    const struct gpu_list *gpus;
    struct driver_watch *driver_watch;
    struct health *health;
    struct health_watch *health_watch;
    struct gpu_health *gpu_health;     /* NULL with --no-nvml, or without an NVIDIA GPU */
    struct memory_watch *memory_watch; /* NULL, too */

    char backend[8]; /* "cpu", "cuda" */
    uint64_t started_ns;
    bool started;
    bool stopping;
};

#endif /* MEDIATOR_MEDIATOR_H */
