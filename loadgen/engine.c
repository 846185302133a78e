/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "loadgen/engine.h"
#include "common/clock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "common/unused.h"

#define EVENTS 128
#define RECONNECT_TIMEOUT_MS 1000
#define TIMER_TAG UINT64_MAX

struct engine {
    struct vm *vms;
    uint32_t count;
    int epoll_fd, timer_fd;
    uint64_t timer_ns;                 /* what timer_fd is set to, VM_NEVER = not */
    uint32_t watched[LOADGEN_VMS_MAX]; /* events of each VM, 0 = not in the set */
};

static volatile sig_atomic_t interrupted;

static void on_signal(UNUSED int number)
{
    interrupted = 1;
}

static int watch(struct engine *engine, uint32_t index)
{
    struct vm *vm = &engine->vms[index];
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = index};
    int operation = engine->watched[index] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (vm->fd < 0) {
        engine->watched[index] = 0; /* closing it took it out of the set */
        return 0;
    }
    event.events |= vm->write_blocked ? (uint32_t)EPOLLOUT : 0u;
    if (event.events == engine->watched[index]) {
        return 0;
    }
    engine->watched[index] = event.events;
    return epoll_ctl(engine->epoll_fd, operation, vm->fd, &event) < 0 ? -errno : 0;
}

/* Everything that time brings; returns when to come back. */
static uint64_t run_timed(struct engine *engine, uint64_t now_ns)
{
    uint64_t next_ns = VM_NEVER;

    for (uint32_t i = 0; i < engine->count; i++) {
        struct vm *vm = &engine->vms[i];
        uint64_t wake_ns = vm_wake_ns(vm);

        if (wake_ns <= now_ns) {
            if (vm->fd < 0 && vm_connect(vm, RECONNECT_TIMEOUT_MS) < 0) {
                vm->not_before_ns = clock_now_ns() + 100 * NS_PER_MS;
            } else {
                vm_pump(vm, now_ns);
            }
            watch(engine, i);
            wake_ns = vm_wake_ns(vm);
        }
        next_ns = wake_ns < next_ns ? wake_ns : next_ns;
    }
    return next_ns;
}

static void set_timer(struct engine *engine, uint64_t when_ns)
{
    struct itimerspec spec = {0};

    if (when_ns == engine->timer_ns) {
        return;
    }
    engine->timer_ns = when_ns;
    if (when_ns != VM_NEVER) {
        spec.it_value = clock_timespec(when_ns);
    }
    timerfd_settime(engine->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void serve(struct engine *engine, const struct epoll_event *event)
{
    uint32_t index = (uint32_t)event->data.u64;
    struct vm *vm = &engine->vms[index];
    uint64_t now_ns = clock_now_ns();
    uint64_t expirations;

    if (event->data.u64 == TIMER_TAG) {
        engine->timer_ns = VM_NEVER;
        if (read(engine->timer_fd, &expirations, sizeof(expirations)) < 0) {
            return; /* it was set anew meanwhile */
        }
        return;
    }
    if (vm->fd < 0) {
        return;
    }
    if (event->events & EPOLLOUT) {
        vm->write_blocked = false;
    }
    if (!(event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || vm_read(vm, now_ns)) {
        vm_pump(vm, now_ns);
    }
    watch(engine, index);
}

static bool all_finished(const struct engine *engine, uint64_t now_ns, uint64_t *in_flight)
{
    bool finished = true;

    *in_flight = 0;
    for (uint32_t i = 0; i < engine->count; i++) {
        finished &= vm_finished(&engine->vms[i], now_ns);
        *in_flight += engine->vms[i].in_flight;
    }
    return finished;
}

static void loop(struct engine *engine, const struct loadgen_options *options, uint64_t end_ns,
                 uint64_t *stopped_ns)
{
    struct epoll_event events[EVENTS];
    uint64_t drain_until_ns = VM_NEVER, in_flight;

    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint64_t wake_ns = run_timed(engine, now_ns);
        int n;

        if (interrupted && drain_until_ns == VM_NEVER) {
            for (uint32_t i = 0; i < engine->count; i++) {
                vm_stop(&engine->vms[i], now_ns);
            }
        }
        if (all_finished(engine, now_ns, &in_flight)) {
            if (in_flight == 0 || now_ns >= drain_until_ns) {
                *stopped_ns = *stopped_ns ? *stopped_ns : now_ns;
                return;
            }
            if (drain_until_ns == VM_NEVER) {
                drain_until_ns = now_ns + options->drain_ns;
                /* With a count, the time until the last answer belongs to the measurement. */
                *stopped_ns = end_ns != VM_NEVER || interrupted ? now_ns : 0;
            }
        }
        wake_ns = end_ns > now_ns && end_ns < wake_ns ? end_ns : wake_ns;
        wake_ns = drain_until_ns < wake_ns ? drain_until_ns : wake_ns;
        set_timer(engine, wake_ns);
        n = epoll_wait(engine->epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            serve(engine, &events[i]);
        }
    }
}

static int prepare(struct engine *engine)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = TIMER_TAG};
    struct sigaction action = {.sa_handler = on_signal};

    engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    engine->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (engine->epoll_fd < 0 || engine->timer_fd < 0 ||
        epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, engine->timer_fd, &event) < 0) {
        return -errno;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    for (uint32_t i = 0; i < engine->count; i++) {
        int ret = watch(engine, i);

        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int engine_run(struct vm *vms, const struct loadgen_options *options, struct engine_result *result)
{
    static struct engine engine;
    uint64_t start_ns, from_ns, end_ns, stopped_ns = 0, cpu_ns;
    int ret;

    engine = (struct engine){.vms = vms, .count = options->vm_count, .timer_ns = VM_NEVER};
    ret = prepare(&engine);
    if (ret == 0) {
        start_ns = clock_now_ns();
        from_ns = start_ns + options->warmup_ns;
        end_ns = options->duration_ns ? from_ns + options->duration_ns : VM_NEVER;
        for (uint32_t i = 0; i < options->vm_count; i++) {
            vm_begin(&vms[i], start_ns, from_ns, end_ns);
        }
        cpu_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
        loop(&engine, options, end_ns, &stopped_ns);
        memset(result, 0, sizeof(*result));
        result->cpu_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
        result->measured_ns = stopped_ns > from_ns ? stopped_ns - from_ns : 0;
        for (uint32_t i = 0; i < options->vm_count; i++) {
            result->missing += vms[i].in_flight + (options->reconnect ? 0 : vms[i].lost);
        }
    }
    close(engine.epoll_fd);
    close(engine.timer_fd);
    return ret;
}
