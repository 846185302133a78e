/* SPDX-License-Identifier: BSD-3-Clause */
/* The front end of cuDNN: handles, versions and texts.  cudnn_backend.c has the computations. */
#include "guest/frontends/cudnn.h"

#include <stdlib.h>

#include "cudnn_hand.h"
#include "guest/frontends/blas_call.h"

#define HANDLE_MARK 0x7667707563646e6eull
#define CUDA_VERSION_OF_TABLE 13000
#define DNN_VERSION_OF_TABLE 91900

const char blas_library[] = "libcudnn";

static size_t version; /* of the host's library; 0: not asked yet; atomic */

int dnn_status_of(CUresult result)
{
    return result == CUDA_SUCCESS               ? DNN_SUCCESS
           : result == CUDA_ERROR_OUT_OF_MEMORY ? DNN_ALLOC_FAILED
           : result == CUDA_ERROR_NOT_SUPPORTED ? DNN_NOT_INITIALIZED /* the host has none */
                                                : DNN_EXECUTION_FAILED;
}

int dnn_open(struct cuda_call *call, uint16_t op)
{
    CUresult result;

    if (!blas_has_driver() && !blas_prepare()) {
        return DNN_NOT_INITIALIZED;
    }
    result = blas_driver->begin(call, op, CUDA_NEEDS_CONTEXT);
    if (result == CUDA_ERROR_INVALID_CONTEXT && blas_prepare()) { /* the thread's first call */
        result = blas_driver->begin(call, op, CUDA_NEEDS_CONTEXT);
    }
    return dnn_status_of(result);
}

struct dnn_handle *dnn_handle(void *opaque)
{
    struct dnn_handle *handle = opaque;

    return handle && handle->mark == HANDLE_MARK ? handle : NULL;
}

static void say_none(void)
{
    static bool said;

    if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED)) {
        blas_say("the host has no cuDNN 9: its administrator can install it (libcudnn9-cuda-13)");
    }
}

int cudnnCreate(struct dnn_handle **handle)
{
    struct dnn_handle *made = handle ? calloc(1, sizeof(*made)) : NULL;
    struct cuda_call call;
    CUresult result;
    int status;

    if (!made) {
        return handle ? DNN_ALLOC_FAILED : DNN_NULL_POINTER;
    }
    status = dnn_open(&call, CUDA_OP_DNN_CREATE);
    if (status) {
        free(made);
        return DNN_NOT_INITIALIZED;
    }
    cuda_add(&call, blas_driver->object_new(&call, CUDA_KIND_DNN));
    cuda_add(&call, 0);
    result = blas_driver->ask(&call);
    blas_driver->object_made(&call, result, &made->real);
    if (result) {
        free(made);
        if (result == CUDA_ERROR_NOT_SUPPORTED) {
            say_none();
        }
        return dnn_status_of(result);
    }
    __atomic_store_n(&version, (size_t)call.out[1], __ATOMIC_RELAXED);
    made->mark = HANDLE_MARK;
    *handle = made;
    return DNN_SUCCESS;
}

int cudnnDestroy(struct dnn_handle *handle)
{
    const struct cuda_object *object;
    struct cuda_call call;
    CUresult result;

    if (!dnn_handle(handle)) {
        return DNN_NOT_INITIALIZED;
    }
    object = blas_driver->object(handle->real, CUDA_KIND_DNN);
    if (object && blas_driver->begin(&call, CUDA_OP_DNN_DESTROY, 0) == CUDA_SUCCESS) {
        call.context = object->context; /* it ends in its own, whichever is current */
        call.head.record.context = (uint16_t)vgpu_handle_index(object->context->handle);
        cuda_add(&call, handle->real);
        result = blas_driver->ask(&call);
        blas_driver->object_end(handle->real, result);
    }
    handle->mark = 0;
    free(handle);
    return DNN_SUCCESS;
}

int cudnnSetStream(struct dnn_handle *handle, CUstream streamId)
{
    if (!dnn_handle(handle)) {
        return DNN_NOT_INITIALIZED;
    }
    if (!blas_stream_lives(streamId)) {
        return DNN_BAD_PARAM; /* the library itself would take anything */
    }
    handle->stream = streamId;
    return DNN_SUCCESS;
}

int cudnnGetStream(struct dnn_handle *handle, CUstream *streamId)
{
    if (!dnn_handle(handle) || !streamId) {
        return streamId ? DNN_NOT_INITIALIZED : DNN_NULL_POINTER;
    }
    *streamId = handle->stream;
    return DNN_SUCCESS;
}

/* ---- versions and texts ---- */

/* The host's library is asked once; where there is none, this table's version is something that
 * programs can compare with: what they call then is refused. */
size_t cudnnGetVersion(void)
{
    size_t known = __atomic_load_n(&version, __ATOMIC_RELAXED);
    struct cuda_call call;

    if (known) {
        return known;
    }
    if (dnn_open(&call, CUDA_OP_DNN_CREATE) == DNN_SUCCESS) {
        cuda_add(&call, 0);
        cuda_add(&call, 1);
        if (blas_driver->ask(&call) == CUDA_SUCCESS) {
            known = (size_t)call.out[1];
            __atomic_store_n(&version, known, __ATOMIC_RELAXED);
        }
    }
    return known ? known : DNN_VERSION_OF_TABLE;
}

size_t cudnnGetCudartVersion(void)
{
    return CUDA_VERSION_OF_TABLE;
}

int cudnnGetProperty(int type, int *value)
{
    size_t known;

    if (!value || type < 0 || type > 2) {
        return DNN_BAD_PARAM;
    }
    known = cudnnGetVersion();
    *value = (int)(type == 0 ? known / 10000 : type == 1 ? known / 100 % 100 : known % 100);
    return DNN_SUCCESS;
}

static const struct {
    int status;
    const char *text;
} texts[] = {
    {DNN_SUCCESS, "CUDNN_STATUS_SUCCESS"},
    {DNN_NOT_INITIALIZED, "CUDNN_STATUS_NOT_INITIALIZED"},
    {DNN_BAD_PARAM, "CUDNN_STATUS_BAD_PARAM"},
    {DNN_NULL_POINTER, "CUDNN_STATUS_BAD_PARAM_NULL_POINTER"},
    {DNN_NOT_FINALIZED, "CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED"},
    {DNN_NOT_SUPPORTED, "CUDNN_STATUS_NOT_SUPPORTED"},
    {DNN_ALLOC_FAILED, "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"},
    {DNN_EXECUTION_FAILED, "CUDNN_STATUS_EXECUTION_FAILED"},
};

/* Of the others, the group that they are of. */
const char *cudnnGetErrorString(int status)
{
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].status == status) {
            return texts[i].text;
        }
    }
    return status / 1000 == 1   ? "CUDNN_STATUS_NOT_INITIALIZED (group)"
           : status / 1000 == 2 ? "CUDNN_STATUS_BAD_PARAM (group)"
           : status / 1000 == 3 ? "CUDNN_STATUS_NOT_SUPPORTED (group)"
           : status / 1000 == 4 ? "CUDNN_STATUS_INTERNAL_ERROR (group)"
           : status / 1000 == 5 ? "CUDNN_STATUS_EXECUTION_FAILED (group)"
                                : "CUDNN_STATUS_UNKNOWN";
}

/* The library's own words stay with the worker. */
void cudnnGetLastErrorString(char *message, size_t max_size)
{
    if (message && max_size) {
        message[0] = 0;
    }
}
