/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/effects.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/unused.h"
#include "core/job_trace.h"
#include "mediator/base/busy_poll.h"
#include "mediator/config/config_store.h"
#include "mediator/control/driver_watch.h"
#include "mediator/control/health_watch.h"
#include "mediator/events.h"
#include "mediator/mediator.h"
#include "mediator/metrics/job_log.h"
#include "mediator/sessions/session_io.h"
#include "mediator/workers/channel_memory.h"
#include "mediator/workers/supervisor.h"

struct effects {
    struct mediator *mediator;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_poll_t timer_poll;
    struct busy_poll busy_poll;
    int timer_fd; /* timerfd: libuv's timers count milliseconds, the scheduler microseconds */
    uint64_t armed_ns;
    unsigned open_handles;
};

/* ---- effects ---- */

static void effect_send(void *opaque, uint32_t session, const VGPUSocketHeader *header,
                        const void *payload)
{
    struct mediator *mediator = opaque;

    session_io_send(mediator->sessions, session, header, payload);
}

static void effect_close_session(void *opaque, uint32_t session,
                                 UNUSED enum core_close_reason reason)
{
    struct mediator *mediator = opaque;

    session_io_close(mediator->sessions, session);
}

static void effect_worker_start(void *opaque, const struct core_worker_spec *spec)
{
    struct mediator *mediator = opaque;

    supervisor_start_worker(mediator->supervisor, spec);
}

static void effect_worker_run(void *opaque, uint64_t worker, uint64_t job_id,
                              const struct request_view *request)
{
    struct mediator *mediator = opaque;

    supervisor_run(mediator->supervisor, worker, job_id, request);
}

static void effect_worker_stop(void *opaque, uint64_t worker, bool kill)
{
    struct mediator *mediator = opaque;

    supervisor_stop_worker(mediator->supervisor, worker, kill);
}

static int effect_channel_lease(void *opaque, uint64_t channel, int fd)
{
    struct mediator *mediator = opaque;

    return channel_memory_lease(mediator->channel_memory, channel, fd);
}

static int effect_channel_part(void *opaque, uint64_t channel, const VGPUChunkAdd *add,
                               const VGPUPiece *pieces, int fd)
{
    struct mediator *mediator = opaque;

    return channel_memory_part(mediator->channel_memory, channel, add, pieces, fd);
}

struct part_to {
    struct supervisor *supervisor;
    uint64_t worker, channel;
};

static void send_part(void *opaque, const VGPUChunkAdd *add, const VGPUPiece *pieces, int fd)
{
    const struct part_to *to = opaque;

    supervisor_channel_part(to->supervisor, to->worker, to->channel, add, pieces, fd);
}

static int effect_channel_start(void *opaque, uint64_t worker, uint64_t channel,
                                enum vgpu_channel_transport transport, const VGPUChannelOpen *open,
                                uint64_t bytes)
{
    struct mediator *mediator = opaque;
    struct channel_memory *memory = mediator->channel_memory;
    struct part_to to = {mediator->supervisor, worker, channel};
    int ret = channel_memory_make(memory, channel, transport,
                                  (open->features & VGPU_CHANNEL_LIFE) != 0, bytes);
    int fds[CHANNEL_FDS_MAX];
    unsigned count;

    if (ret < 0) {
        log_error("cannot make %" PRIu64 " bytes of memory for a channel: %s", bytes,
                  strerror(-ret));
        return ret;
    }
    count = channel_memory_for_worker(memory, channel, fds);
    supervisor_channel_start(mediator->supervisor, worker, channel, transport, open, fds, count);
    channel_memory_take_parts(memory, channel, send_part, &to);
    return 0;
}

static void effect_channel_send(void *opaque, uint32_t session, uint64_t channel,
                                const VGPUSocketHeader *header, const void *payload)
{
    struct mediator *mediator = opaque;
    int fds[CHANNEL_FDS_MAX];
    unsigned count = channel_memory_for_session(mediator->channel_memory, channel, fds);

    session_io_send_fds(mediator->sessions, session, header, payload, fds, count);
    channel_memory_handed_over(mediator->channel_memory, channel);
}

static void effect_channel_stop(void *opaque, uint64_t worker, uint64_t channel, uint32_t reason)
{
    struct mediator *mediator = opaque;

    supervisor_channel_stop(mediator->supervisor, worker, channel, reason);
}

static void effect_channel_free(void *opaque, uint64_t channel)
{
    struct mediator *mediator = opaque;

    channel_memory_drop(mediator->channel_memory, channel);
    supervisor_channel_forget(mediator->supervisor, channel);
}

static uint64_t effect_channel_match(void *opaque, const struct core_vm_config *vm, int life)
{
    struct mediator *mediator = opaque;

    return supervisor_channel_match(mediator->supervisor, vm, life);
}

