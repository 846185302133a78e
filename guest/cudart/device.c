/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices: which there are, what they can, which one the thread uses. */
#include <stddef.h>
#include <string.h>

#include "cudart_hand.h"
#include "guest/cudart/internal.h"

#define FLAG_MAP_HOST 8u /* of a device: always so here */

cudaError_t hand_cudaGetDeviceCount(int *count)
{
    cudaError_t error = rt_begin(RT_DRIVER);

    if (!count) {
        return cudaErrorInvalidValue;
    }
    *count = error ? 0 : rt_device_count();
    return error;
}

cudaError_t hand_cudaGetDevice(int *device)
{
    return device ? rt_device(device) : cudaErrorInvalidValue;
}

cudaError_t hand_cudaSetDevice(int device)
{
    cudaError_t error = rt_primary(device, true);

    if (error == cudaSuccess) {
        rt_thread.device = device + 1;
    }
    return error;
}

cudaError_t hand_cudaInitDevice(int device, unsigned int deviceFlags, unsigned int flags)
{
    cudaError_t error = cudaSuccess;

    if (device < 0 || device >= rt_device_count()) {
        return cudaErrorInvalidDevice;
    }
    if (flags > 1) {
        return cudaErrorInvalidValue;
    }
    if (flags == 1) { /* deviceFlags are to be used */
        error = rt_driver.cuDevicePrimaryCtxSetFlags_v2(device, deviceFlags & ~FLAG_MAP_HOST);
    }
    return error ? error : rt_primary(device, false);
}

cudaError_t hand_cudaSetValidDevices(int *device_arr, int len)
{
    if (len < 0 || len > rt_device_count() || (len > 0 && !device_arr)) {
        return cudaErrorInvalidValue;
    }
    for (int i = 0; i < len; i++) {
        if (device_arr[i] < 0 || device_arr[i] >= rt_device_count()) {
            return cudaErrorInvalidDevice;
        }
    }
    rt_thread.device = len > 0 ? device_arr[0] + 1 : 0;
    return cudaSuccess;
}

cudaError_t hand_cudaChooseDevice(int *device, const struct cudaDeviceProp *prop)
{
    if (!device || !prop) {
        return cudaErrorInvalidValue;
    }
    *device = 0; /* a VM has one */
    return cudaSuccess;
}

cudaError_t hand_cudaDeviceReset(void)
{
    int device;
    cudaError_t error = rt_device(&device);

    return error ? error : rt_primary_reset(device);
}

cudaError_t hand_cudaGetDeviceFlags(unsigned int *flags)
{
    CUcontext context = NULL;
    int device, active;
    cudaError_t error = rt_device(&device);

    if (!flags) {
        return cudaErrorInvalidValue;
    }
    if (error == cudaSuccess && rt_driver.cuCtxGetCurrent(&context) == cudaSuccess && context) {
        error = rt_driver.cuCtxGetFlags(flags);
    } else if (error == cudaSuccess) {
        error = rt_driver.cuDevicePrimaryCtxGetState(device, flags, &active);
    }
    *flags |= error == cudaSuccess ? FLAG_MAP_HOST : 0;
    return error;
}

cudaError_t hand_cudaSetDeviceFlags(unsigned int flags)
{
    int device;
    cudaError_t error = rt_device(&device);

    return error ? error : rt_driver.cuDevicePrimaryCtxSetFlags_v2(device, flags & ~FLAG_MAP_HOST);
}

cudaError_t hand_cudaDriverGetVersion(int *driverVersion)
{
    if (!driverVersion) {
        return cudaErrorInvalidValue;
    }
    *driverVersion = rt_driver_version();
    return cudaSuccess;
}

cudaError_t hand_cudaRuntimeGetVersion(int *runtimeVersion)
{
    if (!runtimeVersion) {
        return cudaErrorInvalidValue;
    }
    *runtimeVersion = RT_VERSION;
    return cudaSuccess;
}

/* ---- properties ---- */

/* Where each attribute of the device goes; `wide` fields are size_t. */
#define NARROW(field, attribute)                                                                   \
    {                                                                                              \
        offsetof(struct cudaDeviceProp, field), attribute, false                                   \
    }
#define WIDE(field, attribute)                                                                     \
    {                                                                                              \
        offsetof(struct cudaDeviceProp, field), attribute, true                                    \
    }

