/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header declares the documented types of the CUDA driver interface that both sides use.
 *
 * They are own declarations of its stable binary interface, as of CUDA 13.0, so that building
 * takes no CUDA toolkit.  Enumerations of that interface are plain numbers here.
 */
#ifndef CUDA_DRIVER_TYPES_H
#define CUDA_DRIVER_TYPES_H

#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUlib_st *CUlibrary;
typedef struct CUkern_st *CUkernel;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUmemPoolHandle_st *CUmemoryPool;
typedef struct CUlinkState_st *CUlinkState;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphExec_st *CUgraphExec;

typedef unsigned long long CUmemGenericAllocationHandle;

typedef void (*CUhostFn)(void *data);
typedef void (*CUstreamCallback)(CUstream stream, CUresult status, void *data);

typedef struct CUtensorMap {
    _Alignas(64) unsigned long long opaque[16];
} CUtensorMap;

typedef struct CUuuid {
    char bytes[16];
} CUuuid;

typedef struct CUdevprop {
    int maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3], sharedMemPerBlock;
    int totalConstantMemory, SIMDWidth, memPitch, regsPerBlock, clockRate, textureAlign;
} CUdevprop;

typedef struct CUlaunchAttribute {
    unsigned id;
    char pad[4];
    union {
        char bytes[64];
        int number;
    } value;
} CUlaunchAttribute;

typedef struct CUlaunchConfig {
    unsigned gridDimX, gridDimY, gridDimZ;
    unsigned blockDimX, blockDimY, blockDimZ;
    unsigned sharedMemBytes;
    CUstream hStream;
    CUlaunchAttribute *attrs;
    unsigned numAttrs;
} CUlaunchConfig;

typedef struct CUgraphEdgeData {
    unsigned char from_port, to_port, type, reserved[5];
} CUgraphEdgeData;

/* ---- nodes of graphs ---- */

enum {
    CU_NODE_KERNEL = 0,
    CU_NODE_COPY = 1,
    CU_NODE_SET = 2,
    CU_NODE_HOST = 3,
    CU_NODE_GRAPH = 4,
    CU_NODE_EMPTY = 5,
    CU_NODE_WAIT_EVENT = 6,
    CU_NODE_EVENT_RECORD = 7,
    CU_NODE_ALLOC = 10,
    CU_NODE_FREE = 11,
};

/* The first form ends before `kern`. */
typedef struct CUkernelNodeParams {
    CUfunction func;
    unsigned gridDimX, gridDimY, gridDimZ;
    unsigned blockDimX, blockDimY, blockDimZ;
    unsigned sharedMemBytes;
    void **kernelParams, **extra;
    CUkernel kern;
    CUcontext ctx;
} CUkernelNodeParams;

#define CU_KERNEL_NODE_PARAMS_V1_BYTES offsetof(CUkernelNodeParams, kern)

/* `ctx` is of the second form alone. */
typedef struct CUmemsetNodeParams {
    CUdeviceptr dst;
    size_t pitch;
    unsigned value, elementSize;
    size_t width, height;
    CUcontext ctx;
} CUmemsetNodeParams;

#define CU_MEMSET_NODE_PARAMS_V1_BYTES offsetof(CUmemsetNodeParams, ctx)

enum { CU_MEMORY_HOST = 1, CU_MEMORY_DEVICE = 2, CU_MEMORY_ARRAY = 3, CU_MEMORY_UNIFIED = 4 };

typedef struct CUarray_st *CUarray;

typedef struct CUmemcpy2D {
    size_t srcXInBytes, srcY;
    int srcMemoryType;
    const void *srcHost;
    CUdeviceptr srcDevice;
    CUarray srcArray;
    size_t srcPitch;
    size_t dstXInBytes, dstY;
    int dstMemoryType;
    void *dstHost;
    CUdeviceptr dstDevice;
    CUarray dstArray;
    size_t dstPitch;
    size_t WidthInBytes, Height;
} CUmemcpy2D;

typedef struct CUmemcpy3D {
    size_t srcXInBytes, srcY, srcZ, srcLOD;
    int srcMemoryType;
    const void *srcHost;
    CUdeviceptr srcDevice;
    CUarray srcArray;
    void *reserved0;
    size_t srcPitch, srcHeight;
    size_t dstXInBytes, dstY, dstZ, dstLOD;
    int dstMemoryType;
    void *dstHost;
    CUdeviceptr dstDevice;
    CUarray dstArray;
    void *reserved1;
    size_t dstPitch, dstHeight;
    size_t WidthInBytes, Height, Depth;
} CUmemcpy3D;

