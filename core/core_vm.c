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

static uint32_t share_of(const struct core_vm *vm)
{
    return wfq_share(vm->config.weight, vm->config.priority);
}

uint32_t core_vm_slot_by_uuid(const struct core *core, const uint8_t *uuid)
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

/* ---- slots ---- */

static uint32_t slot_allocate(struct core *core, const struct core_vm_config *config,
                              uint64_t now_ns)
{
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        struct core_vm *vm = &core->vms[slot];

        if (vm->used) {
            continue;
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
        rl_configure_vm(&vm->limiter, config->max_jobs_per_sec, config->burst,
                        config->max_queue_depth, now_ns);
        if (slot >= core->vm_high) {
            core->vm_high = slot + 1;
        }
        metrics_vm_add(core->metrics, slot, config->name, config->vm_id);
        return slot;
    }
    return CORE_NONE;
}

uint32_t core_vm_create_unregistered(struct core *core, const struct core_vm_config *config,
                                     uint64_t now_ns)
{
    if (core_vm_find(core, config->vm_id) != CORE_NONE) {
        return CORE_NONE;
    }
    return slot_allocate(core, config, now_ns);
}

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

static void attach(struct core *core, uint32_t slot, uint32_t gpu, uint64_t now_ns)
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
static void count_share(struct core *core, struct core_vm *vm, uint32_t share)
{
    placement_release(&core->placement, vm->gpu, vm->placed_share);
    core->placement.load[vm->gpu] += share;
    vm->placed_share = share;
}

static void detach(struct core *core, uint32_t slot)
{
    struct core_vm *vm = &core->vms[slot];

    wfq_vm_detach(core->schedulers[vm->gpu], slot);
    count_share(core, vm, 0);
    vm->gpu = CORE_NONE;
}

/*
 * Nobody uses the VM any more: has it had GPU time ahead of its share that its
 * neighbours are still owed?  From the first time on for a limited time only.
 */
static bool keeps_debt(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct wfq_vm_stats stats;
    uint64_t debt_ns;

    if (vm->removing || vm->gpu == CORE_NONE) {
        return false;
    }
    wfq_get_vm_stats(core->schedulers[vm->gpu], slot, now_ns, &stats);
    if (stats.lag_ns >= 0) {
        return false;
    }
    debt_ns = 0 - (uint64_t)stats.lag_ns;
    if (vm->debt_until_ns == 0) {
        vm->debt_until_ns = debt_ns < (CORE_NEVER - now_ns) / CORE_DEBT_KEPT_TIMES
                                ? now_ns + debt_ns * CORE_DEBT_KEPT_TIMES
                                : CORE_NEVER;
    }
    return now_ns < vm->debt_until_ns;
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
    attach(core, slot, gpu, now_ns);
    return true;
}

