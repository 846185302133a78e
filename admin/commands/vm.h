/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Other families of commands use these functions of commands/vm.c. */
#ifndef ADMIN_COMMANDS_VM_H
#define ADMIN_COMMANDS_VM_H

#include "admin/admin.h"

/*
 * Opens the database, finds the VM that the options name, changes it, and
 * finishes as every change does.
 */
int commands_change_vm(struct admin *admin, bool use_vm_id, unsigned fields,
                       const vgpu_vm_config_t *values);

/* A queue depth as it is configured and, where that is something else, as it is enforced. */
#define COMMANDS_LIMIT_BYTES 32
const char *commands_queue_depth_text(uint32_t configured, char out[COMMANDS_LIMIT_BYTES]);

/*
 * Finds the VM with this name in the toolstack; its UUID goes into vm.  0, or an
 * exit status after saying why: there is none, or more than one.
 */
int commands_uuid_from_toolstack(struct admin *admin, const char *name, vgpu_vm_config_t *vm);

#endif /* ADMIN_COMMANDS_VM_H */
