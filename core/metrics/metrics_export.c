/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/metrics/metrics_export.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/metrics/metrics_export_internal.h"

/* VMs whose latencies one step of the summary sorts out, some 100 us each. */
#define SUMMARY_PIECES_PER_STEP 4u

void metrics_external_init(struct metrics_external *external)
{
    *external = (struct metrics_external){
        .start_time_seconds = NAN,
        .uptime_seconds = NAN,
        .cpu_seconds = NAN,
        .resident_memory_bytes = NAN,
        .open_fds = NAN,
        .sessions = NAN,
        .workers = NAN,
        .admin_clients = NAN,
        .http_clients = NAN,
    };
    for (uint32_t gpu = 0; gpu < METRICS_GPUS_MAX; gpu++) {
        external->gpus[gpu] = (struct metrics_gpu_readings){
            NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN,
        };
    }
}

void metrics_histogram_add(struct metrics_histogram *histogram, uint64_t time_ns)
{
    uint32_t bucket = 0;

    while (bucket < METRICS_BUCKETS && time_ns > metrics_bucket_ns[bucket]) {
        bucket++;
    }
    histogram->buckets[bucket]++;
    histogram->count++;
    histogram->sum_ns += time_ns;
}

/* ---- snapshot ---- */

/*
 * A VM without a place keeps the label of the GPU where it was; one that was
 * nowhere yet has that of the only GPU where it can come.  So series don't
 * come and go with the VM's connections.
 */
static uint32_t gpu_label(const struct core *core, const struct core_vm_stats *stats,
                          uint32_t latest)
{
    uint32_t mask = core_pool_gpus(core, stats->config.pool);

    if (stats->gpu != CORE_NONE) {
        return stats->gpu;
    }
    if (latest < core_gpu_count(core)) {
        return latest;
    }
    return mask && (mask & (mask - 1)) == 0 ? (uint32_t)__builtin_ctz(mask) : CORE_NONE;
}

static void take_vm(struct metrics_export *export, uint32_t slot, const struct core_vm_stats *stats)
{
    struct export_vm *vm = &export->vms[export->vm_count++];

    *vm = (struct export_vm){
        .serial = metrics_vm_serial(export->metrics, slot),
        .slot = slot,
        .vm_id = stats->config.vm_id,
        .gpu = gpu_label(export->core, stats, metrics_vm_gpu(export->metrics, slot)),
        .queue_depth = stats->queue_depth,
        .in_flight = stats->in_flight,
        .weight = stats->config.weight,
        .priority = stats->config.priority,
        .faults = stats->fault_count,
        .worker_state = stats->worker_state,
        .connected = stats->session != CORE_NONE,
        .quarantined = stats->config.quarantined,
        .has_uuid = stats->config.has_uuid,
        .aside = stats->aside,
        .suspended = stats->scheduler.suspended,
        .pausing = stats->scheduler.pausing,
        .pool = stats->config.pool,
        .share_due = stats->due_share,
        .lag_ns = stats->scheduler.lag_ns,
        .average_execution_ns = stats->scheduler.average_execution_ns,
        .entitled_ns = stats->entitled_ns,
        .kept_ns = stats->kept_ns,
        .switching_ns = stats->switching_ns,
        .programs = stats->figures.programs,
        .contexts = stats->figures.contexts,
        .program_bytes = stats->figures.memory_bytes,
    };
    memcpy(vm->uuid, stats->config.uuid, sizeof(vm->uuid));
    vm->share_received = metrics_share_received(export->metrics, slot, vm->gpu, export->now_ns);
    if (stats->gpu != CORE_NONE) {
        export->gpus[stats->gpu].vms++;
    }
}

static void take_gpus(struct metrics_export *export)
{
    export->gpu_count = core_gpu_count(export->core);
    for (uint32_t gpu = 0; gpu < export->gpu_count; gpu++) {
        const struct wfq *scheduler = core_gpu_scheduler(export->core, gpu);

        export->gpus[gpu] = (struct export_gpu){
            .queue_depth = wfq_queue_len(scheduler),
            .in_flight = wfq_in_flight(scheduler),
            .busy_ns = wfq_busy_ns(scheduler),
            .available = core_gpu_available(export->core, gpu),
            .paused = wfq_paused(scheduler),
        };
    }
}

struct metrics_export *metrics_export_begin(const struct core *core, enum metrics_format format,
                                            const struct metrics_external *external,
                                            uint64_t now_ns)
{
    struct metrics *metrics = core_metrics(core);
    struct metrics_export *export;
    struct core_vm_stats stats;
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        count += metrics_vm_serial(metrics, slot) != 0;
    }
    export = malloc(sizeof(*export) + count * sizeof(export->vms[0]));
    if (!export) {
        return NULL;
    }
    memset(export, 0, sizeof(*export));
    export->core = core;
    export->metrics = metrics;
    export->external = *external;
    export->format = format;
    export->now_ns = now_ns;
    export->policy = core_policy(core);
    take_gpus(export);
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        if (metrics_vm_serial(metrics, slot) != 0 && core_vm_stats(core, slot, now_ns, &stats)) {
            take_vm(export, slot, &stats);
        }
    }
    return export;
}

void metrics_export_end(struct metrics_export *export)
{
    free(export);
}

/* ---- steps ---- */

size_t metrics_export_step(struct metrics_export *export, char *text, size_t size)
{
    struct text_out out;

    assert(size >= METRICS_EXPORT_STEP_BYTES);
    text_init(&out, text, size);
    for (uint32_t pieces = 0; !export->ended && size - out.used >= METRICS_PIECE_BYTES; pieces++) {
        size_t before = out.used;

        if (export->format == METRICS_FORMAT_PROMETHEUS) {
            export->ended = !metrics_prometheus_piece(export, &out);
        } else if (pieces == SUMMARY_PIECES_PER_STEP && out.used > 0) {
            break;
        } else {
            export->ended = !metrics_summary_piece(export, &out);
        }
        assert(!out.overflow && out.used - before <= METRICS_PIECE_BYTES);
    }
    return out.used;
}
