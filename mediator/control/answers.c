/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/answers.h"

#include "common/clock.h"
#include "common/utc.h"
#include "mediator/config/config_store.h"
#include "mediator/control/holds.h"
#include "mediator/sessions/discovery.h"
#include "mediator/control/health_watch.h"
#include "mediator/gpu/gpu_health.h"
#include "mediator/health/health.h"
#include "mediator/workers/gpus.h"
#include "mediator/workers/keeper_link.h"
#include "common/json_out.h"
#include "common/ns.h"
#include "mediator/mediator.h"
#include "mediator/sessions/session_io.h"
#include "mediator/metrics/shares.h"
#include "mediator/workers/supervisor.h"

static bool is_paused(const struct core *core, uint32_t gpu)
{
    return wfq_paused(core_gpu_scheduler(core, gpu));
}

static const char *gpu_state(const struct core *core, uint32_t gpu)
{
    if (!core_gpu_available(core, gpu)) {
        return "failed";
    }
    return is_paused(core, gpu) ? "paused" : "ok";
}

/* One word for what the VM is doing. */
static const char *vm_state(const struct core_vm_stats *stats)
{
    if (stats->config.quarantined) {
        return "quarantined";
    }
    switch (stats->worker_state) {
    case CORE_WORKER_STARTING:
    case CORE_WORKER_STOPPING:
    case CORE_WORKER_BACKOFF: return core_worker_state_name(stats->worker_state);
    default: break;
    }
    if (stats->aside) {
        return "overrun";
    }
    return stats->queue_depth || stats->in_flight ? "active" : "idle";
}

static void put_pools(struct mediator *mediator, struct json_out *json)
{
    char letter_text[2] = "";

    jout_array(json, "pools");
    for (char letter = VGPU_POOL_FIRST; letter <= VGPU_POOL_LAST; letter++) {
        uint32_t mask = core_pool_gpus(mediator->core, letter);

        if (!mask) {
            continue;
        }
        letter_text[0] = letter;
        jout_object(json, NULL);
        jout_string(json, "pool", letter_text);
        jout_array(json, "gpus");
        for (uint32_t gpu = 0; gpu < CORE_GPUS_MAX; gpu++) {
            if (mask >> gpu & 1) {
                jout_uint(json, NULL, gpu);
            }
        }
        jout_array_end(json);
        jout_object_end(json);
    }
    jout_array_end(json);
}

/* Who paused it; null: nobody has. */
static void put_pause(const struct holds *holds, struct json_out *json, uint32_t gpu)
{
    const struct hold_gpu *hold = &holds->gpus[gpu];
    char since[UTC_BYTES];

    if (!holds_paused(holds, gpu)) {
        jout_null(json, "pause");
        return;
    }
    jout_object(json, "pause");
    jout_string(json, "since", utc_text((uint64_t)hold->since_s * NS_PER_S, 0, since));
    jout_int(json, "pid", hold->who.pid);
    jout_uint(json, "uid", hold->who.uid);
    jout_bool(json, "held", !hold->paused);
    jout_object_end(json);
}

static void put_gpu(struct mediator *mediator, struct json_out *json, uint32_t gpu)
{
    const struct core *core = mediator->core;
    const struct wfq *wfq = core_gpu_scheduler(core, gpu);
    int64_t holder = wfq_holder(wfq);
    struct core_vm_stats stats;

    jout_uint(json, "index", gpu);
    jout_string(json, "uuid", core_gpu_uuid(core, gpu));
    jout_string(json, "name", mediator->gpus->gpus[gpu].name);
    jout_string(json, "state", gpu_state(core, gpu));
    if (holder >= 0 && wfq_in_flight(wfq) &&
        core_vm_stats(core, (uint32_t)holder, clock_now_ns(), &stats)) {
        jout_uint(json, "running_vm", stats.config.vm_id);
    } else {
        jout_null(json, "running_vm");
    }
    jout_uint(json, "backlogged", wfq_backlogged(wfq));
    jout_uint(json, "queued", wfq_queue_len(wfq));
    jout_uint(json, "in_flight", wfq_in_flight(wfq));
    jout_uint(json, "context_switches", wfq_context_switches(wfq));
    jout_uint(json, "busy_ns", wfq_busy_ns(wfq));
    jout_uint(json, "memory_bytes", mediator->gpus->gpus[gpu].memory_bytes);
    put_pause(&mediator->holds, json, gpu);
    gpu_health_put_json(mediator->gpu_health, json, gpu);
}

