/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a user sees who may ask the mediator and may not read the database: the registered VMs and
 * the pools as the mediator has them.  Names of pools, times and reasons stay in the database.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/link.h"
#include "admin/db.h"
#include "admin/say.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"
#include "common/weight.h"

static void *must(void *memory)
{
    if (!memory) {
        abort();
    }
    return memory;
}

static void take_vm(struct vgpu_config_snapshot *config, const json_t *vm)
{
    vgpu_vm_config_t *to = &config->vms[config->vm_count];

    if (!json_get_bool(vm, "registered")) {
        return;
    }
    config->vm_count++;
    to->vm_id = (uint32_t)json_get_int(vm, "vm_id", 0);
    snprintf(to->vm_uuid, sizeof(to->vm_uuid), "%s", json_get_text(vm, "uuid", ""));
    snprintf(to->vm_name, sizeof(to->vm_name), "%s", json_get_text(vm, "name", ""));
    to->pool_id = json_get_text(vm, "pool", "?")[0];
    to->priority = (uint8_t)json_get_int(vm, "priority", VGPU_PRIORITY_MEDIUM);
    to->weight = weight_nearest(json_get_number(vm, "weight", VGPU_WEIGHT_DEFAULT));
    to->quarantined = json_get_bool(vm, "quarantined");
    to->max_jobs_per_sec = (uint32_t)json_get_int(vm, "max_jobs_per_sec", 0);
    to->burst = (uint32_t)json_get_int(vm, "burst", 0);
    to->max_queue_depth = (uint32_t)json_get_int(vm, "max_queue_depth", 0);
    to->memory_limit_bytes = (uint64_t)json_get_int(vm, "memory_limit_bytes", 0);
    to->max_processes = (uint32_t)json_get_int(vm, "max_processes", 0);
    to->max_kernel_ms = (uint32_t)json_get_int(vm, "max_kernel_ms", 0);
    to->host_memory_bytes = (uint64_t)json_get_int(vm, "host_memory_bytes", 0);
    to->error_count = (uint32_t)json_get_int(vm, "fault_count", 0);
}

static void take_pool(struct vgpu_config_snapshot *config, const json_t *pool)
{
    vgpu_pool_config_t *to = &config->pools[config->pool_count++];
    const json_t *gpus = json_object_get(pool, "gpus");
    const json_t *gpu;
    size_t i;

    to->pool_id = json_get_text(pool, "pool", "?")[0];
    to->gpus = must(calloc(json_array_size(gpus) + 1, sizeof(*to->gpus)));
    json_array_foreach(gpus, i, gpu)
    {
        snprintf(to->gpus[to->gpu_count++], sizeof(to->gpus[0]), "%lld",
                 (long long)json_integer_value(gpu));
    }
    for (uint32_t v = 0; v < config->vm_count; v++) {
        to->vm_count += config->vms[v].pool_id == to->pool_id;
    }
}

static struct vgpu_config_snapshot *config_from(const json_t *status)
{
    struct vgpu_config_snapshot *config = must(calloc(1, sizeof(*config)));
    const json_t *vms = json_object_get(status, "vms");
    const json_t *pools = json_object_get(status, "pools");
    const json_t *item;
    size_t i;

    config->vms = must(calloc(json_array_size(vms) + 1, sizeof(*config->vms)));
    config->pools = must(calloc(json_array_size(pools) + 1, sizeof(*config->pools)));
    json_array_foreach(vms, i, item)
    {
        take_vm(config, item);
    }
    json_array_foreach(pools, i, item)
    {
        take_pool(config, item);
    }
    return config;
}

bool admin_view_instead(struct admin *admin, int result)
{
    json_t *status;

    if (result != -EACCES ||
        admin_link_request(admin_get_link(admin), VGPU_ADMIN_SHOW_STATUS, 0, NULL, &status) < 0) {
        return false;
    }
    admin->config = config_from(status);
    json_decref(status);
    admin_note(admin, "%s is not for this user: shown is what the mediator has of it",
               vgpu_db_path(admin->db_path));
    return true;
}

int admin_open_view(struct admin *admin)
{
    char error[VGPU_DB_ERROR_BYTES];
    int result =
        vgpu_db_open(vgpu_db_path(admin->db_path), VGPU_DB_READ, &admin->db, error, sizeof(error));

    if (result == 0) {
        return admin_reload_config(admin);
    }
    return admin_view_instead(admin, result) ? ADMIN_OK
                                             : admin_fail(admin, ADMIN_FAILED, "%s", error);
}
