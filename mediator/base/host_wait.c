/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/host_wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool host_wait_parse(const char *text, uint64_t *waited_ns)
{
    char *end;

    errno = 0;
    strtoull(text, &end, 10); /* the time that it ran */
    if (end == text || *end != ' ') {
        return false;
    }
    text = end + 1;
    *waited_ns = strtoull(text, &end, 10);
    return end != text && *end == ' ' && errno == 0;
}

static bool read_waited(pid_t pid, uint64_t *waited_ns)
{
    char path[32] = "/proc/self/schedstat", text[80];
    ssize_t length;
    int fd;

    if (pid != 0) {
        snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (length <= 0) {
        return false;
    }
    text[length] = '\0';
    return host_wait_parse(text, waited_ns);
}

uint64_t host_wait_ns(struct host_wait *wait, pid_t pid)
{
    uint64_t before_ns = wait->waited_ns;

    return read_waited(pid, &wait->waited_ns) && wait->waited_ns > before_ns
               ? wait->waited_ns - before_ns
               : 0;
}
