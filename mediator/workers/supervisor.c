/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * A worker that the core wants waits for its turn: only some start at a time (supervisor.h), and
 * the first must be ready, or gone, before the next may begin.  Then the keeper gets the order
 * with both ends of the worker's socket, of which it keeps ours, and frames can be sent at once:
 * they wait in the socket.  What the keeper's queue has no room for is an order that is due, and
 * is tried again when there is room.
 *
 * Workers that a mediator before us left with the keeper are adopted (adoption.c): the core wants
 * workers as ever, and is given one of them where one fits.
 *
 * A keeper that is lost has taken its workers with it: that is nobody's fault.  Those that wait
 * are started by the next one.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/unused.h"
#include "common/clock.h"
#include "mediator/workers/keeper_place.h"
#include "mediator/workers/supervisor_internal.h"

/* Frames that are taken from one worker before the next one is read. */
#define DRAIN_MAX 32u

static void on_socket(uv_poll_t *poll, int status, int events);
static void on_held(void *opaque, uint64_t number, const vgpu_keeper_held *held, int fd);
static void on_started(void *opaque, uint64_t number, const vgpu_keeper_process *process);
/* A keeper that can't limit it is a matter of health (control/health_watch.c). */
static void tell_memory(struct worker *worker)
{
    struct keeper_link *keeper = worker->supervisor->uses.keeper;

    if (worker->memory_due && worker->step != WORKER_WAITS && worker->step != WORKER_FAILED &&
        keeper_link_ready(keeper)) {
        worker->memory_due =
            (keeper_link_welcome(keeper)->flags & VGPU_KEEPER_LIMITS_MEMORY) &&
            keeper_link_memory(keeper, worker->number, worker->host_memory_bytes) == -EAGAIN;
    }
}

void supervisor_memory(struct supervisor *supervisor, uint64_t handle, uint64_t bytes)
{
    struct worker *worker = handle_map_get(&supervisor->by_handle, handle);

    if (worker) {
        worker->host_memory_bytes = bytes;
        worker->memory_due = true;
        tell_memory(worker);
    }
}

static void on_ended(void *opaque, uint64_t number, const vgpu_keeper_end *end);
static void on_lost(void *opaque);
static void on_ready(void *opaque);

struct supervisor *supervisor_new(const struct supervisor_uses *uses)
{
    struct supervisor *supervisor = calloc(1, sizeof(*supervisor));

    if (!supervisor) {
        return NULL;
    }
    supervisor->uses = *uses;
    LIST_INIT(&supervisor->all);
    TAILQ_INIT(&supervisor->waiting);
    if (handle_map_init(&supervisor->by_handle, SUPERVISOR_WORKERS_MAX) < 0) {
        free(supervisor);
        return NULL;
    }
    if (handle_map_init(&supervisor->by_number, SUPERVISOR_WORKERS_MAX) < 0) {
        handle_map_destroy(&supervisor->by_handle);
        free(supervisor);
        return NULL;
    }
    supervisor->lives = lives_new();
    if (!supervisor->lives) {
        supervisor_free(supervisor);
        return NULL;
    }
    host_wait_ns(&supervisor->own_wait, 0); /* what was before any job */
    return supervisor;
}

int supervisor_start(struct supervisor *supervisor)
{
    int ret = uv_timer_init(supervisor->uses.loop, &supervisor->orphans);
    const struct keeper_link_events events = {
        .opaque = supervisor,
        .held = on_held,
        .started = on_started,
        .ended = on_ended,
        .lost = on_lost,
        .ready = on_ready,
    };

    if (ret < 0) {
        return ret;
    }
    supervisor->orphans.data = supervisor;
    supervisor->started = true;
    return keeper_link_watch(supervisor->uses.keeper, supervisor->uses.loop, &events);
}

void supervisor_close(struct supervisor *supervisor)
{
    if (supervisor->started) {
        supervisor->started = false;
        uv_close((uv_handle_t *)&supervisor->orphans, NULL);
    }
    keeper_link_stop(supervisor->uses.keeper);
}

