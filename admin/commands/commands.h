/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each of these arrays is a family of commands. */
#ifndef ADMIN_COMMANDS_COMMANDS_H
#define ADMIN_COMMANDS_COMMANDS_H

#include "admin/admin.h"

/* Each ends with a name of NULL. */
extern const struct admin_command commands_vm[];
extern const struct admin_command commands_attach[];
extern const struct admin_command commands_list[];
extern const struct admin_command commands_limits[];
extern const struct admin_command commands_quarantine[];
extern const struct admin_command commands_pools[];
extern const struct admin_command commands_status[];
extern const struct admin_command commands_top[];
extern const struct admin_command commands_metrics[];
extern const struct admin_command commands_health[];
extern const struct admin_command commands_cuda[];
extern const struct admin_command commands_trace[];
extern const struct admin_command commands_schedule[];
extern const struct admin_command commands_test_mode[];
extern const struct admin_command commands_events[];
extern const struct admin_command commands_database[];
extern const struct admin_command commands_restore[];

#endif /* ADMIN_COMMANDS_COMMANDS_H */
