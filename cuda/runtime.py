# SPDX-License-Identifier: BSD-3-Clause
"""The table of the CUDA runtime: which functions libcudart.so.13 has, which are built, and how.

runtime.tsv has every exported function with its forms and parameters.  This module says of those
that are built what stands behind them; generate_runtime.py makes code from both.

CALLS  one call of the driver: the function's own arguments in the driver's form.  The form for
       per-thread default streams (_ptsz, _ptds) calls the driver's form of the same kind.
HAND   written by hand in guest/cudart, with the last-error handling made around it.
OWN    written by hand whole: what returns no error, or has its own rule for the last error.
Everything else is exported and answers cudaErrorNotSupported (801).
"""
import tables

VERSION = 13000      # what cudaRuntimeGetVersion says
NODE = "libcudart.so.13"  # the version of each exported symbol, as NVIDIA's library has it

# What a function makes sure of first.
CONTEXT = "RT_CONTEXT"  # the thread has a context: the device's primary one, if no other
DRIVER = "RT_DRIVER"    # the driver is there and cuInit has succeeded
LIBRARY = "RT_LIBRARY"  # the driver is there
NOTHING = "RT_NOTHING"

DEVICE_CALLS = {
    "cudaDeviceGetAttribute": "cuDeviceGetAttribute(value, attr, device)",
    "cudaDeviceGetByPCIBusId": "cuDeviceGetByPCIBusId(device, pciBusId)",
    "cudaDeviceGetPCIBusId": "cuDeviceGetPCIBusId(pciBusId, len, device)",
    "cudaDeviceCanAccessPeer": "cuDeviceCanAccessPeer(canAccessPeer, device, peerDevice)",
    "cudaDeviceGetP2PAttribute": "cuDeviceGetP2PAttribute(value, attr, srcDevice, dstDevice)",
    "cudaDeviceGetDefaultMemPool": "cuDeviceGetDefaultMemPool(memPool, device)",
    "cudaDeviceGetMemPool": "cuDeviceGetMemPool(memPool, device)",
    "cudaDeviceSetMemPool": "cuDeviceSetMemPool(device, memPool)",
    "cudaDeviceGetGraphMemAttribute": "cuDeviceGetGraphMemAttribute(device, attr, value)",
    "cudaDeviceSetGraphMemAttribute": "cuDeviceSetGraphMemAttribute(device, attr, value)",
    "cudaDeviceGraphMemTrim": "cuDeviceGraphMemTrim(device)",
}
CONTEXT_CALLS = {
    "cudaDeviceSynchronize": "cuCtxSynchronize()",
    "cudaDeviceGetLimit": "cuCtxGetLimit(pValue, limit)",
    "cudaDeviceSetLimit": "cuCtxSetLimit(limit, value)",
    "cudaDeviceGetCacheConfig": "cuCtxGetCacheConfig((unsigned *)pCacheConfig)",
    "cudaDeviceSetCacheConfig": "cuCtxSetCacheConfig(cacheConfig)",
    "cudaDeviceGetSharedMemConfig": "cuCtxGetSharedMemConfig((unsigned *)pConfig)",
    "cudaDeviceSetSharedMemConfig": "cuCtxSetSharedMemConfig(config)",
    "cudaDeviceGetStreamPriorityRange":
        "cuCtxGetStreamPriorityRange(leastPriority, greatestPriority)",
    "cudaCtxResetPersistingL2Cache": "cuCtxResetPersistingL2Cache()",
    "cudaThreadExchangeStreamCaptureMode": "cuThreadExchangeStreamCaptureMode((int *)mode)",
}
STREAM_CALLS = {
    "cudaStreamCreate": "cuStreamCreate(pStream, 0)",
    "cudaStreamCreateWithFlags": "cuStreamCreate(pStream, flags)",
    "cudaStreamCreateWithPriority": "cuStreamCreateWithPriority(pStream, flags, priority)",
    "cudaStreamDestroy": "cuStreamDestroy_v2(stream)",
    "cudaStreamSynchronize": "cuStreamSynchronize(stream)",
    "cudaStreamQuery": "cuStreamQuery(stream)",
    "cudaStreamWaitEvent": "cuStreamWaitEvent(stream, event, flags)",
    "cudaStreamGetPriority": "cuStreamGetPriority(hStream, priority)",
    "cudaStreamGetFlags": "cuStreamGetFlags(hStream, flags)",
    "cudaStreamGetId": "cuStreamGetId(hStream, streamId)",
    "cudaStreamGetDevice": "cuStreamGetDevice(hStream, device)",
    "cudaStreamGetAttribute": "cuStreamGetAttribute(hStream, attr, value_out)",
    "cudaStreamSetAttribute": "cuStreamSetAttribute(hStream, attr, value)",
    "cudaStreamCopyAttributes": "cuStreamCopyAttributes(dst, src)",
    "cudaStreamBeginCapture": "cuStreamBeginCapture_v2(stream, mode)",
    "cudaStreamEndCapture": "cuStreamEndCapture(stream, pGraph)",
    "cudaStreamIsCapturing": "cuStreamIsCapturing(stream, (unsigned *)pCaptureStatus)",
    "cudaStreamGetCaptureInfo":
        "cuStreamGetCaptureInfo_v3(stream, (unsigned *)captureStatus_out, id_out, graph_out, "
        "dependencies_out, edgeData_out, numDependencies_out)",
    "cudaStreamBeginCaptureToGraph":
        "cuStreamBeginCaptureToGraph(stream, graph, dependencies, dependencyData, "
        "numDependencies, mode)",
    "cudaStreamUpdateCaptureDependencies":
        "cuStreamUpdateCaptureDependencies_v2(stream, dependencies, dependencyData, "
        "numDependencies, flags)",
    "cudaStreamAddCallback": "cuStreamAddCallback(stream, callback, userData, flags)",
    "cudaLaunchHostFunc": "cuLaunchHostFunc(stream, fn, userData)",
    "cudaEventCreate": "cuEventCreate(event, 0)",
    "cudaEventCreateWithFlags": "cuEventCreate(event, flags)",
    "cudaEventDestroy": "cuEventDestroy_v2(event)",
    "cudaEventRecord": "cuEventRecord(event, stream)",
    "cudaEventRecordWithFlags": "cuEventRecordWithFlags(event, stream, flags)",
    "cudaEventQuery": "cuEventQuery(event)",
    "cudaEventSynchronize": "cuEventSynchronize(event)",
    "cudaEventElapsedTime": "cuEventElapsedTime_v2(ms, start, end)",
}
D = "(CUdeviceptr)(uintptr_t)"
MEMORY_CALLS = {
    "cudaMemGetInfo": "cuMemGetInfo_v2(free, total)",
    "cudaMallocHost": "cuMemHostAlloc(ptr, size, 0)",
    "cudaHostAlloc": "cuMemHostAlloc(pHost, size, flags)",
    "cudaHostRegister": "cuMemHostRegister_v2(ptr, size, flags)",
    "cudaHostUnregister": "cuMemHostUnregister(ptr)",
    "cudaHostGetDevicePointer":
        "cuMemHostGetDevicePointer_v2((CUdeviceptr *)pDevice, pHost, flags)",
    "cudaHostGetFlags": "cuMemHostGetFlags(pFlags, pHost)",
    "cudaMallocAsync": "cuMemAllocAsync((CUdeviceptr *)devPtr, size, hStream)",
    "cudaMallocFromPoolAsync":
        "cuMemAllocFromPoolAsync((CUdeviceptr *)ptr, size, memPool, stream)",
    "cudaFreeAsync": f"cuMemFreeAsync({D}devPtr, hStream)",
    "cudaMemPoolCreate": "cuMemPoolCreate(memPool, poolProps)",
    "cudaMemPoolDestroy": "cuMemPoolDestroy(memPool)",
    "cudaMemPoolGetAttribute": "cuMemPoolGetAttribute(memPool, attr, value)",
    "cudaMemPoolSetAttribute": "cuMemPoolSetAttribute(memPool, attr, value)",
    "cudaMemPoolSetAccess": "cuMemPoolSetAccess(memPool, (const CUmemAccessDesc *)descList, count)",
    "cudaMemPoolGetAccess": "cuMemPoolGetAccess((int *)flags, memPool, (CUmemLocation *)location)",
    "cudaMemPoolTrimTo": "cuMemPoolTrimTo(memPool, minBytesToKeep)",
    "cudaMemset": f"cuMemsetD8_v2({D}devPtr, (unsigned char)value, count)",
    "cudaMemsetAsync": f"cuMemsetD8Async({D}devPtr, (unsigned char)value, count, stream)",
    "cudaMemset2D":
        f"cuMemsetD2D8_v2({D}devPtr, pitch, (unsigned char)value, width, height)",
    "cudaMemset2DAsync":
        f"cuMemsetD2D8Async({D}devPtr, pitch, (unsigned char)value, width, height, stream)",
}
DEPENDENCIES = "pGraphNode, graph, pDependencies, numDependencies"
GRAPH_CALLS = {
    "cudaGraphCreate": "cuGraphCreate(pGraph, flags)",
    "cudaGraphDestroy": "cuGraphDestroy(graph)",
    "cudaGraphClone": "cuGraphClone(pGraphClone, originalGraph)",
    "cudaGraphNodeFindInClone": "cuGraphNodeFindInClone(pNode, originalNode, clonedGraph)",
    "cudaGraphNodeGetType": "cuGraphNodeGetType(node, (int *)pType)",
    "cudaGraphGetNodes": "cuGraphGetNodes(graph, nodes, numNodes)",
    "cudaGraphGetRootNodes": "cuGraphGetRootNodes(graph, pRootNodes, pNumRootNodes)",
    "cudaGraphGetEdges": "cuGraphGetEdges_v2(graph, from, to, edgeData, numEdges)",
    "cudaGraphNodeGetDependencies":
        "cuGraphNodeGetDependencies_v2(node, pDependencies, edgeData, pNumDependencies)",
    "cudaGraphNodeGetDependentNodes":
        "cuGraphNodeGetDependentNodes_v2(node, pDependentNodes, edgeData, pNumDependentNodes)",
    "cudaGraphAddDependencies":
        "cuGraphAddDependencies_v2(graph, from, to, edgeData, numDependencies)",
    "cudaGraphRemoveDependencies":
        "cuGraphRemoveDependencies_v2(graph, from, to, edgeData, numDependencies)",
    "cudaGraphDestroyNode": "cuGraphDestroyNode(node)",
    "cudaGraphInstantiate": "cuGraphInstantiateWithFlags(pGraphExec, graph, flags)",
    "cudaGraphInstantiateWithFlags": "cuGraphInstantiateWithFlags(pGraphExec, graph, flags)",
    "cudaGraphExecGetFlags": "cuGraphExecGetFlags(graphExec, flags)",
    "cudaGraphExecDestroy": "cuGraphExecDestroy(graphExec)",
    "cudaGraphExecUpdate": "cuGraphExecUpdate_v2(hGraphExec, hGraph, resultInfo)",
    "cudaGraphUpload": "cuGraphUpload(graphExec, stream)",
    "cudaGraphLaunch": "cuGraphLaunch(graphExec, stream)",
    "cudaGraphDebugDotPrint": "cuGraphDebugDotPrint(graph, path, flags)",
    "cudaGraphAddEmptyNode": f"cuGraphAddEmptyNode({DEPENDENCIES})",
    "cudaGraphAddChildGraphNode": f"cuGraphAddChildGraphNode({DEPENDENCIES}, childGraph)",
    "cudaGraphChildGraphNodeGetGraph": "cuGraphChildGraphNodeGetGraph(node, pGraph)",
    "cudaGraphAddEventRecordNode": f"cuGraphAddEventRecordNode({DEPENDENCIES}, event)",
    "cudaGraphEventRecordNodeGetEvent": "cuGraphEventRecordNodeGetEvent(node, event_out)",
    "cudaGraphEventRecordNodeSetEvent": "cuGraphEventRecordNodeSetEvent(node, event)",
    "cudaGraphAddEventWaitNode": f"cuGraphAddEventWaitNode({DEPENDENCIES}, event)",
    "cudaGraphEventWaitNodeGetEvent": "cuGraphEventWaitNodeGetEvent(node, event_out)",
    "cudaGraphEventWaitNodeSetEvent": "cuGraphEventWaitNodeSetEvent(node, event)",
    "cudaGraphAddHostNode": f"cuGraphAddHostNode({DEPENDENCIES}, pNodeParams)",
    "cudaGraphAddMemFreeNode": f"cuGraphAddMemFreeNode({DEPENDENCIES}, {D}dptr)",
    "cudaGraphNodeGetEnabled": "cuGraphNodeGetEnabled(hGraphExec, hNode, isEnabled)",
    "cudaGraphNodeSetEnabled": "cuGraphNodeSetEnabled(hGraphExec, hNode, isEnabled)",
    "cudaGraphInstantiateWithParams":
        "cuGraphInstantiateWithParams(pGraphExec, graph, instantiateParams)",
    "cudaGraphMemsetNodeGetParams": "cuGraphMemsetNodeGetParams(node, (void *)pNodeParams)",
    "cudaGraphMemsetNodeSetParams": "cuGraphMemsetNodeSetParams(node, (const void *)pNodeParams)",
    "cudaGraphExecChildGraphNodeSetParams":
        "cuGraphExecChildGraphNodeSetParams(hGraphExec, node, childGraph)",
    "cudaGraphExecEventRecordNodeSetEvent":
        "cuGraphExecEventRecordNodeSetEvent(hGraphExec, hNode, event)",
    "cudaGraphExecEventWaitNodeSetEvent":
        "cuGraphExecEventWaitNodeSetEvent(hGraphExec, hNode, event)",
    "cudaGraphKernelNodeCopyAttributes": "cuGraphKernelNodeCopyAttributes(hDst, hSrc)",
    "cudaGraphKernelNodeGetAttribute": "cuGraphKernelNodeGetAttribute(hNode, attr, value_out)",
    "cudaGraphKernelNodeSetAttribute": "cuGraphKernelNodeSetAttribute(hNode, attr, value)",
}
# (what is made sure of, the call)
CALLS = {**{n: (DRIVER, c) for n, c in DEVICE_CALLS.items()},
         **{n: (CONTEXT, c) for n, c in {**CONTEXT_CALLS, **STREAM_CALLS, **MEMORY_CALLS,
                                         **GRAPH_CALLS}.items()}}

