/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module stops the daemon in order, when a signal asks for it or a start has failed. */
#ifndef MEDIATOR_CONTROL_STOP_H
#define MEDIATOR_CONTROL_STOP_H

#include <stdbool.h>

struct mediator;

/*
 * Watches for SIGTERM and SIGINT (stop) and SIGHUP (read the database again) on the loop.
 * False: it can't, and has said so.
 */
bool stop_prepare(struct mediator *mediator);

/* Begins the orderly stop, at whose end the loop has nothing left; more calls do nothing. */
void mediator_stop(struct mediator *mediator);

/* Instead of mediator_stop(), where the start failed before there was a core. */
void stop_before_the_core(void);

/* Closes what watched over the stop; the loop must run once more. */
void stop_end(void);

#endif /* MEDIATOR_CONTROL_STOP_H */
