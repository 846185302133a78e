# SPDX-License-Identifier: BSD-3-Clause
"""The table of the CUDA driver interface: which functions there are, which are built, and how.

driver.tsv has every function with its variants, class and tier.  This module says of those that
are built what their arguments are; generate.py makes code from both.

AUTO      both sides are generated: the library packs the arguments into a record, the worker
          looks up handles, checks ranges, calls the driver and answers with what it wrote.
HAND      written by hand in guest/cuda; here stands the prototype.
ALIAS     an older name that takes the same arguments and does the same.
REAL      what the worker calls by hand, with its parameters.
Everything else is exported and answers CUDA_ERROR_NOT_SUPPORTED.

An argument is `name:kind`.  Kinds:
  u8 u16 u32 i32 u64 size f32   a value                 dev     the device, 0
  dptr     an address of the GPU; RANGES says how many bytes of it are used
  h.KIND   a handle             d.KIND  a handle that dies by this call
  hf.FUNCTION  a function; a kernel's handle stands for its function in the current context
  stream   a stream, 0, 1 or 2  str     a string of at most NAME_MAX bytes
  o.TYPE   written by the call  p.TYPE  the same, and the pointer may be NULL
  o.h.KIND a new handle
Opcodes are only ever appended.
"""
import re

import tables

VERSION = 13000  # of CUDA; what is newer is unknown here

# Kinds of handles; their numbers are on the wire.
KINDS = {"CONTEXT": 1, "MODULE": 2, "FUNCTION": 3, "LIBRARY": 4, "KERNEL": 5, "STREAM": 6,
         "EVENT": 7, "POOL": 8, "LINK": 9, "GRAPH": 10, "GRAPH_EXEC": 11, "GRAPH_NODE": 12,
         "PHYSICAL": 13, "BLAS": 24, "DNN": 25, "DNN_DESC": 26, "FFT": 27}
TYPES = {"CONTEXT": "CUcontext", "MODULE": "CUmodule", "FUNCTION": "CUfunction",
         "LIBRARY": "CUlibrary", "KERNEL": "CUkernel", "STREAM": "CUstream", "EVENT": "CUevent",
         "POOL": "CUmemoryPool", "LINK": "CUlinkState", "GRAPH": "CUgraph",
         "GRAPH_EXEC": "CUgraphExec", "GRAPH_NODE": "CUgraphNode"}

# How a call travels.
ASK = "ask"        # one round trip; the answer is the result
FORGET = "forget"  # sent, returns at once; an error is told by the thread's next waiting call
WAIT = "wait"      # answered when the GPU is there
# What the worker does first.
TURN = "turn"        # needs the VM's turn: it puts work on the GPU
BARRIER = "barrier"  # the driver would wait: first nothing of the context may be in flight
FREE = "free"        # needs no context
FREE_BARRIER = "free barrier"

# These take streams and events of any context; everywhere else one that is not of the current
# context is no handle, and so are modules and functions.
FOREIGN = {"STREAM_SYNC", "EVENT_SYNC", "cuStreamWaitEvent", "cuStreamQuery",
           "cuStreamDestroy_v2", "cuStreamGetFlags", "cuStreamGetPriority", "cuStreamGetId",
           "cuStreamIsCapturing", "cuEventQuery", "cuEventDestroy_v2", "cuEventElapsedTime_v2"}

# Records written by hand: opcode, name, how, what first.
RECORDS = [
    (0x001, "INIT", ASK, FREE),
    (0x002, "CTX_CREATE", ASK, FREE),
    (0x003, "CTX_DESTROY", ASK, BARRIER),
    (0x004, "CTX_SYNC", WAIT, None),
    (0x005, "STREAM_SYNC", WAIT, None),
    (0x006, "EVENT_SYNC", WAIT, None),
    (0x007, "LANE_END", FORGET, FREE),
    (0x008, "ALLOC", ASK, None),
    (0x009, "FREE", ASK, BARRIER),
    (0x00A, "MEM_INFO", ASK, None),
    (0x00B, "COPY_IN", FORGET, None),
    (0x00C, "COPY_OUT", WAIT, None),
    (0x00D, "PINNED_IN", FORGET, None),
    (0x00E, "PINNED_OUT", FORGET, None),
    (0x00F, "PIN", ASK, None),
    (0x010, "IMAGE", FORGET, FREE),
    (0x011, "MODULE_LOAD", ASK, BARRIER),
    (0x012, "LIBRARY_LOAD", ASK, FREE),
    (0x013, "GET_FUNCTION", ASK, BARRIER),
    (0x014, "SET_ATTRIBUTE", ASK, None),
    (0x015, "LAUNCH", FORGET, TURN),
    (0x016, "ALLOC_ASYNC", ASK, None),
    (0x017, "FREE_ASYNC", ASK, None),
    (0x018, "POOL_OF", ASK, FREE),
    (0x019, "REFUSED", FORGET, FREE),
    (0x01A, "POOL_GET", ASK, FREE),
    (0x01B, "POOL_SET", ASK, FREE),
    (0x01C, "CLUSTERS", ASK, None),
    (0x01D, "CAPTURE_BEGIN", ASK, BARRIER),
    (0x01E, "CAPTURE_END", ASK, None),
    (0x01F, "CAPTURE_INFO", ASK, None),
    (0x020, "GRAPH_CLONE", ASK, None),
    (0x021, "GRAPH_INSTANTIATE", ASK, None),
    (0x022, "GRAPH_UPDATE", ASK, None),
    (0x023, "GRAPH_LAUNCH", FORGET, TURN),
    (0x024, "GRAPH_NODES", ASK, None),
    # Virtual memory management.
    (0x025, "GRANULARITY", ASK, FREE),
    (0x026, "RESERVE", ASK, FREE),
    (0x027, "RESERVE_END", ASK, FREE),
    (0x028, "PHYSICAL", ASK, FREE),
    (0x029, "PHYSICAL_END", ASK, FREE),
    (0x02A, "MAP", ASK, FREE),
    (0x02B, "UNMAP", ASK, FREE_BARRIER),
    (0x02C, "ACCESS", ASK, FREE),
    (0x02D, "ACCESS_OF", ASK, FREE),
    (0x02E, "HOST_FUNC", FORGET, None),
    (0x02F, "TENSOR_TILED", ASK, FREE),
    (0x030, "TENSOR_REPLACE", ASK, FREE),
    # Nodes of graphs.
    (0x031, "GRAPH_ADD", ASK, None),
    (0x032, "GRAPH_SET", ASK, None),
    (0x033, "GRAPH_GET", ASK, None),
    (0x034, "GRAPH_LINK", ASK, None),
    (0x035, "GRAPH_EDGES", ASK, None),
    (0x036, "GRAPH_CHILD", ASK, None),
    (0x037, "GRAPH_FIND", ASK, None),
    (0x038, "GRAPH_ATTRIBUTE", ASK, None),
    # Copies of rows and slices.
    (0x039, "COPY_ROWS", FORGET, None),
    (0x03A, "COPY_WITHIN", FORGET, TURN),
    (0x03B, "POOL_CREATE", ASK, FREE),
    (0x03C, "POOL_DESTROY", ASK, FREE),
    # Of the front end of cuBLAS (cublas.py).
    (0x080, "BLAS_CREATE", ASK, BARRIER),
    (0x081, "BLAS_DESTROY", ASK, BARRIER),
    (0x082, "BLAS_CALL", FORGET, TURN),
    # Of that of cuBLASLt (frontends.py).
    (0x090, "LT_MATMUL", FORGET, TURN),
    (0x091, "LT_HEURISTIC", ASK, None),
    # Of that of cuDNN.
    (0x0A0, "DNN_CREATE", ASK, BARRIER),
    (0x0A1, "DNN_DESTROY", ASK, BARRIER),
    (0x0A2, "DNN_DESC", ASK, None),
    (0x0A3, "DNN_DESC_END", FORGET, None),
    (0x0A4, "DNN_SET", ASK, None),
    (0x0A5, "DNN_FINALIZE", ASK, BARRIER),
    (0x0A6, "DNN_GET", ASK, None),
    (0x0A7, "DNN_EXECUTE", FORGET, TURN),
    (0x0A8, "DNN_OLD", FORGET, TURN),
    (0x0A9, "DNN_SIZE", ASK, None),
    # Of that of cuFFT.
    (0x0B0, "FFT_PLAN", ASK, BARRIER),
    (0x0B1, "FFT_END", ASK, BARRIER),
    (0x0B2, "FFT_EXEC", FORGET, TURN),
    # Of NVML: the VM's figures.
    (0x083, "ACCOUNT", ASK, FREE),
]

