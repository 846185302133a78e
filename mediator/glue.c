/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/glue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/job_trace.h"
#include "mediator/events.h"
#include "mediator/mediator.h"
#include "mediator/session_io.h"
#include "mediator/supervisor.h"

struct glue {
    struct mediator *mediator;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_poll_t timer_poll;
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

static void effect_close_session(void *opaque, uint32_t session, enum core_close_reason reason)
{
    struct mediator *mediator = opaque;

    session_io_close(mediator->sessions, session, reason);
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

static void effect_event(void *opaque, const struct core_event *event)
{
    struct mediator *mediator = opaque;

    if (event->kind == CORE_EVENT_SESSION_BOUND) {
        job_trace_add_vm(mediator->trace, event->vm);
    }
    events_core(mediator->events, event);
}

static void effect_job(void *opaque, const struct core_job_step *step)
{
    struct mediator *mediator = opaque;

    job_trace_step(mediator->trace, step);
}

void glue_effects(struct mediator *mediator, struct core_effects *effects)
{
    *effects = (struct core_effects){
        .opaque = mediator,
        .send = effect_send,
        .close_session = effect_close_session,
        .worker_start = effect_worker_start,
        .worker_run = effect_worker_run,
        .worker_stop = effect_worker_stop,
        .event = effect_event,
        .job = effect_job,
    };
}

/* ---- hooks ---- */

void glue_settle(struct mediator *mediator)
{
    /*
     * Each pass reports what is broken now; that can break no more than what
     * is left, so this ends: a closed session stays closed, and a worker that
     * did not start is not started again before the core's back-off.
     */
    while (supervisor_report_failures(mediator->supervisor) |
           session_io_flush(mediator->sessions)) {
    }
}

/*
 * The timer is only ever moved to an earlier time.  A deadline that went away
 * (most do: each job has one) costs at most one early wake-up, not a system
 * call for each job.
 */
static void arm_timer(struct glue *glue)
{
    uint64_t deadline_ns = core_next_deadline_ns(glue->mediator->core);
    struct itimerspec spec = {0};

    if (deadline_ns >= glue->armed_ns) {
        return;
    }
    glue->armed_ns = deadline_ns;
    if (deadline_ns == 0) {
        deadline_ns = 1; /* zero would disarm it */
    }
    spec.it_value.tv_sec = (time_t)(deadline_ns / 1000000000u);
    spec.it_value.tv_nsec = (long)(deadline_ns % 1000000000u);
    timerfd_settime(glue->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void on_timer(uv_poll_t *poll, int status, int events)
{
    struct glue *glue = poll->data;
    uint64_t count;

    if (read(glue->timer_fd, &count, sizeof(count)) != (ssize_t)sizeof(count)) {
        return;
    }
    glue->armed_ns = CORE_NEVER;
    core_tick(glue->mediator->core, mediator_now_ns());
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct glue *glue = prepare->data;

    glue_settle(glue->mediator);
    arm_timer(glue);
}

static void on_check(uv_check_t *check)
{
    struct glue *glue = check->data;

    glue_settle(glue->mediator);
}

int glue_start(struct mediator *mediator)
{
    struct glue *glue = calloc(1, sizeof(*glue));
    int ret;

    if (!glue) {
        return -ENOMEM;
    }
    glue->mediator = mediator;
    glue->armed_ns = CORE_NEVER;
    glue->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (glue->timer_fd < 0) {
        ret = -errno;
        free(glue);
        return ret;
    }
    ret = uv_poll_init(&mediator->loop, &glue->timer_poll, glue->timer_fd);
    if (ret < 0) {
        close(glue->timer_fd);
        free(glue);
        return ret;
    }
    uv_prepare_init(&mediator->loop, &glue->prepare);
    uv_check_init(&mediator->loop, &glue->check);
    glue->timer_poll.data = glue;
    glue->prepare.data = glue;
    glue->check.data = glue;
    glue->open_handles = 3;
    mediator->glue = glue;

    ret = uv_poll_start(&glue->timer_poll, UV_READABLE, on_timer);
    if (ret == 0) {
        ret = uv_prepare_start(&glue->prepare, on_prepare);
    }
    if (ret == 0) {
        ret = uv_check_start(&glue->check, on_check);
    }
    return ret;
}

static void on_closed(uv_handle_t *handle)
{
    struct glue *glue = handle->data;

    if (--glue->open_handles == 0) {
        close(glue->timer_fd);
        free(glue);
    }
}

void glue_stop(struct mediator *mediator)
{
    struct glue *glue = mediator->glue;

    if (!glue) {
        return;
    }
    mediator->glue = NULL;
    uv_close((uv_handle_t *)&glue->timer_poll, on_closed);
    uv_close((uv_handle_t *)&glue->prepare, on_closed);
    uv_close((uv_handle_t *)&glue->check, on_closed);
}
