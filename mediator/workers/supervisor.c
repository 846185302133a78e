/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/workers/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/unused.h"
#include "mediator/base/handle_map.h"
#include "mediator/workers/channel_memory.h"
#include "mediator/workers/worker_spawn.h"

/* Frames that are taken with one system call, and from one worker before the next one is read. */
#define BATCH 4u
#define DRAIN_MAX 32u
#define ARGS_MAX 16
/* Frames that don't fit the packet are cut by the kernel, and seen by that. */
#define FRAME_ROOM (VGPU_WORKER_FRAME_MAX + 8u)

/*
 * A worker's end has two signs, the socket's and the process's.  Only the
 * second counts.  At the first one a process that is not ending is killed: it
 * has closed its socket and is of no use.
 */
struct worker {
    uv_poll_t poll;
    struct supervisor *supervisor;
    LIST_ENTRY(worker) link;
    uint64_t handle;
    uint32_t vm_id;
    uint32_t gpu;
    pid_t pid; /* 0: it never started */
    int fd;
    int start_error; /* errno, when pid is 0 */
    bool poll_open;
    bool ready;
    bool killed;         /* by us */
    bool protocol_error; /* that is why it was killed */
    unsigned running;    /* jobs handed to it, and not answered */
};

struct supervisor {
    struct supervisor_uses uses;
    struct handle_map by_handle;
    LIST_HEAD(, worker) all;
    uint32_t count;
    uint32_t failed; /* among them: those that never started */
    uv_signal_t child_signal;
    bool signal_open;
    void (*all_gone)(void *opaque);
    void *all_gone_opaque;
    uint8_t frames[BATCH][FRAME_ROOM] __attribute__((aligned(8)));
};

static void on_socket(uv_poll_t *poll, int status, int events);
static void on_child(uv_signal_t *handle, int signum);

struct supervisor *supervisor_new(const struct supervisor_uses *uses)
{
    struct supervisor *supervisor = calloc(1, sizeof(*supervisor));

    if (!supervisor) {
        return NULL;
    }
    supervisor->uses = *uses;
    if (handle_map_init(&supervisor->by_handle, SUPERVISOR_WORKERS_MAX) < 0) {
        free(supervisor);
        return NULL;
    }
    return supervisor;
}

int supervisor_start(struct supervisor *supervisor)
{
    int ret = uv_signal_init(supervisor->uses.loop, &supervisor->child_signal);

    if (ret < 0) {
        return ret;
    }
    supervisor->child_signal.data = supervisor;
    supervisor->signal_open = true;
    return uv_signal_start(&supervisor->child_signal, on_child, SIGCHLD);
}

void supervisor_close(struct supervisor *supervisor)
{
    if (supervisor->signal_open) {
        supervisor->signal_open = false;
        uv_close((uv_handle_t *)&supervisor->child_signal, NULL);
    }
}

void supervisor_free(struct supervisor *supervisor)
{
    if (!supervisor) {
        return;
    }
    assert(LIST_EMPTY(&supervisor->all));
    handle_map_destroy(&supervisor->by_handle);
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

/* ---- ending ---- */

static void free_worker(struct worker *worker)
{
    struct supervisor *supervisor = worker->supervisor;

    handle_map_remove(&supervisor->by_handle, worker->handle);
    LIST_REMOVE(worker, link);
    supervisor->count--;
}

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
}

static void kill_now(struct worker *worker)
{
    if (worker->pid && !worker->killed) {
        worker->killed = true;
        kill(worker->pid, SIGKILL);
    }
}

static void kill_for_protocol(struct worker *worker, const char *what)
{
    log_error("worker %d of VM %" PRIu32 " %s: killed (is it from the same build as "
              "vgpu-mediator?)",
              (int)worker->pid, worker->vm_id, what);
    worker->protocol_error = true;
    kill_now(worker);
}

static void report_end(struct worker *worker, enum core_worker_end end, uint32_t detail)
{
    struct supervisor *supervisor = worker->supervisor;
    uint64_t handle = worker->handle;

    free_worker(worker);
    if (worker->poll_open) {
        close_socket(worker);
        uv_close((uv_handle_t *)&worker->poll, on_poll_closed);
    } else {
        free(worker);
    }
    core_worker_exited(supervisor->uses.core, handle, end, detail, clock_now_ns());
    if (supervisor->count == 0 && supervisor->all_gone) {
        void (*done)(void *) = supervisor->all_gone;

        supervisor->all_gone = NULL;
        done(supervisor->all_gone_opaque);
    }
}

/* ---- frames from the worker ---- */