AUTO = [
    (0x101, "cuCtxGetLimit", ASK, None, "pvalue:o.size limit:u32"),
    (0x102, "cuCtxSetLimit", ASK, BARRIER, "limit:u32 value:size"),
    (0x103, "cuCtxGetCacheConfig", ASK, None, "pconfig:o.u32"),
    (0x104, "cuCtxSetCacheConfig", ASK, None, "config:u32"),
    (0x105, "cuCtxGetSharedMemConfig", ASK, None, "pConfig:o.u32"),
    (0x106, "cuCtxSetSharedMemConfig", ASK, None, "config:u32"),
    (0x107, "cuCtxGetStreamPriorityRange", ASK, None,
     "leastPriority:p.i32 greatestPriority:p.i32"),
    (0x108, "cuStreamCreate", ASK, None, "phStream:o.h.STREAM Flags:u32"),
    (0x109, "cuStreamCreateWithPriority", ASK, None,
     "phStream:o.h.STREAM flags:u32 priority:i32"),
    (0x10A, "cuStreamDestroy_v2", ASK, None, "hStream:d.STREAM"),
    (0x10B, "cuStreamWaitEvent", FORGET, None, "hStream:stream hEvent:h.EVENT Flags:u32"),
    (0x10C, "cuStreamGetFlags", ASK, None, "hStream:stream flags:o.u32"),
    (0x10D, "cuStreamGetPriority", ASK, None, "hStream:stream priority:o.i32"),
    (0x10E, "cuStreamGetId", ASK, None, "hStream:stream streamId:o.u64"),
    (0x10F, "cuStreamIsCapturing", ASK, None, "hStream:stream captureStatus:o.u32"),
    (0x110, "cuStreamQuery", ASK, None, "hStream:stream"),
    (0x111, "cuEventCreate", ASK, None, "phEvent:o.h.EVENT Flags:u32"),
    (0x112, "cuEventDestroy_v2", ASK, None, "hEvent:d.EVENT"),
    (0x113, "cuEventRecord", FORGET, None, "hEvent:h.EVENT hStream:stream"),
    (0x114, "cuEventRecordWithFlags", FORGET, None, "hEvent:h.EVENT hStream:stream flags:u32"),
    (0x115, "cuEventQuery", ASK, None, "hEvent:h.EVENT"),
    (0x116, "cuEventElapsedTime_v2", ASK, None,
     "pMilliseconds:o.f32 hStart:h.EVENT hEnd:h.EVENT"),
    (0x117, "cuMemsetD8_v2", FORGET, TURN, "dstDevice:dptr uc:u8 N:size"),
    (0x118, "cuMemsetD16_v2", FORGET, TURN, "dstDevice:dptr us:u16 N:size"),
    (0x119, "cuMemsetD32_v2", FORGET, TURN, "dstDevice:dptr ui:u32 N:size"),
    (0x11A, "cuMemsetD8Async", FORGET, TURN, "dstDevice:dptr uc:u8 N:size hStream:stream"),
    (0x11B, "cuMemsetD16Async", FORGET, TURN, "dstDevice:dptr us:u16 N:size hStream:stream"),
    (0x11C, "cuMemsetD32Async", FORGET, TURN, "dstDevice:dptr ui:u32 N:size hStream:stream"),
    (0x11D, "cuMemsetD2D8_v2", FORGET, TURN,
     "dstDevice:dptr dstPitch:size uc:u8 Width:size Height:size"),
    (0x11E, "cuMemsetD2D16_v2", FORGET, TURN,
     "dstDevice:dptr dstPitch:size us:u16 Width:size Height:size"),
    (0x11F, "cuMemsetD2D32_v2", FORGET, TURN,
     "dstDevice:dptr dstPitch:size ui:u32 Width:size Height:size"),
    (0x120, "cuMemsetD2D8Async", FORGET, TURN,
     "dstDevice:dptr dstPitch:size uc:u8 Width:size Height:size hStream:stream"),
    (0x121, "cuMemsetD2D16Async", FORGET, TURN,
     "dstDevice:dptr dstPitch:size us:u16 Width:size Height:size hStream:stream"),
    (0x122, "cuMemsetD2D32Async", FORGET, TURN,
     "dstDevice:dptr dstPitch:size ui:u32 Width:size Height:size hStream:stream"),
    (0x123, "cuMemcpyDtoD_v2", FORGET, TURN, "dstDevice:dptr srcDevice:dptr ByteCount:size"),
    (0x124, "cuMemcpyDtoDAsync_v2", FORGET, TURN,
     "dstDevice:dptr srcDevice:dptr ByteCount:size hStream:stream"),
    (0x125, "cuModuleUnload", ASK, BARRIER, "hmod:d.MODULE"),
    (0x126, "cuModuleGetGlobal_v2", ASK, None, "dptr:p.dptr bytes:p.size hmod:h.MODULE name:str"),
    (0x127, "cuModuleGetFunctionCount", ASK, None, "count:o.u32 mod:h.MODULE"),
    (0x128, "cuLibraryUnload", ASK, BARRIER, "library:d.LIBRARY"),
    (0x129, "cuLibraryGetGlobal", ASK, None,
     "dptr:p.dptr bytes:p.size library:h.LIBRARY name:str"),
    (0x12A, "cuLibraryGetKernelCount", ASK, None, "count:o.u32 lib:h.LIBRARY"),
    (0x12B, "cuLibraryGetModule", ASK, BARRIER, "pMod:o.h.MODULE library:h.LIBRARY"),
    (0x12C, "cuFuncSetCacheConfig", ASK, None, "hfunc:hf.FUNCTION config:u32"),
    (0x12D, "cuFuncSetSharedMemConfig", ASK, None, "hfunc:hf.FUNCTION config:u32"),
    (0x12E, "cuFuncIsLoaded", ASK, None, "state:o.u32 function:hf.FUNCTION"),
    (0x12F, "cuFuncLoad", ASK, BARRIER, "function:hf.FUNCTION"),
    (0x130, "cuKernelGetAttribute", ASK, None, "pi:o.i32 attrib:u32 kernel:h.KERNEL dev:dev"),
    (0x131, "cuKernelSetAttribute", ASK, None, "attrib:u32 val:i32 kernel:h.KERNEL dev:dev"),
    (0x132, "cuKernelSetCacheConfig", ASK, None, "kernel:h.KERNEL config:u32 dev:dev"),
    (0x133, "cuOccupancyMaxActiveBlocksPerMultiprocessor", ASK, None,
     "numBlocks:o.i32 func:h.FUNCTION blockSize:i32 dynamicSMemSize:size"),
    (0x134, "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags", ASK, None,
     "numBlocks:o.i32 func:h.FUNCTION blockSize:i32 dynamicSMemSize:size flags:u32"),
    (0x135, "cuOccupancyAvailableDynamicSMemPerBlock", ASK, None,
     "dynamicSmemSize:o.size func:h.FUNCTION numBlocks:i32 blockSize:i32"),
    (0x136, "cuMemPoolTrimTo", ASK, BARRIER, "pool:h.POOL minBytesToKeep:size"),
    (0x137, "cuGraphCreate", ASK, None, "phGraph:o.h.GRAPH flags:u32"),
    (0x138, "cuGraphDestroy", ASK, None, "hGraph:d.GRAPH"),
    (0x139, "cuGraphExecDestroy", ASK, None, "hGraphExec:d.GRAPH_EXEC"),
    (0x13A, "cuGraphExecGetFlags", ASK, None, "hGraphExec:h.GRAPH_EXEC flags:o.u64"),
    (0x13B, "cuGraphUpload", FORGET, TURN, "hGraphExec:h.GRAPH_EXEC hStream:stream"),
    (0x13C, "cuGraphNodeGetType", ASK, None, "hNode:h.GRAPH_NODE type:o.i32"),
    (0x13D, "cuGraphDestroyNode", ASK, None, "hNode:d.GRAPH_NODE"),
    (0x13E, "cuGraphNodeGetEnabled", ASK, None,
     "hGraphExec:h.GRAPH_EXEC hNode:h.GRAPH_NODE isEnabled:o.u32"),
    (0x13F, "cuGraphNodeSetEnabled", ASK, None,
     "hGraphExec:h.GRAPH_EXEC hNode:h.GRAPH_NODE isEnabled:u32"),
    (0x140, "cuGraphKernelNodeCopyAttributes", ASK, None,
     "dst:h.GRAPH_NODE src:h.GRAPH_NODE"),
]

