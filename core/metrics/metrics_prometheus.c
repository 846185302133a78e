/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prometheus' text format 0.0.4.
 *
 * A table of families says what there is; a piece is the family's HELP and TYPE,
 * or its lines for one VM or GPU.  Families without a line now (no NVML) keep
 * their head, so that what exists can be seen in any export.
 */
#include <math.h>
#include <string.h>

#include "common/request.h"
#include "common/ns.h"
#include "common/unused.h"
#include "common/uuid.h"
#include "core/metrics/metrics_export_internal.h"
#include "core/metrics/prometheus_line.h"

enum scope {
    SCOPE_MEDIATOR, /* one piece */
    SCOPE_VM,
    SCOPE_GPU,
};

struct family {
    const char *name, *type, *help;
    enum scope scope;
    void (*write)(struct text_out *out, const struct metrics_export *export,
                  const struct family *family, uint32_t index);
    uint32_t what; /* which of them, for `write` */
};

/* ---- labels ---- */

#define LABELS_BYTES 320u

/* Labels without the braces: written once, used for many lines. */
static void vm_labels(struct text_out *labels, char *buffer, const struct metrics_export *export,
                      uint32_t index)
{
    const struct export_vm *vm = &export->vms[index];

    text_init(labels, buffer, LABELS_BYTES);
    text_string(labels, "vm=");
    text_quoted(labels, metrics_vm_label(export->metrics, vm->slot));
    text_string(labels, ",pool=\"");
    text_char(labels, vm->pool);
    text_string(labels, "\",gpu=\"");
    if (vm->gpu != CORE_NONE) {
        text_uint(labels, vm->gpu);
    }
    text_char(labels, '"');
}

static void gpu_labels(struct text_out *labels, char *buffer, uint32_t gpu)
{
    text_init(labels, buffer, LABELS_BYTES);
    text_string(labels, "gpu=\"");
    text_uint(labels, gpu);
    text_char(labels, '"');
}

/* ---- of VMs, or in all: a VM's labels, or none ---- */

/* Slot to read, and the labels to write. */
static uint32_t subject(const struct metrics_export *export, const struct family *family,
                        uint32_t index, struct text_out *labels, char *buffer)
{
    if (family->scope != SCOPE_VM) {
        *labels = (struct text_out){0};
        return METRICS_NO_VM;
    }
    vm_labels(labels, buffer, export, index);
    return export->vms[index].slot;
}

static void write_counter(struct text_out *out, const struct metrics_export *export,
                          const struct family *family, uint32_t index)
{
    char buffer[LABELS_BYTES];
    struct text_out labels;
    uint32_t vm = subject(export, family, index, &labels, buffer);
    uint64_t value = metrics_count(export->metrics, vm, (enum metrics_counter)family->what);
    const struct text_out *shown = labels.used ? &labels : NULL;

    if (family->what == METRICS_GPU_TIME_NS) {
        prom_seconds(out, family->name, shown, value);
    } else {
        prom_uint(out, family->name, shown, value);
    }
}

enum reasons { REASONS_ERROR, REASONS_REJECTION };

/* These are shown before they happen, so that their first time is seen as an increase. */
static bool reason_expected(enum reasons kind, enum vgpu_error reason)
{
    switch (reason) {
    case VGPU_ERR_TIMEOUT:
    case VGPU_ERR_CUDA_ERROR:
    case VGPU_ERR_MEMORY_LIMIT: return kind == REASONS_ERROR;
    case VGPU_ERR_RATE_LIMITED:
    case VGPU_ERR_QUEUE_FULL:
    case VGPU_ERR_VM_QUARANTINED:
    case VGPU_ERR_INVALID_REQUEST: return kind == REASONS_REJECTION;
    case VGPU_ERR_GPU_UNAVAILABLE: return true;
    default: return false;
    }
}

