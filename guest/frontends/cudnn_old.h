/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This module makes one call of cuDNN's older interface.  The generated functions begin it, add
 * their arguments in their order, and end it.  As with cuBLAS the first call of a kind is waited
 * for.
 */
#ifndef GUEST_FRONTENDS_CUDNN_OLD_H
#define GUEST_FRONTENDS_CUDNN_OLD_H

#include "guest/frontends/cudnn.h"

#define DNN_FACTORS_MAX 4u

struct dnn_old {
    struct cuda_call call;
    struct dnn_handle *handle;
    unsigned number;
    int status; /* what an argument has made of it */
    uint64_t key;
    const void *factors[DNN_FACTORS_MAX]; /* until the first tensor says what they are */
    unsigned factor_at[DNN_FACTORS_MAX], factor_count;
    int data_type; /* of the first tensor; -1: there was none yet */
    unsigned count;
    uint64_t words[DNN_WORDS_MAX];
};

/* A cudnnStatus_t: 0, or what the function answers at once. */
int dnn_old_begin(struct dnn_old *call, struct dnn_handle *handle, unsigned number);
void dnn_old_number(struct dnn_old *call, int value);
void dnn_old_real(struct dnn_old *call, double value);
void dnn_old_size(struct dnn_old *call, size_t bytes);
void dnn_old_address(struct dnn_old *call, const void *address);
void dnn_old_factor(struct dnn_old *call, const void *factor);
void dnn_old_tensor(struct dnn_old *call, const void *tensor);
void dnn_old_activation(struct dnn_old *call, const void *activation);
int dnn_old_end(struct dnn_old *call);
/* A question: the answer is a size. */
int dnn_old_ask(struct dnn_old *call, size_t *size);

#endif