static const struct {
    size_t offset;
    int attribute;
    bool wide;
} properties[] = {
    WIDE(sharedMemPerBlock, 8),
    NARROW(regsPerBlock, 12),
    NARROW(warpSize, 10),
    WIDE(memPitch, 11),
    NARROW(maxThreadsPerBlock, 1),
    NARROW(maxThreadsDim[0], 2),
    NARROW(maxThreadsDim[1], 3),
    NARROW(maxThreadsDim[2], 4),
    NARROW(maxGridSize[0], 5),
    NARROW(maxGridSize[1], 6),
    NARROW(maxGridSize[2], 7),
    WIDE(totalConstMem, 9),
    NARROW(major, 75),
    NARROW(minor, 76),
    WIDE(textureAlignment, 14),
    WIDE(texturePitchAlignment, 51),
    NARROW(multiProcessorCount, 16),
    NARROW(integrated, 18),
    NARROW(canMapHostMemory, 19),
    NARROW(maxTexture1D, 21),
    NARROW(maxTexture1DMipmap, 77),
    NARROW(maxTexture2D[0], 22),
    NARROW(maxTexture2D[1], 23),
    NARROW(maxTexture2DMipmap[0], 73),
    NARROW(maxTexture2DMipmap[1], 74),
    NARROW(maxTexture2DLinear[0], 70),
    NARROW(maxTexture2DLinear[1], 71),
    NARROW(maxTexture2DLinear[2], 72),
    NARROW(maxTexture2DGather[0], 45),
    NARROW(maxTexture2DGather[1], 46),
    NARROW(maxTexture3D[0], 24),
    NARROW(maxTexture3D[1], 25),
    NARROW(maxTexture3D[2], 26),
    NARROW(maxTexture3DAlt[0], 47),
    NARROW(maxTexture3DAlt[1], 48),
    NARROW(maxTexture3DAlt[2], 49),
    NARROW(maxTextureCubemap, 52),
    NARROW(maxTexture1DLayered[0], 42),
    NARROW(maxTexture1DLayered[1], 43),
    NARROW(maxTexture2DLayered[0], 27),
    NARROW(maxTexture2DLayered[1], 28),
    NARROW(maxTexture2DLayered[2], 29),
    NARROW(maxTextureCubemapLayered[0], 53),
    NARROW(maxTextureCubemapLayered[1], 54),
    NARROW(maxSurface1D, 55),
    NARROW(maxSurface2D[0], 56),
    NARROW(maxSurface2D[1], 57),
    NARROW(maxSurface3D[0], 58),
    NARROW(maxSurface3D[1], 59),
    NARROW(maxSurface3D[2], 60),
    NARROW(maxSurface1DLayered[0], 61),
    NARROW(maxSurface1DLayered[1], 62),
    NARROW(maxSurface2DLayered[0], 63),
    NARROW(maxSurface2DLayered[1], 64),
    NARROW(maxSurface2DLayered[2], 65),
    NARROW(maxSurfaceCubemap, 66),
    NARROW(maxSurfaceCubemapLayered[0], 67),
    NARROW(maxSurfaceCubemapLayered[1], 68),
    WIDE(surfaceAlignment, 30),
    NARROW(concurrentKernels, 31),
    NARROW(ECCEnabled, 32),
    NARROW(pciBusID, 33),
    NARROW(pciDeviceID, 34),
    NARROW(pciDomainID, 50),
    NARROW(tccDriver, 35),
    NARROW(asyncEngineCount, 40),
    NARROW(unifiedAddressing, 41),
    NARROW(memoryBusWidth, 37),
    NARROW(l2CacheSize, 38),
    NARROW(persistingL2CacheMaxSize, 108),
    NARROW(maxThreadsPerMultiProcessor, 39),
    NARROW(streamPrioritiesSupported, 78),
    NARROW(globalL1CacheSupported, 79),
    NARROW(localL1CacheSupported, 80),
    WIDE(sharedMemPerMultiprocessor, 81),
    NARROW(regsPerMultiprocessor, 82),
    NARROW(managedMemory, 83),
    NARROW(isMultiGpuBoard, 84),
    NARROW(multiGpuBoardGroupID, 85),
    NARROW(hostNativeAtomicSupported, 86),
    NARROW(pageableMemoryAccess, 88),
    NARROW(concurrentManagedAccess, 89),
    NARROW(computePreemptionSupported, 90),
    NARROW(canUseHostPointerForRegisteredMem, 91),
    NARROW(cooperativeLaunch, 95),
    WIDE(sharedMemPerBlockOptin, 97),
    NARROW(pageableMemoryAccessUsesHostPageTables, 100),
    NARROW(directManagedMemAccessFromHost, 101),
    NARROW(maxBlocksPerMultiProcessor, 106),
    NARROW(accessPolicyMaxWindowSize, 109),
    WIDE(reservedSharedMemPerBlock, 111),
    NARROW(hostRegisterSupported, 99),
    NARROW(sparseCudaArraySupported, 112),
    NARROW(hostRegisterReadOnlySupported, 113),
    NARROW(timelineSemaphoreInteropSupported, 114),
    NARROW(memoryPoolsSupported, 115),
    NARROW(gpuDirectRDMASupported, 116),
    NARROW(gpuDirectRDMAFlushWritesOptions, 117),
    NARROW(gpuDirectRDMAWritesOrdering, 118),
    NARROW(memoryPoolSupportedHandleTypes, 119),
    NARROW(deferredMappingCudaArraySupported, 121),
    NARROW(ipcEventSupported, 125),
    NARROW(clusterLaunch, 120),
    NARROW(unifiedFunctionPointers, 129),
    NARROW(deviceNumaConfig, 130),
    NARROW(deviceNumaId, 131),
    NARROW(mpsEnabled, 133),
    NARROW(hostNumaId, 134),
    NARROW(gpuPciDeviceID, 139),
    NARROW(gpuPciSubsystemID, 140),
    NARROW(hostNumaMultinodeIpcSupported, 143),
};

