/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This engine does bulk operations on a GPU. */
#ifndef WORKER_CUDA_BULK_CUDA_H
#define WORKER_CUDA_BULK_CUDA_H

#include "worker/channel/bulk.h"
#include "worker/cuda/cuda_api.h"
#include "worker/memory_account.h"

struct bulk_cuda_config {
    const struct cuda_api *api;
    cuda_stream stream; /* jobs of 1.0 use it too; theirs and ours are in order */
    cuda_function add_i32, add_f32, saxpy, sgemm; /* of kernels.ptx */
    unsigned multiprocessors;
    struct memory_account *account;
};

struct bulk_cuda;

/* In the current context, which outlives it. */
cuda_result bulk_cuda_open(const struct bulk_cuda_config *config, struct bulk_cuda **bulk);
/* Nothing is in flight.  Memory goes with the context.  NULL is allowed. */
void bulk_cuda_close(struct bulk_cuda *bulk);

const struct bulk_engine *bulk_cuda_engine(const struct bulk_cuda *bulk);

#endif /* WORKER_CUDA_BULK_CUDA_H */
