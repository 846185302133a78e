/* SPDX-License-Identifier: BSD-3-Clause */
/* Which nodes of a graph come behind which, and captures that go on in a graph. */
#include <stdlib.h>
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define LOSSY_QUERY 917

/* ---- changing ---- */

static bool is_node(const struct cuda_call *call, CUgraphNode node)
{
    return cuda_fits(call, cuda_object(CUDA_HANDLE(node), CUDA_KIND_GRAPH_NODE));
}

static CUresult link_some(CUgraph graph, uint64_t what, const CUgraphNode *from,
                          const CUgraphNode *to, const CUgraphEdgeData *data, size_t count)
{
    CUDAEdge edges[CUDA_EDGES_AT_ONCE] = {0};
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_LINK, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!cuda_add_handle(&call, CUDA_HANDLE(graph), CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, what);
    for (size_t i = 0; i < count; i++) {
        if (!is_node(&call, from[i]) || !is_node(&call, to[i])) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        edges[i].from = CUDA_HANDLE(from[i]);
        edges[i].to = CUDA_HANDLE(to[i]);
        if (data) {
            edges[i].data = data[i];
        }
    }
    cuda_add_bytes(&call, edges, (uint32_t)(count * sizeof(edges[0])));
    return cuda_ask(&call);
}

static CUresult change(CUgraph graph, uint64_t what, const CUgraphNode *from, const CUgraphNode *to,
                       const CUgraphEdgeData *data, size_t count)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_LINK, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!cuda_fits(&call, cuda_object(CUDA_HANDLE(graph), CUDA_KIND_GRAPH)) ||
        (count && (!from || !to))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t done = 0; done < count && result == CUDA_SUCCESS; done += CUDA_EDGES_AT_ONCE) {
        size_t some = count - done < CUDA_EDGES_AT_ONCE ? count - done : CUDA_EDGES_AT_ONCE;

        result = link_some(graph, what, from + done, to + done, data ? data + done : NULL, some);
    }
    return result;
}

CUresult hand_cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode *from,
                                        const CUgraphNode *to, const CUgraphEdgeData *edgeData,
                                        size_t numDependencies)
{
    return change(hGraph, CUDA_LINK_ADD, from, to, edgeData, numDependencies);
}

CUresult hand_cuGraphAddDependencies(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to,
                                     size_t numDependencies)
{
    return change(hGraph, CUDA_LINK_ADD, from, to, NULL, numDependencies);
}

CUresult hand_cuGraphRemoveDependencies_v2(CUgraph hGraph, const CUgraphNode *from,
                                           const CUgraphNode *to, const CUgraphEdgeData *edgeData,
                                           size_t numDependencies)
{
    return change(hGraph, CUDA_LINK_REMOVE, from, to, edgeData, numDependencies);
}

CUresult hand_cuGraphRemoveDependencies(CUgraph hGraph, const CUgraphNode *from,
                                        const CUgraphNode *to, size_t numDependencies)
{
    return change(hGraph, CUDA_LINK_REMOVE, from, to, NULL, numDependencies);
}

/* ---- asking ---- */

/* Where the answer goes; from, to and data may be NULL. */
struct lists {
    CUgraphNode *from, *to;
    CUgraphEdgeData *data;
    size_t room, total, got;
    bool has_data; /* some edge has */
};