void supervisor_free(struct supervisor *supervisor)
{
    if (!supervisor) {
        return;
    }
    assert(LIST_EMPTY(&supervisor->all));
    handle_map_destroy(&supervisor->by_handle);
    handle_map_destroy(&supervisor->by_number);
    lives_free(supervisor->lives);
    free(supervisor);
}

uint32_t supervisor_count(const struct supervisor *supervisor)
{
    return supervisor->count;
}

pid_t supervisor_pid(const struct supervisor *supervisor, uint64_t handle)
{
    const struct worker *worker = handle_map_get(&supervisor->by_handle, handle);

    return worker ? worker->pid : 0;
}

const vgpu_worker_figures *supervisor_figures(const struct supervisor *supervisor, uint64_t handle)
{
    const struct worker *worker = handle_map_get(&supervisor->by_handle, handle);

    return worker && worker->has_figures ? &worker->figures : NULL;
}

/* ---- ending ---- */

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void close_socket(struct worker *worker)
{
    if (worker->fd >= 0) {
        uv_poll_stop(&worker->poll);
        close(worker->fd);
        worker->fd = -1;
    }
    if (worker->peer_fd >= 0) {
        close(worker->peer_fd);
        worker->peer_fd = -1;
    }
}

static void leave_step(struct worker *worker)
{
    struct supervisor *supervisor = worker->supervisor;

    switch (worker->step) {
    case WORKER_WAITS: TAILQ_REMOVE(&supervisor->waiting, worker, turn); break;
    case WORKER_STARTS: supervisor->starting--; break;
    case WORKER_FAILED:
    case WORKER_CLAIMED:
    case WORKER_ADOPTED: supervisor->to_report--; break;
    default: break;
    }
}

void worker_enter(struct worker *worker, enum worker_step step)
{
    struct supervisor *supervisor = worker->supervisor;

    leave_step(worker);
    worker->step = step;
    supervisor->starting += step == WORKER_STARTS;
    supervisor->to_report +=
        step == WORKER_FAILED || step == WORKER_ADOPTED || step == WORKER_CLAIMED;
}

static void free_worker(struct worker *worker)
{
    struct supervisor *supervisor = worker->supervisor;

    leave_step(worker);
    if (worker->handle) {
        handle_map_remove(&supervisor->by_handle, worker->handle);
    }
    handle_map_remove(&supervisor->by_number, worker->number);
    LIST_REMOVE(worker, link);
    supervisor->count--;
    close_socket(worker);
    adoption_forget_held(worker);
    turn_page_free(worker->turn_page);
    if (worker->poll_open) {
        uv_close((uv_handle_t *)&worker->poll, on_poll_closed);
    } else {
        free(worker);
    }
}

void worker_kill(struct worker *worker)
{
    if (!worker->killed) {
        worker->killed = true;
        worker->kill_due =
            keeper_link_kill(worker->supervisor->uses.keeper, worker->number) == -EAGAIN;
    }
}

void worker_kill_for_protocol(struct worker *worker, const char *what)
{
    log_error("worker %d of VM %" PRIu32 " %s: killed (is it from the same build as "
              "vgpu-mediator?)",
              (int)worker->pid, worker->what.vm_id, what);
    worker->protocol_error = true;
    worker_kill(worker);
}

static void start_waiting(struct supervisor *supervisor);

static void report_end(struct worker *worker, enum core_worker_end end, uint32_t detail)
{
    struct supervisor *supervisor = worker->supervisor;
    uint64_t handle = worker->handle;

    free_worker(worker);
    core_worker_exited(supervisor->uses.core, handle, end, detail, clock_now_ns());
    start_waiting(supervisor);
    if (supervisor->count == 0 && supervisor->all_gone) {
        void (*done)(void *) = supervisor->all_gone;

        supervisor->all_gone = NULL;
        done(supervisor->all_gone_opaque);
    }
}

/* ---- the socket ---- */

/* Its process may not be known yet: then on_started() asks again. */
static void on_socket_ended(struct worker *worker)
{
    worker->closed = true;
    if (!worker->killed && worker->pid && !worker_is_ending(worker->pid)) {
        worker_kill_for_protocol(worker, "closed its socket and lives on");
    }
}

