/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes of graphs, and copies of rows and slices, which nodes are, too.
 *
 * The runtime says of a copy which kind it is, the driver wants to hear of each side what memory
 * it lies in.  Arrays are not built: a copy that names one is refused.
 */
#include "cudart_hand.h"
#include "guest/cudart/internal.h"

static cudaError_t current(CUcontext *context)
{
    *context = NULL;
    return rt_driver.cuCtxGetCurrent(context);
}

/* ---- copies ---- */

/* One side: where it begins, and how far apart its rows and slices are. */
struct side {
    int memory;
    void *memory_of_host;
    CUdeviceptr address;
};

static struct side side_of(void *pointer, bool of_gpu)
{
    return of_gpu ? (struct side){.memory = CU_MEMORY_DEVICE, .address = rt_address(pointer)}
                  : (struct side){.memory = CU_MEMORY_HOST, .memory_of_host = pointer};
}

static cudaError_t translate(const struct cudaMemcpy3DParms *p, CUmemcpy3D *to)
{
    enum cudaMemcpyKind kind = p ? p->kind : cudaMemcpyDefault;
    struct side source, destination;

    if (!p || p->srcArray || p->dstArray) {
        return p ? cudaErrorNotSupported : cudaErrorInvalidValue;
    }
    if ((unsigned)kind > cudaMemcpyDefault) {
        return cudaErrorInvalidMemcpyDirection;
    }
    if (!p->srcPtr.ptr || !p->dstPtr.ptr || !rt_copy_kind(p->dstPtr.ptr, p->srcPtr.ptr, &kind)) {
        return cudaErrorInvalidValue;
    }
    source =
        side_of(p->srcPtr.ptr, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice);
    destination =
        side_of(p->dstPtr.ptr, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice);
    *to = (CUmemcpy3D){
        .srcXInBytes = p->srcPos.x,
        .srcY = p->srcPos.y,
        .srcZ = p->srcPos.z,
        .srcMemoryType = source.memory,
        .srcHost = source.memory_of_host,
        .srcDevice = source.address,
        .srcPitch = p->srcPtr.pitch,
        .srcHeight = p->srcPtr.ysize,
        .dstXInBytes = p->dstPos.x,
        .dstY = p->dstPos.y,
        .dstZ = p->dstPos.z,
        .dstMemoryType = destination.memory,
        .dstHost = destination.memory_of_host,
        .dstDevice = destination.address,
        .dstPitch = p->dstPtr.pitch,
        .dstHeight = p->dstPtr.ysize,
        .WidthInBytes = p->extent.width,
        .Height = p->extent.height,
        .Depth = p->extent.depth,
    };
    return cudaSuccess;
}

/* One row. */
static struct cudaMemcpy3DParms row(void *dst, const void *src, size_t count,
                                    enum cudaMemcpyKind kind)
{
    return (struct cudaMemcpy3DParms){
        .srcPtr = {.ptr = (void *)src, .pitch = count, .xsize = count, .ysize = 1},
        .dstPtr = {.ptr = dst, .pitch = count, .xsize = count, .ysize = 1},
        .extent = {.width = count, .height = 1, .depth = 1},
        .kind = kind,
    };
}

static bool is_nothing(const struct cudaMemcpy3DParms *p)
{
    return p && (p->extent.width == 0 || p->extent.height == 0 || p->extent.depth == 0);
}

cudaError_t hand_cudaMemcpy3D(const struct cudaMemcpy3DParms *p, int mode)
{
    CUmemcpy3D copy;
    cudaError_t error = is_nothing(p) ? cudaSuccess : translate(p, &copy);

    return error || is_nothing(p) ? error : RT_FORM(mode, cuMemcpy3D_v2)(&copy);
}

cudaError_t hand_cudaMemcpy3DAsync(const struct cudaMemcpy3DParms *p, cudaStream_t stream, int mode)
{
    CUmemcpy3D copy;
    cudaError_t error = is_nothing(p) ? cudaSuccess : translate(p, &copy);

    return error || is_nothing(p) ? error : RT_FORM(mode, cuMemcpy3DAsync_v2)(&copy, stream);
}

cudaError_t hand_cudaGraphAddMemcpyNode(cudaGraphNode_t *pGraphNode, cudaGraph_t graph,
                                        const cudaGraphNode_t *pDependencies,
                                        size_t numDependencies,
                                        const struct cudaMemcpy3DParms *pCopyParams)
{
    CUmemcpy3D copy;
    CUcontext context = NULL;
    cudaError_t error = translate(pCopyParams, &copy);

    error = error ? error : current(&context);
    return error ? error
                 : rt_driver.cuGraphAddMemcpyNode(pGraphNode, graph, pDependencies, numDependencies,
                                                  &copy, context);
}

cudaError_t hand_cudaGraphAddMemcpyNode1D(cudaGraphNode_t *pGraphNode, cudaGraph_t graph,
                                          const cudaGraphNode_t *pDependencies,
                                          size_t numDependencies, void *dst, const void *src,
                                          size_t count, enum cudaMemcpyKind kind)
{
    const struct cudaMemcpy3DParms copy = row(dst, src, count, kind);

    return hand_cudaGraphAddMemcpyNode(pGraphNode, graph, pDependencies, numDependencies, &copy);
}

