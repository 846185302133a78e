/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module has the handles of cuDNN, for the files of both of its interfaces. */
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
/* By the process, or with its context.  It lives on while a descriptor uses it. */
void dnn_handle_end(struct driver_channel *channel, struct dnn *handle);

/* Handles that a descriptor uses: a bit for each. */
uint32_t dnn_handle_bit(const struct dnn *handle);
/* From now on also `more`, which live. */
void dnn_handles_use(struct driver_channel *channel, uint32_t *used, uint32_t more);
void dnn_handles_leave(struct driver_channel *channel, uint32_t used);

#endif
