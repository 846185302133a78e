/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the exports say about the mediator itself: its memory and CPU time, its
 * connections, and how long the event loop was busy at a time.
 */
#ifndef MEDIATOR_METRICS_OWN_METRICS_H
#define MEDIATOR_METRICS_OWN_METRICS_H

#include "core/metrics/metrics_export.h"

struct mediator;
struct own_metrics;

/* Before the loop runs.  NULL: no memory. */
struct own_metrics *own_metrics_start(struct mediator *mediator);
void own_metrics_stop(struct own_metrics *own);
/* After the loop has run since. */
void own_metrics_free(struct own_metrics *own);

/* Everything that is known now.  `own` may be NULL: then less is. */
void own_metrics_fill(struct own_metrics *own, struct mediator *mediator,
                      struct metrics_external *external);

#endif /* MEDIATOR_METRICS_OWN_METRICS_H */
