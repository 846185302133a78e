/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module starts a vgpu-keeper of our own, the one child that we have. */
#ifndef MEDIATOR_WORKERS_KEEPER_SPAWN_H
#define MEDIATOR_WORKERS_KEEPER_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#define KEEPER_PATH_BYTES 4096u

/*
 * Where vgpu-keeper is: `option`, or beside our own executable when that is
 * NULL.  -errno when there is no such program; `path` has its name then too.
 */
int keeper_find(const char *option, char path[KEEPER_PATH_BYTES]);

/*
 * Runs argv[0] with `fd` as its descriptor number `as_fd`, /dev/null as its
 * input, our stderr, default signals, and a kernel promise that it is killed
 * when we die.
 * Returns the pid or -errno, also when the program can't be executed.
 */
pid_t keeper_spawn(char *const argv[], int fd, int as_fd);

/*
 * Has the kernel begun to take this process apart?  Then its end (SIGCHLD, the status) is
 * on its way and nothing can change it.  Also true when it is gone.
 */
bool worker_is_ending(pid_t pid);

/* Open files that a child may have: the limit that we were started with. */
void keeper_spawn_remember_limits(void);

#endif /* MEDIATOR_WORKERS_KEEPER_SPAWN_H */
