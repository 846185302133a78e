/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front end of cuBLAS.  A handle's settings are kept here and travel with each call; the
 * worker hands on to the host's library what has changed.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cublas_hand.h"
#include "guest/frontends/blas_call.h"

#define HANDLE_MARK 0x76677075626c6173ull
#define KEYS 8192u /* that are remembered; another one in the same place is asked for again */
#define CUDA_VERSION_OF_TABLE 13000
#define WORKSPACE_ALIGN 256u

struct blas_handle {
    uint64_t mark;
    uint64_t real; /* the worker's */
    CUstream stream;
    BLASState state;
    int version;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct cuda_frontend *driver;
static uint64_t keys[KEYS]; /* atomic */
static struct {
    CUresult (*cuInit)(unsigned flags);
    CUresult (*cuCtxGetCurrent)(CUcontext *context);
    CUresult (*cuCtxSetCurrent)(CUcontext context);
    CUresult (*cuCtxSynchronize)(void);
    CUresult (*cuDevicePrimaryCtxRetain)(CUcontext *context, CUdevice device);
} cuda;

static void say(const char *text)
{
    fprintf(stderr, "libcublas (vgpu): %s\n", text);
}

int blas_refuse(const char *name, unsigned number)
{
    static bool said[BLAS_REFUSED_COUNT];
    char line[128];

    if (!__atomic_exchange_n(&said[number], true, __ATOMIC_RELAXED)) {
        snprintf(line, sizeof(line), "%s is not built: CUBLAS_STATUS_NOT_SUPPORTED", name);
        say(line);
    }
    return BLAS_NOT_SUPPORTED;
}

/* ---- the driver's library ---- */

static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);

    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static const struct cuda_frontend *look(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    const struct cuda_frontend *found = library ? dlsym(library, CUDA_FRONTEND_SYMBOL) : NULL;

    if (!found) {
        say("the libcuda.so.1 that this program finds is not vgpu's: start it by vgpu-run");
        return NULL;
    }
    if (found->bytes != sizeof(*found) || found->call_bytes != sizeof(struct cuda_call)) {
        say("libcuda.so.1 and libcublas.so.13 are of different versions of vgpu-mediator");
        return NULL;
    }
    return find(library, "cuInit", &cuda.cuInit) &&
                   find(library, "cuCtxGetCurrent", &cuda.cuCtxGetCurrent) &&
                   find(library, "cuCtxSetCurrent", &cuda.cuCtxSetCurrent) &&
                   find(library, "cuCtxSynchronize", &cuda.cuCtxSynchronize) &&
                   find(library, "cuDevicePrimaryCtxRetain", &cuda.cuDevicePrimaryCtxRetain)
               ? found
               : NULL;
}

/* Also makes the primary context where the thread has none, as the library itself does. */
static bool prepare(void)
{
    CUcontext context = NULL;

    pthread_mutex_lock(&lock);
    if (!driver) {
        driver = look();
    }
    pthread_mutex_unlock(&lock);
    if (!driver || cuda.cuInit(0) || cuda.cuCtxGetCurrent(&context)) {
        return false;
    }
    return context || (cuda.cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS &&
                       cuda.cuCtxSetCurrent(context) == CUDA_SUCCESS);
}

/* ---- handles ---- */

static int status_of(CUresult result)
{
    return result == CUDA_SUCCESS               ? BLAS_SUCCESS
           : result == CUDA_ERROR_OUT_OF_MEMORY ? BLAS_ALLOC_FAILED
           : result == CUDA_ERROR_NOT_SUPPORTED ? BLAS_NOT_SUPPORTED
                                                : BLAS_EXECUTION_FAILED;
}

static bool is_handle(const struct blas_handle *handle)
{
    return handle && handle->mark == HANDLE_MARK;
}

int cublasCreate_v2(struct blas_handle **handle)
{
    struct blas_handle *made;
    struct cuda_call call;
    CUresult result;

    if (!handle) {
        return BLAS_INVALID_VALUE;
    }
    *handle = NULL;
    if (!prepare()) {
        return BLAS_NOT_INITIALIZED;
    }
    made = calloc(1, sizeof(*made));
    if (!made) {
        return BLAS_ALLOC_FAILED;
    }
    result = driver->begin(&call, CUDA_OP_BLAS_CREATE, CUDA_NEEDS_CONTEXT);
    if (result == CUDA_SUCCESS) {
        cuda_add(&call, driver->object_new(&call, CUDA_KIND_BLAS));
        result = driver->ask(&call);
        driver->object_made(&call, result, &made->real);
    }
    if (result || call.out[0]) {
        free(made);
        if (result == CUDA_ERROR_NOT_SUPPORTED) {
            say("the host has no cuBLAS 13: its administrator can install it (libcublas-13-0)");
        }
        return result == CUDA_ERROR_OUT_OF_MEMORY ? BLAS_ALLOC_FAILED : BLAS_NOT_INITIALIZED;
    }
    made->version = (int)call.out[1];
    made->mark = HANDLE_MARK;
    *handle = made;
    return BLAS_SUCCESS;
}

