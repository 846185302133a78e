/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/libraries/dnn_old.h"

#include <dlfcn.h>
#include <string.h>

#include "cuda/blas.h"
#include "worker/libraries/dnn_run.h"
#include "worker/libraries/library_call.h"

#define FUNCTIONS_MAX 64u

static struct {
    int (*CreateTensorDescriptor)(void **desc);
    int (*DestroyTensorDescriptor)(void *desc);
    int (*SetTensorNdDescriptor)(void *desc, int type, int count, const int *dims,
                                 const int *strides);
    int (*CreateActivationDescriptor)(void **desc);
    int (*DestroyActivationDescriptor)(void *desc);
    int (*SetActivationDescriptor)(void *desc, int mode, int nan, double coefficient);
    void *functions[FUNCTIONS_MAX];
} old;

bool dnn_old_find(void *opened)
{
    const struct {
        const char *name;
        void *function;
    } rows[] = {
        {"cudnnCreateTensorDescriptor", &old.CreateTensorDescriptor},
        {"cudnnDestroyTensorDescriptor", &old.DestroyTensorDescriptor},
        {"cudnnSetTensorNdDescriptor", &old.SetTensorNdDescriptor},
        {"cudnnCreateActivationDescriptor", &old.CreateActivationDescriptor},
        {"cudnnDestroyActivationDescriptor", &old.DestroyActivationDescriptor},
        {"cudnnSetActivationDescriptor", &old.SetActivationDescriptor},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        void *symbol = dlsym(opened, rows[i].name);

        if (!symbol) {
            return false;
        }
        memcpy(rows[i].function, &symbol, sizeof(symbol));
    }
    for (unsigned i = 0; i < dnn_old_end && i < FUNCTIONS_MAX; i++) {
        if (dnn_old_entries[i].name) { /* one that it lacks is refused when it is called */
            old.functions[i] = dlsym(opened, dnn_old_entries[i].name);
        }
    }
    return true;
}

/* ---- arguments ---- */

static uint64_t word(struct dnn_old *run)
{
    if (run->at == run->count) {
        run->status = DNN_BAD_PARAM;
        return 0;
    }
    return run->words[run->at++];
}

int dnn_old_number(struct dnn_old *run)
{
    return (int)word(run);
}

