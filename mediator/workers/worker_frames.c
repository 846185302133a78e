/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What workers say and are told: the frames of include/vgpu/vgpu_worker.h. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd_packet.h"
#include "common/clock.h"
#include "mediator/base/foreign_fd.h"
#include "mediator/workers/supervisor_internal.h"
#include "vgpu/vgpu_ring.h"

/* ---- frames from the worker ---- */

static bool is_ready(const vgpu_worker_ready *ready)
{
    return memchr(ready->gpu_uuid, '\0', sizeof(ready->gpu_uuid)) &&
           memchr(ready->name, '\0', sizeof(ready->name));
}

static void take_ready(struct worker *worker, const uint8_t *body, size_t length, bool adopted)
{
    vgpu_worker_ready ready;

    if (length != sizeof(ready) ||
        (worker->step != WORKER_STARTS && worker->step != WORKER_ORPHAN &&
         worker->step != WORKER_CLAIMED && worker->step != WORKER_ENDS) ||
        worker->has_ready) {
        worker_kill_for_protocol(worker, "sent a wrong READY");
        return;
    }
    memcpy(&ready, body, sizeof(ready));
    if (!is_ready(&ready) || ready.held > (adopted ? CORE_CHANNELS_VM_MAX : 0)) {
        worker_kill_for_protocol(worker, "sent a wrong READY");
        return;
    }
    adoption_announced(worker, ready.held);
    if (worker->step == WORKER_ORPHAN) {
        worker->ready = ready;
        worker->has_ready = true;
        return;
    }
    worker_now_ready(worker);
    if (adopted) {
        core_worker_adopted(worker->supervisor->uses.core, worker->handle);
    }
    core_worker_ready(worker->supervisor->uses.core, worker->handle, &ready, clock_now_ns());
}

/* So much may pass between two jobs without that we ask why. */
#define LATE_NS (20 * NS_PER_US)

/* What its worker, and we, have waited for a processor of the host was no part of the job. */
static void tell_wait(struct worker *worker, uint64_t gpu_time_ns, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - worker->busy_since_ns, wait_ns;

    worker->busy_since_ns = now_ns;
    if (worker->pid == 0 || passed_ns < LATE_NS || gpu_time_ns > passed_ns - LATE_NS) {
        return;
    }
    wait_ns = host_wait_ns(&worker->wait, worker->pid);
    wait_ns += host_wait_ns(&worker->supervisor->own_wait, 0);
    if (wait_ns > passed_ns - gpu_time_ns) {
        wait_ns = passed_ns - gpu_time_ns;
    }
    core_worker_waited(worker->supervisor->uses.core, worker->handle, wait_ns);
}

static void take_done(struct worker *worker, uint64_t job_id, const uint8_t *body, size_t length)
{
    vgpu_worker_done done;
    uint64_t now_ns;

    if (length < sizeof(done) || worker->step != WORKER_READY) {
        worker_kill_for_protocol(worker, "sent a wrong DONE");
        return;
    }
    memcpy(&done, body, sizeof(done));
    worker->running -= worker->running > 0;
    length -= sizeof(done);
    if (length > VGPU_RESPONSE_BODY_BYTES || done.result_count > length / 4 ||
        done.data_length != length - done.result_count * 4u) {
        worker_kill_for_protocol(worker, "sent a DONE with wrong lengths");
        return;
    }
    now_ns = clock_now_ns();
    tell_wait(worker, done.gpu_time_ns, now_ns);
    if (core_worker_done(worker->supervisor->uses.core, worker->handle, job_id, &done,
                         body + sizeof(done), now_ns) < 0) {
        worker_kill_for_protocol(worker, "answered a job that was not due");
    }
}

