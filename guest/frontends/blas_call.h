/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This module has the handles of cuBLAS and cuBLASLt, which are of one kind, and sends their calls
 * to the worker.
 *
 * The first call of a key is asked for and waited for, since its status decides all later ones:
 * the library loads its kernels then, and says what it can't do.  Later ones are sent and
 * forgotten, as the library's own are asynchronous.  The key is all that the status can depend
 * on: the function, numbers, the handle's state, and how the addresses are aligned.
 */
#ifndef GUEST_FRONTENDS_BLAS_CALL_H
#define GUEST_FRONTENDS_BLAS_CALL_H

#include "cuda/blas.h"
#include "guest/cuda/frontend.h"

#define BLAS_EXPORT __attribute__((visibility("default")))
#define BLAS_KEY_ALIGN 256u /* what of an address its key has */

struct blas_handle {
    uint64_t mark;
    uint64_t real; /* the worker's */
    enum blas_kind kind;
    CUstream stream;
    BLASState state;
    int version;
    CUdeviceptr scratch; /* of values that the program gives or gets; 0: not made yet */
    uint32_t next_slot;  /* of it; atomic */
};

/* Functions of the driver's library. */
struct blas_cuda {
    CUresult (*cuInit)(unsigned flags);
    CUresult (*cuCtxGetCurrent)(CUcontext *context);
    CUresult (*cuCtxSetCurrent)(CUcontext context);
    CUresult (*cuCtxSynchronize)(void);
    CUresult (*cuDevicePrimaryCtxRetain)(CUcontext *context, CUdevice device);
    CUresult (*cuMemAlloc)(CUdeviceptr *address, size_t bytes);
    CUresult (*cuMemFree)(CUdeviceptr address);
    CUresult (*cuMemcpyHtoDAsync)(CUdeviceptr to, const void *from, size_t bytes, CUstream stream);
    CUresult (*cuMemcpyDtoHAsync)(void *to, CUdeviceptr from, size_t bytes, CUstream stream);
    CUresult (*cuMemcpyHtoD)(CUdeviceptr to, const void *from, size_t bytes);
    CUresult (*cuMemcpyDtoH)(void *to, CUdeviceptr from, size_t bytes);
    CUresult (*cuStreamSynchronize)(CUstream stream);
    CUresult (*cuStreamIsCapturing)(CUstream stream, int *status);
};

extern struct blas_cuda blas_cuda;

extern const char blas_library[];               /* "libcublas", "libcublasLt", "libcudnn" */
extern const struct cuda_frontend *blas_driver; /* NULL: before blas_prepare() */

bool blas_has_driver(void);
/* A line on stderr. */
void blas_say(const char *text);
/* Finds the driver's library, and makes the primary context where the thread has none, as the
 * library itself does.  False: that is not to be had. */
bool blas_prepare(void);

/* All answer a cublasStatus_t. */
int blas_create(struct blas_handle **handle, enum blas_kind kind);
int blas_destroy(struct blas_handle *handle);
bool blas_is_handle(const struct blas_handle *handle);
bool blas_stream_lives(CUstream stream);
int blas_status_of(CUresult result);
const char *blas_status_name(int status);
const char *blas_status_text(int status);

uint64_t blas_mix(uint64_t key, uint64_t value);
/* Begins a call on a handle, which is its first argument. */
int blas_open(struct cuda_call *call, const struct blas_handle *handle, uint16_t op);
/* Was a call of this key well before? */
bool blas_is_known(uint64_t key);
void blas_is_known_now(uint64_t key);
/* Before a call that the library would wait for the GPU at: waits, so that the worker need not.  In
 * a stream that is being captured nothing can be waited for, and nothing is in flight. */
CUresult blas_settle(CUstream stream);
/* Asks for it, or sends it, as its key is new or known; *is_asked says which. */
int blas_send(struct cuda_call *call, uint64_t key, CUstream stream, bool *is_asked);

#endif
