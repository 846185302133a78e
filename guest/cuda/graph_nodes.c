/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes that a program adds to a graph by hand, and what they do.
 *
 * A node's parameters travel as CUDANode (cuda/wire.h).
 */
#include "cuda_hand.h"
#include "guest/cuda/internal.h"

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
    return !context || CUDA_HANDLE(context) == call->context->handle ? CUDA_SUCCESS
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
    handle = CUDA_HANDLE(from->func ? (void *)from->func : has_kernel ? (void *)from->kern : NULL);
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
    node->of.of.handle = CUDA_HANDLE(event);
    return cuda_fits(call, cuda_object(CUDA_HANDLE(event), CUDA_KIND_EVENT))
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
}

static CUresult take_graph(const struct cuda_call *call, CUgraph graph, struct node *node)
{
    node->type = CU_NODE_GRAPH;
    node->of.of.handle = CUDA_HANDLE(graph);
    return cuda_fits(call, cuda_object(CUDA_HANDLE(graph), CUDA_KIND_GRAPH))
               ? CUDA_SUCCESS
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
        if (!cuda_fits(call, cuda_object(CUDA_HANDLE(before->nodes[i]), CUDA_KIND_GRAPH_NODE))) {
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
        cuda_add_handle(&call, CUDA_HANDLE(node), CUDA_KIND_GRAPH_NODE)) {
        cuda_object_end(CUDA_HANDLE(node), cuda_ask(&call));
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
    if (!cuda_add_handle(call, CUDA_HANDLE(graph), CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(call, node->type);
    cuda_add(call, count);
    cuda_add(call, node->ownership);
    for (size_t i = 0; i < count; i++) {
        payload.edges[i].from = CUDA_HANDLE(before->nodes[i]);
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
        cuda_object_of(CUDA_HANDLE(*made), CUDA_HANDLE(graph));
        if (node->ownership) {
            cuda_object_of(node->of.of.handle, CUDA_HANDLE(*made));
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
    } else if (!cuda_add_handle(call, CUDA_HANDLE(exec), CUDA_KIND_GRAPH_EXEC)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!cuda_add_handle(call, CUDA_HANDLE(to), CUDA_KIND_GRAPH_NODE)) {
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
