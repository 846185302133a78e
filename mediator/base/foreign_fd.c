/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/foreign_fd.h"

#include <sys/socket.h>
#include <unistd.h>

void foreign_fd_close(int fd)
{
    const struct linger none = {0};

    /* Fails for what is no socket. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(fd);
}
