/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/foreign_fd.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void foreign_fd_close(int fd)
{
    const struct linger none = {0};

    /* Fails for what is no socket. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(fd);
}

unsigned foreign_fds_take(struct msghdr *message, int *fds, unsigned room)
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
                foreign_fd_close(fd);
            }
        }
    }
    return came;
}
