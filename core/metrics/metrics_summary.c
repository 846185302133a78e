/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The summary as one JSON object: head with the totals, one piece a VM, tail. */
#include <inttypes.h>
#include <math.h>

#include "common/request.h"
#include "core/metrics/metrics_export_internal.h"

static void key(struct text_out *out, const char *name)
{
    text_char(out, '"');
    text_string(out, name);
    text_string(out, "\":");
}

static void number(struct text_out *out, const char *name, double value)
{
    key(out, name);
    if (isfinite(value)) {
        text_double(out, value);
    } else {
        text_string(out, "null");
    }
    text_char(out, ',');
}

static void whole(struct text_out *out, const char *name, uint64_t value)
{
    key(out, name);
    text_uint(out, value);
    text_char(out, ',');
}

static void flag(struct text_out *out, const char *name, bool value)
{
    key(out, name);
    text_string(out, value ? "true," : "false,");
}

static void string(struct text_out *out, const char *name, const char *value)
{
    key(out, name);
    text_quoted(out, value, TEXT_ESCAPE_JSON);
    text_char(out, ',');
}

static void optional(struct text_out *out, const char *name, uint32_t value)
{
    key(out, name);
    if (value == CORE_NONE) {
        text_string(out, "null,");
    } else {
        text_uint(out, value);
        text_char(out, ',');
    }
}

static void object(struct text_out *out, const char *name)
{
    key(out, name);
    text_char(out, '{');
}

/* Every value ends with a comma; the last one's goes. */
static void close_with(struct text_out *out, const char *bracket)
{
    if (out->used > 0 && out->text[out->used - 1] == ',') {
        out->used--;
    }
    text_string(out, bracket);
}

typedef uint64_t count_of_reason(const struct metrics *metrics, uint32_t vm,
                                 enum vgpu_error reason);

/* Those that happened, by name. */
static void reasons(struct text_out *out, const char *name, const struct metrics *metrics,
                    uint32_t vm, count_of_reason *count)
{
    object(out, name);
    for (uint32_t reason = 1; reason < VGPU_ERR_COUNT; reason++) {
        uint64_t value = count(metrics, vm, (enum vgpu_error)reason);

        if (value > 0) {
            text_char(out, '"');
            text_lower(out, request_error_name(reason));
            text_string(out, "\":");
            text_uint(out, value);
            text_char(out, ',');
        }
    }
    close_with(out, "},");
}

static uint64_t sum_of(const struct metrics *metrics, uint32_t vm, count_of_reason *count)
{
    uint64_t sum = 0;

    for (uint32_t reason = 1; reason < VGPU_ERR_COUNT; reason++) {
        sum += count(metrics, vm, (enum vgpu_error)reason);
    }
    return sum;
}

static void latencies(struct text_out *out, struct metrics *metrics, uint32_t vm)
{
    static const char *const names[METRICS_PART_COUNT] = {
        [METRICS_TOTAL] = "total",
        [METRICS_QUEUE] = "queue",
        [METRICS_TRANSPORT] = "transport",
        [METRICS_GPU] = "gpu",
    };
    struct metrics_quantiles quantiles;

    object(out, "latency");
    for (unsigned part = 0; part < METRICS_PART_COUNT; part++) {
        const struct metrics_histogram *all =
            metrics_histogram_of(metrics, vm, (enum metrics_part)part);

        metrics_quantiles_of(metrics, vm, (enum metrics_part)part, &quantiles);
        object(out, names[part]);
        whole(out, "samples", quantiles.samples);
        whole(out, "p50_ns", quantiles.p50_ns);
        whole(out, "p95_ns", quantiles.p95_ns);
        whole(out, "p99_ns", quantiles.p99_ns);
        whole(out, "max_ns", quantiles.max_ns);
        whole(out, "mean_ns", all->count ? all->sum_ns / all->count : 0); /* of all jobs */
        close_with(out, "},");
    }
    close_with(out, "},");
}

