/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/fd_packet.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
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

/* False: there were more than have room. */
static bool take_descriptors(struct msghdr *message, int *fds, unsigned max, unsigned *count)
{
    bool fit = true;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t bytes = c->cmsg_len - CMSG_LEN(0);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < bytes / sizeof(int); i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*count < max) {
                fds[(*count)++] = fd;
            } else {
                close(fd);
                fit = false;
            }
        }
    }
    return fit;
}

ssize_t fd_packet_receive(int socket, int flags, void *bytes, size_t size, int *fds,
                          unsigned fds_max, unsigned *fd_count)
{
    struct iovec part = {bytes, size};
    union control control;
    struct msghdr message;
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
    fit = take_descriptors(&message, fds, fds_max, fd_count);
    if (fit && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        return n;
    }
    while (*fd_count > 0) {
        close(fds[--*fd_count]);
    }
    return fit && !(message.msg_flags & MSG_TRUNC) ? -EMFILE : -EMSGSIZE;
}
