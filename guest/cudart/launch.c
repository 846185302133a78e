/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernels: launches, attributes, occupancy.
 *
 * k<<<g, b, s, t>>>(...) is, in the program: __cudaPushCallConfiguration; then in the host stub,
 * the first time only, __cudaGetKernel; __cudaPopCallConfiguration; __cudaLaunchKernel.  The
 * program never looks at what __cudaGetKernel returns and asks once, so it gets the stub's own
 * address, and what is wrong with the kernel's image is said by each launch.
 */
#include <string.h>

#include "cudart_hand.h"
#include "guest/cudart/internal.h"

/* Numbers of CUfunction_attribute. */
enum {
    MAX_THREADS = 0,
    SHARED_BYTES = 1,
    CONST_BYTES = 2,
    LOCAL_BYTES = 3,
    REGISTERS = 4,
    PTX_VERSION = 5,
    BINARY_VERSION = 6,
    CACHE_MODE_CA = 7,
    MAX_DYNAMIC_SHARED = 8,
    CARVEOUT = 9,
    CLUSTER_MUST_BE_SET = 10,
    CLUSTER_WIDTH = 11,
    CLUSTER_HEIGHT = 12,
    CLUSTER_DEPTH = 13,
    CLUSTER_NON_PORTABLE = 14,
    CLUSTER_POLICY = 15,
    ATTRIBUTES = 16,
};

/* ---- the configuration between <<< >>> ---- */

unsigned __cudaPushCallConfiguration(dim3 gridDim, dim3 blockDim, size_t sharedMem,
                                     struct CUstream_st *stream)
{
    if (rt_thread.depth == RT_CONFIGURATIONS) {
        rt_end(cudaErrorMissingConfiguration);
        return 1; /* the program then doesn't call the stub */
    }
    rt_thread.stack[rt_thread.depth++] = (struct rt_configuration){
        .grid = gridDim, .block = blockDim, .shared_bytes = sharedMem, .stream = stream};
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *gridDim, dim3 *blockDim, size_t *sharedMem,
                                       void *stream)
{
    const struct rt_configuration *top;

    if (rt_thread.depth == 0) {
        return rt_end(cudaErrorMissingConfiguration);
    }
    top = &rt_thread.stack[--rt_thread.depth];
    *gridDim = top->grid;
    *blockDim = top->block;
    *sharedMem = top->shared_bytes;
    memcpy(stream, &top->stream, sizeof(top->stream));
    return cudaSuccess;
}

cudaError_t hand___cudaGetKernel(cudaKernel_t *kernel, const void *entryFuncAddr)
{
    if (!kernel) {
        return cudaErrorInvalidValue;
    }
    if (!rt_is_registered(entryFuncAddr)) {
        return cudaErrorInvalidDeviceFunction;
    }
    *kernel = (cudaKernel_t)entryFuncAddr;
    return cudaSuccess;
}

/* ---- launches ---- */

static cudaError_t launch(const void *function, dim3 grid, dim3 block, void **args, size_t shared,
                          cudaStream_t stream, int mode)
{
    CUkernel kernel;
    cudaError_t error = rt_kernel(function, &kernel);

    if (error) {
        return error;
    }
    if (shared > UINT32_MAX) {
        return cudaErrorInvalidValue;
    }
    return RT_FORM(mode, cuLaunchKernel)(rt_function(kernel), grid.x, grid.y, grid.z, block.x,
                                         block.y, block.z, (unsigned)shared, stream, args, NULL);
}

cudaError_t hand___cudaLaunchKernel(cudaKernel_t kernel, dim3 gridDim, dim3 blockDim, void **args,
                                    size_t sharedMem, cudaStream_t stream, int mode)
{
    return launch(kernel, gridDim, blockDim, args, sharedMem, stream, mode);
}

cudaError_t hand_cudaLaunchKernel(const void *func, dim3 gridDim, dim3 blockDim, void **args,
                                  size_t sharedMem, cudaStream_t stream, int mode)
{
    return launch(func, gridDim, blockDim, args, sharedMem, stream, mode);
}

/* The driver's form of a configuration. */
static cudaError_t translate(const cudaLaunchConfig_t *config, CUlaunchConfig *to)
{
    if (!config || config->dynamicSmemBytes > UINT32_MAX ||
        (config->numAttrs > 0 && !config->attrs)) {
        return cudaErrorInvalidValue;
    }
    *to = (CUlaunchConfig){
        .gridDimX = config->gridDim.x,
        .gridDimY = config->gridDim.y,
        .gridDimZ = config->gridDim.z,
        .blockDimX = config->blockDim.x,
        .blockDimY = config->blockDim.y,
        .blockDimZ = config->blockDim.z,
        .sharedMemBytes = (unsigned)config->dynamicSmemBytes,
        .hStream = config->stream,
        .attrs = config->attrs,
        .numAttrs = config->numAttrs,
    };
    return cudaSuccess;
}

