/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core's effects, and the loop's hooks that serve it: see mediator.h. */
#ifndef MEDIATOR_GLUE_H
#define MEDIATOR_GLUE_H

#include "core/core.h"

struct mediator;

/* Fills *effects; they may be called once the mediator's parts exist. */
void glue_effects(struct mediator *mediator, struct core_effects *effects);

/* Starts the hooks and the core's timer. -errno. */
int glue_start(struct mediator *mediator);
/* Closes the handles; the memory goes when the loop has let go of them. */
void glue_stop(struct mediator *mediator);

/*
 * Reports to the core what effects found broken, then writes what is to be
 * written.  Called by the loop's hooks; also by whoever called into the core
 * outside of the loop.
 */
void glue_settle(struct mediator *mediator);

#endif /* MEDIATOR_GLUE_H */
