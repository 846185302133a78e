/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registering, changing and removing VMs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/render.h"
#include "common/suggest.h"
#include "admin/change.h"
#include "admin/commands/commands.h"
#include "admin/commands/vm.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "admin/xapi_keys.h"
#include "common/names.h"
#include "common/vm_limits.h"
#include "common/weight.h"

/* ---- register-vm ---------------------------------------------------------------- */

int commands_uuid_from_toolstack(struct admin *admin, const char *name, vgpu_vm_config_t *vm)
{
    struct toolstack *toolstack = admin_toolstack(admin);
    const char *tool = toolstack_ops(toolstack)->name;
    struct toolstack_vm *vms;
    struct suggest suggest;
    char uuids[1024] = "";
    size_t count;
    unsigned found = 0;
    int status = ADMIN_OK;

    if (toolstack_list(toolstack, &vms, &count) < 0) {
        return admin_fail(admin, ADMIN_FAILED, "looking for \"%s\": %s", name,
                          toolstack_error(toolstack));
    }
    suggest_init(&suggest, name);
    for (size_t i = 0; i < count; i++) {
        suggest_offer(&suggest, vms[i].name);
        if (strcmp(vms[i].name, name) == 0) {
            size_t used = strlen(uuids);
            found++;
            snprintf(vm->vm_uuid, sizeof(vm->vm_uuid), "%s", vms[i].uuid);
            snprintf(uuids + used, sizeof(uuids) - used, "\n  --vm-uuid=%s  (%s)", vms[i].uuid,
                     vms[i].state);
        }
    }
    if (found > 1) {
        status = admin_fail(admin, ADMIN_FAILED, "%u VMs of %s are named \"%s\"; say which one:%s",
                            found, tool, name, uuids);
    } else if (found == 0 && suggest.best) {
        status = admin_fail(admin, ADMIN_FAILED, "%s has no VM named \"%s\"; did you mean \"%s\"?",
                            tool, name, suggest.best);
    } else if (found == 0) {
        status = admin_fail(admin, ADMIN_FAILED,
                            "%s has no VM named \"%s\"; vgpu-admin scan-vms shows those it has",
                            tool, name);
    }
    free(vms);
    return status;
}

/* A name is a comfort: without it the VM is registered all the same. */
static void name_from_toolstack(struct admin *admin, vgpu_vm_config_t *vm)
{
    struct toolstack *toolstack = admin_toolstack(admin);
    char shown[TOOLSTACK_NAME_BYTES];
    struct toolstack_vm found;
    int result;

    if (!toolstack_ops(toolstack)->program) {
        return;
    }
    result = toolstack_find(toolstack, vm->vm_uuid, &found);
    snprintf(shown, sizeof(shown), "%s", result == 0 ? found.name : "");
    render_sanitise(shown, false);
    if (result == -ENOENT) {
        admin_note(admin, "%s does not know a VM with this UUID; is it of another host?",
                   toolstack_ops(toolstack)->name);
    } else if (result < 0) {
        admin_note(admin, "the VM's name is not known: %s", toolstack_error(toolstack));
    } else if (strcmp(shown, found.name) != 0) {
        admin_note(admin,
                   "the VM's name has characters that no name may have here (%s): it is registered "
                   "without; vgpu-admin update-vm --new-name=NAME gives it one",
                   shown);
    } else {
        snprintf(vm->vm_name, sizeof(vm->vm_name), "%s", found.name);
    }
}

