/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GPU health acts on what NVML says: that decides whether the core may use a GPU, is shown to
 * the administrator, and may have the GPU reset by the command that was configured for it.
 */
#ifndef MEDIATOR_GPU_GPU_HEALTH_H
#define MEDIATOR_GPU_GPU_HEALTH_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "core/metrics/metrics_export.h"
#include "mediator/gpu/nvml_health.h"

#define GPU_HEALTH_LOOK_MS 500u
#define GPU_HEALTH_STOP_MS 500u           /* longest wait for a hung NVML at the end */
#define GPU_HEALTH_RESET_PAUSE_MS 600000u /* between two resets of one GPU */
#define GPU_HEALTH_DRAIN_MS 30000u        /* for the GPU's processes to leave before a reset */

struct core;
struct events;
struct gpu_health;
struct gpu_reset_way;
struct gpu_list;
struct json_out;

/* What it works with.  All of it outlives gpu_health_free(). */
struct gpu_health_uses {
    uv_loop_t *loop;
    struct core *core;
    struct events *events;
    const struct gpu_list *gpus; /* those to watch */
};

/*
 * `library`: NVML's, NULL for the usual one.  `reset`: who resets GPUs, NULL for nobody;
 * both are kept.  NULL when there is no memory.
 */
struct gpu_health *gpu_health_new(const struct gpu_health_uses *uses, const char *library,
                                  const struct gpu_reset_way *reset);
int gpu_health_start(struct gpu_health *health);
/* Closes the timer.  A reset command that still runs is left to end by itself. */
void gpu_health_stop(struct gpu_health *health);
/* After the loop has run since.  NULL is fine. */
void gpu_health_free(struct gpu_health *health);

/* ---- showing it.  `health` NULL: NVML isn't used (--no-nvml, no NVIDIA GPU) ---- */

/* "health": {...} of one GPU, null without NVML. */
void gpu_health_put_json(struct gpu_health *health, struct json_out *json, uint32_t gpu);
/* Why there is no news at all, "" when there is. */
const char *gpu_health_trouble(struct gpu_health *health);
/*
 * A number that grows whenever something makes it doubtful that the driver works: NVML stops, or
 * says something else, or its library was replaced.  Whether it works only a probe can say.
 */
uint32_t gpu_health_doubts(const struct gpu_health *health);
/* Why the GPU is not in use, "" where it is or nobody knows; valid until the next look. */
const char *gpu_health_reason(const struct gpu_health *health, uint32_t gpu);
/* GPU memory of a worker, in bytes; 0 = unknown, also where the last reading is stale. */
uint64_t gpu_health_process_bytes(struct gpu_health *health, uint32_t gpu, uint32_t pid);
/* For the metrics: what isn't known, or is stale, stays as it is. */
void gpu_health_fill(struct gpu_health *health, uint32_t gpu,
                     struct metrics_gpu_readings *readings);

#endif /* MEDIATOR_GPU_GPU_HEALTH_H */
