/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/metrics/stats_log.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/ns.h"
#include "core/core.h"

/* Counters of a VM, or of all of them. */
struct counts {
    uint64_t completed, errors, refused, gpu_time_ns;
};

struct stats_log {
    uv_loop_t *loop;
    uv_timer_t timer;
    bool open;
    const struct core *core;
    uint64_t since_ns;
    uint32_t vm_ids[CORE_VMS_MAX]; /* whose `last` it is; 0: nobody's */
    struct counts last[CORE_VMS_MAX];
};

static struct counts count(const struct core_vm_stats *stats)
{
    return (struct counts){
        .completed = stats->completed,
        .errors = stats->errors,
        .refused = stats->rejected_rate + stats->rejected_queue + stats->rejected_quarantined +
                   stats->invalid,
        .gpu_time_ns = stats->gpu_time_ns,
    };
}

static struct counts minus(struct counts a, const struct counts *b)
{
    a.completed -= b->completed;
    a.errors -= b->errors;
    a.refused -= b->refused;
    a.gpu_time_ns -= b->gpu_time_ns;
    return a;
}

static void add(struct counts *sum, const struct counts *one)
{
    sum->completed += one->completed;
    sum->errors += one->errors;
    sum->refused += one->refused;
    sum->gpu_time_ns += one->gpu_time_ns;
}

/* What came since the last time, and remembers what there is now. */
static struct counts since_last(struct stats_log *log, uint32_t slot,
                                const struct core_vm_stats *stats)
{
    const struct counts now = count(stats);
    struct counts since = now;

    if (log->vm_ids[slot] == stats->config.vm_id) {
        since = minus(now, &log->last[slot]);
    }
    log->vm_ids[slot] = stats->config.vm_id;
    log->last[slot] = now;
    return since;
}

static void tell_vm(const struct core_vm_stats *stats, const struct counts *since, double seconds)
{
    log_info("[STATS] VM %" PRIu32 " (%s), pool %c: %" PRIu64 " jobs in %.0f s, %" PRIu64
             " failed, %" PRIu64 " refused, %.3f s of GPU time (%.1f %%), %" PRIu32 " waiting",
             stats->config.vm_id, stats->config.name, stats->config.pool, since->completed, seconds,
             since->errors, since->refused, (double)since->gpu_time_ns / (double)NS_PER_S,
             (double)since->gpu_time_ns / (double)NS_PER_S / seconds * 100.0, stats->queue_depth);
}

static void on_timer(uv_timer_t *timer)
{
    struct stats_log *log = timer->data;
    uint64_t now_ns = clock_now_ns();
    double seconds = (double)(now_ns - log->since_ns) / (double)NS_PER_S;
    struct counts total = {0};
    struct core_vm_stats stats;
    uint32_t vms = 0;

    log->since_ns = now_ns;
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        struct counts since;

        if (!core_vm_stats(log->core, slot, now_ns, &stats)) {
            log->vm_ids[slot] = 0;
            continue;
        }
        since = since_last(log, slot, &stats);
        if (since.completed || since.errors || since.refused) {
            tell_vm(&stats, &since, seconds);
            add(&total, &since);
            vms++;
        }
    }
    if (vms) {
        log_info("[STATS] all: %" PRIu64 " jobs of %" PRIu32 " VM%s in %.0f s, %" PRIu64
                 " failed, %" PRIu64 " refused, %.3f s of GPU time",
                 total.completed, vms, vms == 1 ? "" : "s", seconds, total.errors, total.refused,
                 (double)total.gpu_time_ns / (double)NS_PER_S);
    }
}

/* ---- life ---- */

struct stats_log *stats_log_new(uv_loop_t *loop, const struct core *core)
{
    struct stats_log *log = calloc(1, sizeof(*log));

    if (log) {
        log->loop = loop;
        log->core = core;
    }
    return log;
}

/* What a mediator before us has counted is no news. */
static void remember_all(struct stats_log *log, uint64_t now_ns)
{
    struct core_vm_stats stats;

    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        if (core_vm_stats(log->core, slot, now_ns, &stats)) {
            since_last(log, slot, &stats);
        }
    }
}

int stats_log_start(struct stats_log *log, uint64_t interval_ns)
{
    uint64_t interval_ms = interval_ns / NS_PER_MS;
    int ret = uv_timer_init(log->loop, &log->timer);

    if (ret < 0) {
        return ret;
    }
    log->open = true;
    log->timer.data = log;
    log->since_ns = clock_now_ns();
    remember_all(log, log->since_ns);
    return interval_ms ? uv_timer_start(&log->timer, on_timer, interval_ms, interval_ms) : 0;
}

void stats_log_stop(struct stats_log *log)
{
    if (log && log->open) {
        log->open = false;
        uv_close((uv_handle_t *)&log->timer, NULL);
    }
}

void stats_log_free(struct stats_log *log)
{
    free(log);
}
