/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module answers SHOW_METRICS.  The export of a thousand VMs takes time that the loop
 * does not have in one piece, so it is made in steps, one in each turn of the loop.
 */
#ifndef MEDIATOR_CONTROL_EXPORT_H
#define MEDIATOR_CONTROL_EXPORT_H

#include "core/metrics/metrics_export.h"
#include "common/json_out.h"

struct admin_export;
struct mediator;

/* The whole answer, or with `failed` set; `out` is the callee's to destroy. */
typedef void admin_export_done(void *opaque, struct json_out *out);

/* NULL: no memory.  `done` is called later, never from within. */
struct admin_export *admin_export_start(struct mediator *mediator, enum metrics_format format,
                                        admin_export_done *done, void *opaque);
/* Nobody wants it any more: `done` is not called. */
void admin_export_cancel(struct admin_export *export);

#endif /* MEDIATOR_CONTROL_EXPORT_H */
