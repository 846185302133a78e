/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What follows a change.
 *
 * The database has it.  If the mediator runs, it is told to read the database
 * again, and takes the change over: weight and limits are its own affair, and a
 * device that knows CONFIG is told its new pool, priority and vm_id.  A device
 * of protocol 1.0 cannot be told; the mediator lists such VMs as restart_needed.
 * Its properties come from the VM's configuration in the toolstack, and it reads
 * them when it is made, so the configuration is rewritten and the VM is shut down
 * and started: except on XCP-ng a reboot inside the guest keeps the same device.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/link.h"
#include "admin/base/render.h"
#include "admin/change.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "admin/toolstack/toolstack.h"
#include "common/names.h"
#include "vgpu/vgpu_admin.h"

enum told { TOLD, TOLD_UNREACHABLE, TOLD_FAILED };

/* Like admin_ask_mediator(), but an unreachable mediator is no failure. */
static enum told tell_mediator(struct admin *admin, json_t **answer)
{
    int result;

    *answer = NULL;
    admin_get_link(admin);
    result = admin_link_request(admin->link, VGPU_ADMIN_RELOAD_CONFIG, 0, NULL, answer);
    if (result == 0) {
        return TOLD;
    }
    if (result == -ENOENT || result == -ECONNREFUSED) {
        admin_note(admin,
                   "the mediator is not running (nothing listens on %s); the change takes effect "
                   "when it starts",
                   admin_socket_path(admin));
    } else {
        admin_note(admin,
                   "the change is saved, but the mediator has not taken it over: %s. When that is "
                   "mended: vgpu-admin reload-config",
                   admin_link_error(admin->link));
    }
    return admin_link_is_unreachable(result) ? TOLD_UNREACHABLE : TOLD_FAILED;
}

static bool lists_vm(const json_t *answer, uint32_t vm_id)
{
    const json_t *list = json_object_get(answer, "restart_needed");
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        json_int_t id =
            json_is_object(item) ? json_get_int(item, "vm_id", -1) : json_integer_value(item);
        if (id == (json_int_t)vm_id) {
            return true;
        }
    }
    return false;
}

/*
 * What the VM's device shows its guest at present.  The mediator says it; an older one
 * does not, and then it is what the VM had before this change.
 */
static void look_at_device(struct admin *admin, const vgpu_vm_config_t *before,
                           const vgpu_vm_config_t *after, struct toolstack_device *shown)
{
    json_t *status, *vm;
    size_t i;

    *shown = (struct toolstack_device){before->pool_id, before->priority, before->vm_id};
    if (admin_link_request(admin->link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &status) < 0) {
        return;
    }
    json_array_foreach(json_object_get(status, "vms"), i, vm)
    {
        const json_t *device = json_object_get(vm, "device");

        if (json_is_object(device) && json_get_int(vm, "vm_id", -1) == (json_int_t)after->vm_id) {
            shown->pool_id = json_get_text(device, "pool", "?")[0];
            shown->priority = (uint8_t)json_get_int(device, "priority", before->priority);
            shown->vm_id = (uint32_t)json_get_int(device, "vm_id", before->vm_id);
        }
    }
    json_decref(status);
}

static void print_current_and_new(const struct toolstack_device *shown,
                                  const vgpu_vm_config_t *after)
{
    static const struct render_column columns[] = {
        {"", 0}, {"device now", COLUMN_SHRINK}, {"after the restart", COLUMN_SHRINK}};
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));

    render_cell(t, STYLE_PLAIN, "pool");
    render_cell(t, STYLE_PLAIN, "%c", shown->pool_id);
    render_cell(t, shown->pool_id != after->pool_id ? STYLE_BOLD : STYLE_PLAIN, "%c",
                after->pool_id);
    render_cell(t, STYLE_PLAIN, "priority");
    render_cell(t, STYLE_PLAIN, "%s", priority_name(shown->priority));
    render_cell(t, shown->priority != after->priority ? STYLE_BOLD : STYLE_PLAIN, "%s",
                priority_name(after->priority));
    render_cell(t, STYLE_PLAIN, "vm_id");
    render_cell(t, STYLE_PLAIN, "%u", shown->vm_id);
    render_cell(t, shown->vm_id != after->vm_id ? STYLE_BOLD : STYLE_PLAIN, "%u", after->vm_id);
    render_table_end(t, "");
}

