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

#define GPU_RESET_TIMEOUT_MS 120000u
#define GPU_RESET_OUTPUT_BYTES 512u

struct gpu_reset_result {
    int status;     /* exit status; 128 + signal when one ended it */
    bool timed_out; /* it and its children were killed */
    uint64_t took_ms;
    char output[GPU_RESET_OUTPUT_BYTES]; /* the beginning of what it printed, one line */
};

/*
 * Runs `command UUID` without a shell and waits for it: call it where blocking
 * is allowed.  Its group is killed after timeout_ms.  0 when it could be
 * started, whatever came of it; else -errno.  `command` is a program's path.
 */
int gpu_reset_run(const char *command, const char *uuid, uint32_t timeout_ms,
                  struct gpu_reset_result *result);

/*
 * The same in a thread of its own.  Asked now and then, gpu_reset_ended() tells
 * the end, once: it frees *reset then, and *error is what gpu_reset_run()
 * returned.  gpu_reset_abandon() lets the command end by itself.
 */
struct gpu_reset;
int gpu_reset_start(const char *command, const char *uuid, uint32_t timeout_ms,
                    struct gpu_reset **reset);
bool gpu_reset_ended(struct gpu_reset *reset, int *error, struct gpu_reset_result *result);
void gpu_reset_abandon(struct gpu_reset *reset);

/* Did it do its work? */
static inline bool gpu_reset_succeeded(const struct gpu_reset_result *result)
{
    return result->status == 0 && !result->timed_out;
}

#endif /* MEDIATOR_GPU_GPU_RESET_H */
