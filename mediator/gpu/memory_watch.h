/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory watch compares what NVML says of the workers with their VMs' memory limits.
 *
 * A worker counts what its programs take, as far as calls show it.  What they don't show (variables
 * of modules, the driver's own needs) only NVML knows.  A worker that has more than its VM's limit
 * and the allowance, at several looks in a row, is ended: its programs lose their contexts, other
 * VMs lose nothing, and it counts as a fault of the VM.
 */
#ifndef MEDIATOR_GPU_MEMORY_WATCH_H
#define MEDIATOR_GPU_MEMORY_WATCH_H

#include <stdint.h>
#include <uv.h>

#define MEMORY_WATCH_LOOK_MS 1000u
#define MEMORY_WATCH_LOOKS 3u /* in a row: NVML's news are half a second old */
/* What a context takes by itself, 549 MiB on an H200, with room for larger GPUs.  A worker has
 * one, and one for each program that has made one: later ones are charged. */
#define MEMORY_WATCH_CONTEXT_BYTES ((uint64_t)768 << 20)

struct core;
struct gpu_health;
struct memory_watch;
struct supervisor;

/* All of it outlives memory_watch_free(). */
struct memory_watch_uses {
    uv_loop_t *loop;
    struct core *core;
    struct supervisor *supervisor;
    struct gpu_health *gpu_health;
};

/* Starts it.  NULL: there is no memory, or no timer. */
struct memory_watch *memory_watch_new(const struct memory_watch_uses *uses);
/* Closes the timer.  NULL is fine. */
void memory_watch_stop(struct memory_watch *watch);
/* After the loop has run since.  NULL is fine. */
void memory_watch_free(struct memory_watch *watch);

#endif /* MEDIATOR_GPU_MEMORY_WATCH_H */
