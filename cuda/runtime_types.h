/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header declares the documented types of the CUDA runtime that libcudart.so.13 uses.
 *
 * They are own declarations of its stable binary interface, as of CUDA 13.0.  Where the runtime
 * and the driver have one type under two names, it is the driver's here.  Enumerations that are
 * only passed on are plain numbers; tests/cudart_abi_check.py compares all of it with NVIDIA's
 * headers where there are any.
 */
#ifndef CUDA_RUNTIME_TYPES_H
#define CUDA_RUNTIME_TYPES_H

#include "cuda/driver_types.h"

typedef int cudaError_t;
typedef CUstream cudaStream_t;
typedef CUevent cudaEvent_t;
typedef CUkernel cudaKernel_t;
typedef CUfunction cudaFunction_t;
typedef CUlibrary cudaLibrary_t;
typedef CUmemoryPool cudaMemPool_t;
typedef CUgraph cudaGraph_t;
typedef CUgraphNode cudaGraphNode_t;
typedef CUgraphExec cudaGraphExec_t;
typedef void (*cudaHostFn_t)(void *data);
typedef void (*cudaStreamCallback_t)(cudaStream_t stream, cudaError_t status, void *data);

typedef CUgraphEdgeData cudaGraphEdgeData;

/* Passed on as it is. */
#define RT_NUMBER(name) enum name { name##_largest = 0x7fffffff }
RT_NUMBER(cudaDeviceAttr);
RT_NUMBER(cudaDeviceP2PAttr);
RT_NUMBER(cudaFuncAttribute);
RT_NUMBER(cudaFuncCache);
RT_NUMBER(cudaGraphMemAttributeType);
RT_NUMBER(cudaGraphNodeType);
RT_NUMBER(cudaJitOption);
RT_NUMBER(cudaLibraryOption);
RT_NUMBER(cudaLimit);
RT_NUMBER(cudaMemAccessFlags);
RT_NUMBER(cudaMemPoolAttr);
RT_NUMBER(cudaSharedMemConfig);
RT_NUMBER(cudaStreamCaptureMode);
RT_NUMBER(cudaStreamCaptureStatus);
RT_NUMBER(cudaLaunchAttributeID);
#undef RT_NUMBER
#define cudaStreamAttrID enum cudaLaunchAttributeID
typedef void cudaStreamAttrValue;
#define cudaKernelNodeAttrID enum cudaLaunchAttributeID
typedef void cudaKernelNodeAttrValue;

enum cudaMemcpyKind {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4,
};

enum cudaMemoryType {
    cudaMemoryTypeUnregistered = 0,
    cudaMemoryTypeHost = 1,
    cudaMemoryTypeDevice = 2,
    cudaMemoryTypeManaged = 3,
};

enum cudaChannelFormatKind { cudaChannelFormatKindNone = 3 };

enum cudaDriverEntryPointQueryResult {
    cudaDriverEntryPointSuccess = 0,
    cudaDriverEntryPointSymbolNotFound = 1,
    cudaDriverEntryPointVersionNotSufficent = 2,
};

typedef struct uint3 {
    unsigned x, y, z;
} uint3;
typedef struct dim3 {
    unsigned x, y, z;
} dim3;

struct cudaChannelFormatDesc {
    int x, y, z, w;
    enum cudaChannelFormatKind f;
};

struct cudaExtent {
    size_t width, height, depth;
};

struct cudaPitchedPtr {
    void *ptr;
    size_t pitch, xsize, ysize;
};

struct cudaPos {
    size_t x, y, z;
};

typedef struct cudaArray *cudaArray_t;

struct cudaMemcpy3DParms {
    cudaArray_t srcArray;
    struct cudaPos srcPos;
    struct cudaPitchedPtr srcPtr;
    cudaArray_t dstArray;
    struct cudaPos dstPos;
    struct cudaPitchedPtr dstPtr;
    struct cudaExtent extent;
    enum cudaMemcpyKind kind;
};

/* Only passed on. */
struct cudaMemLocation;
struct cudaMemAccessDesc;
struct cudaHostNodeParams;
typedef CUlaunchAttribute cudaLaunchAttribute;
#define cudaMemPoolProps CUmemPoolProps
typedef void cudaGraphExecUpdateResultInfo;
#define cudaGraphInstantiateParams CUgraphInstantiateParams

struct cudaMemsetParams {
    void *dst;
    size_t pitch;
    unsigned value, elementSize;
    size_t width, height;
};

struct cudaKernelNodeParams {
    void *func;
    dim3 gridDim, blockDim;
    unsigned sharedMemBytes;
    void **kernelParams, **extra;
};

typedef struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
} cudaLaunchConfig_t;

struct cudaPointerAttributes {
    enum cudaMemoryType type;
    int device;
    void *devicePointer, *hostPointer;
    long reserved[8];
};

