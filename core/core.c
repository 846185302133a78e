/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core_internal.h"
#include "common/ns.h"

#include <stdlib.h>

const char *core_event_name(enum core_event_kind kind)
{
    static const char *const names[CORE_EVENT_KIND_COUNT] = {
        [CORE_EVENT_SESSION_BOUND] = "session_bound",
        [CORE_EVENT_SESSION_CLOSED] = "session_closed",
        [CORE_EVENT_SESSION_REFUSED] = "session_refused",
        [CORE_EVENT_UNREGISTERED] = "unregistered",
        [CORE_EVENT_REQUEST_INVALID] = "request_invalid",
        [CORE_EVENT_REJECTED] = "rejected",
        [CORE_EVENT_NOT_SERVED] = "not_served",
        [CORE_EVENT_WORKER_READY] = "worker_ready",
        [CORE_EVENT_WORKER_LOST] = "worker_lost",
        [CORE_EVENT_WORKER_OVERDUE] = "worker_overdue",
        [CORE_EVENT_WORKER_GIVEN_UP] = "worker_given_up",
        [CORE_EVENT_JOB_OVERRUN] = "job_overrun",
        [CORE_EVENT_JOB_TIMEOUT] = "job_timeout",
        [CORE_EVENT_FAULT] = "fault",
        [CORE_EVENT_QUARANTINED] = "quarantined",
        [CORE_EVENT_UNQUARANTINED] = "unquarantined",
        [CORE_EVENT_VM_PLACED] = "vm_placed",
        [CORE_EVENT_GPU_LOST] = "gpu_lost",
        [CORE_EVENT_GPU_BACK] = "gpu_back",
        [CORE_EVENT_CHANNEL_OPENED] = "channel_opened",
        [CORE_EVENT_CHANNEL_CLOSED] = "channel_closed",
        [CORE_EVENT_PROGRAM_REFUSED] = "program_refused",
        [CORE_EVENT_KERNEL_TIMEOUT] = "kernel_timeout",
    };

    return kind < CORE_EVENT_KIND_COUNT ? names[kind] : "unknown";
}

const char *core_worker_state_name(enum core_worker_state state)
{
    static const char *const names[CORE_WORKER_STATE_COUNT] = {
        [CORE_WORKER_NONE] = "none",       [CORE_WORKER_STARTING] = "starting",
        [CORE_WORKER_READY] = "ready",     [CORE_WORKER_STOPPING] = "stopping",
        [CORE_WORKER_BACKOFF] = "backoff",
    };

    return state < CORE_WORKER_STATE_COUNT ? names[state] : "unknown";
}

void core_config_defaults(struct core_config *config)
{
    *config = (struct core_config){
        .scheduler =
            {
                .max_vms = CORE_VMS_MAX,
                .depth = WFQ_DEPTH_DEFAULT,
                .ahead_ns = WFQ_AHEAD_DEFAULT_NS,
                .handover_ns = WFQ_HANDOVER_DEFAULT_NS,
                .quantum_ns = WFQ_QUANTUM_DEFAULT_NS,
                .anticipation_ns = WFQ_ANTICIPATION_DEFAULT_NS,
                .patience_ns = WFQ_PATIENCE_DEFAULT_NS,
                .slack_permille = WFQ_SLACK_DEFAULT_PERMILLE,
                .policy = WFQ_POLICY_WFQ,
            },
        .overrun_ns = 100 * NS_PER_MS,
        .job_timeout_ns = 30 * NS_PER_S,
        .worker_start_timeout_ns = 20 * NS_PER_S,
        .linger_ns = 10 * NS_PER_S,
        .first_frame_ns = 10 * NS_PER_S,
        .fault_threshold = 5,
        .channel_memory_bytes = 8ull << 30,
        .channel_memory_vm_bytes = 1ull << 30,
    };
}

struct core *core_new(const struct core_config *config, const struct core_effects *effects)
{
    struct core *core = calloc(1, sizeof(*core));

