/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module has the core's effects, and the loop's hooks that serve it (mediator.h says how). */
#ifndef MEDIATOR_EFFECTS_H
#define MEDIATOR_EFFECTS_H

#include "core/core.h"

struct mediator;

/* Fills *effects; they may be called once the mediator's parts exist. */
void effects_table(struct mediator *mediator, struct core_effects *effects);

/* Starts the hooks and the core's timer. -errno. */
int effects_start(struct mediator *mediator);
/* Closes the handles; the memory goes when the loop has let go of them. */
void effects_stop(struct mediator *mediator);

/*
 * Reports to the core what effects found broken, then writes what is to be
 * written.  Called by the loop's hooks; also by whoever called into the core
 * outside of the loop.
 */
void effects_settle(struct mediator *mediator);

#endif /* MEDIATOR_EFFECTS_H */
