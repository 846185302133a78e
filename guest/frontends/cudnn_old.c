/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest/frontends/cudnn_old.h"

#include <stdlib.h>
#include <string.h>

#include "cudnn_hand.h"
#include "guest/frontends/blas_call.h"

#define TENSOR_MARK 0x7667707574656e73ull
#define ACTIVATION_MARK 0x7667707561637469ull
#define SIZES 1024u /* that are remembered; another one in the same place is asked for again */

struct tensor {
    uint64_t mark;
    int data_type, count;
    int dims[DNN_DIMENSIONS_MAX], strides[DNN_DIMENSIONS_MAX];
};

struct activation {
    uint64_t mark;
    int mode, nan;
    double coefficient;
};

static struct {
    uint64_t key, bytes;
} sizes[SIZES];
static pthread_mutex_t sizes_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- descriptors ---- */

static struct tensor *tensor_of(const void *opaque)
{
    struct tensor *tensor = (struct tensor *)opaque;

    return tensor && tensor->mark == TENSOR_MARK ? tensor : NULL;
}

static struct activation *activation_of(const void *opaque)
{
    struct activation *activation = (struct activation *)opaque;

    return activation && activation->mark == ACTIVATION_MARK ? activation : NULL;
}

int cudnnCreateTensorDescriptor(void **tensorDesc)
{
    struct tensor *made = tensorDesc ? calloc(1, sizeof(*made)) : NULL;

    if (!made) {
        return tensorDesc ? DNN_ALLOC_FAILED : DNN_NULL_POINTER;
    }
    made->mark = TENSOR_MARK;
    *tensorDesc = made;
    return DNN_SUCCESS;
}

int cudnnDestroyTensorDescriptor(void *tensorDesc)
{
    struct tensor *tensor = tensor_of(tensorDesc);

    if (tensor) {
        tensor->mark = 0;
    }
    free(tensor);
    return DNN_SUCCESS;
}

int cudnnSetTensorNdDescriptor(void *tensorDesc, int dataType, int nbDims, const int *dimA,
                               const int *strideA)
{
    struct tensor *tensor = tensor_of(tensorDesc);

    if (!tensor || !dimA || !strideA) {
        return DNN_NULL_POINTER;
    }
    if (dnn_data_bytes(dataType) == 0 || nbDims < 3 || nbDims > (int)DNN_DIMENSIONS_MAX) {
        return nbDims > (int)DNN_DIMENSIONS_MAX ? DNN_NOT_SUPPORTED : DNN_BAD_PARAM;
    }
    for (int i = 0; i < nbDims; i++) {
        if (dimA[i] <= 0 || strideA[i] < 0) {
            return DNN_BAD_PARAM;
        }
        tensor->dims[i] = dimA[i];
        tensor->strides[i] = strideA[i];
    }
    tensor->data_type = dataType;
    tensor->count = nbDims;
    return DNN_SUCCESS;
}

int cudnnGetTensorNdDescriptor(void *tensorDesc, int nbDimsRequested, int *dataType, int *nbDims,
                               int *dimA, int *strideA)
{
    const struct tensor *tensor = tensor_of(tensorDesc);
    int count;

    if (!tensor || !dataType || !nbDims || !dimA || !strideA || nbDimsRequested < 0) {
        return DNN_BAD_PARAM;
    }
    count = nbDimsRequested < tensor->count ? nbDimsRequested : tensor->count;
    *dataType = tensor->data_type;
    *nbDims = tensor->count;
    memcpy(dimA, tensor->dims, (size_t)count * sizeof(*dimA));
    memcpy(strideA, tensor->strides, (size_t)count * sizeof(*strideA));
    return DNN_SUCCESS;
}

int cudnnCreateActivationDescriptor(void **activationDesc)
{
    struct activation *made = activationDesc ? calloc(1, sizeof(*made)) : NULL;

    if (!made) {
        return activationDesc ? DNN_ALLOC_FAILED : DNN_NULL_POINTER;
    }
    made->mark = ACTIVATION_MARK;
    *activationDesc = made;
    return DNN_SUCCESS;
}

int cudnnSetActivationDescriptor(void *activationDesc, int mode, int reluNanOpt, double coef)
{
    struct activation *activation = activation_of(activationDesc);

    if (!activation || mode < 0 || mode > 0xff || reluNanOpt < 0 || reluNanOpt > 1) {
        return activation ? DNN_BAD_PARAM : DNN_NULL_POINTER;
    }
    activation->mode = mode;
    activation->nan = reluNanOpt;
    activation->coefficient = coef;
    return DNN_SUCCESS;
}

int cudnnDestroyActivationDescriptor(void *activationDesc)
{
    struct activation *activation = activation_of(activationDesc);

    if (activation) {
        activation->mark = 0;
    }
    free(activation);
    return DNN_SUCCESS;
}

/* ---- calls ---- */

