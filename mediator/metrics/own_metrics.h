/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module measures what the exports say about the mediator's own process: its memory and
 * CPU time, its open files, and how long the event loop was busy at a time.
 */
#ifndef MEDIATOR_METRICS_OWN_METRICS_H
#define MEDIATOR_METRICS_OWN_METRICS_H

#include <uv.h>

#include "core/metrics/metrics_export.h"

struct own_metrics;

/* Before the loop runs.  NULL: no memory. */
struct own_metrics *own_metrics_start(uv_loop_t *loop);
void own_metrics_stop(struct own_metrics *own);
/* After the loop has run since. */
void own_metrics_free(struct own_metrics *own);

/* What is known now, into an initialised *external.  `own` may be NULL: then less is. */
void own_metrics_fill(const struct own_metrics *own, struct metrics_external *external);

#endif /* MEDIATOR_METRICS_OWN_METRICS_H */