static CUresult some_edges(uint64_t which, uint64_t of, struct lists *lists, CUDAEdges *answer)
{
    static const CUgraphEdgeData none;
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_EDGES, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    cuda_add(&call, which);
    cuda_add(&call, of);
    cuda_add(&call, lists->got);
    call.reply = answer;
    call.reply_bytes = sizeof(*answer);
    result = cuda_ask(&call);
    if (result) {
        return result;
    }
    lists->total = answer->total;
    for (uint64_t i = 0; i < answer->count && i < CUDA_EDGES_OUT_MAX && lists->got < lists->room;
         i++, lists->got++) {
        const CUDAEdge *edge = &answer->edges[i];

        if (lists->from) {
            memcpy(&lists->from[lists->got], &edge->from, sizeof(edge->from));
        }
        if (lists->to) {
            memcpy(&lists->to[lists->got], &edge->to, sizeof(edge->to));
        }
        if (lists->data) {
            lists->data[lists->got] = edge->data;
        }
        lists->has_data |= memcmp(&none, &edge->data, sizeof(none)) != 0;
    }
    return answer->count ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

/* All of a graph's nodes get handles: the worker names edges by them. */
static CUresult name_nodes(CUgraph graph)
{
    CUgraphNode *nodes;
    size_t count = 0;
    CUresult result = hand_cuGraphGetNodes(graph, NULL, &count);

    if (result || count == 0) {
        return result;
    }
    nodes = calloc(count, sizeof(CUgraphNode));
    if (!nodes) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = hand_cuGraphGetNodes(graph, nodes, &count);
    free(nodes);
    return result;
}

/* As much as there is room for, and the number; without room the number alone. */
static CUresult get_edges(uint64_t which, uint64_t of, CUgraph graph, struct lists *lists,
                          size_t *count, bool tells_data)
{
    bool wanted = lists->from || lists->to;
    CUDAEdges *answer;
    CUresult result;

    if (!count || (wanted && *count == 0)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = name_nodes(graph);
    if (result) {
        return result;
    }
    answer = malloc(sizeof(*answer));
    if (!answer) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    lists->room = wanted ? *count : 0;
    do {
        result = some_edges(which, of, lists, answer);
    } while (result == CUDA_SUCCESS && lists->got < lists->room);
    free(answer);
    if (result && result != CUDA_ERROR_NOT_FOUND) {
        return result;
    }
    if (lists->has_data && !tells_data) {
        return LOSSY_QUERY;
    }
    for (size_t i = lists->got; i < lists->room; i++) {
        if (lists->from) {
            lists->from[i] = NULL;
        }
        if (lists->to) {
            lists->to[i] = NULL;
        }
    }
    *count = wanted ? lists->got : lists->total;
    return CUDA_SUCCESS;
}

static CUresult edges_of_graph(CUgraph graph, struct lists *lists, size_t *count, bool tells_data)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_EDGES, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    return cuda_fits(&call, cuda_object(CUDA_HANDLE(graph), CUDA_KIND_GRAPH)) &&
                   !lists->from == !lists->to
               ? get_edges(CUDA_EDGES_OF_GRAPH, CUDA_HANDLE(graph), graph, lists, count, tells_data)
               : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuGraphGetEdges(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to, size_t *numEdges)
{
    struct lists lists = {.from = from, .to = to};

    return edges_of_graph(hGraph, &lists, numEdges, false);
}

CUresult hand_cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to,
                                 CUgraphEdgeData *edgeData, size_t *numEdges)
{
    struct lists lists = {.from = from, .to = to, .data = edgeData};

    return edges_of_graph(hGraph, &lists, numEdges, edgeData != NULL);
}

static CUresult edges_of_node(CUgraphNode node, uint64_t which, struct lists *lists, size_t *count,
                              bool tells_data)
{
    const struct cuda_object *object;
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_EDGES, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    object = cuda_object(CUDA_HANDLE(node), CUDA_KIND_GRAPH_NODE);
    if (!cuda_fits(&call, object)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): a handle */
    return get_edges(which, CUDA_HANDLE(node), (CUgraph)(uintptr_t)object->of, lists, count,
                     tells_data);
}

CUresult hand_cuGraphNodeGetDependencies(CUgraphNode hNode, CUgraphNode *dependencies,
                                         size_t *numDependencies)
{
    struct lists lists = {.from = dependencies};

    return edges_of_node(hNode, CUDA_EDGES_BEFORE, &lists, numDependencies, false);
}

CUresult hand_cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode *dependencies,
                                            CUgraphEdgeData *edgeData, size_t *numDependencies)
{
    struct lists lists = {.from = dependencies, .data = edgeData};

    return edges_of_node(hNode, CUDA_EDGES_BEFORE, &lists, numDependencies, edgeData != NULL);
}

CUresult hand_cuGraphNodeGetDependentNodes(CUgraphNode hNode, CUgraphNode *dependentNodes,
                                           size_t *numDependentNodes)
{
    struct lists lists = {.to = dependentNodes};

    return edges_of_node(hNode, CUDA_EDGES_BEHIND, &lists, numDependentNodes, false);
}

CUresult hand_cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode *dependentNodes,
                                              CUgraphEdgeData *edgeData, size_t *numDependentNodes)
{
    struct lists lists = {.to = dependentNodes, .data = edgeData};

    return edges_of_node(hNode, CUDA_EDGES_BEHIND, &lists, numDependentNodes, edgeData != NULL);
}

/* ---- captures ---- */

CUresult hand_cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph,
                                          const CUgraphNode *dependencies,
                                          const CUgraphEdgeData *dependencyData,
                                          size_t numDependencies, int captureMode, int per_thread)
{
    CUDAEdge edges[CUDA_EDGES_AT_ONCE] = {0};
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_CAPTURE_BEGIN, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!cuda_add_stream(&call, hStream, per_thread)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    cuda_add(&call, (uint64_t)(unsigned)captureMode);
    if (!cuda_add_handle(&call, CUDA_HANDLE(hGraph), CUDA_KIND_GRAPH) ||
        (numDependencies && !dependencies)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (numDependencies > CUDA_EDGES_AT_ONCE) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    for (size_t i = 0; i < numDependencies; i++) {
        if (!is_node(&call, dependencies[i])) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        edges[i].from = CUDA_HANDLE(dependencies[i]);
        if (dependencyData) {
            edges[i].data = dependencyData[i];
        }
    }
    cuda_add_bytes(&call, edges, (uint32_t)(numDependencies * sizeof(edges[0])));
    result = cuda_ask(&call);
    cuda_capture_begun(result);
    return result;
}
