/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module runs the command that the administrator configured to reset a GPU
 * (--gpu-reset-command).  There is none by default: a reset ends whatever else uses the GPU,
 * which only the administrator can know.
 */
#ifndef MEDIATOR_GPU_GPU_RESET_H
#define MEDIATOR_GPU_GPU_RESET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/launcher.h"

#define GPU_RESET_TIMEOUT_MS (VGPU_KEEPER_RESET_S * 1000u)
#define GPU_RESET_GRACE_MS 20000u /* then nobody waits for its end any more */
#define GPU_RESET_OUTPUT_BYTES 512u

struct gpu_reset_result {
    int status;     /* exit status; 128 + signal when one ended it */
    bool timed_out; /* it and its children were killed */
    uint64_t took_ms;
    char output[GPU_RESET_OUTPUT_BYTES]; /* the beginning of what it printed, one line */
};

/* Who runs the command, with fds as of launcher.h: we, or vgpu-keeper.  It outlives all resets. */
struct gpu_reset_way {
    const char *name; /* for people: the command's path, or whose it is */
    /* The descriptors stay the caller's.  0 or -errno.  Any thread. */
    int (*ask)(void *opaque, const char *uuid, const int fds[LAUNCHER_FDS]);
    void *opaque;
};

/*
 * Has it run with this UUID and waits for it: call it where blocking is allowed.  Its group is
 * killed after GPU_RESET_TIMEOUT_MS by who runs it.  0 when it could be started, whatever came of
 * it; else -errno.
 */
int gpu_reset_run(const struct gpu_reset_way *way, const char *uuid,
                  struct gpu_reset_result *result);

/*
 * The same in a thread of its own.  Asked now and then, gpu_reset_ended() tells
 * the end, once: it frees *reset then, and *error is what gpu_reset_run()
 * returned.  gpu_reset_abandon() lets the command end by itself.
 */
struct gpu_reset;
int gpu_reset_start(const struct gpu_reset_way *way, const char *uuid, struct gpu_reset **reset);
bool gpu_reset_ended(struct gpu_reset *reset, int *error, struct gpu_reset_result *result);
void gpu_reset_abandon(struct gpu_reset *reset);

/* Did it do its work? */
static inline bool gpu_reset_succeeded(const struct gpu_reset_result *result)
{
    return result->status == 0 && !result->timed_out;
}

#endif /* MEDIATOR_GPU_GPU_RESET_H */
