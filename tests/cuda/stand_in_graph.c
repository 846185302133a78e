/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stand-in's captures and graphs: a list of work in the order of its capture, which a launch
 * queues into one stream.  What a real driver would run into at a launch ends the process.
 */
#include "tests/cuda/stand_in_graph.h"

#include <stdlib.h>
#include <string.h>

#define ILLEGAL_STATE 401
#define UNSUPPORTED 900
#define UNMATCHED 904
#define UPDATE_FAILED 910
#define TOPOLOGY_CHANGED 2

struct capture {
    struct stream *origin;
    struct graph *graph;
    struct node *last; /* that it has made */
    CUgraphNode shown;
    bool fills; /* a graph of the program's */
    uint64_t id;
};

static uint64_t next_id = 100;
static struct node *youngest; /* atomic */

struct graph *stand_in_graph_new(enum kind kind)
{
    struct graph *graph = calloc(1, sizeof(*graph));

    graph->last = &graph->first;
    graph->last_edge = &graph->edges;
    stand_in_born(&graph->object, kind, NULL);
    return graph;
}

struct node *stand_in_node_new(struct graph *graph, int type)
{
    struct node *node = calloc(1, sizeof(*node));

    node->object.kind = GRAPH_NODE;
    node->type = type;
    node->graph = graph;
    node->older = __atomic_exchange_n(&youngest, node, __ATOMIC_ACQ_REL);
    *graph->last = node;
    graph->last = &node->next;
    graph->count++;
    return node;
}

void stand_in_edge_new(struct graph *graph, struct node *from, struct node *to,
                       const CUgraphEdgeData *data)
{
    struct edge *edge = calloc(1, sizeof(*edge));

    edge->from = from;
    edge->to = to;
    edge->data = data ? *data : (CUgraphEdgeData){0};
    *graph->last_edge = edge;
    graph->last_edge = &edge->next;
}

static int type_of(const struct work *work)
{
    return work->kind == WORK_KERNEL                            ? CU_NODE_KERNEL
           : work->kind == WORK_COPY || work->kind == WORK_ROWS ? CU_NODE_COPY
                                                                : CU_NODE_SET;
}

static struct work *copy_of(const struct work *work)
{
    struct work *again = malloc(sizeof(*again));

    *again = *work;
    again->next = NULL;
    return again;
}

void stand_in_graph_empty(struct graph *graph)
{
    for (struct node *node = graph->first; node; node = node->next) {
        node->object.kind = DEAD;
        free(node->work);
        node->work = NULL;
        if (node->child) {
            stand_in_graph_empty(node->child);
            stand_in_dies(&node->child->object);
            node->child = NULL;
        }
    }
    while (graph->edges) {
        struct edge *edge = graph->edges;

        graph->edges = edge->next;
        free(edge);
    }
    graph->first = NULL;
    graph->last = &graph->first;
    graph->last_edge = &graph->edges;
    graph->count = 0;
}

struct node *stand_in_node_in(struct graph *graph, const struct node *original)
{
    struct node *found = NULL;

    for (struct node *node = graph->first; node && !found; node = node->next) {
        found = node->original == original ? node
                : node->child              ? stand_in_node_in(node->child, original)
                                           : NULL;
    }
    return found;
}

static struct node *own_node_in(struct graph *graph, const struct node *original)
{
    for (struct node *node = graph->first; node; node = node->next) {
        if (node->original == original) {
            return node;
        }
    }
    return NULL;
}

void stand_in_graph_copy(struct graph *to, const struct graph *from)
{
    for (struct node *node = from->first; node; node = node->next) {
        struct node *again = stand_in_node_new(to, node->type);

        again->original = node;
        again->event = node->event;
        again->work = node->work ? copy_of(node->work) : NULL;
        memcpy(again->attributes, node->attributes, sizeof(again->attributes));
        if (node->child) {
            again->child = stand_in_graph_new(GRAPH);
            again->child->owner = again;
            stand_in_graph_copy(again->child, node->child);
        }
    }
    for (const struct edge *edge = from->edges; edge; edge = edge->next) {
        stand_in_edge_new(to, own_node_in(to, edge->from), own_node_in(to, edge->to), &edge->data);
    }
}