# Bytes that a call uses behind each address: C in terms of its arguments, by saturating helpers.
RANGES = {"cuMemcpyDtoD_v2": {"dstDevice": "ByteCount", "srcDevice": "ByteCount"},
          "cuMemcpyDtoDAsync_v2": {"dstDevice": "ByteCount", "srcDevice": "ByteCount"}}
for bits in (8, 16, 32):
    for form in ("_v2", "Async"):
        RANGES[f"cuMemsetD{bits}{form}"] = {"dstDevice": f"bytes_of(N, {bits // 8})"}
        RANGES[f"cuMemsetD2D{bits}{form}"] = {
            "dstDevice": f"bytes_of_2d(dstPitch, bytes_of(Width, {bits // 8}), Height)"}

# What an address must be a multiple of.
ALIGN = {f"cuMemset{d}{bits}{form}": bits // 8 for bits in (16, 32) for form in ("_v2", "Async")
         for d in ("D", "D2D")}

# Where this address is pinned memory the call waits for the GPU.
HOST_WAITS = {f"cuMemset{d}{bits}_v2": "dstDevice" for bits in (8, 16, 32) for d in ("D", "D2D")}

# The worker's side of these is by hand: decode_NAME in worker/cuda/channel.
OWN_DECODER = {"cuCtxSetLimit", "cuMemPoolTrimTo", "cuGraphDestroy", "cuGraphDestroyNode",
               "cuGraphNodeGetEnabled", "cuGraphNodeSetEnabled",
               "cuGraphKernelNodeCopyAttributes"}

# After these the library's own notes of a kernel are put right: (handle, attribute, value).
CHANGES = {"cuKernelSetAttribute": ("kernel", "attrib", "val")}

# Addresses that become usable in copies once the worker has said them: (address, bytes).
GLOBALS = {"cuModuleGetGlobal_v2", "cuLibraryGetGlobal"}

