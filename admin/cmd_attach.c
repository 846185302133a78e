/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Giving a VM of XCP-ng its device, and taking it away. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "admin/admin.h"
#include "admin/commands.h"
#include "admin/tools.h"
#include "admin/toolstack_xe.h"

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

/* -1: the toolstack does not know the VM; else whether it runs.  An error is a note. */
static int is_running(struct admin *admin, const char *uuid)
{
    struct toolstack *toolstack = admin_toolstack(admin);
    struct toolstack_vm *vms;
    size_t count;
    int running = -1;

    if (toolstack_list(toolstack, &vms, &count) < 0) {
        admin_note(admin, "whether the VM runs is not known: %s", toolstack_error(toolstack));
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(vms[i].uuid, uuid) == 0) {
            running = vms[i].running;
        }
    }
    free(vms);
    return running;
}

static int finish(struct admin *admin, const vgpu_vm_config_t *vm, int changed, const char *done,
                  const char *already)
{
    bool restart = changed && is_running(admin, vm->vm_uuid) > 0;
    char label[ADMIN_LABEL_BYTES];

    admin_vm_label(vm, label);
    if (admin->json) {
        admin_print_json(admin, json_pack("{s:b, s:b, s:o}", "changed", changed, "restart_needed",
                                          (int)restart, "vm", admin_vm_json(vm)));
        return ADMIN_OK;
    }
    printf("%s %s.\n", label, changed ? done : already);
    if (restart) {
        printf("It is running: this takes effect when it is shut down and started again (a "
               "reboot inside\nthe guest is not enough):\n"
               "  xe vm-shutdown uuid=%s && xe vm-start uuid=%s\n",
               vm->vm_uuid, vm->vm_uuid);
    }
    return ADMIN_OK;
}

static int change(struct admin *admin, bool attach)
{
    struct toolstack *toolstack = admin_toolstack(admin);
    const vgpu_vm_config_t *vm;
    int result, status = need_xe(admin);

    if (status == ADMIN_OK) {
        status = admin_open_db(admin, VGPU_DB_READ);
    }
    if (status == ADMIN_OK) {
        status = admin_select_vm(admin, true, &vm);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    if (attach) {
        struct toolstack_device device = {
            .pool_id = vm->pool_id, .priority = vm->priority, .vm_id = vm->vm_id};
        result = toolstack_xe_attach(toolstack, vm->vm_uuid, &device);
    } else {
        result = toolstack_xe_detach(toolstack, vm->vm_uuid);
    }
    if (result < 0) {
        return admin_fail(admin, ADMIN_FAILED, "%s", toolstack_error(toolstack));
    }
    return attach
               ? finish(admin, vm, result, "has a vgpu device now", "has its vgpu device already")
               : finish(admin, vm, result, "has no vgpu device any more", "has no vgpu device");
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
    {"attach-vm", GROUP, "Give a registered VM of XCP-ng its vgpu device",
     "(--vm-name=NAME | --vm-uuid=UUID)",
     "Adds \"-device vgpu-stub,...\" to the VM's platform:device-model-args; other arguments\n"
     "there are kept. The device comes with the VM's next start.",
     "vgpu-admin attach-vm --vm-name=\"web 1\"",
     (const struct admin_option[]){ADMIN_OPTIONS_VM, {0}}, run_attach, ADMIN_CHANGES},
    {"detach-vm", GROUP, "Take the vgpu device from a VM of XCP-ng",
     "(--vm-name=NAME | --vm-uuid=UUID)",
     "The VM stays registered (remove-vm takes its access away at once) and loses the device\n"
     "when it is shut down.",
     "vgpu-admin detach-vm --vm-name=\"web 1\"",
     (const struct admin_option[]){ADMIN_OPTIONS_VM, {0}}, run_detach, ADMIN_CHANGES},
    {0},
};
