/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/fd_packet.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

union control {
    struct cmsghdr header; /* for its alignment */
    uint8_t bytes[CMSG_SPACE(sizeof(int) * FD_PACKET_FDS_MAX)];
};

int fd_packet_send(int socket, struct iovec *parts, size_t part_count, const int *fds,
                   unsigned fd_count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = part_count};
    union control control;
    ssize_t n;

    assert(fd_count <= FD_PACKET_FDS_MAX);
    if (fd_count) {
        memset(&control, 0, sizeof(control));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * fd_count);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
    }
    do {
        n = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

unsigned fd_packet_take(struct msghdr *message, int *fds, unsigned room, void (*refuse)(int fd))
{
    unsigned came = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            if (came++ < room) {
                fds[came - 1] = fd;
            } else {
                refuse(fd);
            }
        }
    }
    return came;
}

static void close_it(int fd)
{
    close(fd);
}

ssize_t fd_packet_receive(int socket, int flags, void *bytes, size_t size, int *fds,
                          unsigned fds_max, unsigned *fd_count)
{
    struct iovec part = {bytes, size};
    union control control;
    struct msghdr message;
    unsigned came;
    bool fit;
    ssize_t n;

    *fd_count = 0;
    do {
        message = (struct msghdr){.msg_iov = &part,
                                  .msg_iovlen = 1,
                                  .msg_control = control.bytes,
                                  .msg_controllen = sizeof(control.bytes)};
        n = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    came = fd_packet_take(&message, fds, fds_max, close_it);
    fit = came <= fds_max;
    *fd_count = fit ? came : fds_max;
    if (fit && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        return n;
    }
    while (*fd_count > 0) {
        close(fds[--*fd_count]);
    }
    return fit && !(message.msg_flags & MSG_TRUNC) ? -EMFILE : -EMSGSIZE;
}