DEVICE = {
    "cuInit": "unsigned int Flags",
    "cuDriverGetVersion": "int *driverVersion",
    "cuGetErrorName": "CUresult error, const char **pStr",
    "cuGetErrorString": "CUresult error, const char **pStr",
    "cuGetExportTable": "const void **ppExportTable, const CUuuid *pExportTableId",
    "cuGetProcAddress": "const char *symbol, void **pfn, int cudaVersion, uint64_t flags",
    "cuGetProcAddress_v2": "const char *symbol, void **pfn, int cudaVersion, uint64_t flags, "
                           "int *symbolStatus",
    "cuDeviceGet": "CUdevice *device, int ordinal",
    "cuDeviceGetCount": "int *count",
    "cuDeviceGetName": "char *name, int len, CUdevice dev",
    "cuDeviceGetUuid": "CUuuid *uuid, CUdevice dev",
    "cuDeviceTotalMem_v2": "size_t *bytes, CUdevice dev",
    "cuDeviceGetAttribute": "int *pi, int attrib, CUdevice dev",
    "cuDeviceGetProperties": "CUdevprop *prop, CUdevice dev",
    "cuDeviceComputeCapability": "int *major, int *minor, CUdevice dev",
    "cuDeviceGetPCIBusId": "char *pciBusId, int len, CUdevice dev",
    "cuDeviceGetByPCIBusId": "CUdevice *dev, const char *pciBusId",
    "cuDeviceGetLuid": "char *luid, unsigned int *deviceNodeMask, CUdevice dev",
    "cuDeviceCanAccessPeer": "int *canAccessPeer, CUdevice dev, CUdevice peerDev",
    "cuDeviceGetP2PAttribute": "int *value, int attrib, CUdevice srcDevice, CUdevice dstDevice",
    "cuDeviceGetP2PAtomicCapabilities": "unsigned int *capabilities, const int *operations, "
                                        "unsigned int count, CUdevice srcDevice, "
                                        "CUdevice dstDevice",
    "cuDeviceGetDefaultMemPool": "CUmemoryPool *pool_out, CUdevice dev",
    "cuDeviceGetMemPool": "CUmemoryPool *pool, CUdevice dev",
    "cuDeviceSetMemPool": "CUdevice dev, CUmemoryPool pool",
    "cuProfilerInitialize": "const char *configFile, const char *outputFile, int outputMode",
    "cuProfilerStart": "void",
    "cuProfilerStop": "void",
    "cuModuleGetLoadingMode": "int *mode",
    "cuThreadExchangeStreamCaptureMode": "int *mode",
}
CONTEXT = {
    "cuDevicePrimaryCtxRetain": "CUcontext *pctx, CUdevice dev",
    "cuDevicePrimaryCtxRelease_v2": "CUdevice dev",
    "cuDevicePrimaryCtxReset_v2": "CUdevice dev",
    "cuDevicePrimaryCtxSetFlags_v2": "CUdevice dev, unsigned int flags",
    "cuDevicePrimaryCtxGetState": "CUdevice dev, unsigned int *flags, int *active",
    "cuCtxCreate_v2": "CUcontext *pctx, unsigned int flags, CUdevice dev",
    "cuCtxCreate_v3": "CUcontext *pctx, void *paramsArray, int numParams, unsigned int flags, "
                      "CUdevice dev",
    "cuCtxCreate_v4": "CUcontext *pctx, void *params, unsigned int flags, CUdevice dev",
    "cuCtxDestroy_v2": "CUcontext ctx",
    "cuCtxGetCurrent": "CUcontext *pctx",
    "cuCtxSetCurrent": "CUcontext ctx",
    "cuCtxPushCurrent_v2": "CUcontext ctx",
    "cuCtxPopCurrent_v2": "CUcontext *pctx",
    "cuCtxGetDevice": "CUdevice *device",
    "cuCtxGetDevice_v2": "CUdevice *device, CUcontext ctx",
    "cuCtxGetFlags": "unsigned int *flags",
    "cuCtxGetId": "CUcontext ctx, unsigned long long *ctxId",
    "cuCtxGetApiVersion": "CUcontext ctx, unsigned int *version",
    "cuCtxSynchronize": "void",
    "cuCtxSynchronize_v2": "CUcontext ctx",
    "cuStreamSynchronize": "CUstream hStream",
    "cuEventSynchronize": "CUevent hEvent",
    "cuStreamGetCtx": "CUstream hStream, CUcontext *pctx",
    "cuStreamGetCtx_v2": "CUstream hStream, CUcontext *pCtx, void **pGreenCtx",
    "cuStreamGetDevice": "CUstream hStream, CUdevice *device",
}
MEMORY = {
    "cuMemAlloc_v2": "CUdeviceptr *dptr, size_t bytesize",
    "cuMemAllocPitch_v2": "CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes, "
                          "size_t Height, unsigned int ElementSizeBytes",
    "cuMemFree_v2": "CUdeviceptr dptr",
    "cuMemGetInfo_v2": "size_t *free, size_t *total",
    "cuMemGetAddressRange_v2": "CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr",
    "cuMemAllocAsync": "CUdeviceptr *dptr, size_t bytesize, CUstream hStream",
    "cuMemAllocFromPoolAsync": "CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, "
                               "CUstream hStream",
    "cuMemFreeAsync": "CUdeviceptr dptr, CUstream hStream",
    "cuMemPoolCreate": "CUmemoryPool *pool, const CUmemPoolProps *poolProps",
    "cuMemPoolDestroy": "CUmemoryPool pool",
    "cuMemPoolSetAccess": "CUmemoryPool pool, const CUmemAccessDesc *map, size_t count",
    "cuMemPoolGetAccess": "int *flags, CUmemoryPool memPool, CUmemLocation *location",
    "cuMemPoolGetAttribute": "CUmemoryPool pool, int attr, void *value",
    "cuMemPoolSetAttribute": "CUmemoryPool pool, int attr, void *value",
    "cuMemHostAlloc": "void **pp, size_t bytesize, unsigned int Flags",
    "cuMemAllocHost_v2": "void **pp, size_t bytesize",
    "cuMemFreeHost": "void *p",
    "cuMemHostGetDevicePointer_v2": "CUdeviceptr *pdptr, void *p, unsigned int Flags",
    "cuMemHostGetFlags": "unsigned int *pFlags, void *p",
    "cuMemHostRegister_v2": "void *p, size_t bytesize, unsigned int Flags",
    "cuMemHostUnregister": "void *p",
    "cuMemcpyHtoD_v2": "CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount",
    "cuMemcpyDtoH_v2": "void *dstHost, CUdeviceptr srcDevice, size_t ByteCount",
    "cuMemcpyHtoDAsync_v2": "CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, "
                            "CUstream hStream",
    "cuMemcpyDtoHAsync_v2": "void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, "
                            "CUstream hStream",
    "cuMemcpy2D_v2": "const CUmemcpy2D *pCopy",
    "cuMemcpy2DUnaligned_v2": "const CUmemcpy2D *pCopy",
    "cuMemcpy2DAsync_v2": "const CUmemcpy2D *pCopy, CUstream hStream",
    "cuMemcpy3D_v2": "const CUmemcpy3D *pCopy",
    "cuMemcpy3DAsync_v2": "const CUmemcpy3D *pCopy, CUstream hStream",
    "cuMemcpy": "CUdeviceptr dst, CUdeviceptr src, size_t ByteCount",
    "cuMemcpyAsync": "CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream",
    "cuPointerGetAttribute": "void *data, int attribute, CUdeviceptr ptr",
    "cuPointerGetAttributes": "unsigned int numAttributes, int *attributes, void **data, "
                              "CUdeviceptr ptr",
}
CODE = {
    "cuModuleLoad": "CUmodule *module, const char *fname",
    "cuModuleLoadData": "CUmodule *module, const void *image",
    "cuModuleLoadDataEx": "CUmodule *module, const void *image, unsigned int numOptions, "
                          "unsigned int *options, void **optionValues",
    "cuModuleLoadFatBinary": "CUmodule *module, const void *fatCubin",
    "cuModuleGetFunction": "CUfunction *hfunc, CUmodule hmod, const char *name",
    "cuLibraryLoadData": "CUlibrary *library, const void *code, unsigned int *jitOptions, "
                         "void **jitOptionsValues, unsigned int numJitOptions, "
                         "unsigned int *libraryOptions, void **libraryOptionValues, "
                         "unsigned int numLibraryOptions",
    "cuLibraryLoadFromFile": "CUlibrary *library, const char *fileName, "
                             "unsigned int *jitOptions, void **jitOptionsValues, "
                             "unsigned int numJitOptions, unsigned int *libraryOptions, "
                             "void **libraryOptionValues, unsigned int numLibraryOptions",
    "cuLibraryGetKernel": "CUkernel *pKernel, CUlibrary library, const char *name",
    "cuKernelGetFunction": "CUfunction *pFunc, CUkernel kernel",
    "cuKernelGetLibrary": "CUlibrary *pLib, CUkernel kernel",
    "cuKernelGetName": "const char **name, CUkernel hfunc",
    "cuKernelGetParamInfo": "CUkernel kernel, size_t paramIndex, size_t *paramOffset, "
                            "size_t *paramSize",
    "cuFuncGetAttribute": "int *pi, int attrib, CUfunction hfunc",
    "cuFuncSetAttribute": "CUfunction hfunc, int attrib, int value",
    "cuFuncGetModule": "CUmodule *hmod, CUfunction hfunc",
    "cuFuncGetName": "const char **name, CUfunction hfunc",
    "cuFuncGetParamInfo": "CUfunction func, size_t paramIndex, size_t *paramOffset, "
                          "size_t *paramSize",
    "cuLaunchKernel": "CUfunction f, unsigned int gridDimX, unsigned int gridDimY, "
                      "unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, "
                      "unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, "
                      "void **kernelParams, void **extra",
    "cuLaunchKernelEx": "const CUlaunchConfig *config, CUfunction f, void **kernelParams, "
                        "void **extra",
    "cuLaunchCooperativeKernel": "CUfunction f, unsigned int gridDimX, unsigned int gridDimY, "
                                 "unsigned int gridDimZ, unsigned int blockDimX, "
                                 "unsigned int blockDimY, unsigned int blockDimZ, "
                                 "unsigned int sharedMemBytes, CUstream hStream, "
                                 "void **kernelParams",
    "cuOccupancyMaxActiveClusters": "int *numClusters, CUfunction func, "
                                    "const CUlaunchConfig *config",
    "cuOccupancyMaxPotentialClusterSize": "int *clusterSize, CUfunction func, "
                                          "const CUlaunchConfig *config",
    "cuOccupancyMaxPotentialBlockSize": "int *minGridSize, int *blockSize, CUfunction func, "
                                        "size_t (*blockSizeToDynamicSMemSize)(int), "
                                        "size_t dynamicSMemSize, int blockSizeLimit",
    "cuOccupancyMaxPotentialBlockSizeWithFlags":
        "int *minGridSize, int *blockSize, CUfunction func, "
        "size_t (*blockSizeToDynamicSMemSize)(int), size_t dynamicSMemSize, "
        "int blockSizeLimit, unsigned int flags",
}
GRAPHS = {
    "cuStreamBeginCapture": "CUstream hStream",
    "cuStreamBeginCapture_v2": "CUstream hStream, int captureMode",
    "cuStreamEndCapture": "CUstream hStream, CUgraph *phGraph",
    "cuStreamGetCaptureInfo": "CUstream hStream, unsigned int *captureStatus_out, "
                              "unsigned long long *id_out",
    "cuStreamGetCaptureInfo_v2": "CUstream hStream, unsigned int *captureStatus_out, "
                                 "unsigned long long *id_out, CUgraph *graph_out, "
                                 "const CUgraphNode **dependencies_out, "
                                 "size_t *numDependencies_out",
    "cuStreamGetCaptureInfo_v3": "CUstream hStream, unsigned int *captureStatus_out, "
                                 "unsigned long long *id_out, CUgraph *graph_out, "
                                 "const CUgraphNode **dependencies_out, "
                                 "const CUgraphEdgeData **edgeData_out, "
                                 "size_t *numDependencies_out",
    "cuGraphClone": "CUgraph *phGraphClone, CUgraph originalGraph",
    "cuGraphInstantiate": "CUgraphExec *phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode, "
                          "char *logBuffer, size_t bufferSize",
    "cuGraphInstantiateWithFlags": "CUgraphExec *phGraphExec, CUgraph hGraph, "
                                   "unsigned long long flags",
    "cuGraphInstantiateWithParams": "CUgraphExec *phGraphExec, CUgraph hGraph, "
                                    "CUgraphInstantiateParams *instantiateParams",
    "cuGraphExecUpdate": "CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode *hErrorNode_out, "
                         "int *updateResult_out",
    "cuGraphExecUpdate_v2": "CUgraphExec hGraphExec, CUgraph hGraph, "
                            "CUgraphExecUpdateResultInfo *resultInfo",
    "cuGraphLaunch": "CUgraphExec hGraphExec, CUstream hStream",
    "cuGraphGetNodes": "CUgraph hGraph, CUgraphNode *nodes, size_t *numNodes",
    "cuGraphGetRootNodes": "CUgraph hGraph, CUgraphNode *rootNodes, size_t *numRootNodes",
}
NODE_ADD = "CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, " \
           "size_t numDependencies"
