/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Giving a VM of XCP-ng its device, and taking it away. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "admin/admin.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/commands/vm.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "admin/toolstack/toolstack_xe.h"

/* Only xe keeps QEMU's arguments with the VM in a form that may be changed like this. */
static int need_xe(struct admin *admin)
{
    const struct toolstack_ops *ops = toolstack_ops(admin_toolstack(admin));

    if (ops == &toolstack_xe) {
        return ADMIN_OK;
    }
    return admin_fail(admin, ADMIN_FAILED,
                      "%s works with xe (XCP-ng), and the toolstack here is %s; for libvirt, "
                      "add the device to the domain's XML: docs/qemu.md",
                      admin->command->name, ops->name);
}

/* A VM that is to be changed. */
struct subject {
    vgpu_vm_config_t vm; /* of one that is not registered only UUID and name */
    bool registered;
    char label[ADMIN_LABEL_BYTES + TOOLSTACK_UUID_BYTES];
};

/* ---- The VM -------------------------------------------------------------------------- */

/* Whether the options name any registered VM. */
static bool is_registered(struct admin *admin)
{
    const char *uuid = admin_option(admin, "vm-uuid"), *name = admin_option(admin, "vm-name");

    for (uint32_t i = 0; i < admin->config->vm_count; i++) {
        const vgpu_vm_config_t *vm = &admin->config->vms[i];
        if (uuid ? strcasecmp(vm->vm_uuid, uuid) == 0 : strcmp(vm->vm_name, name) == 0) {
            return true;
        }
    }
    return false;
}

/*
 * remove-vm leaves the device where it is, so a VM that is not registered (any more)
 * may have one.
 */
static int select_of_toolstack(struct admin *admin, struct subject *subject)
{
    const char *uuid = admin_option(admin, "vm-uuid"), *name = admin_option(admin, "vm-name");
    struct toolstack *toolstack = admin_toolstack(admin);
    vgpu_vm_config_t *vm = &subject->vm;
    struct toolstack_vm found;

    if (uuid && !admin_is_uuid(uuid)) {
        return admin_fail(admin, ADMIN_USAGE,
                          "\"%s\" is no UUID, which looks like "
                          "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001",
                          uuid);
    }
    if (uuid) {
        int result = toolstack_find(toolstack, uuid, &found);
        if (result == -ENOENT) {
            return admin_fail(
                admin, ADMIN_FAILED,
                "no VM with UUID %s is registered, and xe has none either; vgpu-admin "
                "scan-vms shows those it has",
                uuid);
        }
        if (result < 0) {
            return admin_fail(admin, ADMIN_FAILED, "looking for VM %s, which is not registered: %s",
                              uuid, toolstack_error(toolstack));
        }
        if (name && strcmp(name, found.name) != 0) {
            return admin_fail(admin, ADMIN_USAGE,
                              "the options name different VMs: %s is \"%s\", and not registered",
                              found.uuid, found.name);
        }
        snprintf(vm->vm_uuid, sizeof(vm->vm_uuid), "%s", found.uuid);
        snprintf(vm->vm_name, sizeof(vm->vm_name), "%s", found.name);
    } else {
        int status = commands_uuid_from_toolstack(admin, name, vm);
        if (status != ADMIN_OK) {
            return status;
        }
        snprintf(vm->vm_name, sizeof(vm->vm_name), "%s", name);
    }
    subject->registered = false;
    /* With the UUID: nobody has said before which VM of this name is meant. */
    snprintf(subject->label, sizeof(subject->label), "%s%s%s (not registered)", vm->vm_name,
             vm->vm_name[0] ? ", " : "", vm->vm_uuid);
    render_sanitise(subject->label, false);
    return ADMIN_OK;
}

static int select_subject(struct admin *admin, bool must_be_registered, struct subject *subject)
{
    bool of_toolstack = !must_be_registered && admin_vm_is_named(admin, false) &&
                        !admin_option(admin, "vm-id") && !is_registered(admin);
    const vgpu_vm_config_t *vm;
    int status;

    if (of_toolstack) {
        return select_of_toolstack(admin, subject);
    }
    status = admin_select_vm(admin, true, &vm);
    if (status == ADMIN_OK) {
        subject->vm = *vm;
        subject->registered = true;
        admin_vm_label(vm, subject->label);
    }
    return status;
}

/* ---- What follows -------------------------------------------------------------------- */

/* In which state a VM is, to its user, and what xe must do before it can shut it down. */
static const struct {
    const char *state, *it_is, *before;
} power_states[] = {
    {"running", "It is running: this takes effect when it is shut down and started, or rebooted",
     ""},
    {"paused", "It is paused: this takes effect when it is shut down and started, or rebooted",
     "xe vm-unpause"},
    {"suspended",
     "It is suspended, and is resumed with the devices that it was saved with: this takes effect "
     "when it is then shut down and started, or rebooted",
     "xe vm-resume"},
};