# By hand, with the last error kept by the generated function around it.
HAND = {
    "cudaGetDevice": DRIVER, "cudaSetDevice": DRIVER, "cudaGetDeviceCount": NOTHING,
    "cudaGetDeviceProperties": DRIVER, "cudaChooseDevice": DRIVER, "cudaInitDevice": DRIVER,
    "cudaSetValidDevices": DRIVER, "cudaGetDeviceFlags": DRIVER, "cudaSetDeviceFlags": DRIVER,
    "cudaDeviceReset": DRIVER, "cudaDriverGetVersion": NOTHING, "cudaRuntimeGetVersion": NOTHING,
    "cudaGetDriverEntryPoint": LIBRARY, "cudaGetDriverEntryPointByVersion": LIBRARY,
    "cudaProfilerStart": NOTHING, "cudaProfilerStop": NOTHING,
    "cudaMalloc": CONTEXT, "cudaFree": CONTEXT, "cudaFreeHost": CONTEXT,
    "cudaMallocPitch": CONTEXT, "cudaMalloc3D": CONTEXT, "cudaPointerGetAttributes": DRIVER,
    "cudaMemset3D": CONTEXT, "cudaMemset3DAsync": CONTEXT,
    "cudaMemcpy": CONTEXT, "cudaMemcpyAsync": CONTEXT, "cudaMemcpy2D": CONTEXT,
    "cudaMemcpy2DAsync": CONTEXT, "cudaMemcpyToSymbol": CONTEXT, "cudaMemcpyFromSymbol": CONTEXT,
    "cudaMemcpyPeer": CONTEXT, "cudaMemcpyPeerAsync": CONTEXT,
    "cudaMemcpyToSymbolAsync": CONTEXT, "cudaMemcpyFromSymbolAsync": CONTEXT,
    "cudaGetSymbolAddress": CONTEXT, "cudaGetSymbolSize": CONTEXT,
    "__cudaGetKernel": NOTHING, "cudaGetKernel": DRIVER, "cudaGetFuncBySymbol": CONTEXT,
    "__cudaLaunchKernel": CONTEXT, "cudaLaunchKernel": CONTEXT, "cudaLaunchKernelExC": CONTEXT,
    "cudaLaunchCooperativeKernel": CONTEXT,
    "cudaFuncGetAttributes": CONTEXT, "cudaFuncSetAttribute": CONTEXT,
    "cudaFuncSetCacheConfig": CONTEXT, "cudaFuncSetSharedMemConfig": CONTEXT,
    "cudaFuncGetName": DRIVER, "cudaFuncGetParamInfo": CONTEXT,
    "cudaKernelSetAttributeForDevice": CONTEXT,
    "cudaOccupancyMaxActiveBlocksPerMultiprocessor": CONTEXT,
    "cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags": CONTEXT,
    "cudaOccupancyAvailableDynamicSMemPerBlock": CONTEXT,
    "cudaOccupancyMaxActiveClusters": CONTEXT, "cudaOccupancyMaxPotentialClusterSize": CONTEXT,
    "cudaLibraryLoadData": DRIVER, "cudaLibraryLoadFromFile": DRIVER, "cudaLibraryUnload": DRIVER,
    "cudaLibraryGetKernel": DRIVER, "cudaLibraryGetGlobal": CONTEXT,
    "cudaLibraryGetKernelCount": DRIVER, "cudaLibraryEnumerateKernels": DRIVER,
    "cudaMemcpy3D": CONTEXT, "cudaMemcpy3DAsync": CONTEXT,
    "cudaGraphAddKernelNode": CONTEXT, "cudaGraphAddMemsetNode": CONTEXT,
    "cudaGraphAddMemcpyNode": CONTEXT, "cudaGraphAddMemcpyNode1D": CONTEXT,
    "cudaGraphMemcpyNodeSetParams": CONTEXT, "cudaGraphMemcpyNodeSetParams1D": CONTEXT,
    "cudaGraphExecMemcpyNodeSetParams": CONTEXT, "cudaGraphExecMemcpyNodeSetParams1D": CONTEXT,
    "cudaGraphKernelNodeSetParams": CONTEXT, "cudaGraphExecKernelNodeSetParams": CONTEXT,
    "cudaGraphExecMemsetNodeSetParams": CONTEXT,
}

