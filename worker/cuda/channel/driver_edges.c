/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which nodes of a graph come behind which. */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>
#include <string.h>

#define EDGES_MAX (1u << 20)

/* ---- changing ---- */

/* Edges of the payload: both ends are nodes of this graph. */
static CUresult take_edges(struct driver_call *call, uint64_t graph, size_t count,
                           CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *data)
{
    for (size_t i = 0; i < count; i++) {
        const struct driver_entry *before, *behind;
        CUDAEdge edge;

        memcpy(&edge, call->payload + i * sizeof(edge), sizeof(edge));
        before = driver_entry(call, edge.from, CUDA_KIND_GRAPH_NODE);
        behind = driver_entry(call, edge.to, CUDA_KIND_GRAPH_NODE);
        if (!before || !behind || before->of != graph || behind->of != graph) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        from[i] = before->real;
        to[i] = behind->real;
        data[i] = edge.data;
    }
    return CUDA_SUCCESS;
}

CUresult driver_run_graph_link(struct driver_call *call)
{
    struct driver_entry *graph = driver_graph_of(call, 0, CUDA_KIND_GRAPH);
    size_t count = call->payload_bytes / sizeof(CUDAEdge);
    CUgraphNode from[CUDA_EDGES_AT_ONCE], to[CUDA_EDGES_AT_ONCE];
    CUgraphEdgeData data[CUDA_EDGES_AT_ONCE];
    CUresult result;

    if (!graph || call->arg_count < 2 || count == 0 || count > CUDA_EDGES_AT_ONCE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = take_edges(call, graph->handle, count, from, to, data);
    if (result) {
        return result;
    }
    return call->args[1] == CUDA_LINK_ADD
               ? call->api->cuGraphAddDependencies_v2(graph->real, from, to, data, count)
               : call->api->cuGraphRemoveDependencies_v2(graph->real, from, to, data, count);
}

/* ---- asking ---- */

/* The driver's lists, in one piece of memory: NULL for the ends that are the node itself. */
struct list {
    CUgraphNode *from, *to;
    CUgraphEdgeData *data;
    size_t count;
    void *memory;
};

static CUresult ask(struct driver_call *call, void *real, struct list *list)
{
    switch (call->args[0]) {
    case CUDA_EDGES_BEFORE:
        return call->api->cuGraphNodeGetDependencies_v2(real, list->from, list->data, &list->count);
    case CUDA_EDGES_BEHIND:
        return call->api->cuGraphNodeGetDependentNodes_v2(real, list->to, list->data, &list->count);
    default:
        return call->api->cuGraphGetEdges_v2(real, list->from, list->to, list->data, &list->count);
    }
}

static CUresult get_list(struct driver_call *call, void *real, struct list *list)
{
    bool before = call->args[0] == CUDA_EDGES_BEFORE, behind = call->args[0] == CUDA_EDGES_BEHIND;
    CUresult result;

    *list = (struct list){0};
    result = ask(call, real, list);
    if (result || list->count == 0) {
        return result;
    }
    if (list->count > EDGES_MAX) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    list->memory = calloc(list->count, 2 * sizeof(CUgraphNode) + sizeof(CUgraphEdgeData));
    if (!list->memory) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    list->from = behind ? NULL : list->memory;
    list->to = before ? NULL : (CUgraphNode *)list->memory + list->count;
    list->data = (CUgraphEdgeData *)((CUgraphNode *)list->memory + 2 * list->count);
    return ask(call, real, list);
}

/* The nodes' handles; they all have some: the process has asked for the graph's nodes before. */
static CUresult give(struct driver_call *call, const struct list *list, uint64_t self)
{
    CUDAEdges *answer = &call->channel->edges;

    answer->total = list->count;
    answer->count = 0;
    for (size_t i = call->args[2]; i < list->count && answer->count < CUDA_EDGES_OUT_MAX; i++) {
        CUDAEdge *edge = &answer->edges[answer->count++];

        edge->from = list->from ? driver_node_handle(call, 0, list->from[i], 0) : self;
        edge->to = list->to ? driver_node_handle(call, 0, list->to[i], 0) : self;
        edge->data = list->data[i];
        if (!edge->from || !edge->to) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
    }
    call->reply = answer;
    call->reply_bytes =
        (uint32_t)(offsetof(CUDAEdges, edges) + answer->count * sizeof(answer->edges[0]));
    return CUDA_SUCCESS;
}

CUresult driver_run_graph_edges(struct driver_call *call)
{
    struct driver_entry *of;
    struct list list;
    CUresult result;

    if (call->arg_count < 3 || call->args[0] > CUDA_EDGES_BEHIND) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    of = driver_graph_of(
        call, 1, call->args[0] == CUDA_EDGES_OF_GRAPH ? CUDA_KIND_GRAPH : CUDA_KIND_GRAPH_NODE);
    if (!of) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = get_list(call, of->real, &list);
    result = result ? result : give(call, &list, call->args[1]);
    free(list.memory);
    return result;
}
