/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A family is what Prometheus knows by one name: its kind, its help, and a function that writes
 * its lines.  The functions are in prometheus_values.c, the table is in metrics_prometheus.c.
 */
#ifndef CORE_METRICS_PROMETHEUS_FAMILY_H
#define CORE_METRICS_PROMETHEUS_FAMILY_H

#include "core/metrics/metrics_export_internal.h"

enum prom_scope {
    SCOPE_MEDIATOR, /* one piece */
    SCOPE_VM,
    SCOPE_GPU,
};

struct prom_family;

/* Writes the lines of a family for the VM or GPU that `index` is in the snapshot. */
typedef void prom_writer(struct text_out *out, const struct metrics_export *export,
                         const struct prom_family *family, uint32_t index);

struct prom_family {
    const char *name, *type, *help;
    enum prom_scope scope;
    prom_writer *write;
    uint32_t what; /* which of them, for `write` */
};

/* What `what` may be, by the function. */

enum reasons { REASONS_ERROR, REASONS_REJECTION };

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
    VM_CUDA_PROGRAMS, /* these three only where it has had programs */
    VM_CUDA_CONTEXTS,
    VM_CUDA_MEMORY,
};

/* What the scheduler counts. */
enum vm_seconds {
    VM_ENTITLED,
    VM_KEPT_IDLE,
    VM_SWITCHING,
};

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

prom_writer prom_write_cuda_counter, prom_write_cuda_gauge, prom_write_refused, prom_write_counter,
    prom_write_reasons, prom_write_histogram, prom_write_vm_gauge, prom_write_vm_seconds,
    prom_write_vm_info, prom_write_gpu_info, prom_write_gpu_value, prom_write_mediator_value,
    prom_write_build, prom_write_health, prom_write_loop;

#endif /* CORE_METRICS_PROMETHEUS_FAMILY_H */
