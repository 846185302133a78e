/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs.  Each VM has its own CORE_VM_JOBS_MAX of them, so that no VM can use up
 * another's; a job is free, waits in the scheduler, or is in flight in a worker,
 * and leaves the last two through answer() alone: that is the one reply.
 */
#include "common/ns.h"
#include "core/core_internal.h"

#include <string.h>

static struct core_job *job_allocate(struct core_vm *vm)
{
    struct core_job *job;

    if (vm->free_job == CORE_NONE) {
        return NULL;
    }
    job = &vm->jobs[vm->free_job];
    vm->free_job = job->next_free;
    vm->job_count++;
    return job;
}

static void job_free(struct core_vm *vm, struct core_job *job)
{
    core_job_enter(job, CORE_JOB_FREE);
    job->id = 0;
    job->channel = 0;
    job->next_free = vm->free_job;
    vm->free_job = (uint32_t)(job - vm->jobs);
    vm->job_count--;
}

static enum vgpu_msg message_for(enum vgpu_error status)
{
    switch (status) {
    case VGPU_ERR_QUEUE_FULL:
    case VGPU_ERR_RATE_LIMITED: return VGPU_MSG_BUSY;
    case VGPU_ERR_VM_QUARANTINED: return VGPU_MSG_QUARANTINED;
    default: return VGPU_MSG_RESPONSE;
    }
}

static void send_response(struct core *core, uint32_t session, uint32_t request_id,
                          enum vgpu_error status, uint32_t exec_time_us, const void *body,
                          uint32_t result_count, uint32_t data_length)
{
    const struct core_session *state = &core->sessions[session];
    uint8_t bytes[VGPU_RESPONSE_BUFFER_BYTES];
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = message_for(status),
        .request_id = request_id,
        .vm_id = state->claimed_id,
    };

    if (state->vm != CORE_NONE) {
        const struct core_vm_config *config = &core->vms[state->vm].config;

        header.vm_id = config->vm_id;
        header.pool_id = (uint8_t)config->pool;
        header.priority = (uint8_t)config->priority;
    }
    header.payload_len =
        response_write(bytes, status, exec_time_us, body, result_count, data_length);
    metrics_record_count(core->metrics, state->vm, METRICS_RESPONSE_BYTES, header.payload_len);
    core->effects.send(core->effects.opaque, session, &header, bytes);
}

void core_session_answer(struct core *core, uint32_t session, uint32_t request_id,
                         enum vgpu_error status)
{
    send_response(core, session, request_id, status, 0, NULL, 0, 0);
}