static cudaError_t launch_ex(const cudaLaunchConfig_t *config, const void *function, void **args,
                             int mode)
{
    CUlaunchConfig translated;
    CUkernel kernel;
    cudaError_t error = translate(config, &translated);

    if (error == cudaSuccess) {
        error = rt_kernel(function, &kernel);
    }
    return error ? error
                 : RT_FORM(mode, cuLaunchKernelEx)(&translated, rt_function(kernel), args, NULL);
}

cudaError_t hand_cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *func,
                                     void **args, int mode)
{
    return launch_ex(config, func, args, mode);
}

cudaError_t hand_cudaLaunchCooperativeKernel(const void *func, dim3 gridDim, dim3 blockDim,
                                             void **args, size_t sharedMem, cudaStream_t stream,
                                             int mode)
{
    cudaLaunchAttribute together = {.id = RT_ATTRIBUTE_COOPERATIVE, .value.number = 1};
    cudaLaunchConfig_t config = {.gridDim = gridDim,
                                 .blockDim = blockDim,
                                 .dynamicSmemBytes = sharedMem,
                                 .stream = stream,
                                 .attrs = &together,
                                 .numAttrs = 1};

    return launch_ex(&config, func, args, mode);
}

/* ---- attributes ---- */

static cudaError_t kernel_and_device(const void *function, CUkernel *kernel, int *device)
{
    cudaError_t error = rt_kernel(function, kernel);

    return error ? error : rt_device(device);
}

cudaError_t hand_cudaFuncGetAttributes(struct cudaFuncAttributes *attr, const void *func)
{
    int values[ATTRIBUTES] = {0};
    CUkernel kernel;
    int device;
    cudaError_t error = attr ? kernel_and_device(func, &kernel, &device) : cudaErrorInvalidValue;

    for (int i = 0; i < ATTRIBUTES && error == cudaSuccess; i++) {
        error = rt_driver.cuKernelGetAttribute(&values[i], (unsigned)i, kernel, device);
    }
    if (error) {
        return error;
    }
    *attr = (struct cudaFuncAttributes){
        .sharedSizeBytes = (size_t)values[SHARED_BYTES],
        .constSizeBytes = (size_t)values[CONST_BYTES],
        .localSizeBytes = (size_t)values[LOCAL_BYTES],
        .maxThreadsPerBlock = values[MAX_THREADS],
        .numRegs = values[REGISTERS],
        .ptxVersion = values[PTX_VERSION],
        .binaryVersion = values[BINARY_VERSION],
        .cacheModeCA = values[CACHE_MODE_CA],
        .maxDynamicSharedSizeBytes = values[MAX_DYNAMIC_SHARED],
        .preferredShmemCarveout = values[CARVEOUT],
        .clusterDimMustBeSet = values[CLUSTER_MUST_BE_SET],
        .requiredClusterWidth = values[CLUSTER_WIDTH],
        .requiredClusterHeight = values[CLUSTER_HEIGHT],
        .requiredClusterDepth = values[CLUSTER_DEPTH],
        .clusterSchedulingPolicyPreference = values[CLUSTER_POLICY],
        .nonPortableClusterSizeAllowed = values[CLUSTER_NON_PORTABLE],
    };
    return cudaSuccess;
}

cudaError_t hand_cudaFuncSetAttribute(const void *func, enum cudaFuncAttribute attr, int value)
{
    CUkernel kernel;
    int device;
    cudaError_t error = kernel_and_device(func, &kernel, &device);

    return error ? error : rt_driver.cuKernelSetAttribute(attr, value, kernel, device);
}

cudaError_t hand_cudaKernelSetAttributeForDevice(cudaKernel_t kernel, enum cudaFuncAttribute attr,
                                                 int value, int device)
{
    CUkernel of_driver;
    cudaError_t error = rt_kernel(kernel, &of_driver);

    if (error == cudaSuccess && (device < 0 || device >= rt_device_count())) {
        return cudaErrorInvalidDevice;
    }
    return error ? error : rt_driver.cuKernelSetAttribute(attr, value, of_driver, device);
}