static void take_ready(struct worker *worker, const uint8_t *body, size_t length)
{
    vgpu_worker_ready ready;

    if (length != sizeof(ready) || worker->ready) {
        kill_for_protocol(worker, "sent a wrong READY");
        return;
    }
    memcpy(&ready, body, sizeof(ready));
    if (!memchr(ready.gpu_uuid, '\0', sizeof(ready.gpu_uuid)) ||
        !memchr(ready.name, '\0', sizeof(ready.name))) {
        kill_for_protocol(worker, "sent a wrong READY");
        return;
    }
    worker->ready = true;
    core_worker_ready(worker->supervisor->uses.core, worker->handle, &ready, clock_now_ns());
}

static void take_done(struct worker *worker, uint64_t job_id, const uint8_t *body, size_t length)
{
    vgpu_worker_done done;

    if (length < sizeof(done) || !worker->ready) {
        kill_for_protocol(worker, "sent a wrong DONE");
        return;
    }
    memcpy(&done, body, sizeof(done));
    worker->running -= worker->running > 0;
    length -= sizeof(done);
    if (length > VGPU_RESPONSE_BODY_BYTES || done.result_count > length / 4 ||
        done.data_length != length - done.result_count * 4u) {
        kill_for_protocol(worker, "sent a DONE with wrong lengths");
        return;
    }
    if (core_worker_done(worker->supervisor->uses.core, worker->handle, job_id, &done,
                         body + sizeof(done), clock_now_ns()) < 0) {
        kill_for_protocol(worker, "answered a job that was not due");
    }
}

/* CHANNEL_OPENED, CHANNEL_CLOSED, WANT. */
static void take_channel(struct worker *worker, const vgpu_worker_header *header,
                         const uint8_t *body, size_t length)
{
    struct core *core = worker->supervisor->uses.core;
    vgpu_worker_word word = {0};
    size_t expected = header->type == VGPU_WORKER_WANT ? 0 : sizeof(word);

    if (length != expected || !worker->ready) {
        kill_for_protocol(worker, "sent a wrong frame about a channel");
        return;
    }
    memcpy(&word, body, length);
    switch (header->type) {
    case VGPU_WORKER_WANT:
        core_turn_want(core, worker->handle, header->job_id, clock_now_ns());
        break;
    case VGPU_WORKER_CHANNEL_OPENED:
        core_channel_opened(core, worker->handle, header->job_id, word.value, clock_now_ns());
        break;
    default:
        core_channel_closed(core, worker->handle, header->job_id, word.value, clock_now_ns());
        break;
    }
}

static void take_frame(struct worker *worker, const uint8_t *bytes, size_t length)
{
    vgpu_worker_header header;

    if (length < sizeof(header)) {
        kill_for_protocol(worker, "sent a frame that is too short");
        return;
    }
    memcpy(&header, bytes, sizeof(header));
    if (header.magic != VGPU_WORKER_MAGIC || header.version != VGPU_WORKER_VERSION ||
        header.length != length) {
        kill_for_protocol(worker, "sent a wrong frame header");
        return;
    }
    bytes += sizeof(header);
    length -= sizeof(header);
    switch (header.type) {
    case VGPU_WORKER_READY: take_ready(worker, bytes, length); break;
    case VGPU_WORKER_DONE: take_done(worker, header.job_id, bytes, length); break;
    case VGPU_WORKER_CHANNEL_OPENED:
    case VGPU_WORKER_CHANNEL_CLOSED:
    case VGPU_WORKER_WANT: take_channel(worker, &header, bytes, length); break;
    default: kill_for_protocol(worker, "sent a frame of an unknown type"); break;
    }
}

/*
 * Reads what is there, `batch` frames at a time; as many batches as have `limit` frames, if `batch`
 * is BATCH, else one.  False: the socket has ended.
 */
