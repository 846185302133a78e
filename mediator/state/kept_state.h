/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kept state is what the next mediator takes over of this one's VMs: their accounts with each
 * other and what is counted of them (core_export_vm()).
 *
 * It is written every KEPT_STATE_PERIOD_MS by a thread, and once more when the mediator stops in an
 * orderly way.  So a mediator that is killed loses what happened since the last time: one period,
 * and as long as the disk takes.
 */
#ifndef MEDIATOR_STATE_KEPT_STATE_H
#define MEDIATOR_STATE_KEPT_STATE_H

#include <uv.h>

#include "core/core.h"

#define KEPT_STATE_PERIOD_MS 1000u

struct kept_state;

/* `path` is not copied.  NULL: no memory. */
struct kept_state *kept_state_new(uv_loop_t *loop, struct core *core, const char *path);
/*
 * Gives the core what is there, when the configuration has been read and nobody has connected.
 * What is refused is said in the log; the VMs begin even then.
 */
void kept_state_take(struct kept_state *state);
int kept_state_start(struct kept_state *state);
/* Writes what there is now, for the last time, and ends.  The loop waits for it.  Twice: once. */
void kept_state_stop(struct kept_state *state);
void kept_state_free(struct kept_state *state);

#endif /* MEDIATOR_STATE_KEPT_STATE_H */