static void on_socket(uv_poll_t *poll, int status, UNUSED int events)
{
    struct worker *worker = poll->data;
    unsigned batch;

    if (worker->fd < 0) {
        return;
    }
    /* Not more than it may have answered: to look for a frame that is not there costs, too.
     * Whatever else there is makes the socket readable again. */
    batch = worker->running < SUPERVISOR_BATCH ? worker->running : SUPERVISOR_BATCH;
    if (status < 0 || !worker_drain(worker, batch > 0 ? batch : 1, DRAIN_MAX)) {
        uv_poll_stop(&worker->poll);
        on_socket_ended(worker);
    }
}

/* ---- the keeper's word ---- */

/*
 * What a job can do to its worker ends in a signal of a fault (SIGSEGV, SIGBUS,
 * SIGABRT and so on).  These here come from outside: the OOM killer's, the
 * administrator's, those of a host that shuts down.
 */
static enum core_worker_end kind_of_signal(const struct worker *worker, int number)
{
    static const int from_outside[] = {SIGKILL, SIGTERM, SIGINT, SIGQUIT, SIGHUP};

    for (size_t i = 0; !worker->killed && i < sizeof(from_outside) / sizeof(from_outside[0]); i++) {
        if (number == from_outside[i]) {
            return CORE_WORKER_END_HOST;
        }
    }
    return CORE_WORKER_END_SIGNALED;
}

static const char *step_name(uint32_t step)
{
    static const char *const names[VGPU_KEEPER_STEP_COUNT] = {
        [VGPU_KEEPER_STEP_FORK] = "a new process",
        [VGPU_KEEPER_STEP_UID] = "a uid of its own",
        [VGPU_KEEPER_STEP_NAMESPACES] = "namespaces of its own",
        [VGPU_KEEPER_STEP_MOUNTS] = "a /dev of its own",
        [VGPU_KEEPER_STEP_PROCESS] = "its descriptors and limits",
        [VGPU_KEEPER_STEP_PROGRAM] = "the program vgpu-worker",
    };

    return names[step] ? names[step] : "nothing";
}

static void on_ended(void *opaque, uint64_t number, const vgpu_keeper_end *end)
{
    struct supervisor *supervisor = opaque;
    struct worker *worker = handle_map_get(&supervisor->by_number, number);
    int status = (int)end->status;

    if (!worker || worker->step == WORKER_WAITS || worker->step == WORKER_FAILED) {
        return;
    }
    /* Its last answers may still be on their way through the socket. */
    if (worker->fd >= 0 && !worker->killed) {
        worker_drain(worker, SUPERVISOR_BATCH, UINT32_MAX);
    }
    if (end->step != VGPU_KEEPER_STEP_NONE) {
        log_error("VM %" PRIu32 ": its worker can't be started: vgpu-keeper could not give it "
                  "%s: %s",
                  worker->what.vm_id, step_name(end->step), strerror(end->error));
        report_end(worker, CORE_WORKER_END_NOT_STARTED, (uint32_t)end->error);
    } else if (worker->protocol_error) {
        report_end(worker, CORE_WORKER_END_PROTOCOL, 0);
    } else if (end->why & VGPU_KEEPER_END_MEMORY) {
        report_end(worker, CORE_WORKER_END_MEMORY, (uint32_t)(worker->host_memory_bytes >> 20));
    } else if (WIFSIGNALED(status)) {
        report_end(worker, kind_of_signal(worker, WTERMSIG(status)), (uint32_t)WTERMSIG(status));
    } else {
        report_end(worker, CORE_WORKER_END_EXITED, (uint32_t)WEXITSTATUS(status));
    }
}

static void on_started(void *opaque, uint64_t number, const vgpu_keeper_process *process)
{
    struct supervisor *supervisor = opaque;
    struct worker *worker = handle_map_get(&supervisor->by_number, number);

    if (worker && worker->pid == 0) {
        worker->pid = (pid_t)process->pid;
        log_debug("VM %" PRIu32 ": worker %" PRIu32 " started on GPU %" PRIu32 ", uid %" PRIu32,
                  worker->what.vm_id, process->pid, worker->gpu, process->uid);
        core_worker_begun(supervisor->uses.core, worker->handle, clock_now_ns());
        if (worker->closed) {
            on_socket_ended(worker);
        }
    }
}

