/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of the GPU and of the host, and what is known of a pointer. */
#include <stdint.h>

#include "cudart_hand.h"
#include "guest/cudart/internal.h"

#define PITCH_ELEMENT_BYTES 16 /* the widest that the driver takes: rows fit all accesses */
#define NO_DEVICE (-2)

cudaError_t hand_cudaMalloc(void **devPtr, size_t size)
{
    CUdeviceptr address = 0;
    cudaError_t error;

    if (!devPtr) {
        return cudaErrorInvalidValue;
    }
    if (size == 0) {
        *devPtr = NULL;
        return cudaSuccess;
    }
    error = rt_driver.cuMemAlloc_v2(&address, size);
    if (error == cudaSuccess) {
        *devPtr = (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): the GPU's */
    }
    return error;
}

cudaError_t hand_cudaFree(void *devPtr)
{
    return devPtr ? rt_driver.cuMemFree_v2(rt_address(devPtr)) : cudaSuccess;
}

cudaError_t hand_cudaFreeHost(void *ptr)
{
    return ptr ? rt_driver.cuMemFreeHost(ptr) : cudaSuccess;
}

cudaError_t hand_cudaMallocPitch(void **devPtr, size_t *pitch, size_t width, size_t height)
{
    CUdeviceptr address = 0;
    cudaError_t error;

    if (!devPtr || !pitch) {
        return cudaErrorInvalidValue;
    }
    if (width == 0 || height == 0) {
        *devPtr = NULL;
        *pitch = 0;
        return cudaSuccess;
    }
    error = rt_driver.cuMemAllocPitch_v2(&address, pitch, width, height, PITCH_ELEMENT_BYTES);
    if (error == cudaSuccess) {
        *devPtr = (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): the GPU's */
    }
    return error;
}

cudaError_t hand_cudaMalloc3D(struct cudaPitchedPtr *pitchedDevPtr, struct cudaExtent extent)
{
    struct cudaPitchedPtr made = {.xsize = extent.width, .ysize = extent.height};
    size_t rows;
    cudaError_t error;

    if (!pitchedDevPtr) {
        return cudaErrorInvalidValue;
    }
    if (__builtin_mul_overflow(extent.height, extent.depth, &rows)) {
        return cudaErrorMemoryAllocation;
    }
    error = hand_cudaMallocPitch(&made.ptr, &made.pitch, extent.width, rows);
    if (error == cudaSuccess) {
        *pitchedDevPtr = made;
    }
    return error;
}

/* ---- filling a box: slice by slice ---- */

static cudaError_t fill(struct cudaPitchedPtr to, int value, struct cudaExtent extent,
                        cudaStream_t stream, int mode, bool wait)
{
    size_t slice_bytes;
    cudaError_t error = cudaSuccess;

    if (extent.width == 0 || extent.height == 0 || extent.depth == 0) {
        return cudaSuccess;
    }
    if (!to.ptr || extent.width > to.pitch || extent.height > to.ysize ||
        __builtin_mul_overflow(to.pitch, to.ysize, &slice_bytes)) {
        return cudaErrorInvalidValue;
    }
    for (size_t z = 0; z < extent.depth && error == cudaSuccess; z++) {
        CUdeviceptr at = rt_address(to.ptr) + z * slice_bytes;
        unsigned char byte = (unsigned char)value;

        error =
            wait ? RT_FORM(mode, cuMemsetD2D8_v2)(at, to.pitch, byte, extent.width, extent.height)
                 : RT_FORM(mode, cuMemsetD2D8Async)(at, to.pitch, byte, extent.width, extent.height,
                                                    stream);
    }
    return error;
}

cudaError_t hand_cudaMemset3D(struct cudaPitchedPtr pitchedDevPtr, int value,
                              struct cudaExtent extent, int mode)
{
    return fill(pitchedDevPtr, value, extent, NULL, mode, true);
}

cudaError_t hand_cudaMemset3DAsync(struct cudaPitchedPtr pitchedDevPtr, int value,
                                   struct cudaExtent extent, cudaStream_t stream, int mode)
{
    return fill(pitchedDevPtr, value, extent, stream, mode, false);
}

/* ---- pointers ---- */

cudaError_t hand_cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *ptr)
{
    /* Numbers of CUpointer_attribute. */
    int wanted[] = {2 /* kind of memory */, 3 /* of the GPU */, 4 /* of the host */, 9 /* device */,
                    8 /* is managed */};
    unsigned type = 0;
    CUdeviceptr of_gpu = 0;
    void *of_host = NULL;
    int device = NO_DEVICE;
    unsigned managed = 0; /* drivers have written one byte or four */
    void *to[] = {&type, &of_gpu, &of_host, &device, &managed};
    cudaError_t error;

    if (!attributes) {
        return cudaErrorInvalidValue;
    }
    error = rt_driver.cuPointerGetAttributes(sizeof(wanted) / sizeof(wanted[0]), wanted, to,
                                             rt_address(ptr));
    if (error) {
        return error;
    }
    *attributes = (struct cudaPointerAttributes){
        .type = managed ? cudaMemoryTypeManaged : (enum cudaMemoryType)type,
        .device = type ? device : NO_DEVICE,
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): the GPU's */
        .devicePointer = type ? (void *)(uintptr_t)of_gpu : NULL,
        .hostPointer = type ? of_host : (void *)ptr,
    };
    return cudaSuccess;
}
