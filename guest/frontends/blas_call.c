/* SPDX-License-Identifier: BSD-3-Clause */
/* What the front ends of cuBLAS and cuBLASLt share; each has a copy of its own. */
#include "guest/frontends/blas_call.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDLE_MARK 0x76677075626c6173ull
#define KEYS 8192u /* that are remembered; another one in the same place is asked for again */

const struct cuda_frontend *blas_driver;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t keys[KEYS]; /* atomic */
struct blas_cuda blas_cuda;

void blas_say(const char *text)
{
    fprintf(stderr, "%s (vgpu): %s\n", blas_library, text);
}

/* ---- the driver's library ---- */

static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);

    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static bool find_all(void *library)
{
    const struct {
        const char *name;
        void *function;
    } rows[] = {
        {"cuInit", &blas_cuda.cuInit},
        {"cuCtxGetCurrent", &blas_cuda.cuCtxGetCurrent},
        {"cuCtxSetCurrent", &blas_cuda.cuCtxSetCurrent},
        {"cuCtxSynchronize", &blas_cuda.cuCtxSynchronize},
        {"cuDevicePrimaryCtxRetain", &blas_cuda.cuDevicePrimaryCtxRetain},
        {"cuMemAlloc_v2", &blas_cuda.cuMemAlloc},
        {"cuMemFree_v2", &blas_cuda.cuMemFree},
        {"cuMemcpyHtoDAsync_v2", &blas_cuda.cuMemcpyHtoDAsync},
        {"cuMemcpyDtoHAsync_v2", &blas_cuda.cuMemcpyDtoHAsync},
        {"cuMemcpyHtoD_v2", &blas_cuda.cuMemcpyHtoD},
        {"cuMemcpyDtoH_v2", &blas_cuda.cuMemcpyDtoH},
        {"cuStreamSynchronize", &blas_cuda.cuStreamSynchronize},
        {"cuStreamIsCapturing", &blas_cuda.cuStreamIsCapturing},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!find(library, rows[i].name, rows[i].function)) {
            return false;
        }
    }
    return true;
}

static const struct cuda_frontend *look(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    const struct cuda_frontend *found = library ? dlsym(library, CUDA_FRONTEND_SYMBOL) : NULL;

    if (!found) {
        blas_say("the libcuda.so.1 that this program finds is not vgpu's: start it by vgpu-run");
        return NULL;
    }
    if (found->bytes != sizeof(*found) || found->call_bytes != sizeof(struct cuda_call)) {
        blas_say("libcuda.so.1 and this library are of different versions of vgpu-mediator");
        return NULL;
    }
    return find_all(library) ? found : NULL;
}

bool blas_has_driver(void)
{
    return __atomic_load_n(&blas_driver, __ATOMIC_ACQUIRE) != NULL;
}

