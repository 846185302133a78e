/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a command works with besides the database, made when first asked for. */
#ifndef ADMIN_TOOLS_H
#define ADMIN_TOOLS_H

#include "admin/admin.h"
#include "admin/toolstack/toolstack.h"

/* Never NULL; connecting happens at the first request. */
struct mediator *admin_connect_mediator(struct admin *admin);
const char *admin_socket_path(const struct admin *admin);
/* Never NULL. */
struct toolstack *admin_toolstack(struct admin *admin);

#endif /* ADMIN_TOOLS_H */
