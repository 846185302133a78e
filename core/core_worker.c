/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Workers.  A VM has at most one, on its GPU; it is started by the first job.
 *
 * A worker that is lost takes its jobs in flight with it: they are answered
 * with an error, the oldest one counts as the VM's fault.  Jobs that still wait
 * get a new worker: at once after the first loss, then after a delay that
 * doubles with every loss without a job done well in between.
 *
 * A worker that we end is nobody's fault.  It is told to go, ends what it was
 * handed, and leaves; what may not go on for so long is answered when its
 * worker is killed.  All of these deadlines are here, in worker_deadline_ns().
 */
#include "core/core_internal.h"

#include <errno.h>
#include <string.h>

uint32_t core_worker_slot(const struct core *core, uint64_t worker)
{
    uint32_t slot = (uint32_t)(worker % CORE_VMS_MAX);

    return core->vms[slot].used && core->vms[slot].worker.handle == worker && worker != 0
               ? slot
               : CORE_NONE;
}

void core_worker_want(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct core_worker_spec spec;

    if (vm->worker.state == CORE_WORKER_BACKOFF &&
        now_ns >= vm->worker.since_ns + vm->worker.backoff_ns) {
        core_worker_enter(&vm->worker, CORE_WORKER_NONE, now_ns);
    }
    if (vm->worker.state != CORE_WORKER_NONE || vm->gpu == CORE_NONE || vm->config.quarantined ||
        core->stopping) {
        return;
    }
    core_worker_enter(&vm->worker, CORE_WORKER_STARTING, now_ns);
    vm->worker.handle = ++core->next_worker * CORE_VMS_MAX + slot;
    vm->worker.faulted = false;
    vm->worker.overdue = false;
    vm->worker.killed = false;
    vm->worker.told_kernel_ns = 0;
    vm->worker.figures = (vgpu_worker_figures){0};
    vm->worker.adopted = false;
    core_vm_arm(core, slot);
    spec = (struct core_worker_spec){
        .worker = vm->worker.handle,
        .vm_id = vm->config.vm_id,
        .gpu = vm->gpu,
        .memory_limit_bytes = vm->config.memory_limit_bytes,
        .host_memory_bytes = vm->config.host_memory_bytes,
        .has_uuid = vm->config.has_uuid,
    };
    memcpy(spec.uuid, vm->config.uuid, sizeof(spec.uuid));
    core->effects.worker_start(core->effects.opaque, &spec);
}

/* Until when may it take?  What it was handed is never cut off by a change of its limits. */
static uint64_t stop_deadline_ns(const struct core *core, const struct core_vm *vm,
                                 enum core_stop why, uint64_t now_ns)
{
    uint64_t after_timeout_ns =
        core->config.job_timeout_ns ? CORE_NEVER : now_ns + CORE_STOP_GRACE_NS;

    if (vm->in_flight_count == 0) {
        return now_ns + CORE_STOP_GRACE_NS;
    }
    switch (why) {
    case CORE_STOP_UNUSED:
    case CORE_STOP_CHANGED: return CORE_NEVER; /* the watchdog sees to it that its jobs end */
    case CORE_STOP_REMOVED: return after_timeout_ns;
    case CORE_STOP_QUARANTINED:
        return core->config.overrun_ns ? now_ns + core->config.overrun_ns : after_timeout_ns;
    default: return now_ns + CORE_STOP_GRACE_NS;
    }
}

/* What the jobs get that it did not end in time. */
static enum vgpu_error stopped_status(enum core_stop why)
{
    switch (why) {
    case CORE_STOP_REMOVED: return VGPU_ERR_VM_NOT_REGISTERED;
    case CORE_STOP_QUARANTINED: return VGPU_ERR_VM_QUARANTINED;
    default: return VGPU_ERR_MEDIATOR_UNAVAILABLE;
    }
}

