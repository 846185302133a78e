/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module opens the database that a command works on, and says there who changes it. */
#ifndef ADMIN_DB_H
#define ADMIN_DB_H

#include <stdbool.h>
#include <stddef.h>

#include "store/vgpu_config.h"

struct admin;

/* Opens admin->db and loads admin->config; 0 or an exit status after saying why. */
int admin_open_db(struct admin *admin, enum vgpu_db_mode mode);
/*
 * For commands that the mediator can answer alone: reads the database if there
 * is one, or takes the view below.  False: *error says why not, and admin->config is empty.
 */
bool admin_open_db_if_any(struct admin *admin, char *error, size_t error_bytes);
/*
 * For commands that only look at admin->config: reads the database, or, where that is not for this
 * user (the group vgpu gets no file), what the mediator has of it, with a note; then admin->db is
 * NULL.  0 or an exit status after saying why.
 */
int admin_open_view(struct admin *admin);
/* The same after the database could not be opened, with that result.  False: no view either. */
bool admin_view_instead(struct admin *admin, int result);
/* Closes it and forgets admin->config, so that it can be opened afresh. */
void admin_close_db(struct admin *admin);
/* Says vgpu_db_error(); returns ADMIN_USAGE for a refused value, else ADMIN_FAILED. */
int admin_db_failed(struct admin *admin, int result);
int admin_reload_config(struct admin *admin);

#endif /* ADMIN_DB_H */