    if (!core) {
        return NULL;
    }
    core->config = *config;
    core->config.scheduler.max_vms = CORE_VMS_MAX;
    core->config.scheduler.overrun_ns = config->overrun_ns;
    core->effects = *effects;
    core->watchdog = (struct watchdog_config){
        .overrun_ns = config->overrun_ns,
        .timeout_ns = config->job_timeout_ns,
        .fault_threshold = config->fault_threshold,
    };
    core->preferred_vm_id = CORE_NONE;
    core->vms = calloc(CORE_VMS_MAX, sizeof(*core->vms));
    core->sessions = calloc(CORE_SESSIONS_MAX, sizeof(*core->sessions));
    core->channels = calloc(CORE_CHANNELS_MAX, sizeof(*core->channels));
    core->metrics = metrics_new(CORE_VMS_MAX);
    if (!core->vms || !core->sessions || !core->channels || !core->metrics ||
        timers_init(&core->timers, CORE_VMS_MAX + CORE_SESSIONS_MAX) < 0) {
        core_free(core);
        return NULL;
    }
    return core;
}

void core_free(struct core *core)
{
    if (!core) {
        return;
    }
    for (uint32_t i = 0; i < CORE_GPUS_MAX; i++) {
        wfq_destroy(core->schedulers[i]);
    }
    for (uint32_t i = 0; core->vms && i < CORE_VMS_MAX; i++) {
        free(core->vms[i].jobs);
    }
    for (uint32_t i = 0; core->channels && i < CORE_CHANNELS_MAX; i++) {
        core_chunks_forget(&core->channels[i]);
    }
    timers_destroy(&core->timers);
    metrics_free(core->metrics);
    free(core->channels);
    free(core->sessions);
    free(core->vms);
    free(core);
}

struct metrics *core_metrics(const struct core *core)
{
    return core->metrics;
}

static void count_event(struct core *core, const struct core_event *event)
{
    switch (event->kind) {
    case CORE_EVENT_WORKER_LOST:
        metrics_record_count(core->metrics, event->vm, METRICS_WORKER_RESTARTS, 1);
        break;
    case CORE_EVENT_JOB_TIMEOUT:
    case CORE_EVENT_KERNEL_TIMEOUT:
        metrics_record_count(core->metrics, event->vm, METRICS_TIMEOUTS, 1);
        break;
    case CORE_EVENT_FAULT: metrics_record_count(core->metrics, event->vm, METRICS_FAULTS, 1); break;
    case CORE_EVENT_QUARANTINED:
        metrics_record_count(core->metrics, event->vm, METRICS_QUARANTINES, 1);
        break;
    default: break;
    }
}

/* What the configuration keeps of a VM. */
static bool is_fact(enum core_event_kind kind)
{
    return kind == CORE_EVENT_FAULT || kind == CORE_EVENT_QUARANTINED ||
           kind == CORE_EVENT_UNQUARANTINED;
}

void core_report(struct core *core, const struct core_event *event)
{
    struct core_event filled = *event;

    if (!filled.text) {
        filled.text = "";
    }
    if (filled.vm != CORE_NONE) {
        filled.vm_id = core->vms[filled.vm].config.vm_id;
    }
    count_event(core, event);
    core->effects.event(core->effects.opaque, &filled);
    if (core->effects.persist && is_fact(event->kind) && !core->applying) {
        core->effects.persist(core->effects.opaque, &filled);
    }
}

/* ---- time ---- */

/* Nothing is handed to a GPU that is not available, so nothing is due there. */
static uint64_t wakeup_ns(const struct core *core, uint32_t gpu)
{
    return core_gpu_available(core, gpu) ? wfq_next_wakeup_ns(core->schedulers[gpu]) : CORE_NEVER;
}

void core_tick(struct core *core, uint64_t now_ns)
{
    uint32_t object;

    while ((object = timers_take_due(&core->timers, now_ns)) != UINT32_MAX) {
        if (object < CORE_VMS_MAX) {
            core_vm_tick(core, object, now_ns);
        } else {
            core_session_tick(core, object - CORE_VMS_MAX, now_ns);
        }
    }
    for (uint32_t gpu = 0; gpu < core->placement.gpu_count; gpu++) {
        if (wakeup_ns(core, gpu) <= now_ns) {
            core_pump(core, gpu, now_ns);
        }
    }
}