double dnn_old_real(struct dnn_old *run)
{
    uint64_t bits = word(run);
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

size_t dnn_old_size(struct dnn_old *run)
{
    uint64_t bytes = word(run);

    if (!driver_range_ok(run->call, run->last_address, bytes)) {
        run->status = DNN_BAD_PARAM;
    }
    return bytes;
}

/* None at all is for the library to judge. */
uint64_t dnn_old_address(struct dnn_old *run)
{
    run->last_address = word(run);
    if (run->last_address && !driver_range_ok(run->call, run->last_address, run->needed_bytes)) {
        run->status = DNN_BAD_PARAM;
    }
    return run->last_address;
}

const void *dnn_old_factor(struct dnn_old *run)
{
    if (run->at == run->count) {
        run->status = DNN_BAD_PARAM;
        return NULL;
    }
    return &run->words[run->at++];
}

/* Keeps the library's own descriptor until the call is over. */
static void *keep(struct dnn_old *run, void *real, bool is_tensor, int status)
{
    if (!real || status) {
        run->status = status ? status : DNN_ALLOC_FAILED;
    }
    if (real) {
        run->descs[run->desc_count].real = real;
        run->descs[run->desc_count++].is_tensor = is_tensor;
    }
    return real;
}

/* From its first to its last element. */
static uint64_t tensor_bytes(int type, unsigned count, const int dims[], const int strides[])
{
    unsigned __int128 last = 0;

    for (unsigned i = 0; i < count; i++) {
        last += (unsigned __int128)(unsigned)(dims[i] - 1) * (unsigned)strides[i];
    }
    return blas_clamp((last + 1) * dnn_data_bytes(type));
}

void *dnn_old_tensor(struct dnn_old *run)
{
    uint64_t head = word(run);
    unsigned count = head & 0xff;
    int type = (int)(head >> 8 & 0xffff), status;
    int dims[DNN_DIMENSIONS_MAX], strides[DNN_DIMENSIONS_MAX];
    void *real = NULL;

    for (unsigned i = 0; i < DNN_DIMENSIONS_MAX; i++) {
        uint64_t dimension = word(run);

        dims[i] = (int)(uint32_t)dimension;
        strides[i] = (int)(uint32_t)(dimension >> 32);
        if (i < count && (dims[i] <= 0 || strides[i] < 0)) {
            run->status = DNN_BAD_PARAM;
        }
    }
    run->needed_bytes = 1;
    if (count == 0) {
        return NULL;
    }
    if (run->status || count > DNN_DIMENSIONS_MAX || dnn_data_bytes(type) == 0 ||
        run->desc_count == DNN_OLD_DESCS_MAX) {
        run->status = DNN_BAD_PARAM;
        return NULL;
    }
    run->needed_bytes = tensor_bytes(type, count, dims, strides);
    status = old.CreateTensorDescriptor(&real);
    status = status ? status : old.SetTensorNdDescriptor(real, type, (int)count, dims, strides);
    return keep(run, real, true, status);
}

void *dnn_old_activation(struct dnn_old *run)
{
    uint64_t head = word(run);
    double coefficient = dnn_old_real(run);
    void *real = NULL;
    int status;

    run->needed_bytes = 1; /* workspaces follow */
    if (head == 0) {
        return NULL;
    }
    if (run->status || run->desc_count == DNN_OLD_DESCS_MAX) {
        run->status = DNN_BAD_PARAM;
        return NULL;
    }
    status = old.CreateActivationDescriptor(&real);
    status = status ? status
                    : old.SetActivationDescriptor(real, (int)(head >> 8 & 0xff),
                                                  (int)(head >> 16 & 1), coefficient);
    return keep(run, real, false, status);
}

bool dnn_old_is_well(struct dnn_old *run)
{
    if (!run->status && run->at != run->count) {
        run->status = DNN_BAD_PARAM;
    }
    return run->status == DNN_SUCCESS;
}

/* ---- calls ---- */

static void drop(struct dnn_old *run)
{
    for (unsigned i = 0; i < run->desc_count; i++) {
        if (run->descs[i].is_tensor) {
            old.DestroyTensorDescriptor(run->descs[i].real);
        } else {
            old.DestroyActivationDescriptor(run->descs[i].real);
        }
    }
}

static int run_call(struct driver_call *call, struct dnn *handle, bool is_question)
{
    uint64_t number = call->arg_count > 1 ? call->args[1] : 0;
    struct dnn_old run = {.call = call, .needed_bytes = 1};
    CUstream stream = NULL;
    int status;

    if (number >= dnn_old_end || !dnn_old_entries[number].name ||
        dnn_old_entries[number].is_question != is_question ||
        call->payload_bytes % sizeof(run.words[0]) || call->payload_bytes > sizeof(run.words) ||
        call->payload_bytes == 0) {
        return DNN_BAD_PARAM;
    }
    if (!old.functions[number]) {
        return DNN_NOT_SUPPORTED;
    }
    memcpy(run.words, call->payload, call->payload_bytes);
    run.count = call->payload_bytes / (unsigned)sizeof(run.words[0]);
    if (!driver_stream(call, word(&run), &stream)) {
        return DNN_BAD_PARAM;
    }
    status = dnn_set_stream(handle, stream);
    if (status) {
        return status;
    }
    run.handle = dnn_real(handle);
    run.function = old.functions[number];
    status = dnn_old_entries[number].run(&run);
    drop(&run);
    call->out[1] = run.size;
    return status;
}

CUresult driver_run_dnn_old(struct driver_call *call)
{
    struct dnn *handle = dnn_of(call);

    return handle ? library_answer(call, "cuDNN", run_call(call, handle, false))
                  : CUDA_ERROR_INVALID_HANDLE;
}

CUresult driver_run_dnn_size(struct driver_call *call)
{
    struct dnn *handle = dnn_of(call);

    if (!handle) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    call->out[0] = (uint64_t)run_call(call, handle, true);
    call->out_count = 2;
    return CUDA_SUCCESS;
}
