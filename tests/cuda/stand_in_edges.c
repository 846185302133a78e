/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Edges of graphs, as the driver keeps them. */
#include <stdlib.h>

#include "tests/cuda/stand_in_graph.h"

/* ---- edges ---- */

static struct edge **edge_of(struct graph *graph, const struct node *from, const struct node *to)
{
    struct edge **place = &graph->edges;

    while (*place && ((*place)->from != from || (*place)->to != to)) {
        place = &(*place)->next;
    }
    return place;
}

EXPORT CUresult cuGraphAddDependencies_v2(CUgraph handle, const CUgraphNode *from,
                                          const CUgraphNode *to, const CUgraphEdgeData *data,
                                          size_t count)
{
    struct graph *graph = stand_in_graph_to_change(__func__, handle, from, count);

    stand_in_graph_to_change(__func__, handle, to, count);
    for (size_t i = 0; i < count; i++) {
        struct node *before = (struct node *)from[i], *behind = (struct node *)to[i];

        if (before == behind || *edge_of(graph, before, behind)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        stand_in_edge_new(graph, before, behind, data ? &data[i] : NULL);
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphRemoveDependencies_v2(CUgraph handle, const CUgraphNode *from,
                                             const CUgraphNode *to, const CUgraphEdgeData *data,
                                             size_t count)
{
    struct graph *graph = stand_in_graph_to_change(__func__, handle, from, count);

    (void)data;
    stand_in_graph_to_change(__func__, handle, to, count);
    for (size_t i = 0; i < count; i++) {
        struct edge **place =
            edge_of(graph, (const struct node *)from[i], (const struct node *)to[i]);
        struct edge *edge = *place;

        if (!edge) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        *place = edge->next;
        if (graph->last_edge == &edge->next) {
            graph->last_edge = place;
        }
        free(edge);
    }
    return CUDA_SUCCESS;
}

/* Those that begin or end at `from` or `to`, where that is not NULL. */
static CUresult edges_of(const struct graph *graph, const struct node *from, const struct node *to,
                         CUgraphNode *froms, CUgraphNode *tos, CUgraphEdgeData *data, size_t *count)
{
    size_t at = 0;

    for (const struct edge *edge = graph->edges; edge; edge = edge->next) {
        if ((from && edge->from != from) || (to && edge->to != to)) {
            continue;
        }
        if ((froms || tos) && at < *count) {
            if (froms) {
                froms[at] = (CUgraphNode)edge->from;
            }
            if (tos) {
                tos[at] = (CUgraphNode)edge->to;
            }
            if (data) {
                data[at] = edge->data;
            }
        }
        at++;
    }
    *count = (froms || tos) && at > *count ? *count : at;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphGetEdges_v2(CUgraph handle, CUgraphNode *from, CUgraphNode *to,
                                   CUgraphEdgeData *data, size_t *count)
{
    return edges_of(CHECK(handle, GRAPH), NULL, NULL, from, to, data, count);
}

EXPORT CUresult cuGraphNodeGetDependencies_v2(CUgraphNode handle, CUgraphNode *nodes,
                                              CUgraphEdgeData *data, size_t *count)
{
    const struct node *node = CHECK(handle, GRAPH_NODE);

    return edges_of(node->graph, NULL, node, nodes, NULL, data, count);
}

EXPORT CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode handle, CUgraphNode *nodes,
                                                CUgraphEdgeData *data, size_t *count)
{
    const struct node *node = CHECK(handle, GRAPH_NODE);

    return edges_of(node->graph, node, NULL, NULL, nodes, data, count);
}