static bool drain(struct worker *worker, unsigned batch, unsigned limit)
{
    struct supervisor *supervisor = worker->supervisor;
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    int n;

    while (limit) {
        memset(messages, 0, batch * sizeof(messages[0]));
        for (unsigned i = 0; i < batch; i++) {
            parts[i] = (struct iovec){supervisor->frames[i], FRAME_ROOM};
            messages[i].msg_hdr.msg_iov = &parts[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        n = recvmmsg(worker->fd, messages, batch, MSG_DONTWAIT, NULL);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        for (int i = 0; i < n; i++) {
            if (messages[i].msg_len == 0) {
                return false;
            }
            if (worker->killed) {
                continue; /* the core has answered for it */
            }
            take_frame(worker, supervisor->frames[i], messages[i].msg_len);
        }
        if (n < (int)BATCH) {
            return true;
        }
        limit = limit > BATCH ? limit - BATCH : 0;
    }
    return true;
}

static void on_socket_ended(struct worker *worker)
{
    if (!worker->killed && !worker_is_ending(worker->pid)) {
        kill_for_protocol(worker, "closed its socket and lives on");
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
    batch = worker->running < BATCH ? worker->running : BATCH;
    if (status < 0 || !drain(worker, batch > 0 ? batch : 1, DRAIN_MAX)) {
        uv_poll_stop(&worker->poll);
        on_socket_ended(worker);
    }
}

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

static void reap(struct worker *worker)
{
    int status;
    pid_t pid = waitpid(worker->pid, &status, WNOHANG);

    if (pid == 0 || (pid < 0 && errno == EINTR)) {
        return;
    }
    /* Its last answers may still be on their way through the socket. */
    if (worker->fd >= 0 && !worker->killed) {
        drain(worker, BATCH, UINT32_MAX);
    }
    if (worker->protocol_error) {
        report_end(worker, CORE_WORKER_END_PROTOCOL, 0);
    } else if (pid < 0) {
        report_end(worker, CORE_WORKER_END_EXITED, 0);
    } else if (WIFSIGNALED(status)) {
        report_end(worker, kind_of_signal(worker, WTERMSIG(status)), (uint32_t)WTERMSIG(status));
    } else {
        report_end(worker, CORE_WORKER_END_EXITED, (uint32_t)WEXITSTATUS(status));
    }
}

static void on_child(uv_signal_t *handle, UNUSED int signum)
{
    struct supervisor *supervisor = handle->data;
    struct worker *worker, *next;

    for (worker = LIST_FIRST(&supervisor->all); worker; worker = next) {
        next = LIST_NEXT(worker, link);
        if (worker->pid) {
            reap(worker);
        }
    }
}

/* ---- effects ---- */

static int spawn(struct worker *worker, const struct core_worker_spec *spec)
{
    const struct supervisor_uses *uses = &worker->supervisor->uses;
    char vm_id[16], memory[24], depth[16];
    char *argv[ARGS_MAX];
    int pair[2], n = 0, ret;

    snprintf(vm_id, sizeof(vm_id), "%" PRIu32, spec->vm_id);
    snprintf(memory, sizeof(memory), "%" PRIu64, spec->memory_limit_bytes);
    snprintf(depth, sizeof(depth), "%" PRIu32, wfq_in_flight_max(&uses->config->scheduler));
    argv[n++] = (char *)uses->worker_path;
    argv[n++] = "--backend";
    argv[n++] = (char *)uses->backend;
    argv[n++] = "--gpu";
    argv[n++] = (char *)core_gpu_uuid(uses->core, spec->gpu);
    argv[n++] = "--vm-id";
    argv[n++] = vm_id;
    argv[n++] = "--depth";
    argv[n++] = depth;
    if (spec->memory_limit_bytes) {
        argv[n++] = "--memory-limit";
        argv[n++] = memory;
    }
    if (uses->config->test_ops) {
        argv[n++] = "--enable-test-ops";
    }
    argv[n] = NULL;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    /* This makes our end non-blocking; the worker decides for itself how it waits. */
    ret = uv_poll_init(uses->loop, &worker->poll, pair[0]);
    if (ret < 0) {
        close(pair[0]);
        close(pair[1]);
        return ret;
    }
    worker->poll.data = worker;
    worker->poll_open = true;
    worker->fd = pair[0];
    worker->pid = 0;
    ret = uv_poll_start(&worker->poll, UV_READABLE, on_socket);
    if (ret == 0) {
        ret = worker_spawn(argv, pair[1], VGPU_WORKER_FD);
    }
    close(pair[1]);
    if (ret < 0) {
        close_socket(worker);
        return ret;
    }
    worker->pid = ret;
    return 0;
}

void supervisor_start_worker(struct supervisor *supervisor, const struct core_worker_spec *spec)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    int ret;

    /* Without memory for this there is none for anything: systemd starts us afresh. */
    if (!worker) {
        log_error("out of memory while starting a worker for VM %" PRIu32, spec->vm_id);
        abort();
    }
    worker->supervisor = supervisor;
    worker->handle = spec->worker;
    worker->vm_id = spec->vm_id;
    worker->gpu = spec->gpu;
    worker->fd = -1;
    LIST_INSERT_HEAD(&supervisor->all, worker, link);
    supervisor->count++;

    ret = handle_map_put(&supervisor->by_handle, worker->handle, worker);
    if (ret == 0) {
        ret = spawn(worker, spec);
    }
    if (ret < 0) {
        log_error("VM %" PRIu32 ": cannot start %s: %s", spec->vm_id, supervisor->uses.worker_path,
                  strerror(-ret));
        worker->start_error = -ret;
        supervisor->failed++;
        return;
    }
    log_debug("VM %" PRIu32 ": worker %d started on GPU %" PRIu32, spec->vm_id, (int)worker->pid,
              spec->gpu);
}

bool supervisor_report_failures(struct supervisor *supervisor)
{
    struct worker *worker, *next;
    bool any = supervisor->failed > 0;

    if (!any) {
        return false;
    }
    for (worker = LIST_FIRST(&supervisor->all); worker; worker = next) {
        next = LIST_NEXT(worker, link);
        if (worker->start_error) {
            supervisor->failed--;
            report_end(worker, CORE_WORKER_END_NOT_STARTED, (uint32_t)worker->start_error);
        }
    }
    return true;
}

void supervisor_run(struct supervisor *supervisor, uint64_t handle, uint64_t job_id,
                    const struct request_view *request)
{
    struct worker *worker = handle_map_get(&supervisor->by_handle, handle);
    vgpu_worker_header header = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .type = VGPU_WORKER_RUN,
        .job_id = job_id,
    };
    vgpu_worker_run run = {
        .opcode = request->opcode,
        .param_count = request->param_count,
        .data_length = request->data_length,
    };
    struct iovec parts[] = {
        {&header, sizeof(header)},
        {&run, sizeof(run)},
        {(void *)request->params, request->param_count * 4u},
        {(void *)request->data, request->data_length},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 4};

    if (!worker || worker->fd < 0 || worker->killed) {
        return; /* its end is on its way to the core */
    }
    for (unsigned i = 0; i < 4; i++) {
        header.length += (uint32_t)parts[i].iov_len;
    }
    if (sendmsg(worker->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        worker->running++;
        return;
    }
    if (errno == EPIPE || errno == ECONNRESET) {
        return; /* on_socket() sees it, too */
    }
    kill_for_protocol(worker, "does not take its jobs");
}

/* A frame of one fixed part, with descriptors or without. */
static void send_fixed(struct supervisor *supervisor, uint64_t handle, uint16_t type,
                       uint64_t job_id, void *body, size_t bytes, const int *fds)
{
    struct worker *worker = handle_map_get(&supervisor->by_handle, handle);
    vgpu_worker_header header = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .type = type,
        .length = (uint32_t)(sizeof(header) + bytes),
        .job_id = job_id,
    };
    struct iovec parts[] = {{&header, sizeof(header)}, {body, bytes}};
    union {
        struct cmsghdr header; /* for its alignment */
        uint8_t bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS)];
    } control;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    if (!worker || worker->fd < 0 || worker->killed) {
        return; /* its end is on its way to the core */
    }
    if (fds) {
        memset(&control, 0, sizeof(control));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * CHANNEL_FDS);
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * CHANNEL_FDS);
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
    }
    if (sendmsg(worker->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EPIPE &&
        errno != ECONNRESET) {
        kill_for_protocol(worker, "does not take what it is told about channels");
    }
}

