/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Twice a second the newest reading of each GPU is judged (nvml_health.c), and
 * the core is told when that changes whether the GPU may be used.
 *
 * A reset, if a command was configured and the verdict asks for one:
 *
 *   IDLE ──needs reset──► DRAINING ──no process on it──► HOLDING ──NVML is down──► RUNNING
 *     ▲                      │ too long                                              │
 *     └──────────────────────┴──────────────── pause of ten minutes ◄────────────────┘
 *
 * The core has given the GPU no work since it was judged, its workers leave,
 * NVML is shut down (it keeps the device open, and the driver resets no GPU
 * that is in use), the command runs in a thread of its own, and NVML
 * begins anew.  If the GPU is well then, the next judgement gives it back.
 */
#include "mediator/gpu/gpu_health.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/ns.h"
#include "core/metrics/metrics.h"
#include "mediator/events.h"
#include "mediator/gpu/gpu_reset.h"
#include "mediator/workers/gpus.h"
#include "common/json_out.h"
#include "mediator/gpu/nvml_monitor.h"

#define NVML_PATIENCE_NS (5 * NS_PER_S) /* for its start */
#define WARNING_PAUSE_NS (60000 * NS_PER_MS)

enum reset_state { RESET_IDLE, RESET_DRAINING, RESET_HOLDING, RESET_RUNNING };

struct watched {
    struct nvml_verdict verdict;
    bool warned;
    uint64_t warned_ns;
    bool told_processes;
    bool was_reset; /* a reset was tried at reset_ns */
    uint64_t reset_ns;
};

struct gpu_health {
    struct gpu_health_uses uses;
    const char *library;
    const struct gpu_reset_way *way; /* NULL: GPUs are not reset */
    struct nvml_monitor *monitor;
    uv_timer_t timer;
    uint64_t started_ns;
    bool open;
    bool told_trouble;
    char trouble[NVML_REASON_BYTES];
    char doubted[NVML_REASON_BYTES]; /* the trouble that was counted as a doubt */
    uint32_t doubts, replaced;
    nvml_health_t reading; /* too large for a stack */
    struct watched gpus[CORE_GPUS_MAX];

    /* One reset at a time. */
    enum reset_state state;
    uint32_t reset_gpu;
    uint64_t since_ns;
    struct gpu_reset *reset; /* RUNNING */
};

struct gpu_health *gpu_health_new(const struct gpu_health_uses *uses, const char *library,
                                  const struct gpu_reset_way *reset)
{
    struct gpu_health *health = calloc(1, sizeof(*health));

    if (health) {
        health->uses = *uses;
        health->started_ns = clock_now_ns();
        health->library = library;
        health->way = reset;
        for (uint32_t i = 0; i < CORE_GPUS_MAX; i++) {
            health->gpus[i].verdict.available = true;
        }
    }
    return health;
}

void gpu_health_free(struct gpu_health *health)
{
    free(health);
}

static const char *gpu_uuid(const struct gpu_health *health, uint32_t gpu)
{
    return health->uses.gpus->gpus[gpu].uuid;
}

/* ---- resetting ---- */

static void note_reset(struct gpu_health *health, const char *what)
{
    events_admin(health->uses.events, "gpu_reset", CORE_NONE, "GPU %" PRIu32 " (%s): %s",
                 health->reset_gpu, gpu_uuid(health, health->reset_gpu), what);
}

static void end_reset(struct gpu_health *health)
{
    health->state = RESET_IDLE;
    health->gpus[health->reset_gpu].was_reset = true;
    health->gpus[health->reset_gpu].reset_ns = clock_now_ns();
    nvml_monitor_hold(health->monitor, false);
}

