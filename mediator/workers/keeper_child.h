/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module starts a keeper of our own, and waits for its end.  What is said to it goes over the
 * link (keeper_link.h), as with one that the administrator runs.
 */
#ifndef MEDIATOR_WORKERS_KEEPER_CHILD_H
#define MEDIATOR_WORKERS_KEEPER_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "mediator/workers/keeper_link.h"
#include "mediator/workers/keeper_place.h"

struct keeper_child {
    char program[KEEPER_PATH_BYTES]; /* set it before keeper_child_prepare() */
    int launcher;                    /* starts keepers; -1: none */
    int end;                         /* tells the end of the one that runs; -1: none */
};

void keeper_child_init(struct keeper_child *child);
/*
 * Before the list of system calls, and while there is one thread: later keepers are started by
 * what is made here, too.  NULL is behind the last argument.  0 or -errno.
 */
int keeper_child_prepare(struct keeper_child *child, const char *const args[KEEPER_LINK_ARGS_MAX]);
/* After the one before was reaped.  The caller's end of its socket, or -errno. */
int keeper_child_start(struct keeper_child *child);
bool keeper_child_runs(const struct keeper_child *child);
/*
 * Waits for the end of one whose socket is closed, if one runs.  It is killed when that takes
 * too long; `pid` is what it has said, 0: nothing, then it can't be.
 */
void keeper_child_reap(struct keeper_child *child, uint32_t pid);
/* What keeper_child_prepare() made; the keeper was reaped before. */
void keeper_child_destroy(struct keeper_child *child);

#endif /* MEDIATOR_WORKERS_KEEPER_CHILD_H */
