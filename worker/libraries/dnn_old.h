/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module makes a call of cuDNN's older interface.  The generated functions take its words
 * apart in their order; what a word makes wrong is found before the library hears of the call.
 */
#ifndef WORKER_LIBRARIES_DNN_OLD_H
#define WORKER_LIBRARIES_DNN_OLD_H

#include "cuda/dnn.h"
#include "worker/cuda/channel/driver_internal.h"

#define DNN_OLD_DESCS_MAX 12u

struct dnn_old {
    struct driver_call *call;
    void *handle, *function; /* of the library */
    uint64_t words[DNN_WORDS_MAX];
    unsigned count, at;
    uint64_t needed_bytes; /* what must lie behind an address now: the last tensor */
    uint64_t last_address; /* a size after it says how much lies there */
    int status;            /* not 0: an argument is wrong */
    size_t size;           /* the answer to a question */
    struct {
        void *real;
        bool is_tensor;
    } descs[DNN_OLD_DESCS_MAX];
    unsigned desc_count;
};

struct dnn_old_entry {
    const char *name; /* NULL: no such function */
    int (*run)(struct dnn_old *run);
    bool is_question;
};

extern const struct dnn_old_entry dnn_old_entries[];
extern const unsigned dnn_old_end;

int dnn_old_number(struct dnn_old *run);
double dnn_old_real(struct dnn_old *run);
size_t dnn_old_size(struct dnn_old *run);
uint64_t dnn_old_address(struct dnn_old *run);
const void *dnn_old_factor(struct dnn_old *run);
void *dnn_old_tensor(struct dnn_old *run);
void *dnn_old_activation(struct dnn_old *run);
/* All words are taken, and nothing was wrong. */
bool dnn_old_is_well(struct dnn_old *run);

/* Functions of the library; false: one is missing. */
bool dnn_old_find(void *opened);

#endif