static void tell_result(struct gpu_health *health, int error, const struct gpu_reset_result *result)
{
    char text[GPU_RESET_OUTPUT_BYTES + 128];

    if (error < 0) {
        snprintf(text, sizeof(text), "the reset command %s could not be run: %s", health->way->name,
                 strerror(-error));
    } else if (result->timed_out) {
        snprintf(text, sizeof(text), "the reset command was killed after %u s: %s",
                 GPU_RESET_TIMEOUT_MS / 1000, result->output);
    } else if (result->status != 0) {
        snprintf(text, sizeof(text), "the reset command failed with status %d: %s", result->status,
                 result->output);
    } else {
        snprintf(text, sizeof(text), "reset in %" PRIu64 " ms", result->took_ms);
        metrics_record_gpu_reset(core_metrics(health->uses.core), health->reset_gpu);
    }
    note_reset(health, text);
}

static void run_reset(struct gpu_health *health)
{
    int ret = gpu_reset_start(health->way, gpu_uuid(health, health->reset_gpu), &health->reset);

    if (ret < 0) {
        tell_result(health, ret, NULL);
        end_reset(health);
        return;
    }
    health->state = RESET_RUNNING;
}

static void consider_reset(struct gpu_health *health, uint32_t gpu)
{
    const struct watched *watched = &health->gpus[gpu];

    if (!health->way || health->state != RESET_IDLE || !watched->verdict.needs_reset ||
        (watched->was_reset &&
         clock_now_ns() - watched->reset_ns < GPU_HEALTH_RESET_PAUSE_MS * NS_PER_MS)) {
        return;
    }
    health->state = RESET_DRAINING;
    health->reset_gpu = gpu;
    health->since_ns = clock_now_ns();
    note_reset(health, "is to be reset; waiting for its processes to leave");
}

static void advance_reset(struct gpu_health *health)
{
    uint64_t waited_ns = clock_now_ns() - health->since_ns;
    struct gpu_reset_result result;
    int error;

    switch (health->state) {
    case RESET_IDLE: return;
    case RESET_RUNNING:
        if (gpu_reset_ended(health->reset, &error, &result)) {
            tell_result(health, error, &result);
            end_reset(health);
        }
        return;
    case RESET_DRAINING:
        nvml_monitor_read(health->monitor, health->reset_gpu, &health->reading);
        if ((health->reading.has & NVML_HAS_PROCESSES) && health->reading.process_count == 0) {
            nvml_monitor_hold(health->monitor, true);
            health->state = RESET_HOLDING;
            health->since_ns = clock_now_ns();
        } else if (waited_ns > GPU_HEALTH_DRAIN_MS * NS_PER_MS) {
            if (health->reading.has & NVML_HAS_PROCESSES) {
                note_reset(health, "is not reset: processes still use it (nvidia-smi lists them)");
                end_reset(health);
            } else {
                /* Nobody can say who uses it: the command will find out. */
                nvml_monitor_hold(health->monitor, true);
                health->state = RESET_HOLDING;
                health->since_ns = clock_now_ns();
            }
        }
        return;
    case RESET_HOLDING:
        if (nvml_monitor_held(health->monitor)) {
            run_reset(health);
        } else if (waited_ns > GPU_HEALTH_DRAIN_MS * NS_PER_MS) {
            note_reset(health, "is not reset: NVML hangs");
            end_reset(health);
        }
        return;
    }
}

/* ---- judging ---- */

/* Without the list nobody knows what the workers really have.  Said once. */
static void tell_of_processes(struct gpu_health *health, uint32_t gpu)
{
    const nvml_health_t *reading = &health->reading;
    struct watched *watched = &health->gpus[gpu];
    bool listed = (reading->has & NVML_HAS_PROCESSES) && !reading->processes_unlisted;

    if (reading->taken_ns == 0 || reading->stale || !watched->verdict.available) {
        return;
    }
    if (!listed && !watched->told_processes) {
        log_warning("GPU %" PRIu32 " (%s): NVML does not list its processes (it has %" PRIu32
                    "): the workers' GPU memory is not compared with their VMs' limits",
                    gpu, gpu_uuid(health, gpu), reading->process_count);
    }
    watched->told_processes = !listed;
}