EDGES = "const CUgraphEdgeData *edgeData"
LINK = "CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to"
NODES = {
    "cuStreamBeginCaptureToGraph": "CUstream hStream, CUgraph hGraph, "
                                   "const CUgraphNode *dependencies, "
                                   "const CUgraphEdgeData *dependencyData, "
                                   "size_t numDependencies, int captureMode",
    "cuGraphAddKernelNode": f"{NODE_ADD}, const CUkernelNodeParams *nodeParams",
    "cuGraphAddKernelNode_v2": f"{NODE_ADD}, const CUkernelNodeParams *nodeParams",
    "cuGraphAddMemcpyNode": f"{NODE_ADD}, const CUmemcpy3D *copyParams, CUcontext ctx",
    "cuGraphAddMemsetNode": f"{NODE_ADD}, const CUmemsetNodeParams *memsetParams, CUcontext ctx",
    "cuGraphAddChildGraphNode": f"{NODE_ADD}, CUgraph childGraph",
    "cuGraphAddEmptyNode": NODE_ADD,
    "cuGraphAddEventRecordNode": f"{NODE_ADD}, CUevent event",
    "cuGraphAddEventWaitNode": f"{NODE_ADD}, CUevent event",
    "cuGraphAddNode": f"{NODE_ADD}, CUgraphNodeParams *nodeParams",
    "cuGraphAddNode_v2": "CUgraphNode *phGraphNode, CUgraph hGraph, "
                         "const CUgraphNode *dependencies, "
                         "const CUgraphEdgeData *dependencyData, size_t numDependencies, "
                         "CUgraphNodeParams *nodeParams",
    "cuGraphKernelNodeGetParams": "CUgraphNode hNode, CUkernelNodeParams *nodeParams",
    "cuGraphKernelNodeGetParams_v2": "CUgraphNode hNode, CUkernelNodeParams *nodeParams",
    "cuGraphKernelNodeSetParams": "CUgraphNode hNode, const CUkernelNodeParams *nodeParams",
    "cuGraphKernelNodeSetParams_v2": "CUgraphNode hNode, const CUkernelNodeParams *nodeParams",
    "cuGraphMemcpyNodeGetParams": "CUgraphNode hNode, CUmemcpy3D *nodeParams",
    "cuGraphMemcpyNodeSetParams": "CUgraphNode hNode, const CUmemcpy3D *nodeParams",
    "cuGraphMemsetNodeGetParams": "CUgraphNode hNode, CUmemsetNodeParams *nodeParams",
    "cuGraphMemsetNodeSetParams": "CUgraphNode hNode, const CUmemsetNodeParams *nodeParams",
    "cuGraphChildGraphNodeGetGraph": "CUgraphNode hNode, CUgraph *phGraph",
    "cuGraphEventRecordNodeGetEvent": "CUgraphNode hNode, CUevent *event_out",
    "cuGraphEventRecordNodeSetEvent": "CUgraphNode hNode, CUevent event",
    "cuGraphEventWaitNodeGetEvent": "CUgraphNode hNode, CUevent *event_out",
    "cuGraphEventWaitNodeSetEvent": "CUgraphNode hNode, CUevent event",
    "cuGraphNodeSetParams": "CUgraphNode hNode, CUgraphNodeParams *nodeParams",
    "cuGraphExecNodeSetParams": "CUgraphExec hGraphExec, CUgraphNode hNode, "
                                "CUgraphNodeParams *nodeParams",
    "cuGraphExecKernelNodeSetParams": "CUgraphExec hGraphExec, CUgraphNode hNode, "
                                      "const CUkernelNodeParams *nodeParams",
    "cuGraphExecKernelNodeSetParams_v2": "CUgraphExec hGraphExec, CUgraphNode hNode, "
                                         "const CUkernelNodeParams *nodeParams",
    "cuGraphExecMemcpyNodeSetParams": "CUgraphExec hGraphExec, CUgraphNode hNode, "
                                      "const CUmemcpy3D *copyParams, CUcontext ctx",
    "cuGraphExecMemsetNodeSetParams": "CUgraphExec hGraphExec, CUgraphNode hNode, "
                                      "const CUmemsetNodeParams *memsetParams, CUcontext ctx",
    "cuGraphExecChildGraphNodeSetParams": "CUgraphExec hGraphExec, CUgraphNode hNode, "
                                          "CUgraph childGraph",
    "cuGraphExecEventRecordNodeSetEvent": "CUgraphExec hGraphExec, CUgraphNode hNode, "
                                          "CUevent event",
    "cuGraphExecEventWaitNodeSetEvent": "CUgraphExec hGraphExec, CUgraphNode hNode, "
                                        "CUevent event",
    "cuGraphKernelNodeGetAttribute": "CUgraphNode hNode, unsigned int attr, void *value_out",
    "cuGraphKernelNodeSetAttribute": "CUgraphNode hNode, unsigned int attr, const void *value",
    "cuGraphNodeFindInClone": "CUgraphNode *phNode, CUgraphNode hOriginalNode, "
                              "CUgraph hClonedGraph",
    "cuGraphAddDependencies": f"{LINK}, size_t numDependencies",
    "cuGraphAddDependencies_v2": f"{LINK}, {EDGES}, size_t numDependencies",
    "cuGraphRemoveDependencies": f"{LINK}, size_t numDependencies",
    "cuGraphRemoveDependencies_v2": f"{LINK}, {EDGES}, size_t numDependencies",
    "cuGraphGetEdges": "CUgraph hGraph, CUgraphNode *from, CUgraphNode *to, size_t *numEdges",
    "cuGraphGetEdges_v2": "CUgraph hGraph, CUgraphNode *from, CUgraphNode *to, "
                          "CUgraphEdgeData *edgeData, size_t *numEdges",
    "cuGraphNodeGetDependencies": "CUgraphNode hNode, CUgraphNode *dependencies, "
                                  "size_t *numDependencies",
    "cuGraphNodeGetDependencies_v2": "CUgraphNode hNode, CUgraphNode *dependencies, "
                                     "CUgraphEdgeData *edgeData, size_t *numDependencies",
    "cuGraphNodeGetDependentNodes": "CUgraphNode hNode, CUgraphNode *dependentNodes, "
                                    "size_t *numDependentNodes",
    "cuGraphNodeGetDependentNodes_v2": "CUgraphNode hNode, CUgraphNode *dependentNodes, "
                                       "CUgraphEdgeData *edgeData, size_t *numDependentNodes",
}
VIRTUAL = {
    "cuMemGetAllocationGranularity": "size_t *granularity, const CUmemAllocationProp *prop, "
                                     "unsigned int option",
    "cuMemAddressReserve": "CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr, "
                           "unsigned long long flags",
    "cuMemAddressFree": "CUdeviceptr ptr, size_t size",
    "cuMemCreate": "CUmemGenericAllocationHandle *handle, size_t size, "
                   "const CUmemAllocationProp *prop, unsigned long long flags",
    "cuMemRelease": "CUmemGenericAllocationHandle handle",
    "cuMemMap": "CUdeviceptr ptr, size_t size, size_t offset, "
                "CUmemGenericAllocationHandle handle, unsigned long long flags",
    "cuMemUnmap": "CUdeviceptr ptr, size_t size",
    "cuMemSetAccess": "CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count",
    "cuMemGetAccess": "unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr",
    "cuMemGetAllocationPropertiesFromHandle": "CUmemAllocationProp *prop, "
                                              "CUmemGenericAllocationHandle handle",
}
OTHERS = {
    "cuLaunchHostFunc": "CUstream hStream, CUhostFn fn, void *userData",
    "cuStreamAddCallback": "CUstream hStream, CUstreamCallback callback, void *userData, "
                           "unsigned int flags",
    "cuTensorMapEncodeTiled":
        "CUtensorMap *tensorMap, unsigned int tensorDataType, unsigned int tensorRank, "
        "void *globalAddress, const uint64_t *globalDim, const uint64_t *globalStrides, "
        "const unsigned int *boxDim, const unsigned int *elementStrides, unsigned int interleave, "
        "unsigned int swizzle, unsigned int l2Promotion, unsigned int oobFill",
    "cuTensorMapReplaceAddress": "CUtensorMap *tensorMap, void *globalAddress",
}
HAND = {**DEVICE, **CONTEXT, **MEMORY, **CODE, **GRAPHS, **NODES, **VIRTUAL, **OTHERS}