static void write_reasons(struct text_out *out, const struct metrics_export *export,
                          const struct family *family, uint32_t index)
{
    char buffer[LABELS_BYTES];
    struct text_out labels;
    uint32_t vm = subject(export, family, index, &labels, buffer);

    for (uint32_t reason = 1; reason < VGPU_ERR_COUNT; reason++) {
        uint64_t value = family->what == REASONS_ERROR
                             ? metrics_errors(export->metrics, vm, (enum vgpu_error)reason)
                             : metrics_rejections(export->metrics, vm, (enum vgpu_error)reason);

        if (value == 0 && !reason_expected((enum reasons)family->what, (enum vgpu_error)reason)) {
            continue;
        }
        text_string(out, family->name);
        text_char(out, '{');
        text_bytes(out, labels.text, labels.used);
        text_string(out, labels.used ? ",reason=\"" : "reason=\"");
        text_lower(out, request_error_name(reason));
        text_string(out, "\"} ");
        text_uint(out, value);
        text_char(out, '\n');
    }
}

/* VMs that had no job have no histograms: a thousand idle VMs stay cheap. */
static void write_histogram(struct text_out *out, const struct metrics_export *export,
                            const struct family *family, uint32_t index)
{
    char buffer[LABELS_BYTES];
    struct text_out labels;
    uint32_t vm = subject(export, family, index, &labels, buffer);
    const struct metrics_histogram *values =
        metrics_histogram_of(export->metrics, vm, (enum metrics_part)family->what);

    if (values->count > 0 || vm == METRICS_NO_VM) {
        prom_histogram(out, family->name, labels.used ? &labels : NULL, values);
    }
}

enum vm_gauge {
    VM_QUEUE_DEPTH,
    VM_IN_FLIGHT,
    VM_SHARE_DUE,
    VM_SHARE_RECEIVED,
    VM_LAG,
    VM_CONNECTED,
    VM_QUARANTINED,
    VM_FAULTS,
    VM_WEIGHT,
    VM_PRIORITY,
    VM_WORKER_READY,
    VM_OVERRUNNING,
    VM_SUSPENDED,
    VM_PAUSING,
};

static double vm_gauge_value(const struct export_vm *vm, enum vm_gauge gauge)
{
    switch (gauge) {
    case VM_QUEUE_DEPTH: return vm->queue_depth;
    case VM_IN_FLIGHT: return vm->in_flight;
    case VM_SHARE_DUE: return vm->share_due;
    case VM_SHARE_RECEIVED: return vm->share_received;
    case VM_LAG: return (double)vm->lag_ns / NS_PER_S;
    case VM_CONNECTED: return vm->connected;
    case VM_QUARANTINED: return vm->quarantined;
    case VM_FAULTS: return vm->faults;
    case VM_WEIGHT: return vm->weight;
    case VM_PRIORITY: return vm->priority;
    case VM_WORKER_READY: return vm->worker_state == CORE_WORKER_READY;
    case VM_OVERRUNNING: return vm->aside;
    case VM_SUSPENDED: return vm->suspended;
    case VM_PAUSING: return vm->pausing;
    }
    return NAN;
}

static void write_vm_gauge(struct text_out *out, const struct metrics_export *export,
                           const struct family *family, uint32_t index)
{
    char buffer[LABELS_BYTES];
    struct text_out labels;

    vm_labels(&labels, buffer, export, index);
    prom_double(out, family->name, &labels,
                vm_gauge_value(&export->vms[index], (enum vm_gauge)family->what));
}

/* What the scheduler counts. */
enum vm_seconds {
    VM_ENTITLED,
    VM_KEPT_IDLE,
    VM_SWITCHING,
};

static uint64_t vm_seconds_ns(const struct export_vm *vm, enum vm_seconds what)
{
    switch (what) {
    case VM_ENTITLED: return vm->entitled_ns;
    case VM_KEPT_IDLE: return vm->kept_ns;
    case VM_SWITCHING: return vm->switching_ns;
    }
    return 0;
}

static void write_vm_seconds(struct text_out *out, const struct metrics_export *export,
                             const struct family *family, uint32_t index)
{
    char buffer[LABELS_BYTES];
    struct text_out labels;

    vm_labels(&labels, buffer, export, index);
    prom_seconds(out, family->name, &labels,
                 vm_seconds_ns(&export->vms[index], (enum vm_seconds)family->what));
}