static void judge(struct gpu_health *health, uint32_t gpu, uint64_t now_ns)
{
    struct watched *watched = &health->gpus[gpu];
    bool was_available = watched->verdict.available;
    struct nvml_verdict verdict;

    nvml_monitor_read(health->monitor, gpu, &health->reading);
    nvml_health_judge(&health->reading, &verdict);
    if (health->reading.taken_ns == 0 && !was_available) {
        /* No news is no reason to believe that it is well again. */
        return;
    }
    watched->verdict = verdict;
    if (verdict.available != was_available) {
        events_admin(health->uses.events, "gpu_health", CORE_NONE, "GPU %" PRIu32 " (%s) %s%s", gpu,
                     gpu_uuid(health, gpu),
                     verdict.available ? "is well again" : "is taken out of use: ", verdict.reason);
        core_gpu_set_available(health->uses.core, gpu, verdict.available, now_ns);
    }
    tell_of_processes(health, gpu);
    if (!verdict.warning[0]) {
        watched->warned = false;
    } else if (!watched->warned && now_ns - watched->warned_ns > WARNING_PAUSE_NS) {
        watched->warned = true;
        watched->warned_ns = now_ns;
        log_warning("GPU %" PRIu32 " (%s): %s", gpu, gpu_uuid(health, gpu), verdict.warning);
    }
}

/* Not while a GPU is reset: NVML is down for that, and a probe would be in its way. */
static void doubt(struct gpu_health *health, bool running, uint64_t now_ns)
{
    uint32_t replaced = nvml_monitor_replaced(health->monitor);

    if (health->state != RESET_IDLE) {
        return;
    }
    if (running) {
        health->doubted[0] = '\0';
    } else if (now_ns - health->started_ns > NVML_PATIENCE_NS &&
               strcmp(health->doubted, health->trouble) != 0) {
        memcpy(health->doubted, health->trouble, sizeof(health->doubted));
        health->doubts++;
    }
    if (replaced != health->replaced) {
        health->replaced = replaced;
        health->doubts++;
        log_warning("the NVIDIA driver's libraries were replaced while this program runs: looking "
                    "whether the driver still works");
    }
}

uint32_t gpu_health_doubts(const struct gpu_health *health)
{
    return health ? health->doubts : 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct gpu_health *health = timer->data;
    uint64_t now_ns = clock_now_ns();
    bool running = nvml_monitor_running(health->monitor, health->trouble);

    doubt(health, running, now_ns);
    if (!running && health->state == RESET_IDLE && !health->told_trouble &&
        now_ns - health->started_ns > NVML_PATIENCE_NS) {
        health->told_trouble = true;
        log_warning("no news about the GPUs' health: %s", health->trouble);
    }
    for (uint32_t gpu = 0; gpu < health->uses.gpus->count; gpu++) {
        judge(health, gpu, now_ns);
        consider_reset(health, gpu);
    }
    advance_reset(health);
}

int gpu_health_start(struct gpu_health *health)
{
    const char *uuids[CORE_GPUS_MAX];
    struct nvml_monitor_config config = {
        .path = health->library,
        .uuids = uuids,
        .count = health->uses.gpus->count,
        .interval_ms = NVML_MONITOR_INTERVAL_MS,
    };
    int ret;

    _Static_assert(CORE_GPUS_MAX <= NVML_MONITOR_GPUS_MAX, "every GPU is watched");
    for (uint32_t i = 0; i < config.count; i++) {
        uuids[i] = gpu_uuid(health, i);
    }
    ret = nvml_monitor_start(&config, &health->monitor);
    if (ret < 0) {
        return ret;
    }
    ret = uv_timer_init(health->uses.loop, &health->timer);
    if (ret < 0) {
        nvml_monitor_stop(health->monitor, GPU_HEALTH_STOP_MS);
        health->monitor = NULL;
        return ret;
    }
    health->open = true;
    health->timer.data = health;
    return uv_timer_start(&health->timer, on_timer, GPU_HEALTH_LOOK_MS, GPU_HEALTH_LOOK_MS);
}

