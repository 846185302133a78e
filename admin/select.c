/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "admin/admin.h"
#include "admin/base/render.h"
#include "common/suggest.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "common/names.h"
#include "common/uuid.h"
#include "common/json_number.h"

#define UUIDS_BYTES 1024 /* of the list of VMs that have one name */

bool admin_is_uuid(const char *text)
{
    uint8_t uuid[UUID_BYTES];

    return uuid_parse(text, uuid);
}

bool admin_vm_is_named(const struct admin *admin, bool use_vm_id)
{
    return admin_option(admin, "vm-uuid") || admin_option(admin, "vm-name") ||
           (use_vm_id && admin_option(admin, "vm-id"));
}

const vgpu_vm_config_t *admin_vm_by_id(const struct admin *admin, uint32_t vm_id)
{
    for (uint32_t i = 0; admin->config && i < admin->config->vm_count; i++) {
        if (admin->config->vms[i].vm_id == vm_id) {
            return &admin->config->vms[i];
        }
    }
    return NULL;
}

static int select_by_name(struct admin *admin, const char *name, const vgpu_vm_config_t **vm)
{
    const struct vgpu_config_snapshot *s = admin->config;
    struct suggest suggest;
    char uuids[UUIDS_BYTES] = "";
    unsigned found = 0;

    suggest_init(&suggest, name);
    for (uint32_t i = 0; i < s->vm_count; i++) {
        if (strcmp(s->vms[i].vm_name, name) == 0) {
            size_t used = strlen(uuids);
            *vm = &s->vms[i];
            found++;
            snprintf(uuids + used, sizeof(uuids) - used, "\n  --vm-uuid=%s  (vm_id %u, pool %c)",
                     s->vms[i].vm_uuid, s->vms[i].vm_id, s->vms[i].pool_id);
        }
        if (s->vms[i].vm_name[0]) {
            suggest_offer(&suggest, s->vms[i].vm_name);
        }
    }
    if (found > 1) {
        return admin_fail(admin, ADMIN_FAILED, "%u VMs are named \"%s\"; say which one:%s", found,
                          name, uuids);
    }
    if (found == 0 && suggest.best) {
        return admin_fail(admin, ADMIN_FAILED,
                          "no VM named \"%s\" is registered; did you mean \"%s\"?", name,
                          suggest.best);
    }
    if (found == 0) {
        return admin_fail(admin, ADMIN_FAILED,
                          "no VM named \"%s\" is registered; vgpu-admin list-vms shows those that "
                          "are, vgpu-admin register-vm --vm-name=\"%s\" registers it",
                          name, name);
    }
    return ADMIN_OK;
}

int admin_select_vm(struct admin *admin, bool use_vm_id, const vgpu_vm_config_t **out)
{
    const struct vgpu_config_snapshot *s = admin->config;
    const char *uuid = admin_option(admin, "vm-uuid");
    const char *name = admin_option(admin, "vm-name");
    const char *id = use_vm_id ? admin_option(admin, "vm-id") : NULL;
    const vgpu_vm_config_t *vm = NULL;
    uint64_t number = 0;
    int status;

    if (!uuid && !name && !id) {
        return admin_fail(admin, ADMIN_USAGE,
                          "which VM? Give --vm-name=NAME or --vm-uuid=UUID, for example:\n  %.*s",
                          (int)strcspn(admin->command->example, "\n"), admin->command->example);
    }
    if (id) {
        status = admin_uint(admin, "vm-id", 0, UINT32_MAX, &number);
        if (status != ADMIN_OK) {
            return status;
        }
    }
    if (uuid) {
        for (uint32_t i = 0; i < s->vm_count; i++) {
            if (strcasecmp(s->vms[i].vm_uuid, uuid) == 0) {
                vm = &s->vms[i];
            }
        }
        if (!vm) {
            struct suggest suggest;
            suggest_init(&suggest, uuid);
            for (uint32_t i = 0; i < s->vm_count; i++) {
                suggest_offer(&suggest, s->vms[i].vm_uuid);
            }
            return admin_fail(admin, ADMIN_FAILED,
                              "no VM with UUID %s is registered%s%s%s; vgpu-admin list-vms shows "
                              "those that are, vgpu-admin register-vm --vm-uuid=%s registers it",
                              uuid, suggest.best ? "; did you mean " : "",
                              suggest.best ? suggest.best : "", suggest.best ? "?" : "", uuid);
        }
    } else if (id) {
        vm = admin_vm_by_id(admin, (uint32_t)number);
        if (!vm) {
            return admin_fail(admin, ADMIN_FAILED,
                              "no VM with vm_id %s is registered; vgpu-admin list-vms shows those "
                              "that are",
                              id);
        }
    } else {
        status = select_by_name(admin, name, &vm);
        if (status != ADMIN_OK) {
            return status;
        }
    }
    if ((name && strcmp(name, vm->vm_name) != 0) || (id && number != vm->vm_id)) {
        return admin_fail(admin, ADMIN_USAGE,
                          "the options name different VMs: %s is \"%s\" with vm_id %u", vm->vm_uuid,
                          vm->vm_name, vm->vm_id);
    }
    *out = vm;
    return ADMIN_OK;
}

const char *admin_vm_name(const vgpu_vm_config_t *vm)
{
    return vm->vm_name[0] ? vm->vm_name : vm->vm_uuid;
}

const char *admin_vm_label(const vgpu_vm_config_t *vm, char label[ADMIN_LABEL_BYTES])
{
    snprintf(label, ADMIN_LABEL_BYTES, "%s (vm_id %u)", admin_vm_name(vm), vm->vm_id);
    render_sanitise(label, false);
    return label;
}

static json_t *text_or_null(const char *text)
{
    /* What is no UTF-8 cannot be JSON either. */
    json_t *value = text[0] ? json_string(text) : NULL;

    return value ? value : json_null();
}

json_t *admin_vm_json(const vgpu_vm_config_t *vm)
{
    char pool[2] = {vm->pool_id, '\0'};

    return json_pack(
        "{s:I, s:o, s:o, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, "
        "s:o, s:I, s:o, s:o}",
        "vm_id", (json_int_t)vm->vm_id, "uuid", text_or_null(vm->vm_uuid), "name",
        text_or_null(vm->vm_name), "pool", pool, "priority", priority_name(vm->priority), "weight",
        json_number(vm->weight), "max_jobs_per_sec", (json_int_t)vm->max_jobs_per_sec, "burst",
        (json_int_t)vm->burst, "max_queue_depth", (json_int_t)vm->max_queue_depth,
        "memory_limit_bytes", (json_int_t)vm->memory_limit_bytes, "max_processes",
        (json_int_t)vm->max_processes, "max_kernel_ms", (json_int_t)vm->max_kernel_ms,
        "host_memory_bytes", (json_int_t)vm->host_memory_bytes, "quarantined", (int)vm->quarantined,
        "quarantined_at", text_or_null(vm->quarantined_at), "quarantine_reason",
        text_or_null(vm->quarantine_reason), "error_count", (json_int_t)vm->error_count,
        "created_at", text_or_null(vm->created_at), "updated_at", text_or_null(vm->updated_at));
}
