/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module reads the options of a command, and their values. */
#ifndef ADMIN_OPTIONS_H
#define ADMIN_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "admin/admin.h"

/* The value of an option of this command; NULL if it was not given.  A flag's is "". */
const char *admin_option(const struct admin *admin, const char *name);
/* Fills admin->values; 0, or ADMIN_USAGE after saying why. */
int admin_parse_options(struct admin *admin, int argc, char **argv);

/* ---- Values: 0, or ADMIN_USAGE after saying what is allowed ---- */

int admin_uint(struct admin *admin, const char *option, uint64_t min, uint64_t max,
               uint64_t *value);
int admin_size(struct admin *admin, const char *option, uint64_t *bytes);
int admin_pool(struct admin *admin, const char *option, char *pool_id);
int admin_priority(struct admin *admin, const char *option, uint8_t *priority);
int admin_weight(struct admin *admin, const char *option, double *weight);
/* One of the words of a NULL-terminated list. */
int admin_choice(struct admin *admin, const char *option, const char *const *words, size_t *index);

#endif /* ADMIN_OPTIONS_H */