/* Its channels go with it. */
static void stop_channels(struct core *core, uint32_t slot, enum core_stop why)
{
    switch (why) {
    case CORE_STOP_UNUSED:
        core_channels_stop(core, slot, VGPU_CLOSED_GPU_LOST, VGPU_ERR_NONE);
        break;
    case CORE_STOP_CHANGED:
        core_channels_stop(core, slot, VGPU_CLOSED_LIMITS, VGPU_ERR_NONE);
        break;
    case CORE_STOP_REMOVED:
        core_channels_stop(core, slot, VGPU_CLOSED_REMOVED, VGPU_ERR_VM_NOT_REGISTERED);
        break;
    case CORE_STOP_QUARANTINED:
        core_channels_stop(core, slot, VGPU_CLOSED_QUARANTINED, VGPU_ERR_VM_QUARANTINED);
        break;
    case CORE_STOP_SHUTDOWN:
        core_channels_stop(core, slot, VGPU_CLOSED_SHUTDOWN, VGPU_ERR_MEDIATOR_UNAVAILABLE);
        break;
    }
}

void core_worker_stop(struct core *core, uint32_t slot, enum core_stop why, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    uint64_t kill_at_ns = stop_deadline_ns(core, vm, why, now_ns);

    stop_channels(core, slot, why);
    switch (vm->worker.state) {
    case CORE_WORKER_NONE: break;
    case CORE_WORKER_BACKOFF: core_worker_enter(&vm->worker, CORE_WORKER_NONE, now_ns); break;
    case CORE_WORKER_STOPPING:
        if (kill_at_ns < vm->worker.kill_at_ns) {
            vm->worker.kill_at_ns = kill_at_ns;
            vm->worker.why = why;
            core_vm_arm(core, slot);
        }
        break;
    default:
        core_worker_enter(&vm->worker, CORE_WORKER_STOPPING, now_ns);
        vm->worker.why = why;
        vm->worker.kill_at_ns = kill_at_ns;
        core_vm_update_ready(core, slot, now_ns);
        core_vm_arm(core, slot);
        core->effects.worker_stop(core->effects.opaque, vm->worker.handle, false);
        break;
    }
}

void core_worker_spare(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    enum core_stop why = core->stopping ? CORE_STOP_SHUTDOWN : CORE_STOP_UNUSED;

    if (vm->worker.state == CORE_WORKER_STOPPING && !vm->worker.killed &&
        vm->worker.why == CORE_STOP_QUARANTINED) {
        vm->worker.why = why;
        vm->worker.kill_at_ns = stop_deadline_ns(core, vm, why, now_ns);
        core_vm_arm(core, slot);
    }
}

static void kill_worker(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    core_worker_enter(&vm->worker, CORE_WORKER_STOPPING, now_ns);
    vm->worker.killed = true;
    vm->worker.kill_at_ns = CORE_NEVER;
    core_vm_update_ready(core, slot, now_ns);
    core->effects.worker_stop(core->effects.opaque, vm->worker.handle, true);
}

uint32_t core_vm_requests_left(const struct core_vm *vm)
{
    uint32_t count = 0;

    for (uint32_t i = 0; vm->used && vm->job_count > 0 && i < CORE_VM_JOBS_MAX; i++) {
        count += vm->jobs[i].id != 0 && vm->jobs[i].channel == 0;
    }
    return count;
}

uint32_t core_requests_left(const struct core *core)
{
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < core->vm_high; slot++) {
        count += core_vm_requests_left(&core->vms[slot]);
    }
    return count;
}

void core_stop_workers(struct core *core, uint64_t now_ns)
{
    core->stopping = true;
    for (uint32_t slot = 0; slot < core->vm_high; slot++) {
        if (core->vms[slot].used) {
            core_worker_stop(core, slot, CORE_STOP_SHUTDOWN, now_ns);
            core_vm_after(core, slot, now_ns);
        }
    }
}

void core_vm_fault(struct core *core, uint32_t slot, enum vgpu_error code, uint64_t job_id,
                   uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    bool running = vm->watchdog.running;
    bool quarantine = wd_job_failed(&vm->watchdog, &core->watchdog);

    vm->watchdog.running = running;
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_FAULT,
                          .session = vm->session,
                          .vm = slot,
                          .gpu = vm->gpu,
                          .code = code,
                          .job_id = job_id,
                          .value = vm->watchdog.fault_count,
                      });
    if (quarantine && !vm->config.quarantined) {
        core_vm_quarantine(core, slot, code, now_ns);
    }
}