static void put_gpus(struct mediator *mediator, struct json_out *json)
{
    jout_array(json, "gpus");
    for (uint32_t gpu = 0; gpu < core_gpu_count(mediator->core); gpu++) {
        jout_object(json, NULL);
        put_gpu(mediator, json, gpu);
        jout_object_end(json);
    }
    jout_array_end(json);
}

static void put_counters(struct json_out *json, const struct core_vm_stats *stats)
{
    jout_uint(json, "submitted", stats->submitted);
    jout_uint(json, "completed", stats->completed);
    jout_uint(json, "errors", stats->errors);
    jout_uint(json, "dropped", stats->dropped);
    jout_uint(json, "rejected_rate", stats->rejected_rate);
    jout_uint(json, "rejected_queue", stats->rejected_queue);
    jout_uint(json, "rejected_quarantined", stats->rejected_quarantined);
    jout_uint(json, "invalid", stats->invalid);
    jout_uint(json, "timeouts", stats->timeouts);
    jout_uint(json, "gpu_time_ns", stats->gpu_time_ns);
}

/* Of a device that can be told its values nothing is to be said. */
static void put_device(struct json_out *json, const struct core_vm_stats *stats)
{
    char pool[2] = {stats->device.pool, '\0'};

    jout_bool(json, "restart_needed", stats->restart_needed);
    if (!stats->device.known) {
        jout_null(json, "device");
        return;
    }
    jout_object(json, "device");
    jout_uint(json, "vm_id", stats->device.vm_id);
    jout_string(json, "pool", pool);
    jout_uint(json, "priority", stats->device.priority);
    jout_object_end(json);
}

/* What is enforced, where what is configured doesn't say it. */
static void put_limits(struct json_out *json, const struct core_vm_limits *limits)
{
    jout_object(json, "enforced");
    jout_uint(json, "jobs_per_sec", limits->jobs_per_sec);
    jout_uint(json, "burst", limits->jobs_per_sec ? limits->burst : 0);
    jout_uint(json, "queue_depth", limits->queue_depth);
    jout_bool(json, "queue_depth_is_hard", limits->queue_depth_is_hard);
    jout_object_end(json);
}

static void put_vm(struct mediator *mediator, struct json_out *json, uint32_t slot,
                   const struct core_vm_stats *stats)
{
    char pool[2] = {stats->config.pool, '\0'};
    pid_t pid = stats->worker ? supervisor_pid(mediator->supervisor, stats->worker) : 0;

    jout_uint(json, "vm_id", stats->config.vm_id);
    jout_uuid(json, "uuid", stats->config.has_uuid ? stats->config.uuid : NULL);
    jout_string(json, "name", stats->config.name);
    jout_string(json, "pool", pool);
    jout_uint(json, "priority", stats->config.priority);
    jout_double(json, "weight", stats->config.weight);
    jout_uint(json, "max_jobs_per_sec", stats->config.max_jobs_per_sec);
    jout_uint(json, "burst", stats->config.burst);
    jout_uint(json, "max_queue_depth", stats->config.max_queue_depth);
    jout_uint(json, "memory_limit_bytes", stats->config.memory_limit_bytes);
    jout_uint(json, "max_processes", stats->config.max_processes);
    jout_uint(json, "max_kernel_ms", stats->config.max_kernel_ms);
    jout_uint(json, "host_memory_bytes", stats->config.host_memory_bytes);
    jout_uint(json, "programs", stats->figures.programs);
    jout_uint(json, "launches", stats->figures.units);
    put_limits(json, &stats->limits);
    jout_bool(json, "registered", stats->registered);
    jout_bool(json, "connected", stats->session != CORE_NONE);
    jout_bool(json, "quarantined", stats->config.quarantined);
    jout_uint_if(json, "gpu", stats->gpu != CORE_NONE, stats->gpu);
    jout_string(json, "state", vm_state(stats));
    jout_uint(json, "queue_depth", stats->queue_depth);
    jout_uint(json, "in_flight", stats->in_flight);
    put_counters(json, stats);
    jout_double(json, "due_share", stats->due_share);
    jout_double(json, "share", shares_of_vm(mediator->shares, slot));
    jout_int(json, "lag_ns", stats->scheduler.lag_ns);
    jout_uint(json, "entitled_ns", stats->entitled_ns);
    jout_uint(json, "kept_idle_ns", stats->kept_ns);
    jout_uint(json, "switching_ns", stats->switching_ns);
    jout_bool(json, "suspended", stats->scheduler.suspended);
    jout_bool(json, "pausing", stats->scheduler.pausing);
    jout_uint(json, "average_execution_ns", stats->scheduler.average_execution_ns);
    jout_uint(json, "fault_count", stats->fault_count);
    jout_uint_if(json, "worker_pid", pid != 0, (uint64_t)pid);
    jout_uint(json, "worker_restarts", stats->worker_restarts);
    put_device(json, stats);
}

