/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The summary as one JSON object: head with the totals, one piece a VM, tail. */
#include "common/json_out.h"
#include "common/request.h"
#include "core/metrics/metrics_export_internal.h"

#define REASON_BYTES 32u /* of an error's name, with the NUL */

typedef uint64_t count_of_reason(const struct metrics *metrics, uint32_t vm,
                                 enum vgpu_error reason);

static const char *lower_case(const char *ascii, char out[REASON_BYTES])
{
    size_t i;

    for (i = 0; i < REASON_BYTES - 1 && ascii[i]; i++) {
        out[i] = ascii[i] >= 'A' && ascii[i] <= 'Z' ? (char)(ascii[i] - 'A' + 'a') : ascii[i];
    }
    out[i] = '\0';
    return out;
}

/* Those that happened, by name. */
static void reasons(struct json_out *out, const char *name, const struct metrics *metrics,
                    uint32_t vm, count_of_reason *count)
{
    char name_of_reason[REASON_BYTES];

    jout_object(out, name);
    for (uint32_t reason = 1; reason < VGPU_ERR_COUNT; reason++) {
        uint64_t value = count(metrics, vm, (enum vgpu_error)reason);

        if (value > 0) {
            jout_uint(out, lower_case(request_error_name(reason), name_of_reason), value);
        }
    }
    jout_object_end(out);
}

static uint64_t sum_of(const struct metrics *metrics, uint32_t vm, count_of_reason *count)
{
    uint64_t sum = 0;

    for (uint32_t reason = 1; reason < VGPU_ERR_COUNT; reason++) {
        sum += count(metrics, vm, (enum vgpu_error)reason);
    }
    return sum;
}

static void latencies(struct json_out *out, struct metrics *metrics, uint32_t vm)
{
    static const char *const names[METRICS_PART_COUNT] = {
        [METRICS_TOTAL] = "total",
        [METRICS_QUEUE] = "queue",
        [METRICS_TRANSPORT] = "transport",
        [METRICS_GPU] = "gpu",
    };
    struct metrics_quantiles quantiles;

    jout_object(out, "latency");
    for (unsigned part = 0; part < METRICS_PART_COUNT; part++) {
        const struct metrics_histogram *all =
            metrics_histogram_of(metrics, vm, (enum metrics_part)part);

        metrics_quantiles_of(metrics, vm, (enum metrics_part)part, &quantiles);
        jout_object(out, names[part]);
        jout_uint(out, "samples", quantiles.samples);
        jout_uint(out, "p50_ns", quantiles.p50_ns);
        jout_uint(out, "p95_ns", quantiles.p95_ns);
        jout_uint(out, "p99_ns", quantiles.p99_ns);
        jout_uint(out, "max_ns", quantiles.max_ns);
        jout_uint(out, "mean_ns", all->count ? all->sum_ns / all->count : 0); /* of all jobs */
        jout_object_end(out);
    }
    jout_object_end(out);
}

