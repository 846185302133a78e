/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "admin/commands/commands.h"

/* In the order in which --help shows them. */
const struct admin_command *const admin_command_families[] = {
    commands_status,   commands_top,        commands_vm,    commands_attach,   commands_list,
    commands_limits,   commands_quarantine, commands_pools, commands_schedule, commands_test_mode,
    commands_metrics,  commands_health,     commands_cuda,  commands_trace,    commands_events,
    commands_database, commands_restore,    NULL,
};

const struct admin_command *admin_find_command(const char *name)
{
    for (size_t f = 0; admin_command_families[f]; f++) {
        for (const struct admin_command *c = admin_command_families[f]; c->name; c++) {
            if (strcmp(c->name, name) == 0) {
                return c;
            }
        }
    }
    return NULL;
}
