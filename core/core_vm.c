/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMs: who they are, where they are, whether they may.
 *
 * A VM takes a place in a GPU's scheduler with its first job and gives it up
 * when it has neither session nor job nor worker, nor has had more than its
 * share there.  It changes GPUs only with nothing in flight: its waiting jobs
 * move with it, in order; what it owes or is owed does not, for that is between
 * it and its neighbours.
 */
#include "core/core_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct wfq_vm_params params_of(const struct core_vm *vm)
{
    return (struct wfq_vm_params){
        .weight = vm->config.weight, .priority = vm->config.priority, .pool = vm->config.pool};
}

static double share_of(const struct core_vm *vm)
{
    return wfq_share(vm->config.weight, vm->config.priority);
}

uint32_t core_vm_find_uuid(const struct core *core, const uint8_t *uuid)
{
    for (uint32_t slot = 0; slot < core->vm_high; slot++) {
        const struct core_vm *vm = &core->vms[slot];

        if (vm->used && !vm->removing && vm->config.has_uuid &&
            memcmp(vm->config.uuid, uuid, CORE_UUID_BYTES) == 0) {
            return slot;
        }
    }
    return CORE_NONE;
}

/* ---- its jobs ---- */

int core_vm_allocate_jobs(struct core_vm *vm)
{
    if (vm->jobs) {
        return 0;
    }
    vm->jobs = calloc(CORE_VM_JOBS_MAX, sizeof(*vm->jobs));
    if (!vm->jobs) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < CORE_VM_JOBS_MAX; i++) {
        vm->jobs[i].next_free = i + 1 < CORE_VM_JOBS_MAX ? i + 1 : CORE_NONE;
    }
    vm->free_job = 0;
    return 0;
}

/* ---- places ---- */

void core_vm_attach(struct core *core, uint32_t slot, uint32_t gpu, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct wfq_vm_params params = params_of(vm);

    vm->gpu = gpu;
    wfq_vm_attach(core->schedulers[gpu], slot, &params);
    if (core->preferred_vm_id == vm->config.vm_id) {
        wfq_set_preferred(core->schedulers[gpu], slot);
    }
    core_vm_update_ready(core, slot, now_ns);
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_VM_PLACED,
                          .session = vm->session,
                          .vm = slot,
                          .gpu = gpu,
                      });
}

/* What it counts for where it is; 0: nothing, it has left and only owes. */
static void count_share(struct core *core, struct core_vm *vm, double share)
{
    placement_release(&core->placement, vm->gpu, vm->placed_share);
    core->placement.load[vm->gpu] += share;
    vm->placed_share = share;
}

void core_vm_used_again(struct core *core, uint32_t slot)
{
    struct core_vm *vm = &core->vms[slot];

    vm->idle = false;
    vm->owes = false;
    if (vm->gpu != CORE_NONE) {
        count_share(core, vm, share_of(vm));
    }
}

static void detach(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct wfq_vm_stats last;

    wfq_vm_detach(core->schedulers[vm->gpu], slot, now_ns, &last);
    vm->entitled_ns += last.entitled_ns;
    vm->kept_ns += last.kept_ns;
    vm->switching_ns += last.switching_ns;
    count_share(core, vm, 0);
    vm->gpu = CORE_NONE;
}

/* The GPU time that the VM has had ahead of its share, and its neighbours are still owed. */
static int64_t debt_ns(const struct core *core, uint32_t slot, uint64_t now_ns)
{
    const struct core_vm *vm = &core->vms[slot];
    struct wfq_vm_stats stats;

    if (vm->gpu == CORE_NONE) {
        return 0;
    }
    wfq_get_vm_stats(core->schedulers[vm->gpu], slot, now_ns, &stats);
    return stats.lag_ns < 0 ? -stats.lag_ns : 0;
}

/* ---- VMs come and go ---- */

/* Nobody registered it, and there is nothing to remember of it. */
static bool may_forget(const struct core_vm *vm)
{
    return !vm->registered && !vm->config.quarantined && vm->watchdog.fault_count == 0;
}

static void forget(struct core *core, uint32_t slot)
{
    timers_set(&core->timers, slot, TIMERS_NEVER);
    metrics_vm_remove(core->metrics, slot);
    core->vms[slot].used = false;
}

/* A debt holds no place that another VM needs: the smallest one is dropped. */
static uint32_t take_from_debtor(struct core *core, uint64_t now_ns)
{
    uint32_t least = CORE_NONE;
    int64_t least_ns = INT64_MAX;

    for (uint32_t slot = 0; slot < core->vm_high; slot++) {
        const struct core_vm *vm = &core->vms[slot];

        if (vm->used && vm->owes && may_forget(vm) && debt_ns(core, slot, now_ns) < least_ns) {
            least = slot;
            least_ns = debt_ns(core, slot, now_ns);
        }
    }
    if (least != CORE_NONE) {
        detach(core, least, now_ns);
        forget(core, least);
    }
    return least;
}

