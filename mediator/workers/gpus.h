/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module asks vgpu-worker --probe which GPUs there are, and which backend the workers use. */
#ifndef MEDIATOR_WORKERS_GPUS_H
#define MEDIATOR_WORKERS_GPUS_H

#include <stddef.h>
#include <stdint.h>

#include "core/core.h"
#include "mediator/options.h"
#include "mediator/workers/keeper_link.h"

#define GPUS_PROBE_DEADLINE_MS 20000

struct gpu_info {
    char uuid[CORE_NAME_BYTES];
    char name[CORE_NAME_BYTES];
    uint64_t memory_bytes;
};

struct gpu_list {
    char backend[8];  /* "cpu", "cuda" */
    char reason[256]; /* why not CUDA, "" when it is */
    uint32_t count;
    struct gpu_info gpus[CORE_GPUS_MAX];
};

/*
 * Has the keeper run the probe and waits for it, on any thread.  A driver that
 * fails is no error: the list then has the backend "cuda", no GPU, and the reason.  -errno
 * with an `error` for the administrator.
 */
int gpus_probe(const struct options *options, struct keeper_link *keeper, struct gpu_list *list,
               char *error, size_t error_bytes);

#endif /* MEDIATOR_WORKERS_GPUS_H */