# By hand whole: they return no error, or leave the last one alone.
OWN = {
    "cudaGetLastError": "cudaError_t", "cudaPeekAtLastError": "cudaError_t",
    "cudaGetErrorName": "const char *", "cudaGetErrorString": "const char *",
    "cudaCreateChannelDesc": "struct cudaChannelFormatDesc",
    "__cudaPushCallConfiguration": "unsigned", "__cudaPopCallConfiguration": "cudaError_t",
    "__cudaRegisterFatBinary": "void **", "__cudaRegisterFatBinaryEnd": "void",
    "__cudaUnregisterFatBinary": "void", "__cudaRegisterFunction": "void",
    "__cudaRegisterVar": "void", "__cudaRegisterManagedVar": "void",
    "__cudaRegisterHostVar": "void", "__cudaInitModule": "char",
}

# An answer that is no error and is not kept as the last one.
NOT_KEPT = {"cudaStreamQuery", "cudaEventQuery"}  # 600, not ready

# What the code by hand calls of the driver besides.
USES = """
cuInit cuDriverGetVersion cuDeviceGetCount cuDeviceGetName cuDeviceGetUuid cuDeviceGetLuid
cuDeviceTotalMem_v2 cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease_v2
cuDevicePrimaryCtxReset_v2 cuDevicePrimaryCtxSetFlags_v2 cuDevicePrimaryCtxGetState
cuCtxGetCurrent cuCtxSetCurrent cuCtxGetDevice cuCtxGetFlags cuGetProcAddress_v2
cuMemAlloc_v2 cuMemFree_v2 cuMemFreeHost cuMemAllocPitch_v2 cuPointerGetAttributes
cuMemcpyHtoD_v2 cuMemcpyDtoH_v2 cuMemcpyDtoD_v2 cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2
cuMemcpyDtoDAsync_v2 cuLibraryLoadData cuLibraryLoadFromFile cuLibraryUnload cuLibraryGetKernel
cuLibraryGetGlobal cuLibraryGetKernelCount cuLibraryEnumerateKernels cuKernelGetFunction
cuKernelGetAttribute cuKernelSetAttribute cuKernelSetCacheConfig cuKernelGetName
cuKernelGetParamInfo cuLaunchKernel cuLaunchKernelEx
cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cuOccupancyAvailableDynamicSMemPerBlock
cuOccupancyMaxActiveClusters cuOccupancyMaxPotentialClusterSize cuGraphAddKernelNode_v2
cuGraphAddMemsetNode cuFuncSetSharedMemConfig cuMemcpy3D_v2 cuMemcpy3DAsync_v2
cuGraphAddMemcpyNode cuGraphMemcpyNodeSetParams cuGraphExecMemcpyNodeSetParams
cuGraphKernelNodeSetParams_v2 cuGraphExecKernelNodeSetParams_v2 cuGraphExecMemsetNodeSetParams
""".split()