static void on_held(void *opaque, uint64_t number, const vgpu_keeper_held *held, int fd)
{
    adoption_held(opaque, number, held, fd);
}

static void on_lost(void *opaque)
{
    struct supervisor *supervisor = opaque;
    struct worker *worker, *next;

    for (worker = LIST_FIRST(&supervisor->all); worker; worker = next) {
        next = LIST_NEXT(worker, link);
        if (worker->step == WORKER_WAITS || worker->step == WORKER_FAILED) {
            continue;
        }
        if (worker->fd >= 0 && !worker->killed) {
            worker_drain(worker, SUPERVISOR_BATCH, UINT32_MAX);
        }
        report_end(worker, CORE_WORKER_END_HOST, SIGKILL);
    }
}

static void on_ready(void *opaque)
{
    struct supervisor *supervisor = opaque;
    struct worker *worker;

    LIST_FOREACH (worker, &supervisor->all, link) {
        tell_memory(worker);
        if (worker->kill_due) {
            worker->kill_due = keeper_link_kill(supervisor->uses.keeper, worker->number) == -EAGAIN;
        }
    }
    adoption_end_replaced(supervisor);
    adoption_begin_wait(supervisor);
    start_waiting(supervisor);
}

/* ---- starting ---- */

int worker_watch(struct worker *worker, int fd)
{
    /* This makes our end non-blocking; the worker decides for itself how it waits. */
    int ret = uv_poll_init(worker->supervisor->uses.loop, &worker->poll, fd);

    if (ret < 0) {
        return ret;
    }
    worker->poll.data = worker;
    worker->poll_open = true;
    worker->fd = fd;
    return uv_poll_start(&worker->poll, UV_READABLE, on_socket);
}

static int make_socket(struct worker *worker)
{
    int pair[2], ret;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    ret = worker_watch(worker, pair[0]);
    if (!worker->poll_open) {
        close(pair[0]);
        close(pair[1]);
        return ret;
    }
    worker->peer_fd = pair[1];
    return ret;
}

void worker_fail(struct worker *worker, int error)
{
    if (worker->step != WORKER_FAILED) {
        worker->error = error;
        worker_enter(worker, WORKER_FAILED);
    }
}

static int order(struct worker *worker)
{
    int fds[VGPU_KEEPER_FDS], ret = worker->fd < 0 ? make_socket(worker) : 0;

    if (ret < 0) {
        return ret;
    }
    fds[VGPU_KEEPER_FDS_WORKER] = worker->peer_fd;
    fds[VGPU_KEEPER_FDS_MEDIATOR] = worker->fd;
    return keeper_link_start(worker->supervisor->uses.keeper, worker->number, &worker->what, fds);
}

/* As many as may start now, in the order in which they were wanted. */
static void start_waiting(struct supervisor *supervisor)
{
    struct worker *worker;

    while (supervisor->starting < SUPERVISOR_STARTS_MAX &&
           (worker = TAILQ_FIRST(&supervisor->waiting)) != NULL &&
           keeper_link_ready(supervisor->uses.keeper)) {
        int ret = order(worker);

        if (ret == -EAGAIN || ret == -ENOTCONN) {
            return; /* on_ready() follows */
        }
        if (ret < 0) {
            log_error("VM %" PRIu32 ": cannot start its worker: %s", worker->what.vm_id,
                      strerror(-ret));
            worker_fail(worker, -ret);
            continue;
        }
        close(worker->peer_fd);
        worker->peer_fd = -1;
        worker_enter(worker, WORKER_STARTS);
        tell_memory(worker);
    }
}

void worker_now_ready(struct worker *worker)
{
    worker_enter(worker, WORKER_READY);
    start_waiting(worker->supervisor);
}

