/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes that a program adds to a graph by hand, and what they do.
 *
 * A node's parameters travel as CUDANode (cuda/wire.h).  What a program asks of a kernel node it
 * gets in memory that lives as long as the node, or until it asks again.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define HANDLE(pointer) ((uint64_t)(uintptr_t)(pointer))

/* A node to be: what it does, and a kernel's parameters. */
struct node {
    uint64_t type, ownership;
    CUDANode of;
    const void *params;
    uint32_t param_bytes;
    uint8_t buffer[CUDA_PARAM_BYTES_MAX + 4];
};

/* ---- what a node does ---- */

/* Only the current context can be named. */
static CUresult check_context(const struct cuda_call *call, CUcontext context)
{
    return !context || HANDLE(context) == call->context->handle ? CUDA_SUCCESS
                                                                : CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult take_kernel(const struct cuda_call *call, const CUkernelNodeParams *from,
                            bool has_kernel, struct node *node)
{
    CUDAKernelNode *to = &node->of.of.kernel;
    uint64_t handle;
    CUresult result;

    if (!from) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    handle = HANDLE(from->func ? (void *)from->func : has_kernel ? (void *)from->kern : NULL);
    if (!cuda_fits(call, cuda_object(handle, CUDA_KIND_FUNCTION))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = has_kernel ? check_context(call, from->ctx) : CUDA_SUCCESS;
    result = result ? result
                    : cuda_pack(handle, from->kernelParams, from->extra, node->buffer,
                                &node->param_bytes);
    if (result) {
        return result;
    }
    node->type = CU_NODE_KERNEL;
    node->params = node->buffer;
    *to = (CUDAKernelNode){
        .function = handle,
        .grid = {from->gridDimX, from->gridDimY, from->gridDimZ},
        .block = {from->blockDimX, from->blockDimY, from->blockDimZ},
        .shared_bytes = from->sharedMemBytes,
        .param_bytes = node->param_bytes,
    };
    return CUDA_SUCCESS;
}

static CUresult take_copy(const struct cuda_call *call, const CUmemcpy3D *from, CUcontext context,
                          struct node *node)
{
    CUresult result;

    node->type = CU_NODE_COPY;
    if (!from) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = check_context(call, context);
    return result ? result : cuda_take_copy(from, &node->of.of.copy);
}

static CUresult take_set(const struct cuda_call *call, const CUmemsetNodeParams *from,
                         CUcontext context, struct node *node)
{
    node->type = CU_NODE_SET;
    if (!from || (from->elementSize != 1 && from->elementSize != 2 && from->elementSize != 4) ||
        !cuda_range_ok(from->dst, bytes_of_2d(from->pitch, bytes_of(from->width, from->elementSize),
                                              from->height))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    node->of.of.set = (CUDASetNode){
        .address = from->dst,
        .pitch = from->pitch,
        .width = from->width,
        .height = from->height,
        .value = from->value,
        .element_bytes = from->elementSize,
    };
    return check_context(call, context);
}

static CUresult take_event(const struct cuda_call *call, uint64_t type, CUevent event,
                           struct node *node)
{
    node->type = type;
    node->of.of.handle = HANDLE(event);
    return cuda_fits(call, cuda_object(HANDLE(event), CUDA_KIND_EVENT)) ? CUDA_SUCCESS
                                                                        : CUDA_ERROR_INVALID_VALUE;
}

static CUresult take_graph(const struct cuda_call *call, CUgraph graph, struct node *node)
{
    node->type = CU_NODE_GRAPH;
    node->of.of.handle = HANDLE(graph);
    return cuda_fits(call, cuda_object(HANDLE(graph), CUDA_KIND_GRAPH)) ? CUDA_SUCCESS
                                                                        : CUDA_ERROR_INVALID_VALUE;
}

/* The form for all kinds. */
static CUresult take_any(const struct cuda_call *call, const CUgraphNodeParams *from,
                         struct node *node)
{
    if (!from) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    switch (from->type) {
    case CU_NODE_KERNEL: return take_kernel(call, &from->of.kernel, true, node);
    case CU_NODE_COPY: return take_copy(call, &from->of.copy.params, from->of.copy.ctx, node);
    case CU_NODE_SET: return take_set(call, &from->of.set, from->of.set.ctx, node);
    case CU_NODE_GRAPH:
        node->ownership = (unsigned)from->of.child.ownership;
        return take_graph(call, from->of.child.graph, node);
    case CU_NODE_EMPTY: node->type = CU_NODE_EMPTY; return CUDA_SUCCESS;
    case CU_NODE_WAIT_EVENT:
    case CU_NODE_EVENT_RECORD: return take_event(call, (uint64_t)from->type, from->of.event, node);
    default: return from->type < 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_SUPPORTED;
    }
}

/* ---- adding ---- */

/* What goes before it, in the order of the call. */
struct before {
    const CUgraphNode *nodes;
    const CUgraphEdgeData *data; /* NULL: plain edges */
    size_t count;
};

static CUresult check_before(const struct cuda_call *call, const struct before *before)
{
    if (before->count && !before->nodes) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < before->count; i++) {
        if (!cuda_fits(call, cuda_object(HANDLE(before->nodes[i]), CUDA_KIND_GRAPH_NODE))) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return CUDA_SUCCESS;
}

static CUresult begin(struct cuda_call *call, uint16_t op, struct node *node)
{
    *node = (struct node){.type = CU_NODE_EMPTY};
    return cuda_begin(call, op, CUDA_NEEDS_CONTEXT);
}

static void destroy(CUgraphNode node)
{
    struct cuda_call call;

    if (cuda_begin(&call, CUDA_OP_cuGraphDestroyNode, CUDA_NEEDS_CONTEXT) == CUDA_SUCCESS &&
        cuda_add_handle(&call, HANDLE(node), CUDA_KIND_GRAPH_NODE)) {
        cuda_object_end(HANDLE(node), cuda_ask(&call));
    }
}

/* Those that one record has no room for are put before it afterwards. */
static CUresult link_rest(CUgraph graph, CUgraphNode node, const struct before *before, size_t done)
{
    CUresult result = CUDA_SUCCESS;

    for (size_t i = done; i < before->count && result == CUDA_SUCCESS; i++) {
        result = hand_cuGraphAddDependencies_v2(graph, &before->nodes[i], &node,
                                                before->data ? &before->data[i] : NULL, 1);
    }
    if (result) {
        destroy(node);
    }
    return result;
}

static CUresult send_add(struct cuda_call *call, CUgraphNode *made, CUgraph graph,
                         const struct before *before, struct node *node)
{
    size_t count = before->count < CUDA_EDGES_AT_ONCE ? before->count : CUDA_EDGES_AT_ONCE;
    struct {
        CUDANode of;
        CUDAEdge edges[CUDA_EDGES_AT_ONCE];
    } payload = {.of = node->of};
    CUresult result = check_before(call, before);

    if (result || !made) {
        return result ? result : CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(call, 0);
    if (!cuda_add_handle(call, HANDLE(graph), CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(call, node->type);
    cuda_add(call, count);
    cuda_add(call, node->ownership);
    for (size_t i = 0; i < count; i++) {
        payload.edges[i].from = HANDLE(before->nodes[i]);
        if (before->data) {
            payload.edges[i].data = before->data[i];
        }
    }
    cuda_add_bytes(call, &payload, (uint32_t)(sizeof(node->of) + count * sizeof(CUDAEdge)));
    if (node->param_bytes) {
        cuda_add_bytes(call, node->params, node->param_bytes);
    }
    call->args[0] = cuda_object_new(call, CUDA_KIND_GRAPH_NODE);
    result = cuda_ask(call);
    cuda_object_made(call, result, made);
    if (result == CUDA_SUCCESS) {
        cuda_object_of(HANDLE(*made), HANDLE(graph));
        if (node->ownership) {
            cuda_object_of(node->of.of.handle, HANDLE(*made));
        }
        result = link_rest(graph, *made, before, count);
    }
    return result;
}

CUresult hand_cuGraphAddKernelNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
                                      const CUgraphNode *dependencies, size_t numDependencies,
                                      const CUkernelNodeParams *nodeParams)
{
    const struct before before = {dependencies, NULL, numDependencies};
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_ADD, &node);

    result = result ? result : take_kernel(&call, nodeParams, true, &node);
    return result ? result : send_add(&call, phGraphNode, hGraph, &before, &node);
}

CUresult hand_cuGraphAddKernelNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                   const CUgraphNode *dependencies, size_t numDependencies,
                                   const CUkernelNodeParams *nodeParams)
{
    const struct before before = {dependencies, NULL, numDependencies};
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_ADD, &node);

    result = result ? result : take_kernel(&call, nodeParams, false, &node);
    return result ? result : send_add(&call, phGraphNode, hGraph, &before, &node);
}

CUresult hand_cuGraphAddMemcpyNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                   const CUgraphNode *dependencies, size_t numDependencies,
                                   const CUmemcpy3D *copyParams, CUcontext ctx)
{
    const struct before before = {dependencies, NULL, numDependencies};
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_ADD, &node);

    result = result ? result : take_copy(&call, copyParams, ctx, &node);
    return result ? result : send_add(&call, phGraphNode, hGraph, &before, &node);
}