/* What vgpu-admin's status shows of a VM, under the same names, and more. */
static void counts(struct text_out *out, struct metrics *metrics, uint32_t vm)
{
    uint64_t rate = metrics_rejections(metrics, vm, VGPU_ERR_RATE_LIMITED);
    uint64_t queue = metrics_rejections(metrics, vm, VGPU_ERR_QUEUE_FULL);
    uint64_t quarantined = metrics_rejections(metrics, vm, VGPU_ERR_VM_QUARANTINED);

    whole(out, "submitted", metrics_count(metrics, vm, METRICS_ACCEPTED));
    whole(out, "completed", metrics_count(metrics, vm, METRICS_JOBS));
    whole(out, "errors", sum_of(metrics, vm, metrics_errors));
    whole(out, "dropped", metrics_count(metrics, vm, METRICS_DROPPED));
    whole(out, "rejected_rate", rate);
    whole(out, "rejected_queue", queue);
    whole(out, "rejected_quarantined", quarantined);
    whole(out, "invalid", sum_of(metrics, vm, metrics_rejections) - rate - queue - quarantined);
    whole(out, "timeouts", metrics_count(metrics, vm, METRICS_TIMEOUTS));
    whole(out, "gpu_time_ns", metrics_count(metrics, vm, METRICS_GPU_TIME_NS));
    whole(out, "faults", metrics_count(metrics, vm, METRICS_FAULTS));
    whole(out, "quarantines", metrics_count(metrics, vm, METRICS_QUARANTINES));
    whole(out, "worker_restarts", metrics_count(metrics, vm, METRICS_WORKER_RESTARTS));
    whole(out, "context_switches", metrics_count(metrics, vm, METRICS_CONTEXT_SWITCHES));
    whole(out, "request_bytes", metrics_count(metrics, vm, METRICS_REQUEST_BYTES));
    whole(out, "response_bytes", metrics_count(metrics, vm, METRICS_RESPONSE_BYTES));
    reasons(out, "errors_by_reason", metrics, vm, metrics_errors);
    reasons(out, "rejections_by_reason", metrics, vm, metrics_rejections);
    latencies(out, metrics, vm);
}

static const char *gpu_state(const struct export_gpu *gpu)
{
    if (!gpu->available) {
        return "failed";
    }
    return gpu->paused ? "paused" : "ok";
}

static void one_gpu(struct text_out *out, const struct metrics_export *export, uint32_t gpu)
{
    const struct export_gpu *own = &export->gpus[gpu];
    const struct metrics_gpu_readings *readings = &export->external.gpus[gpu];
    const char *name = export->external.gpu_names[gpu];

    text_char(out, '{');
    whole(out, "index", gpu);
    string(out, "uuid", core_gpu_uuid(export->core, gpu));
    string(out, "name", name ? name : "");
    string(out, "state", gpu_state(own));
    whole(out, "vms", own->vms);
    whole(out, "queued", own->queue_depth);
    whole(out, "in_flight", own->in_flight);
    whole(out, "busy_ns", own->busy_ns);
    whole(out, "context_switches", metrics_gpu_context_switches(export->metrics, gpu));
    whole(out, "resets", metrics_gpu_resets(export->metrics, gpu));
    number(out, "temperature_celsius", readings->temperature_celsius);
    number(out, "power_watts", readings->power_watts);
    number(out, "power_limit_watts", readings->power_limit_watts);
    number(out, "utilization", readings->utilization_ratio);
    number(out, "memory_used_bytes", readings->memory_used_bytes);
    number(out, "memory_bytes", readings->memory_total_bytes);
    number(out, "memory_utilization", readings->memory_utilization_ratio);
    number(out, "sm_clock_hertz", readings->sm_clock_hertz);
    number(out, "ecc_corrected", readings->ecc_corrected);
    number(out, "ecc_uncorrected", readings->ecc_uncorrected);
    number(out, "xid_errors", readings->xid_errors);
    number(out, "throttled", readings->throttled);
    number(out, "reset_required", readings->reset_required);
    number(out, "age_s", readings->age_seconds);
    close_with(out, "}");
}