static void write_vm_info(struct text_out *out, const struct metrics_export *export,
                          const struct family *family, uint32_t index)
{
    const struct export_vm *vm = &export->vms[index];
    char uuid[UUID_TEXT_BYTES];

    text_string(out, family->name);
    text_string(out, "{vm=");
    text_quoted(out, metrics_vm_label(export->metrics, vm->slot));
    text_string(out, ",vm_id=\"");
    text_uint(out, vm->vm_id);
    text_string(out, "\",uuid=\"");
    if (vm->has_uuid) {
        uuid_format(vm->uuid, uuid);
        text_string(out, uuid);
    }
    text_string(out, "\"} 1\n");
}

/* ---- of GPUs ---- */

static void write_gpu_info(struct text_out *out, const struct metrics_export *export,
                           const struct family *family, uint32_t gpu)
{
    const char *name = export->external.gpu_names[gpu];

    text_string(out, family->name);
    text_string(out, "{gpu=\"");
    text_uint(out, gpu);
    text_string(out, "\",uuid=");
    text_quoted(out, core_gpu_uuid(export->core, gpu));
    text_string(out, ",name=");
    text_quoted(out, name ? name : "");
    text_string(out, "} 1\n");
}

enum gpu_value {
    GPU_AVAILABLE,
    GPU_PAUSED,
    GPU_VMS,
    GPU_QUEUE_DEPTH,
    GPU_IN_FLIGHT,
    GPU_BUSY_SECONDS,
    GPU_CONTEXT_SWITCHES,
    GPU_RESETS,
    GPU_TEMPERATURE,
    GPU_POWER,
    GPU_POWER_LIMIT,
    GPU_UTILIZATION,
    GPU_MEMORY_USED,
    GPU_MEMORY_TOTAL,
    GPU_MEMORY_UTILIZATION,
    GPU_SM_CLOCK,
    GPU_ECC_CORRECTED,
    GPU_ECC_UNCORRECTED,
    GPU_XID_ERRORS,
    GPU_AGE,
    GPU_THROTTLED,
    GPU_RESET_REQUIRED,
};

static double gpu_value_of(const struct metrics_export *export, uint32_t gpu, enum gpu_value value)
{
    const struct export_gpu *own = &export->gpus[gpu];
    const struct metrics_gpu_readings *readings = &export->external.gpus[gpu];

    switch (value) {
    case GPU_AVAILABLE: return own->available;
    case GPU_PAUSED: return own->paused;
    case GPU_VMS: return own->vms;
    case GPU_QUEUE_DEPTH: return own->queue_depth;
    case GPU_IN_FLIGHT: return own->in_flight;
    case GPU_BUSY_SECONDS: return (double)own->busy_ns / NS_PER_S;
    case GPU_CONTEXT_SWITCHES: return (double)metrics_gpu_context_switches(export->metrics, gpu);
    case GPU_RESETS: return (double)metrics_gpu_resets(export->metrics, gpu);
    case GPU_TEMPERATURE: return readings->temperature_celsius;
    case GPU_POWER: return readings->power_watts;
    case GPU_POWER_LIMIT: return readings->power_limit_watts;
    case GPU_UTILIZATION: return readings->utilization_ratio;
    case GPU_MEMORY_USED: return readings->memory_used_bytes;
    case GPU_MEMORY_TOTAL: return readings->memory_total_bytes;
    case GPU_MEMORY_UTILIZATION: return readings->memory_utilization_ratio;
    case GPU_SM_CLOCK: return readings->sm_clock_hertz;
    case GPU_ECC_CORRECTED: return readings->ecc_corrected;
    case GPU_ECC_UNCORRECTED: return readings->ecc_uncorrected;
    case GPU_XID_ERRORS: return readings->xid_errors;
    case GPU_AGE: return readings->age_seconds;
    case GPU_THROTTLED: return readings->throttled;
    case GPU_RESET_REQUIRED: return readings->reset_required;
    }
    return NAN;
}

static void write_gpu_value(struct text_out *out, const struct metrics_export *export,
                            const struct family *family, uint32_t gpu)
{
    char buffer[LABELS_BYTES];
    struct text_out labels;

    gpu_labels(&labels, buffer, gpu);
    prom_double(out, family->name, &labels,
                gpu_value_of(export, gpu, (enum gpu_value)family->what));
}

/* ---- of the mediator ---- */

enum mediator_value {
    MEDIATOR_SESSIONS,
    MEDIATOR_WORKERS,
    MEDIATOR_VMS,
    MEDIATOR_ADMIN_CLIENTS,
    MEDIATOR_HTTP_CLIENTS,
    PROCESS_START_TIME,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_OPEN_FDS,
};