void core_worker_fault(struct core *core, uint32_t slot, enum vgpu_error code, uint64_t job_id,
                       uint64_t now_ns)
{
    core->vms[slot].worker.faulted = true;
    core_vm_fault(core, slot, code, job_id, now_ns);
}

/* All jobs in flight are lost; the oldest gets `status`, those behind it `others`. */
static void fail_in_flight(struct core *core, uint32_t slot, enum vgpu_error status,
                           enum vgpu_error others, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    uint64_t started_ns = vm->watchdog.started_ns;
    uint64_t used_ns = now_ns > started_ns ? now_ns - started_ns : 0;

    while (vm->in_flight_count > 0) {
        core_job_end(core, slot, status, used_ns, NULL, NULL, now_ns);
        status = others;
        used_ns = 0;
    }
}

static void report_lost(struct core *core, uint32_t slot, enum core_worker_end end, uint32_t detail)
{
    struct core_vm *vm = &core->vms[slot];

    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_WORKER_LOST,
                          .session = vm->session,
                          .vm = slot,
                          .gpu = vm->gpu,
                          .code = detail,
                          .value = end,
                      });
}

/* It never said READY. */
static void start_failed(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    if (++vm->worker.start_failures == CORE_START_FAILURES_MAX) {
        core_report(core, &(struct core_event){
                              .kind = CORE_EVENT_WORKER_GIVEN_UP,
                              .session = vm->session,
                              .vm = slot,
                              .gpu = vm->gpu,
                          });
    }
    if (vm->worker.start_failures >= CORE_START_FAILURES_MAX) {
        core_jobs_refuse_waiting(core, slot, VGPU_ERR_GPU_UNAVAILABLE, now_ns);
        core_channels_refuse_waiting(core, slot, VGPU_ERR_GPU_UNAVAILABLE);
    }
}

static void back_off(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    if (vm->worker.backoff_ns == 0) {
        core_worker_enter(&vm->worker, CORE_WORKER_NONE, now_ns);
        vm->worker.backoff_ns = CORE_BACKOFF_FIRST_NS;
        return;
    }
    core_worker_enter(&vm->worker, CORE_WORKER_BACKOFF, now_ns);
    core_vm_arm(core, slot);
}

void core_worker_exited(struct core *core, uint64_t worker, enum core_worker_end end,
                        uint32_t detail, uint64_t now_ns)
{
    uint32_t slot = core_worker_slot(core, worker);
    struct core_vm *vm;
    enum core_worker_state state;

    if (slot == CORE_NONE) {
        return;
    }
    vm = &core->vms[slot];
    state = vm->worker.state;
    /* Whatever follows must not ask it to stop, nor give it jobs. */
    core_worker_enter(&vm->worker, CORE_WORKER_STOPPING, now_ns);
    if (vm->in_flight_count > 0) {
        if (!vm->worker.faulted && end != CORE_WORKER_END_HOST) {
            core_worker_fault(core, slot, VGPU_ERR_CUDA_ERROR, vm->in_flight[0]->id, now_ns);
        }
        fail_in_flight(core, slot, VGPU_ERR_CUDA_ERROR, VGPU_ERR_CUDA_ERROR, now_ns);
    }
    core_channels_lost(core, slot);
    if (state == CORE_WORKER_STOPPING) {
        core_worker_enter(&vm->worker, CORE_WORKER_NONE, now_ns);
    } else {
        report_lost(core, slot, end, detail);
        vm->worker.restarts++;
        if (state == CORE_WORKER_STARTING) {
            start_failed(core, slot, now_ns);
        }
        back_off(core, slot, now_ns);
    }
    core_vm_after(core, slot, now_ns);
}

void core_worker_begun(struct core *core, uint64_t worker, uint64_t begin_ns)
{
    uint32_t slot = core_worker_slot(core, worker);

    if (slot != CORE_NONE && core->vms[slot].worker.state == CORE_WORKER_STARTING &&
        !core->vms[slot].worker.overdue) {
        core->vms[slot].worker.since_ns = begin_ns;
    }
}