static void by_hand(const struct toolstack *toolstack, const char *uuid, char *out, size_t bytes)
{
    const char *text = toolstack_ops(toolstack)->restart_by_hand;
    size_t used = 0;

    out[0] = '\0';
    while (*text && used + VGPU_VM_UUID_BYTES < bytes) {
        if (strncmp(text, "UUID", 4) == 0) {
            used += (size_t)snprintf(out + used, bytes - used, "%s", uuid);
            text += 4;
        } else {
            out[used++] = *text++;
            out[used] = '\0';
        }
    }
}

/* Rewrites the VM's configuration, then restarts it; *restarted says whether. */
static int restart(struct admin *admin, const vgpu_vm_config_t *before,
                   const vgpu_vm_config_t *after, bool *restarted)
{
    const struct toolstack_device device = {after->pool_id, after->priority, after->vm_id};
    char label[ADMIN_LABEL_BYTES], hand[512], question[ADMIN_LABEL_BYTES + 64];
    struct toolstack *toolstack = admin_toolstack(admin);
    const char *name = toolstack_ops(toolstack)->name;
    struct toolstack_device shown;
    int result;

    *restarted = false;
    look_at_device(admin, before, after, &shown);
    admin_vm_label(after, label);
    by_hand(toolstack, after->vm_uuid, hand, sizeof(hand));
    if (!admin->json) {
        printf("\nThe device of %s is too old to be told while it runs: the VM must be restarted\n"
               "(shut down and started%s).\n\n",
               label,
               toolstack_ops(toolstack)->reboot_is_enough
                   ? ", or rebooted"
                   : "; a reboot inside the guest is not enough");
        print_current_and_new(&shown, after);
        putchar('\n');
    }
    result = toolstack_ops(toolstack)->set_device(toolstack, after->vm_uuid, &device);
    if (result == -ENOENT) {
        if (strcmp(name, "none") != 0) {
            admin_note(admin,
                       "%s knows of no vgpu-stub device in this VM's configuration; whatever adds "
                       "the device must give it pool_id=%c,priority=%s,vm_id=%u",
                       name, device.pool_id, priority_name(device.priority), device.vm_id);
        }
    } else if (result < 0) {
        return admin_fail(admin, ADMIN_FAILED,
                          "the change is saved, but the VM's configuration could not be changed: "
                          "%s",
                          toolstack_error(toolstack));
    }
    snprintf(question, sizeof(question), "Restart %s now through %s?", label, name);
    if (strcmp(name, "none") == 0 || !admin_confirm(admin, question)) {
        admin_note(
            admin,
            "%s was not restarted: the database has pool %c, priority %s, vm_id %u, and its "
            "device shows pool %c, priority %s, vm_id %u until it is: %s%s. vgpu-admin status "
            "reminds of it",
            label, after->pool_id, priority_name(after->priority), after->vm_id, shown.pool_id,
            priority_name(shown.priority), shown.vm_id, hand,
            strcmp(name, "none") == 0 ? "" : " (or the same command with --yes)");
        return ADMIN_OK;
    }
    result = toolstack_ops(toolstack)->restart(toolstack, after->vm_uuid);
    if (result < 0) {
        return admin_fail(admin, ADMIN_FAILED,
                          "the change is saved, but the VM could not be restarted: %s",
                          toolstack_error(toolstack));
    }
    *restarted = true;
    if (!admin->json) {
        printf("%s was restarted.\n", label);
    }
    return ADMIN_OK;
}

int admin_finish_change(struct admin *admin, const vgpu_vm_config_t *before,
                        const vgpu_vm_config_t *after, const char *message, json_t *document)
{
    json_t *answer;
    bool restarted = false, needed = false;
    int status = ADMIN_OK;
    enum told told;

    if (!admin->json) {
        render_text(STYLE_PLAIN, message);
        putchar('\n');
    }
    told = tell_mediator(admin, &answer);
    if (told == TOLD && before && after &&
        (lists_vm(answer, after->vm_id) || lists_vm(answer, before->vm_id))) {
        needed = true;
        status = restart(admin, before, after, &restarted);
    }
    if (told == TOLD_FAILED) {
        status = ADMIN_FAILED;
    }
    if (admin->json && (status == ADMIN_OK || told == TOLD_FAILED)) {
        json_object_set_new(document, "message", json_string(message));
        json_object_set_new(document, "mediator",
                            json_string(told == TOLD               ? "applied"
                                        : told == TOLD_UNREACHABLE ? "unreachable"
                                                                   : "failed"));
        json_object_set_new(document, "restart_needed", json_boolean(needed));
        json_object_set_new(document, "restarted", json_boolean(restarted));
        admin_print_json(admin, document);
    } else {
        json_decref(document);
    }
    json_decref(answer);
    return status;
}