static void describe(const struct supervisor *supervisor, const struct core_worker_spec *spec,
                     vgpu_keeper_worker *what)
{
    const struct supervisor_uses *uses = &supervisor->uses;

    *what = (vgpu_keeper_worker){
        .vm_id = spec->vm_id,
        .flags = (strcmp(uses->backend, "cuda") == 0 ? VGPU_KEEPER_CUDA : 0) |
                 (uses->config->test_ops ? VGPU_KEEPER_TEST_OPS : 0) |
                 (spec->has_uuid ? VGPU_KEEPER_HAS_UUID : 0),
        .depth = wfq_in_flight_max(&uses->config->scheduler),
        .memory_limit_bytes = spec->memory_limit_bytes,
    };
    memcpy(what->uuid, spec->uuid, sizeof(what->uuid));
    snprintf(what->gpu, sizeof(what->gpu), "%s", core_gpu_uuid(uses->core, spec->gpu));
}

struct worker *worker_new(struct supervisor *supervisor, uint64_t number,
                          const vgpu_keeper_worker *what)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    /* Without memory for this there is none for anything: systemd starts us afresh. */
    if (!worker) {
        log_error("out of memory for a worker of VM %" PRIu32, what->vm_id);
        abort();
    }
    worker->supervisor = supervisor;
    worker->number = number;
    worker->fd = worker->peer_fd = -1;
    TAILQ_INIT(&worker->held);
    worker->what = *what;
    worker->step = WORKER_WAITS;
    LIST_INSERT_HEAD(&supervisor->all, worker, link);
    TAILQ_INSERT_TAIL(&supervisor->waiting, worker, turn);
    supervisor->count++;
    if (handle_map_put(&supervisor->by_number, worker->number, worker) < 0) {
        worker_fail(worker, ENFILE);
    }
    return worker;
}

void supervisor_start_worker(struct supervisor *supervisor, const struct core_worker_spec *spec)
{
    struct worker *worker;
    vgpu_keeper_worker what;

    describe(supervisor, spec, &what);
    worker = adoption_take(supervisor, &what, spec->worker);
    if (!worker) {
        worker = worker_new(supervisor, keeper_link_number(supervisor->uses.keeper), &what);
    }
    /* One of another mediator may have a limit that is none any more. */
    worker->memory_due = spec->host_memory_bytes != 0 || worker->step != WORKER_WAITS;
    worker->host_memory_bytes = spec->host_memory_bytes;
    tell_memory(worker);
    worker->handle = spec->worker;
    worker->gpu = spec->gpu;
    if (handle_map_put(&supervisor->by_handle, worker->handle, worker) < 0) {
        worker_fail(worker, ENFILE);
    }
    start_waiting(supervisor);
}

bool supervisor_settle(struct supervisor *supervisor)
{
    struct worker *worker, *next;
    bool any = supervisor->to_report > 0;

    if (!any) {
        return false;
    }
    for (worker = LIST_FIRST(&supervisor->all); worker; worker = next) {
        next = LIST_NEXT(worker, link);
        if (worker->step == WORKER_FAILED) {
            report_end(worker, CORE_WORKER_END_NOT_STARTED, (uint32_t)worker->error);
        } else if (worker->step == WORKER_ADOPTED) {
            adoption_report(worker);
        } else if (worker->step == WORKER_CLAIMED) {
            adoption_report_claimed(worker);
        }
    }
    return true;
}

/* ---- stopping ---- */

void supervisor_stop_worker(struct supervisor *supervisor, uint64_t handle, bool kill)
{
    struct worker *worker = handle_map_get(&supervisor->by_handle, handle);
    vgpu_worker_header quit = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .type = VGPU_WORKER_QUIT,
        .length = sizeof(quit),
    };

    if (!worker || worker->step == WORKER_FAILED) {
        return;
    }
    if (worker->step == WORKER_WAITS) {
        worker_fail(worker, keeper_link_ready(supervisor->uses.keeper) ? ECANCELED : ENOTCONN);
        return;
    }
    if (kill || worker->fd < 0 ||
        send(worker->fd, &quit, sizeof(quit), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        worker_kill(worker);
    }
}

void supervisor_when_empty(struct supervisor *supervisor, void (*done)(void *opaque), void *opaque)
{
    if (supervisor->count == 0) {
        done(opaque);
        return;
    }
    supervisor->all_gone = done;
    supervisor->all_gone_opaque = opaque;
}

void supervisor_leave(struct supervisor *supervisor)
{
    struct worker *worker;

    while ((worker = LIST_FIRST(&supervisor->all)) != NULL) {
        free_worker(worker);
    }
}
