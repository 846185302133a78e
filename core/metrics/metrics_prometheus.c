/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prometheus' text format 0.0.4.
 *
 * A table of families says what there is; a piece is the family's HELP and TYPE,
 * or its lines for one VM or GPU.  Families without a line now (no NVML) keep
 * their head, so that what exists can be seen in any export.
 */
#include "core/metrics/prometheus_family.h"

/* ---- the table ---- */

#define COUNTER(scope, name, what, help)                                                           \
    {                                                                                              \
        name, "counter", help, scope, prom_write_counter, what                                     \
    }
#define REASONS(scope, name, what, help)                                                           \
    {                                                                                              \
        name, "counter", help, scope, prom_write_reasons, what                                     \
    }
#define HISTOGRAM(scope, name, what, help)                                                         \
    {                                                                                              \
        name, "histogram", help, scope, prom_write_histogram, what                                 \
    }
#define VM_GAUGE(name, what, help)                                                                 \
    {                                                                                              \
        name, "gauge", help, SCOPE_VM, prom_write_vm_gauge, what                                   \
    }
#define VM_SECONDS(name, what, help)                                                               \
    {                                                                                              \
        name, "counter", help, SCOPE_VM, prom_write_vm_seconds, what                               \
    }
#define GPU_VALUE(name, type, what, help)                                                          \
    {                                                                                              \
        name, type, help, SCOPE_GPU, prom_write_gpu_value, what                                    \
    }
#define MEDIATOR_VALUE(name, type, what, help)                                                     \
    {                                                                                              \
        name, type, help, SCOPE_MEDIATOR, prom_write_mediator_value, what                          \
    }

static const struct prom_family families[] = {
    /* in all, also of VMs that are gone */
    {"vgpu_mediator_build_info", "gauge",
     "Version, backend and scheduling policy of vgpu-mediator.", SCOPE_MEDIATOR, prom_write_build,
     0},
    {"vgpu_health_problems", "gauge",
     "Problems that vgpu-admin show-health lists now, by kind; 0: none.", SCOPE_MEDIATOR,
     prom_write_health, 0},
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
     SCOPE_MEDIATOR, prom_write_loop, 0},
    MEDIATOR_VALUE("process_start_time_seconds", "gauge", PROCESS_START_TIME,
                   "Start time of the process, since the Unix epoch."),
    MEDIATOR_VALUE("process_cpu_seconds_total", "counter", PROCESS_CPU,
                   "User and system CPU time of the mediator, without its workers."),
    MEDIATOR_VALUE("process_resident_memory_bytes", "gauge", PROCESS_MEMORY,
                   "Resident memory of the mediator."),
    MEDIATOR_VALUE("process_open_fds", "gauge", PROCESS_OPEN_FDS,
                   "Open file descriptors of the mediator."),

    /* VMs: jobs */
    {"vgpu_vm_info", "gauge", "The VM's vm_id and UUID.", SCOPE_VM, prom_write_vm_info, 0},
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

    /* VMs: programs on the CUDA driver interface */
    {"vgpu_cuda_programs", "gauge", "CUDA programs that have a context.", SCOPE_VM,
     prom_write_cuda_gauge, VM_CUDA_PROGRAMS},
    {"vgpu_cuda_contexts", "gauge", "Contexts of CUDA programs.", SCOPE_VM, prom_write_cuda_gauge,
     VM_CUDA_CONTEXTS},
    {"vgpu_cuda_memory_bytes", "gauge", "GPU memory charged to CUDA programs and bulk operations.",
     SCOPE_VM, prom_write_cuda_gauge, VM_CUDA_MEMORY},
    {"vgpu_cuda_launches_total", "counter",
     "Kernels, memsets, graphs and copies within the GPU that CUDA programs submitted.", SCOPE_VM,
     prom_write_cuda_counter, METRICS_CUDA_UNITS},
    {"vgpu_cuda_copies_total", "counter",
     "Copies of CUDA programs between host and GPU, in their pieces.", SCOPE_VM,
     prom_write_cuda_counter, METRICS_CUDA_COPIES},
    {"vgpu_cuda_turns_total", "counter", "Turns on the GPU that CUDA programs had.", SCOPE_VM,
     prom_write_cuda_counter, METRICS_CUDA_TURNS},
    {"vgpu_cuda_refused_total", "counter",
     "Calls of functions that are not built, of each program once.", SCOPE_VM,
     prom_write_cuda_counter, METRICS_CUDA_REFUSED},
    {"vgpu_cuda_refused_functions_total", "counter",
     "The same by function; those of the table's end are \"other\".", SCOPE_VM, prom_write_refused,
     0},

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
    {"vgpu_gpu_info", "gauge", "The GPU's UUID and name.", SCOPE_GPU, prom_write_gpu_info, 0},
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

static void write_head(struct text_out *out, const struct prom_family *family)
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
    const struct prom_family *family;
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