uint64_t core_next_deadline_ns(const struct core *core)
{
    uint64_t next_ns = timers_next_ns(&core->timers);

    for (uint32_t gpu = 0; gpu < core->placement.gpu_count; gpu++) {
        uint64_t due_ns = wakeup_ns(core, gpu);

        next_ns = due_ns < next_ns ? due_ns : next_ns;
    }
    return next_ns;
}

/* ---- looking at it ---- */

uint32_t core_vm_find(const struct core *core, uint32_t vm_id)
{
    for (uint32_t slot = 0; slot < core->vm_high; slot++) {
        const struct core_vm *vm = &core->vms[slot];

        if (vm->used && !vm->removing && vm->config.vm_id == vm_id) {
            return slot;
        }
    }
    return CORE_NONE;
}

static struct core_vm_limits limits_of(const struct core_vm *vm)
{
    return (struct core_vm_limits){
        .jobs_per_sec = vm->limiter.rate_hz,
        .burst = vm->limiter.burst,
        .queue_depth = vm->limiter.queue_depth,
        .queue_depth_is_hard = vm->limiter.queue_depth != vm->config.max_queue_depth,
    };
}

bool core_vm_stats(const struct core *core, uint32_t slot, uint64_t now_ns,
                   struct core_vm_stats *stats)
{
    const struct core_vm *vm;

    if (slot >= core->vm_high || !core->vms[slot].used) {
        return false;
    }
    vm = &core->vms[slot];
    *stats = (struct core_vm_stats){
        .config = vm->config,
        .limits = limits_of(vm),
        .registered = vm->registered,
        .session = vm->session,
        .gpu = vm->gpu,
        .aside = vm->aside,
        .worker_state = vm->worker.state,
        .worker = vm->worker.handle,
        .worker_restarts = vm->worker.restarts,
        .fault_count = vm->watchdog.fault_count,
        .channels = vm->channel_count,
        .figures = vm->worker.figures,
        .queue_depth = vm->job_count - vm->in_flight_count,
        .in_flight = vm->in_flight_count,
        .submitted = vm->submitted,
        .completed = vm->completed,
        .errors = vm->errors,
        .dropped = vm->dropped,
        .rejected_rate = vm->rejected_rate,
        .rejected_queue = vm->rejected_queue,
        .rejected_quarantined = vm->rejected_quarantined,
        .invalid = vm->invalid,
        .timeouts = vm->timeouts,
        .gpu_time_ns = vm->gpu_time_ns,
        .entitled_ns = vm->entitled_ns,
        .kept_ns = vm->kept_ns,
        .switching_ns = vm->switching_ns,
    };
    stats->restart_needed = core_vm_device(core, slot, &stats->device);
    if (vm->gpu != CORE_NONE) {
        double sum = core->placement.load[vm->gpu];

        wfq_get_vm_stats(core->schedulers[vm->gpu], slot, now_ns, &stats->scheduler);
        stats->entitled_ns += stats->scheduler.entitled_ns;
        stats->kept_ns += stats->scheduler.kept_ns;
        stats->switching_ns += stats->scheduler.switching_ns;
        stats->due_share = sum > 0 ? vm->placed_share / sum : 0;
    }
    return true;
}

bool core_session_stats(const struct core *core, uint32_t session, struct core_session_stats *stats)
{
    const struct core_session *state;

    if (session >= CORE_SESSIONS_MAX || core->sessions[session].state == CORE_SESSION_FREE) {
        return false;
    }
    state = &core->sessions[session];
    *stats = (struct core_session_stats){
        .vm = state->vm,
        .hello = state->hello,
        .features = state->features,
        .opened_ns = state->opened_ns,
        .requests = state->requests,
        .protocol_errors = state->protocol_errors,
    };
    return true;
}