static int run_register(struct admin *admin)
{
    const char *uuid = admin_option(admin, "vm-uuid");
    const char *name = admin_option(admin, "vm-name");
    vgpu_vm_config_t vm = {
        .pool_id = 'A', .priority = VGPU_PRIORITY_MEDIUM, .weight = VGPU_WEIGHT_DEFAULT};
    uint64_t number;
    char message[1024];
    int status = ADMIN_OK;
    int result;

    if (!uuid && !name) {
        return admin_fail(admin, ADMIN_USAGE,
                          "which VM? Give --vm-name=NAME or --vm-uuid=UUID (vgpu-admin scan-vms "
                          "shows the host's VMs)");
    }
    if (uuid && !admin_is_uuid(uuid)) {
        return admin_fail(admin, ADMIN_USAGE,
                          "\"%s\" is no UUID, which looks like "
                          "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001; name the VM by --vm-name=\"%s\"?",
                          uuid, uuid);
    }
    if (name && strlen(name) >= sizeof(vm.vm_name)) {
        return admin_fail(admin, ADMIN_USAGE, "a VM's name has at most %zu bytes",
                          sizeof(vm.vm_name) - 1);
    }
    if (admin_option(admin, "pool")) {
        status = admin_pool(admin, "pool", &vm.pool_id);
    }
    if (status == ADMIN_OK && admin_option(admin, "priority")) {
        status = admin_priority(admin, "priority", &vm.priority);
    }
    if (status == ADMIN_OK && admin_option(admin, "weight")) {
        status = admin_weight(admin, "weight", &vm.weight);
    }
    if (status == ADMIN_OK && admin_option(admin, "vm-id")) {
        /* 0, a device's default, is no number yet: one is chosen. */
        status = admin_uint(admin, "vm-id", 0, UINT32_MAX, &number);
        vm.vm_id = (uint32_t)number;
    }
    if (status == ADMIN_OK) {
        status = admin_open_db(admin, VGPU_DB_WRITE);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    if (name) {
        snprintf(vm.vm_name, sizeof(vm.vm_name), "%s", name);
    }
    if (uuid) {
        snprintf(vm.vm_uuid, sizeof(vm.vm_uuid), "%s", uuid);
        if (!name) {
            name_from_toolstack(admin, &vm);
        }
    } else {
        status = commands_uuid_from_toolstack(admin, name, &vm);
        if (status != ADMIN_OK) {
            return status;
        }
    }
    result = vgpu_register_vm(admin->db, &vm, &vm.vm_id);
    if (result == 0) {
        result = vgpu_get_vm_config(admin->db, vm.vm_uuid, &vm);
    }
    if (result < 0) {
        return admin_db_failed(admin, result);
    }
    snprintf(message, sizeof(message),
             "Registered %s as vm_id %u: pool %c, priority %s, weight %g.", admin_vm_name(&vm),
             vm.vm_id, vm.pool_id, priority_name(vm.priority), vm.weight);
    return admin_finish_change(admin, NULL, &vm, message,
                               json_pack("{s:b, s:o}", "changed", 1, "vm", admin_vm_json(&vm)));
}

/* ---- Changes ---------------------------------------------------------------------- */

/* Appends one "what old -> new" to a sentence of `bytes`. */
static void add_change(char *message, size_t bytes, const char *what, const char *old,
                       const char *new)
{
    size_t used = strlen(message);
    char last = message[used - 1];

    snprintf(message + used, bytes - used, "%s %s %s -> %s", last == ':' ? "" : ",", what, old,
             new);
}

/* zero: what a 0 means, NULL if it is a number like others. */
static void add_number(char *message, size_t bytes, const char *what, uint64_t old, uint64_t new,
                       const char *zero)
{
    char texts[2][32];

    if (old != new) {
        for (int i = 0; i < 2; i++) {
            uint64_t value = i ? new : old;
            if (value == 0 && zero) {
                snprintf(texts[i], sizeof(texts[i]), "%s", zero);
            } else {
                snprintf(texts[i], sizeof(texts[i]), "%llu", (unsigned long long)value);
            }
        }
        add_change(message, bytes, what, texts[0], texts[1]);
    }
}

static void add_size(char *message, size_t bytes, const char *what, uint64_t old, uint64_t new)
{
    char before[RENDER_BYTES], after[RENDER_BYTES];

    if (old != new) {
        add_change(message, bytes, what, old ? render_bytes((double)old, before) : "no limit",
                   new ? render_bytes((double)new, after) : "no limit");
    }
}

const char *commands_queue_depth_text(uint32_t configured, char out[COMMANDS_LIMIT_BYTES])
{
    uint32_t enforced = vm_limit_queue_depth(configured);

    if (configured == 0) {
        snprintf(out, COMMANDS_LIMIT_BYTES, "no limit (%u)", enforced);
    } else if (configured != enforced) {
        snprintf(out, COMMANDS_LIMIT_BYTES, "%u (%u)", configured, enforced);
    } else {
        snprintf(out, COMMANDS_LIMIT_BYTES, "%u", configured);
    }
    return out;
}

static void describe(const vgpu_vm_config_t *a, const vgpu_vm_config_t *b, char *message,
                     size_t bytes)
{
    char old[RENDER_BYTES], new[RENDER_BYTES];

    if (a->pool_id != b->pool_id) {
        add_change(message, bytes, "pool", (char[]){a->pool_id, 0}, (char[]){b->pool_id, 0});
    }
    if (a->priority != b->priority) {
        add_change(message, bytes, "priority", priority_name(a->priority),
                   priority_name(b->priority));
    }
    add_number(message, bytes, "vm_id", a->vm_id, b->vm_id, NULL);
    if (a->weight != b->weight) {
        snprintf(old, sizeof(old), "%g", a->weight);
        snprintf(new, sizeof(new), "%g", b->weight);
        add_change(message, bytes, "weight", old, new);
    }
    add_number(message, bytes, "rate", a->max_jobs_per_sec, b->max_jobs_per_sec, "no limit");
    add_number(message, bytes, "burst", a->burst, b->burst, "a tenth of the rate");
    if (a->max_queue_depth != b->max_queue_depth) {
        char before[COMMANDS_LIMIT_BYTES], after[COMMANDS_LIMIT_BYTES];

        snprintf(before, sizeof(before), a->max_queue_depth ? "%u" : "no limit",
                 a->max_queue_depth);
        add_change(message, bytes, "queue depth", before,
                   commands_queue_depth_text(b->max_queue_depth, after));
    }
    add_size(message, bytes, "memory limit", a->memory_limit_bytes, b->memory_limit_bytes);
    add_number(message, bytes, "programs", a->max_processes, b->max_processes, "no limit");
    add_number(message, bytes, "kernel ms", a->max_kernel_ms, b->max_kernel_ms, "no limit");
    add_size(message, bytes, "host memory", a->host_memory_bytes, b->host_memory_bytes);
    if (strcmp(a->vm_name, b->vm_name) != 0) {
        add_change(message, bytes, "name", a->vm_name[0] ? a->vm_name : "none", b->vm_name);
    }
}

int commands_change_vm(struct admin *admin, bool use_vm_id, unsigned fields,
                       const vgpu_vm_config_t *values)
{
    const vgpu_vm_config_t *vm;
    vgpu_vm_config_t before, after;
    char message[1536], label[ADMIN_LABEL_BYTES];
    int status = admin_open_db(admin, VGPU_DB_WRITE);
    int result;
    int start;
    bool changed;

    if (status == ADMIN_OK) {
        status = admin_select_vm(admin, use_vm_id, &vm);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    result = vgpu_update_vm(admin->db, vm->vm_uuid, fields, values, &before, &after);
    if (result < 0) {
        return admin_db_failed(admin, result);
    }
    start = snprintf(message, sizeof(message), "%s:", admin_vm_label(&after, label));
    describe(&before, &after, message, sizeof(message));
    changed = message[start] != '\0';
    if (!changed) {
        snprintf(message, sizeof(message), "%s is so already, nothing changed.", label);
    }
    admin_note_xapi_keys(admin, &after);
    return admin_finish_change(admin, &before, &after, message,
                               json_pack("{s:b, s:o, s:o}", "changed", (int)changed, "vm",
                                         admin_vm_json(&after), "before", admin_vm_json(&before)));
}

static int run_set_pool(struct admin *admin)
{
    vgpu_vm_config_t values = {0};
    int status = admin_pool(admin, "pool", &values.pool_id);

    return status != ADMIN_OK ? status : commands_change_vm(admin, true, VGPU_VM_POOL, &values);
}

static int run_set_priority(struct admin *admin)
{
    vgpu_vm_config_t values = {0};
    int status = admin_priority(admin, "priority", &values.priority);

    return status != ADMIN_OK ? status : commands_change_vm(admin, true, VGPU_VM_PRIORITY, &values);
}

static int run_set_vm_id(struct admin *admin)
{
    uint64_t number;
    int status = admin_uint(admin, "vm-id", 1, UINT32_MAX, &number);
    vgpu_vm_config_t values = {.vm_id = (uint32_t)number};

    return status != ADMIN_OK ? status : commands_change_vm(admin, false, VGPU_VM_ID, &values);
}

static int run_update(struct admin *admin)
{
    vgpu_vm_config_t values = {0};
    unsigned fields = 0;
    uint64_t number;
    int status = ADMIN_OK;

    if (admin_option(admin, "pool")) {
        status = admin_pool(admin, "pool", &values.pool_id);
        fields |= VGPU_VM_POOL;
    }
    if (status == ADMIN_OK && admin_option(admin, "priority")) {
        status = admin_priority(admin, "priority", &values.priority);
        fields |= VGPU_VM_PRIORITY;
    }
    if (status == ADMIN_OK && admin_option(admin, "vm-id")) {
        status = admin_uint(admin, "vm-id", 1, UINT32_MAX, &number);
        values.vm_id = (uint32_t)number;
        fields |= VGPU_VM_ID;
    }
    if (status == ADMIN_OK && admin_option(admin, "weight")) {
        status = admin_weight(admin, "weight", &values.weight);
        fields |= VGPU_VM_WEIGHT;
    }
    if (status == ADMIN_OK && admin_option(admin, "new-name")) {
        const char *name = admin_option(admin, "new-name");
        if (strlen(name) >= sizeof(values.vm_name)) {
            return admin_fail(admin, ADMIN_USAGE, "a VM's name has at most %zu bytes",
                              sizeof(values.vm_name) - 1);
        }
        snprintf(values.vm_name, sizeof(values.vm_name), "%s", name);
        fields |= VGPU_VM_NAME;
    }
    if (status == ADMIN_OK && fields == 0) {
        return admin_fail(
            admin, ADMIN_USAGE,
            "update-vm changes what you name: --pool, --priority, --new-vm-id, --weight, "
            "--new-name");
    }
    return status != ADMIN_OK ? status : commands_change_vm(admin, false, fields, &values);
}

static int run_remove(struct admin *admin)
{
    const vgpu_vm_config_t *vm;
    char label[ADMIN_LABEL_BYTES], question[ADMIN_LABEL_BYTES + 64], message[1024];
    int status = admin_open_db(admin, VGPU_DB_WRITE);
    int result;

    if (status == ADMIN_OK) {
        status = admin_select_vm(admin, true, &vm);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    admin_vm_label(vm, label);
    snprintf(question, sizeof(question), "Remove %s? It loses its access to the GPU.", label);
    if (admin_can_ask(admin) && !admin_confirm(admin, question)) {
        printf("Nothing changed.\n");
        return ADMIN_OK;
    }
    result = vgpu_remove_vm(admin->db, vm->vm_uuid);
    if (result < 0) {
        return admin_db_failed(admin, result);
    }
    /* Whether it has one only the toolstack knows, which need not be there for this. */
    if (toolstack_ops(admin_toolstack(admin)) == &toolstack_xe) {
        admin_note(admin,
                   "a device that attach-vm gave it stays in the VM's configuration; this takes it "
                   "out: vgpu-admin detach-vm --vm-uuid=%s",
                   vm->vm_uuid);
    }
    snprintf(message, sizeof(message), "Removed %s.", label);
    admin_note_xapi_keys(admin, vm);
    return admin_finish_change(admin, vm, NULL, message,
                               json_pack("{s:b, s:o}", "changed", 1, "vm", admin_vm_json(vm)));
}

/* ---- Descriptions ------------------------------------------------------------------ */

#define OPTION_POOL(must)                                                                          \
    {                                                                                              \
        .name = "pool", .metavar = "A..Z", .help = "the pool", .required = (must)                  \
    }
#define OPTION_PRIORITY(must)                                                                      \
    {                                                                                              \
        .name = "priority", .metavar = "low|medium|high", .help = "the priority",                  \
        .required = (must)                                                                         \
    }
#define OPTION_WEIGHT                                                                              \
    {                                                                                              \
        .name = "weight", .metavar = WEIGHT_METAVAR,                                               \
        .help = "the weight within the priority, 50 is neutral"                                    \
    }
#define GROUP "Virtual machines"

const struct admin_command commands_vm[] = {
    {
        .name = "register-vm",
        .group = GROUP,
        .summary = "Allow a VM to use a GPU",
        .usage = "(--vm-name=NAME | --vm-uuid=UUID) [--pool=A] [--priority=medium] [--weight=50] "
                 "[--vm-id=N]",
        .details =
            "Given only its name, the VM's UUID is asked from the toolstack, and the other way\n"
            "round. Without --vm-id, or with 0, the VM gets the number after the highest in use.",
        .example = "vgpu-admin register-vm --vm-name=\"web 1\" --pool=A --priority=high",
        ADMIN_TAKES(ADMIN_OPTION_VM_NAME, ADMIN_OPTION_VM_UUID, OPTION_POOL(false),
                    OPTION_PRIORITY(false), OPTION_WEIGHT,
                    {.name = "vm-id", .metavar = "N", .help = "the VM's number"}),
        .run = run_register,
    },
    {
        .name = "set-pool",
        .group = GROUP,
        .summary = "Move a VM to another pool",
        .usage = ADMIN_WHICH_VM " --pool=A..Z",
        .details =
            "Takes effect at once: the VM moves to a GPU of the new pool when its running job has\n"
            "ended. A device too old to be told (protocol 1.0) needs a restart of the VM, which\n"
            "the command offers.",
        .example = "vgpu-admin set-pool --vm-name=\"web 1\" --pool=B",
        ADMIN_TAKES(ADMIN_OPTIONS_VM, OPTION_POOL(true)),
        .run = run_set_pool,
    },
    {
        .name = "set-priority",
        .group = GROUP,
        .summary = "Change a VM's priority",
        .usage = ADMIN_WHICH_VM " --priority=low|medium|high",
        .details = "High counts four times as much as low, medium twice.",
        .example = "vgpu-admin set-priority --vm-name=\"web 1\" --priority=low",
        ADMIN_TAKES(ADMIN_OPTIONS_VM, OPTION_PRIORITY(true)),
        .run = run_set_priority,
    },
    {
        .name = "set-vm-id",
        .group = GROUP,
        .summary = "Change a VM's number",
        .usage = "(--vm-name=NAME | --vm-uuid=UUID) --vm-id=N",
        .example = "vgpu-admin set-vm-id --vm-name=\"web 1\" --vm-id=7",
        ADMIN_TAKES(ADMIN_OPTION_VM_NAME, ADMIN_OPTION_VM_UUID,
                    {.name = "vm-id", .metavar = "N", .help = "the new number", .required = true}),
        .run = run_set_vm_id,
    },
    {
        .name = "update-vm",
        .group = GROUP,
        .summary = "Change several settings of a VM in one step",
        .usage = "(--vm-name=NAME | --vm-uuid=UUID) [--pool=A..Z] [--priority=low|medium|high] "
                 "[--new-vm-id=N] "
                 "[--weight=" WEIGHT_METAVAR "] [--new-name=NAME]",
        .details = "Either all of them are changed or none.",
        .example = "vgpu-admin update-vm --vm-name=\"web 1\" --pool=B --priority=high",
        ADMIN_TAKES(
            ADMIN_OPTION_VM_NAME, ADMIN_OPTION_VM_UUID, OPTION_POOL(false), OPTION_PRIORITY(false),
            {.name = "new-vm-id", .metavar = "N", .help = "the new number", .alias = "vm-id"},
            OPTION_WEIGHT,
            {.name = "new-name", .metavar = "NAME", .help = "the new name in the database"}),
        .run = run_update,
    },
    {
        .name = "remove-vm",
        .group = GROUP,
        .summary = "Take a VM's access to the GPU away",
        .usage = ADMIN_WHICH_VM,
        .details =
            "Its settings are forgotten; what was done to it stays in vgpu-admin events. A device\n"
            "that attach-vm gave it stays in its configuration: detach-vm takes it out,\n"
            "afterwards too. On a terminal the command asks first.",
        .example = "vgpu-admin remove-vm --vm-name=\"web 1\" --yes",
        ADMIN_TAKES(ADMIN_OPTIONS_VM),
        .run = run_remove,
    },
    {0},
};