void gpu_health_stop(struct gpu_health *health)
{
    if (!health || !health->open) {
        return;
    }
    health->open = false;
    uv_close((uv_handle_t *)&health->timer, NULL);
    if (health->state == RESET_RUNNING) {
        gpu_reset_abandon(health->reset);
    }
    nvml_monitor_stop(health->monitor, GPU_HEALTH_STOP_MS);
    health->monitor = NULL;
}

/* ---- showing ---- */

const char *gpu_health_trouble(struct gpu_health *health)
{
    if (!health || !health->monitor) {
        return "";
    }
    nvml_monitor_running(health->monitor, health->trouble);
    return health->trouble;
}

const char *gpu_health_reason(const struct gpu_health *health, uint32_t gpu)
{
    return health && gpu < CORE_GPUS_MAX ? health->gpus[gpu].verdict.reason : "";
}

uint64_t gpu_health_process_bytes(struct gpu_health *health, uint32_t gpu, uint32_t pid)
{
    if (!health || !health->monitor || gpu >= health->uses.gpus->count) {
        return 0;
    }
    nvml_monitor_read(health->monitor, gpu, &health->reading);
    if (health->reading.stale) {
        return 0;
    }
    for (uint32_t i = 0; i < health->reading.process_count && i < NVML_PROCESSES_MAX; i++) {
        if (health->reading.processes[i].pid == pid) {
            return health->reading.processes[i].used_bytes;
        }
    }
    return 0;
}

static void put_known(struct json_out *json, const nvml_health_t *reading, uint32_t has,
                      const char *key, uint64_t value)
{
    jout_uint_if(json, key, (reading->has & has) != 0, value);
}

void gpu_health_put_json(struct gpu_health *health, struct json_out *json, uint32_t gpu)
{
    const nvml_health_t *reading;
    const struct nvml_verdict *verdict;
    struct nvml_verdict newest; /* the warning is the reading's, the rest is what was acted on */
    char clocks[128];

    if (!health || !health->monitor) {
        jout_null(json, "health");
        return;
    }
    nvml_monitor_read(health->monitor, gpu, &health->reading);
    reading = &health->reading;
    verdict = &health->gpus[gpu].verdict;
    nvml_health_judge(reading, &newest);
    nvml_clocks_events_text(reading->clocks_events, clocks, sizeof(clocks));
    jout_object(json, "health");
    jout_bool(json, "available", verdict->available);
    jout_bool(json, "needs_reset", verdict->needs_reset);
    jout_bool(json, "resetting", health->state != RESET_IDLE && health->reset_gpu == gpu);
    jout_string(json, "reason", verdict->reason);
    jout_string(json, "warning", newest.warning);
    jout_bool(json, "stale", reading->stale);
    jout_uint(json, "age_ms", reading->age_ns / NS_PER_MS);
    jout_bool(json, "lost", reading->lost);
    put_known(json, reading, NVML_HAS_TEMPERATURE, "temperature_c", reading->temperature_c);
    put_known(json, reading, NVML_HAS_SLOWDOWN, "slowdown_c", reading->slowdown_c);
    put_known(json, reading, NVML_HAS_UTILIZATION, "gpu_percent", reading->gpu_percent);
    put_known(json, reading, NVML_HAS_UTILIZATION, "memory_percent", reading->memory_percent);
    put_known(json, reading, NVML_HAS_MEMORY, "memory_used_bytes", reading->memory_used_bytes);
    put_known(json, reading, NVML_HAS_MEMORY, "memory_total_bytes", reading->memory_total_bytes);
    put_known(json, reading, NVML_HAS_SM_CLOCK, "sm_clock_mhz", reading->sm_clock_mhz);
    put_known(json, reading, NVML_HAS_POWER, "power_mw", reading->power_mw);
    put_known(json, reading, NVML_HAS_POWER_LIMIT, "power_limit_mw", reading->power_limit_mw);
    put_known(json, reading, NVML_HAS_ECC, "ecc_corrected", reading->ecc_corrected);
    put_known(json, reading, NVML_HAS_ECC, "ecc_uncorrected", reading->ecc_uncorrected);
    jout_string(json, "clocks_events", reading->has & NVML_HAS_CLOCKS_EVENTS ? clocks : "");
    put_known(json, reading, NVML_HAS_ROWS, "rows_remapped", reading->rows_remapped);
    jout_bool(json, "rows_pending", reading->rows_pending);
    jout_bool(json, "rows_failed", reading->rows_failed);
    jout_bool(json, "pages_pending", reading->pages_pending);
    jout_string(json, "recovery_action",
                reading->has & NVML_HAS_RECOVERY ? nvml_recovery_name(reading->recovery_action)
                                                 : "");
    put_known(json, reading, NVML_HAS_XIDS, "xid_count", reading->xid_count);
    put_known(json, reading, NVML_HAS_XIDS, "last_xid", reading->last_xid);
    put_known(json, reading, NVML_HAS_PROCESSES, "processes", reading->process_count);
    jout_object_end(json);
}