void core_vm_move_if_needed(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct wfq_job *moving = NULL, **tail = &moving, *job;
    uint32_t from = vm->gpu, to;

    if (from == CORE_NONE || vm->in_flight_count > 0 ||
        placement_allows(&core->placement, vm->config.pool, from)) {
        return;
    }
    if (vm->debt_until_ns != 0) {
        detach(core, slot); /* it has left: nothing of it is to be moved */
        return;
    }
    core_worker_stop(core, slot, CORE_STOP_UNUSED, now_ns);
    to = placement_choose(&core->placement, vm->config.pool, share_of(vm));
    if (to == PLACEMENT_NONE) {
        core_jobs_refuse_waiting(core, slot, VGPU_ERR_GPU_UNAVAILABLE, now_ns);
        detach(core, slot);
        return;
    }
    while ((job = wfq_take_queued(core->schedulers[from], slot, now_ns)) != NULL) {
        *tail = job;
        tail = &job->next;
    }
    detach(core, slot);
    vm->placed_share = share_of(vm);
    attach(core, slot, to, now_ns);
    while (moving) {
        job = moving;
        moving = job->next;
        wfq_enqueue(core->schedulers[to], job, now_ns);
    }
    if (wfq_vm_queue_depth(core->schedulers[to], slot) > 0) {
        core_worker_want(core, slot, now_ns);
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

void core_vm_settle(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    if (vm->session != CORE_NONE || vm->job_count > 0) {
        return;
    }
    vm->idle_since_ns = now_ns;
    if (vm->worker.state == CORE_WORKER_BACKOFF) {
        core_worker_stop(core, slot, CORE_STOP_UNUSED, now_ns);
    }
    if (vm->worker.state != CORE_WORKER_NONE) {
        core_vm_arm(core, slot); /* it lingers */
        return;
    }
    free(vm->jobs);
    vm->jobs = NULL;
    vm->free_job = CORE_NONE;
    if (keeps_debt(core, slot, now_ns)) {
        count_share(core, vm, 0);
        core_vm_arm(core, slot);
        return;
    }
    vm->debt_until_ns = 0;
    if (vm->gpu != CORE_NONE) {
        detach(core, slot);
    }
    /* A VM that nobody registered is forgotten, but not what it has done: reconnecting
     * must not clear a quarantine. */
    if (vm->removing ||
        (!vm->registered && !vm->config.quarantined && vm->watchdog.fault_count == 0)) {
        timers_set(&core->timers, slot, TIMERS_NEVER);
        metrics_vm_remove(core->metrics, slot);
        vm->used = false;
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

static void unquarantine(struct core *core, uint32_t slot, uint64_t now_ns)
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
        uint32_t gpu = core->vms[slot].gpu;

        core_vm_quarantine(core, slot, VGPU_ERR_NONE, now_ns);
        if (gpu != CORE_NONE) {
            core_pump(core, gpu, now_ns);
        }
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
        unquarantine(core, slot, now_ns);
    }
    return 0;
}

/* ---- configuration ---- */

static bool config_valid(const struct core_vm_config *config)
{
    return placement_pool_index(config->pool) >= 0 && config->priority <= VGPU_PRIORITY_HIGH &&
           config->weight >= VGPU_WEIGHT_MIN && config->weight <= VGPU_WEIGHT_MAX &&
           config->vm_id != CORE_NONE && memchr(config->name, '\0', sizeof(config->name)) != NULL;
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
    bool changed = shown || old.weight != config->weight ||
                   old.max_jobs_per_sec != config->max_jobs_per_sec || old.burst != config->burst ||
                   old.max_queue_depth != config->max_queue_depth ||
                   old.memory_limit_bytes != config->memory_limit_bytes ||
                   old.quarantined != config->quarantined || strcmp(old.name, config->name) != 0;
    uint32_t gpu = vm->gpu;

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
    if (gpu != CORE_NONE) {
        struct wfq_vm_params params = params_of(vm);

        count_share(core, vm, vm->debt_until_ns == 0 ? share_of(vm) : 0);
        wfq_vm_update(core->schedulers[gpu], slot, &params, now_ns);
    }
    /* In BACKOFF there is none to stop, and jobs may wait for the next one. */
    if (old.memory_limit_bytes != config->memory_limit_bytes &&
        vm->worker.state != CORE_WORKER_BACKOFF) {
        core_worker_stop(core, slot, CORE_STOP_CHANGED, now_ns);
    }
    if (config->quarantined && !old.quarantined) {
        core_vm_quarantine(core, slot, VGPU_ERR_NONE, now_ns);
    } else if (!config->quarantined && old.quarantined) {
        unquarantine(core, slot, now_ns);
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
    core_vm_move_if_needed(core, slot, now_ns);
    return true;
}

static void remove_vm(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    uint32_t gpu = vm->gpu;

    core_jobs_refuse_waiting(core, slot, VGPU_ERR_VM_NOT_REGISTERED, now_ns);
    vm->removing = true;
    metrics_vm_remove(core->metrics, slot); /* its name may be another's at once */
    if (vm->session != CORE_NONE) {
        core_session_unbind(core, vm->session);
    }
    core_worker_stop(core, slot, CORE_STOP_REMOVED, now_ns);
    core_vm_settle(core, slot, now_ns);
    if (gpu != CORE_NONE) {
        core_pump(core, gpu, now_ns);
    }
}

/* The VM of this entry, as it is known now. */
static uint32_t slot_of_entry(const struct core *core, const struct core_vm_config *config)
{
    uint32_t slot = CORE_NONE;

    if (config->has_uuid) {
        slot = core_vm_slot_by_uuid(core, config->uuid);
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

int core_apply_vms(struct core *core, const struct core_vm_config *vms, uint32_t count,
                   uint64_t now_ns, struct core_apply_result *result, uint32_t *bad)
{
    bool keep[CORE_VMS_MAX] = {false};
    uint32_t slots[CORE_VMS_MAX];
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
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = slot_of_entry(core, &vms[i]);
        if (slots[i] != CORE_NONE) {
            keep[slots[i]] = true;
        }
    }
    for (uint32_t slot = 0; slot < core->vm_high; slot++) {
        if (core->vms[slot].used && core->vms[slot].registered && !core->vms[slot].removing &&
            !keep[slot]) {
            remove_vm(core, slot, now_ns);
            result->removed++;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t holder = slots[i] == CORE_NONE ? core_vm_find(core, vms[i].vm_id) : CORE_NONE;

        /* An unregistered VM has the id of one that is being registered: it has to go. */
        if (holder != CORE_NONE && !core->vms[holder].registered) {
            remove_vm(core, holder, now_ns);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i] != CORE_NONE) {
            result->changed += reconfigure(core, slots[i], &vms[i], now_ns, result);
            continue;
        }
        slots[i] = slot_allocate(core, &vms[i], now_ns);
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
