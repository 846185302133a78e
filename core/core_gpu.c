/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GPUs, the pools that they are in, and what an administrator decides for them. */
#include "core/core_internal.h"

#include <errno.h>
#include <stdio.h>

int core_gpu_add(struct core *core, const char *uuid)
{
    uint32_t gpu = core->placement.gpu_count;

    if (gpu == CORE_GPUS_MAX) {
        return -ENOSPC;
    }
    core->schedulers[gpu] = wfq_init(&core->config.scheduler);
    if (!core->schedulers[gpu]) {
        return -ENOMEM;
    }
    snprintf(core->gpu_uuids[gpu], sizeof(core->gpu_uuids[gpu]), "%s", uuid);
    core->placement.gpu_count++;
    core->placement.available |= 1u << gpu;
    return (int)gpu;
}

uint32_t core_gpu_count(const struct core *core)
{
    return core->placement.gpu_count;
}

const char *core_gpu_uuid(const struct core *core, uint32_t gpu)
{
    return gpu < core->placement.gpu_count ? core->gpu_uuids[gpu] : NULL;
}

bool core_gpu_available(const struct core *core, uint32_t gpu)
{
    return gpu < core->placement.gpu_count && (core->placement.available & (1u << gpu)) != 0;
}

/* After pools or health changed: whoever may not stay where it is, moves. */
static void move_all(struct core *core, uint64_t now_ns)
{
    for (uint32_t slot = 0; slot < core->vm_high; slot++) {
        if (core->vms[slot].used) {
            core_vm_after(core, slot, now_ns);
        }
    }
}

void core_gpu_set_available(struct core *core, uint32_t gpu, bool available, uint64_t now_ns)
{
    if (gpu >= core->placement.gpu_count || core_gpu_available(core, gpu) == available) {
        return;
    }
    if (available) {
        core->placement.available |= 1u << gpu;
    } else {
        core->placement.available &= ~(1u << gpu);
    }
    core_report(core, &(struct core_event){
                          .kind = available ? CORE_EVENT_GPU_BACK : CORE_EVENT_GPU_LOST,
                          .session = CORE_NONE,
                          .vm = CORE_NONE,
                          .gpu = gpu,
                      });
    move_all(core, now_ns);
    if (available) {
        core_pump(core, gpu, now_ns);
    }
}

int core_pool_set_gpus(struct core *core, char pool, uint32_t gpu_mask, uint64_t now_ns)
{
    int ret = placement_set_pool(&core->placement, pool, gpu_mask);

    if (ret == 0) {
        move_all(core, now_ns);
    }
    return ret;
}

uint32_t core_pool_gpus(const struct core *core, char pool)
{
    int index = placement_pool_index(pool);

    return index < 0 ? 0 : core->placement.pools[index];
}

const struct wfq *core_gpu_scheduler(const struct core *core, uint32_t gpu)
{
    return gpu < core->placement.gpu_count ? core->schedulers[gpu] : NULL;
}

static void set_paused(struct core *core, uint32_t gpu, bool paused, uint64_t now_ns)
{
    for (uint32_t i = 0; i < core->placement.gpu_count; i++) {
        if (gpu == CORE_NONE || gpu == i) {
            wfq_set_paused(core->schedulers[i], paused, now_ns);
            core_pump(core, i, now_ns);
        }
    }
}

void core_pause(struct core *core, uint32_t gpu, uint64_t now_ns)
{
    set_paused(core, gpu, true, now_ns);
}

void core_resume(struct core *core, uint32_t gpu, uint64_t now_ns)
{
    set_paused(core, gpu, false, now_ns);
}

void core_set_policy(struct core *core, enum wfq_policy_id policy, uint64_t now_ns)
{
    core->config.scheduler.policy = policy;
    for (uint32_t gpu = 0; gpu < core->placement.gpu_count; gpu++) {
        wfq_set_policy(core->schedulers[gpu], policy);
        core_pump(core, gpu, now_ns);
    }
}

enum wfq_policy_id core_policy(const struct core *core)
{
    return core->config.scheduler.policy;
}

int core_prefer_vm(struct core *core, uint32_t vm_id)
{
    uint32_t slot = vm_id == CORE_NONE ? CORE_NONE : core_vm_find(core, vm_id);

    if (vm_id != CORE_NONE && slot == CORE_NONE) {
        return -ENOENT;
    }
    core->preferred_vm_id = vm_id;
    for (uint32_t gpu = 0; gpu < core->placement.gpu_count; gpu++) {
        wfq_set_preferred(core->schedulers[gpu], slot);
    }
    return 0;
}
