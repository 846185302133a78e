/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What outlives a mediator of its VMs, beside their configuration.
 *
 * A VM that was placed takes its place again, with its account, before it is there itself.  Until
 * it is, it counts as one that has left and owes: it holds no part of the GPU.  The account of a
 * GPU that is not there, or no longer of the VM's pool, is dropped: what is owed is owed there.
 */
#include "core/core_internal.h"

#include <string.h>

bool core_export_vm(const struct core *core, uint32_t slot, uint64_t now_ns,
                    struct core_vm_kept *kept)
{
    struct core_vm_stats stats;

    memset(kept, 0, sizeof(*kept));
    if (!core_vm_stats(core, slot, now_ns, &stats) || core->vms[slot].removing) {
        return false;
    }
    kept->config = stats.config;
    kept->registered = stats.registered;
    kept->fault_count = stats.fault_count;
    kept->worker_restarts = stats.worker_restarts;
    kept->submitted = stats.submitted;
    kept->completed = stats.completed;
    kept->errors = stats.errors;
    kept->dropped = stats.dropped;
    kept->invalid = stats.invalid;
    kept->timeouts = stats.timeouts;
    kept->gpu_time_ns = stats.gpu_time_ns;
    kept->rejected_rate = stats.rejected_rate;
    kept->rejected_queue = stats.rejected_queue;
    kept->rejected_quarantined = stats.rejected_quarantined;
    kept->entitled_ns = stats.entitled_ns;
    kept->kept_ns = stats.kept_ns;
    kept->switching_ns = stats.switching_ns;
    if (stats.gpu != CORE_NONE) {
        memcpy(kept->gpu, core->gpu_uuids[stats.gpu], sizeof(kept->gpu));
        wfq_export_account(core->schedulers[stats.gpu], slot, &kept->account);
    }
    metrics_export_kept(core->metrics, slot, &kept->metrics);
    return true;
}

/* False: no unregistered VM can be what the file says. */
static bool is_sane(const struct core_vm_config *config)
{
    return placement_pool_index(config->pool) >= 0 && config->priority <= VGPU_PRIORITY_HIGH &&
           config->vm_id != CORE_NONE && memchr(config->name, '\0', sizeof(config->name));
}

/* A VM that nobody registered, as it was.  CORE_NONE: there can be none. */
static uint32_t create(struct core *core, const struct core_vm_kept *kept, uint64_t now_ns)
{
    struct core_vm_config config = {
        .vm_id = kept->config.vm_id,
        .has_uuid = kept->config.has_uuid,
        .pool = kept->config.pool,
        .priority = kept->config.priority,
        .weight = VGPU_WEIGHT_DEFAULT,
        .max_queue_depth = CORE_QUEUE_DEPTH_UNREGISTERED,
        .quarantined = kept->config.quarantined,
        .error_count = kept->fault_count,
    };

    if (kept->registered || !core->config.allow_unregistered || !is_sane(&kept->config)) {
        return CORE_NONE;
    }
    memcpy(config.uuid, kept->config.uuid, sizeof(config.uuid));
    memcpy(config.name, kept->config.name, sizeof(config.name));
    return core_vm_create_unregistered(core, &config, now_ns);
}

static uint32_t slot_of(struct core *core, const struct core_vm_kept *kept, uint64_t now_ns)
{
    uint32_t slot = kept->config.has_uuid ? core_vm_find_uuid(core, kept->config.uuid)
                                          : core_vm_find(core, kept->config.vm_id);

    return slot == CORE_NONE ? create(core, kept, now_ns) : slot;
}

static void import_counters(struct core *core, uint32_t slot, const struct core_vm_kept *kept)
{
    struct core_vm *vm = &core->vms[slot];

    vm->worker.restarts += kept->worker_restarts;
    vm->submitted += kept->submitted;
    vm->completed += kept->completed;
    vm->errors += kept->errors;
    vm->dropped += kept->dropped;
    vm->invalid += kept->invalid;
    vm->timeouts += kept->timeouts;
    vm->gpu_time_ns += kept->gpu_time_ns;
    vm->rejected_rate += kept->rejected_rate;
    vm->rejected_queue += kept->rejected_queue;
    vm->rejected_quarantined += kept->rejected_quarantined;
    vm->entitled_ns += kept->entitled_ns;
    vm->kept_ns += kept->kept_ns;
    vm->switching_ns += kept->switching_ns;
    metrics_import_kept(core->metrics, slot, &kept->metrics);
}

/* The GPU where it was, if it may still be there; CORE_NONE: it may not. */
static uint32_t gpu_of(const struct core *core, uint32_t slot, const struct core_vm_kept *kept)
{
    for (uint32_t gpu = 0; gpu < core->placement.gpu_count; gpu++) {
        if (strncmp(core->gpu_uuids[gpu], kept->gpu, sizeof(kept->gpu)) == 0 &&
            placement_allows(&core->placement, core->vms[slot].config.pool, gpu)) {
            return gpu;
        }
    }
    return CORE_NONE;
}

static void import_account(struct core *core, uint32_t slot, const struct core_vm_kept *kept,
                           uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    uint32_t gpu = gpu_of(core, slot, kept);

    if (vm->gpu != CORE_NONE || gpu == CORE_NONE ||
        (kept->account.lag_ns == 0 && kept->account.debt_ns == 0)) {
        return;
    }
    core_vm_attach(core, slot, gpu, now_ns);
    wfq_import_account(core->schedulers[gpu], slot, &kept->account, now_ns);
    vm->owes = true;
}

uint32_t core_import_vms(struct core *core, const struct core_vm_kept *kept, uint32_t count,
                         uint64_t now_ns)
{
    uint32_t taken = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = slot_of(core, &kept[i], now_ns);

        if (slot != CORE_NONE) {
            core->vms[slot].return_by_ns = now_ns + CORE_RETURN_NS;
            import_counters(core, slot, &kept[i]);
            import_account(core, slot, &kept[i], now_ns);
            taken++;
        }
    }
    for (uint32_t gpu = 0; gpu < core->placement.gpu_count; gpu++) {
        wfq_import_end(core->schedulers[gpu]);
    }
    for (uint32_t slot = 0; slot < core->vm_high; slot++) {
        if (core->vms[slot].used) {
            core_vm_after(core, slot, now_ns);
        }
    }
    return taken;
}

void core_vm_return_over(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    if (vm->return_by_ns != 0 && vm->return_by_ns <= now_ns) {
        vm->return_by_ns = 0;
        if (vm->gpu != CORE_NONE) {
            wfq_return_over(core->schedulers[vm->gpu], slot, now_ns);
        }
    }
}
