/* SPDX-License-Identifier: BSD-3-Clause */
/* Images that a program loads itself, and nodes of graphs whose form differs from the driver's. */

#include "cudart_hand.h"
#include "guest/cudart/internal.h"

#define KERNELS_MAX 65536u /* of one library, asked for at once */

cudaError_t hand_cudaLibraryLoadData(cudaLibrary_t *library, const void *code,
                                     enum cudaJitOption *jitOptions, void **jitOptionsValues,
                                     unsigned int numJitOptions,
                                     enum cudaLibraryOption *libraryOptions,
                                     void **libraryOptionValues, unsigned int numLibraryOptions)
{
    return rt_driver.cuLibraryLoadData(library, code, (unsigned *)jitOptions, jitOptionsValues,
                                       numJitOptions, (unsigned *)libraryOptions,
                                       libraryOptionValues, numLibraryOptions);
}

cudaError_t hand_cudaLibraryLoadFromFile(cudaLibrary_t *library, const char *fileName,
                                         enum cudaJitOption *jitOptions, void **jitOptionsValues,
                                         unsigned int numJitOptions,
                                         enum cudaLibraryOption *libraryOptions,
                                         void **libraryOptionValues, unsigned int numLibraryOptions)
{
    return rt_driver.cuLibraryLoadFromFile(
        library, fileName, (unsigned *)jitOptions, jitOptionsValues, numJitOptions,
        (unsigned *)libraryOptions, libraryOptionValues, numLibraryOptions);
}

cudaError_t hand_cudaLibraryUnload(cudaLibrary_t library)
{
    cudaError_t error = rt_driver.cuLibraryUnload(library);

    if (error == cudaSuccess) {
        rt_kernels_forget(library);
    }
    return error;
}

cudaError_t hand_cudaLibraryGetKernel(cudaKernel_t *pKernel, cudaLibrary_t library,
                                      const char *name)
{
    cudaError_t error = rt_driver.cuLibraryGetKernel(pKernel, library, name);

    return error || rt_kernel_known(*pKernel, library) ? error : cudaErrorMemoryAllocation;
}

cudaError_t hand_cudaLibraryGetGlobal(void **dptr, size_t *bytes, cudaLibrary_t library,
                                      const char *name)
{
    CUdeviceptr address = 0;
    cudaError_t error = rt_driver.cuLibraryGetGlobal(dptr ? &address : NULL, bytes, library, name);

    if (error == cudaSuccess && dptr) {
        *dptr = (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): the GPU's */
    }
    return error;
}

cudaError_t hand_cudaLibraryGetKernelCount(unsigned int *count, cudaLibrary_t lib)
{
    return rt_driver.cuLibraryGetKernelCount(count, lib);
}

cudaError_t hand_cudaLibraryEnumerateKernels(cudaKernel_t *kernels, unsigned int numKernels,
                                             cudaLibrary_t lib)
{
    unsigned count = 0;
    cudaError_t error = rt_driver.cuLibraryGetKernelCount(&count, lib);

    if (error == cudaSuccess) {
        error = rt_driver.cuLibraryEnumerateKernels(kernels, numKernels, lib);
    }
    count = numKernels < count ? numKernels : count;
    for (unsigned i = 0; error == cudaSuccess && i < count && i < KERNELS_MAX; i++) {
        error = rt_kernel_known(kernels[i], lib) ? cudaSuccess : cudaErrorMemoryAllocation;
    }
    return error;
}
