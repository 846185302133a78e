/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The probe says which backend this host can use, and which GPUs it has.
 *
 * The mediator never touches a GPU driver, so it runs a worker to find out.
 * One JSON object on stdout:
 *   {"backend": "cuda", "driver": "CUDA 13.0",
 *    "gpus": [{"index": 0, "uuid": "GPU-...", "name": "NVIDIA H200",
 *              "memory_bytes": 150754820096, "compute": "9.0", "multiprocessors": 132}]}
 *   {"backend": "cuda", "reason": "what is wrong with the driver", "gpus": []}
 *   {"backend": "cpu", "reason": "why not CUDA: there is no driver", "gpus": [...]}
 */
#ifndef WORKER_PROBE_H
#define WORKER_PROBE_H

#include "worker/backend.h"

/*
 * `ops` NULL tries CUDA, then, where no driver is installed, the CPU.  Returns the
 * status to exit with: 1 when
 * the one backend that was asked for can't be used (said on the log).
 */
int probe_run(const struct backend_ops *ops);

#endif /* WORKER_PROBE_H */