CUresult hand_cuGraphAddMemsetNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                   const CUgraphNode *dependencies, size_t numDependencies,
                                   const CUmemsetNodeParams *memsetParams, CUcontext ctx)
{
    const struct before before = {dependencies, NULL, numDependencies};
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_ADD, &node);

    result = result ? result : take_set(&call, memsetParams, ctx, &node);
    return result ? result : send_add(&call, phGraphNode, hGraph, &before, &node);
}

CUresult hand_cuGraphAddChildGraphNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                       const CUgraphNode *dependencies, size_t numDependencies,
                                       CUgraph childGraph)
{
    const struct before before = {dependencies, NULL, numDependencies};
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_ADD, &node);

    result = result ? result : take_graph(&call, childGraph, &node);
    return result ? result : send_add(&call, phGraphNode, hGraph, &before, &node);
}

CUresult hand_cuGraphAddEmptyNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                  const CUgraphNode *dependencies, size_t numDependencies)
{
    const struct before before = {dependencies, NULL, numDependencies};
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_ADD, &node);

    return result ? result : send_add(&call, phGraphNode, hGraph, &before, &node);
}

static CUresult add_event(CUgraphNode *made, CUgraph graph, const CUgraphNode *nodes, size_t count,
                          uint64_t type, CUevent event)
{
    const struct before before = {nodes, NULL, count};
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_ADD, &node);

    result = result ? result : take_event(&call, type, event, &node);
    return result ? result : send_add(&call, made, graph, &before, &node);
}

CUresult hand_cuGraphAddEventRecordNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                        const CUgraphNode *dependencies, size_t numDependencies,
                                        CUevent event)
{
    return add_event(phGraphNode, hGraph, dependencies, numDependencies, CU_NODE_EVENT_RECORD,
                     event);
}

CUresult hand_cuGraphAddEventWaitNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                                      const CUgraphNode *dependencies, size_t numDependencies,
                                      CUevent event)
{
    return add_event(phGraphNode, hGraph, dependencies, numDependencies, CU_NODE_WAIT_EVENT, event);
}

CUresult hand_cuGraphAddNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph,
                                const CUgraphNode *dependencies,
                                const CUgraphEdgeData *dependencyData, size_t numDependencies,
                                CUgraphNodeParams *nodeParams)
{
    const struct before before = {dependencies, dependencyData, numDependencies};
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_ADD, &node);

    result = result ? result : take_any(&call, nodeParams, &node);
    return result ? result : send_add(&call, phGraphNode, hGraph, &before, &node);
}

CUresult hand_cuGraphAddNode(CUgraphNode *phGraphNode, CUgraph hGraph,
                             const CUgraphNode *dependencies, size_t numDependencies,
                             CUgraphNodeParams *nodeParams)
{
    return hand_cuGraphAddNode_v2(phGraphNode, hGraph, dependencies, NULL, numDependencies,
                                  nodeParams);
}

/* ---- changing ---- */

/* exec: of the instance alone; NULL: of the graph. */
static CUresult send_set(struct cuda_call *call, CUgraphExec exec, bool of_exec, CUgraphNode to,
                         const struct node *node)
{
    if (!of_exec) {
        cuda_add(call, 0);
    } else if (!cuda_add_handle(call, HANDLE(exec), CUDA_KIND_GRAPH_EXEC)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!cuda_add_handle(call, HANDLE(to), CUDA_KIND_GRAPH_NODE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(call, node->type);
    cuda_add_bytes(call, &node->of, sizeof(node->of));
    if (node->param_bytes) {
        cuda_add_bytes(call, node->params, node->param_bytes);
    }
    return cuda_ask(call);
}

static CUresult set_kernel(CUgraphExec exec, bool of_exec, CUgraphNode to,
                           const CUkernelNodeParams *params, bool has_kernel)
{
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_SET, &node);

    result = result ? result : take_kernel(&call, params, has_kernel, &node);
    return result ? result : send_set(&call, exec, of_exec, to, &node);
}

CUresult hand_cuGraphKernelNodeSetParams(CUgraphNode hNode, const CUkernelNodeParams *nodeParams)
{
    return set_kernel(NULL, false, hNode, nodeParams, false);
}

CUresult hand_cuGraphKernelNodeSetParams_v2(CUgraphNode hNode, const CUkernelNodeParams *nodeParams)
{
    return set_kernel(NULL, false, hNode, nodeParams, true);
}

CUresult hand_cuGraphExecKernelNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                             const CUkernelNodeParams *nodeParams)
{
    return set_kernel(hGraphExec, true, hNode, nodeParams, false);
}

CUresult hand_cuGraphExecKernelNodeSetParams_v2(CUgraphExec hGraphExec, CUgraphNode hNode,
                                                const CUkernelNodeParams *nodeParams)
{
    return set_kernel(hGraphExec, true, hNode, nodeParams, true);
}

static CUresult set_copy(CUgraphExec exec, bool of_exec, CUgraphNode to, const CUmemcpy3D *params,
                         CUcontext context)
{
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_SET, &node);

    result = result ? result : take_copy(&call, params, context, &node);
    return result ? result : send_set(&call, exec, of_exec, to, &node);
}

