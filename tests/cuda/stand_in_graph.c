/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stand-in's captures and graphs: a list of work in the order of its capture, which a launch
 * queues into one stream.  What a real driver would run into at a launch ends the process.
 */
#include "tests/cuda/stand_in.h"

#include <stdlib.h>
#include <string.h>

#define ILLEGAL_STATE 401
#define UNSUPPORTED 900
#define UNMATCHED 904
#define UPDATE_FAILED 910
#define TOPOLOGY_CHANGED 2

struct node {
    struct object object;
    struct work *work;
    struct node *next;
    struct node *older; /* of all that ever lived: else a dead one would be taken for a leak */
};

struct graph {
    struct object object;
    struct node *first, **last;
    size_t count;
};

struct capture {
    struct stream *origin;
    struct graph *graph;
    uint64_t id;
};

static uint64_t next_id = 100;
static struct node *youngest; /* atomic */

static struct graph *new_graph(enum kind kind)
{
    struct graph *graph = calloc(1, sizeof(*graph));

    graph->last = &graph->first;
    stand_in_born(&graph->object, kind, NULL);
    return graph;
}

static void add(struct graph *graph, struct work *work)
{
    struct node *node = calloc(1, sizeof(*node));

    node->object.kind = GRAPH_NODE;
    node->work = work;
    node->older = __atomic_exchange_n(&youngest, node, __ATOMIC_ACQ_REL);
    *graph->last = node;
    graph->last = &node->next;
    graph->count++;
}

static struct work *copy_of(const struct work *work)
{
    struct work *again = malloc(sizeof(*again));

    *again = *work;
    again->next = NULL;
    return again;
}

static void empty(struct graph *graph)
{
    for (struct node *node = graph->first; node; node = node->next) {
        node->object.kind = DEAD;
        free(node->work);
        node->work = NULL;
    }
    graph->first = NULL;
    graph->last = &graph->first;
    graph->count = 0;
}

static void copy_nodes(struct graph *to, const struct graph *from)
{
    for (const struct node *node = from->first; node; node = node->next) {
        add(to, copy_of(node->work));
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
        add(capture->graph, work);
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
    free(capture);
}

EXPORT CUresult cuStreamBeginCapture_v2(CUstream handle, int mode)
{
    struct stream *stream = stand_in_stream(__func__, handle);

    NEED_CONTEXT;
    if (mode != 2) {
        stand_in_abort(__func__, "a capture that forbids other programs' calls");
    }
    if (!stream) {
        return UNSUPPORTED;
    }
    if (stream->capture) {
        return ILLEGAL_STATE;
    }
    stand_in_never_wait(__func__, stand_in_current); /* the worker's own rule */
    stream->capture = calloc(1, sizeof(*stream->capture));
    *stream->capture =
        (struct capture){.origin = stream, .graph = new_graph(GRAPH), .id = next_id++};
    return CUDA_SUCCESS;
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
    (void)dependencies;
    (void)count;
    NEED_CONTEXT;
    *status = stream && stream->capture;
    if (*status && id) {
        *id = stream->capture->id;
    }
    return CUDA_SUCCESS;
}

/* ---- graphs ---- */

EXPORT CUresult cuGraphCreate(CUgraph *out, unsigned flags)
{
    *out = flags ? NULL : (CUgraph)new_graph(GRAPH);
    return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

EXPORT CUresult cuGraphDestroy(CUgraph handle)
{
    struct graph *graph = CHECK(handle, GRAPH);

    empty(graph);
    stand_in_dies(&graph->object);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphClone(CUgraph *out, CUgraph handle)
{
    const struct graph *graph = CHECK(handle, GRAPH);
    struct graph *again = new_graph(GRAPH);

    copy_nodes(again, graph);
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
    exec = new_graph(GRAPH_EXEC);
    copy_nodes(exec, graph);
    *out = (CUgraphExec)exec;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec handle)
{
    struct graph *exec = CHECK(handle, GRAPH_EXEC);

    empty(exec);
    stand_in_dies(&exec->object);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecGetFlags(CUgraphExec handle, unsigned long long *flags)
{
    CHECK(handle, GRAPH_EXEC);
    *flags = 0;
    return CUDA_SUCCESS;
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
    empty(exec);
    copy_nodes(exec, graph);
    return CUDA_SUCCESS;
}

static void check_work(const char *function, const struct work *work)
{
    bool lives = true;

    if (work->kind == WORK_KERNEL) {
        lives = work->function->object.kind == FUNCTION;
    } else if (work->kind == WORK_COPY) {
        lives = stand_in_is_memory(work->to, work->width) &&
                stand_in_is_memory(work->from, work->width);
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

EXPORT CUresult cuGraphLaunch(CUgraphExec handle, CUstream into)
{
    struct graph *exec = CHECK(handle, GRAPH_EXEC);
    struct stream *stream = stand_in_stream(__func__, into);

    NEED_CONTEXT;
    for (const struct node *node = exec->first; node; node = node->next) {
        struct work *work = copy_of(node->work);

        check_work(__func__, work);
        work->stream = stream;
        work->context = stand_in_current;
        LOCKED(stand_in_queue(work));
    }
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
    return nodes_of(CHECK(handle, GRAPH), nodes, count, 1);
}

EXPORT CUresult cuGraphNodeGetType(CUgraphNode handle, int *type)
{
    const struct node *node = CHECK(handle, GRAPH_NODE);

    *type = node->work->kind == WORK_KERNEL ? 0 : node->work->kind == WORK_COPY ? 1 : 2;
    return CUDA_SUCCESS;
}
