/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module does what each command of the administration socket asks for. */
#ifndef MEDIATOR_CONTROL_COMMANDS_H
#define MEDIATOR_CONTROL_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

#include "vgpu/vgpu_admin.h"

struct admin_who;
struct json_out;
struct mediator;

/* Does a body of param2 bytes follow a request with this command? */
bool admin_command_has_body(uint32_t command);

/*
 * Does it, and writes the answer into `out`; `body` is NUL-terminated.
 * Returns 0 or an errno value, with {"error": ...} in `out` then.  Not for
 * RELOAD_CONFIG, SHOW_METRICS and EVENTS, which take their time.
 */
int admin_command_run(struct mediator *mediator, const VGPUAdminRequest *request, const char *body,
                      const struct admin_who *who, struct json_out *out);

/* A client's connection has ended: what it held is let go. */
void admin_command_leave(struct mediator *mediator, const struct admin_who *who);

/* {"error": ...} */
void admin_command_error(struct json_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Makes the GPUs be as the record of pauses and holds says. */
void admin_command_apply_holds(struct mediator *mediator);

#endif /* MEDIATOR_CONTROL_COMMANDS_H */