static int effect_chunk_part(void *opaque, uint64_t worker, uint64_t channel,
                             const VGPUChunkAdd *add, const VGPUPiece *pieces, int fd)
{
    struct mediator *mediator = opaque;

    if (!channel_memory_is_memory(fd, pieces, add->piece_count)) {
        return -EINVAL;
    }
    supervisor_channel_part(mediator->supervisor, worker, channel, add, pieces, fd);
    return 0;
}

static int effect_chunk_start(void *opaque, uint64_t worker, uint64_t channel, uint32_t chunk,
                              uint64_t bytes)
{
    struct mediator *mediator = opaque;
    int fd = channel_memory_make_chunk(mediator->channel_memory, channel, chunk, bytes);

    if (fd < 0) {
        log_error("cannot make a chunk of %" PRIu64 " bytes for a channel: %s", bytes,
                  strerror(-fd));
        return fd;
    }
    supervisor_chunk_start(mediator->supervisor, worker, channel, chunk, bytes, fd);
    return 0;
}

static void effect_chunk_send(void *opaque, uint32_t session, uint64_t channel, uint32_t chunk,
                              const VGPUSocketHeader *header, const void *payload)
{
    struct mediator *mediator = opaque;
    int fd = channel_memory_chunk_fd(mediator->channel_memory, channel, chunk);

    session_io_send_fds(mediator->sessions, session, header, payload, &fd, fd >= 0);
    channel_memory_drop_chunk(mediator->channel_memory, channel, chunk);
}

static void effect_chunk_stop(void *opaque, uint64_t worker, uint64_t channel, uint32_t chunk)
{
    struct mediator *mediator = opaque;

    supervisor_chunk_stop(mediator->supervisor, worker, channel, chunk);
}

static void effect_chunk_free(void *opaque, uint64_t channel, uint32_t chunk)
{
    struct mediator *mediator = opaque;

    channel_memory_drop_chunk(mediator->channel_memory, channel, chunk);
}

static void effect_turn_yield(void *opaque, uint64_t worker, uint64_t yield_ns)
{
    struct mediator *mediator = opaque;

    supervisor_yield(mediator->supervisor, worker, yield_ns);
}

static void effect_worker_memory(void *opaque, uint64_t worker, uint64_t bytes)
{
    struct mediator *mediator = opaque;

    supervisor_memory(mediator->supervisor, worker, bytes);
}

static void effect_worker_limits(void *opaque, uint64_t worker, uint64_t kernel_ns)
{
    struct mediator *mediator = opaque;

    supervisor_limits(mediator->supervisor, worker, kernel_ns);
}

static void effect_worker_credit(void *opaque, uint64_t worker, uint32_t records)
{
    struct mediator *mediator = opaque;

    supervisor_credit(mediator->supervisor, worker, records);
}

static void effect_worker_turn(void *opaque, uint64_t worker, uint64_t job_id, uint64_t channel,
                               uint64_t budget_ns)
{
    struct mediator *mediator = opaque;

    supervisor_turn(mediator->supervisor, worker, job_id, channel, budget_ns);
}

static void effect_event(void *opaque, const struct core_event *event)
{
    struct mediator *mediator = opaque;

    if (event->kind == CORE_EVENT_SESSION_BOUND) {
        job_trace_add_vm(mediator->trace, event->vm);
    }
    driver_watch_event(mediator->driver_watch, event);
    health_watch_event(mediator->health_watch, event);
    events_core(mediator->events, event);
}

static void effect_job(void *opaque, const struct core_job_step *step)
{
    struct mediator *mediator = opaque;

    job_trace_step(mediator->trace, step);
    job_log_step(mediator->core, step);
    if (mediator->effects) { /* else the daemon is stopping */
        busy_poll_step(&mediator->effects->busy_poll, step->now_ns);
    }
}

/* What the database keeps of a VM.  Without one nothing is kept. */
static void effect_persist(void *opaque, const struct core_event *fact)
{
    struct mediator *mediator = opaque;
    char text[EVENTS_TEXT_BYTES];

    if (!mediator->config) {
        return;
    }
    switch (fact->kind) {
    case CORE_EVENT_FAULT:
        events_describe(mediator->events, fact, text, sizeof(text));
        config_store_fault(mediator->config, fact->vm_id, text);
        break;
    case CORE_EVENT_QUARANTINED:
        snprintf(text, sizeof(text), "after %" PRIu64 " faults", fact->value);
        config_store_quarantine(mediator->config, fact->vm_id, text);
        break;
    case CORE_EVENT_UNQUARANTINED: config_store_unquarantine(mediator->config, fact->vm_id); break;
    default: break;
    }
}