/* Who starts the workers, and what each of them has for itself. */
static void put_keeper(const struct keeper_link *keeper, struct json_out *json)
{
    static const struct {
        const char *key;
        uint32_t flag;
    } flags[] = {
        {"private", VGPU_KEEPER_PRIVATE},          {"own_uids", VGPU_KEEPER_OWN_UID},
        {"own_networks", VGPU_KEEPER_OWN_NETWORK}, {"own_ipc", VGPU_KEEPER_OWN_IPC},
        {"own_mounts", VGPU_KEEPER_OWN_MOUNTS},
    };
    const vgpu_keeper_welcome *welcome;

    if (!keeper) {
        jout_null(json, "keeper");
        return;
    }
    welcome = keeper_link_welcome(keeper);
    jout_object(json, "keeper");
    jout_uint_if(json, "pid", keeper_link_ready(keeper), welcome->pid);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        jout_bool(json, flags[i].key, (welcome->flags & flags[i].flag) != 0);
    }
    jout_uint(json, "uid_first",
              welcome->flags & VGPU_KEEPER_OWN_UID ? welcome->uid_base : welcome->uid);
    jout_uint(json, "uid_count", welcome->flags & VGPU_KEEPER_OWN_UID ? welcome->uid_count : 1);
    jout_uint(json, "losses", keeper_link_losses(keeper));
    jout_object_end(json);
}

void admin_json_status(struct mediator *mediator, struct json_out *json)
{
    const struct core *core = mediator->core;
    uint64_t now_ns = clock_now_ns();
    struct core_vm_stats stats;
    uint32_t gpus = core_gpu_count(core);
    bool paused = gpus > 0;

    for (uint32_t gpu = 0; gpu < gpus; gpu++) {
        paused &= is_paused(core, gpu);
    }
    jout_object(json, NULL);
    jout_string(json, "version", VGPU_VERSION);
    jout_double(json, "uptime_s", (double)(now_ns - mediator->started_ns) / NS_PER_S);
    jout_string(json, "policy", wfq_policy_name(core_policy(core)));
    jout_bool(json, "paused", paused);
    jout_string(json, "backend", mediator->backend);
    jout_string(json, "database", mediator->config ? config_store_path(mediator->config) : NULL);
    put_keeper(mediator->keeper, json);
    put_pools(mediator, json);
    put_gpus(mediator, json);
    jout_array(json, "vms");
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        if (core_vm_stats(core, slot, now_ns, &stats)) {
            jout_object(json, NULL);
            put_vm(mediator, json, slot, &stats);
            jout_object_end(json);
        }
    }
    jout_array_end(json);
    jout_object_end(json);
}

/* Of its programs on the CUDA driver interface; null: it has had none. */
static void put_figures(struct json_out *json, const vgpu_worker_figures *figures)
{
    if (!figures) {
        jout_null(json, "cuda");
        return;
    }
    jout_object(json, "cuda");
    jout_uint(json, "programs", figures->programs);
    jout_uint(json, "contexts", figures->contexts);
    jout_uint(json, "memory_bytes", figures->memory_bytes);
    jout_uint(json, "units", figures->units);
    jout_uint(json, "copies", figures->copies);
    jout_uint(json, "turns", figures->turns);
    jout_uint(json, "refused", figures->refused);
    jout_object_end(json);
}

