/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module knows where our own vgpu-keeper is, and whether a worker is still there. */
#ifndef MEDIATOR_WORKERS_KEEPER_PLACE_H
#define MEDIATOR_WORKERS_KEEPER_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

#define KEEPER_PATH_BYTES 4096u

/*
 * Where vgpu-keeper is: `option`, or beside our own executable when that is
 * NULL.  -errno when there is no such program; `path` has its name then too.
 */
int keeper_find(const char *option, char path[KEEPER_PATH_BYTES]);

/*
 * Has the kernel begun to take this process apart?  Then its end (SIGCHLD, the status) is
 * on its way and nothing can change it.  Also true when it is gone.
 */
bool worker_is_ending(pid_t pid);

#endif /* MEDIATOR_WORKERS_KEEPER_PLACE_H */
