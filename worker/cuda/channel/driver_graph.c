/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Graphs: their clones, their instances and launches, the list of their nodes, and their end. */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX (1u << 20)
#define DEVICE_LAUNCH 4u /* kernels launch it: past the VM's turns */
#define INSTANTIATE_FLAGS 9u

/* ---- graphs ---- */

struct driver_entry *driver_graph_of(struct driver_call *call, unsigned at, unsigned kind)
{
    return call->arg_count > at ? driver_entry(call, call->args[at], kind) : NULL;
}

/* What it uses is said of the clone's own nodes. */
static CUresult rename_nodes(struct driver_call *call, struct driver_memops *memops, CUgraph clone)
{
    for (size_t i = 0; i < driver_memops_count(memops); i++) {
        struct driver_memop *memop = driver_memops_own(memops, i);
        CUgraphNode node = NULL;

        if (memop->node && call->api->cuGraphNodeFindInClone(&node, (CUgraphNode)memop->node,
                                                             clone) != CUDA_SUCCESS) {
            node = NULL;
        }
        memop->node = node;
    }
    return CUDA_SUCCESS;
}

CUresult driver_run_graph_clone(struct driver_call *call)
{
    struct driver_entry *from = driver_graph_of(call, 1, CUDA_KIND_GRAPH), *entry;
    struct driver_entry list = {0};
    CUgraph graph = NULL;
    CUresult result;

    if (!from || !driver_handle_free(call, call->args[0], CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    from = driver_graph_of(call, 1, CUDA_KIND_GRAPH); /* the table may have moved */
    if (from->unknown || from->filled) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!driver_memops_of_graph(call->channel, from, &list.memops) ||
        !driver_memops_reserve(&list, 0)) {
        driver_memops_drop(list.memops);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = call->api->cuGraphClone(&graph, from->real);
    result = result ? result : rename_nodes(call, list.memops, graph);
    entry = driver_handle_made(call, call->args[0], CUDA_KIND_GRAPH, graph, result);
    if (entry) {
        entry->memops = list.memops;
    } else {
        driver_memops_drop(list.memops);
    }
    return result;
}

/* All that a graph uses, all of which is there: the caller's to drop. */
static CUresult whole_graph(struct driver_call *call, const struct driver_entry *graph,
                            struct driver_memops **memops)
{
    if (graph->unknown || graph->filled) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!driver_memops_of_graph(call->channel, graph, memops)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (!driver_memops_live(call, *memops)) {
        driver_memops_drop(*memops);
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult driver_run_graph_instantiate(struct driver_call *call)
{
    struct driver_entry *from, *entry;
    struct driver_memops *memops;
    uint64_t source;
    CUgraphExec exec = NULL;
    CUresult result;

    if (call->arg_count < 3 || !driver_handle_free(call, call->args[0], CUDA_KIND_GRAPH_EXEC)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    from = driver_graph_of(call, 1, CUDA_KIND_GRAPH);
    if (!from) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (call->args[2] & DEVICE_LAUNCH) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (call->args[2] & ~(uint64_t)INSTANTIATE_FLAGS) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = whole_graph(call, from, &memops);
    if (result) {
        return result;
    }
    source = from->handle;
    result = call->api->cuGraphInstantiateWithFlags(&exec, from->real, call->args[2]);
    entry = driver_handle_made(call, call->args[0], CUDA_KIND_GRAPH_EXEC, exec, result);
    if (entry) {
        entry->memops = memops;
        entry->source = source;
    } else {
        driver_memops_drop(memops);
    }
    return result;
}

/* The nodes of another graph do for the instance what those of its own did, which keep to name
 * them: so what was used is named by none from now on. */
static bool take_over(struct driver_entry *exec, struct driver_memops *memops, uint64_t graph)
{
    struct driver_entry list = {.memops = memops};

    if (exec->source != graph) {
        if (!driver_memops_reserve(&list, 0)) {
            driver_memops_drop(memops);
            return false;
        }
        for (size_t i = 0; i < driver_memops_count(list.memops); i++) {
            driver_memops_own(list.memops, i)->node = NULL;
        }
    }
    driver_memops_drop(exec->memops);
    exec->memops = list.memops;
    return true;
}

CUresult driver_run_graph_update(struct driver_call *call)
{
    struct driver_entry *exec = driver_graph_of(call, 0, CUDA_KIND_GRAPH_EXEC);
    struct driver_entry *graph = driver_graph_of(call, 1, CUDA_KIND_GRAPH);
    CUgraphExecUpdateResultInfo info = {0};
    struct driver_memops *memops;
    CUresult result;

    if (!exec || !graph) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    result = whole_graph(call, graph, &memops);
    if (result) {
        return result;
    }
    result = call->api->cuGraphExecUpdate_v2(exec->real, graph->real, &info);
    call->out[0] = (uint32_t)info.result;
    call->out_count = 1;
    if (result) {
        driver_memops_drop(memops);
    } else if (!take_over(exec, memops, graph->handle)) {
        exec->unknown = true;
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    return result;
}

CUresult driver_run_graph_launch(struct driver_call *call)
{
    struct driver_entry *exec = driver_graph_of(call, 0, CUDA_KIND_GRAPH_EXEC);
    CUstream stream;

    if (!exec || call->arg_count < 2 || !driver_stream(call, call->args[1], &stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (exec->unknown || !driver_memops_live(call, exec->memops)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call->touched_count = 0;
    if (driver_is_captured(call)) {
        for (size_t i = 0; i < driver_memops_count(exec->memops); i++) {
            struct driver_memop memop = *driver_memops_at(exec->memops, i);

            memop.capture = call->capture;
            memop.node = NULL;
            if (!driver_memops_note(call->channel, &memop)) {
                return CUDA_ERROR_OUT_OF_MEMORY;
            }
        }
    }
    return call->api->cuGraphLaunch(exec->real, stream);
}

/* ---- nodes ---- */

/* The nodes of a graph from `first` on; the payload has a new handle for each. */
static CUresult give_nodes(struct driver_call *call, const CUgraphNode *nodes, size_t total)
{
    CUDANodes *answer = &call->channel->nodes;
    uint64_t first = call->args[2], fresh;

    answer->total = total;
    answer->count = 0;
    for (size_t i = first; i < total && answer->count < CUDA_NODES_AT_ONCE &&
                           (answer->count + 1) * sizeof(fresh) <= call->payload_bytes;
         i++) {
        memcpy(&fresh, call->payload + answer->count * sizeof(fresh), sizeof(fresh));
        answer->handles[answer->count] = driver_node_handle(call, call->args[1], nodes[i], fresh);
        if (answer->handles[answer->count++] == 0) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
    }
    call->reply = answer;
    call->reply_bytes =
        (uint32_t)(offsetof(CUDANodes, handles) + answer->count * sizeof(answer->handles[0]));
    return CUDA_SUCCESS;
}

CUresult driver_run_graph_nodes(struct driver_call *call)
{
    struct driver_entry *graph = driver_graph_of(call, 1, CUDA_KIND_GRAPH);
    CUresult (*ask)(CUgraph, CUgraphNode *, size_t *);
    CUgraphNode *nodes;
    size_t total = 0;
    CUresult result;

    if (!graph || call->arg_count < 3 || call->args[0] > CUDA_NODES_ROOTS) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    ask = call->args[0] == CUDA_NODES_ROOTS ? call->api->cuGraphGetRootNodes
                                            : call->api->cuGraphGetNodes;
    result = ask(graph->real, NULL, &total);
    if (result || total > NODES_MAX) {
        return result ? result : CUDA_ERROR_OUT_OF_MEMORY;
    }
    nodes = calloc(total ? total : 1, sizeof(*nodes));
    if (!nodes) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = total ? ask(graph->real, nodes, &total) : CUDA_SUCCESS;
    result = result ? result : give_nodes(call, nodes, total);
    free(nodes);
    return result;
}

/* ---- the end ---- */

CUresult decode_cuGraphDestroy(struct driver_call *call)
{
    struct driver_entry *graph = driver_graph_of(call, 0, CUDA_KIND_GRAPH);
    CUresult result;

    if (!graph) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (graph->of || graph->filled) {
        return CUDA_ERROR_INVALID_VALUE; /* a node's own, or a capture goes on in it */
    }
    result = call->api->cuGraphDestroy(graph->real);
    driver_handle_end(call, call->args[0], result);
    return result;
}

/* One that no handle stands for. */
void driver_graphs_end(struct driver_channel *channel, struct driver_context *context)
{
    uint32_t index = vgpu_handle_index(context->handle);

    driver_captures_end(channel, context);
    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        struct driver_entry *entry = &channel->entries[i];
        unsigned kind = vgpu_handle_kind(entry->handle);

        if (entry->context != index) {
            continue;
        }
        if (kind == CUDA_KIND_GRAPH_EXEC) {
            channel->api->cuGraphExecDestroy(entry->real);
        } else if (kind == CUDA_KIND_GRAPH && !entry->of) {
            channel->api->cuGraphDestroy(entry->real);
        }
    }
    for (unsigned lane = 0; lane < VGPU_LANES_MAX; lane++) {
        driver_capture_over(channel, context, &context->lane_captures[lane]);
    }
}