cudaError_t hand_cudaFuncSetCacheConfig(const void *func, enum cudaFuncCache cacheConfig)
{
    CUkernel kernel;
    int device;
    cudaError_t error = kernel_and_device(func, &kernel, &device);

    return error ? error : rt_driver.cuKernelSetCacheConfig(kernel, cacheConfig, device);
}

cudaError_t hand_cudaGetFuncBySymbol(cudaFunction_t *functionPtr, const void *symbolPtr)
{
    CUkernel kernel;
    cudaError_t error = functionPtr ? rt_kernel(symbolPtr, &kernel) : cudaErrorInvalidValue;

    return error ? error : rt_driver.cuKernelGetFunction(functionPtr, kernel);
}

cudaError_t hand_cudaFuncSetSharedMemConfig(const void *func, enum cudaSharedMemConfig config)
{
    CUfunction function;
    cudaError_t error = hand_cudaGetFuncBySymbol(&function, func);

    return error ? error : rt_driver.cuFuncSetSharedMemConfig(function, config);
}

cudaError_t hand_cudaFuncGetName(const char **name, const void *func)
{
    CUkernel kernel;
    cudaError_t error = name ? rt_kernel(func, &kernel) : cudaErrorInvalidValue;

    return error ? error : rt_driver.cuKernelGetName(name, kernel);
}

cudaError_t hand_cudaFuncGetParamInfo(const void *func, size_t paramIndex, size_t *paramOffset,
                                      size_t *paramSize)
{
    CUkernel kernel;
    cudaError_t error = rt_kernel(func, &kernel);

    return error ? error
                 : rt_driver.cuKernelGetParamInfo(kernel, paramIndex, paramOffset, paramSize);
}

cudaError_t hand_cudaGetKernel(cudaKernel_t *kernelPtr, const void *entryFuncAddr)
{
    cudaError_t error = kernelPtr ? rt_kernel(entryFuncAddr, kernelPtr) : cudaErrorInvalidValue;

    if (error == cudaSuccess) {
        rt_kernel_given(entryFuncAddr, *kernelPtr);
    }
    return error;
}

/* ---- occupancy ---- */

cudaError_t hand_cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    int *numBlocks, const void *func, int blockSize, size_t dynamicSMemSize, unsigned int flags)
{
    CUkernel kernel;
    cudaError_t error = numBlocks ? rt_kernel(func, &kernel) : cudaErrorInvalidValue;

    return error ? error
                 : rt_driver.cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
                       numBlocks, rt_function(kernel), blockSize, dynamicSMemSize, flags);
}

cudaError_t hand_cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *numBlocks, const void *func,
                                                               int blockSize,
                                                               size_t dynamicSMemSize)
{
    return hand_cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(numBlocks, func, blockSize,
                                                                       dynamicSMemSize, 0);
}

cudaError_t hand_cudaOccupancyAvailableDynamicSMemPerBlock(size_t *dynamicSmemSize,
                                                           const void *func, int numBlocks,
                                                           int blockSize)
{
    CUkernel kernel;
    cudaError_t error = dynamicSmemSize ? rt_kernel(func, &kernel) : cudaErrorInvalidValue;

    return error ? error
                 : rt_driver.cuOccupancyAvailableDynamicSMemPerBlock(
                       dynamicSmemSize, rt_function(kernel), numBlocks, blockSize);
}

cudaError_t hand_cudaOccupancyMaxActiveClusters(int *numClusters, const void *func,
                                                const cudaLaunchConfig_t *launchConfig)
{
    CUlaunchConfig translated;
    CUkernel kernel;
    cudaError_t error = numClusters ? translate(launchConfig, &translated) : cudaErrorInvalidValue;

    if (error == cudaSuccess) {
        error = rt_kernel(func, &kernel);
    }
    return error ? error
                 : rt_driver.cuOccupancyMaxActiveClusters(numClusters, rt_function(kernel),
                                                          &translated);
}

cudaError_t hand_cudaOccupancyMaxPotentialClusterSize(int *clusterSize, const void *func,
                                                      const cudaLaunchConfig_t *launchConfig)
{
    CUlaunchConfig translated;
    CUkernel kernel;
    cudaError_t error = clusterSize ? translate(launchConfig, &translated) : cudaErrorInvalidValue;

    if (error == cudaSuccess) {
        error = rt_kernel(func, &kernel);
    }
    return error ? error
                 : rt_driver.cuOccupancyMaxPotentialClusterSize(clusterSize, rt_function(kernel),
                                                                &translated);
}
