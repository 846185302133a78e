/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration of the VMs, as a whole: what is not in it any more is
 * removed, what is new is added, what differs is changed while it is in use.
 */
#include "core/core_internal.h"

#include <errno.h>
#include <string.h>

#include "common/weight.h"

static bool config_valid(const struct core_vm_config *config)
{
    return placement_pool_index(config->pool) >= 0 && config->priority <= VGPU_PRIORITY_HIGH &&
           weight_valid(config->weight) && config->vm_id != CORE_NONE &&
           memchr(config->name, '\0', sizeof(config->name)) != NULL;
}

static int check_all(const struct core_vm_config *vms, uint32_t count, uint32_t *bad)
{
    for (uint32_t i = 0; i < count; i++) {
        *bad = i;
        if (!config_valid(&vms[i])) {
            return -EINVAL;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (vms[j].vm_id == vms[i].vm_id ||
                (vms[j].has_uuid && vms[i].has_uuid &&
                 memcmp(vms[j].uuid, vms[i].uuid, CORE_UUID_BYTES) == 0)) {
                return -EINVAL;
            }
        }
    }
    return 0;
}

bool core_vm_device(const struct core *core, uint32_t slot, struct core_device *device)
{
    const struct core_vm *vm = &core->vms[slot];
    const struct core_session *session;

    *device = (struct core_device){.known = false};
    if (vm->session == CORE_NONE) {
        return false;
    }
    session = &core->sessions[vm->session];
    if ((session->features & VGPU_FEATURE_CONFIG) || session->claimed_id == CORE_NONE) {
        return false;
    }
    *device = (struct core_device){.known = true,
                                   .vm_id = session->claimed_id,
                                   .pool = (char)session->claimed_pool,
                                   .priority = session->claimed_priority};
    return device->vm_id != vm->config.vm_id || device->pool != vm->config.pool ||
           device->priority != vm->config.priority;
}

/* Returns whether anything that matters changed. */
static bool reconfigure(struct core *core, uint32_t slot, const struct core_vm_config *config,
                        uint64_t now_ns, struct core_apply_result *result)
{
    struct core_vm *vm = &core->vms[slot];
    struct core_vm_config old = vm->config;
    bool shown =
        old.vm_id != config->vm_id || old.pool != config->pool || old.priority != config->priority;
    bool changed =
        shown || old.weight != config->weight || old.max_jobs_per_sec != config->max_jobs_per_sec ||
        old.burst != config->burst || old.max_queue_depth != config->max_queue_depth ||
        old.memory_limit_bytes != config->memory_limit_bytes ||
        old.max_processes != config->max_processes || old.max_kernel_ms != config->max_kernel_ms ||
        old.host_memory_bytes != config->host_memory_bytes ||
        old.quarantined != config->quarantined || strcmp(old.name, config->name) != 0;

    vm->registered = true;
    vm->config = *config;
    vm->config.quarantined = old.quarantined;
    if (!changed) {
        return false;
    }
    if (strcmp(old.name, config->name) != 0 || old.vm_id != config->vm_id) {
        metrics_vm_rename(core->metrics, slot, config->name, config->vm_id);
    }
    rl_configure_vm(&vm->limiter, config->max_jobs_per_sec, config->burst, config->max_queue_depth,
                    now_ns);
    core_vm_update_share(core, slot, now_ns);
    if ((config->max_jobs_per_sec != 0) != (old.max_jobs_per_sec != 0)) {
        core_credit_tell(core, slot);
    }
    core_program_tell(core, slot);
    if (old.host_memory_bytes != config->host_memory_bytes && core->effects.worker_memory &&
        (vm->worker.state == CORE_WORKER_STARTING || vm->worker.state == CORE_WORKER_READY)) {
        core->effects.worker_memory(core->effects.opaque, vm->worker.handle,
                                    config->host_memory_bytes);
    }
    /* In BACKOFF there is none to stop, and jobs may wait for the next one. */
    if (old.memory_limit_bytes != config->memory_limit_bytes &&
        vm->worker.state != CORE_WORKER_BACKOFF) {
        core_worker_stop(core, slot, CORE_STOP_CHANGED, now_ns);
    }
    if (config->quarantined && !old.quarantined) {
        core_vm_quarantine(core, slot, VGPU_ERR_NONE, now_ns);
    } else if (!config->quarantined && old.quarantined) {
        core_vm_release(core, slot, now_ns);
    }
    if (shown && vm->session != CORE_NONE) {
        if (core->sessions[vm->session].features & VGPU_FEATURE_CONFIG) {
            vm->old_vm_id = old.vm_id;
            vm->has_old_id = old.vm_id != config->vm_id;
            core_session_send_config(core, vm->session);
        } else if (core->sessions[vm->session].claimed_id == CORE_NONE) {
            /* What it shows is not known before its first frame; it is the old, most likely. */
            result->restart_needed[result->restart_needed_count++] = config->vm_id;
        }
    }
    core_vm_after(core, slot, now_ns);
    return true;
}

