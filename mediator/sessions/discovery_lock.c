/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/sessions/discovery_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/* What the holder wrote into it. */
static pid_t read_holder(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long pid;

    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    pid = strtol(text, NULL, 10);
    return pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

/* It is for people: without it the lock holds all the same. */
static void write_holder(int fd)
{
    char text[32];
    int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)length, 0) < 0) {
        return;
    }
}

int discovery_lock_take(const char *path, pid_t *holder)
{
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

    *holder = 0;
    if (fd < 0) {
        return -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int ret = -errno;

        *holder = ret == -EWOULDBLOCK ? read_holder(fd) : 0;
        close(fd);
        return ret;
    }
    write_holder(fd);
    return fd;
}
