/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies.  The kind says which of the driver's copies it is; cudaMemcpyDefault is decided by what
 * the driver knows of both pointers.
 *
 * A pointer of the GPU where memory of the host is said to be would be read by this process: such a
 * copy is one within the GPU, as with NVIDIA's runtime, and wrong where the other pointer is not.
 */
#include <string.h>

#include "cudart_hand.h"
#include "guest/cudart/internal.h"

#define MEMORY_TYPE 2 /* a CUpointer_attribute */
#define MEMORY_DEVICE 2u

struct way {
    cudaStream_t stream;
    int mode;  /* which default stream */
    bool wait; /* the synchronous form */
};

static bool is_of_gpu(const void *pointer)
{
    int wanted = MEMORY_TYPE;
    unsigned type = 0;
    void *to = &type;

    return rt_driver.cuPointerGetAttributes(1, &wanted, &to, rt_address(pointer)) == cudaSuccess &&
           type == MEMORY_DEVICE;
}

/* From host to host: what the stream has to do comes first. */
static cudaError_t within_host(void *dst, const void *src, size_t bytes, const struct way *way)
{
    cudaError_t error = RT_FORM(way->mode, cuStreamSynchronize)(way->stream);

    if (error == cudaSuccess) {
        memmove(dst, src, bytes);
    }
    return error;
}

static cudaError_t to_gpu(void *dst, const void *src, size_t bytes, const struct way *way)
{
    return way->wait
               ? RT_FORM(way->mode, cuMemcpyHtoD_v2)(rt_address(dst), src, bytes)
               : RT_FORM(way->mode, cuMemcpyHtoDAsync_v2)(rt_address(dst), src, bytes, way->stream);
}

static cudaError_t from_gpu(void *dst, const void *src, size_t bytes, const struct way *way)
{
    return way->wait
               ? RT_FORM(way->mode, cuMemcpyDtoH_v2)(dst, rt_address(src), bytes)
               : RT_FORM(way->mode, cuMemcpyDtoHAsync_v2)(dst, rt_address(src), bytes, way->stream);
}

static cudaError_t within_gpu(void *dst, const void *src, size_t bytes, const struct way *way)
{
    return way->wait ? RT_FORM(way->mode, cuMemcpyDtoD_v2)(rt_address(dst), rt_address(src), bytes)
                     : RT_FORM(way->mode, cuMemcpyDtoDAsync_v2)(rt_address(dst), rt_address(src),
                                                                bytes, way->stream);
}

static bool kind_is_known(enum cudaMemcpyKind kind)
{
    return (unsigned)kind <= cudaMemcpyDefault;
}

