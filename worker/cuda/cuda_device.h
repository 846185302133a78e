/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module finds out which GPUs there are, and which one is meant. */
#ifndef WORKER_CUDA_CUDA_DEVICE_H
#define WORKER_CUDA_CUDA_DEVICE_H

#include "worker/backend.h"
#include "worker/cuda/cuda_api.h"

/* 0, or -EIO and a sentence in `reason`. */
int cuda_device_describe(const struct cuda_api *api, int index, struct backend_gpu *gpu,
                         char reason[CUDA_REASON_BYTES]);

/*
 * Opens the driver and finds the GPU that `wanted` names: a UUID ("GPU-...",
 * "MIG-..."), an index as nvidia-smi counts, or NULL for the first.  Fills *api,
 * *gpu (whose index is the driver's in this process) and returns 0, or -errno
 * and a sentence.
 */
int cuda_device_open(struct cuda_api *api, const char *wanted, struct backend_gpu *gpu,
                     char reason[CUDA_REASON_BYTES]);

/* backend_ops.list */
int cuda_device_list(struct backend_gpu *gpus, unsigned max, char driver[32],
                     char reason[BACKEND_REASON_BYTES]);

#endif /* WORKER_CUDA_CUDA_DEVICE_H */