static void put_workers(struct mediator *mediator, struct json_out *json)
{
    struct core_vm_stats stats;

    jout_array(json, "workers");
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        pid_t pid;

        if (!core_vm_stats(mediator->core, slot, clock_now_ns(), &stats) ||
            (stats.worker_state == CORE_WORKER_NONE && stats.worker_restarts == 0)) {
            continue;
        }
        pid = stats.worker ? supervisor_pid(mediator->supervisor, stats.worker) : 0;
        jout_object(json, NULL);
        jout_uint(json, "vm_id", stats.config.vm_id);
        jout_uint_if(json, "gpu", stats.gpu != CORE_NONE, stats.gpu);
        jout_uint_if(json, "pid", pid != 0, (uint64_t)pid);
        jout_string(json, "state", core_worker_state_name(stats.worker_state));
        jout_uint(json, "restarts", stats.worker_restarts);
        if (pid && stats.gpu != CORE_NONE) {
            jout_uint(json, "gpu_memory_bytes",
                      gpu_health_process_bytes(mediator->gpu_health, stats.gpu, (uint32_t)pid));
        } else {
            jout_null(json, "gpu_memory_bytes");
        }
        put_figures(json,
                    stats.worker ? supervisor_figures(mediator->supervisor, stats.worker) : NULL);
        jout_object_end(json);
    }
    jout_array_end(json);
}

static void put_qemus(struct json_out *json, const struct discovery *discovery,
                      const struct discovery_left_out *left_out)
{
    jout_uint(json, "qemus", discovery ? discovery_count(discovery) : 0);
    jout_uint(json, "qemus_limit", DISCOVERY_QEMUS_MAX);
    jout_uint(json, "qemus_left_out", left_out->count);
    jout_uint_if(json, "qemu_left_out_pid", left_out->count > 0, (uint64_t)left_out->pid);
}

static void put_problems(struct json_out *json, const struct health *health)
{
    const struct health_problem *problem;

    jout_array(json, "problems");
    for (uint32_t i = 0; (problem = health_at(health, i)); i++) {
        jout_object(json, NULL);
        jout_string(json, "kind", health_kind_name(problem->kind));
        jout_string(json, "severity", problem->severity == HEALTH_ERROR ? "error" : "warning");
        jout_string(json, "subject", problem->subject);
        jout_string(json, "text", problem->text);
        jout_object_end(json);
    }
    jout_array_end(json);
}

void admin_json_health(struct mediator *mediator, struct json_out *json)
{
    const char *trouble = mediator->config ? config_store_trouble(mediator->config) : "";
    struct discovery_left_out left_out = {0};

    health_watch_look(mediator->health_watch);
    if (mediator->discovery) {
        left_out = discovery_left_out(mediator->discovery);
    }
    jout_object(json, NULL);
    jout_object(json, "mediator");
    jout_bool(json, "ok", health_good(mediator->health));
    jout_string(json, "version", VGPU_VERSION);
    jout_double(json, "uptime_s", (double)(clock_now_ns() - mediator->started_ns) / NS_PER_S);
    jout_uint(json, "sessions", session_io_count(mediator->sessions));
    jout_uint(json, "workers", supervisor_count(mediator->supervisor));
    put_qemus(json, mediator->discovery, &left_out);
    jout_string(json, "backend", mediator->backend);
    jout_string(json, "backend_reason", mediator->gpus->reason);
    jout_string(json, "nvml_error", gpu_health_trouble(mediator->gpu_health));
    if (mediator->config) {
        jout_object(json, "database");
        jout_string(json, "path", config_store_path(mediator->config));
        jout_bool(json, "ok", !trouble[0]);
        jout_string(json, "error", trouble);
        jout_uint(json, "dropped", config_store_dropped(mediator->config));
        jout_object_end(json);
    } else {
        jout_null(json, "database");
    }
    jout_object_end(json);
    put_problems(json, mediator->health);
    put_gpus(mediator, json);
    put_workers(mediator, json);
    jout_object_end(json);
}

struct connections {
    struct mediator *mediator;
    struct json_out *json;
};