void supervisor_channel_start(struct supervisor *supervisor, uint64_t handle, uint64_t channel,
                              const VGPUChannelOpen *open, const int *fds)
{
    vgpu_worker_channel body = {
        .profile = open->profile, .features = open->features, .geometry = open->geometry};

    send_fixed(supervisor, handle, VGPU_WORKER_CHANNEL, channel, &body, sizeof(body), fds);
}

void supervisor_channel_stop(struct supervisor *supervisor, uint64_t handle, uint64_t channel,
                             uint32_t reason)
{
    vgpu_worker_word body = {.value = reason};

    send_fixed(supervisor, handle, VGPU_WORKER_CHANNEL_CLOSE, channel, &body, sizeof(body), NULL);
}

void supervisor_turn(struct supervisor *supervisor, uint64_t handle, uint64_t job_id,
                     uint64_t channel, uint64_t budget_ns)
{
    vgpu_worker_turn body = {.channel = channel, .budget_ns = budget_ns};

    send_fixed(supervisor, handle, VGPU_WORKER_TURN, job_id, &body, sizeof(body), NULL);
}

void supervisor_stop_worker(struct supervisor *supervisor, uint64_t handle, bool kill)
{
    struct worker *worker = handle_map_get(&supervisor->by_handle, handle);
    vgpu_worker_header quit = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .type = VGPU_WORKER_QUIT,
        .length = sizeof(quit),
    };

    if (!worker || !worker->pid) {
        return;
    }
    if (kill || worker->fd < 0 ||
        send(worker->fd, &quit, sizeof(quit), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        kill_now(worker);
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
