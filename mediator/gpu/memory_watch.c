/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/gpu/memory_watch.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "core/core.h"
#include "mediator/gpu/gpu_health.h"
#include "mediator/workers/supervisor.h"

struct memory_watch {
    struct memory_watch_uses uses;
    uv_timer_t timer;
    bool open;
    struct {
        uint64_t worker;      /* whose looks these are */
        uint64_t limit_bytes; /* the highest since it was started: it may still have so much */
        unsigned looks;       /* at which it had too much, in a row */
    } over[CORE_VMS_MAX];
};

/* What contexts may take beside the limit: the worker's own, and the first of each program.  How
 * many have one the worker says; it can't have more of them than channels. */
static uint64_t allowance(const struct memory_watch *watch, uint32_t slot, uint64_t worker)
{
    const vgpu_worker_figures *figures = supervisor_figures(watch->uses.supervisor, worker);
    uint64_t programs = core_vm_cuda_channels(watch->uses.core, slot);

    if (figures && figures->programs < programs) {
        programs = figures->programs;
    }
    return (1 + programs) * MEMORY_WATCH_CONTEXT_BYTES;
}

/* Has the VM's worker more than it may have?  0: no, or nobody knows; else how much. */
static uint64_t bytes_too_many(const struct memory_watch *watch, uint32_t slot,
                               const struct core_vm_stats *stats, uint64_t limit)
{
    uint64_t bytes;
    pid_t pid = stats->worker ? supervisor_pid(watch->uses.supervisor, stats->worker) : 0;

    if (limit == 0 || pid <= 0 || stats->gpu == CORE_NONE) {
        return 0;
    }
    bytes = gpu_health_process_bytes(watch->uses.gpu_health, stats->gpu, (uint32_t)pid);
    return bytes > limit && bytes - limit > allowance(watch, slot, stats->worker) ? bytes : 0;
}

static void look_at(struct memory_watch *watch, uint32_t slot, const struct core_vm_stats *stats)
{
    uint64_t now = stats->config.memory_limit_bytes, *limit = &watch->over[slot].limit_bytes, bytes;

    if (watch->over[slot].worker != stats->worker) {
        watch->over[slot].worker = stats->worker;
        watch->over[slot].limit_bytes = now;
        watch->over[slot].looks = 0;
    }
    *limit = now == 0 || *limit == 0 ? 0 : now > *limit ? now : *limit;
    bytes = bytes_too_many(watch, slot, stats, *limit);
    watch->over[slot].looks = bytes ? watch->over[slot].looks : 0;
    if (bytes == 0 || ++watch->over[slot].looks < MEMORY_WATCH_LOOKS) {
        return;
    }
    watch->over[slot].looks = 0;
    log_warning(
        "VM %" PRIu32 ": its worker has %" PRIu64 " MiB of GPU %" PRIu32 ", its limit is %" PRIu64
        " MiB, and %" PRIu64 " MiB are allowed for contexts: the "
        "worker is ended. Raise the limit with vgpu-admin set-memory-limit, if the VM is to "
        "have so much",
        stats->config.vm_id, bytes >> 20, stats->gpu, *limit >> 20,
        allowance(watch, slot, stats->worker) >> 20);
    supervisor_stop_worker(watch->uses.supervisor, stats->worker, true);
}

static void on_timer(uv_timer_t *timer)
{
    struct memory_watch *watch = timer->data;
    struct core_vm_stats stats;
    uint64_t now_ns = clock_now_ns();

    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        if (core_vm_stats(watch->uses.core, slot, now_ns, &stats)) {
            look_at(watch, slot, &stats);
        }
    }
}

struct memory_watch *memory_watch_new(const struct memory_watch_uses *uses)
{
    struct memory_watch *watch = calloc(1, sizeof(*watch));

    if (!watch || uv_timer_init(uses->loop, &watch->timer) < 0) {
        free(watch);
        return NULL;
    }
    watch->uses = *uses;
    watch->open = true;
    watch->timer.data = watch;
    uv_timer_start(&watch->timer, on_timer, MEMORY_WATCH_LOOK_MS, MEMORY_WATCH_LOOK_MS);
    return watch;
}

void memory_watch_stop(struct memory_watch *watch)
{
    if (watch && watch->open) {
        watch->open = false;
        uv_close((uv_handle_t *)&watch->timer, NULL);
    }
}

void memory_watch_free(struct memory_watch *watch)
{
    free(watch);
}
