/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front end of cuBLAS.  A handle's settings are kept here and travel with each call; the
 * worker hands on to the host's library what has changed.
 */
#include <string.h>

#include "cublas_hand.h"
#include "guest/frontends/blas_words.h"

#define CUDA_VERSION_OF_TABLE 13000
#define SCRATCH_SLOTS 64u

const char blas_library[] = "libcublas";

/* ---- handles ---- */

int cublasCreate_v2(struct blas_handle **handle)
{
    return blas_create(handle, BLAS_KIND_BLAS);
}

int cublasDestroy_v2(struct blas_handle *handle)
{
    return blas_destroy(handle);
}

/* A setting: 0, or what is wrong with the handle or the pointer. */
static int needs(const struct blas_handle *handle, const void *to)
{
    return !blas_is_handle(handle) ? BLAS_NOT_INITIALIZED : to ? BLAS_SUCCESS : BLAS_INVALID_VALUE;
}

int cublasSetStream_v2(struct blas_handle *handle, CUstream streamId)
{
    int status = needs(handle, blas_driver);

    if (status) {
        return status;
    }
    if (!blas_stream_lives(streamId)) {
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
    int status = needs(handle, blas_driver);

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

const char *cublasGetStatusName(int status)
{
    return blas_status_name(status);
}

const char *cublasGetStatusString(int status)
{
    return blas_status_text(status);
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
    call->key = blas_mix(call->key, value);
}

static void add_word(struct blas_call *call, uint64_t word)
{
    call->words[call->count++] = word;
}

int blas_begin(struct blas_call *call, struct blas_handle *handle, unsigned number)
{
    int status = blas_open(&call->call, handle, CUDA_OP_BLAS_CALL);

    if (status || handle->kind != BLAS_KIND_BLAS) {
        return status ? status : BLAS_NOT_INITIALIZED;
    }
    call->handle = handle;
    call->status = BLAS_SUCCESS;
    call->count = 0;
    call->value_count = 0;
    call->info = NULL;
    call->state = handle->state;
    call->state.stream = (uint64_t)(uintptr_t)handle->stream;
    call->key = handle->real;
    mix(call, number);
    mix(call, call->state.stream);
    mix(call, call->state.workspace_bytes);
    mix(call, call->state.workspace % BLAS_KEY_ALIGN);
    mix(call, call->state.pointer_mode | (uint64_t)call->state.math_mode << 8 |
                  (uint64_t)call->state.atomics_mode << 40);
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
    mix(call, (uintptr_t)address % BLAS_KEY_ALIGN | (address ? BLAS_KEY_ALIGN : 0));
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

/* A place on the GPU; 0: there is none.  Threads that share the handle get others. */
static CUdeviceptr slot_of(struct blas_handle *handle)
{
    CUdeviceptr scratch = __atomic_load_n(&handle->scratch, __ATOMIC_ACQUIRE), made = 0;
    uint32_t slot = __atomic_fetch_add(&handle->next_slot, 1, __ATOMIC_RELAXED) % SCRATCH_SLOTS;

    if (!scratch) {
        if (blas_cuda.cuMemAlloc(&made, (size_t)SCRATCH_SLOTS * BLAS_VALUE_BYTES)) {
            return 0;
        }
        if (__atomic_compare_exchange_n(&handle->scratch, &scratch, made, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            scratch = made;
        } else {
            (void)blas_cuda.cuMemFree(made); /* another thread was faster */
        }
    }
    return scratch + (CUdeviceptr)slot * BLAS_VALUE_BYTES;
}

void blas_value(struct blas_call *call, void *value, uint64_t bytes, unsigned flags)
{
    struct blas_value *one = &call->values[call->value_count];
    CUresult result = CUDA_SUCCESS;

    if (!value || bytes == 0 || bytes > BLAS_VALUE_BYTES) {
        call->status = value ? BLAS_NOT_SUPPORTED : BLAS_INVALID_VALUE;
    }
    if (call->handle->state.pointer_mode || call->status) {
        blas_address(call, value);
        return;
    }
    *one = (struct blas_value){value, slot_of(call->handle), (uint32_t)bytes, flags};
    if (one->gpu && (flags & BLAS_IN)) {
        result = blas_cuda.cuMemcpyHtoDAsync(one->gpu, value, bytes, call->handle->stream);
    }
    if (!one->gpu || result) {
        call->status = one->gpu ? blas_status_of(result) : BLAS_ALLOC_FAILED;
    }
    call->value_count++;
    call->state.pointer_mode = 1;
    add_word(call, one->gpu);
}

/* Back to the program, behind what was computed. */
static int take_values(const struct blas_call *call)
{
    CUresult result = CUDA_SUCCESS;

    for (unsigned i = 0; i < call->value_count && !result; i++) {
        const struct blas_value *one = &call->values[i];

        if (one->flags & BLAS_OUT) {
            result =
                blas_cuda.cuMemcpyDtoHAsync(one->host, one->gpu, one->bytes, call->handle->stream);
        }
    }
    if (call->value_count && !result) {
        result = blas_cuda.cuStreamSynchronize(call->handle->stream);
    }
    return blas_status_of(result);
}

int blas_end(struct blas_call *call)
{
    bool is_asked = false;
    int status;

    if (call->status) {
        return call->status;
    }
    blas_driver->add_bytes(&call->call, &call->state, sizeof(call->state));
    blas_driver->add_bytes(&call->call, call->words,
                           call->count * (uint32_t)sizeof(call->words[0]));
    status = blas_send(&call->call, call->key, call->handle->stream, &is_asked);
    if (call->info) {
        *call->info = is_asked ? (int)call->call.out[1] : 0; /* as the first one of its key */
    }
    return status ? status : take_values(call);
}

/* ---- copies: matrices by columns, vectors as matrices of one row ---- */

enum { TO_GPU, FROM_GPU };

static CUresult copy(int way, void *to, const void *from, size_t bytes, const CUstream *stream)
{
    if (way == TO_GPU) {
        return stream ? blas_cuda.cuMemcpyHtoDAsync((CUdeviceptr)to, from, bytes, *stream)
                      : blas_cuda.cuMemcpyHtoD((CUdeviceptr)to, from, bytes);
    }
    return stream ? blas_cuda.cuMemcpyDtoHAsync(to, (CUdeviceptr)from, bytes, *stream)
                  : blas_cuda.cuMemcpyDtoH(to, (CUdeviceptr)from, bytes);
}

static int copy_matrix(int way, int rows, int cols, int size, const void *from, int from_ld,
                       void *to, int to_ld, const CUstream *stream)
{
    const bool is_whole = from_ld == rows && to_ld == rows;
    size_t column = (size_t)rows * (size_t)size;
    CUresult result = CUDA_SUCCESS;

    if (rows < 0 || cols < 0 || size <= 0 || from_ld < rows || to_ld < rows || from_ld <= 0 ||
        to_ld <= 0) {
        return BLAS_INVALID_VALUE;
    }
    if (!blas_prepare()) {
        return BLAS_NOT_INITIALIZED;
    }
    if (is_whole) {
        result = rows && cols ? copy(way, to, from, column * (size_t)cols, stream) : result;
    }
    for (int i = 0; !is_whole && rows && i < cols && !result; i++) {
        result =
            copy(way, (char *)to + (size_t)i * (size_t)to_ld * (size_t)size,
                 (const char *)from + (size_t)i * (size_t)from_ld * (size_t)size, column, stream);
    }
    return result ? BLAS_MAPPING_ERROR : BLAS_SUCCESS;
}

int cublasSetMatrix(int rows, int cols, int elemSize, const void *A, int lda, void *B, int ldb)
{
    return copy_matrix(TO_GPU, rows, cols, elemSize, A, lda, B, ldb, NULL);
}

int cublasGetMatrix(int rows, int cols, int elemSize, const void *A, int lda, void *B, int ldb)
{
    return copy_matrix(FROM_GPU, rows, cols, elemSize, A, lda, B, ldb, NULL);
}

int cublasSetMatrixAsync(int rows, int cols, int elemSize, const void *A, int lda, void *B, int ldb,
                         CUstream stream)
{
    return copy_matrix(TO_GPU, rows, cols, elemSize, A, lda, B, ldb, &stream);
}

int cublasGetMatrixAsync(int rows, int cols, int elemSize, const void *A, int lda, void *B, int ldb,
                         CUstream stream)
{
    return copy_matrix(FROM_GPU, rows, cols, elemSize, A, lda, B, ldb, &stream);
}

int cublasSetVector(int n, int elemSize, const void *x, int incx, void *devicePtr, int incy)
{
    return copy_matrix(TO_GPU, 1, n, elemSize, x, incx, devicePtr, incy, NULL);
}

int cublasGetVector(int n, int elemSize, const void *x, int incx, void *y, int incy)
{
    return copy_matrix(FROM_GPU, 1, n, elemSize, x, incx, y, incy, NULL);
}

int cublasSetVectorAsync(int n, int elemSize, const void *hostPtr, int incx, void *devicePtr,
                         int incy, CUstream stream)
{
    return copy_matrix(TO_GPU, 1, n, elemSize, hostPtr, incx, devicePtr, incy, &stream);
}

int cublasGetVectorAsync(int n, int elemSize, const void *devicePtr, int incx, void *hostPtr,
                         int incy, CUstream stream)
{
    return copy_matrix(FROM_GPU, 1, n, elemSize, devicePtr, incx, hostPtr, incy, &stream);
}
