/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keeping a VM away from the GPU, and letting it back. */
#include <stdio.h>

#include "admin/admin.h"
#include "admin/change.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/select.h"

static int change(struct admin *admin, bool quarantine)
{
    const vgpu_vm_config_t *vm;
    vgpu_vm_config_t before, after;
    char message[512], label[ADMIN_LABEL_BYTES];
    const char *reason = quarantine ? admin_option(admin, "reason") : NULL;
    int status = admin_open_db(admin, VGPU_DB_WRITE);
    int result;
    bool changed;

    if (status == ADMIN_OK) {
        status = admin_select_vm(admin, true, &vm);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    before = *vm;
    result = quarantine ? vgpu_quarantine_vm(admin->db, vm->vm_uuid,
                                             reason ? reason : "by the administrator")
                        : vgpu_unquarantine_vm(admin->db, vm->vm_uuid);
    if (result == 0) {
        result = vgpu_get_vm_config(admin->db, vm->vm_uuid, &after);
    }
    if (result != 0) {
        return admin_db_failed(admin, result);
    }
    admin_vm_label(&after, label);
    changed = before.quarantined != after.quarantined;
    if (quarantine) {
        snprintf(message, sizeof(message), "%s is %squarantined%s.", label,
                 changed ? "" : "already ",
                 changed ? ": its requests are refused until vgpu-admin clear-quarantine" : "");
    } else if (changed) {
        snprintf(message, sizeof(message), "%s is released; its fault count is 0 again.", label);
    } else {
        snprintf(message, sizeof(message), "%s is not quarantined; its fault count is 0.", label);
    }
    return admin_finish_change(admin, &before, &after, message,
                               json_pack("{s:b, s:o, s:o}", "changed", (int)changed, "vm",
                                         admin_vm_json(&after), "before", admin_vm_json(&before)));
}

static int run_quarantine(struct admin *admin)
{
    return change(admin, true);
}

static int run_clear(struct admin *admin)
{
    return change(admin, false);
}

#define GROUP "Quarantine"

const struct admin_command commands_quarantine[] = {
    {
        .name = "quarantine-vm",
        .group = GROUP,
        .summary = "Refuse a VM's requests until it is released",
        .usage = "(--vm-name=NAME | --vm-uuid=UUID) [--reason=TEXT]",
        .details =
            "The mediator does the same by itself when a VM's faults reach its fault threshold.",
        .example = "vgpu-admin quarantine-vm --vm-name=\"web 1\" --reason=\"floods the GPU\"",
        .options =
            (const struct admin_option[]){
                ADMIN_OPTIONS_VM,
                {.name = "reason", .metavar = "TEXT", .help = "why, for show-vm and events"},
                {0},
            },
        .run = run_quarantine,
    },
    {
        .name = "clear-quarantine",
        .group = GROUP,
        .summary = "Release a VM and set its fault count to 0",
        .usage = "(--vm-name=NAME | --vm-uuid=UUID)",
        .example = "vgpu-admin clear-quarantine --vm-name=\"web 1\"",
        .options =
            (const struct admin_option[]){
                ADMIN_OPTIONS_VM,
                {0},
            },
        .run = run_clear,
    },
    {0},
};
