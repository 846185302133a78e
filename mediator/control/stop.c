/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * No new requests, then what was accepted is answered if that takes no longer than
 * STOP_ANSWERS_MS, then the sessions close, then the workers leave, or stay with a keeper that
 * outlives us, then the database's last writes end, then every handle closes and the loop ends.
 */
#include "mediator/control/stop.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/ns.h"
#include "mediator/config/config_store.h"
#include "mediator/control/driver_watch.h"
#include "mediator/control/health_watch.h"
#include "mediator/control/server.h"
#include "mediator/control/test_mode.h"
#include "mediator/effects.h"
#include "mediator/events.h"
#include "mediator/gpu/gpu_health.h"
#include "mediator/gpu/memory_watch.h"
#include "mediator/mediator.h"
#include "mediator/metrics/http_metrics.h"
#include "mediator/metrics/own_metrics.h"
#include "mediator/metrics/shares.h"
#include "mediator/metrics/stats_log.h"
#include "mediator/sessions/discovery.h"
#include "mediator/sessions/discovery_lock.h"
#include "mediator/sessions/listeners.h"
#include "mediator/sessions/session_io.h"
#include "mediator/sessions/session_park.h"
#include "mediator/state/kept_state.h"
#include "mediator/workers/keeper_link.h"
#include "mediator/workers/supervisor.h"

/* A thread that hangs (a dead disk, a stuck process) must not keep us from stopping. */
#define STOP_PATIENCE_MS 8000
/* For accepted requests; looked at so often. */
#define STOP_ANSWERS_MS 2000u
#define STOP_LOOK_MS 2u

enum { SIGNAL_TERM, SIGNAL_INT, SIGNAL_HUP, SIGNAL_COUNT };

static uv_signal_t signals[SIGNAL_COUNT];
static uv_timer_t patience, answers;
static uint64_t answers_until_ns;

void stop_before_the_core(void)
{
    uv_close((uv_handle_t *)&answers, NULL);
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        uv_close((uv_handle_t *)&signals[i], NULL);
    }
}

static void on_database_idle(void *opaque)
{
    struct mediator *self = opaque;

    stop_before_the_core();
    supervisor_close(self->supervisor);
    events_stop(self->events);
    shares_stop(self->shares);
    stats_log_stop(self->stats_log);
    test_mode_stop(self->test_mode);
    health_watch_stop(self->health_watch);
    driver_watch_stop(self->driver_watch);
    memory_watch_stop(self->memory_watch);
    gpu_health_stop(self->gpu_health);
    http_metrics_stop(self->http);
    own_metrics_stop(self->own_metrics);
    effects_stop(self);
}

static void on_workers_gone(void *opaque)
{
    struct mediator *self = opaque;

    if (self->config) {
        config_store_when_idle(self->config, on_database_idle, self);
    } else {
        on_database_idle(self);
    }
}

static void on_patience_ended(uv_timer_t *timer)
{
    const struct mediator *self = timer->data;

    log_error("something does not end (the database, or a process that is being looked at): "
              "stopping without it");
    _exit(self->started ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* The next mediator finds them with the keeper, if that one is not ours alone. */
static bool workers_stay(const struct mediator *self)
{
    return self->keeper && keeper_link_ready(self->keeper) &&
           !(keeper_link_welcome(self->keeper)->flags & VGPU_KEEPER_PRIVATE);
}

/* Who was not ready has what belongs to the one that is. */
static void leave_connections(struct mediator *self)
{
    uint32_t left = self->started ? session_park_leave(self->session_park) : 0;

    if (left > 0) {
        log_notice("the connections of %" PRIu32 " devices wait with vgpu-keeper for the next "
                   "mediator, %u s",
                   left, VGPU_KEEPER_PARK_S);
    }
}

static void end_sessions(struct mediator *self)
{
    kept_state_stop(self->kept_state); /* before those who are owed leave and give that up */
    session_park_stop(self->session_park);
    if (workers_stay(self)) {
        core_leave(self->core); /* so do channels whose processes can find them again */
        leave_connections(self);
    }
    listeners_remove_all(self->listeners);
    session_io_close_all(self->sessions);
    effects_settle(self);
    if (workers_stay(self)) {
        supervisor_leave(self->supervisor);
    } else {
        core_stop_workers(self->core, clock_now_ns());
    }
    supervisor_when_empty(self->supervisor, on_workers_gone, self);
}

static void on_answers(uv_timer_t *timer)
{
    struct mediator *self = timer->data;
    uint32_t left = core_requests_left(self->core);

    if (left > 0 && clock_now_ns() < answers_until_ns) {
        uv_timer_start(timer, on_answers, STOP_LOOK_MS, 0);
        return;
    }
    if (left > 0) {
        log_notice("%" PRIu32 " accepted requests were not answered within %u ms: their devices "
                   "are told that the mediator is not available",
                   left, STOP_ANSWERS_MS);
    }
    end_sessions(self);
}

void mediator_stop(struct mediator *self)
{
    if (self->stopping) {
        return;
    }
    self->stopping = true;
    uv_timer_start(&patience, on_patience_ended, STOP_PATIENCE_MS, 0);
    notify_manager("STOPPING=1");
    events_stopping(self->events);
    if (self->discovery_lock) {
        discovery_lock_stop(self->discovery_lock);
    }
    if (self->discovery) {
        discovery_stop(self->discovery);
    }
    admin_server_stop(self->admin);
    session_io_read_no_more(self->sessions);
    answers_until_ns = clock_now_ns() + STOP_ANSWERS_MS * NS_PER_MS;
    on_answers(&answers);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct mediator *self = handle->data;

    if (signum == SIGHUP) {
        if (!self->config) {
            log_notice("SIGHUP: there is no database to read again (--no-db)");
        } else if (!self->stopping && config_store_reload(self->config, NULL, NULL) < 0) {
            log_error("SIGHUP: the configuration was not read again: the database is too slow");
        }
        return;
    }
    log_notice("%s: stopping", signum == SIGTERM ? "SIGTERM" : "SIGINT");
    mediator_stop(self);
}

bool stop_prepare(struct mediator *self)
{
    static const int numbers[SIGNAL_COUNT] = {SIGTERM, SIGINT, SIGHUP};

    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        if (uv_signal_init(&self->loop, &signals[i]) < 0 ||
            uv_signal_start(&signals[i], on_signal, numbers[i]) < 0) {
            log_error("cannot watch for signals");
            return false;
        }
        signals[i].data = self;
    }
    uv_timer_init(&self->loop, &answers);
    uv_timer_init(&self->loop, &patience);
    uv_unref((uv_handle_t *)&patience); /* it waits for the others, none for it */
    answers.data = patience.data = self;
    return true;
}

void stop_end(void)
{
    uv_close((uv_handle_t *)&patience, NULL);
}