/* It ends in its own context, whichever is current; without that, it has ended before. */
static int end_real(uint64_t handle)
{
    const struct cuda_object *object = driver->object(handle, CUDA_KIND_BLAS);
    struct cuda_call call;
    CUresult result;

    if (!object) {
        return BLAS_SUCCESS;
    }
    result = driver->begin(&call, CUDA_OP_BLAS_DESTROY, 0);
    if (result == CUDA_SUCCESS) {
        call.context = object->context;
        call.head.record.context = (uint16_t)vgpu_handle_index(object->context->handle);
        cuda_add(&call, handle);
        result = driver->ask(&call);
        driver->object_end(handle, result);
    }
    return status_of(result);
}

int cublasDestroy_v2(struct blas_handle *handle)
{
    int status;

    if (!is_handle(handle)) {
        return BLAS_NOT_INITIALIZED;
    }
    status = end_real(handle->real);
    if (status == BLAS_SUCCESS) {
        handle->mark = 0;
        free(handle);
    }
    return status;
}

/* A setting: 0, or what is wrong with the handle or the pointer. */
static int needs(const struct blas_handle *handle, const void *to)
{
    return !is_handle(handle) ? BLAS_NOT_INITIALIZED : to ? BLAS_SUCCESS : BLAS_INVALID_VALUE;
}

int cublasSetStream_v2(struct blas_handle *handle, CUstream streamId)
{
    int status = needs(handle, driver);

    if (status) {
        return status;
    }
    if ((uintptr_t)streamId > CU_STREAM_PER_THREAD &&
        !driver->object((uint64_t)(uintptr_t)streamId, CUDA_KIND_STREAM)) {
        return BLAS_INVALID_VALUE; /* the library itself would take anything */
    }
    handle->stream = streamId;
    handle->state.workspace = handle->state.workspace_bytes = 0; /* back to its own */
    return BLAS_SUCCESS;
}

int cublasGetStream_v2(struct blas_handle *handle, CUstream *streamId)
{
    int status = needs(handle, streamId);

    if (status == BLAS_SUCCESS) {
        *streamId = handle->stream;
    }
    return status;
}

int cublasSetWorkspace_v2(struct blas_handle *handle, void *workspace, size_t workspaceSizeInBytes)
{
    int status = needs(handle, driver);

    if (status == BLAS_SUCCESS) {
        handle->state.workspace = (uint64_t)(uintptr_t)workspace;
        handle->state.workspace_bytes = workspaceSizeInBytes;
    }
    return status;
}

static int set_mode(struct blas_handle *handle, uint32_t *to, int mode, int last)
{
    int status = needs(handle, to);

    if (status == BLAS_SUCCESS && (mode < 0 || mode > last)) {
        return BLAS_INVALID_VALUE;
    }
    if (status == BLAS_SUCCESS) {
        *to = (uint32_t)mode;
    }
    return status;
}

static int get_mode(const struct blas_handle *handle, const uint32_t *from, int *mode)
{
    int status = needs(handle, mode);

    if (status == BLAS_SUCCESS) {
        *mode = (int)*from;
    }
    return status;
}

int cublasSetPointerMode_v2(struct blas_handle *handle, int mode)
{
    return set_mode(handle, &handle->state.pointer_mode, mode, 1);
}

int cublasGetPointerMode_v2(struct blas_handle *handle, int *mode)
{
    return get_mode(handle, &handle->state.pointer_mode, mode);
}

int cublasSetMathMode(struct blas_handle *handle, int mode)
{
    const bool is_one = mode >= 0 && blas_is_math_mode((uint32_t)mode);

    return set_mode(handle, &handle->state.math_mode, mode, is_one ? mode : -1);
}

int cublasGetMathMode(struct blas_handle *handle, int *mode)
{
    return get_mode(handle, &handle->state.math_mode, mode);
}

int cublasSetAtomicsMode(struct blas_handle *handle, int mode)
{
    return set_mode(handle, &handle->state.atomics_mode, mode, 1);
}

int cublasGetAtomicsMode(struct blas_handle *handle, int *mode)
{
    return get_mode(handle, &handle->state.atomics_mode, mode);
}

/* ---- versions and texts ---- */

int cublasGetVersion_v2(struct blas_handle *handle, int *version)
{
    struct blas_handle *own = NULL;
    int status;

    if (!version) {
        return BLAS_INVALID_VALUE;
    }
    if (handle) {
        status = needs(handle, version);
        *version = status ? *version : handle->version;
        return status;
    }
    /* Without a handle, too, it is the host's library that is asked. */
    status = cublasCreate_v2(&own);
    if (status == BLAS_SUCCESS) {
        *version = own->version;
        status = cublasDestroy_v2(own);
    }
    return status;
}

int cublasGetProperty(int type, int *value)
{
    int version = 0, status;

    if (!value || type < 0 || type > 2) {
        return BLAS_INVALID_VALUE;
    }
    status = cublasGetVersion_v2(NULL, &version);
    if (status == BLAS_SUCCESS) {
        *value = type == 0 ? version / 10000 : type == 1 ? version / 100 % 100 : version % 100;
    }
    return status;
}