void core_worker_ready(struct core *core, uint64_t worker, const vgpu_worker_ready *ready,
                       uint64_t now_ns)
{
    uint32_t slot = core_worker_slot(core, worker);
    struct core_vm *vm;

    if (slot == CORE_NONE || core->vms[slot].worker.state != CORE_WORKER_STARTING ||
        core->vms[slot].worker.overdue) {
        return;
    }
    vm = &core->vms[slot];
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_WORKER_READY,
                          .session = vm->session,
                          .vm = slot,
                          .gpu = vm->gpu,
                          .value = now_ns > vm->worker.since_ns ? now_ns - vm->worker.since_ns : 0,
                      });
    vm->worker.flags = ready->flags;
    vm->worker.start_failures = 0;
    core_worker_enter(&vm->worker, CORE_WORKER_READY, now_ns);
    if (vm->limiter.rate_hz) {
        core_credit_tell(core, slot); /* before its first channel */
    }
    core_program_tell(core, slot);
    core_channels_start(core, slot);
    core_vm_after(core, slot, now_ns);
}

void core_worker_waited(struct core *core, uint64_t worker, uint64_t wait_ns)
{
    uint32_t slot = core_worker_slot(core, worker);

    if (slot != CORE_NONE && core->vms[slot].in_flight_count > 0) {
        wfq_excuse(core->schedulers[core->vms[slot].gpu], slot, wait_ns);
    }
}

int core_worker_done(struct core *core, uint64_t worker, uint64_t job_id,
                     const vgpu_worker_done *done, const void *body, uint64_t now_ns)
{
    uint32_t slot = core_worker_slot(core, worker);
    struct core_vm *vm;
    enum vgpu_error status;

    if (slot == CORE_NONE) {
        return 0;
    }
    vm = &core->vms[slot];
    if (vm->in_flight_count == 0 || vm->in_flight[0]->id != job_id ||
        done->status >= VGPU_ERR_COUNT) {
        return -EPROTO;
    }
    status = (enum vgpu_error)done->status;
    if (status == VGPU_ERR_CUDA_ERROR) {
        core_worker_fault(core, slot, status, job_id, now_ns);
    } else if (status == VGPU_ERR_NONE) {
        vm->worker.backoff_ns = 0;
    }
    core_job_end(core, slot, status, done->gpu_time_ns, done, body, now_ns);
    if (vm->in_flight_count == 0 && vm->worker.state == CORE_WORKER_STOPPING &&
        !vm->worker.killed) {
        vm->worker.kill_at_ns = now_ns + CORE_STOP_GRACE_NS;
    }
    core_vm_after(core, slot, now_ns);
    return 0;
}

/* ---- deadlines of a VM and its worker ---- */

static uint64_t worker_deadline_ns(const struct core *core, const struct core_vm *vm)
{
    switch (vm->worker.state) {
    case CORE_WORKER_STARTING: return vm->worker.since_ns + core->config.worker_start_timeout_ns;
    case CORE_WORKER_STOPPING: return vm->worker.kill_at_ns;
    case CORE_WORKER_BACKOFF: return vm->worker.since_ns + vm->worker.backoff_ns;
    case CORE_WORKER_READY:
        return vm->idle ? vm->idle_since_ns + core->config.linger_ns : CORE_NEVER;
    case CORE_WORKER_NONE: return vm->owes ? vm->idle_since_ns + CORE_DEBT_CHECK_NS : CORE_NEVER;
    default: return CORE_NEVER;
    }
}

void core_vm_arm(struct core *core, uint32_t slot)
{
    const struct core_vm *vm = &core->vms[slot];
    uint64_t due_ns = worker_deadline_ns(core, vm);
    uint64_t job_ns = wd_deadline_ns(&vm->watchdog, &core->watchdog);

    due_ns = job_ns < due_ns ? job_ns : due_ns;
    if (vm->return_by_ns != 0 && vm->return_by_ns < due_ns) {
        due_ns = vm->return_by_ns;
    }
    if (vm->credit_wanted && vm->limiter.rate_hz) {
        uint64_t token_ns = rl_token_ns(&vm->limiter, vm->limiter.updated_ns);

        due_ns = token_ns < due_ns ? token_ns : due_ns;
    }
    if (due_ns != CORE_NEVER) {
        timers_lower(&core->timers, slot, due_ns);
    }
}

