/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command gets what it works with here, besides the database.  Each part is made when it is
 * first asked for.
 */
#ifndef ADMIN_TOOLS_H
#define ADMIN_TOOLS_H

#include <jansson.h>
#include <stdint.h>

#include "admin/toolstack/toolstack.h"

struct admin;

/* Never NULL; connecting happens at the first request. */
struct admin_link *admin_get_link(struct admin *admin);
const char *admin_socket_path(const struct admin *admin);
/* Never NULL. */
struct toolstack *admin_toolstack(struct admin *admin);

/* One request; *answer is the caller's.  0 or an exit status after saying why. */
int admin_ask_mediator(struct admin *admin, uint32_t command, uint32_t param1, json_t *body,
                       json_t **answer);

#endif /* ADMIN_TOOLS_H */