static uint32_t free_slot(struct core *core, uint64_t now_ns)
{
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        if (!core->vms[slot].used) {
            return slot;
        }
    }
    return take_from_debtor(core, now_ns);
}

/* Who had the slot before: an unregistered VM that comes back is not a new one. */
static bool is_same_vm(const struct core_vm_config *before, const struct core_vm_config *now)
{
    return before->has_uuid && now->has_uuid
               ? memcmp(before->uuid, now->uuid, sizeof(now->uuid)) == 0
               : before->has_uuid == now->has_uuid && before->vm_id == now->vm_id;
}

uint32_t core_vm_allocate(struct core *core, const struct core_vm_config *config, uint64_t now_ns)
{
    uint32_t slot = free_slot(core, now_ns);
    struct core_vm *vm;

    if (slot == CORE_NONE) {
        return CORE_NONE;
    }
    vm = &core->vms[slot];
    for (uint32_t gpu = 0; gpu < core->placement.gpu_count; gpu++) {
        if (!is_same_vm(&vm->config, config)) {
            wfq_vm_new(core->schedulers[gpu], slot);
        }
    }
    *vm = (struct core_vm){
        .used = true,
        .config = *config,
        .session = CORE_NONE,
        .gpu = CORE_NONE,
        .free_job = CORE_NONE,
        .idle_since_ns = now_ns,
    };
    vm->watchdog.fault_count = config->error_count;
    rl_init_vm(&vm->limiter, now_ns);
    rl_configure_vm(&vm->limiter, config->max_jobs_per_sec, config->burst, config->max_queue_depth,
                    now_ns);
    if (slot >= core->vm_high) {
        core->vm_high = slot + 1;
    }
    metrics_vm_add(core->metrics, slot, config->name, config->vm_id);
    return slot;
}

uint32_t core_vm_create_unregistered(struct core *core, const struct core_vm_config *config,
                                     uint64_t now_ns)
{
    if (core_vm_find(core, config->vm_id) != CORE_NONE) {
        return CORE_NONE;
    }
    return core_vm_allocate(core, config, now_ns);
}

bool core_vm_place(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    uint32_t gpu;

    if (vm->gpu != CORE_NONE && placement_allows(&core->placement, vm->config.pool, vm->gpu)) {
        if (vm->placed_share == 0) {
            count_share(core, vm, share_of(vm));
        }
        return true;
    }
    if (vm->gpu != CORE_NONE) {
        core_vm_move_if_needed(core, slot, now_ns);
        /* Still draining: its jobs may queue here, they will move with it. */
        return vm->gpu != CORE_NONE &&
               (core_pool_gpus(core, vm->config.pool) & core->placement.available) != 0;
    }
    gpu = placement_choose(&core->placement, vm->config.pool, share_of(vm));
    if (gpu == PLACEMENT_NONE) {
        return false;
    }
    vm->placed_share = share_of(vm);
    core_vm_attach(core, slot, gpu, now_ns);
    return true;
}

void core_vm_move_if_needed(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct wfq_jobs moving = STAILQ_HEAD_INITIALIZER(moving);
    struct wfq_job *job;
    uint32_t from = vm->gpu, to;

    if (from == CORE_NONE || vm->in_flight_count > 0 ||
        (vm->channel_count > vm->channels_waiting && core_gpu_available(core, from)) ||
        placement_allows(&core->placement, vm->config.pool, from)) {
        return;
    }
    if (vm->owes) {
        detach(core, slot, now_ns); /* it has left: nothing of it is to be moved */
        return;
    }
    core_worker_stop(core, slot, CORE_STOP_UNUSED, now_ns);
    to = placement_choose(&core->placement, vm->config.pool, share_of(vm));
    if (to == PLACEMENT_NONE) {
        core_jobs_refuse_waiting(core, slot, VGPU_ERR_GPU_UNAVAILABLE, now_ns);
        detach(core, slot, now_ns);
        return;
    }
    while ((job = wfq_take_queued(core->schedulers[from], slot, now_ns)) != NULL) {
        STAILQ_INSERT_TAIL(&moving, job, link);
    }
    detach(core, slot, now_ns);
    vm->placed_share = share_of(vm);
    core_vm_attach(core, slot, to, now_ns);
    while ((job = STAILQ_FIRST(&moving)) != NULL) {
        STAILQ_REMOVE_HEAD(&moving, link);
        wfq_enqueue(core->schedulers[to], job, now_ns);
    }
}

void core_vm_update_ready(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    if (vm->gpu != CORE_NONE) {
        wfq_vm_set_ready(core->schedulers[vm->gpu], slot,
                         vm->worker.state == CORE_WORKER_READY && !vm->config.quarantined, now_ns);
    }
}