void core_worker_late(struct core *core, uint32_t slot, uint64_t channel, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct core_channel *late = core_channel_get(core, channel);
    bool is_oldest = vm->in_flight_count && vm->in_flight[0]->channel == channel;

    vm->timeouts++;
    core_worker_fault(core, slot, VGPU_ERR_TIMEOUT, vm->in_flight_count ? vm->in_flight[0]->id : 0,
                      now_ns);
    if (late) {
        core_channel_stop(core, late, VGPU_CLOSED_TIMEOUT);
    }
    core_channels_stop(core, slot, late ? VGPU_CLOSED_WORKER_LOST : VGPU_CLOSED_TIMEOUT,
                       VGPU_ERR_NONE);
    kill_worker(core, slot, now_ns);
    fail_in_flight(core, slot, is_oldest ? VGPU_ERR_TIMEOUT : VGPU_ERR_CUDA_ERROR,
                   VGPU_ERR_CUDA_ERROR, now_ns);
}

static void watch_job(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    enum wd_verdict verdict = wd_check(&vm->watchdog, &core->watchdog, now_ns);
    struct core_event event = {
        .session = vm->session,
        .vm = slot,
        .gpu = vm->gpu,
        .job_id = vm->in_flight_count ? vm->in_flight[0]->id : 0,
        .value = now_ns - vm->watchdog.started_ns,
    };
    uint32_t gpu = vm->gpu;

    if (verdict == WD_OVERRUN && wfq_set_aside(core->schedulers[gpu], slot, now_ns)) {
        wd_set_aside(&vm->watchdog);
        vm->aside = true;
        event.kind = CORE_EVENT_JOB_OVERRUN;
        core_report(core, &event);
    } else if (verdict == WD_TIMEOUT) {
        event.kind = CORE_EVENT_JOB_TIMEOUT;
        core_report(core, &event);
        core_worker_late(core, slot, vm->in_flight_count ? vm->in_flight[0]->channel : 0, now_ns);
    }
}

/* It was told to go, and its time is over. */
static void end_overdue(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    enum vgpu_error status = stopped_status(vm->worker.why);

    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_WORKER_OVERDUE,
                          .session = vm->session,
                          .vm = slot,
                          .gpu = vm->gpu,
                          .code = vm->in_flight_count ? status : VGPU_ERR_NONE,
                          .job_id = vm->in_flight_count ? vm->in_flight[0]->id : 0,
                      });
    kill_worker(core, slot, now_ns);
    fail_in_flight(core, slot, status, status, now_ns);
}

static void watch_worker(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    if (worker_deadline_ns(core, vm) > now_ns) {
        return;
    }
    switch (vm->worker.state) {
    case CORE_WORKER_STARTING:
        /* Its exit will find it STARTING: a failed start. */
        vm->worker.since_ns = now_ns;
        vm->worker.overdue = true;
        vm->worker.killed = true;
        core->effects.worker_stop(core->effects.opaque, vm->worker.handle, true);
        break;
    case CORE_WORKER_STOPPING: end_overdue(core, slot, now_ns); break;
    case CORE_WORKER_BACKOFF:
        vm->worker.backoff_ns = vm->worker.backoff_ns * 2 < CORE_BACKOFF_MAX_NS
                                    ? vm->worker.backoff_ns * 2
                                    : CORE_BACKOFF_MAX_NS;
        core_worker_enter(&vm->worker, CORE_WORKER_NONE, now_ns);
        break;
    case CORE_WORKER_READY: core_worker_stop(core, slot, CORE_STOP_UNUSED, now_ns); break;
    default: break;
    }
}

void core_vm_tick(struct core *core, uint32_t slot, uint64_t now_ns)
{
    if (!core->vms[slot].used) {
        return;
    }
    watch_job(core, slot, now_ns);
    watch_worker(core, slot, now_ns);
    core_vm_return_over(core, slot, now_ns);
    core_credit_give(core, slot, now_ns);
    core_vm_after(core, slot, now_ns);
}