/* All but a halted VM; also one of which nothing is known, to be on the safe side. */
static bool needs_restart(struct admin *admin, const char *uuid)
{
    struct toolstack *toolstack = admin_toolstack(admin);
    const char *text =
                   "Unless it is halted, this takes effect when it is shut down and started, or "
                   "rebooted",
               *before = "";
    struct toolstack_vm vm = {.state = ""};
    int result = toolstack_find(toolstack, uuid, &vm);

    if (result < 0) {
        admin_note(admin, "in which power state the VM is is not known: %s",
                   result == -ENOENT ? "xe does not list it" : toolstack_error(toolstack));
    }
    if (strcmp(vm.state, "halted") == 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(power_states) / sizeof(power_states[0]); i++) {
        if (strcmp(vm.state, power_states[i].state) == 0) {
            text = power_states[i].it_is;
            before = power_states[i].before;
        }
    }
    if (admin->json) {
        admin_note(admin, "%s", text);
        return true;
    }
    printf("%s:\n  ", text);
    if (before[0]) {
        printf("%s uuid=%s && ", before, uuid);
    }
    printf("xe vm-shutdown uuid=%s && xe vm-start uuid=%s\n", uuid, uuid);
    return true;
}

static int finish(struct admin *admin, const struct subject *subject, bool changed,
                  const char *done)
{
    const vgpu_vm_config_t *vm = &subject->vm;
    bool restart;

    if (!admin->json) {
        printf("%s %s.\n", subject->label, done);
    }
    restart = changed && needs_restart(admin, vm->vm_uuid);
    if (admin->json) {
        json_t *about = admin_vm_json(vm);
        if (!subject->registered) {
            /* The rest of a registration would be made up. */
            json_t *name = json_incref(json_object_get(about, "name"));
            json_decref(about);
            about = json_pack("{s:s, s:o}", "uuid", vm->vm_uuid, "name", name);
        }
        admin_print_json(admin, json_pack("{s:b, s:b, s:b, s:o}", "changed", (int)changed,
                                          "registered", (int)subject->registered, "restart_needed",
                                          (int)restart, "vm", about));
    }
    return ADMIN_OK;
}

static int change(struct admin *admin, bool attach)
{
    struct toolstack *toolstack = admin_toolstack(admin);
    struct subject subject = {.registered = false};
    const vgpu_vm_config_t *vm = &subject.vm;
    unsigned devices = 0;
    int result, status = need_xe(admin);

    if (status == ADMIN_OK) {
        status = admin_open_db(admin, VGPU_DB_READ);
    }
    if (status == ADMIN_OK) {
        status = select_subject(admin, attach, &subject);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    if (attach) {
        struct toolstack_device device = {
            .pool_id = vm->pool_id, .priority = vm->priority, .vm_id = vm->vm_id};
        result = toolstack_xe_attach(toolstack, vm->vm_uuid, &device, &devices);
    } else {
        result = toolstack_xe_detach(toolstack, vm->vm_uuid);
    }
    if (result < 0) {
        return admin_fail(admin, ADMIN_FAILED, "%s: %s", subject.label, toolstack_error(toolstack));
    }
    if (devices > 1) {
        admin_note(admin, "it had %u vgpu devices; the first is left, since a VM is served on one",
                   devices);
    }
    return attach ? finish(admin, &subject, result > 0,
                           result > 0 ? "has a vgpu device now" : "has its vgpu device already")
                  : finish(admin, &subject, result > 0,
                           result > 0 ? "has no vgpu device any more" : "has no vgpu device");
}

static int run_attach(struct admin *admin)
{
    return change(admin, true);
}

static int run_detach(struct admin *admin)
{
    return change(admin, false);
}

#define GROUP "Virtual machines"

const struct admin_command commands_attach[] = {
    {
        .name = "attach-vm",
        .group = GROUP,
        .summary = "Give a registered VM of XCP-ng its vgpu device",
        .usage = ADMIN_WHICH_VM,
        .details = "Adds \"-device vgpu-stub,...\" to the VM's platform:device-model-args; other\n"
                   "arguments there are kept. The device comes with the VM's next start or reboot.",
        .example = "vgpu-admin attach-vm --vm-name=\"web 1\"",
        ADMIN_TAKES(ADMIN_OPTIONS_VM),
        .run = run_attach,
    },
    {
        .name = "detach-vm",
        .group = GROUP,
        .summary = "Take the vgpu device from a VM of XCP-ng",
        .usage = ADMIN_WHICH_VM,
        .details =
            "A registered VM stays so (remove-vm takes its access away at once); one that is not\n"
            "is looked up by its UUID or name with xe. The device goes with the VM's next\n"
            "shutdown or reboot.",
        .example = "vgpu-admin detach-vm --vm-name=\"web 1\"",
        ADMIN_TAKES(ADMIN_OPTIONS_VM),
        .run = run_detach,
    },
    {0},
};
