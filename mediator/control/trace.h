/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module answers VGPU_ADMIN_TRACE_JOB (docs/admin-protocol.md, "Trace"). */
#ifndef MEDIATOR_CONTROL_TRACE_H
#define MEDIATOR_CONTROL_TRACE_H

#include <jansson.h>

struct json_out;
struct mediator;

/* `body` may be NULL.  Returns 0 or an errno value, with {"error": ...} in `out` then. */
int admin_trace_jobs(struct mediator *mediator, const json_t *body, struct json_out *out);

#endif /* MEDIATOR_CONTROL_TRACE_H */