void effects_table(struct mediator *mediator, struct core_effects *effects)
{
    *effects = (struct core_effects){
        .opaque = mediator,
        .send = effect_send,
        .close_session = effect_close_session,
        .worker_start = effect_worker_start,
        .worker_run = effect_worker_run,
        .worker_stop = effect_worker_stop,
        .channel_lease = effect_channel_lease,
        .channel_part = effect_channel_part,
        .channel_start = effect_channel_start,
        .channel_send = effect_channel_send,
        .channel_stop = effect_channel_stop,
        .channel_free = effect_channel_free,
        .channel_match = effect_channel_match,
        .chunk_part = effect_chunk_part,
        .chunk_start = effect_chunk_start,
        .worker_credit = effect_worker_credit,
        .worker_limits = effect_worker_limits,
        .worker_memory = effect_worker_memory,
        .turn_yield = effect_turn_yield,
        .chunk_send = effect_chunk_send,
        .chunk_stop = effect_chunk_stop,
        .chunk_free = effect_chunk_free,
        .worker_turn = effect_worker_turn,
        .event = effect_event,
        .persist = effect_persist,
        .job = effect_job,
    };
}

/* ---- hooks ---- */

void effects_settle(struct mediator *mediator)
{
    /*
     * Each pass reports what is broken now; that can break no more than what
     * is left, so this ends: a closed session stays closed, and a worker that
     * did not start is not started again before the core's back-off.
     */
    while (supervisor_settle(mediator->supervisor) | session_io_flush(mediator->sessions)) {
    }
}

/*
 * The timer is only ever moved to an earlier time.  A deadline that went away
 * (most do: each job has one) costs at most one early wake-up, not a system
 * call for each job.
 */
static void arm_timer(struct effects *effects)
{
    uint64_t deadline_ns = core_next_deadline_ns(effects->mediator->core);
    struct itimerspec spec = {0};

    if (deadline_ns >= effects->armed_ns) {
        return;
    }
    effects->armed_ns = deadline_ns;
    spec.it_value = clock_timespec(deadline_ns ? deadline_ns : 1); /* zero would disarm it */
    timerfd_settime(effects->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void on_timer(uv_poll_t *poll, UNUSED int status, UNUSED int events)
{
    struct effects *effects = poll->data;
    uint64_t count;

    if (read(effects->timer_fd, &count, sizeof(count)) != (ssize_t)sizeof(count)) {
        return;
    }
    effects->armed_ns = CORE_NEVER;
    core_tick(effects->mediator->core, clock_now_ns());
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct effects *effects = prepare->data;

    effects_settle(effects->mediator);
    arm_timer(effects);
    busy_poll_prepare(&effects->busy_poll, clock_now_ns());
}

static void on_check(uv_check_t *check)
{
    struct effects *effects = check->data;

    effects_settle(effects->mediator);
}

int effects_start(struct mediator *mediator)
{
    struct effects *effects = calloc(1, sizeof(*effects));
    int ret;

    if (!effects) {
        return -ENOMEM;
    }
    effects->mediator = mediator;
    effects->armed_ns = CORE_NEVER;
    effects->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (effects->timer_fd < 0) {
        ret = -errno;
        free(effects);
        return ret;
    }
    ret = uv_poll_init(&mediator->loop, &effects->timer_poll, effects->timer_fd);
    if (ret < 0) {
        close(effects->timer_fd);
        free(effects);
        return ret;
    }
    uv_prepare_init(&mediator->loop, &effects->prepare);
    uv_check_init(&mediator->loop, &effects->check);
    effects->timer_poll.data = effects;
    effects->prepare.data = effects;
    effects->check.data = effects;
    effects->open_handles = 4;
    busy_poll_init(&effects->busy_poll, &mediator->loop, mediator->options.busy_poll_ns);
    effects->busy_poll.idle.data = effects;
    mediator->effects = effects;

    ret = uv_poll_start(&effects->timer_poll, UV_READABLE, on_timer);
    if (ret == 0) {
        ret = uv_prepare_start(&effects->prepare, on_prepare);
    }
    if (ret == 0) {
        ret = uv_check_start(&effects->check, on_check);
    }
    return ret;
}

static void on_closed(uv_handle_t *handle)
{
    struct effects *effects = handle->data;

    if (--effects->open_handles == 0) {
        close(effects->timer_fd);
        free(effects);
    }
}

void effects_stop(struct mediator *mediator)
{
    struct effects *effects = mediator->effects;

    if (!effects) {
        return;
    }
    mediator->effects = NULL;
    uv_close((uv_handle_t *)&effects->timer_poll, on_closed);
    uv_close((uv_handle_t *)&effects->prepare, on_closed);
    uv_close((uv_handle_t *)&effects->check, on_closed);
    busy_poll_close(&effects->busy_poll, on_closed);
}