static void add(struct dnn_old *call, uint64_t word, uint64_t in_key)
{
    if (call->count == DNN_WORDS_MAX) {
        call->status = DNN_NOT_SUPPORTED;
        return;
    }
    call->words[call->count++] = word;
    call->key = blas_mix(call->key, in_key);
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

int dnn_old_begin(struct dnn_old *call, struct dnn_handle *handle, unsigned number)
{
    if (!dnn_handle(handle)) {
        return DNN_NOT_INITIALIZED;
    }
    call->handle = handle;
    call->number = number;
    call->status = DNN_SUCCESS;
    call->count = call->factor_count = 0;
    call->data_type = -1;
    call->key = blas_mix(handle->real, number);
    add(call, (uint64_t)(uintptr_t)handle->stream, (uint64_t)(uintptr_t)handle->stream);
    return DNN_SUCCESS;
}

void dnn_old_number(struct dnn_old *call, int value)
{
    add(call, (uint64_t)(int64_t)value, (uint64_t)(int64_t)value);
}

void dnn_old_real(struct dnn_old *call, double value)
{
    add(call, bits_of(value), 0);
}

void dnn_old_size(struct dnn_old *call, size_t bytes)
{
    add(call, bytes, bytes);
}

void dnn_old_address(struct dnn_old *call, const void *address)
{
    uint64_t number = (uint64_t)(uintptr_t)address;

    add(call, number, number % BLAS_KEY_ALIGN | (number ? BLAS_KEY_ALIGN : 0));
}

/* A float or a double: the tensors say which. */
void dnn_old_factor(struct dnn_old *call, const void *factor)
{
    if (!factor || call->factor_count == DNN_FACTORS_MAX) {
        call->status = DNN_NULL_POINTER;
        return;
    }
    call->factors[call->factor_count] = factor;
    call->factor_at[call->factor_count++] = call->count;
    add(call, 0, 0);
}

static void add_factors(struct dnn_old *call)
{
    const int is_double = call->data_type == 1;

    for (unsigned i = 0; i < call->factor_count; i++) {
        memcpy(&call->words[call->factor_at[i]], call->factors[i],
               is_double ? sizeof(double) : sizeof(float));
        call->key = blas_mix(call->key, call->words[call->factor_at[i]] == 0);
    }
}

void dnn_old_tensor(struct dnn_old *call, const void *opaque)
{
    static const struct tensor none;
    const struct tensor *tensor = opaque ? tensor_of(opaque) : &none;
    uint64_t word;

    if (!tensor) {
        call->status = DNN_BAD_PARAM;
        return;
    }
    call->data_type = call->data_type < 0 && tensor->count ? tensor->data_type : call->data_type;
    word = (uint64_t)(unsigned)tensor->data_type << 8 | (uint64_t)(unsigned)tensor->count;
    add(call, word, word);
    for (unsigned i = 0; i < DNN_DIMENSIONS_MAX; i++) {
        word = (uint64_t)(unsigned)tensor->strides[i] << 32 | (unsigned)tensor->dims[i];
        word = i < (unsigned)tensor->count ? word : 0;
        add(call, word, word);
    }
}

void dnn_old_activation(struct dnn_old *call, const void *opaque)
{
    const struct activation *activation = activation_of(opaque);
    uint64_t word = activation ? (uint64_t)(unsigned)activation->nan << 16 |
                                     (uint64_t)(unsigned)activation->mode << 8 | 1
                               : 0;
    uint64_t coefficient = activation ? bits_of(activation->coefficient) : 0;

    if (opaque && !activation) {
        call->status = DNN_BAD_PARAM;
    }
    add(call, word, word);
    add(call, coefficient, coefficient);
}

static int prepare(struct dnn_old *call, uint16_t op)
{
    int status = call->status ? call->status : dnn_open(&call->call, op);

    if (status == DNN_SUCCESS) {
        add_factors(call);
        cuda_add(&call->call, call->handle->real);
        cuda_add(&call->call, call->number);
        blas_driver->add_bytes(&call->call, call->words,
                               call->count * (uint32_t)sizeof(call->words[0]));
    }
    return status;
}

int dnn_old_end(struct dnn_old *call)
{
    int status = prepare(call, CUDA_OP_DNN_OLD);
    CUresult result;

    if (status) {
        return status;
    }
    if (blas_is_known(call->key)) {
        return dnn_status_of(blas_driver->forget(&call->call));
    }
    result = blas_settle(call->handle->stream);
    if (result == CUDA_SUCCESS) {
        result = blas_driver->ask(&call->call);
    }
    if (result == CUDA_SUCCESS && call->call.out[0] == DNN_SUCCESS) {
        blas_is_known_now(call->key);
    }
    return result ? dnn_status_of(result) : (int)call->call.out[0];
}

int dnn_old_ask(struct dnn_old *call, size_t *size)
{
    const uint64_t key = call->key | 1; /* 0 is a free place */
    int status = size ? call->status : DNN_NULL_POINTER;
    CUresult result;
    bool known;

    pthread_mutex_lock(&sizes_lock);
    known = !status && sizes[key % SIZES].key == key;
    if (known) {
        *size = sizes[key % SIZES].bytes;
    }
    pthread_mutex_unlock(&sizes_lock);
    status = status || known ? status : prepare(call, CUDA_OP_DNN_SIZE);
    if (status || known) {
        return status;
    }
    result = blas_driver->ask(&call->call);
    status = result ? dnn_status_of(result) : (int)call->call.out[0];
    if (status == DNN_SUCCESS) {
        *size = (size_t)call->call.out[1];
        pthread_mutex_lock(&sizes_lock);
        sizes[key % SIZES].key = key;
        sizes[key % SIZES].bytes = *size;
        pthread_mutex_unlock(&sizes_lock);
    }
    return status;
}
