/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module is the keeper's loop: one mediator at a time, its messages, the processes and their
 * ends.
 *
 * It is small on purpose, for it is the one process with the rights of root that takes messages
 * from another one: it knows no jobs, parses nothing that a guest wrote, and runs one program.
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include "keeper/options.h"

struct keeper;

/* Ready to serve, its signals blocked.  -errno with an `error` for the administrator. */
int keeper_new(const struct keeper_options *options, struct keeper **keeper, char *error,
               size_t error_bytes);
/* Until a signal or, private, the mediator's end.  No process of it is left. */
void keeper_run(struct keeper *keeper);
void keeper_free(struct keeper *keeper);

#endif /* KEEPER_KEEPER_H */