/* Frees what nobody needs any more: its jobs, its place, at last the VM itself. */
static void settle(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    bool was_idle = vm->idle;

    vm->idle = vm->session == CORE_NONE && vm->host_sessions == 0 && vm->channel_count == 0 &&
               vm->job_count == 0;
    if (!vm->idle) {
        return;
    }
    if (!was_idle) {
        vm->idle_since_ns = now_ns;
    }
    if (vm->worker.state == CORE_WORKER_BACKOFF) {
        core_worker_stop(core, slot, CORE_STOP_UNUSED, now_ns);
    }
    if (vm->worker.state != CORE_WORKER_NONE) {
        return; /* it lingers */
    }
    if (vm->owes && !vm->removing && now_ns < vm->idle_since_ns + CORE_DEBT_CHECK_NS) {
        return; /* looked at when its time has come */
    }
    free(vm->jobs);
    vm->jobs = NULL;
    vm->free_job = CORE_NONE;
    vm->owes = !vm->removing && (debt_ns(core, slot, now_ns) > 0 ||
                                 (vm->gpu != CORE_NONE && now_ns < vm->return_by_ns));
    if (vm->owes) {
        count_share(core, vm, 0);
        vm->idle_since_ns = now_ns;
        return;
    }
    if (vm->gpu != CORE_NONE) {
        detach(core, slot, now_ns);
    }
    /* A VM that nobody registered is forgotten, but not what it has done: reconnecting
     * must not clear a quarantine. */
    if (vm->removing || (may_forget(vm) && now_ns >= vm->return_by_ns)) {
        forget(core, slot);
    }
}

/* ---- what follows ---- */

void core_vm_after(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    uint32_t gpu = vm->gpu;

    core_vm_update_ready(core, slot, now_ns);
    core_vm_move_if_needed(core, slot, now_ns);
    if (vm->channels_wanting > 0) {
        core_channels_queue_turns(core, slot, now_ns);
    }
    if (vm->gpu != CORE_NONE &&
        (vm->channels_waiting > 0 || wfq_vm_queue_depth(core->schedulers[vm->gpu], slot) > 0)) {
        core_worker_want(core, slot, now_ns);
    }
    settle(core, slot, now_ns);
    if (vm->used) {
        core_vm_arm(core, slot);
    }
    if (gpu != CORE_NONE) {
        core_pump(core, gpu, now_ns);
    }
    if (vm->used && vm->gpu != CORE_NONE && vm->gpu != gpu) {
        core_pump(core, vm->gpu, now_ns);
    }
}

void core_vm_update_share(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct wfq_vm_params params = params_of(vm);

    if (vm->gpu != CORE_NONE) {
        count_share(core, vm, vm->owes ? 0 : share_of(vm));
        wfq_vm_update(core->schedulers[vm->gpu], slot, &params, now_ns);
    }
}

/* ---- quarantine ---- */

void core_vm_quarantine(struct core *core, uint32_t slot, enum vgpu_error fault, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    vm->config.quarantined = true;
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_QUARANTINED,
                          .session = vm->session,
                          .vm = slot,
                          .gpu = vm->gpu,
                          .code = fault,
                          .value = vm->watchdog.fault_count,
                      });
    core_jobs_refuse_waiting(core, slot, VGPU_ERR_VM_QUARANTINED, now_ns);
    core_vm_update_ready(core, slot, now_ns);
    core_worker_stop(core, slot, CORE_STOP_QUARANTINED, now_ns);
}

void core_vm_release(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    vm->config.quarantined = false;
    vm->watchdog.fault_count = 0;
    vm->worker.backoff_ns = 0;
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_UNQUARANTINED,
                          .session = vm->session,
                          .vm = slot,
                          .gpu = vm->gpu,
                      });
    core_worker_spare(core, slot, now_ns);
    core_vm_update_ready(core, slot, now_ns);
}

int core_quarantine_vm(struct core *core, uint32_t vm_id, uint64_t now_ns)
{
    uint32_t slot = core_vm_find(core, vm_id);

    if (slot == CORE_NONE) {
        return -ENOENT;
    }
    if (!core->vms[slot].config.quarantined) {
        core_vm_quarantine(core, slot, VGPU_ERR_NONE, now_ns);
        core_vm_after(core, slot, now_ns);
    }
    return 0;
}

int core_unquarantine_vm(struct core *core, uint32_t vm_id, uint64_t now_ns)
{
    uint32_t slot = core_vm_find(core, vm_id);

    if (slot == CORE_NONE) {
        return -ENOENT;
    }
    if (core->vms[slot].config.quarantined) {
        core_vm_release(core, slot, now_ns);
        core_vm_after(core, slot, now_ns);
    }
    return 0;
}

/* ---- removal ---- */

void core_vm_remove(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    core_jobs_refuse_waiting(core, slot, VGPU_ERR_VM_NOT_REGISTERED, now_ns);
    vm->removing = true;
    metrics_vm_remove(core->metrics, slot); /* its name may be another's at once */
    core_sessions_unbind(core, slot);
    core_worker_stop(core, slot, CORE_STOP_REMOVED, now_ns);
    core_vm_after(core, slot, now_ns);
}
