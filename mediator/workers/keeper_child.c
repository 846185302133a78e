/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that starts keepers is made early and waits (launcher.h); each keeper gets one end of
 * a socket, and a pipe that nobody writes to: it closes with the keeper's process.
 */
#include "mediator/workers/keeper_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/launcher.h"
#include "vgpu/vgpu_keeper.h"

/* A keeper that has closed its socket has ended all its workers before. */
#define CHILD_END_MS 10000

void keeper_child_init(struct keeper_child *child)
{
    child->program[0] = '\0';
    child->launcher = child->end = -1;
}

int keeper_child_prepare(struct keeper_child *child, const char *const args[KEEPER_LINK_ARGS_MAX])
{
    char *argv[KEEPER_LINK_ARGS_MAX + 3];
    struct launcher_program keeper = {.argv = argv, .as_fd = VGPU_KEEPER_FD, .ends_with_us = true};
    int n = 0;

    argv[n++] = child->program;
    argv[n++] = "--private";
    for (unsigned i = 0; i < KEEPER_LINK_ARGS_MAX && args[i]; i++) {
        argv[n++] = (char *)args[i];
    }
    argv[n] = NULL;
    child->launcher = launcher_start(&keeper, 1);
    return child->launcher < 0 ? child->launcher : 0;
}

int keeper_child_start(struct keeper_child *child)
{
    int pair[2], ends[2], ret;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        ret = -errno;
        close(pair[0]);
        close(pair[1]);
        return ret;
    }
    ret = launcher_ask(child->launcher, 0, NULL, (int[LAUNCHER_FDS]){pair[1], ends[1]});
    close(pair[1]);
    close(ends[1]);
    if (ret < 0) {
        close(pair[0]);
        close(ends[0]);
        return ret;
    }
    child->end = ends[0];
    return pair[0];
}

bool keeper_child_runs(const struct keeper_child *child)
{
    return child->end >= 0;
}

/* It is ending already: its socket has closed.  One that does not is killed. */
void keeper_child_reap(struct keeper_child *child, uint32_t pid)
{
    struct pollfd end = {.fd = child->end, .events = POLLIN};

    if (child->end < 0) {
        return;
    }
    if (poll(&end, 1, CHILD_END_MS) == 0 && pid) {
        kill((pid_t)pid, SIGKILL);
        poll(&end, 1, CHILD_END_MS);
    }
    close(child->end);
    child->end = -1;
}

void keeper_child_destroy(struct keeper_child *child)
{
    if (child->launcher >= 0) {
        close(child->launcher);
    }
    child->launcher = -1;
}
