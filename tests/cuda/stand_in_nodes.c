/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stand-in's nodes of graphs that are made by hand, and copies of rows. */
#include <stdlib.h>
#include <string.h>

#include "cuda/copy.h"
#include "tests/cuda/stand_in_graph.h"

/* ---- copies of rows ---- */

static void check_side(const char *function, const CUDASide *side, const CUDACopy *copy)
{
    if (!stand_in_is_memory((const void *)(uintptr_t)cuda_side_start(side),
                            cuda_side_span(side, copy))) {
        stand_in_abort(function, "rows of memory that is none of the GPU's");
    }
}

struct work *stand_in_rows(const char *function, const CUmemcpy3D *rows, struct stream *stream)
{
    bool from_host = rows->srcMemoryType == CU_MEMORY_HOST;
    bool to_host = rows->dstMemoryType == CU_MEMORY_HOST;
    CUDACopy copy = {
        .src = {.address = from_host ? (uintptr_t)rows->srcHost : rows->srcDevice,
                .x = rows->srcXInBytes,
                .y = rows->srcY,
                .z = rows->srcZ,
                .pitch = rows->srcPitch,
                .height = rows->srcHeight},
        .dst = {.address = to_host ? (uintptr_t)rows->dstHost : rows->dstDevice,
                .x = rows->dstXInBytes,
                .y = rows->dstY,
                .z = rows->dstZ,
                .pitch = rows->dstPitch,
                .height = rows->dstHeight},
        .width = rows->WidthInBytes,
        .height = rows->Height,
        .depth = rows->Depth,
    };
    struct work *work;

    check_side(function, &copy.src, &copy);
    check_side(function, &copy.dst, &copy);
    work = stand_in_work(WORK_ROWS, stream);
    work->rows = *rows;
    return work;
}

EXPORT CUresult cuMemcpy3DAsync_v2(const CUmemcpy3D *copy, CUstream stream)
{
    struct work *work;

    NEED_CONTEXT;
    work = stand_in_rows(__func__, copy, stand_in_stream(__func__, stream));
    LOCKED(stand_in_queue(work));
    return CUDA_SUCCESS;
}

/* ---- what nodes do ---- */

static struct work *kernel_work(const char *caller, const CUkernelNodeParams *params,
                                CUresult *result)
{
    struct function *function = stand_in_check(caller, params->func, FUNCTION);
    uint64_t threads = (uint64_t)params->blockDimX * params->blockDimY * params->blockDimZ;
    uint64_t blocks = (uint64_t)params->gridDimX * params->gridDimY * params->gridDimZ;
    struct work *work;

    *result = CUDA_ERROR_INVALID_VALUE;
    if (params->kern || params->extra || threads == 0 || threads > 1024 || blocks == 0) {
        return NULL;
    }
    *result = CUDA_SUCCESS;
    work = stand_in_work(WORK_KERNEL, NULL);
    work->function = function;
    work->threads = threads * blocks;
    memcpy(work->grid, &params->gridDimX, sizeof(work->grid));
    memcpy(work->block, &params->blockDimX, sizeof(work->block));
    work->shared_bytes = params->sharedMemBytes;
    for (unsigned i = 0; i < function->params; i++) {
        memcpy(work->params + function->offsets[i], params->kernelParams[i], function->bytes[i]);
    }
    return work;
}

static struct work *set_work(const char *caller, const CUmemsetNodeParams *params)
{
    struct work *work = stand_in_work(WORK_SET, NULL);

    work->to = (uint8_t *)(uintptr_t)params->dst;
    work->value = params->value;
    work->unit = params->elementSize;
    work->width = params->width;
    work->height = params->height;
    work->pitch = params->pitch;
    stand_in_check_work(caller, work);
    return work;
}

static void do_work(struct node *node, struct work *work)
{
    free(node->work);
    node->work = work;
}

/* ---- adding ---- */

struct graph *stand_in_graph_to_change(const char *caller, CUgraph handle,
                                       const CUgraphNode *before, size_t count)
{
    struct graph *graph = stand_in_check(caller, handle, GRAPH);

    for (size_t i = 0; i < count; i++) {
        const struct node *node = stand_in_check(caller, before[i], GRAPH_NODE);

        if (node->graph != graph) {
            stand_in_abort(caller, "a node of another graph");
        }
    }
    return graph;
}

static struct node *add(struct graph *graph, int type, const CUgraphNode *before, size_t count)
{
    struct node *node = stand_in_node_new(graph, type);