/* What vgpu-admin's status shows of a VM, under the same names, and more. */
static void counts(struct json_out *out, struct metrics *metrics, uint32_t vm)
{
    uint64_t rate = metrics_rejections(metrics, vm, VGPU_ERR_RATE_LIMITED);
    uint64_t queue = metrics_rejections(metrics, vm, VGPU_ERR_QUEUE_FULL);
    uint64_t quarantined = metrics_rejections(metrics, vm, VGPU_ERR_VM_QUARANTINED);

    jout_uint(out, "submitted", metrics_count(metrics, vm, METRICS_ACCEPTED));
    jout_uint(out, "completed", metrics_count(metrics, vm, METRICS_JOBS));
    jout_uint(out, "errors", sum_of(metrics, vm, metrics_errors));
    jout_uint(out, "dropped", metrics_count(metrics, vm, METRICS_DROPPED));
    jout_uint(out, "rejected_rate", rate);
    jout_uint(out, "rejected_queue", queue);
    jout_uint(out, "rejected_quarantined", quarantined);
    jout_uint(out, "invalid", sum_of(metrics, vm, metrics_rejections) - rate - queue - quarantined);
    jout_uint(out, "timeouts", metrics_count(metrics, vm, METRICS_TIMEOUTS));
    jout_uint(out, "gpu_time_ns", metrics_count(metrics, vm, METRICS_GPU_TIME_NS));
    jout_uint(out, "faults", metrics_count(metrics, vm, METRICS_FAULTS));
    jout_uint(out, "quarantines", metrics_count(metrics, vm, METRICS_QUARANTINES));
    jout_uint(out, "worker_restarts", metrics_count(metrics, vm, METRICS_WORKER_RESTARTS));
    jout_uint(out, "context_switches", metrics_count(metrics, vm, METRICS_CONTEXT_SWITCHES));
    jout_uint(out, "request_bytes", metrics_count(metrics, vm, METRICS_REQUEST_BYTES));
    jout_uint(out, "response_bytes", metrics_count(metrics, vm, METRICS_RESPONSE_BYTES));
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

static void one_gpu(struct json_out *out, const struct metrics_export *export, uint32_t gpu)
{
    const struct export_gpu *own = &export->gpus[gpu];
    const struct metrics_gpu_readings *readings = &export->external.gpus[gpu];
    const char *name = export->external.gpu_names[gpu];

    jout_object(out, NULL);
    jout_uint(out, "index", gpu);
    jout_string(out, "uuid", core_gpu_uuid(export->core, gpu));
    jout_string(out, "name", name ? name : "");
    jout_string(out, "state", gpu_state(own));
    jout_uint(out, "vms", own->vms);
    jout_uint(out, "queued", own->queue_depth);
    jout_uint(out, "in_flight", own->in_flight);
    jout_uint(out, "busy_ns", own->busy_ns);
    jout_uint(out, "context_switches", metrics_gpu_context_switches(export->metrics, gpu));
    jout_uint(out, "resets", metrics_gpu_resets(export->metrics, gpu));
    jout_double(out, "temperature_celsius", readings->temperature_celsius);
    jout_double(out, "power_watts", readings->power_watts);
    jout_double(out, "power_limit_watts", readings->power_limit_watts);
    jout_double(out, "utilization", readings->utilization_ratio);
    jout_double(out, "memory_used_bytes", readings->memory_used_bytes);
    jout_double(out, "memory_bytes", readings->memory_total_bytes);
    jout_double(out, "memory_utilization", readings->memory_utilization_ratio);
    jout_double(out, "sm_clock_hertz", readings->sm_clock_hertz);
    jout_double(out, "ecc_corrected", readings->ecc_corrected);
    jout_double(out, "ecc_uncorrected", readings->ecc_uncorrected);
    jout_double(out, "xid_errors", readings->xid_errors);
    jout_double(out, "throttled", readings->throttled);
    jout_double(out, "reset_required", readings->reset_required);
    jout_double(out, "age_s", readings->age_seconds);
    jout_object_end(out);
}

static void head(struct json_out *out, const struct metrics_export *export)
{
    const struct metrics_external *external = &export->external;

    jout_object(out, NULL);
    jout_string(out, "version", external->version ? external->version : "");
    jout_string(out, "policy", wfq_policy_name(export->policy));
    jout_double(out, "uptime_s", external->uptime_seconds);
    jout_double(out, "sessions", external->sessions);
    jout_double(out, "workers", external->workers);
    jout_object(out, "mediator");
    jout_double(out, "cpu_seconds", external->cpu_seconds);
    jout_double(out, "resident_memory_bytes", external->resident_memory_bytes);
    jout_double(out, "open_fds", external->open_fds);
    jout_double(out, "admin_clients", external->admin_clients);
    jout_double(out, "http_clients", external->http_clients);
    jout_uint(out, "loop_turns", external->loop.count);
    jout_uint(out, "loop_busy_ns", external->loop.sum_ns);
    jout_object_end(out);
    jout_object(out, "all");
    counts(out, export->metrics, METRICS_NO_VM);
    jout_object_end(out);
    jout_array(out, "gpus");
}

static void one_vm(struct json_out *out, const struct metrics_export *export,
                   const struct export_vm *vm)
{
    const char pool[] = {vm->pool, '\0'};

    jout_object(out, NULL);
    jout_uint(out, "vm_id", vm->vm_id);
    jout_uuid(out, "uuid", vm->has_uuid ? vm->uuid : NULL);
    jout_string(out, "name", metrics_vm_label(export->metrics, vm->slot));
    jout_string(out, "pool", pool);
    jout_uint_if(out, "gpu", vm->gpu != CORE_NONE, vm->gpu);
    jout_double(out, "weight", vm->weight);
    jout_uint(out, "priority", vm->priority);
    jout_bool(out, "connected", vm->connected);
    jout_bool(out, "quarantined", vm->quarantined);
    jout_bool(out, "overrunning", vm->aside);
    jout_bool(out, "suspended", vm->suspended);
    jout_bool(out, "pausing", vm->pausing);
    jout_string(out, "worker", core_worker_state_name(vm->worker_state));
    jout_uint(out, "fault_count", vm->faults);
    jout_uint(out, "queue_depth", vm->queue_depth);
    jout_uint(out, "in_flight", vm->in_flight);
    jout_uint(out, "average_execution_ns", vm->average_execution_ns);
    jout_double(out, "due_share", vm->share_due);
    jout_double(out, "share_received", vm->share_received);
    jout_int(out, "lag_ns", vm->lag_ns);
    jout_uint(out, "entitled_ns", vm->entitled_ns);
    jout_uint(out, "kept_idle_ns", vm->kept_ns);
    jout_uint(out, "switching_ns", vm->switching_ns);
    counts(out, export->metrics, vm->slot);
    jout_object_end(out);
}

/* False: there is no more. */
static bool write_piece(struct metrics_export *export, struct json_out *out)
{
    uint32_t index;

    if (!export->begun) {
        export->begun = true;
        head(out, export);
        return true;
    }
    index = export->next++;
    if (index < export->gpu_count) {
        one_gpu(out, export, index);
        return true;
    }
    index -= export->gpu_count;
    if (index == 0) {
        jout_array_end(out);
        jout_array(out, "vms");
    } else if (index <= export->vm_count) {
        if (export_vm_present(export, &export->vms[index - 1])) {
            one_vm(out, export, &export->vms[index - 1]);
        }
    } else if (index == export->vm_count + 1) {
        jout_array_end(out);
        jout_object_end(out);
        jout_bytes(out, "\n", 1);
    } else {
        return false;
    }
    return true;
}

bool metrics_summary_piece(struct metrics_export *export, struct text_out *out)
{
    struct json_out json;
    bool more;

    jout_init_fixed(&json, out->text + out->used, out->size - out->used);
    json.comma = export->comma;
    more = write_piece(export, &json);
    export->comma = json.comma;
    out->used += json.length;
    out->overflow |= json.failed;
    return more;
}
