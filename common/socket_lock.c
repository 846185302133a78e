/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/socket_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_AGAIN_MS 5

static int open_file(void)
{
    char path[64];
    struct stat st;
    int fd;

    if (geteuid() == 0) {
        snprintf(path, sizeof(path), SOCKET_LOCK_OF_ROOT);
    } else {
        snprintf(path, sizeof(path), SOCKET_LOCK_OF_USER, (unsigned)geteuid());
    }
    fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

int socket_lock_take(void)
{
    int fd = open_file();

    for (int waited_ms = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
         waited_ms += LOOK_AGAIN_MS) {
        int ret = -errno;

        if (ret != -EWOULDBLOCK || waited_ms >= SOCKET_LOCK_WAIT_MS) {
            close(fd);
            return ret;
        }
        usleep(LOOK_AGAIN_MS * 1000);
    }
    return fd;
}