/* What cuGraphAddNode and its like take: one form for all kinds. */
typedef struct CUgraphNodeParams {
    int type, reserved0[3];
    union {
        long long reserved1[29];
        CUkernelNodeParams kernel;
        struct {
            int flags, reserved;
            CUcontext ctx;
            CUmemcpy3D params;
        } copy;
        CUmemsetNodeParams set;
        struct {
            CUgraph graph;
            int ownership; /* 0: a copy of it; 1: it goes into the node */
        } child;
        CUevent event;
    } of;
    long long reserved2;
} CUgraphNodeParams;

_Static_assert(sizeof(CUkernelNodeParams) == 72, "as NVIDIA's header has it");
_Static_assert(sizeof(CUmemsetNodeParams) == 48, "as NVIDIA's header has it");
_Static_assert(sizeof(CUmemcpy2D) == 128, "as NVIDIA's header has it");
_Static_assert(sizeof(CUmemcpy3D) == 200, "as NVIDIA's header has it");
_Static_assert(sizeof(CUgraphNodeParams) == 256, "as NVIDIA's header has it");

typedef struct CUgraphExecUpdateResultInfo {
    int result;
    CUgraphNode errorNode, errorFromNode;
} CUgraphExecUpdateResultInfo;

typedef struct CUgraphInstantiateParams {
    unsigned long long flags;
    CUstream hUploadStream;
    CUgraphNode hErrNode_out;
    int result_out;
} CUgraphInstantiateParams;

typedef struct CUmemPoolProps {
    int allocType, handleTypes;
    struct {
        int type, id;
    } location;
    void *win32SecurityAttributes;
    size_t maxSize;
    unsigned short usage;
    unsigned char reserved[54];
} CUmemPoolProps;

typedef struct CUmemLocation {
    int type, id;
} CUmemLocation;

typedef struct CUmemAllocationProp {
    int type, requestedHandleTypes;
    CUmemLocation location;
    void *win32HandleMetaData;
    struct {
        unsigned char compressionType, gpuDirectRDMACapable;
        unsigned short usage;
        unsigned char reserved[4];
    } allocFlags;
} CUmemAllocationProp;

typedef struct CUmemAccessDesc {
    CUmemLocation location;
    int flags; /* 1: may be read, 3: and written */
} CUmemAccessDesc;

_Static_assert(sizeof(CUmemAllocationProp) == 32, "as NVIDIA's header has it");
_Static_assert(sizeof(CUmemAccessDesc) == 12, "as NVIDIA's header has it");

#define CU_MEM_ALLOCATION_TYPE_PINNED 1
#define CU_MEM_LOCATION_TYPE_DEVICE 1

_Static_assert(sizeof(CUmemPoolProps) == 88, "as NVIDIA's header has it");
_Static_assert(sizeof(CUlaunchAttribute) == 72, "as NVIDIA's header has it");
_Static_assert(sizeof(CUlaunchConfig) == 56, "as NVIDIA's header has it");

/* The documented results that this code gives or looks at; errors.tsv has them all. */
enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_DEINITIALIZED = 4,
    CUDA_ERROR_DEVICE_UNAVAILABLE = 46,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_UNSUPPORTED_LIMIT = 215,
    CUDA_ERROR_FILE_NOT_FOUND = 301,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_ILLEGAL_STATE = 401,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
    CUDA_ERROR_LAUNCH_TIMEOUT = 702,
    CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE = 708,
    CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
    CUDA_ERROR_ASSERT = 710,
    CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
    CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
    CUDA_ERROR_HARDWARE_STACK_ERROR = 714,
    CUDA_ERROR_LAUNCH_FAILED = 719,
    CUDA_ERROR_NOT_PERMITTED = 800,
    CUDA_ERROR_NOT_SUPPORTED = 801,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
    CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE = 910,
    CUDA_ERROR_UNKNOWN = 999,
};

#define CU_STREAM_LEGACY 1ull
#define CU_STREAM_PER_THREAD 2ull

#define CU_JIT_INFO_LOG_BUFFER 3u
#define CU_JIT_INFO_LOG_BYTES 4u
#define CU_JIT_ERROR_LOG_BUFFER 5u
#define CU_JIT_ERROR_LOG_BYTES 6u

#define CU_DEVICE_ATTRIBUTES 147 /* of 13.0, numbered from 1 */

#endif /* CUDA_DRIVER_TYPES_H */