/* ---- captures ---- */

bool stand_in_captured(struct work *work)
{
    struct capture *capture = work->stream ? work->stream->capture : NULL;

    if (work->kind == WORK_WAIT && work->event->capture) {
        work->stream->capture = work->event->capture; /* it joins */
        free(work);
        return true;
    }
    if (work->kind == WORK_RECORD) {
        work->event->capture = capture;
    }
    if (!capture) {
        return false;
    }
    if (work->own) {
        stand_in_abort(__func__, "a graph would copy memory that is gone at its launch");
    }
    if (work->kind == WORK_RECORD || work->kind == WORK_WAIT) {
        free(work);
    } else {
        capture->last = stand_in_node_new(capture->graph, type_of(work));
        capture->last->work = work;
    }
    return true;
}

void stand_in_spoils(const char *function, const struct context *context)
{
    for (const struct object *object = GPU->objects; object; object = object->next) {
        if (object->kind == STREAM && object->context == context &&
            ((const struct stream *)object)->capture) {
            stand_in_abort(function, "it would spoil a capture");
        }
    }
}

void stand_in_capture_ends(struct stream *stream)
{
    struct capture *capture = stream->capture;

    if (!capture || capture->origin != stream) {
        stream->capture = NULL;
        return;
    }
    for (struct object *object = GPU->objects; object; object = object->next) {
        if (object->kind == STREAM && ((struct stream *)object)->capture == capture) {
            ((struct stream *)object)->capture = NULL;
        } else if (object->kind == EVENT && ((struct event *)object)->capture == capture) {
            ((struct event *)object)->capture = NULL;
        }
    }
    capture->graph->fills -= capture->fills;
    free(capture);
}

static CUresult begin_capture(const char *function, CUstream handle, struct graph *graph, int mode)
{
    struct stream *stream = stand_in_stream(function, handle);

    NEED_CONTEXT;
    if (mode != 2) {
        stand_in_abort(function, "a capture that forbids other programs' calls");
    }
    if (!stream) {
        return UNSUPPORTED;
    }
    if (stream->capture) {
        return ILLEGAL_STATE;
    }
    stand_in_never_wait(function, stand_in_current); /* the worker's own rule */
    if (graph) {
        graph->fills++;
    }
    stream->capture = calloc(1, sizeof(*stream->capture));
    *stream->capture = (struct capture){.origin = stream,
                                        .graph = graph ? graph : stand_in_graph_new(GRAPH),
                                        .fills = graph != NULL,
                                        .id = next_id++};
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, int mode)
{
    return begin_capture(__func__, stream, NULL, mode);
}

EXPORT CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph,
                                            const CUgraphNode *before, const CUgraphEdgeData *data,
                                            size_t count, int mode)
{
    struct graph *into = CHECK(graph, GRAPH);

    (void)data;
    for (size_t i = 0; i < count; i++) {
        if (((struct node *)CHECK(before[i], GRAPH_NODE))->graph != into) {
            stand_in_abort(__func__, "a node of another graph");
        }
    }
    return begin_capture(__func__, stream, into, mode);
}