cudaError_t hand_cudaGraphMemcpyNodeSetParams(cudaGraphNode_t node,
                                              const struct cudaMemcpy3DParms *pNodeParams)
{
    CUmemcpy3D copy;
    cudaError_t error = translate(pNodeParams, &copy);

    return error ? error : rt_driver.cuGraphMemcpyNodeSetParams(node, &copy);
}

cudaError_t hand_cudaGraphMemcpyNodeSetParams1D(cudaGraphNode_t node, void *dst, const void *src,
                                                size_t count, enum cudaMemcpyKind kind)
{
    const struct cudaMemcpy3DParms copy = row(dst, src, count, kind);

    return hand_cudaGraphMemcpyNodeSetParams(node, &copy);
}

cudaError_t hand_cudaGraphExecMemcpyNodeSetParams(cudaGraphExec_t hGraphExec, cudaGraphNode_t node,
                                                  const struct cudaMemcpy3DParms *pNodeParams)
{
    CUmemcpy3D copy;
    CUcontext context = NULL;
    cudaError_t error = translate(pNodeParams, &copy);

    error = error ? error : current(&context);
    return error ? error
                 : rt_driver.cuGraphExecMemcpyNodeSetParams(hGraphExec, node, &copy, context);
}

cudaError_t hand_cudaGraphExecMemcpyNodeSetParams1D(cudaGraphExec_t hGraphExec,
                                                    cudaGraphNode_t node, void *dst,
                                                    const void *src, size_t count,
                                                    enum cudaMemcpyKind kind)
{
    const struct cudaMemcpy3DParms copy = row(dst, src, count, kind);

    return hand_cudaGraphExecMemcpyNodeSetParams(hGraphExec, node, &copy);
}

/* ---- kernels ---- */

static cudaError_t translate_kernel(const struct cudaKernelNodeParams *from, CUkernelNodeParams *to)
{
    CUkernel kernel;
    cudaError_t error = from ? rt_kernel(from->func, &kernel) : cudaErrorInvalidValue;

    if (error) {
        return error;
    }
    *to = (CUkernelNodeParams){
        .gridDimX = from->gridDim.x,
        .gridDimY = from->gridDim.y,
        .gridDimZ = from->gridDim.z,
        .blockDimX = from->blockDim.x,
        .blockDimY = from->blockDim.y,
        .blockDimZ = from->blockDim.z,
        .sharedMemBytes = from->sharedMemBytes,
        .kernelParams = from->kernelParams,
        .extra = from->extra,
        .kern = kernel,
    };
    return cudaSuccess;
}

cudaError_t hand_cudaGraphAddKernelNode(cudaGraphNode_t *pGraphNode, cudaGraph_t graph,
                                        const cudaGraphNode_t *pDependencies,
                                        size_t numDependencies,
                                        const struct cudaKernelNodeParams *pNodeParams)
{
    CUkernelNodeParams params;
    cudaError_t error = translate_kernel(pNodeParams, &params);

    return error ? error
                 : rt_driver.cuGraphAddKernelNode_v2(pGraphNode, graph, pDependencies,
                                                     numDependencies, &params);
}

cudaError_t hand_cudaGraphKernelNodeSetParams(cudaGraphNode_t node,
                                              const struct cudaKernelNodeParams *pNodeParams)
{
    CUkernelNodeParams params;
    cudaError_t error = translate_kernel(pNodeParams, &params);

    return error ? error : rt_driver.cuGraphKernelNodeSetParams_v2(node, &params);
}

cudaError_t hand_cudaGraphExecKernelNodeSetParams(cudaGraphExec_t hGraphExec, cudaGraphNode_t node,
                                                  const struct cudaKernelNodeParams *pNodeParams)
{
    CUkernelNodeParams params;
    cudaError_t error = translate_kernel(pNodeParams, &params);

    return error ? error : rt_driver.cuGraphExecKernelNodeSetParams_v2(hGraphExec, node, &params);
}

/* ---- memsets: their parameters have the driver's own form ---- */

cudaError_t hand_cudaGraphAddMemsetNode(cudaGraphNode_t *pGraphNode, cudaGraph_t graph,
                                        const cudaGraphNode_t *pDependencies,
                                        size_t numDependencies,
                                        const struct cudaMemsetParams *pMemsetParams)
{
    CUcontext context;
    cudaError_t error = current(&context);

    return error ? error
                 : rt_driver.cuGraphAddMemsetNode(pGraphNode, graph, pDependencies, numDependencies,
                                                  (const void *)pMemsetParams, context);
}

cudaError_t hand_cudaGraphExecMemsetNodeSetParams(cudaGraphExec_t hGraphExec, cudaGraphNode_t node,
                                                  const struct cudaMemsetParams *pNodeParams)
{
    CUcontext context;
    cudaError_t error = current(&context);

    return error ? error
                 : rt_driver.cuGraphExecMemsetNodeSetParams(hGraphExec, node,
                                                            (const void *)pNodeParams, context);
}
