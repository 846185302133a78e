/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/executor_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/fd_packet.h"
#include "common/log.h"

enum take executor_malformed(const char *what, size_t length)
{
    log_error("the mediator sent a malformed frame of %zu bytes: %s. Mediator and worker must come "
              "from one installation",
              length, what);
    return TAKE_MALFORMED;
}

void executor_close_fds(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        close(fds[i]);
    }
}

int executor_send(struct executor *e, uint16_t type, uint64_t job_id, void *fixed,
                  size_t fixed_bytes, void *body, size_t body_bytes)
{
    vgpu_worker_header header = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .type = type,
        .length = (uint32_t)(sizeof(header) + fixed_bytes + body_bytes),
        .job_id = job_id,
    };
    struct iovec parts[3] = {
        {.iov_base = &header, .iov_len = sizeof(header)},
        {.iov_base = fixed, .iov_len = fixed_bytes},
        {.iov_base = body, .iov_len = body_bytes},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    ssize_t n;

    do {
        n = sendmsg(e->config->fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int executor_send_fd(struct executor *e, uint16_t type, uint64_t job_id, void *fixed,
                     size_t fixed_bytes, int fd)
{
    vgpu_worker_header header = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .type = type,
        .length = (uint32_t)(sizeof(header) + fixed_bytes),
        .job_id = job_id,
    };
    struct iovec parts[] = {{&header, sizeof(header)}, {fixed, fixed_bytes}};
    int ret = fd_packet_send(e->config->fd, parts, 2, &fd, 1);

    while (ret == -EAGAIN) { /* the new mediator reads: it has asked */
        struct pollfd room = {.fd = e->config->fd, .events = POLLOUT};

        poll(&room, 1, -1);
        ret = fd_packet_send(e->config->fd, parts, 2, &fd, 1);
    }
    return ret;
}

enum take executor_take_frame(struct executor *e, int flags)
{
    vgpu_worker_header header;
    int fds[MAPPING_FDS_MAX];
    unsigned fd_count;
    ssize_t n = fd_packet_receive(e->config->fd, flags, e->frame, sizeof(e->frame), fds,
                                  MAPPING_FDS_MAX, &fd_count);

    if (n == -EAGAIN) {
        return TAKE_NOTHING;
    }
    if (n == -EMSGSIZE || (n > 0 && (size_t)n < sizeof(header)) || n > VGPU_WORKER_FRAME_MAX) {
        return executor_malformed("no frame has this size", n > 0 ? (size_t)n : sizeof(e->frame));
    }
    if (n <= 0) {
        if (n < 0 && n != -ECONNRESET) {
            log_error("reading from the mediator failed: %s", strerror((int)-n));
        }
        return TAKE_CLOSED;
    }
    memcpy(&header, e->frame, sizeof(header));
    if (header.magic != VGPU_WORKER_MAGIC) {
        return executor_malformed("wrong magic", (size_t)n);
    }
    if (header.version != VGPU_WORKER_VERSION) {
        return executor_malformed("another version of the worker protocol", (size_t)n);
    }
    if (header.length != (size_t)n || header.pad != 0) {
        return executor_malformed("header's length or padding is wrong", (size_t)n);
    }
    if (header.type == VGPU_WORKER_CHANNEL) {
        return executor_begin_channel(e, (size_t)n, header.job_id, fds, fd_count);
    }
    if (header.type == VGPU_WORKER_CHUNK_ADD) {
        return executor_add_pieces(e, (size_t)n, header.job_id, fds, fd_count);
    }
    if (header.type == VGPU_WORKER_CHUNK) {
        return executor_take_chunk(e, (size_t)n, header.job_id, fds, fd_count);
    }
    if (header.type == VGPU_WORKER_TURN_PAGE) {
        return executor_take_turn_page(e, (size_t)n, fds, fd_count);
    }
    executor_close_fds(fds, fd_count);
    switch (header.type) {
    case VGPU_WORKER_RUN: return executor_take_job(e, (size_t)n, header.job_id);
    case VGPU_WORKER_QUIT:
        if ((size_t)n != sizeof(header)) {
            return executor_malformed("QUIT is too long", (size_t)n);
        }
        return TAKE_QUIT;
    case VGPU_WORKER_ADOPT: return executor_take_adopt(e, (size_t)n, header.job_id);
    case VGPU_WORKER_TURN: return executor_take_turn(e, (size_t)n, header.job_id);
    case VGPU_WORKER_CHUNK_REMOVE: return executor_remove_chunk(e, (size_t)n, header.job_id);
    case VGPU_WORKER_CHANNEL_CLOSE: return executor_close_channel(e, (size_t)n, header.job_id);
    case VGPU_WORKER_CREDIT: return executor_take_credit(e, (size_t)n);
    case VGPU_WORKER_LIMITS: return executor_take_limits(e, (size_t)n);
    case VGPU_WORKER_CLAIM: return executor_take_claim(e, (size_t)n, header.job_id);
    default: return executor_malformed("type is none that a worker takes", (size_t)n);
    }
}
