/* SPDX-License-Identifier: GPL-2.0-or-later */
/* With --watch a command that only looks is run again and again. */
#ifndef ADMIN_WATCH_H
#define ADMIN_WATCH_H

#include "admin/admin.h"

#define WATCH_DEFAULT_S 2.0
#define WATCH_MIN_S 0.1
#define WATCH_MAX_S 86400.0

/*
 * Runs admin->command every admin->watch_s until SIGINT or SIGTERM; its failures
 * are shown and end nothing.  On a terminal each run replaces the one before it.
 * Returns the exit status.
 */
int watch_run(struct admin *admin);

#endif /* ADMIN_WATCH_H */