/* How a session's channels reach their memory; a device without any has its frames. */
static const char *transport_name(uint32_t features, uint32_t transports)
{
    const uint32_t shared = 1u << VGPU_TRANSPORT_SHARED, copied = 1u << VGPU_TRANSPORT_COPIED;

    if (features & VGPU_FEATURE_HOST) {
        return "host";
    }
    if ((transports & (shared | copied)) == (shared | copied)) {
        return "shared+copied";
    }
    return transports & shared ? "shared" : transports & copied ? "copied" : "frames";
}

static void put_connection(void *opaque, const struct session_info *info)
{
    struct connections *connections = opaque;
    struct json_out *json = connections->json;
    const struct core *core = connections->mediator->core;
    uint64_t now_ns = clock_now_ns();
    struct core_session_stats session;
    struct core_vm_stats vm;
    bool bound;

    if (!core_session_stats(core, info->session, &session)) {
        return;
    }
    bound = session.vm != CORE_NONE && core_vm_stats(core, session.vm, now_ns, &vm);
    jout_object(json, NULL);
    jout_uint(json, "session", info->session);
    if (bound) {
        jout_uint(json, "vm_id", vm.config.vm_id);
        jout_uuid(json, "uuid", vm.config.has_uuid ? vm.config.uuid : NULL);
    } else {
        jout_null(json, "vm_id");
        jout_null(json, "uuid");
    }
    jout_int(json, "pid", info->peer.pid);
    jout_uint(json, "uid", info->peer.uid);
    jout_string(json, "path", info->path);
    jout_double(json, "since_s", (double)(now_ns - session.opened_ns) / NS_PER_S);
    jout_string(json, "protocol", session.hello ? "1.0+hello" : "1.0");
    jout_string(json, "transport",
                transport_name(session.features, core_session_transports(core, info->session)));
    jout_uint(json, "channels", core_session_channels(connections->mediator->core, info->session));
    jout_uint(json, "requests", session.requests);
    jout_uint(json, "protocol_errors", session.protocol_errors);
    jout_object_end(json);
}

void admin_json_connections(struct mediator *mediator, struct json_out *json)
{
    struct connections connections = {mediator, json};

    jout_object(json, NULL);
    jout_array(json, "connections");
    session_io_each(mediator->sessions, put_connection, &connections);
    jout_array_end(json);
    jout_object_end(json);
}

static void put_dispatch(struct mediator *mediator, struct json_out *json, uint32_t gpu,
                         const struct wfq_dispatch *dispatch)
{
    struct core_vm_stats stats;

    jout_object(json, NULL);
    jout_uint(json, "seq", dispatch->sequence);
    jout_uint(json, "time_ns", dispatch->time_ns);
    jout_uint(json, "gpu", gpu);
    if (core_vm_stats(mediator->core, dispatch->vm, clock_now_ns(), &stats)) {
        jout_uint(json, "vm_id", stats.config.vm_id);
    } else {
        jout_null(json, "vm_id"); /* it was removed since */
    }
    jout_uint(json, "job_seq", dispatch->job_sequence);
    jout_uint(json, "waited_ns", dispatch->waited_ns);
    jout_double(json, "urgency", dispatch->urgency);
    jout_int(json, "lag_ns", dispatch->lag_ns);
    jout_uint(json, "waiting_vms", dispatch->waiting_vms);
    jout_uint(json, "eligible_vms", dispatch->eligible_vms);
    jout_string(json, "reason", wfq_reason_name(dispatch->reason));
    jout_object_end(json);
}

void admin_json_schedule(struct mediator *mediator, struct json_out *json)
{
    struct wfq_dispatch dispatches[WFQ_DISPATCH_LOG];

    jout_object(json, NULL);
    jout_string(json, "policy", wfq_policy_name(core_policy(mediator->core)));
    jout_uint(json, "now_ns", clock_now_ns());
    jout_array(json, "dispatches");
    for (uint32_t gpu = 0; gpu < core_gpu_count(mediator->core); gpu++) {
        uint32_t count =
            wfq_dispatch_log(core_gpu_scheduler(mediator->core, gpu), dispatches, WFQ_DISPATCH_LOG);

        for (uint32_t i = 0; i < count; i++) {
            put_dispatch(mediator, json, gpu, &dispatches[i]);
        }
    }
    jout_array_end(json);
    jout_object_end(json);
}