/* The VM of this entry, as it is known now. */
static uint32_t slot_of_entry(const struct core *core, const struct core_vm_config *config)
{
    uint32_t slot = CORE_NONE;

    if (config->has_uuid) {
        slot = core_vm_find_uuid(core, config->uuid);
    }
    if (slot == CORE_NONE) {
        slot = core_vm_find(core, config->vm_id);
        /* The id may be another VM's until that one is reconfigured. */
        if (slot != CORE_NONE && config->has_uuid && core->vms[slot].config.has_uuid) {
            slot = CORE_NONE;
        }
    }
    return slot;
}

static int apply_vms(struct core *core, const struct core_vm_config *vms, uint32_t count,
                     uint64_t now_ns, struct core_apply_result *result)
{
    bool keep[CORE_VMS_MAX] = {false};
    uint32_t slots[CORE_VMS_MAX];

    for (uint32_t i = 0; i < count; i++) {
        slots[i] = slot_of_entry(core, &vms[i]);
        if (slots[i] != CORE_NONE) {
            keep[slots[i]] = true;
        }
    }
    for (uint32_t slot = 0; slot < core->vm_high; slot++) {
        if (core->vms[slot].used && core->vms[slot].registered && !core->vms[slot].removing &&
            !keep[slot]) {
            core_vm_remove(core, slot, now_ns);
            result->removed++;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t holder = slots[i] == CORE_NONE ? core_vm_find(core, vms[i].vm_id) : CORE_NONE;

        /* An unregistered VM has the id of one that is being registered: it has to go. */
        if (holder != CORE_NONE && !core->vms[holder].registered) {
            core_vm_remove(core, holder, now_ns);
        }
    }
    /* Those that are known first: a new one may take the slot of one that only owes. */
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i] != CORE_NONE) {
            result->changed += reconfigure(core, slots[i], &vms[i], now_ns, result);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i] != CORE_NONE) {
            continue;
        }
        slots[i] = core_vm_allocate(core, &vms[i], now_ns);
        if (slots[i] == CORE_NONE) {
            return -ENOSPC; /* slots that are still being vacated; the next reload does it */
        }
        core->vms[slots[i]].registered = true;
        result->added++;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct core_device device;

        if (core_vm_device(core, slots[i], &device)) {
            result->restart_needed[result->restart_needed_count++] = vms[i].vm_id;
        }
    }
    core_session_bind_waiting(core, now_ns);
    for (uint32_t gpu = 0; gpu < core->placement.gpu_count; gpu++) {
        core_pump(core, gpu, now_ns);
    }
    return 0;
}

int core_apply_vms(struct core *core, const struct core_vm_config *vms, uint32_t count,
                   uint64_t now_ns, struct core_apply_result *result, uint32_t *bad)
{
    uint32_t ignored;
    int ret;

    memset(result, 0, sizeof(*result));
    if (count > CORE_VMS_MAX) {
        return -ENOSPC;
    }
    ret = check_all(vms, count, bad ? bad : &ignored);
    if (ret < 0) {
        return ret;
    }
    core->applying = true;
    ret = apply_vms(core, vms, count, now_ns, result);
    core->applying = false;
    return ret;
}