static void write_mediator_value(struct text_out *out, const struct metrics_export *export,
                                 const struct family *family, UNUSED uint32_t index)
{
    const struct metrics_external *external = &export->external;
    double value = NAN;

    switch ((enum mediator_value)family->what) {
    case MEDIATOR_SESSIONS: value = external->sessions; break;
    case MEDIATOR_WORKERS: value = external->workers; break;
    case MEDIATOR_VMS: value = export->vm_count; break;
    case MEDIATOR_ADMIN_CLIENTS: value = external->admin_clients; break;
    case MEDIATOR_HTTP_CLIENTS: value = external->http_clients; break;
    case PROCESS_START_TIME: value = external->start_time_seconds; break;
    case PROCESS_CPU: value = external->cpu_seconds; break;
    case PROCESS_MEMORY: value = external->resident_memory_bytes; break;
    case PROCESS_OPEN_FDS: value = external->open_fds; break;
    }
    prom_double(out, family->name, NULL, value);
}

static void write_build(struct text_out *out, const struct metrics_export *export,
                        const struct family *family, UNUSED uint32_t index)
{
    text_string(out, family->name);
    text_string(out, "{version=");
    text_quoted(out, export->external.version ? export->external.version : "");
    text_string(out, ",backend=");
    text_quoted(out, export->external.backend ? export->external.backend : "");
    text_string(out, ",policy=\"");
    text_string(out, wfq_policy_name(export->policy));
    text_string(out, "\"} 1\n");
}

static void write_health(struct text_out *out, const struct metrics_export *export,
                         const struct family *family, UNUSED uint32_t index)
{
    const struct metrics_external *external = &export->external;

    for (uint32_t i = 0; i < external->health_kind_count && i < METRICS_HEALTH_KINDS_MAX; i++) {
        text_string(out, family->name);
        text_string(out, "{kind=");
        text_quoted(out, external->health_kinds[i]);
        text_string(out, "} ");
        text_uint(out, (uint64_t)external->health_problems[i]);
        text_string(out, "\n");
    }
}

static void write_loop(struct text_out *out, const struct metrics_export *export,
                       const struct family *family, UNUSED uint32_t index)
{
    prom_histogram(out, family->name, NULL, &export->external.loop);
}

/* ---- the table ---- */

#define COUNTER(scope, name, what, help)                                                           \
    {                                                                                              \
        name, "counter", help, scope, write_counter, what                                          \
    }
#define REASONS(scope, name, what, help)                                                           \
    {                                                                                              \
        name, "counter", help, scope, write_reasons, what                                          \
    }
#define HISTOGRAM(scope, name, what, help)                                                         \
    {                                                                                              \
        name, "histogram", help, scope, write_histogram, what                                      \
    }
#define VM_GAUGE(name, what, help)                                                                 \
    {                                                                                              \
        name, "gauge", help, SCOPE_VM, write_vm_gauge, what                                        \
    }
#define VM_SECONDS(name, what, help)                                                               \
    {                                                                                              \
        name, "counter", help, SCOPE_VM, write_vm_seconds, what                                    \
    }
#define GPU_VALUE(name, type, what, help)                                                          \
    {                                                                                              \
        name, type, help, SCOPE_GPU, write_gpu_value, what                                         \
    }
#define MEDIATOR_VALUE(name, type, what, help)                                                     \
    {                                                                                              \
        name, type, help, SCOPE_MEDIATOR, write_mediator_value, what                               \
    }