ALIAS = {
    "cuMemHostRegister": "cuMemHostRegister_v2",
    "cuStreamDestroy": "cuStreamDestroy_v2", "cuEventDestroy": "cuEventDestroy_v2",
    "cuEventElapsedTime": "cuEventElapsedTime_v2", "cuDeviceGetUuid_v2": "cuDeviceGetUuid",
    "cuDevicePrimaryCtxRelease": "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxReset": "cuDevicePrimaryCtxReset_v2",
    "cuDevicePrimaryCtxSetFlags": "cuDevicePrimaryCtxSetFlags_v2",
    "cuCtxCreate": "cuCtxCreate_v2", "cuCtxDestroy": "cuCtxDestroy_v2",
    "cuCtxDetach": "cuCtxDestroy_v2", "cuCtxPushCurrent": "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent": "cuCtxPopCurrent_v2", "cuGraphInstantiate_v2": "cuGraphInstantiate",
}

REAL_ADD = "CUgraphNode *, CUgraph, const CUgraphNode *, size_t"
REAL_LINK = "CUgraph, const CUgraphNode *, const CUgraphNode *, const CUgraphEdgeData *, size_t"
REAL = {
    "cuInit": "unsigned", "cuDriverGetVersion": "int *",
    "cuDeviceGet": "CUdevice *, int", "cuDeviceGetName": "char *, int, CUdevice",
    "cuDeviceGetUuid": "CUuuid *, CUdevice", "cuDeviceTotalMem_v2": "size_t *, CUdevice",
    "cuDeviceGetAttribute": "int *, int, CUdevice",
    "cuCtxCreate_v2": "CUcontext *, unsigned, CUdevice", "cuCtxDestroy_v2": "CUcontext",
    "cuCtxSetCurrent": "CUcontext", "cuCtxRecordEvent": "CUcontext, CUevent",
    "cuStreamSynchronize": "CUstream", "cuCtxSynchronize": "void",
    "cuMemAlloc_v2": "CUdeviceptr *, size_t", "cuMemFree_v2": "CUdeviceptr",
    "cuMemGetInfo_v2": "size_t *, size_t *",
    "cuMemFreeAsync": "CUdeviceptr, CUstream",
    "cuMemcpyHtoDAsync_v2": "CUdeviceptr, const void *, size_t, CUstream",
    "cuMemcpyDtoHAsync_v2": "void *, CUdeviceptr, size_t, CUstream",
    "cuMemcpy3DAsync_v2": "const CUmemcpy3D *, CUstream",
    "cuMemHostRegister_v2": "void *, size_t, unsigned", "cuMemHostUnregister": "void *",
    "cuModuleLoadDataEx": "CUmodule *, const void *, unsigned, unsigned *, void **",
    "cuModuleGetFunction": "CUfunction *, CUmodule, const char *",
    "cuLibraryLoadData": "CUlibrary *, const void *, unsigned *, void **, unsigned, unsigned *, "
                         "void **, unsigned",
    "cuLibraryGetKernel": "CUkernel *, CUlibrary, const char *",
    "cuKernelGetFunction": "CUfunction *, CUkernel",
    "cuFuncGetAttribute": "int *, int, CUfunction",
    "cuFuncSetAttribute": "CUfunction, int, int",
    "cuFuncGetParamInfo": "CUfunction, size_t, size_t *, size_t *",
    "cuLaunchKernelEx": "const CUlaunchConfig *, CUfunction, void **, void **",
    "cuLaunchKernel": "CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, "
                      "unsigned, CUstream, void **, void **",
    "cuMemPoolCreate": "CUmemoryPool *, const CUmemPoolProps *",
    "cuMemPoolDestroy": "CUmemoryPool",
    "cuMemAllocFromPoolAsync": "CUdeviceptr *, size_t, CUmemoryPool, CUstream",
    "cuMemPoolGetAttribute": "CUmemoryPool, int, void *",
    "cuMemPoolSetAttribute": "CUmemoryPool, int, void *",
    "cuOccupancyMaxActiveClusters": "int *, CUfunction, const CUlaunchConfig *",
    "cuOccupancyMaxPotentialClusterSize": "int *, CUfunction, const CUlaunchConfig *",
    "cuThreadExchangeStreamCaptureMode": "int *",
    "cuStreamBeginCapture_v2": "CUstream, int",
    "cuStreamEndCapture": "CUstream, CUgraph *",
    "cuStreamGetCaptureInfo_v2": "CUstream, unsigned *, unsigned long long *, CUgraph *, "
                                 "const CUgraphNode **, size_t *",
    "cuGraphClone": "CUgraph *, CUgraph",
    "cuGraphInstantiateWithFlags": "CUgraphExec *, CUgraph, unsigned long long",
    "cuGraphExecUpdate_v2": "CUgraphExec, CUgraph, CUgraphExecUpdateResultInfo *",
    "cuGraphLaunch": "CUgraphExec, CUstream",
    "cuGraphGetNodes": "CUgraph, CUgraphNode *, size_t *",
    "cuGraphGetRootNodes": "CUgraph, CUgraphNode *, size_t *",
    "cuStreamBeginCaptureToGraph": "CUstream, CUgraph, const CUgraphNode *, "
                                   "const CUgraphEdgeData *, size_t, int",
    "cuGraphAddKernelNode_v2": f"{REAL_ADD}, const CUkernelNodeParams *",
    "cuGraphAddMemcpyNode": f"{REAL_ADD}, const CUmemcpy3D *, CUcontext",
    "cuGraphAddMemsetNode": f"{REAL_ADD}, const CUmemsetNodeParams *, CUcontext",
    "cuGraphAddChildGraphNode": f"{REAL_ADD}, CUgraph",
    "cuGraphAddNode_v2": "CUgraphNode *, CUgraph, const CUgraphNode *, const CUgraphEdgeData *, "
                         "size_t, CUgraphNodeParams *",
    "cuGraphAddEmptyNode": REAL_ADD,
    "cuGraphAddEventRecordNode": f"{REAL_ADD}, CUevent",
    "cuGraphAddEventWaitNode": f"{REAL_ADD}, CUevent",
    "cuGraphKernelNodeGetParams_v2": "CUgraphNode, CUkernelNodeParams *",
    "cuGraphKernelNodeSetParams_v2": "CUgraphNode, const CUkernelNodeParams *",
    "cuGraphMemcpyNodeGetParams": "CUgraphNode, CUmemcpy3D *",
    "cuGraphMemcpyNodeSetParams": "CUgraphNode, const CUmemcpy3D *",
    "cuGraphMemsetNodeGetParams": "CUgraphNode, CUmemsetNodeParams *",
    "cuGraphMemsetNodeSetParams": "CUgraphNode, const CUmemsetNodeParams *",
    "cuGraphChildGraphNodeGetGraph": "CUgraphNode, CUgraph *",
    "cuGraphEventRecordNodeGetEvent": "CUgraphNode, CUevent *",
    "cuGraphEventRecordNodeSetEvent": "CUgraphNode, CUevent",
    "cuGraphEventWaitNodeGetEvent": "CUgraphNode, CUevent *",
    "cuGraphEventWaitNodeSetEvent": "CUgraphNode, CUevent",
    "cuGraphExecKernelNodeSetParams_v2": "CUgraphExec, CUgraphNode, const CUkernelNodeParams *",
    "cuGraphExecMemcpyNodeSetParams": "CUgraphExec, CUgraphNode, const CUmemcpy3D *, CUcontext",
    "cuGraphExecMemsetNodeSetParams": "CUgraphExec, CUgraphNode, const CUmemsetNodeParams *, "
                                      "CUcontext",
    "cuGraphExecChildGraphNodeSetParams": "CUgraphExec, CUgraphNode, CUgraph",
    "cuGraphExecEventRecordNodeSetEvent": "CUgraphExec, CUgraphNode, CUevent",
    "cuGraphExecEventWaitNodeSetEvent": "CUgraphExec, CUgraphNode, CUevent",
    "cuGraphKernelNodeGetAttribute": "CUgraphNode, unsigned, void *",
    "cuGraphKernelNodeSetAttribute": "CUgraphNode, unsigned, const void *",
    "cuGraphNodeFindInClone": "CUgraphNode *, CUgraphNode, CUgraph",
    "cuGraphAddDependencies_v2": REAL_LINK,
    "cuGraphRemoveDependencies_v2": REAL_LINK,
    "cuGraphGetEdges_v2": "CUgraph, CUgraphNode *, CUgraphNode *, CUgraphEdgeData *, size_t *",
    "cuGraphNodeGetDependencies_v2": "CUgraphNode, CUgraphNode *, CUgraphEdgeData *, size_t *",
    "cuGraphNodeGetDependentNodes_v2": "CUgraphNode, CUgraphNode *, CUgraphEdgeData *, size_t *",
    "cuMemGetAllocationGranularity": "size_t *, const CUmemAllocationProp *, unsigned",
    "cuMemAddressReserve": "CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long",
    "cuMemAddressFree": "CUdeviceptr, size_t",
    "cuMemCreate": "CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *, "
                   "unsigned long long",
    "cuMemRelease": "CUmemGenericAllocationHandle",
    "cuMemMap": "CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long",
    "cuMemUnmap": "CUdeviceptr, size_t",
    "cuMemSetAccess": "CUdeviceptr, size_t, const CUmemAccessDesc *, size_t",
    "cuMemGetAccess": "unsigned long long *, const CUmemLocation *, CUdeviceptr",
    "cuStreamWaitValue32_v2": "CUstream, CUdeviceptr, unsigned, unsigned",
    "cuTensorMapEncodeTiled": "CUtensorMap *, unsigned, unsigned, void *, const uint64_t *, "
                              "const uint64_t *, const unsigned *, const unsigned *, unsigned, "
                              "unsigned, unsigned, unsigned",
    "cuTensorMapReplaceAddress": "CUtensorMap *, void *",
}


class Entry:
    """One ABI function: its symbols are `name` and, by `variants`, name + suffix."""

    def __init__(self, line):
        self.name, variants, self.cls, self.tier = line.split("\t")
        self.variants = {}
        for variant in variants.split():
            suffix, since = variant.split("@")
            major, minor = since.split(".")
            self.variants["" if suffix == "base" else suffix] = int(major) * 1000 + int(minor) * 10
        self.base = re.sub(r"_v\d+$", "", self.name)

    @property
    def built(self):
        return self.name in HAND or self.name in AUTO_BY_NAME or self.name in ALIAS


def entries():
    return [Entry(line) for line in tables.read("driver.tsv")]


def errors():
    """(number, name, text) of each CUresult."""
    return tables.errors("errors.tsv")


AUTO_BY_NAME = {row[1]: row for row in AUTO}


def words(first):
    """Each thing that the worker does first, or sees to."""
    return first.split() if first else []


def arguments(text):
    return [tuple(argument.split(":")) for argument in text.split()]
