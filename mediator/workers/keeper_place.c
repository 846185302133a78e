/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/workers/keeper_place.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROCESS_EXITING 0x4u /* PF_EXITING of the kernel, in field 9 of /proc/PID/stat */

int keeper_find(const char *option, char path[KEEPER_PATH_BYTES])
{
    char self[KEEPER_PATH_BYTES];
    ssize_t n;

    if (option) {
        n = snprintf(path, KEEPER_PATH_BYTES, "%s", option);
        if (n >= (ssize_t)KEEPER_PATH_BYTES) {
            return -ENAMETOOLONG;
        }
        return access(path, X_OK) < 0 ? -errno : 0;
    }
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0) {
        return -errno;
    }
    self[n] = '\0';
    n = snprintf(path, KEEPER_PATH_BYTES, "%s/vgpu-keeper", dirname(self));
    if (n >= (ssize_t)KEEPER_PATH_BYTES) {
        return -ENAMETOOLONG;
    }
    return access(path, X_OK) < 0 ? -errno : 0;
}

bool worker_is_ending(pid_t pid)
{
    char path[64], text[1024], *after_name;
    unsigned flags;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return true;
    }
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0) {
        return true;
    }
    text[n] = '\0';
    /* "pid (name) state ppid pgrp session tty tpgid flags ...", and a name may hold anything. */
    after_name = strrchr(text, ')');
    return after_name && sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
           (flags & PROCESS_EXITING) != 0;
}