size_t cublasGetCudartVersion(void)
{
    return CUDA_VERSION_OF_TABLE;
}

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

const char *cublasGetStatusName(int status)
{
    return is_status(status) ? statuses[status].name : UNKNOWN;
}

const char *cublasGetStatusString(int status)
{
    return is_status(status) ? statuses[status].text : UNKNOWN;
}

/* The library works elsewhere: nothing is logged here, and no callback is called. */
int cublasLoggerConfigure(int logIsOn, int logToStdOut, int logToStdErr, const char *logFileName)
{
    (void)logIsOn, (void)logToStdOut, (void)logToStdErr, (void)logFileName;
    return BLAS_SUCCESS;
}

static void *logger;

int cublasSetLoggerCallback(void *userCallback)
{
    logger = userCallback;
    return BLAS_SUCCESS;
}

int cublasGetLoggerCallback(void **userCallback)
{
    if (!userCallback) {
        return BLAS_INVALID_VALUE;
    }
    *userCallback = logger;
    return BLAS_SUCCESS;
}

/* ---- calls ---- */

static void mix(struct blas_call *call, uint64_t value)
{
    uint64_t key = (call->key ^ value) * 0x9E3779B97F4A7C15ull;

    call->key = key ^ key >> 29;
}

static void add_word(struct blas_call *call, uint64_t word)
{
    call->words[call->count++] = word;
}

int blas_begin(struct blas_call *call, struct blas_handle *handle, unsigned number)
{
    const struct cuda_object *object =
        is_handle(handle) ? driver->object(handle->real, CUDA_KIND_BLAS) : NULL;
    CUresult result;

    if (!object) { /* it ends with its context */
        return BLAS_NOT_INITIALIZED;
    }
    result = driver->begin(&call->call, CUDA_OP_BLAS_CALL, CUDA_NEEDS_CONTEXT);
    if (result == CUDA_ERROR_INVALID_CONTEXT && prepare()) { /* the thread's first call */
        result = driver->begin(&call->call, CUDA_OP_BLAS_CALL, CUDA_NEEDS_CONTEXT);
    }
    if (result || object->context != call->call.context) {
        return BLAS_EXECUTION_FAILED; /* the context is lost, or another one is current */
    }
    call->handle = handle;
    call->status = BLAS_SUCCESS;
    call->count = 0;
    call->state = handle->state;
    call->state.stream = (uint64_t)(uintptr_t)handle->stream;
    call->key = handle->real;
    mix(call, number);
    mix(call, call->state.stream);
    mix(call, call->state.workspace_bytes);
    mix(call, call->state.workspace % WORKSPACE_ALIGN);
    mix(call, call->state.pointer_mode | (uint64_t)call->state.math_mode << 8 |
                  (uint64_t)call->state.atomics_mode << 40);
    cuda_add(&call->call, handle->real);
    cuda_add(&call->call, number);
    return BLAS_SUCCESS;
}

void blas_number(struct blas_call *call, long long value)
{
    add_word(call, (uint64_t)value);
    mix(call, (uint64_t)value);
}

void blas_address(struct blas_call *call, const void *address)
{
    add_word(call, (uint64_t)(uintptr_t)address);
    mix(call, (uintptr_t)address % WORKSPACE_ALIGN | (address ? WORKSPACE_ALIGN : 0));
}

void blas_scalar(struct blas_call *call, const void *scalar, uint64_t bytes)
{
    static const uint8_t zeros[BLAS_SCALAR_BYTES];
    uint8_t value[BLAS_SCALAR_BYTES] = {0};

    if (!scalar) {
        call->status = BLAS_INVALID_VALUE;
    } else if (call->state.pointer_mode) {
        blas_address(call, scalar);
        add_word(call, 0);
    } else if (bytes == 0 || bytes > sizeof(value)) {
        call->status = BLAS_NOT_SUPPORTED;
    } else {
        memcpy(value, scalar, bytes);
        /* A factor of 0 may be done by another kernel. */
        mix(call, memcmp(value, zeros, sizeof(value)) == 0);
        memcpy(&call->words[call->count], value, sizeof(value));
        call->count += 2;
    }
}

static bool is_known(uint64_t key)
{
    return __atomic_load_n(&keys[key % KEYS], __ATOMIC_RELAXED) == key;
}

int blas_end(struct blas_call *call)
{
    CUresult result;

    if (call->status) {
        return call->status;
    }
    driver->add_bytes(&call->call, &call->state, sizeof(call->state));
    driver->add_bytes(&call->call, call->words, call->count * (uint32_t)sizeof(call->words[0]));
    if (is_known(call->key)) {
        return status_of(driver->forget(&call->call));
    }
    /* The library will wait for the GPU, and the worker must not. */
    result = cuda.cuCtxSynchronize();
    if (result == CUDA_SUCCESS) {
        result = driver->ask(&call->call);
    }
    if (result == CUDA_SUCCESS && call->call.out[0] == BLAS_SUCCESS) {
        __atomic_store_n(&keys[call->key % KEYS], call->key, __ATOMIC_RELAXED);
    }
    return result ? status_of(result) : (int)call->call.out[0];
}
