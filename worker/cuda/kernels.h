/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Our kernels are PTX, which the driver compiles for its GPU: a third of a second that no worker
 * should take twice.  The keeper has them compiled once for each GPU, by a worker that is given
 * nothing of any guest, and hands the image to all that follow (--kernels-fd).
 */
#ifndef WORKER_CUDA_KERNELS_H
#define WORKER_CUDA_KERNELS_H

#include "worker/backend.h"
#include "worker/cuda/cuda_api.h"

/*
 * Loads what is in `fd`, or, without one (-1) or if it is of no use, the PTX.  The driver's result,
 * with its compiler's words in `log`.
 */
cuda_result kernels_load(const struct cuda_api *api, int fd, cuda_module *module, char *log,
                         size_t log_bytes);

/* As struct backend_ops has it. */
int kernels_compile(const char *gpu, int fd);

#endif /* WORKER_CUDA_KERNELS_H */
