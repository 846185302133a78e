/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor watches GPUs through NVML, in a thread of its own: NVML may hang, and then what
 * is known only grows old.  Nothing here ever waits for NVML, except nvml_monitor_stop(), for
 * a bounded time.
 */
#ifndef MEDIATOR_GPU_NVML_MONITOR_H
#define MEDIATOR_GPU_NVML_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "mediator/gpu/nvml_api.h"
#include "mediator/gpu/nvml_health.h"

#define NVML_MONITOR_GPUS_MAX 16u
#define NVML_MONITOR_INTERVAL_MS 1000u
#define NVML_MONITOR_UUID_BYTES 64u

struct nvml_monitor;

struct nvml_monitor_config {
    const char *path;         /* of the library; NULL: NVML_LIBRARY */
    const char *const *uuids; /* "GPU-..."; copied */
    uint32_t count;           /* 1 to NVML_MONITOR_GPUS_MAX */
    uint32_t interval_ms;     /* between two readings, at least 10 */
    uint32_t stale_ms;        /* older news are stale; 0: 5 intervals, at least 5 s */
    uint32_t retry_ms;        /* after NVML failed to start, or a GPU was lost; 0: 10 s */
};

/*
 * Starts the thread; NVML itself is opened and initialised in there, and tried
 * again when it fails.  0, or -errno with nothing started.
 */
int nvml_monitor_start(const struct nvml_monitor_config *config, struct nvml_monitor **monitor);

/*
 * The last reading of GPU `index` (its place in config.uuids), with its age.
 * All zero but age and stale, as long as there was none.
 */
void nvml_monitor_read(struct nvml_monitor *monitor, uint32_t index, nvml_health_t *health);

/* Why NVML isn't running, "" when it is. `reason` is filled. */
bool nvml_monitor_running(struct nvml_monitor *monitor, char reason[NVML_REASON_BYTES]);

/* How often the library's file was replaced since it was loaded: the driver was upgraded. */
uint32_t nvml_monitor_replaced(struct nvml_monitor *monitor);

/*
 * hold: shuts NVML down so that the GPUs are free to be reset; release: begins
 * anew, with the Xids forgotten.  Takes effect soon: nvml_monitor_held() tells.
 */
void nvml_monitor_hold(struct nvml_monitor *monitor, bool hold);
bool nvml_monitor_held(struct nvml_monitor *monitor);

/*
 * Stops and frees.  A thread that NVML does not give back within timeout_ms is
 * left alone with its memory; false then.
 */
bool nvml_monitor_stop(struct nvml_monitor *monitor, uint32_t timeout_ms);

#endif /* MEDIATOR_GPU_NVML_MONITOR_H */
