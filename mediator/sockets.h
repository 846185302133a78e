/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has the sockets that the options name, and those that are there without any: the
 * shared one in /tmp, which devices look for since Phase 1, and for root one more in a folder that
 * only root writes to.  Anybody may put a file of that name into /tmp, or listen there while we are
 * away: this must not keep us from starting, and devices can be told the other path.
 */
#ifndef MEDIATOR_SOCKETS_H
#define MEDIATOR_SOCKETS_H

#include <stdbool.h>

#include "mediator/options.h"
#include "mediator/sessions/listeners.h"

/*
 * False, with a line in the log: one that was asked for can't be had, or another mediator of ours
 * has the default one.  A default one that somebody else is in the way of is tried again by
 * listeners_look(), and health says so.
 */
bool sockets_open(const struct options *options, struct listeners *listeners);

#endif /* MEDIATOR_SOCKETS_H */