/* CHANNEL_OPENED, CHANNEL_CLOSED, WANT. */
static void take_channel(struct worker *worker, const vgpu_worker_header *header,
                         const uint8_t *body, size_t length)
{
    struct core *core = worker->supervisor->uses.core;
    vgpu_worker_word word = {0};
    size_t expected = header->type == VGPU_WORKER_WANT ? 0 : sizeof(word);

    if (length != expected || worker->step != WORKER_READY) {
        worker_kill_for_protocol(worker, "sent a wrong frame about a channel");
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

static void take_late(struct worker *worker, uint64_t channel, const uint8_t *body, size_t length)
{
    vgpu_worker_word word;

    if (length != sizeof(word)) {
        worker_kill_for_protocol(worker, "sent a wrong frame about a kernel");
        return;
    }
    memcpy(&word, body, sizeof(word));
    if (worker->step == WORKER_READY) { /* else it says it again */
        core_kernel_late(worker->supervisor->uses.core, worker->handle, channel, word.value,
                         clock_now_ns());
    }
}

static void take_ask(struct worker *worker, size_t length)
{
    if (worker->step == WORKER_ORPHAN || worker->step == WORKER_ADOPTED) {
        return; /* it is told as soon as it is its VM's */
    }
    if (length != sizeof(vgpu_worker_word) || worker->step != WORKER_READY) {
        worker_kill_for_protocol(worker, "sent a wrong frame about its credit");
        return;
    }
    core_credit_ask(worker->supervisor->uses.core, worker->handle, clock_now_ns());
}

/* They come by a clock, so also from a worker that is just being taken over. */
static void take_figures(struct worker *worker, const uint8_t *body, size_t length)
{
    if (length != sizeof(worker->figures)) {
        worker_kill_for_protocol(worker, "sent wrong figures");
        return;
    }
    memcpy(&worker->figures, body, sizeof(worker->figures));
    worker->has_figures = true;
    core_worker_figures(worker->supervisor->uses.core, worker->handle, &worker->figures);
}

/* Likewise; of a channel that is nobody's yet they come again. */
static void take_program(struct worker *worker, uint64_t channel, const uint8_t *body,
                         size_t length)
{
    vgpu_worker_program program;

    if (length != sizeof(program)) {
        worker_kill_for_protocol(worker, "sent wrong figures of a program");
        return;
    }
    memcpy(&program, body, sizeof(program));
    if (program.name_count > VGPU_WORKER_NAMES_MAX) {
        worker_kill_for_protocol(worker, "sent wrong figures of a program");
        return;
    }
    core_program_figures(worker->supervisor->uses.core, worker->handle, channel, &program,
                         clock_now_ns());
}

/* CHUNK_ADDED, CHUNK_REMOVED. */
static void take_chunk(struct worker *worker, const vgpu_worker_header *header, const uint8_t *body,
                       size_t length)
{
    struct core *core = worker->supervisor->uses.core;
    vgpu_worker_chunk chunk = {0};
    bool added = header->type == VGPU_WORKER_CHUNK_ADDED;

    if (length != (added ? sizeof(chunk) : sizeof(vgpu_worker_word)) ||
        worker->step != WORKER_READY) {
        worker_kill_for_protocol(worker, "sent a wrong frame about a chunk");
        return;
    }
    memcpy(&chunk, body, length); /* both begin with its number */
    if (added) {
        core_chunk_added(core, worker->handle, header->job_id, chunk.chunk, chunk.status);
    } else {
        core_chunk_removed(core, worker->handle, header->job_id, chunk.chunk);
    }
}

/* What goes on from a mediator before us. */
static void take_held(struct worker *worker, const vgpu_worker_header *header, const uint8_t *body,
                      size_t length, int *fd)
{
    bool well = header->type == VGPU_WORKER_HELD
                    ? adoption_take_held(worker, header->job_id, body, length, *fd)
                    : adoption_take_chunk(worker, header->job_id, body, length);

    if (header->type == VGPU_WORKER_HELD) {
        *fd = -1;
    }
    if (!well) {
        worker_kill_for_protocol(worker, "sent a wrong frame about a channel that it has");
    }
}

/* *fd came with it, -1: none.  Who takes it over leaves -1. */
static void take_frame(struct worker *worker, const uint8_t *bytes, size_t length, int *fd)
{
    vgpu_worker_header header;
    bool adopted = false;

    if (length < sizeof(header)) {
        worker_kill_for_protocol(worker, "sent a frame that is too short");
        return;
    }
    memcpy(&header, bytes, sizeof(header));
    if (header.magic != VGPU_WORKER_MAGIC || header.version != VGPU_WORKER_VERSION ||
        header.length != length) {
        worker_kill_for_protocol(worker, "sent a wrong frame header");
        return;
    }
    if (worker->adopting) {
        /* Up to its answer all was meant for another one. */
        if (header.type != VGPU_WORKER_READY || header.job_id != worker->adopting) {
            return;
        }
        worker->adopting = 0;
        adopted = true;
    }
    bytes += sizeof(header);
    length -= sizeof(header);
    switch (header.type) {
    case VGPU_WORKER_HELD:
    case VGPU_WORKER_HELD_CHUNK: take_held(worker, &header, bytes, length, fd); break;
    case VGPU_WORKER_READY: take_ready(worker, bytes, length, adopted); break;
    case VGPU_WORKER_DONE: take_done(worker, header.job_id, bytes, length); break;
    case VGPU_WORKER_CHANNEL_OPENED:
    case VGPU_WORKER_CHANNEL_CLOSED:
    case VGPU_WORKER_WANT: take_channel(worker, &header, bytes, length); break;
    case VGPU_WORKER_ASK: take_ask(worker, length); break;
    case VGPU_WORKER_LATE: take_late(worker, header.job_id, bytes, length); break;
    case VGPU_WORKER_FIGURES: take_figures(worker, bytes, length); break;
    case VGPU_WORKER_PROGRAM: take_program(worker, header.job_id, bytes, length); break;
    case VGPU_WORKER_CHUNK_ADDED:
    case VGPU_WORKER_CHUNK_REMOVED: take_chunk(worker, &header, bytes, length); break;
    default: worker_kill_for_protocol(worker, "sent a frame of an unknown type"); break;
    }
}

/* A frame has one descriptor at most: what else came is closed.  It may be as much as a message can
 * bring, for what has no room is not seen. */
union brought_fds {
    struct cmsghdr header; /* for its alignment */
    uint8_t bytes[CMSG_SPACE(sizeof(int) * FOREIGN_FDS_MAX)];
};

/* `mute`: only what it brought is to be closed. */
static void take_packet(struct worker *worker, const uint8_t *bytes, struct mmsghdr *message,
                        bool mute)
{
    int fd = -1;

    foreign_fds_take(&message->msg_hdr, &fd, 1);
    /* Of one that is killed the core has answered for what it says. */
    if (!mute && !worker->killed) {
        take_frame(worker, bytes, message->msg_len, &fd);
    }
    if (fd >= 0) {
        foreign_fd_close(fd);
    }
}

bool worker_drain(struct worker *worker, unsigned batch, unsigned limit)
{
    struct supervisor *supervisor = worker->supervisor;
    struct mmsghdr messages[SUPERVISOR_BATCH];
    struct iovec parts[SUPERVISOR_BATCH];
    union brought_fds fds[SUPERVISOR_BATCH];
    bool ended = false;
    int n;

    while (limit) {
        memset(messages, 0, batch * sizeof(messages[0]));
        for (unsigned i = 0; i < batch; i++) {
            parts[i] = (struct iovec){supervisor->frames[i], SUPERVISOR_FRAME_ROOM};
            messages[i].msg_hdr.msg_iov = &parts[i];
            messages[i].msg_hdr.msg_iovlen = 1;
            /* cppcheck-suppress legacyUninitvar; recvmmsg() fills it */
            messages[i].msg_hdr.msg_control = fds[i].bytes;
            messages[i].msg_hdr.msg_controllen = sizeof(fds[i].bytes);
        }
        n = recvmmsg(worker->fd, messages, batch, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        for (int i = 0; i < n; i++) {
            ended = ended || messages[i].msg_len == 0;
            take_packet(worker, supervisor->frames[i], &messages[i], ended);
        }
        if (ended || n < (int)SUPERVISOR_BATCH) {
            return !ended;
        }
        limit = limit > SUPERVISOR_BATCH ? limit - SUPERVISOR_BATCH : 0;
    }
    return true;
}

/* ---- frames to the worker ---- */

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
        /* cppcheck-suppress unreadVariable; parts[] leads to it */
        header.length += (uint32_t)parts[i].iov_len;
    }
    if (sendmsg(worker->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        worker->busy_since_ns = worker->running++ == 0 ? clock_now_ns() : worker->busy_since_ns;
        return;
    }
    if (errno == EPIPE || errno == ECONNRESET) {
        return; /* on_socket() sees it, too */
    }
    worker_kill_for_protocol(worker, "does not take its jobs");
}

/* A frame with a body of one or two parts, with descriptors or without. */
static void send_parts(struct supervisor *supervisor, uint64_t handle, uint16_t type,
                       uint64_t job_id, const struct iovec body[2], const int *fds,
                       unsigned fd_count)
{
    struct worker *worker = handle_map_get(&supervisor->by_handle, handle);
    vgpu_worker_header header = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .type = type,
        .length = (uint32_t)(sizeof(header) + body[0].iov_len + body[1].iov_len),
        .job_id = job_id,
    };
    struct iovec parts[] = {{&header, sizeof(header)}, body[0], body[1]};
    int ret;

    if (!worker || worker->fd < 0 || worker->killed) {
        return; /* its end is on its way to the core */
    }
    ret = fd_packet_send(worker->fd, parts, 3, fds, fd_count);
    if (ret < 0 && ret != -EPIPE && ret != -ECONNRESET) {
        worker_kill_for_protocol(worker, "does not take what it is told about channels");
    }
}

static void send_fixed(struct supervisor *supervisor, uint64_t handle, uint16_t type,
                       uint64_t job_id, void *body, size_t bytes, const int *fds, unsigned fd_count)
{
    const struct iovec parts[] = {{body, bytes}, {NULL, 0}};

    send_parts(supervisor, handle, type, job_id, parts, fds, fd_count);
}

void supervisor_channel_start(struct supervisor *supervisor, uint64_t handle, uint64_t channel,
                              enum vgpu_channel_transport transport, const VGPUChannelOpen *open,
                              const int *fds, unsigned fd_count)
{
    vgpu_worker_channel body = {
        .profile = open->profile,
        .features = open->features,
        .geometry = open->geometry,
        .transport = transport,
    };

    send_fixed(supervisor, handle, VGPU_WORKER_CHANNEL, channel, &body, sizeof(body), fds,
               fd_count);
}

void supervisor_channel_part(struct supervisor *supervisor, uint64_t handle, uint64_t channel,
                             const VGPUChunkAdd *add, const VGPUPiece *pieces, int fd)
{
    const struct iovec parts[] = {
        {(void *)add, sizeof(*add)},
        {(void *)pieces, add->piece_count * sizeof(pieces[0])},
    };

    send_parts(supervisor, handle, VGPU_WORKER_CHUNK_ADD, channel, parts, &fd, 1);
}

void supervisor_channel_stop(struct supervisor *supervisor, uint64_t handle, uint64_t channel,
                             uint32_t reason)
{
    vgpu_worker_word body = {.value = reason};

    send_fixed(supervisor, handle, VGPU_WORKER_CHANNEL_CLOSE, channel, &body, sizeof(body), NULL,
               0);
}

void supervisor_chunk_start(struct supervisor *supervisor, uint64_t handle, uint64_t channel,
                            uint32_t chunk, uint64_t bytes, int fd)
{
    vgpu_worker_chunk body = {.chunk = chunk, .bytes = bytes};

    send_fixed(supervisor, handle, VGPU_WORKER_CHUNK, channel, &body, sizeof(body), &fd, 1);
}

void supervisor_chunk_stop(struct supervisor *supervisor, uint64_t handle, uint64_t channel,
                           uint32_t chunk)
{
    vgpu_worker_word body = {.value = chunk};

    send_fixed(supervisor, handle, VGPU_WORKER_CHUNK_REMOVE, channel, &body, sizeof(body), NULL, 0);
}

/* Before its first turn.  Without a page it keeps to its budgets. */
static void give_turn_page(struct supervisor *supervisor, struct worker *worker)
{
    uint64_t none = 0;
    int fd;

    worker->turn_page = turn_page_new(&fd);
    if (worker->turn_page) {
        send_fixed(supervisor, worker->handle, VGPU_WORKER_TURN_PAGE, 0, &none, 0, &fd, 1);
        close(fd);
    }
}

void supervisor_yield(struct supervisor *supervisor, uint64_t handle, uint64_t yield_ns)
{
    struct worker *worker = handle_map_get(&supervisor->by_handle, handle);

    if (worker && worker->turn_page) {
        VGPU_STORE_RELAXED(&worker->turn_page->yield_ns, yield_ns);
    }
}

void supervisor_claim(struct supervisor *supervisor, uint64_t handle, uint64_t number,
                      uint64_t channel)
{
    vgpu_worker_claim body = {.channel = channel};

    send_fixed(supervisor, handle, VGPU_WORKER_CLAIM, number, &body, sizeof(body), NULL, 0);
}

void supervisor_credit(struct supervisor *supervisor, uint64_t handle, uint32_t records)
{
    vgpu_worker_word body = {.value = records};

    send_fixed(supervisor, handle, VGPU_WORKER_CREDIT, 0, &body, sizeof(body), NULL, 0);
}

void supervisor_limits(struct supervisor *supervisor, uint64_t handle, uint64_t kernel_ns)
{
    vgpu_worker_limits body = {.kernel_ns = kernel_ns};

    send_fixed(supervisor, handle, VGPU_WORKER_LIMITS, 0, &body, sizeof(body), NULL, 0);
}

void supervisor_turn(struct supervisor *supervisor, uint64_t handle, uint64_t job_id,
                     uint64_t channel, uint64_t budget_ns)
{
    vgpu_worker_turn body = {.channel = channel, .budget_ns = budget_ns};
    struct worker *worker = handle_map_get(&supervisor->by_handle, handle);

    if (worker && !worker->turn_page) {
        give_turn_page(supervisor, worker);
    }
    supervisor_yield(supervisor, handle, 0);

    send_fixed(supervisor, handle, VGPU_WORKER_TURN, job_id, &body, sizeof(body), NULL, 0);
}
