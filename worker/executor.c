/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * One thread stands between two things that can't be waited for together: the
 * socket, which has a file descriptor, and the GPU, which has none.  Jobs in
 * flight are a ring of slots.  New RUN frames go in at its tail as long as
 * there are fewer than `depth`; results leave at its head, so DONE frames keep
 * the order of the RUN frames whatever answers a job: the backend, a refusal,
 * or the executor itself.
 *
 * With nothing in flight the thread sleeps in recv(), and a job costs no more
 * than the wake-up; a worker of a GPU keeps looking for 50 us first, because the
 * wake-up is a good part of a tiny job's way.  With jobs in flight it must see both the head's end
 * and the next RUN frame, which has to reach the GPU's queue before the head ends, or else the GPU
 * idles between jobs.  So it alternates between a recv() that doesn't wait and the backend's
 * poll():
 *
 *   - while the head may end at any moment it does so without a pause: in the
 *     first 50 us of a job of which nothing better is known, and around the
 *     times at which the last jobs of its kind ended (forecast.c).  So tiny
 *     jobs and jobs like those before them are answered within about a
 *     microsecond of their end;
 *   - else it sleeps in ppoll() on the socket: until shortly before the next
 *     time at which an end is expected, and never longer than a part of the
 *     time that the head has taken so far (a quarter, or a sixteenth where no
 *     end is expected) or a millisecond.  So an answer that nothing foretold is
 *     late by no more than that, the CPU's share shrinks as the job grows, and
 *     an endless kernel costs a thousand short wake-ups a second.  A RUN frame
 *     ends the sleep at once.
 *
 * The alternative, a callback that the driver runs after the job, makes the
 * GPU's stream wait for a host thread and costs more than a tiny job does.
 *
 * One job: the mediator's packet is received into `frame`, its header and
 * lengths are checked against the packet's size, the operation against
 * request_check_op().  submit() copies what it needs and starts the GPU; the
 * slot is RUNNING.  Some microseconds later poll() answers DONE, the result
 * goes out in one packet, and the slot is free.
 *
 * What ends the loop: QUIT (after what is in flight), the socket's end (at
 * once: nobody is left to answer), a malformed frame (the mediator has a bug,
 * nothing it says can be trusted), or a lost context.  Then the jobs whose
 * results were there have been answered, and the one that broke it and those
 * behind it have not: the mediator answers for them when it has seen the process
 * end, so that the VM's next job can't be sent to a worker that is leaving.
 */
#include "worker/executor.h"

#include <assert.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "worker/executor_internal.h"

/* How many looks at the rings for one at the socket. */
#define LOOKS_FOR_SOCKET 32u
#define LOOKS_FOR_YIELD 128u

