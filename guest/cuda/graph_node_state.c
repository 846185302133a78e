/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a program asks of the nodes of its graphs: their parameters, the graphs inside, nodes of
 * clones, and attributes.
 *
 * The parameters of a kernel node are in memory that lives as long as the node, or until it is
 * asked again.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

/* ---- asking ---- */

struct answer {
    CUDANode of;
    uint8_t params[CUDA_NODE_PARAM_BYTES_MAX];
};

static CUresult ask(CUgraphNode node, uint64_t type, const void *out, void *answer, uint32_t bytes)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_GET, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!out || !cuda_add_handle(&call, CUDA_HANDLE(node), CUDA_KIND_GRAPH_NODE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, type);
    call.reply = answer;
    call.reply_bytes = bytes;
    return cuda_ask(&call);
}

static void *pointer(uint64_t value)
{
    return (void *)(uintptr_t)value; /* NOLINT(performance-no-int-to-ptr): what was given */
}

/* Pointers to each parameter, and behind them their bytes; the node's from now on. */
static CUresult keep_params(CUgraphNode node, uint64_t function, const struct answer *answer,
                            void ***params)
{
    CUresult result = CUDA_SUCCESS;
    const struct cuda_function *facts = cuda_function_of(function, &result);
    uint32_t count, bytes;
    void **kept;

    *params = NULL;
    if (!facts) {
        return result;
    }
    count = facts->facts.param_count;
    bytes = answer->of.of.kernel.param_bytes;
    if (count == 0) {
        return CUDA_SUCCESS;
    }
    kept = calloc(1, count * sizeof(*kept) + CUDA_NODE_PARAM_BYTES_MAX);
    if (!kept) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memcpy(kept + count, answer->params,
           bytes < sizeof(answer->params) ? bytes : sizeof(answer->params));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t offset = facts->facts.params[i].offset;

        kept[i] = (uint8_t *)(kept + count) + (offset < bytes ? offset : 0);
    }
    cuda_object_keep(CUDA_HANDLE(node), kept);
    *params = kept;
    return CUDA_SUCCESS;
}

static CUresult get_kernel(CUgraphNode node, CUkernelNodeParams *to, size_t bytes)
{
    struct answer answer;
    const CUDAKernelNode *from = &answer.of.of.kernel;
    CUkernelNodeParams params;
    CUresult result = ask(node, CU_NODE_KERNEL, to, &answer, sizeof(answer));
    bool is_kernel = vgpu_handle_kind(from->function) == CUDA_KIND_KERNEL;

    if (result) {
        return result;
    }
    params = (CUkernelNodeParams){
        .func = pointer(from->function),
        .gridDimX = from->grid[0],
        .gridDimY = from->grid[1],
        .gridDimZ = from->grid[2],
        .blockDimX = from->block[0],
        .blockDimY = from->block[1],
        .blockDimZ = from->block[2],
        .sharedMemBytes = from->shared_bytes,
        .kern = is_kernel ? pointer(from->function) : NULL,
        .ctx = pointer(cuda_current()->handle),
    };
    result = keep_params(node, from->function, &answer, &params.kernelParams);
    if (result == CUDA_SUCCESS) {
        memcpy(to, &params, bytes);
    }
    return result;
}

CUresult hand_cuGraphKernelNodeGetParams(CUgraphNode hNode, CUkernelNodeParams *nodeParams)
{
    return get_kernel(hNode, nodeParams, CU_KERNEL_NODE_PARAMS_V1_BYTES);
}

CUresult hand_cuGraphKernelNodeGetParams_v2(CUgraphNode hNode, CUkernelNodeParams *nodeParams)
{
    return get_kernel(hNode, nodeParams, sizeof(*nodeParams));
}

CUresult hand_cuGraphMemcpyNodeGetParams(CUgraphNode hNode, CUmemcpy3D *nodeParams)
{
    CUDANode answer;
    CUresult result = ask(hNode, CU_NODE_COPY, nodeParams, &answer, sizeof(answer));

    if (result == CUDA_SUCCESS) {
        cuda_give_copy(&answer.of.copy, nodeParams);
    }
    return result;
}

