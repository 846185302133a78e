/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/foreign_fd.h"

#include <sys/socket.h>
#include <unistd.h>

#include "common/fd_packet.h"

void foreign_fd_close(int fd)
{
    const struct linger none = {0};

    /* Fails for what is no socket. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(fd);
}

unsigned foreign_fds_take(struct msghdr *message, int *fds, unsigned room)
{
    return fd_packet_take(message, fds, room, foreign_fd_close);
}
