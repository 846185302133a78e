/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of the front end of cuDNN share these declarations. */
#ifndef GUEST_FRONTENDS_CUDNN_H
#define GUEST_FRONTENDS_CUDNN_H

#include "cuda/dnn.h"
#include "guest/cuda/frontend.h"

struct dnn_handle {
    uint64_t mark;
    uint64_t real; /* the worker's */
    CUstream stream;
};

struct dnn_handle *dnn_handle(void *opaque);

/* A cudnnStatus_t of an answer of the channel. */
int dnn_status_of(CUresult result);
/* Begins a call; makes the primary context where the thread has none. */
int dnn_open(struct cuda_call *call, uint16_t op);

#endif