CUresult hand_cuGraphMemsetNodeGetParams(CUgraphNode hNode, CUmemsetNodeParams *nodeParams)
{
    CUDANode answer;
    const CUDASetNode *from = &answer.of.set;
    CUresult result = ask(hNode, CU_NODE_SET, nodeParams, &answer, sizeof(answer));

    if (result == CUDA_SUCCESS) {
        const CUmemsetNodeParams params = {
            .dst = from->address,
            .pitch = from->pitch,
            .value = from->value,
            .elementSize = from->element_bytes,
            .width = from->width,
            .height = from->height,
        };

        memcpy(nodeParams, &params, CU_MEMSET_NODE_PARAMS_V1_BYTES);
    }
    return result;
}

static CUresult get_event(CUgraphNode node, uint64_t type, CUevent *event)
{
    CUDANode answer;
    CUresult result = ask(node, type, event, &answer, sizeof(answer));

    if (result == CUDA_SUCCESS) {
        *event = pointer(answer.of.handle);
    }
    return result;
}

CUresult hand_cuGraphEventRecordNodeGetEvent(CUgraphNode hNode, CUevent *event_out)
{
    return get_event(hNode, CU_NODE_EVENT_RECORD, event_out);
}

CUresult hand_cuGraphEventWaitNodeGetEvent(CUgraphNode hNode, CUevent *event_out)
{
    return get_event(hNode, CU_NODE_WAIT_EVENT, event_out);
}

CUresult hand_cuGraphChildGraphNodeGetGraph(CUgraphNode hNode, CUgraph *phGraph)
{
    struct cuda_call call;
    CUgraph graph = NULL;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_CHILD, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    cuda_add(&call, 0);
    if (!phGraph || !cuda_add_handle(&call, CUDA_HANDLE(hNode), CUDA_KIND_GRAPH_NODE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call.args[0] = cuda_object_new(&call, CUDA_KIND_GRAPH);
    result = cuda_ask(&call);
    cuda_object_made(&call, result || call.out[0] != call.args[0] ? CUDA_ERROR_NOT_FOUND : result,
                     &graph);
    if (result == CUDA_SUCCESS) {
        cuda_object_of(CUDA_HANDLE(graph), CUDA_HANDLE(hNode));
        *phGraph = pointer(call.out[0]);
    }
    return result;
}

CUresult hand_cuGraphNodeFindInClone(CUgraphNode *phNode, CUgraphNode hOriginalNode,
                                     CUgraph hClonedGraph)
{
    struct cuda_call call;
    CUgraphNode node = NULL;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_FIND, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    cuda_add(&call, 0);
    if (!phNode || !cuda_add_handle(&call, CUDA_HANDLE(hOriginalNode), CUDA_KIND_GRAPH_NODE) ||
        !cuda_add_handle(&call, CUDA_HANDLE(hClonedGraph), CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call.args[0] = cuda_object_new(&call, CUDA_KIND_GRAPH_NODE);
    result = cuda_ask(&call);
    cuda_object_made(&call, result || call.out[0] != call.args[0] ? CUDA_ERROR_NOT_FOUND : result,
                     &node);
    if (result == CUDA_SUCCESS) {
        cuda_object_of(CUDA_HANDLE(node), CUDA_HANDLE(hClonedGraph));
        *phNode = pointer(call.out[0]);
    }
    return result;
}

/* ---- attributes ---- */

static CUresult attribute(CUgraphNode node, uint64_t what, unsigned attr, const void *value,
                          struct cuda_call *call)
{
    CUresult result = cuda_begin(call, CUDA_OP_GRAPH_ATTRIBUTE, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!value || !cuda_add_handle(call, CUDA_HANDLE(node), CUDA_KIND_GRAPH_NODE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(call, what);
    cuda_add(call, attr);
    result = cuda_check_attribute(attr);
    if (result == CUDA_SUCCESS && what == CUDA_SWITCH_SET) {
        cuda_add_bytes(call, value, sizeof(((CUlaunchAttribute *)0)->value));
    }
    return result ? result : cuda_ask(call);
}

CUresult hand_cuGraphKernelNodeSetAttribute(CUgraphNode hNode, unsigned int attr, const void *value)
{
    struct cuda_call call;

    return attribute(hNode, CUDA_SWITCH_SET, attr, value, &call);
}

CUresult hand_cuGraphKernelNodeGetAttribute(CUgraphNode hNode, unsigned int attr, void *value_out)
{
    struct cuda_call call;
    CUresult result = attribute(hNode, CUDA_SWITCH_GET, attr, value_out, &call);

    if (result == CUDA_SUCCESS) {
        memcpy(value_out, call.out, sizeof(call.out));
    }
    return result;
}