void gpu_health_fill(struct gpu_health *health, uint32_t gpu, struct metrics_gpu_readings *readings)
{
    const uint64_t throttled = NVML_CLOCKS_POWER_CAP | NVML_CLOCKS_HW_SLOWDOWN |
                               NVML_CLOCKS_SW_THERMAL | NVML_CLOCKS_HW_THERMAL |
                               NVML_CLOCKS_POWER_BRAKE;
    const nvml_health_t *reading;

    if (!health || !health->monitor || gpu >= health->uses.gpus->count) {
        return;
    }
    nvml_monitor_read(health->monitor, gpu, &health->reading);
    reading = &health->reading;
    readings->age_seconds = (double)reading->age_ns / NS_PER_S;
    if (reading->taken_ns == 0 || reading->stale) {
        return; /* old values would look like new ones */
    }
    if (reading->has & NVML_HAS_TEMPERATURE) {
        readings->temperature_celsius = reading->temperature_c;
    }
    if (reading->has & NVML_HAS_POWER) {
        readings->power_watts = reading->power_mw / 1e3;
    }
    if (reading->has & NVML_HAS_POWER_LIMIT) {
        readings->power_limit_watts = reading->power_limit_mw / 1e3;
    }
    if (reading->has & NVML_HAS_UTILIZATION) {
        readings->utilization_ratio = reading->gpu_percent / 100.0;
        readings->memory_utilization_ratio = reading->memory_percent / 100.0;
    }
    if (reading->has & NVML_HAS_MEMORY) {
        readings->memory_used_bytes = (double)reading->memory_used_bytes;
        readings->memory_total_bytes = (double)reading->memory_total_bytes;
    }
    if (reading->has & NVML_HAS_SM_CLOCK) {
        readings->sm_clock_hertz = reading->sm_clock_mhz * 1e6;
    }
    if (reading->has & NVML_HAS_ECC) {
        readings->ecc_corrected = (double)reading->ecc_corrected;
        readings->ecc_uncorrected = (double)reading->ecc_uncorrected;
    }
    if (reading->has & NVML_HAS_XIDS) {
        readings->xid_errors = (double)reading->xid_count;
    }
    if (reading->has & NVML_HAS_CLOCKS_EVENTS) {
        readings->throttled = (reading->clocks_events & throttled) != 0;
    }
    readings->reset_required = health->gpus[gpu].verdict.needs_reset;
}