/* Serves them, and sleeps when there has been nothing for long enough. */
static void serve_channels(struct executor *e, bool busy)
{
    bool did = channel_set_serve(e->channels);

    if (did || busy) {
        e->idle_looks = 0;
    } else if (++e->idle_looks >= e->spins) {
        e->idle_looks = 0;
        e->looks = 0;
        channel_set_sleep(e->channels, e->config->fd, e->has_drivers ? e->drivers.over : -1);
    } else if (e->idle_looks % LOOKS_FOR_YIELD == 0) {
        sched_yield(); /* the process may wait for this very processor */
    } else {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

/*
 * Waits a little for the head's end, or for the next frame where there is room.
 * Returns false when the mediator is gone.
 */
static bool pause_a_little(struct executor *e, bool room)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t pause_ns =
        forecast_pause_ns(&e->forecast, e->slots[e->head].opcode, now_ns - e->head_since_ns);
    struct pollfd socket = {.fd = e->config->fd, .events = room ? POLLIN : 0};
    struct timespec pause = {.tv_nsec = (long)pause_ns};
    int ready;

    if (pause_ns == 0) {
        return true;
    }
    ready = ppoll(&socket, 1, &pause, NULL);
    if (ready == 0) {
        forecast_slept(&e->forecast, pause_ns, clock_now_ns() - now_ns);
    }
    return !(ready > 0 && (socket.revents & (POLLHUP | POLLERR)) && !(socket.revents & POLLIN));
}

/*
 * The head is a turn of a channel with its own thread: sleeps until that says something, or the
 * next frame comes where there is room.  False when the mediator is gone.
 */
static bool sleep_in_turn(struct executor *e, bool room)
{
    struct pollfd fds[] = {{.fd = e->config->fd, .events = room ? POLLIN : 0},
                           {.fd = e->drivers.over, .events = POLLIN}};

    poll(fds, 2, executor_has_channels(e) ? 0 : 1000);
    return !((fds[0].revents & (POLLHUP | POLLERR)) && !(fds[0].revents & POLLIN));
}

/* Looks at the head once. */
static enum backend_state look_at_head(struct executor *e)
{
    struct slot *slot = &e->slots[e->head], *next = &e->slots[(e->head + 1) % e->config->depth];
    const bool goes_on = e->count > 1 && next->channel;
    const bool same = goes_on && next->channel == slot->channel;
    bool begun = false;

    if (slot->channel && e->has_drivers && !slot->own_thread) {
        slot->own_thread = driver_set_begin_turn(&e->drivers, slot->channel, slot->budget_ns);
    }
    if (slot->own_thread) {
        if (driver_set_turn_over(&e->drivers, slot->channel, goes_on, same ? next->budget_ns : 0,
                                 &slot->result.gpu_time_ns, &begun)) {
            next->own_thread |= begun;
            slot->channel = 0;
            slot->own_thread = false;
            slot->state = BACKEND_DONE;
        }
    } else if (slot->channel) {
        const struct channel_turn turn = {
            .budget_ns = slot->budget_ns,
            .goes_on = goes_on,
        };

        if (!e->channels ||
            channel_set_turn(e->channels, slot->channel, &turn, &slot->result.gpu_time_ns)) {
            slot->channel = 0;
            slot->state = BACKEND_DONE;
        }
    } else if (slot->state == BACKEND_RUNNING) {
        slot->state = e->config->ops->poll(e->config->backend, e->head, &slot->result);
        if (slot->state == BACKEND_DONE) {
            forecast_learn(&e->forecast, slot->opcode, clock_now_ns() - e->head_since_ns);
        }
    }
    return slot->state;
}

/*
 * The context is gone.  Unread frames at exit would reset the connection, and
 * the mediator would see the reset before the answers that wait in its own queue.
 */
static void discard_unread(const struct executor *e)
{
    char byte;

    shutdown(e->config->fd, SHUT_RD);
    while (recv(e->config->fd, &byte, 1, MSG_DONTWAIT) > 0) {
    }
}

/* Nothing is in flight, but there was a moment ago: the next job is likely to come soon. */
static bool stays_awake(const struct executor *e)
{
    return e->config->ops->idle_spin_ns > 0 &&
           clock_now_ns() - e->idle_since_ns < e->config->ops->idle_spin_ns;
}

/* Nothing is to be done: sleeps until the next frame, or until a channel's thread has ended. */
static enum take sleep_for_frame(struct executor *e)
{
    struct pollfd fds[] = {{.fd = e->config->fd, .events = POLLIN},
                           {.fd = e->drivers.over, .events = POLLIN}};

    uint64_t count;

    if (!e->has_drivers || e->drivers.count == 0) {
        return executor_take_frame(e, 0);
    }
    if (poll(fds, 2, -1) > 0 && (fds[1].revents & POLLIN)) {
        ssize_t n = read(e->drivers.over, &count, sizeof(count));

        (void)n;
    }
    return executor_take_frame(e, MSG_DONTWAIT);
}

static enum vgpu_worker_exit serve(struct executor *e)
{
    bool quitting = false;

    while (!quitting || e->count > 0) {
        bool room = !quitting && e->count < e->config->depth;
        enum take taken = TAKE_NOTHING;

        if (e->has_drivers) {
            driver_set_release(&e->drivers);
        }
        /* While it looks at rings it looks at the socket now and then: that is a system call. */
        if (room && (!executor_has_channels(e) || e->looks++ % LOOKS_FOR_SOCKET == 0)) {
            taken = e->count > 0 || executor_has_channels(e) || stays_awake(e)
                        ? executor_take_frame(e, MSG_DONTWAIT)
                        : sleep_for_frame(e);
        }
        switch (taken) {
        case TAKE_CLOSED: return VGPU_WORKER_EXIT_OK;
        case TAKE_MALFORMED: return VGPU_WORKER_EXIT_PROTOCOL;
        case TAKE_QUIT: quitting = true; break;
        case TAKE_JOB:
        case TAKE_NOTHING: break;
        }
        if (!e->lost && e->count > 0) {
            enum backend_state state = look_at_head(e);

            if (state == BACKEND_DONE && executor_send_done(e) < 0) {
                return VGPU_WORKER_EXIT_OK;
            }
            e->lost = state == BACKEND_LOST;
            if (state == BACKEND_RUNNING && !e->slots[e->head].channel && taken == TAKE_NOTHING &&
                !pause_a_little(e, room)) {
                return VGPU_WORKER_EXIT_OK;
            }
            if (state == BACKEND_RUNNING && e->slots[e->head].own_thread && taken == TAKE_NOTHING &&
                !sleep_in_turn(e, room)) {
                return VGPU_WORKER_EXIT_OK;
            }
        }
        if (executor_has_channels(e)) {
            serve_channels(e, taken != TAKE_NOTHING || e->count > 0);
            e->lost = e->lost || channel_set_lost(e->channels);
        } else {
            e->idle_looks = 0;
        }
        if (e->broken) {
            return VGPU_WORKER_EXIT_OK;
        }
        if (e->lost) {
            discard_unread(e);
            return VGPU_WORKER_EXIT_GPU_FAULT;
        }
    }
    return VGPU_WORKER_EXIT_OK;
}

enum vgpu_worker_exit executor_run(const struct executor_config *config, bool *in_flight)
{
    static struct executor executor; /* 20 kB, and there is one worker a process */
    struct executor *e = &executor;
    enum vgpu_worker_exit status = VGPU_WORKER_EXIT_OK;

    assert(config->depth >= 1 && config->depth <= WORKER_DEPTH_MAX);
    memset(e, 0, sizeof(*e));
    e->config = config;
    e->credit = VGPU_WORKER_CREDIT_ALL;
    e->spins = get_nprocs() > 1 ? CHANNEL_SET_SPINS : 1;
    config->ops->describe(config->backend, &e->ready);
    e->ready.flags |= VGPU_WORKER_TAKES_LIMITS;
    if (executor_send(e, VGPU_WORKER_READY, 0, &e->ready, sizeof(e->ready), NULL, 0) == 0) {
        status = serve(e);
    }
    channel_set_free(e->channels);
    while (!LIST_EMPTY(&e->partials)) {
        struct channel_mapping *partial = LIST_FIRST(&e->partials);

        LIST_REMOVE(partial, link);
        mapping_free(partial);
    }
    if (e->has_drivers) {
        driver_set_end(&e->drivers);
        *in_flight = true; /* their threads may be inside the driver */
        return status;
    }
    *in_flight = e->count > 0;
    return status;
}