CUresult hand_cuGraphMemcpyNodeSetParams(CUgraphNode hNode, const CUmemcpy3D *nodeParams)
{
    return set_copy(NULL, false, hNode, nodeParams, NULL);
}

CUresult hand_cuGraphExecMemcpyNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                             const CUmemcpy3D *copyParams, CUcontext ctx)
{
    return set_copy(hGraphExec, true, hNode, copyParams, ctx);
}

static CUresult set_set(CUgraphExec exec, bool of_exec, CUgraphNode to,
                        const CUmemsetNodeParams *params, CUcontext context)
{
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_SET, &node);

    result = result ? result : take_set(&call, params, context, &node);
    return result ? result : send_set(&call, exec, of_exec, to, &node);
}

CUresult hand_cuGraphMemsetNodeSetParams(CUgraphNode hNode, const CUmemsetNodeParams *nodeParams)
{
    return set_set(NULL, false, hNode, nodeParams, NULL);
}

CUresult hand_cuGraphExecMemsetNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                             const CUmemsetNodeParams *memsetParams, CUcontext ctx)
{
    return set_set(hGraphExec, true, hNode, memsetParams, ctx);
}

static CUresult set_event(CUgraphExec exec, bool of_exec, CUgraphNode to, uint64_t type,
                          CUevent event)
{
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_SET, &node);

    result = result ? result : take_event(&call, type, event, &node);
    return result ? result : send_set(&call, exec, of_exec, to, &node);
}

CUresult hand_cuGraphEventRecordNodeSetEvent(CUgraphNode hNode, CUevent event)
{
    return set_event(NULL, false, hNode, CU_NODE_EVENT_RECORD, event);
}

CUresult hand_cuGraphEventWaitNodeSetEvent(CUgraphNode hNode, CUevent event)
{
    return set_event(NULL, false, hNode, CU_NODE_WAIT_EVENT, event);
}

CUresult hand_cuGraphExecEventRecordNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode,
                                                 CUevent event)
{
    return set_event(hGraphExec, true, hNode, CU_NODE_EVENT_RECORD, event);
}

CUresult hand_cuGraphExecEventWaitNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode,
                                               CUevent event)
{
    return set_event(hGraphExec, true, hNode, CU_NODE_WAIT_EVENT, event);
}

CUresult hand_cuGraphExecChildGraphNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                                 CUgraph childGraph)
{
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_SET, &node);

    result = result ? result : take_graph(&call, childGraph, &node);
    return result ? result : send_set(&call, hGraphExec, true, hNode, &node);
}

static CUresult set_any(CUgraphExec exec, bool of_exec, CUgraphNode to,
                        const CUgraphNodeParams *params)
{
    struct cuda_call call;
    struct node node;
    CUresult result = begin(&call, CUDA_OP_GRAPH_SET, &node);

    result = result ? result : take_any(&call, params, &node);
    return result ? result : send_set(&call, exec, of_exec, to, &node);
}

CUresult hand_cuGraphNodeSetParams(CUgraphNode hNode, CUgraphNodeParams *nodeParams)
{
    return set_any(NULL, false, hNode, nodeParams);
}

CUresult hand_cuGraphExecNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                       CUgraphNodeParams *nodeParams)
{
    return set_any(hGraphExec, true, hNode, nodeParams);
}

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
    if (!out || !cuda_add_handle(&call, HANDLE(node), CUDA_KIND_GRAPH_NODE)) {
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
    cuda_object_keep(HANDLE(node), kept);
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
    if (!phGraph || !cuda_add_handle(&call, HANDLE(hNode), CUDA_KIND_GRAPH_NODE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call.args[0] = cuda_object_new(&call, CUDA_KIND_GRAPH);
    result = cuda_ask(&call);
    cuda_object_made(&call, result || call.out[0] != call.args[0] ? CUDA_ERROR_NOT_FOUND : result,
                     &graph);
    if (result == CUDA_SUCCESS) {
        cuda_object_of(HANDLE(graph), HANDLE(hNode));
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
    if (!phNode || !cuda_add_handle(&call, HANDLE(hOriginalNode), CUDA_KIND_GRAPH_NODE) ||
        !cuda_add_handle(&call, HANDLE(hClonedGraph), CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call.args[0] = cuda_object_new(&call, CUDA_KIND_GRAPH_NODE);
    result = cuda_ask(&call);
    cuda_object_made(&call, result || call.out[0] != call.args[0] ? CUDA_ERROR_NOT_FOUND : result,
                     &node);
    if (result == CUDA_SUCCESS) {
        cuda_object_of(HANDLE(node), HANDLE(hClonedGraph));
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
    if (!value || !cuda_add_handle(call, HANDLE(node), CUDA_KIND_GRAPH_NODE)) {
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
