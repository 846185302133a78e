/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module fills in what the exports say beyond the core's own figures: the daemon's parts,
 * its health, the GPUs.
 */
#ifndef MEDIATOR_CONTROL_EXTERNAL_H
#define MEDIATOR_CONTROL_EXTERNAL_H

#include "core/metrics/metrics_export.h"

struct mediator;

/* All that is known at this moment; what is not stays as metrics_external_init() leaves it. */
void external_fill(struct mediator *mediator, struct metrics_external *external);

#endif /* MEDIATOR_CONTROL_EXTERNAL_H */
