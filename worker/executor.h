/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The executor is the worker's loop between its socket and its backend. */
#ifndef WORKER_EXECUTOR_H
#define WORKER_EXECUTOR_H

#include <stdbool.h>

#include "vgpu/vgpu_worker.h"
#include "worker/backend.h"

struct executor_config {
    int fd;         /* SOCK_SEQPACKET, connected; stays the caller's */
    unsigned depth; /* jobs taken ahead of completion, 1 to WORKER_DEPTH_MAX */
    bool test_ops;  /* take the TEST_ operations */
    uint32_t vm_id; /* each VM sees an own UUID of the GPU */
    const struct backend_ops *ops;
    bool has_driver;         /* of CUDA, for programs of guests */
    struct backend *backend; /* opened with at least `depth` slots; stays the caller's */
};

/*
 * Announces READY and serves RUN frames until QUIT, the socket's end, a
 * malformed frame or the loss of the GPU's context.  Returns the exit status
 * that the contract gives to that.  *in_flight says if jobs were left unfinished:
 * then closing the backend could wait for ever.
 */
enum vgpu_worker_exit executor_run(const struct executor_config *config, bool *in_flight);

#endif /* WORKER_EXECUTOR_H */