/* Where both are of the GPU it is a copy within it, whatever the program says. */
bool rt_copy_kind(const void *dst, const void *src, enum cudaMemcpyKind *kind)
{
    bool to, from;

    switch (*kind) {
    case cudaMemcpyHostToHost: return !is_of_gpu(dst) && !is_of_gpu(src);
    case cudaMemcpyHostToDevice:
        *kind = is_of_gpu(src) ? cudaMemcpyDeviceToDevice : *kind;
        return true;
    case cudaMemcpyDeviceToHost:
        *kind = is_of_gpu(dst) ? cudaMemcpyDeviceToDevice : *kind;
        return true;
    case cudaMemcpyDeviceToDevice: return true;
    default: break;
    }
    to = is_of_gpu(dst);
    from = is_of_gpu(src);
    *kind = to ? (from ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
               : (from ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
    return true;
}

static cudaError_t copy_decided(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
                                const struct way *way)
{
    switch (kind) {
    case cudaMemcpyHostToHost: return within_host(dst, src, bytes, way);
    case cudaMemcpyHostToDevice: return to_gpu(dst, src, bytes, way);
    case cudaMemcpyDeviceToHost: return from_gpu(dst, src, bytes, way);
    default: return within_gpu(dst, src, bytes, way);
    }
}

static cudaError_t copy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
                        const struct way *way)
{
    if (!kind_is_known(kind)) {
        return cudaErrorInvalidMemcpyDirection;
    }
    if (bytes == 0) {
        return cudaSuccess;
    }
    if (!dst || !src || !rt_copy_kind(dst, src, &kind)) {
        return cudaErrorInvalidValue;
    }
    return copy_decided(dst, src, bytes, kind, way);
}

cudaError_t hand_cudaMemcpy(void *dst, const void *src, size_t count, enum cudaMemcpyKind kind,
                            int mode)
{
    return copy(dst, src, count, kind, &(struct way){.mode = mode, .wait = true});
}

cudaError_t hand_cudaMemcpyAsync(void *dst, const void *src, size_t count, enum cudaMemcpyKind kind,
                                 cudaStream_t stream, int mode)
{
    return copy(dst, src, count, kind, &(struct way){.stream = stream, .mode = mode});
}

/* ---- rows ---- */

static cudaError_t copy_rows(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width,
                             size_t height, enum cudaMemcpyKind kind, const struct way *way)
{
    struct way forget = *way;
    cudaError_t error = cudaSuccess;

    if (!kind_is_known(kind)) {
        return cudaErrorInvalidMemcpyDirection;
    }
    if (width > dpitch || width > spitch) {
        return 12; /* cudaErrorInvalidPitchValue */
    }
    if (width == 0 || height == 0) {
        return cudaSuccess;
    }
    if (!dst || !src || !rt_copy_kind(dst, src, &kind)) {
        return cudaErrorInvalidValue;
    }
    if (dpitch == width && spitch == width) {
        return copy_decided(dst, src, width * height, kind, way);
    }
    forget.wait = false; /* only the last row is waited for */
    for (size_t y = 0; y < height && error == cudaSuccess; y++) {
        error = copy_decided((char *)dst + y * dpitch, (const char *)src + y * spitch, width, kind,
                             y + 1 < height ? &forget : way);
    }
    return error;
}

cudaError_t hand_cudaMemcpy2D(void *dst, size_t dpitch, const void *src, size_t spitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind, int mode)
{
    return copy_rows(dst, dpitch, src, spitch, width, height, kind,
                     &(struct way){.mode = mode, .wait = true});
}

cudaError_t hand_cudaMemcpy2DAsync(void *dst, size_t dpitch, const void *src, size_t spitch,
                                   size_t width, size_t height, enum cudaMemcpyKind kind,
                                   cudaStream_t stream, int mode)
{
    return copy_rows(dst, dpitch, src, spitch, width, height, kind,
                     &(struct way){.stream = stream, .mode = mode});
}

/* ---- between devices, of which a VM has one ---- */

static cudaError_t copy_peer(void *dst, int to, const void *src, int from, size_t bytes,
                             const struct way *way)
{
    if (to < 0 || to >= rt_device_count() || from < 0 || from >= rt_device_count()) {
        return cudaErrorInvalidDevice;
    }
    return to == from ? copy(dst, src, bytes, cudaMemcpyDeviceToDevice, way)
                      : cudaErrorNotSupported;
}

cudaError_t hand_cudaMemcpyPeer(void *dst, int dstDevice, const void *src, int srcDevice,
                                size_t count)
{
    return copy_peer(dst, dstDevice, src, srcDevice, count, &(struct way){.wait = true});
}

cudaError_t hand_cudaMemcpyPeerAsync(void *dst, int dstDevice, const void *src, int srcDevice,
                                     size_t count, cudaStream_t stream)
{
    return copy_peer(dst, dstDevice, src, srcDevice, count, &(struct way){.stream = stream});
}

/* ---- variables of the program ---- */

static cudaError_t part_of(const void *symbol, size_t count, size_t offset, char **at)
{
    CUdeviceptr address;
    size_t bytes;
    cudaError_t error = rt_variable(symbol, &address, &bytes);

    if (error == cudaSuccess && (offset > bytes || count > bytes - offset)) {
        return cudaErrorInvalidValue;
    }
    if (error == cudaSuccess) {
        *at = (char *)(uintptr_t)(address + offset); /* NOLINT(performance-no-int-to-ptr) */
    }
    return error;
}

static cudaError_t to_symbol(const void *symbol, const void *src, size_t count, size_t offset,
                             enum cudaMemcpyKind kind, const struct way *way)
{
    char *at;
    cudaError_t error;

    if (!kind_is_known(kind) || kind == cudaMemcpyHostToHost || kind == cudaMemcpyDeviceToHost) {
        return cudaErrorInvalidMemcpyDirection;
    }
    error = part_of(symbol, count, offset, &at);
    return error ? error : copy(at, src, count, kind, way);
}

static cudaError_t from_symbol(void *dst, const void *symbol, size_t count, size_t offset,
                               enum cudaMemcpyKind kind, const struct way *way)
{
    char *at;
    cudaError_t error;

    if (!kind_is_known(kind) || kind == cudaMemcpyHostToHost || kind == cudaMemcpyHostToDevice) {
        return cudaErrorInvalidMemcpyDirection;
    }
    error = part_of(symbol, count, offset, &at);
    return error ? error : copy(dst, at, count, kind, way);
}

cudaError_t hand_cudaMemcpyToSymbol(const void *symbol, const void *src, size_t count,
                                    size_t offset, enum cudaMemcpyKind kind, int mode)
{
    return to_symbol(symbol, src, count, offset, kind, &(struct way){.mode = mode, .wait = true});
}

cudaError_t hand_cudaMemcpyFromSymbol(void *dst, const void *symbol, size_t count, size_t offset,
                                      enum cudaMemcpyKind kind, int mode)
{
    return from_symbol(dst, symbol, count, offset, kind, &(struct way){.mode = mode, .wait = true});
}

cudaError_t hand_cudaMemcpyToSymbolAsync(const void *symbol, const void *src, size_t count,
                                         size_t offset, enum cudaMemcpyKind kind,
                                         cudaStream_t stream, int mode)
{
    return to_symbol(symbol, src, count, offset, kind,
                     &(struct way){.stream = stream, .mode = mode});
}

cudaError_t hand_cudaMemcpyFromSymbolAsync(void *dst, const void *symbol, size_t count,
                                           size_t offset, enum cudaMemcpyKind kind,
                                           cudaStream_t stream, int mode)
{
    return from_symbol(dst, symbol, count, offset, kind,
                       &(struct way){.stream = stream, .mode = mode});
}

cudaError_t hand_cudaGetSymbolAddress(void **devPtr, const void *symbol)
{
    char *at;
    cudaError_t error = devPtr ? part_of(symbol, 0, 0, &at) : cudaErrorInvalidValue;

    if (error == cudaSuccess) {
        *devPtr = at;
    }
    return error;
}

cudaError_t hand_cudaGetSymbolSize(size_t *size, const void *symbol)
{
    CUdeviceptr address;

    return size ? rt_variable(symbol, &address, size) : cudaErrorInvalidValue;
}