EXPORT CUresult cuStreamEndCapture(CUstream handle, CUgraph *out)
{
    struct stream *stream = stand_in_stream(__func__, handle);

    NEED_CONTEXT;
    *out = NULL;
    if (!stream || !stream->capture) {
        return ILLEGAL_STATE;
    }
    if (stream->capture->origin != stream) {
        return UNMATCHED;
    }
    *out = (CUgraph)stream->capture->graph;
    stand_in_capture_ends(stream);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamIsCapturing(CUstream handle, unsigned *status)
{
    struct stream *stream = stand_in_stream(__func__, handle);

    NEED_CONTEXT;
    *status = stream && stream->capture;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetCaptureInfo_v2(CUstream handle, unsigned *status, unsigned long long *id,
                                          CUgraph *graph, const CUgraphNode **dependencies,
                                          size_t *count)
{
    struct stream *stream = stand_in_stream(__func__, handle);

    (void)graph;
    NEED_CONTEXT;
    *status = stream && stream->capture;
    if (*status && id) {
        *id = stream->capture->id;
    }
    if (*status && dependencies) {
        stream->capture->shown = (CUgraphNode)stream->capture->last;
        *dependencies = &stream->capture->shown;
        *count = stream->capture->last ? 1 : 0;
    }
    return CUDA_SUCCESS;
}

/* ---- graphs ---- */

EXPORT CUresult cuGraphCreate(CUgraph *out, unsigned flags)
{
    *out = flags ? NULL : (CUgraph)stand_in_graph_new(GRAPH);
    return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

EXPORT CUresult cuGraphDestroy(CUgraph handle)
{
    struct graph *graph = CHECK(handle, GRAPH);

    if (graph->fills || graph->owner) {
        stand_in_abort(__func__, "a capture goes on in it, or it is of a node");
    }
    stand_in_graph_empty(graph);
    stand_in_dies(&graph->object);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphClone(CUgraph *out, CUgraph handle)
{
    const struct graph *graph = CHECK(handle, GRAPH);
    struct graph *again = stand_in_graph_new(GRAPH);

    stand_in_graph_copy(again, graph);
    *out = (CUgraph)again;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph handle,
                                            unsigned long long flags)
{
    const struct graph *graph = CHECK(handle, GRAPH);
    struct graph *exec;

    NEED_CONTEXT;
    if (flags & ~9ull) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    exec = stand_in_graph_new(GRAPH_EXEC);
    stand_in_graph_copy(exec, graph);
    exec->source = CHECK(handle, GRAPH);
    *out = (CUgraphExec)exec;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec handle)
{
    struct graph *exec = CHECK(handle, GRAPH_EXEC);

    stand_in_graph_empty(exec);
    stand_in_dies(&exec->object);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecGetFlags(CUgraphExec handle, unsigned long long *flags)
{
    CHECK(handle, GRAPH_EXEC);
    *flags = 0;
    return CUDA_SUCCESS;
}

/* The nodes stay, and do what those of the other graph do. */
static void take_work(struct graph *exec, const struct graph *graph)
{
    const struct node *from = graph->first;

    for (struct node *node = exec->first; node; node = node->next, from = from->next) {
        free(node->work);
        node->work = from->work ? copy_of(from->work) : NULL;
        node->event = from->event;
    }
}

EXPORT CUresult cuGraphExecUpdate_v2(CUgraphExec handle, CUgraph with,
                                     CUgraphExecUpdateResultInfo *info)
{
    struct graph *exec = CHECK(handle, GRAPH_EXEC);
    const struct graph *graph = CHECK(with, GRAPH);

    info->result = exec->count == graph->count ? 0 : TOPOLOGY_CHANGED;
    if (info->result) {
        return UPDATE_FAILED;
    }
    take_work(exec, graph);
    return CUDA_SUCCESS;
}

void stand_in_check_work(const char *function, const struct work *work)
{
    bool lives = true;

    if (work->kind == WORK_KERNEL) {
        lives = work->function->object.kind == FUNCTION;
    } else if (work->kind == WORK_COPY) {
        lives = stand_in_is_memory(work->to, work->width) &&
                stand_in_is_memory(work->from, work->width);
    } else if (work->kind == WORK_ROWS) {
        free(stand_in_rows(function, &work->rows, NULL));
    } else if (work->kind == WORK_SET) {
        lives = stand_in_is_memory(
            work->to, bytes_of_2d(work->pitch, work->width * work->unit, work->height));
    }
    if (!lives) {
        stand_in_abort(function, "a graph uses what is gone");
    }
}

EXPORT CUresult cuGraphUpload(CUgraphExec handle, CUstream stream)
{
    CHECK(handle, GRAPH_EXEC);
    stand_in_stream(__func__, stream);
    NEED_CONTEXT;
    return CUDA_SUCCESS;
}

static bool is_next(const struct graph *graph, const struct node *node)
{
    for (const struct edge *edge = graph->edges; edge; edge = edge->next) {
        if (edge->to == node && !edge->from->passed) {
            return false;
        }
    }
    return !node->passed;
}

static void launch(struct graph *graph, struct stream *stream);

static void launch_node(struct node *node, struct stream *stream)
{
    struct work *work;

    if (node->disabled) {
        return;
    }
    if (node->type == CU_NODE_GRAPH) {
        launch(node->child, stream);
        return;
    }
    if (node->type == CU_NODE_EVENT_RECORD || node->type == CU_NODE_WAIT_EVENT) {
        struct event *event = stand_in_check(__func__, node->event, EVENT);

        work = stand_in_work(node->type == CU_NODE_WAIT_EVENT ? WORK_WAIT : WORK_RECORD, stream);
        work->event = event;
        LOCKED(work->generation = work->kind == WORK_RECORD ? ++event->asked : event->asked;
               stand_in_queue(work));
        return;
    }
    if (node->work) {
        work = copy_of(node->work);
        stand_in_check_work(__func__, work);
        work->stream = stream;
        work->context = stand_in_current;
        LOCKED(stand_in_queue(work));
    }
}

/* Whoever has nothing before it that is not done comes next. */
static void launch(struct graph *graph, struct stream *stream)
{
    size_t left = graph->count;

    for (struct node *node = graph->first; node; node = node->next) {
        node->passed = false;
    }
    while (left > 0) {
        struct node *next = graph->first;

        while (next && !is_next(graph, next)) {
            next = next->next;
        }
        if (!next) {
            stand_in_abort(__func__, "the graph has a circle");
        }
        next->passed = true;
        launch_node(next, stream);
        left--;
    }
}

EXPORT CUresult cuGraphLaunch(CUgraphExec handle, CUstream into)
{
    struct graph *exec = CHECK(handle, GRAPH_EXEC);
    struct stream *stream = stand_in_stream(__func__, into);

    NEED_CONTEXT;
    launch(exec, stream);
    return CUDA_SUCCESS;
}

static CUresult nodes_of(const struct graph *graph, CUgraphNode *nodes, size_t *count, size_t most)
{
    size_t at = 0;

    for (struct node *node = graph->first; nodes && node && at < *count && at < most;
         node = node->next) {
        nodes[at++] = (CUgraphNode)node;
    }
    *count = nodes ? at : graph->count < most ? graph->count : most;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *count)
{
    return nodes_of(CHECK(handle, GRAPH), nodes, count, SIZE_MAX);
}

EXPORT CUresult cuGraphGetRootNodes(CUgraph handle, CUgraphNode *nodes, size_t *count)
{
    const struct graph *graph = CHECK(handle, GRAPH);
    size_t at = 0;

    if (!graph->edges) {
        return nodes_of(graph, nodes, count, 1); /* a capture's, which come one after the other */
    }
    for (struct node *node = graph->first; node; node = node->next) {
        bool is_root = true;

        for (const struct edge *edge = graph->edges; edge; edge = edge->next) {
            is_root = is_root && edge->to != node;
        }
        if (is_root && nodes && at < *count) {
            nodes[at] = (CUgraphNode)node;
        }
        at += is_root;
    }
    *count = nodes && at > *count ? *count : at;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphNodeGetType(CUgraphNode handle, int *type)
{
    const struct node *node = CHECK(handle, GRAPH_NODE);

    *type = node->type;
    return CUDA_SUCCESS;
}
