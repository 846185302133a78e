/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands in the lines of a family: labels and values of VMs, of GPUs and of the mediator. */
#include <math.h>
#include <string.h>

#include "common/cuda_names.h"
#include "common/ns.h"
#include "common/request.h"
#include "common/unused.h"
#include "common/uuid.h"
#include "core/metrics/prometheus_family.h"
#include "core/metrics/prometheus_line.h"

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
static uint32_t subject(const struct metrics_export *export, const struct prom_family *family,
                        uint32_t index, struct text_out *labels, char *buffer)
{
    if (family->scope != SCOPE_VM) {
        *labels = (struct text_out){0};
        return METRICS_NO_VM;
    }
    vm_labels(labels, buffer, export, index);
    return export->vms[index].slot;
}

void prom_write_counter(struct text_out *out, const struct metrics_export *export,
                        const struct prom_family *family, uint32_t index)
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

void prom_write_reasons(struct text_out *out, const struct metrics_export *export,
                        const struct prom_family *family, uint32_t index)
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
void prom_write_histogram(struct text_out *out, const struct metrics_export *export,
                          const struct prom_family *family, uint32_t index)
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
    case VM_CUDA_PROGRAMS: return (double)vm->programs;
    case VM_CUDA_CONTEXTS: return (double)vm->contexts;
    case VM_CUDA_MEMORY: return (double)vm->program_bytes;
    }
    return NAN;
}

void prom_write_vm_gauge(struct text_out *out, const struct metrics_export *export,
                         const struct prom_family *family, uint32_t index)
{
    char buffer[LABELS_BYTES];
    struct text_out labels;

    vm_labels(&labels, buffer, export, index);
    prom_double(out, family->name, &labels,
                vm_gauge_value(&export->vms[index], (enum vm_gauge)family->what));
}

/* ---- of CUDA programs: VMs that had none have no lines, a thousand such VMs stay cheap ---- */

static bool had_programs(const struct metrics_export *export, uint32_t index)
{
    const struct export_vm *vm = &export->vms[index];

    return vm->programs || vm->contexts || vm->program_bytes ||
           metrics_count(export->metrics, vm->slot, METRICS_CUDA_UNITS) ||
           metrics_count(export->metrics, vm->slot, METRICS_CUDA_COPIES) ||
           metrics_count(export->metrics, vm->slot, METRICS_CUDA_REFUSED);
}

void prom_write_cuda_counter(struct text_out *out, const struct metrics_export *export,
                             const struct prom_family *family, uint32_t index)
{
    if (had_programs(export, index)) {
        prom_write_counter(out, export, family, index);
    }
}

void prom_write_cuda_gauge(struct text_out *out, const struct metrics_export *export,
                           const struct prom_family *family, uint32_t index)
{
    if (had_programs(export, index)) {
        prom_write_vm_gauge(out, export, family, index);
    }
}

void prom_write_refused(struct text_out *out, const struct metrics_export *export,
                        const struct prom_family *family, uint32_t index)
{
    const struct metrics_refused *refused =
        metrics_refused_of(export->metrics, export->vms[index].slot);
    uint64_t others = 0;
    char buffer[LABELS_BYTES];
    struct text_out labels;

    vm_labels(&labels, buffer, export, index);
    for (uint32_t i = 0; i <= METRICS_REFUSED_MAX; i++) {
        bool last = i == METRICS_REFUSED_MAX;
        const char *name = last ? "other" : cuda_name_of(refused[i].name_hash);
        uint64_t value = last ? others : refused[i].count;

        if (!last && strcmp(name, "other") == 0) {
            others += value; /* several may have none: one line */
            continue;
        }
        if (value == 0) {
            continue;
        }
        text_string(out, family->name);
        text_char(out, '{');
        text_bytes(out, labels.text, labels.used);
        text_string(out, ",function=\"");
        text_string(out, name);
        text_string(out, "\"} ");
        text_uint(out, value);
        text_char(out, '\n');
    }
}

static uint64_t vm_seconds_ns(const struct export_vm *vm, enum vm_seconds what)
{
    switch (what) {
    case VM_ENTITLED: return vm->entitled_ns;
    case VM_KEPT_IDLE: return vm->kept_ns;
    case VM_SWITCHING: return vm->switching_ns;
    }
    return 0;
}

void prom_write_vm_seconds(struct text_out *out, const struct metrics_export *export,
                           const struct prom_family *family, uint32_t index)
{
    char buffer[LABELS_BYTES];
    struct text_out labels;

    vm_labels(&labels, buffer, export, index);
    prom_seconds(out, family->name, &labels,
                 vm_seconds_ns(&export->vms[index], (enum vm_seconds)family->what));
}

void prom_write_vm_info(struct text_out *out, const struct metrics_export *export,
                        const struct prom_family *family, uint32_t index)
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

void prom_write_gpu_info(struct text_out *out, const struct metrics_export *export,
                         const struct prom_family *family, uint32_t gpu)
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

void prom_write_gpu_value(struct text_out *out, const struct metrics_export *export,
                          const struct prom_family *family, uint32_t gpu)
{
    char buffer[LABELS_BYTES];
    struct text_out labels;

    gpu_labels(&labels, buffer, gpu);
    prom_double(out, family->name, &labels,
                gpu_value_of(export, gpu, (enum gpu_value)family->what));
}

/* ---- of the mediator ---- */

void prom_write_mediator_value(struct text_out *out, const struct metrics_export *export,
                               const struct prom_family *family, UNUSED uint32_t index)
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

void prom_write_build(struct text_out *out, const struct metrics_export *export,
                      const struct prom_family *family, UNUSED uint32_t index)
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

void prom_write_health(struct text_out *out, const struct metrics_export *export,
                       const struct prom_family *family, UNUSED uint32_t index)
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

void prom_write_loop(struct text_out *out, const struct metrics_export *export,
                     const struct prom_family *family, UNUSED uint32_t index)
{
    prom_histogram(out, family->name, NULL, &export->external.loop);
}