static const struct family families[] = {
    /* in all, also of VMs that are gone */
    {"vgpu_mediator_build_info", "gauge",
     "Version, backend and scheduling policy of vgpu-mediator.", SCOPE_MEDIATOR, write_build, 0},
    {"vgpu_health_problems", "gauge",
     "Problems that vgpu-admin show-health lists now, by kind; 0: none.", SCOPE_MEDIATOR,
     write_health, 0},
    COUNTER(SCOPE_MEDIATOR, "vgpu_mediator_jobs_accepted_total", METRICS_ACCEPTED,
            "Requests of all VMs that were accepted as jobs."),
    COUNTER(SCOPE_MEDIATOR, "vgpu_mediator_jobs_total", METRICS_JOBS,
            "Jobs of all VMs that a worker ended, well or badly."),
    REASONS(SCOPE_MEDIATOR, "vgpu_mediator_job_errors_total", REASONS_ERROR,
            "Jobs of all VMs that were answered with an error."),
    REASONS(SCOPE_MEDIATOR, "vgpu_mediator_job_rejections_total", REASONS_REJECTION,
            "Requests of all VMs that were refused before they became jobs."),
    HISTOGRAM(SCOPE_MEDIATOR, "vgpu_mediator_job_seconds", METRICS_TOTAL,
              "Time from acceptance to answer, jobs of all VMs."),
    COUNTER(SCOPE_MEDIATOR, "vgpu_mediator_gpu_seconds_total", METRICS_GPU_TIME_NS,
            "GPU time charged to all VMs."),
    MEDIATOR_VALUE("vgpu_mediator_sessions", "gauge", MEDIATOR_SESSIONS, "Connections of devices."),
    MEDIATOR_VALUE("vgpu_mediator_workers", "gauge", MEDIATOR_WORKERS, "Worker processes."),
    MEDIATOR_VALUE("vgpu_mediator_vms", "gauge", MEDIATOR_VMS, "VMs that the mediator knows."),
    MEDIATOR_VALUE("vgpu_mediator_admin_clients", "gauge", MEDIATOR_ADMIN_CLIENTS,
                   "Connections to the admin socket."),
    MEDIATOR_VALUE("vgpu_mediator_http_clients", "gauge", MEDIATOR_HTTP_CLIENTS,
                   "Connections to the metrics port."),
    {"vgpu_mediator_loop_seconds", "histogram",
     "How long the event loop was busy at a time: the most that anything waits for it.",
     SCOPE_MEDIATOR, write_loop, 0},
    MEDIATOR_VALUE("process_start_time_seconds", "gauge", PROCESS_START_TIME,
                   "Start time of the process, since the Unix epoch."),
    MEDIATOR_VALUE("process_cpu_seconds_total", "counter", PROCESS_CPU,
                   "User and system CPU time of the mediator, without its workers."),
    MEDIATOR_VALUE("process_resident_memory_bytes", "gauge", PROCESS_MEMORY,
                   "Resident memory of the mediator."),
    MEDIATOR_VALUE("process_open_fds", "gauge", PROCESS_OPEN_FDS,
                   "Open file descriptors of the mediator."),

    /* VMs: jobs */
    {"vgpu_vm_info", "gauge", "The VM's vm_id and UUID.", SCOPE_VM, write_vm_info, 0},
    COUNTER(SCOPE_VM, "vgpu_jobs_accepted_total", METRICS_ACCEPTED,
            "Requests that were accepted as jobs."),
    COUNTER(SCOPE_VM, "vgpu_jobs_total", METRICS_JOBS, "Jobs that a worker ended, well or badly."),
    COUNTER(SCOPE_VM, "vgpu_jobs_dropped_total", METRICS_DROPPED,
            "Jobs whose VM had disconnected before the answer."),
    REASONS(SCOPE_VM, "vgpu_job_errors_total", REASONS_ERROR,
            "Jobs that were answered with an error, by its kind."),
    REASONS(SCOPE_VM, "vgpu_job_rejections_total", REASONS_REJECTION,
            "Requests that were refused before they became jobs, by reason."),
    COUNTER(SCOPE_VM, "vgpu_job_timeouts_total", METRICS_TIMEOUTS,
            "Jobs that ran past the time limit and were killed."),
    HISTOGRAM(SCOPE_VM, "vgpu_job_seconds", METRICS_TOTAL,
              "Time from acceptance of a job to its answer."),
    HISTOGRAM(SCOPE_VM, "vgpu_job_queue_seconds", METRICS_QUEUE,
              "The part of vgpu_job_seconds until it was the job's turn."),
    HISTOGRAM(SCOPE_VM, "vgpu_job_transport_seconds", METRICS_TRANSPORT,
              "The part of vgpu_job_seconds that went into sockets and hand-over."),
    HISTOGRAM(SCOPE_VM, "vgpu_job_gpu_seconds", METRICS_GPU,
              "The part of vgpu_job_seconds that the job had the GPU."),
    COUNTER(SCOPE_VM, "vgpu_request_bytes_total", METRICS_REQUEST_BYTES,
            "Bytes of accepted requests."),
    COUNTER(SCOPE_VM, "vgpu_response_bytes_total", METRICS_RESPONSE_BYTES,
            "Bytes of answers, refusals too."),

    /* VMs: shares */
    COUNTER(SCOPE_VM, "vgpu_gpu_seconds_total", METRICS_GPU_TIME_NS, "GPU time charged to the VM."),
    VM_GAUGE("vgpu_share_due_ratio", VM_SHARE_DUE,
             "Share of its GPU that the VM is due when all VMs placed there want more."),
    VM_GAUGE("vgpu_share_received_ratio", VM_SHARE_RECEIVED,
             "Part of the GPU time used on its GPU in the last minute that the VM had."),
    VM_GAUGE("vgpu_lag_seconds", VM_LAG,
             "GPU time that the VM is owed; below 0: had ahead of its share."),
    VM_SECONDS("vgpu_vm_entitled_seconds_total", VM_ENTITLED,
               "The VM's due part of the time in which it had work."),
    VM_SECONDS("vgpu_vm_kept_idle_seconds_total", VM_KEPT_IDLE,
               "Time that the GPU was kept idle for the VM's next job."),
    VM_SECONDS("vgpu_vm_switching_seconds_total", VM_SWITCHING,
               "GPU time lost to switches that the VM caused, by going idle early or cutting in."),
    VM_GAUGE("vgpu_vm_suspended", VM_SUSPENDED,
             "1: the VM runs only when nobody else can, until its debt is made good."),
    VM_GAUGE("vgpu_vm_pausing", VM_PAUSING,
             "1: the VM has no work for a moment, and keeps what it is owed."),
    VM_GAUGE("vgpu_queue_depth", VM_QUEUE_DEPTH, "Jobs that wait."),
    VM_GAUGE("vgpu_jobs_in_flight", VM_IN_FLIGHT, "Jobs handed to the VM's worker."),
    COUNTER(SCOPE_VM, "vgpu_context_switches_total", METRICS_CONTEXT_SWITCHES,
            "Turns on the GPU that began with this VM after another's."),
    VM_GAUGE("vgpu_vm_weight", VM_WEIGHT, "Configured weight, 1 to 100."),
    VM_GAUGE("vgpu_vm_priority", VM_PRIORITY, "Configured priority: 0 low, 1 medium, 2 high."),

    /* VMs: health */
    VM_GAUGE("vgpu_vm_connected", VM_CONNECTED, "1: the VM's device is connected."),
    VM_GAUGE("vgpu_vm_worker_ready", VM_WORKER_READY, "1: the VM's worker takes jobs."),
    VM_GAUGE("vgpu_vm_overrunning", VM_OVERRUNNING,
             "1: the VM's job runs so long that others are let in beside it."),
    VM_GAUGE("vgpu_vm_quarantined", VM_QUARANTINED,
             "1: the VM's requests are refused until an administrator clears it."),
    VM_GAUGE("vgpu_vm_faults", VM_FAULTS, "Faults since the count was last cleared."),
    COUNTER(SCOPE_VM, "vgpu_faults_total", METRICS_FAULTS,
            "Jobs that broke their worker, their GPU context or the time limit."),
    COUNTER(SCOPE_VM, "vgpu_quarantines_total", METRICS_QUARANTINES,
            "Times that the VM was quarantined."),
    COUNTER(SCOPE_VM, "vgpu_worker_restarts_total", METRICS_WORKER_RESTARTS,
            "Workers of the VM that were lost and have to be started again."),

    /* GPUs */
    {"vgpu_gpu_info", "gauge", "The GPU's UUID and name.", SCOPE_GPU, write_gpu_info, 0},
    GPU_VALUE("vgpu_gpu_available", "gauge", GPU_AVAILABLE, "1: jobs are sent to the GPU."),
    GPU_VALUE("vgpu_gpu_paused", "gauge", GPU_PAUSED, "1: an administrator paused the GPU."),
    GPU_VALUE("vgpu_gpu_vms", "gauge", GPU_VMS, "VMs that have their place on the GPU."),
    GPU_VALUE("vgpu_gpu_queue_depth", "gauge", GPU_QUEUE_DEPTH, "Jobs that wait for the GPU."),
    GPU_VALUE("vgpu_gpu_jobs_in_flight", "gauge", GPU_IN_FLIGHT, "Jobs handed to workers."),
    GPU_VALUE("vgpu_gpu_busy_seconds_total", "counter", GPU_BUSY_SECONDS,
              "GPU time charged to VMs."),
    GPU_VALUE("vgpu_gpu_context_switches_total", "counter", GPU_CONTEXT_SWITCHES,
              "Turns that began with another VM than the one before."),
    GPU_VALUE("vgpu_gpu_resets_total", "counter", GPU_RESETS, "Resets of the GPU."),
    GPU_VALUE("vgpu_gpu_temperature_celsius", "gauge", GPU_TEMPERATURE, "Temperature of the GPU."),
    GPU_VALUE("vgpu_gpu_power_watts", "gauge", GPU_POWER, "Power drawn."),
    GPU_VALUE("vgpu_gpu_power_limit_watts", "gauge", GPU_POWER_LIMIT, "Power limit in force."),
    GPU_VALUE("vgpu_gpu_utilization_ratio", "gauge", GPU_UTILIZATION,
              "Part of the time that a kernel was running, by the driver."),
    GPU_VALUE("vgpu_gpu_memory_used_bytes", "gauge", GPU_MEMORY_USED, "GPU memory in use."),
    GPU_VALUE("vgpu_gpu_memory_total_bytes", "gauge", GPU_MEMORY_TOTAL, "GPU memory."),
    GPU_VALUE("vgpu_gpu_memory_utilization_ratio", "gauge", GPU_MEMORY_UTILIZATION,
              "Part of the time that GPU memory was read or written, by the driver."),
    GPU_VALUE("vgpu_gpu_sm_clock_hertz", "gauge", GPU_SM_CLOCK, "Clock of the multiprocessors."),
    GPU_VALUE("vgpu_gpu_ecc_corrected_errors", "gauge", GPU_ECC_CORRECTED,
              "Corrected memory errors since the driver was loaded."),
    GPU_VALUE("vgpu_gpu_ecc_uncorrected_errors", "gauge", GPU_ECC_UNCORRECTED,
              "Uncorrected memory errors since the driver was loaded."),
    GPU_VALUE("vgpu_gpu_xid_errors_total", "counter", GPU_XID_ERRORS,
              "Xid errors since monitoring of the GPU began."),
    GPU_VALUE("vgpu_gpu_health_age_seconds", "gauge", GPU_AGE,
              "How old the driver's figures are; large when the driver hangs."),
    GPU_VALUE("vgpu_gpu_throttled", "gauge", GPU_THROTTLED,
              "1: heat or power hold the GPU's clocks down."),
    GPU_VALUE("vgpu_gpu_reset_required", "gauge", GPU_RESET_REQUIRED,
              "1: the GPU wants to be reset."),
};

#define FAMILIES (sizeof(families) / sizeof(families[0]))

static void write_head(struct text_out *out, const struct family *family)
{
    text_string(out, "# HELP ");
    text_string(out, family->name);
    text_char(out, ' ');
    text_string(out, family->help);
    text_string(out, "\n# TYPE ");
    text_string(out, family->name);
    text_char(out, ' ');
    text_string(out, family->type);
    text_char(out, '\n');
}

bool metrics_prometheus_piece(struct metrics_export *export, struct text_out *out)
{
    const struct family *family;
    uint32_t pieces, index;

    if (export->family == FAMILIES) {
        return false;
    }
    family = &families[export->family];
    if (!export->begun) {
        export->begun = true;
        write_head(out, family);
    }
    switch (family->scope) {
    case SCOPE_VM: pieces = export->vm_count; break;
    case SCOPE_GPU: pieces = export->gpu_count; break;
    default: pieces = 1; break;
    }
    index = export->next++;
    if (index < pieces &&
        (family->scope != SCOPE_VM || export_vm_present(export, &export->vms[index]))) {
        family->write(out, export, family, index);
    }
    if (export->next >= pieces) {
        export->next = 0;
        export->begun = false;
        export->family++;
    }
    return true;
}
