/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Handles of cuDNN, for the files of both of its interfaces. */
#ifndef WORKER_LIBRARIES_DNN_RUN_H
#define WORKER_LIBRARIES_DNN_RUN_H

#include "worker/cuda/channel/driver_internal.h"

struct dnn;

/* That of the call's first argument; NULL: no live one. */
struct dnn *dnn_of(struct driver_call *call);
/* The library's own. */
void *dnn_real(const struct dnn *handle);
/* A cudnnStatus_t. */
int dnn_set_stream(struct dnn *handle, CUstream stream);

#endif