static uint32_t to_us(uint64_t ns)
{
    uint64_t us = (ns + NS_PER_US / 2) / NS_PER_US;

    return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void report_accepted(struct core *core, uint32_t slot, const struct core_job *job)
{
    const struct core_vm *vm = &core->vms[slot];

    if (!core->effects.job || job->channel) {
        return;
    }
    core->effects.job(core->effects.opaque,
                      &(struct core_job_step){
                          .kind = CORE_JOB_ACCEPTED,
                          .vm = slot,
                          .serial = job->serial,
                          .job_id = job->id,
                          .now_ns = job->accepted_ns,
                          .gpu = vm->gpu,
                          .vm_id = vm->config.vm_id,
                          .session = job->session,
                          .request_id = job->request_id,
                          .opcode = job->request.opcode,
                          .queue_depth = vm->job_count - vm->in_flight_count - 1,
                          .worker_ready = vm->worker.state == CORE_WORKER_READY,
                      });
}

static void report_ended(struct core *core, uint32_t slot, const struct core_job *job,
                         enum vgpu_error status, bool answered, uint64_t gpu_time_ns,
                         const vgpu_worker_done *done, uint64_t now_ns)
{
    if (!core->effects.job || job->channel) {
        return;
    }
    core->effects.job(core->effects.opaque, &(struct core_job_step){
                                                .kind = CORE_JOB_ENDED,
                                                .vm = slot,
                                                .serial = job->serial,
                                                .job_id = job->id,
                                                .now_ns = now_ns,
                                                .gpu = core->vms[slot].gpu,
                                                .status = status,
                                                .answered = answered,
                                                .gpu_time_ns = gpu_time_ns,
                                                .done = done,
                                            });
}

/* The one reply, if the session is still there; the job is free afterwards. */
static void answer(struct core *core, uint32_t slot, struct core_job *job, enum vgpu_error status,
                   uint64_t gpu_time_ns, const vgpu_worker_done *done, const void *body,
                   uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    const struct core_session *session;
    bool answered;

    if (job->channel) {
        core_channel_turn_over(core, job->channel);
        job_free(vm, job);
        return;
    }
    session = &core->sessions[job->session];
    answered = session->state != CORE_SESSION_FREE && session->serial == job->session_serial;

    report_ended(core, slot, job, status, answered, gpu_time_ns, done, now_ns);
    if (answered) {
        send_response(core, job->session, job->request_id, status, to_us(gpu_time_ns), body,
                      done ? done->result_count : 0, done ? done->data_length : 0);
        if (status != VGPU_ERR_NONE) {
            vm->errors++;
            metrics_record_error(core->metrics, slot, status);
        }
    } else {
        vm->dropped++;
        metrics_record_count(core->metrics, slot, METRICS_DROPPED, 1);
    }
    job_free(vm, job);
}

/* A refusal before there is a job.  `why`: more for a person. */
static void refuse(struct core *core, uint32_t session, uint32_t request_id, enum vgpu_error status,
                   enum core_event_kind kind, const char *why)
{
    metrics_record_rejection(core->metrics, core->sessions[session].vm, status);
    core_session_answer(core, session, request_id, status);
    core_report(core, &(struct core_event){
                          .kind = kind,
                          .session = session,
                          .vm = core->sessions[session].vm,
                          .gpu = CORE_NONE,
                          .code = status,
                          .value = request_id,
                          .text = why,
                      });
}

/* NULL: nothing on the host's side keeps this VM's job from being run; else why, for a person. */
static const char *host_trouble(struct core *core, uint32_t slot, enum vgpu_error *status,
                                uint64_t now_ns)
{
    const struct core_vm *vm = &core->vms[slot];

    *status = VGPU_ERR_GPU_UNAVAILABLE;
    if (!core_vm_place(core, slot, now_ns)) {
        if (core_gpu_count(core) == 0) {
            return "the GPU driver does not work";
        }
        if (core_pool_gpus(core, vm->config.pool)) {
            return "no GPU of its pool takes work";
        }
        *status = VGPU_ERR_INVALID_POOL;
        return "its pool has no GPU of this host";
    }
    return vm->worker.state == CORE_WORKER_BACKOFF &&
                   vm->worker.start_failures >= CORE_START_FAILURES_MAX
               ? "its worker does not start"
               : NULL;
}

/* Everything that can be said about a request before it costs anything. */
static enum vgpu_error examine(const struct core *core, const uint8_t *bytes, uint32_t length,
                               struct request_view *request)
{
    enum vgpu_error status = request_parse(bytes, length, request);

    if (status == VGPU_ERR_NONE) {
        status = request_check_op(request->opcode, request->param_count, request->data_length,
                                  core->config.test_ops);
    }
    return status;
}

void core_job_submit(struct core *core, uint32_t session, uint32_t request_id, const uint8_t *bytes,
                     uint32_t length, uint64_t now_ns)
{
    uint32_t slot = core->sessions[session].vm;
    struct core_vm *vm = &core->vms[slot];
    struct request_view request;
    struct core_job *job;
    enum vgpu_error status;
    enum rl_verdict verdict;
    const char *trouble;

    if (vm->config.quarantined) {
        vm->rejected_quarantined++;
        metrics_record_rejection(core->metrics, slot, VGPU_ERR_VM_QUARANTINED);
        core_session_answer(core, session, request_id, VGPU_ERR_VM_QUARANTINED);
        return;
    }
    status = examine(core, bytes, length, &request);
    if (status != VGPU_ERR_NONE) {
        vm->invalid++;
        refuse(core, session, request_id, status, CORE_EVENT_REQUEST_INVALID, "");
        return;
    }
    trouble = host_trouble(core, slot, &status, now_ns);
    if (trouble) {
        vm->invalid++;
        refuse(core, session, request_id, status, CORE_EVENT_NOT_SERVED, trouble);
        return;
    }
    /* A full table is a full queue, and takes no token either. */
    verdict = vm->free_job == CORE_NONE
                  ? RL_DENY_QUEUE
                  : rl_check(&vm->limiter, vm->job_count - vm->in_flight_count, now_ns);
    if (verdict == RL_DENY_RATE) {
        vm->rejected_rate++;
        refuse(core, session, request_id, VGPU_ERR_RATE_LIMITED, CORE_EVENT_REJECTED, "");
        return;
    }
    job = verdict == RL_DENY_QUEUE ? NULL : job_allocate(vm);
    if (!job) {
        vm->rejected_queue++;
        refuse(core, session, request_id, VGPU_ERR_QUEUE_FULL, CORE_EVENT_REJECTED, "");
        return;
    }

    core_job_enter(job, CORE_JOB_QUEUED);
    job->session = session;
    job->session_serial = core->sessions[session].serial;
    job->request_id = request_id;
    job->accepted_ns = now_ns;
    job->id = ++core->next_job;
    /* The private copy, and a view into it: what was checked is what runs. */
    memcpy(job->bytes, bytes, length);
    job->request = request;
    job->request.params = job->bytes + (request.params - bytes);
    job->request.data = request.data ? job->bytes + (request.data - bytes) : NULL;
    job->sched.vm = slot;
    job->serial = ++vm->submitted;
    report_accepted(core, slot, job);
    metrics_record_count(core->metrics, slot, METRICS_ACCEPTED, 1);
    metrics_record_count(core->metrics, slot, METRICS_REQUEST_BYTES, length);
    wfq_enqueue(core->schedulers[vm->gpu], &job->sched, now_ns);
    core_vm_after(core, slot, now_ns);
}

bool core_turn_submit(struct core *core, uint32_t slot, uint64_t channel, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct core_job *job = job_allocate(vm);

    if (!job) {
        return false;
    }
    core_job_enter(job, CORE_JOB_QUEUED);
    job->channel = channel;
    job->accepted_ns = now_ns;
    job->id = ++core->next_job;
    job->sched.vm = slot;
    job->serial = ++vm->submitted;
    metrics_record_count(core->metrics, slot, METRICS_ACCEPTED, 1);
    wfq_enqueue(core->schedulers[vm->gpu], &job->sched, now_ns);
    return true;
}

/* ---- dispatch ---- */

static void report_dispatch(struct core *core, uint32_t gpu, const struct core_job *job,
                            uint64_t now_ns)
{
    struct wfq_dispatch decision;

    if (!core->effects.job || job->channel) {
        return;
    }
    wfq_dispatch_log(core->schedulers[gpu], &decision, 1);
    core->effects.job(core->effects.opaque, &(struct core_job_step){
                                                .kind = CORE_JOB_DISPATCHED,
                                                .vm = job->sched.vm,
                                                .serial = job->serial,
                                                .job_id = job->id,
                                                .now_ns = now_ns,
                                                .gpu = gpu,
                                                .decision = &decision,
                                            });
}

/* A request ends when it ends; a turn can be told when it has to. */
static void tell_turn(struct core *core, uint32_t gpu, uint64_t now_ns)
{
    uint32_t slot = 0;
    uint64_t ends_ns = wfq_turn_ends_ns(core->schedulers[gpu], now_ns, &slot);
    const struct core_vm *vm = &core->vms[slot];

    if (ends_ns != UINT64_MAX && core->effects.turn_yield && vm->in_flight_count > 0 &&
        vm->in_flight[0]->channel) {
        core->effects.turn_yield(core->effects.opaque, vm->worker.handle, ends_ns);
    }
}

void core_pump(struct core *core, uint32_t gpu, uint64_t now_ns)
{
    uint64_t switches;
    struct wfq_job *next;

    if (!core_gpu_available(core, gpu)) {
        return;
    }
    switches = wfq_context_switches(core->schedulers[gpu]);
    while ((next = wfq_dequeue(core->schedulers[gpu], now_ns)) != NULL) {
        struct core_job *job = (struct core_job *)next;
        struct core_vm *vm = &core->vms[next->vm];

        if (wfq_context_switches(core->schedulers[gpu]) != switches) {
            switches = wfq_context_switches(core->schedulers[gpu]);
            metrics_record_context_switch(core->metrics, next->vm, gpu);
        }
        core_job_enter(job, CORE_JOB_IN_FLIGHT);
        vm->in_flight[vm->in_flight_count++] = job;
        if (vm->in_flight_count == 1) {
            wd_job_started(&vm->watchdog, now_ns);
            core_vm_arm(core, next->vm);
        }
        report_dispatch(core, gpu, job, now_ns);
        if (job->channel) {
            core->effects.worker_turn(core->effects.opaque, vm->worker.handle, job->id,
                                      job->channel, core->config.scheduler.quantum_ns);
        } else {
            core->effects.worker_run(core->effects.opaque, vm->worker.handle, job->id,
                                     &job->request);
        }
    }
    tell_turn(core, gpu, now_ns);
}

/* ---- the end ---- */

/*
 * Its turn began when it was handed out, or when the worker was done with the
 * job before it: that wait is the VM's own, not the hand-over's.
 */
static void record_job(struct core *core, uint32_t slot, const struct core_job *job,
                       uint64_t gpu_time_ns, const vgpu_worker_done *done, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    uint64_t before_ns = vm->finished_ns;
    uint64_t dispatched_ns = job->sched.dispatched_ns;

    vm->finished_ns = done && done->finished_ns < now_ns ? done->finished_ns : now_ns;
    metrics_record_job(core->metrics, slot, vm->gpu,
                       &(struct metrics_job){
                           .accepted_ns = job->accepted_ns,
                           .turn_ns = before_ns > dispatched_ns ? before_ns : dispatched_ns,
                           .ended_ns = now_ns,
                           .gpu_ns = gpu_time_ns,
                           .charged_ns = job->sched.charged_ns,
                       });
}

void core_job_end(struct core *core, uint32_t slot, enum vgpu_error status, uint64_t gpu_time_ns,
                  const vgpu_worker_done *done, const void *body, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct core_job *job = vm->in_flight[0];
    bool elapsed = (vm->worker.flags & VGPU_WORKER_TIME_ELAPSED) != 0;

    vm->in_flight_count--;
    memmove(vm->in_flight, vm->in_flight + 1, vm->in_flight_count * sizeof(vm->in_flight[0]));
    wfq_complete(core->schedulers[vm->gpu], &job->sched, gpu_time_ns, elapsed, now_ns);
    vm->aside = false;
    wd_job_completed(&vm->watchdog);
    if (vm->in_flight_count > 0) {
        wd_job_started(&vm->watchdog, now_ns);
        core_vm_arm(core, slot);
    }
    vm->completed++;
    vm->gpu_time_ns += job->sched.charged_ns;
    record_job(core, slot, job, gpu_time_ns, done, now_ns);
    answer(core, slot, job, status, gpu_time_ns, done, body, now_ns);
}

void core_jobs_refuse_waiting(struct core *core, uint32_t slot, enum vgpu_error status,
                              uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    struct wfq_job *next;

    if (vm->gpu == CORE_NONE) {
        return; /* then nothing waits */
    }
    while ((next = wfq_take_queued(core->schedulers[vm->gpu], slot, now_ns)) != NULL) {
        uint64_t channel = ((struct core_job *)next)->channel;

        answer(core, slot, (struct core_job *)next, status, 0, NULL, NULL, now_ns);
        if (channel) {
            core_channel_turn_lost(core, channel);
        }
    }
}
