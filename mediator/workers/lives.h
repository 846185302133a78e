/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has the lives of channels that a mediator before us opened: of each the end of a pipe
 * for reading, whose other end its process has.  By it the process shows that the channel is its
 * own, and when it is closed, the process is gone.
 */
#ifndef MEDIATOR_WORKERS_LIVES_H
#define MEDIATOR_WORKERS_LIVES_H

#include <stdbool.h>
#include <stdint.h>

struct lives;

/* NULL: no memory. */
struct lives *lives_new(void);
void lives_free(struct lives *lives);

bool lives_any(const struct lives *lives);
/* `fd` is taken over, whatever becomes of it.  -EINVAL: it is no pipe; -ENOMEM. */
int lives_add(struct lives *lives, uint64_t channel, int fd);
/* Nothing happens for one that is not there. */
void lives_drop(struct lives *lives, uint64_t channel);
/* Whose pipe is it?  0: nobody's. */
uint64_t lives_match(const struct lives *lives, int fd);
/* Calls `gone` for each whose process is, which it drops first. */
void lives_look(struct lives *lives, void (*gone)(void *opaque, uint64_t channel), void *opaque);

#endif /* MEDIATOR_WORKERS_LIVES_H */
