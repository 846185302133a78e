/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/config/config_apply.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/parse.h"

struct config_name {
    uint32_t vm_id;
    char uuid[UUID_TEXT_BYTES];
};

static int compare_names(const void *a, const void *b)
{
    const struct config_name *left = a, *right = b;

    return (left->vm_id > right->vm_id) - (left->vm_id < right->vm_id);
}

const char *config_names_find(const struct config_names *names, uint32_t vm_id)
{
    struct config_name key = {.vm_id = vm_id}, *found = NULL;

    if (names->count) {
        found = bsearch(&key, names->names, names->count, sizeof(key), compare_names);
    }
    return found ? found->uuid : NULL;
}

void config_names_free(struct config_names *names)
{
    free(names->names);
    memset(names, 0, sizeof(*names));
}

static uint32_t all_gpus(const struct core *core)
{
    uint32_t count = core_gpu_count(core);

    return count ? UINT32_MAX >> (32 - count) : 0;
}

void config_apply_default_pools(struct core *core, const char *pools)
{
    for (; *pools; pools++) {
        core_pool_set_gpus(core, *pools, all_gpus(core), clock_now_ns());
    }
}

static uint32_t gpu_by_name(const struct core *core, const char *name)
{
    uint32_t index;

    for (uint32_t i = 0; i < core_gpu_count(core); i++) {
        if (strcmp(core_gpu_uuid(core, i), name) == 0) {
            return i;
        }
    }
    return parse_u32(name, 0, UINT32_MAX, &index) && index < core_gpu_count(core) ? index
                                                                                  : CORE_NONE;
}

static uint32_t pool_mask(const struct core *core, const vgpu_pool_config_t *pool)
{
    uint32_t mask = 0;

    if (pool->gpu_count == 0) {
        return all_gpus(core);
    }
    for (uint32_t i = 0; i < pool->gpu_count; i++) {
        uint32_t gpu = gpu_by_name(core, pool->gpus[i]);

        if (gpu == CORE_NONE) {
            log_warning("pool %c: GPU %s is not in this host; see vgpu-admin show-pools",
                        pool->pool_id, pool->gpus[i]);
        } else {
            mask |= 1u << gpu;
        }
    }
    return mask;
}

static void set_pool(struct core *core, char letter, uint32_t mask)
{
    if (mask != core_pool_gpus(core, letter)) {
        core_pool_set_gpus(core, letter, mask, clock_now_ns());
    }
}

static void apply_pools(struct core *core, const struct vgpu_config_snapshot *snapshot)
{
    for (char letter = VGPU_POOL_FIRST; letter <= VGPU_POOL_LAST; letter++) {
        const vgpu_pool_config_t *pool = NULL;
        uint32_t mask;

        for (uint32_t i = 0; i < snapshot->pool_count; i++) {
            if (snapshot->pools[i].pool_id == letter) {
                pool = &snapshot->pools[i];
            }
        }
        mask = pool ? pool_mask(core, pool) : 0;
        set_pool(core, letter, mask);
    }
}

static bool convert_vm(const vgpu_vm_config_t *from, struct core_vm_config *to)
{
    memset(to, 0, sizeof(*to));
    to->vm_id = from->vm_id;
    to->has_uuid = uuid_parse(from->vm_uuid, to->uuid);
    snprintf(to->name, sizeof(to->name), "%.*s", (int)sizeof(to->name) - 1, from->vm_name);
    to->pool = from->pool_id;
    to->priority = from->priority;
    to->weight = from->weight;
    to->max_jobs_per_sec = from->max_jobs_per_sec;
    to->burst = from->burst;
    to->max_queue_depth = from->max_queue_depth;
    to->memory_limit_bytes = from->memory_limit_bytes;
    to->max_processes = from->max_processes;
    to->max_kernel_ms = from->max_kernel_ms;
    to->host_memory_bytes = from->host_memory_bytes;
    to->quarantined = from->quarantined;
    to->error_count = from->error_count;
    return to->has_uuid;
}

static int convert(const struct vgpu_config_snapshot *snapshot, struct core_vm_config *vms,
                   struct config_name *names, uint32_t *count)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < snapshot->vm_count; i++) {
        const vgpu_vm_config_t *vm = &snapshot->vms[i];

        if (!convert_vm(vm, &vms[used])) {
            log_error("VM %" PRIu32 ": \"%s\" in the database is no UUID: this VM is left out; "
                      "remove it and register it again",
                      vm->vm_id, vm->vm_uuid);
            continue;
        }
        names[used].vm_id = vm->vm_id;
        uuid_format(vms[used].uuid, names[used].uuid);
        used++;
    }
    *count = used;
    qsort(names, used, sizeof(*names), compare_names);
    return 0;
}

int config_apply(struct core *core, const struct vgpu_config_snapshot *snapshot,
                 struct config_names *names, struct core_apply_result *result, char *error,
                 size_t error_bytes)
{
    struct core_vm_config *vms = calloc(snapshot->vm_count + 1, sizeof(*vms));
    struct config_name *new_names = calloc(snapshot->vm_count + 1, sizeof(*new_names));
    uint32_t old_masks[VGPU_POOL_LAST - VGPU_POOL_FIRST + 1];
    uint32_t count, bad = 0;
    int ret = -ENOMEM;

    memset(result, 0, sizeof(*result));
    snprintf(error, error_bytes, "out of memory");
    if (!vms || !new_names) {
        goto out;
    }
    convert(snapshot, vms, new_names, &count);

    /* VMs last: they are placed in pools that are right by then. */
    for (char letter = VGPU_POOL_FIRST; letter <= VGPU_POOL_LAST; letter++) {
        old_masks[letter - VGPU_POOL_FIRST] = core_pool_gpus(core, letter);
    }
    apply_pools(core, snapshot);
    ret = core_apply_vms(core, vms, count, clock_now_ns(), result, &bad);
    for (char letter = VGPU_POOL_FIRST; ret < 0 && letter <= VGPU_POOL_LAST; letter++) {
        set_pool(core, letter, old_masks[letter - VGPU_POOL_FIRST]);
    }
    if (ret == -EINVAL && bad < count) {
        snprintf(error, error_bytes,
                 "VM %" PRIu32 " (%s) has a value that is not allowed, or shares its vm_id or "
                 "UUID with another; see vgpu-admin check-config",
                 vms[bad].vm_id, vms[bad].name);
    } else if (ret == -ENOSPC) {
        snprintf(error, error_bytes, "%" PRIu32 " VMs are registered, %u are possible", count,
                 CORE_VMS_MAX);
    } else if (ret < 0) {
        snprintf(error, error_bytes, "%s", strerror(-ret));
    }
out:
    free(vms);
    if (ret < 0) {
        free(new_names);
        return ret;
    }
    config_names_free(names);
    names->names = new_names;
    names->count = count;
    return 0;
}