# Parameters of functions of the driver that cuda/driver.py doesn't have.
NODES = "CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t count"
EDGES = ("CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData "
         "*edges, size_t count")
PARAMETERS = {
    "cuDeviceSetMemPool": "CUdevice dev, CUmemoryPool pool",
    "cuDeviceGetGraphMemAttribute": "CUdevice dev, int attr, void *value",
    "cuDeviceSetGraphMemAttribute": "CUdevice dev, int attr, void *value",
    "cuDeviceGraphMemTrim": "CUdevice dev",
    "cuCtxResetPersistingL2Cache": "void",
    "cuStreamGetAttribute": "CUstream hStream, int attr, void *value",
    "cuStreamSetAttribute": "CUstream hStream, int attr, const void *value",
    "cuStreamCopyAttributes": "CUstream dst, CUstream src",
    "cuStreamBeginCapture_v2": "CUstream hStream, int mode",
    "cuStreamEndCapture": "CUstream hStream, CUgraph *graph",
    "cuStreamGetCaptureInfo_v3":
        "CUstream hStream, unsigned int *status, unsigned long long *id, CUgraph *graph, "
        "const CUgraphNode **dependencies, const CUgraphEdgeData **edges, size_t *count",
    "cuStreamBeginCaptureToGraph":
        "CUstream hStream, CUgraph graph, const CUgraphNode *dependencies, "
        "const CUgraphEdgeData *edges, size_t count, int mode",
    "cuStreamUpdateCaptureDependencies_v2":
        "CUstream hStream, CUgraphNode *dependencies, const CUgraphEdgeData *edges, "
        "size_t count, unsigned int flags",
    "cuStreamAddCallback":
        "CUstream hStream, void (*callback)(CUstream, CUresult, void *), void *data, "
        "unsigned int flags",
    "cuLaunchHostFunc": "CUstream hStream, void (*function)(void *), void *data",
    "cuMemHostRegister_v2": "void *memory, size_t bytes, unsigned int flags",
    "cuMemHostUnregister": "void *memory",
    "cuMemPoolCreate": "CUmemoryPool *pool, const CUmemPoolProps *properties",
    "cuMemPoolDestroy": "CUmemoryPool pool",
    "cuMemPoolSetAccess": "CUmemoryPool pool, const void *list, size_t count",
    "cuMemPoolGetAccess": "int *flags, CUmemoryPool pool, void *location",
    "cuLibraryEnumerateKernels": "CUkernel *kernels, unsigned int count, CUlibrary lib",
    "cuGraphCreate": "CUgraph *graph, unsigned int flags",
    "cuGraphDestroy": "CUgraph graph",
    "cuGraphClone": "CUgraph *clone, CUgraph graph",
    "cuGraphNodeFindInClone": "CUgraphNode *node, CUgraphNode original, CUgraph clone",
    "cuGraphNodeGetType": "CUgraphNode node, int *type",
    "cuGraphGetNodes": "CUgraph graph, CUgraphNode *nodes, size_t *count",
    "cuGraphGetRootNodes": "CUgraph graph, CUgraphNode *nodes, size_t *count",
    "cuGraphGetEdges_v2": "CUgraph graph, CUgraphNode *from, CUgraphNode *to, "
                          "CUgraphEdgeData *edges, size_t *count",
    "cuGraphNodeGetDependencies_v2":
        "CUgraphNode node, CUgraphNode *nodes, CUgraphEdgeData *edges, size_t *count",
    "cuGraphNodeGetDependentNodes_v2":
        "CUgraphNode node, CUgraphNode *nodes, CUgraphEdgeData *edges, size_t *count",
    "cuGraphAddDependencies_v2": EDGES,
    "cuGraphRemoveDependencies_v2": EDGES,
    "cuGraphDestroyNode": "CUgraphNode node",
    "cuGraphInstantiateWithFlags": "CUgraphExec *exec, CUgraph graph, unsigned long long flags",
    "cuGraphExecGetFlags": "CUgraphExec exec, unsigned long long *flags",
    "cuGraphExecDestroy": "CUgraphExec exec",
    "cuGraphExecUpdate_v2": "CUgraphExec exec, CUgraph graph, void *result",
    "cuGraphUpload": "CUgraphExec exec, CUstream stream",
    "cuGraphLaunch": "CUgraphExec exec, CUstream stream",
    "cuGraphDebugDotPrint": "CUgraph graph, const char *path, unsigned int flags",
    "cuGraphAddEmptyNode": NODES,
    "cuGraphAddChildGraphNode": f"{NODES}, CUgraph child",
    "cuGraphChildGraphNodeGetGraph": "CUgraphNode node, CUgraph *graph",
    "cuGraphAddEventRecordNode": f"{NODES}, CUevent event",
    "cuGraphEventRecordNodeGetEvent": "CUgraphNode node, CUevent *event",
    "cuGraphEventRecordNodeSetEvent": "CUgraphNode node, CUevent event",
    "cuGraphAddEventWaitNode": f"{NODES}, CUevent event",
    "cuGraphEventWaitNodeGetEvent": "CUgraphNode node, CUevent *event",
    "cuGraphEventWaitNodeSetEvent": "CUgraphNode node, CUevent event",
    "cuGraphAddHostNode": f"{NODES}, const void *parameters",
    "cuGraphAddMemFreeNode": f"{NODES}, CUdeviceptr address",
    "cuGraphNodeGetEnabled": "CUgraphExec exec, CUgraphNode node, unsigned int *enabled",
    "cuGraphNodeSetEnabled": "CUgraphExec exec, CUgraphNode node, unsigned int enabled",
    "cuGraphAddKernelNode_v2": f"{NODES}, const CUkernelNodeParams *parameters",
    "cuGraphAddMemsetNode": f"{NODES}, const void *parameters, CUcontext context",
}


class Function:
    """One exported function: its symbols are `name` and name + suffix."""

    def __init__(self, line):
        self.name, forms, self.params = line.split("\t")
        self.suffixes = ["" if form == "base" else form for form in forms.split()]

    @property
    def built(self):
        return self.name in CALLS or self.name in HAND or self.name in OWN

    @property
    def symbols(self):
        return [self.name + suffix for suffix in self.suffixes]


def functions():
    return [Function(line) for line in tables.read("runtime.tsv")]


def errors():
    """(number, name, text) of each cudaError_t."""
    return tables.errors("runtime_errors.tsv")