struct cudaFuncAttributes {
    size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
    int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, cacheModeCA;
    int maxDynamicSharedSizeBytes, preferredShmemCarveout, clusterDimMustBeSet;
    int requiredClusterWidth, requiredClusterHeight, requiredClusterDepth;
    int clusterSchedulingPolicyPreference, nonPortableClusterSizeAllowed, reserved[16];
};

struct cudaDeviceProp {
    char name[256];
    CUuuid uuid;
    char luid[8];
    unsigned luidDeviceNodeMask;
    size_t totalGlobalMem, sharedMemPerBlock;
    int regsPerBlock, warpSize;
    size_t memPitch;
    int maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3];
    size_t totalConstMem;
    int major, minor;
    size_t textureAlignment, texturePitchAlignment;
    int multiProcessorCount, integrated, canMapHostMemory, maxTexture1D, maxTexture1DMipmap;
    int maxTexture2D[2], maxTexture2DMipmap[2], maxTexture2DLinear[3], maxTexture2DGather[2];
    int maxTexture3D[3], maxTexture3DAlt[3], maxTextureCubemap, maxTexture1DLayered[2];
    int maxTexture2DLayered[3], maxTextureCubemapLayered[2], maxSurface1D, maxSurface2D[2];
    int maxSurface3D[3], maxSurface1DLayered[2], maxSurface2DLayered[3], maxSurfaceCubemap;
    int maxSurfaceCubemapLayered[2];
    size_t surfaceAlignment;
    int concurrentKernels, ECCEnabled, pciBusID, pciDeviceID, pciDomainID, tccDriver;
    int asyncEngineCount, unifiedAddressing, memoryBusWidth, l2CacheSize;
    int persistingL2CacheMaxSize, maxThreadsPerMultiProcessor, streamPrioritiesSupported;
    int globalL1CacheSupported, localL1CacheSupported;
    size_t sharedMemPerMultiprocessor;
    int regsPerMultiprocessor, managedMemory, isMultiGpuBoard, multiGpuBoardGroupID;
    int hostNativeAtomicSupported, pageableMemoryAccess, concurrentManagedAccess;
    int computePreemptionSupported, canUseHostPointerForRegisteredMem, cooperativeLaunch;
    size_t sharedMemPerBlockOptin;
    int pageableMemoryAccessUsesHostPageTables, directManagedMemAccessFromHost;
    int maxBlocksPerMultiProcessor, accessPolicyMaxWindowSize;
    size_t reservedSharedMemPerBlock;
    int hostRegisterSupported, sparseCudaArraySupported, hostRegisterReadOnlySupported;
    int timelineSemaphoreInteropSupported, memoryPoolsSupported, gpuDirectRDMASupported;
    unsigned gpuDirectRDMAFlushWritesOptions;
    int gpuDirectRDMAWritesOrdering;
    unsigned memoryPoolSupportedHandleTypes;
    int deferredMappingCudaArraySupported, ipcEventSupported, clusterLaunch;
    int unifiedFunctionPointers, deviceNumaConfig, deviceNumaId, mpsEnabled, hostNumaId;
    unsigned gpuPciDeviceID, gpuPciSubsystemID;
    int hostNumaMultinodeIpcSupported, reserved[56];
};

_Static_assert(sizeof(struct cudaDeviceProp) == 1008, "as NVIDIA's header has it");
_Static_assert(sizeof(struct cudaFuncAttributes) == 144, "as NVIDIA's header has it");
_Static_assert(sizeof(struct cudaPointerAttributes) == 88, "as NVIDIA's header has it");
_Static_assert(sizeof(cudaLaunchConfig_t) == 56, "as NVIDIA's header has it");
_Static_assert(sizeof(struct cudaMemcpy3DParms) == 160, "as NVIDIA's header has it");
_Static_assert(sizeof(struct cudaKernelNodeParams) == 56, "as NVIDIA's header has it");
_Static_assert(sizeof(CUkernelNodeParams) == 72, "as NVIDIA's header has it");

/* The documented errors that this code gives or looks at; runtime_errors.tsv has them all. */
enum {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInitializationError = 3,
    cudaErrorInvalidSymbol = 13,
    cudaErrorInvalidMemcpyDirection = 21,
    cudaErrorInsufficientDriver = 35,
    cudaErrorCallRequiresNewerDriver = 36,
    cudaErrorMissingConfiguration = 52,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidKernelImage = 200,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorSymbolNotFound = 500,
    cudaErrorNotReady = 600,
    cudaErrorSetOnActiveProcess = 708,
    cudaErrorContextIsDestroyed = 709,
    cudaErrorNotSupported = 801,
    cudaErrorUnknown = 999,
};

#endif /* CUDA_RUNTIME_TYPES_H */