static cudaError_t fill_attributes(struct cudaDeviceProp *prop, int device)
{
    for (unsigned i = 0; i < sizeof(properties) / sizeof(properties[0]); i++) {
        char *to = (char *)prop + properties[i].offset;
        int value = 0;
        /* A driver that is older than the attribute says nothing of it: 0. */
        cudaError_t error = rt_driver.cuDeviceGetAttribute(&value, properties[i].attribute, device);
        size_t wide = (size_t)(unsigned)value;

        if (error && error != cudaErrorInvalidValue) {
            return error;
        }
        memcpy(to, properties[i].wide ? (void *)&wide : (void *)&value,
               properties[i].wide ? sizeof(wide) : sizeof(value));
    }
    return cudaSuccess;
}

cudaError_t hand_cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    cudaError_t error;

    if (!prop) {
        return cudaErrorInvalidValue;
    }
    if (device < 0 || device >= rt_device_count()) {
        return cudaErrorInvalidDevice;
    }
    /* NVIDIA's runtime, too, leaves what is reserved as it is. */
    memset(prop, 0, offsetof(struct cudaDeviceProp, reserved));
    error = rt_driver.cuDeviceGetName(prop->name, sizeof(prop->name), device);
    if (error == cudaSuccess) {
        error = rt_driver.cuDeviceTotalMem_v2(&prop->totalGlobalMem, device);
    }
    if (error == cudaSuccess) {
        error = rt_driver.cuDeviceGetUuid(&prop->uuid, device);
    }
    return error ? error : fill_attributes(prop, device);
}

/* ---- the driver's functions by name ---- */

static cudaError_t entry_point(const char *symbol, void **function, int version,
                               unsigned long long flags, int mode,
                               enum cudaDriverEntryPointQueryResult *status)
{
    int found = 0;
    cudaError_t error;

    if (flags > 2) {
        return cudaErrorInvalidValue;
    }
    if (flags == 0) { /* as this code itself was compiled */
        flags = mode ? 2 : 1;
    }
    error = rt_driver.cuGetProcAddress_v2(symbol, function, version, flags, &found);
    if (error == cudaSuccess && status) {
        *status = (enum cudaDriverEntryPointQueryResult)found;
    }
    return error;
}

cudaError_t hand_cudaGetDriverEntryPoint(const char *symbol, void **funcPtr,
                                         unsigned long long flags,
                                         enum cudaDriverEntryPointQueryResult *driverStatus,
                                         int mode)
{
    int version = rt_driver_version();

    return entry_point(symbol, funcPtr, version < RT_VERSION ? version : RT_VERSION, flags, mode,
                       driverStatus);
}

cudaError_t
hand_cudaGetDriverEntryPointByVersion(const char *symbol, void **funcPtr, unsigned int cudaVersion,
                                      unsigned long long flags,
                                      enum cudaDriverEntryPointQueryResult *driverStatus, int mode)
{
    return cudaVersion > INT32_MAX
               ? cudaErrorInvalidValue
               : entry_point(symbol, funcPtr, (int)cudaVersion, flags, mode, driverStatus);
}

/* Nobody profiles through us; programs that bracket a part of their work go on. */
cudaError_t hand_cudaProfilerStart(void)
{
    return cudaSuccess;
}

cudaError_t hand_cudaProfilerStop(void)
{
    return cudaSuccess;
}