static void head(struct text_out *out, const struct metrics_export *export)
{
    const struct metrics_external *external = &export->external;

    text_char(out, '{');
    string(out, "version", external->version ? external->version : "");
    string(out, "policy", wfq_policy_name(export->policy));
    number(out, "uptime_s", external->uptime_seconds);
    number(out, "sessions", external->sessions);
    number(out, "workers", external->workers);
    object(out, "mediator");
    number(out, "cpu_seconds", external->cpu_seconds);
    number(out, "resident_memory_bytes", external->resident_memory_bytes);
    number(out, "open_fds", external->open_fds);
    number(out, "admin_clients", external->admin_clients);
    number(out, "http_clients", external->http_clients);
    whole(out, "loop_turns", external->loop.count);
    whole(out, "loop_busy_ns", external->loop.sum_ns);
    close_with(out, "},");
    object(out, "all");
    counts(out, export->metrics, METRICS_NO_VM);
    close_with(out, "},");
    key(out, "gpus");
    text_char(out, '[');
}

static void one_vm(struct text_out *out, const struct metrics_export *export,
                   const struct export_vm *vm)
{
    text_char(out, '{');
    whole(out, "vm_id", vm->vm_id);
    key(out, "uuid");
    if (vm->has_uuid) {
        text_char(out, '"');
        text_uuid(out, vm->uuid);
        text_string(out, "\",");
    } else {
        text_string(out, "null,");
    }
    string(out, "name", metrics_vm_label(export->metrics, vm->slot));
    text_string(out, "\"pool\":\"");
    text_char(out, vm->pool);
    text_string(out, "\",");
    optional(out, "gpu", vm->gpu);
    whole(out, "weight", vm->weight);
    whole(out, "priority", vm->priority);
    flag(out, "connected", vm->connected);
    flag(out, "quarantined", vm->quarantined);
    flag(out, "overrunning", vm->aside);
    string(out, "worker", core_worker_state_name(vm->worker_state));
    whole(out, "fault_count", vm->faults);
    whole(out, "queue_depth", vm->queue_depth);
    whole(out, "in_flight", vm->in_flight);
    whole(out, "average_execution_ns", vm->average_execution_ns);
    number(out, "due_share", vm->share_due);
    number(out, "share_received", vm->share_received);
    key(out, "lag_ns");
    if (vm->lag_ns < 0) {
        text_char(out, '-');
    }
    text_uint(out, vm->lag_ns < 0 ? 0 - (uint64_t)vm->lag_ns : (uint64_t)vm->lag_ns);
    text_char(out, ',');
    counts(out, export->metrics, vm->slot);
    close_with(out, "}");
}

/* Before each element of a list but its first. */
static void separate(struct metrics_export *export, struct text_out *out)
{
    if (export->list_has_elements) {
        text_char(out, ',');
    }
    export->list_has_elements = true;
}

bool metrics_summary_piece(struct metrics_export *export, struct text_out *out)
{
    uint32_t index;

    if (!export->begun) {
        export->begun = true;
        head(out, export);
        return true;
    }
    index = export->next++;
    if (index < export->gpu_count) {
        separate(export, out);
        one_gpu(out, export, index);
        return true;
    }
    index -= export->gpu_count;
    if (index == 0) {
        text_string(out, "],\"vms\":[");
        export->list_has_elements = false;
    } else if (index <= export->vm_count) {
        if (export_vm_present(export, &export->vms[index - 1])) {
            separate(export, out);
            one_vm(out, export, &export->vms[index - 1]);
        }
    } else if (index == export->vm_count + 1) {
        text_string(out, "]}\n");
    } else {
        return false;
    }
    return true;
}