bool blas_prepare(void)
{
    CUcontext context = NULL;

    pthread_mutex_lock(&lock);
    if (!blas_driver) {
        __atomic_store_n(&blas_driver, look(), __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    if (!blas_driver || blas_cuda.cuInit(0) || blas_cuda.cuCtxGetCurrent(&context)) {
        return false;
    }
    return context || (blas_cuda.cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS &&
                       blas_cuda.cuCtxSetCurrent(context) == CUDA_SUCCESS);
}

/* ---- handles ---- */

int blas_status_of(CUresult result)
{
    return result == CUDA_SUCCESS               ? BLAS_SUCCESS
           : result == CUDA_ERROR_OUT_OF_MEMORY ? BLAS_ALLOC_FAILED
           : result == CUDA_ERROR_NOT_SUPPORTED ? BLAS_NOT_SUPPORTED
                                                : BLAS_EXECUTION_FAILED;
}

bool blas_is_handle(const struct blas_handle *handle)
{
    return handle && handle->mark == HANDLE_MARK;
}

int blas_create(struct blas_handle **handle, enum blas_kind kind)
{
    struct blas_handle *made;
    struct cuda_call call;
    CUresult result;

    if (!handle) {
        return BLAS_INVALID_VALUE;
    }
    *handle = NULL;
    if (!blas_prepare()) {
        return BLAS_NOT_INITIALIZED;
    }
    made = calloc(1, sizeof(*made));
    if (!made) {
        return BLAS_ALLOC_FAILED;
    }
    result = blas_driver->begin(&call, CUDA_OP_BLAS_CREATE, CUDA_NEEDS_CONTEXT);
    if (result == CUDA_SUCCESS) {
        cuda_add(&call, blas_driver->object_new(&call, CUDA_KIND_BLAS));
        cuda_add(&call, kind);
        result = blas_driver->ask(&call);
        blas_driver->object_made(&call, result, &made->real);
    }
    if (result || call.out[0]) {
        free(made);
        if (result == CUDA_ERROR_NOT_SUPPORTED) {
            blas_say(
                "the host has no cuBLAS 13: its administrator can install it (libcublas-13-0)");
        }
        return result == CUDA_ERROR_OUT_OF_MEMORY ? BLAS_ALLOC_FAILED : BLAS_NOT_INITIALIZED;
    }
    made->version = (int)call.out[1];
    made->kind = kind;
    made->mark = HANDLE_MARK;
    *handle = made;
    return BLAS_SUCCESS;
}

/* It ends in its own context, whichever is current; without that, it has ended before. */
static int end_real(uint64_t handle)
{
    const struct cuda_object *object =
        blas_has_driver() || blas_prepare() ? blas_driver->object(handle, CUDA_KIND_BLAS) : NULL;
    struct cuda_call call;
    CUresult result;

    if (!object) {
        return BLAS_SUCCESS;
    }
    result = blas_driver->begin(&call, CUDA_OP_BLAS_DESTROY, 0);
    if (result == CUDA_SUCCESS) {
        call.context = object->context;
        call.head.record.context = (uint16_t)vgpu_handle_index(object->context->handle);
        cuda_add(&call, handle);
        result = blas_driver->ask(&call);
        blas_driver->object_end(handle, result);
    }
    return blas_status_of(result);
}

int blas_destroy(struct blas_handle *handle)
{
    int status;

    if (!blas_is_handle(handle)) {
        return BLAS_NOT_INITIALIZED;
    }
    status = end_real(handle->real);
    if (status == BLAS_SUCCESS) {
        if (handle->scratch) {
            (void)blas_cuda.cuMemFree(handle->scratch); /* or it has ended with its context */
        }
        handle->mark = 0;
        free(handle);
    }
    return status;
}

/* ---- texts ---- */

static const struct {
    const char *name, *text;
} statuses[] = {
    [0] = {"CUBLAS_STATUS_SUCCESS", "success"},
    [1] = {"CUBLAS_STATUS_NOT_INITIALIZED", "the library was not initialized"},
    [3] = {"CUBLAS_STATUS_ALLOC_FAILED", "the resource allocation failed"},
    [7] = {"CUBLAS_STATUS_INVALID_VALUE",
           "an unsupported value or parameter was passed to the function"},
    [8] = {"CUBLAS_STATUS_ARCH_MISMATCH",
           "the function requires an architectural feature absent from the device"},
    [11] = {"CUBLAS_STATUS_MAPPING_ERROR", "an access to GPU memory space failed"},
    [13] = {"CUBLAS_STATUS_EXECUTION_FAILED", "the function failed to launch on the GPU"},
    [14] = {"CUBLAS_STATUS_INTERNAL_ERROR", "an internal operation failed"},
    [15] = {"CUBLAS_STATUS_NOT_SUPPORTED", "the requested functionality is not supported"},
    [16] = {"CUBLAS_STATUS_LICENSE_ERROR", "the license check failed"},
};

#define UNKNOWN "unrecognized status"

static bool is_status(int status)
{
    return status >= 0 && status < (int)(sizeof(statuses) / sizeof(statuses[0])) &&
           statuses[status].name;
}

const char *blas_status_name(int status)
{
    return is_status(status) ? statuses[status].name : UNKNOWN;
}

const char *blas_status_text(int status)
{
    return is_status(status) ? statuses[status].text : UNKNOWN;
}

/* ---- calls ---- */

uint64_t blas_mix(uint64_t key, uint64_t value)
{
    key = (key ^ value) * 0x9E3779B97F4A7C15ull;
    return key ^ key >> 29;
}

int blas_open(struct cuda_call *call, const struct blas_handle *handle, uint16_t op)
{
    const struct cuda_object *object;
    CUresult result;

    /* A handle may come from the other library of the two. */
    if (!blas_is_handle(handle) || (!blas_has_driver() && !blas_prepare())) {
        return BLAS_NOT_INITIALIZED;
    }
    object = blas_driver->object(handle->real, CUDA_KIND_BLAS);
    if (!object) { /* it ends with its context */
        return BLAS_NOT_INITIALIZED;
    }
    result = blas_driver->begin(call, op, CUDA_NEEDS_CONTEXT);
    if (result == CUDA_ERROR_INVALID_CONTEXT && blas_prepare()) { /* the thread's first call */
        result = blas_driver->begin(call, op, CUDA_NEEDS_CONTEXT);
    }
    if (result || object->context != call->context) {
        return BLAS_EXECUTION_FAILED; /* the context is lost, or another one is current */
    }
    cuda_add(call, handle->real);
    return BLAS_SUCCESS;
}

bool blas_is_known(uint64_t key)
{
    return __atomic_load_n(&keys[key % KEYS], __ATOMIC_RELAXED) == key;
}

void blas_is_known_now(uint64_t key)
{
    __atomic_store_n(&keys[key % KEYS], key, __ATOMIC_RELAXED);
}

CUresult blas_settle(CUstream stream)
{
    int status = 0;

    return blas_cuda.cuStreamIsCapturing(stream, &status) == CUDA_SUCCESS && status
               ? CUDA_SUCCESS
               : blas_cuda.cuCtxSynchronize();
}

int blas_send(struct cuda_call *call, uint64_t key, CUstream stream, bool *is_asked)
{
    CUresult result;

    *is_asked = !blas_is_known(key);
    if (!*is_asked) {
        return blas_status_of(blas_driver->forget(call));
    }
    result = blas_settle(stream);
    if (result == CUDA_SUCCESS) {
        result = blas_driver->ask(call);
    }
    if (result == CUDA_SUCCESS && call->out[0] == BLAS_SUCCESS && call->out[1] == 0) {
        blas_is_known_now(key);
    }
    return result ? blas_status_of(result) : (int)call->out[0];
}

bool blas_stream_lives(CUstream stream)
{
    return (uintptr_t)stream <= CU_STREAM_PER_THREAD ||
           blas_driver->object((uint64_t)(uintptr_t)stream, CUDA_KIND_STREAM);
}