    for (size_t i = 0; i < count; i++) {
        stand_in_edge_new(graph, (struct node *)before[i], node, NULL);
    }
    return node;
}

EXPORT CUresult cuGraphAddKernelNode_v2(CUgraphNode *out, CUgraph handle, const CUgraphNode *before,
                                        size_t count, const CUkernelNodeParams *params)
{
    struct graph *graph = stand_in_graph_to_change(__func__, handle, before, count);
    CUresult result;
    struct work *work = kernel_work(__func__, params, &result);
    struct node *node;

    if (result) {
        return result;
    }
    node = add(graph, CU_NODE_KERNEL, before, count);
    do_work(node, work);
    *out = (CUgraphNode)node;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphAddMemcpyNode(CUgraphNode *out, CUgraph handle, const CUgraphNode *before,
                                     size_t count, const CUmemcpy3D *params, CUcontext context)
{
    struct graph *graph = stand_in_graph_to_change(__func__, handle, before, count);
    struct node *node;

    CHECK(context, CONTEXT);
    node = add(graph, CU_NODE_COPY, before, count);
    do_work(node, stand_in_rows(__func__, params, NULL));
    *out = (CUgraphNode)node;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphAddMemsetNode(CUgraphNode *out, CUgraph handle, const CUgraphNode *before,
                                     size_t count, const CUmemsetNodeParams *params,
                                     CUcontext context)
{
    struct graph *graph = stand_in_graph_to_change(__func__, handle, before, count);
    struct node *node;

    CHECK(context, CONTEXT);
    node = add(graph, CU_NODE_SET, before, count);
    do_work(node, set_work(__func__, params));
    *out = (CUgraphNode)node;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphAddChildGraphNode(CUgraphNode *out, CUgraph handle,
                                         const CUgraphNode *before, size_t count, CUgraph child)
{
    struct graph *graph = stand_in_graph_to_change(__func__, handle, before, count);
    const struct graph *from = CHECK(child, GRAPH);
    struct graph *again = stand_in_graph_new(GRAPH);
    struct node *node;

    stand_in_graph_copy(again, from);
    node = add(graph, CU_NODE_GRAPH, before, count);
    node->child = again;
    again->owner = node;
    *out = (CUgraphNode)node;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphAddNode_v2(CUgraphNode *out, CUgraph handle, const CUgraphNode *before,
                                  const CUgraphEdgeData *data, size_t count,
                                  CUgraphNodeParams *params)
{
    struct graph *graph = stand_in_graph_to_change(__func__, handle, before, count);
    struct graph *child;
    struct node *node;

    if (params->type != CU_NODE_GRAPH || params->of.child.ownership != 1 || data) {
        stand_in_abort(__func__, "only for graphs that go into a node");
    }
    child = CHECK(params->of.child.graph, GRAPH);
    if (child->owner || child == graph) {
        stand_in_abort(__func__, "the graph is in a node already");
    }
    node = add(graph, CU_NODE_GRAPH, before, count);
    node->child = child;
    child->owner = node;
    *out = (CUgraphNode)node;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphAddEmptyNode(CUgraphNode *out, CUgraph handle, const CUgraphNode *before,
                                    size_t count)
{
    *out = (CUgraphNode)add(stand_in_graph_to_change(__func__, handle, before, count),
                            CU_NODE_EMPTY, before, count);
    return CUDA_SUCCESS;
}

static CUresult add_event(const char *caller, CUgraphNode *out, CUgraph handle,
                          const CUgraphNode *before, size_t count, int type, CUevent event)
{
    struct graph *graph = stand_in_graph_to_change(caller, handle, before, count);
    struct event *which = stand_in_check(caller, event, EVENT);
    struct node *node = add(graph, type, before, count);

    node->event = which;
    *out = (CUgraphNode)node;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphAddEventRecordNode(CUgraphNode *out, CUgraph handle,
                                          const CUgraphNode *before, size_t count, CUevent event)
{
    return add_event(__func__, out, handle, before, count, CU_NODE_EVENT_RECORD, event);
}

EXPORT CUresult cuGraphAddEventWaitNode(CUgraphNode *out, CUgraph handle, const CUgraphNode *before,
                                        size_t count, CUevent event)
{
    return add_event(__func__, out, handle, before, count, CU_NODE_WAIT_EVENT, event);
}

/* ---- changing ---- */

static struct node *node_of(const char *caller, CUgraphNode handle, int type)
{
    struct node *node = stand_in_check(caller, handle, GRAPH_NODE);

    if (node->type != type) {
        stand_in_abort(caller, "a node of another kind");
    }
    return node;
}

/* The instance's node; whoever calls knows that it has one. */
static struct node *in_exec(const char *caller, CUgraphExec exec, CUgraphNode handle, int type)
{
    struct node *node =
        stand_in_node_in(stand_in_check(caller, exec, GRAPH_EXEC), node_of(caller, handle, type));

    if (!node) {
        stand_in_abort(caller, "a node of another graph");
    }
    return node;
}

static CUresult set_kernel(const char *caller, struct node *node, const CUkernelNodeParams *params)
{
    CUresult result;
    struct work *work = kernel_work(caller, params, &result);

    if (!result) {
        do_work(node, work);
    }
    return result;
}

EXPORT CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode handle, const CUkernelNodeParams *params)
{
    return set_kernel(__func__, node_of(__func__, handle, CU_NODE_KERNEL), params);
}

EXPORT CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode handle,
                                                  const CUkernelNodeParams *params)
{
    return set_kernel(__func__, in_exec(__func__, exec, handle, CU_NODE_KERNEL), params);
}

EXPORT CUresult cuGraphMemcpyNodeSetParams(CUgraphNode handle, const CUmemcpy3D *params)
{
    do_work(node_of(__func__, handle, CU_NODE_COPY), stand_in_rows(__func__, params, NULL));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode handle,
                                               const CUmemcpy3D *params, CUcontext context)
{
    CHECK(context, CONTEXT);
    do_work(in_exec(__func__, exec, handle, CU_NODE_COPY), stand_in_rows(__func__, params, NULL));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphMemsetNodeSetParams(CUgraphNode handle, const CUmemsetNodeParams *params)
{
    do_work(node_of(__func__, handle, CU_NODE_SET), set_work(__func__, params));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode handle,
                                               const CUmemsetNodeParams *params, CUcontext context)
{
    CHECK(context, CONTEXT);
    do_work(in_exec(__func__, exec, handle, CU_NODE_SET), set_work(__func__, params));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec exec, CUgraphNode handle,
                                                   CUgraph child)
{
    struct node *node = in_exec(__func__, exec, handle, CU_NODE_GRAPH);
    const struct graph *from = CHECK(child, GRAPH);
    struct node *to;
    const struct node *other = from->first;

    if (node->child->count != from->count) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (to = node->child->first; to; to = to->next, other = other->next) {
        struct work *work = other->work ? malloc(sizeof(*work)) : NULL;

        if (work) {
            *work = *other->work;
        }
        do_work(to, work);
    }
    return CUDA_SUCCESS;
}

#define EVENT_NODE(name, type)                                                                     \
    EXPORT CUresult cuGraph##name##NodeSetEvent(CUgraphNode handle, CUevent event)                 \
    {                                                                                              \
        node_of(__func__, handle, type)->event = CHECK(event, EVENT);                              \
        return CUDA_SUCCESS;                                                                       \
    }                                                                                              \
    EXPORT CUresult cuGraphExec##name##NodeSetEvent(CUgraphExec exec, CUgraphNode handle,          \
                                                    CUevent event)                                 \
    {                                                                                              \
        in_exec(__func__, exec, handle, type)->event = CHECK(event, EVENT);                        \
        return CUDA_SUCCESS;                                                                       \
    }                                                                                              \
    EXPORT CUresult cuGraph##name##NodeGetEvent(CUgraphNode handle, CUevent *event)                \
    {                                                                                              \
        *event = (CUevent)node_of(__func__, handle, type)->event;                                  \
        return CUDA_SUCCESS;                                                                       \
    }

EVENT_NODE(EventRecord, CU_NODE_EVENT_RECORD)
EVENT_NODE(EventWait, CU_NODE_WAIT_EVENT)

EXPORT CUresult cuGraphDestroyNode(CUgraphNode handle)
{
    struct node *node = CHECK(handle, GRAPH_NODE);
    struct graph *graph = node->graph;

    if (graph->fills) {
        stand_in_abort(__func__, "a capture goes on in its graph");
    }
    for (struct edge **place = &graph->edges; *place;) {
        struct edge *edge = *place;

        if (edge->from == node || edge->to == node) {
            *place = edge->next;
            free(edge);
        } else {
            place = &edge->next;
        }
    }
    graph->last_edge = &graph->edges;
    while (*graph->last_edge) {
        graph->last_edge = &(*graph->last_edge)->next;
    }
    for (struct node **place = &graph->first; *place; place = &(*place)->next) {
        if (*place == node) {
            *place = node->next;
            break;
        }
    }
    graph->last = &graph->first;
    while (*graph->last) {
        graph->last = &(*graph->last)->next;
    }
    graph->count--;
    node->object.kind = DEAD;
    do_work(node, NULL);
    if (node->child) {
        stand_in_graph_empty(node->child);
        stand_in_dies(&node->child->object);
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphNodeGetEnabled(CUgraphExec exec, CUgraphNode handle, unsigned *enabled)
{
    const struct node *node = stand_in_node_in(CHECK(exec, GRAPH_EXEC), CHECK(handle, GRAPH_NODE));

    if (!node) {
        stand_in_abort(__func__, "a node of another graph");
    }
    *enabled = !node->disabled;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphNodeSetEnabled(CUgraphExec exec, CUgraphNode handle, unsigned enabled)
{
    struct node *node = stand_in_node_in(CHECK(exec, GRAPH_EXEC), CHECK(handle, GRAPH_NODE));

    if (!node) {
        stand_in_abort(__func__, "a node of another graph");
    }
    node->disabled = enabled == 0;
    return CUDA_SUCCESS;
}

/* ---- attributes ---- */

EXPORT CUresult cuGraphKernelNodeSetAttribute(CUgraphNode handle, unsigned attribute,
                                              const void *value)
{
    memcpy(node_of(__func__, handle, CU_NODE_KERNEL)->attributes[attribute % NODE_ATTRIBUTES],
           value, 64);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphKernelNodeGetAttribute(CUgraphNode handle, unsigned attribute, void *value)
{
    memcpy(value,
           node_of(__func__, handle, CU_NODE_KERNEL)->attributes[attribute % NODE_ATTRIBUTES], 64);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode to, CUgraphNode from)
{
    memcpy(node_of(__func__, to, CU_NODE_KERNEL)->attributes,
           node_of(__func__, from, CU_NODE_KERNEL)->attributes,
           sizeof(((struct node *)0)->attributes));
    return CUDA_SUCCESS;
}

/* ---- asking ---- */

EXPORT CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUkernelNodeParams *params)
{
    struct node *node = node_of(__func__, handle, CU_NODE_KERNEL);
    struct work *work = node->work;

    *params = (CUkernelNodeParams){
        .func = (CUfunction)work->function,
        .gridDimX = work->grid[0],
        .gridDimY = work->grid[1],
        .gridDimZ = work->grid[2],
        .blockDimX = work->block[0],
        .blockDimY = work->block[1],
        .blockDimZ = work->block[2],
        .sharedMemBytes = work->shared_bytes,
        .kernelParams = node->pointers,
    };
    for (unsigned i = 0; i < work->function->params; i++) {
        node->pointers[i] = work->params + work->function->offsets[i];
    }
    return CUDA_SUCCESS;
}

/* A capture's copy is one row. */
EXPORT CUresult cuGraphMemcpyNodeGetParams(CUgraphNode handle, CUmemcpy3D *params)
{
    const struct work *work = node_of(__func__, handle, CU_NODE_COPY)->work;

    *params = work->kind == WORK_ROWS ? work->rows
                                      : (CUmemcpy3D){
                                            .srcMemoryType = CU_MEMORY_DEVICE,
                                            .srcDevice = (uintptr_t)work->from,
                                            .dstMemoryType = CU_MEMORY_DEVICE,
                                            .dstDevice = (uintptr_t)work->to,
                                            .WidthInBytes = work->width,
                                            .Height = 1,
                                            .Depth = 1,
                                        };
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphMemsetNodeGetParams(CUgraphNode handle, CUmemsetNodeParams *params)
{
    const struct work *work = node_of(__func__, handle, CU_NODE_SET)->work;

    *params = (CUmemsetNodeParams){
        .dst = (uintptr_t)work->to,
        .pitch = work->pitch,
        .value = work->value,
        .elementSize = work->unit,
        .width = work->width,
        .height = work->height,
    };
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode handle, CUgraph *graph)
{
    *graph = (CUgraph)node_of(__func__, handle, CU_NODE_GRAPH)->child;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphNodeFindInClone(CUgraphNode *out, CUgraphNode original, CUgraph clone)
{
    struct node *found = stand_in_node_in(CHECK(clone, GRAPH), CHECK(original, GRAPH_NODE));

    *out = (CUgraphNode)found;
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
