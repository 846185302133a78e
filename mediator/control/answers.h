/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module writes the answers of the administration socket.  docs/admin-protocol.md has
 * their shapes.
 */
#ifndef MEDIATOR_CONTROL_ANSWERS_H
#define MEDIATOR_CONTROL_ANSWERS_H

struct json_out;
struct mediator;

void admin_json_status(struct mediator *mediator, struct json_out *json);
void admin_json_health(struct mediator *mediator, struct json_out *json);
void admin_json_connections(struct mediator *mediator, struct json_out *json);
void admin_json_schedule(struct mediator *mediator, struct json_out *json);

#endif /* MEDIATOR_CONTROL_ANSWERS_H */
