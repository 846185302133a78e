/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The families of commands, and what they share among each other. */
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
extern const struct admin_command commands_trace[];
extern const struct admin_command commands_schedule[];
extern const struct admin_command commands_test_mode[];
extern const struct admin_command commands_events[];
extern const struct admin_command commands_database[];

/*
 * Opens the database, finds the VM that the options name, changes it, and
 * finishes as every change does.
 */
int commands_change_vm(struct admin *admin, bool use_vm_id, unsigned fields,
                       const vgpu_vm_config_t *values);

/*
 * Finds the VM with this name in the toolstack; its UUID goes into vm.  0, or an
 * exit status after saying why: there is none, or more than one.
 */
int commands_uuid_from_toolstack(struct admin *admin, const char *name, vgpu_vm_config_t *vm);

#endif /* ADMIN_COMMANDS_COMMANDS_H */
