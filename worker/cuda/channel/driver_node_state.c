/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What nodes of graphs have: switches in an instance, attributes, the parameters as a process
 * asks for them, and the graphs inside.
 *
 * What the driver gives back names real objects; a process gets its handles for them.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <string.h>

#define ATTRIBUTE_BYTES 64u

/* ---- switches and attributes ---- */

CUresult decode_cuGraphNodeGetEnabled(struct driver_call *call)
{
    struct driver_entry *exec = driver_graph_of(call, 0, CUDA_KIND_GRAPH_EXEC);
    struct driver_entry *node = driver_graph_of(call, 1, CUDA_KIND_GRAPH_NODE);
    unsigned enabled = 0;
    CUresult result;

    if (!exec || !node) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (!driver_node_is_in(call, node, exec)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = call->api->cuGraphNodeGetEnabled(exec->real, node->real, &enabled);
    call->out[0] = enabled;
    call->out_count = 1;
    return result;
}

CUresult decode_cuGraphNodeSetEnabled(struct driver_call *call)
{
    struct driver_entry *exec = driver_graph_of(call, 0, CUDA_KIND_GRAPH_EXEC);
    struct driver_entry *node = driver_graph_of(call, 1, CUDA_KIND_GRAPH_NODE);

    if (!exec || !node || call->arg_count < 3) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return driver_node_is_in(call, node, exec)
               ? call->api->cuGraphNodeSetEnabled(exec->real, node->real, (unsigned)call->args[2])
               : CUDA_ERROR_INVALID_VALUE;
}

CUresult decode_cuGraphKernelNodeCopyAttributes(struct driver_call *call)
{
    struct driver_entry *to = driver_node_of(call, 0, CU_NODE_KERNEL);
    struct driver_entry *from = driver_node_of(call, 1, CU_NODE_KERNEL);

    return to && from ? call->api->cuGraphKernelNodeCopyAttributes(to->real, from->real)
                      : CUDA_ERROR_INVALID_VALUE;
}

/* Those of a kernel node that are values alone, as with a launch. */
CUresult driver_run_graph_attribute(struct driver_call *call)
{
    struct driver_entry *node = driver_node_of(call, 0, CU_NODE_KERNEL);
    _Alignas(8) uint8_t value[ATTRIBUTE_BYTES] = {0};
    CUresult result;

    if (!node || call->arg_count < 3) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result =
        cuda_check_attribute((unsigned)(call->args[2] > UINT32_MAX ? UINT32_MAX : call->args[2]));
    if (result) {
        return result;
    }
    if (call->args[1] == CUDA_SWITCH_SET) {
        if (call->payload_bytes < sizeof(value)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        memcpy(value, call->payload, sizeof(value));
        return call->api->cuGraphKernelNodeSetAttribute(node->real, (unsigned)call->args[2], value);
    }
    result = call->api->cuGraphKernelNodeGetAttribute(node->real, (unsigned)call->args[2], value);
    memcpy(call->out, value, sizeof(call->out));
    call->out_count = sizeof(call->out) / sizeof(call->out[0]);
    return result;
}

/* ---- asking ---- */

/* The handle of a live object; a kernel's also stands for its function in this context. */
static uint64_t handle_of(struct driver_call *call, const void *real, unsigned kind)
{
    struct driver_channel *channel = call->channel;

    for (uint32_t i = CUDA_CONTEXTS_MAX; real && i < channel->entry_room; i++) {
        struct driver_entry *entry = &channel->entries[i];
        unsigned is = vgpu_handle_kind(entry->handle);
        CUfunction function = NULL;

        if (entry->handle && is == kind && entry->real == real) {
            return entry->handle;
        }
        if (kind == CUDA_KIND_FUNCTION && is == CUDA_KIND_KERNEL &&
            call->api->cuKernelGetFunction(&function, entry->real) == CUDA_SUCCESS &&
            function == real) {
            return entry->handle;
        }
    }
    return 0;
}

#define EXTRA_END ((void *)0)
#define EXTRA_POINTER ((void *)1)

/* One parameter's bytes: the driver has them by pointers, or all in a row. */
static const uint8_t *param_of(const CUkernelNodeParams *kernel, unsigned number, size_t offset)
{
    if (kernel->kernelParams) {
        return kernel->kernelParams[number];
    }
    for (unsigned i = 0; kernel->extra && kernel->extra[i] != EXTRA_END; i += 2) {
        if (kernel->extra[i] == EXTRA_POINTER) {
            return (const uint8_t *)kernel->extra[i + 1] + offset;
        }
    }
    return NULL;
}

static CUresult give_kernel(struct driver_call *call, CUgraphNode node, CUDAKernelNode *to)
{
    uint8_t *params = call->channel->node.params;
    CUkernelNodeParams kernel = {0};
    CUresult result = call->api->cuGraphKernelNodeGetParams_v2(node, &kernel);
    CUfunction function = kernel.func;
    size_t offset, bytes;

    if (result == CUDA_SUCCESS && !function && kernel.kern) {
        result = call->api->cuKernelGetFunction(&function, kernel.kern);
    }
    if (result) {
        return result;
    }
    *to = (CUDAKernelNode){
        .function = handle_of(call, function, CUDA_KIND_FUNCTION),
        .grid = {kernel.gridDimX, kernel.gridDimY, kernel.gridDimZ},
        .block = {kernel.blockDimX, kernel.blockDimY, kernel.blockDimZ},
        .shared_bytes = kernel.sharedMemBytes,
    };
    for (unsigned i = 0;
         call->api->cuFuncGetParamInfo(function, i, &offset, &bytes) == CUDA_SUCCESS; i++) {
        const uint8_t *from = param_of(&kernel, i, offset);

        if (!from || offset > CUDA_NODE_PARAM_BYTES_MAX ||
            bytes > CUDA_NODE_PARAM_BYTES_MAX - offset) {
            return CUDA_ERROR_NOT_SUPPORTED; /* an answer has no room for it */
        }
        memcpy(params + offset, from, bytes);
        to->param_bytes = (uint32_t)(offset + bytes);
    }
    return to->function ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult give_copy(struct driver_call *call, CUgraphNode node, CUDACopy *to)
{
    CUmemcpy3D copy = {0};
    CUresult result = call->api->cuGraphMemcpyNodeGetParams(node, &copy);

    *to = (CUDACopy){
        .src = {.address =
                    copy.srcMemoryType == CU_MEMORY_HOST ? (uintptr_t)copy.srcHost : copy.srcDevice,
                .x = copy.srcXInBytes,
                .y = copy.srcY,
                .z = copy.srcZ,
                .pitch = copy.srcPitch,
                .height = copy.srcHeight,
                .type = (uint32_t)copy.srcMemoryType},
        .dst = {.address =
                    copy.dstMemoryType == CU_MEMORY_HOST ? (uintptr_t)copy.dstHost : copy.dstDevice,
                .x = copy.dstXInBytes,
                .y = copy.dstY,
                .z = copy.dstZ,
                .pitch = copy.dstPitch,
                .height = copy.dstHeight,
                .type = (uint32_t)copy.dstMemoryType},
        .width = copy.WidthInBytes,
        .height = copy.Height,
        .depth = copy.Depth,
    };
    return result ||
                   (copy.srcMemoryType != CU_MEMORY_ARRAY && copy.dstMemoryType != CU_MEMORY_ARRAY)
               ? result
               : CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult give_set(struct driver_call *call, CUgraphNode node, CUDASetNode *to)
{
    CUmemsetNodeParams params = {0};
    CUresult result = call->api->cuGraphMemsetNodeGetParams(node, &params);

    *to = (CUDASetNode){
        .address = params.dst,
        .pitch = params.pitch,
        .width = params.width,
        .height = params.height,
        .value = params.value,
        .element_bytes = params.elementSize,
    };
    return result;
}

static CUresult give_event(struct driver_call *call, CUgraphNode node, int type, uint64_t *handle)
{
    CUevent event = NULL;
    CUresult result = type == CU_NODE_WAIT_EVENT
                          ? call->api->cuGraphEventWaitNodeGetEvent(node, &event)
                          : call->api->cuGraphEventRecordNodeGetEvent(node, &event);

    *handle = handle_of(call, event, CUDA_KIND_EVENT);
    return result || *handle ? result : CUDA_ERROR_INVALID_HANDLE;
}

CUresult driver_run_graph_get(struct driver_call *call)
{
    CUDANode *to = &call->channel->node.node;
    struct driver_entry *node;
    CUresult result;

    if (call->arg_count < 2) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    node = driver_node_of(call, 0, (int)call->args[1]);
    if (!node) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memset(&call->channel->node, 0, sizeof(call->channel->node));
    call->reply = to;
    call->reply_bytes = sizeof(*to);
    switch (call->args[1]) {
    case CU_NODE_KERNEL:
        result = give_kernel(call, node->real, &to->of.kernel);
        call->reply_bytes += to->of.kernel.param_bytes;
        return result;
    case CU_NODE_COPY: return give_copy(call, node->real, &to->of.copy);
    case CU_NODE_SET: return give_set(call, node->real, &to->of.set);
    case CU_NODE_WAIT_EVENT:
    case CU_NODE_EVENT_RECORD:
        return give_event(call, node->real, (int)call->args[1], &to->of.handle);
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

/* ---- graphs inside ---- */

CUresult driver_run_graph_child(struct driver_call *call)
{
    struct driver_entry *node, *entry;
    CUgraph graph = NULL;
    CUresult result;

    if (call->arg_count < 2 || !driver_handle_free(call, call->args[0], CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    node = driver_node_of(call, 1, CU_NODE_GRAPH);
    if (!node) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = call->api->cuGraphChildGraphNodeGetGraph(node->real, &graph);
    if (result) {
        return result;
    }
    call->out[0] = handle_of(call, graph, CUDA_KIND_GRAPH);
    call->out_count = 1;
    if (call->out[0] == 0) {
        entry = driver_handle_made(call, call->args[0], CUDA_KIND_GRAPH, graph, result);
        call->out[0] = call->args[0];
        entry->of = call->args[1];
    }
    return CUDA_SUCCESS;
}

/* The clone's node that stands for this one. */
CUresult driver_run_graph_find(struct driver_call *call)
{
    struct driver_entry *node, *graph;
    CUgraphNode found = NULL;
    CUresult result;

    if (call->arg_count < 3 || !driver_handle_free(call, call->args[0], CUDA_KIND_GRAPH_NODE)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    node = driver_graph_of(call, 1, CUDA_KIND_GRAPH_NODE);
    graph = driver_graph_of(call, 2, CUDA_KIND_GRAPH);
    if (!node || !graph) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = call->api->cuGraphNodeFindInClone(&found, node->real, graph->real);
    if (result == CUDA_SUCCESS) {
        call->out[0] = driver_node_handle(call, call->args[2], found, call->args[0]);
        call->out_count = 1;
    }
    return result;
}
