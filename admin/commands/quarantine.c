/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keeping a VM away from the GPU, and letting it back. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/link.h"
#include "admin/base/live.h"
#include "admin/change.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"

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

/* ---- VMs that no database knows ---- */

static bool is_named(struct admin *admin, const json_t *vm)
{
    const char *uuid = admin_option(admin, "vm-uuid"), *name = admin_option(admin, "vm-name");
    const char *id = admin_option(admin, "vm-id");
    char number[24];

    snprintf(number, sizeof(number), "%lld", (long long)json_get_int(vm, "vm_id", -1));
    return (!uuid || strcasecmp(uuid, json_get_text(vm, "uuid", "")) == 0) &&
           (!name || strcmp(name, json_get_text(vm, "name", "")) == 0) &&
           (!id || strcmp(id, number) == 0);
}

/*
 * The one VM that the options name among those that only the mediator knows: it
 * runs with --no-db, or serves VMs that are not registered.  NULL: there is no
 * such VM, or more than one; then the database has to say.
 */
static const json_t *find_live(struct admin *admin, const json_t *status)
{
    const json_t *found = NULL, *vm;
    size_t i;

    json_array_foreach(json_object_get(status, "vms"), i, vm)
    {
        /* A mediator that doesn't say who is registered leaves that to the database. */
        if ((live_without_db(status) || json_is_false(json_object_get(vm, "registered"))) &&
            is_named(admin, vm)) {
            if (found) {
                return NULL;
            }
            found = vm;
        }
    }
    return found;
}

static int change_live(struct admin *admin, const json_t *vm, bool quarantine)
{
    uint32_t vm_id = (uint32_t)json_get_int(vm, "vm_id", 0);
    bool changed = json_get_bool(vm, "quarantined") != quarantine;
    const char *name = json_get_text(vm, "name", "");
    json_t *answer = NULL;
    int status = admin_ask_mediator(
        admin, quarantine ? VGPU_ADMIN_QUARANTINE_VM : VGPU_ADMIN_UNQUARANTINE_VM, vm_id, NULL,
        &answer);

    json_decref(answer);
    if (status != ADMIN_OK) {
        return status;
    }
    if (admin->json) {
        admin_print_json(admin, json_pack("{s:b, s:i, s:b}", "changed", (int)changed, "vm_id",
                                          (int)vm_id, "quarantined", (int)quarantine));
        return ADMIN_OK;
    }
    printf("%s%s%s%u%s is %s%s. It is not in the database: the mediator keeps this until it "
           "stops.\n",
           name, name[0] ? " (" : "", "vm_id ", vm_id, name[0] ? ")" : "",
           changed ? "" : (quarantine ? "already " : "not "),
           quarantine || !changed ? "quarantined" : "released; its fault count is 0 again");
    return ADMIN_OK;
}

static int run(struct admin *admin, bool quarantine)
{
    json_t *live = NULL;
    char error[VGPU_DB_ERROR_BYTES];
    const json_t *vm = NULL;
    int status;

    if (admin_vm_is_named(admin, true) &&
        admin_link_request(admin_get_link(admin), VGPU_ADMIN_SHOW_STATUS, 0, NULL, &live) == 0) {
        vm = find_live(admin, live);
    }
    if (vm) {
        status = change_live(admin, vm, quarantine);
    } else if (live && live_without_db(live) &&
               !admin_open_db_if_any(admin, error, sizeof(error))) {
        status = admin_fail(admin, ADMIN_FAILED,
                            "the mediator runs with --no-db and knows no such VM; vgpu-admin "
                            "status shows those it knows");
    } else {
        admin_close_db(admin);
        status = change(admin, quarantine);
    }
    json_decref(live);
    return status;
}

static int run_quarantine(struct admin *admin)
{
    return run(admin, true);
}

static int run_clear(struct admin *admin)
{
    return run(admin, false);
}

#define GROUP "Quarantine"

const struct admin_command commands_quarantine[] = {
    {
        .name = "quarantine-vm",
        .group = GROUP,
        .summary = "Refuse a VM's requests until it is released",
        .usage = ADMIN_WHICH_VM " [--reason=TEXT]",
        .details =
            "The mediator does the same by itself when a VM's faults reach its fault threshold.",
        .example = "vgpu-admin quarantine-vm --vm-name=\"web 1\" --reason=\"floods the GPU\"",
        ADMIN_TAKES(ADMIN_OPTIONS_VM,
                    {.name = "reason", .metavar = "TEXT", .help = "why, for show-vm and events"}),
        .run = run_quarantine,
    },
    {
        .name = "clear-quarantine",
        .group = GROUP,
        .summary = "Release a VM and set its fault count to 0",
        .usage = ADMIN_WHICH_VM,
        .details =
            "Also of a VM that is not registered, or of a mediator with --no-db; name it by\n"
            "its --vm-id where it has no name.",
        .example = "vgpu-admin clear-quarantine --vm-name=\"web 1\"",
        ADMIN_TAKES(ADMIN_OPTIONS_VM),
        .run = run_clear,
    },
    {0},
};
