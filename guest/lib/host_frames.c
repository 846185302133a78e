/* SPDX-License-Identifier: BSD-3-Clause */
#include "host_frames.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool host_put_frame(struct host_frames *link, const struct vgpu *v, uint32_t type,
                    const void *payload, uint32_t bytes, int fd)
{
    uint8_t frame[VGPU_SOCKET_FRAME_MAX];
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = type,
        .vm_id = v->options.vm_id,
        .pool_id = v->options.pool_id,
        .priority = v->options.priority,
        .pad = fd >= 0,
        .payload_len = bytes,
    };
    union {
        struct cmsghdr header; /* for its alignment */
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {frame, sizeof(header) + bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    memcpy(frame, &header, sizeof(header));
    memcpy(frame + sizeof(header), payload, bytes);
    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
    }
    /* A new connection takes a few small frames at once, whatever the other side does. */
    return sendmsg(link->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)part.iov_len;
}

void host_close_fds(struct host_received *frame)
{
    while (frame->fd_count > 0) {
        close(frame->fds[--frame->fd_count]);
    }
}

/* Descriptors of one message; more than fit make the count wrong, which the caller sees. */
static void keep_fds(struct msghdr *message, struct host_received *frame)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (frame->fd_count < VGPU_FD_COUNT) {
                frame->fds[frame->fd_count++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

int host_receive(struct host_frames *link, struct host_received *frame)
{
    for (;;) {
        union {
            struct cmsghdr header; /* for its alignment */
            uint8_t bytes[CMSG_SPACE(sizeof(int) * VGPU_FRAME_FDS_MAX)];
        } control;
        uint32_t wanted = sizeof(VGPUSocketHeader);
        struct iovec part;
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        ssize_t n;

        if (link->filled >= sizeof(VGPUSocketHeader)) {
            memcpy(&frame->header, link->frame, sizeof(frame->header));
            if (frame->header.magic != VGPU_SOCKET_MAGIC ||
                frame->header.payload_len > VGPU_SOCKET_PAYLOAD_MAX) {
                return -1;
            }
            wanted += frame->header.payload_len;
            if (link->filled == wanted) {
                link->filled = 0;
                return frame->header.pad == frame->fd_count ? 1 : -1;
            }
        }
        part = (struct iovec){link->frame + link->filled, wanted - link->filled};
        n = recvmsg(link->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return 0;
        }
        if (n <= 0) {
            return -1;
        }
        keep_fds(&message, frame);
        link->filled += (uint32_t)n;
    }
}
