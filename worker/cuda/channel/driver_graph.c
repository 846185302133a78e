/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stream capture, and graphs.
 *
 * A capture is begun as a relaxed one whatever the program asked for: programs of a VM share this
 * process, and a stricter one would forbid calls of the others.
 *
 * While it is under way nothing of ours may stand in a captured stream, where it would become part
 * of the graph, and no event may be set over all of the context, which would spoil the capture.  So
 * what is captured is no work (driver_is_captured), and a fence over the context looks at each of
 * its other streams instead (driver_streams_state).  Nothing is in flight when a capture begins.
 *
 * The driver keeps a graph's functions, and the addresses of its copies and memsets.  A function
 * may be unloaded, and what was freed may be something else of this process later, so they are
 * looked up again whenever the graph is to run.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>
#include <string.h>

#define MODE_RELAXED 2
#define CAPTURES_MAX 64u
#define MEMOPS_MAX 65536u /* of all captures under way, and of each graph */
#define NODES_MAX (1u << 20)
#define DEVICE_LAUNCH 4u /* kernels launch it: past the VM's turns */
#define INSTANTIATE_FLAGS 9u
#define CAPTURE_PLAIN 1u
#define CAPTURE_BLOCKING 2u /* of a stream that the default stream waits for */

struct driver_memops {
    unsigned users;
    size_t count;
    struct driver_memop all[];
};

/* ---- what a graph uses ---- */

void driver_memops_drop(struct driver_memops *memops)
{
    if (memops && --memops->users == 0) {
        free(memops);
    }
}

static struct driver_memops *share(struct driver_memops *memops)
{
    if (memops) {
        memops->users++;
    }
    return memops;
}

static bool may_run(struct driver_call *call, const struct driver_memops *memops)
{
    for (size_t i = 0; memops && i < memops->count; i++) {
        const struct driver_memop *memop = &memops->all[i];

        if (memop->bytes ? !driver_range_ok(call, memop->address, memop->bytes)
                         : !driver_handle_lives(call->channel, memop->address)) {
            return false;
        }
    }
    return true;
}

/* False: there are too many. */
static bool note_memop(struct driver_channel *channel, const struct driver_memop *memop)
{
    if (channel->memop_count == channel->memop_room) {
        size_t room = channel->memop_room ? channel->memop_room * 2 : 64;
        struct driver_memop *more =
            room <= MEMOPS_MAX ? realloc(channel->memops, room * sizeof(*more)) : NULL;

        if (!more) {
            return false;
        }
        channel->memops = more;
        channel->memop_room = room;
    }
    channel->memops[channel->memop_count++] = *memop;
    return true;
}

/* Those of one capture, which is over.  NULL: there are none, or no memory, which *well says. */
static struct driver_memops *take_memops(struct driver_channel *channel, uint64_t capture,
                                         bool *well)
{
    struct driver_memops *memops =
        channel->memop_count
            ? malloc(sizeof(*memops) + channel->memop_count * sizeof(struct driver_memop))
            : NULL;
    size_t kept = 0;

    *well = channel->memop_count == 0 || memops;
    if (memops) {
        memops->users = 1;
        memops->count = 0;
    }
    for (size_t i = 0; i < channel->memop_count; i++) {
        if (channel->memops[i].capture != capture) {
            channel->memops[kept++] = channel->memops[i];
        } else if (memops) {
            memops->all[memops->count++] = channel->memops[i];
        }
    }
    channel->memop_count = kept;
    return memops;
}

/* ---- captures ---- */

bool driver_is_captured(struct driver_call *call)
{
    unsigned status = 0;
    unsigned long long capture = 0;

    if (call->channel->captures == 0 || !call->has_stream ||
        call->api->cuStreamGetCaptureInfo_v2(call->stream, &status, &capture, NULL, NULL, NULL) !=
            CUDA_SUCCESS) {
        return false;
    }
    call->capture = capture;
    return status != 0;
}

CUresult driver_captured(struct driver_call *call, CUresult result)
{
    for (unsigned i = 0; i < call->touched_count && result == CUDA_SUCCESS; i++) {
        call->touched[i].capture = call->capture;
        if (!note_memop(call->channel, &call->touched[i])) {
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    return result;
}

static CUresult state_of(struct driver_channel *channel, CUstream stream)
{
    unsigned status = 0;
    CUresult result = channel->api->cuStreamIsCapturing(stream, &status);

    return result == CUDA_SUCCESS && status == 0 ? channel->api->cuStreamQuery(stream) : result;
}

CUresult driver_streams_state(struct driver_channel *channel, const struct driver_context *context)
{
    uint32_t index = vgpu_handle_index(context->handle);
    CUresult result = context->blocking_captures ? CUDA_SUCCESS : state_of(channel, NULL);

    for (uint32_t i = 0; i < channel->entry_room && result == CUDA_SUCCESS; i++) {
        const struct driver_entry *entry = &channel->entries[i];

        if (vgpu_handle_kind(entry->handle) == CUDA_KIND_STREAM && entry->context == index) {
            result = state_of(channel, entry->real);
        }
    }
    for (unsigned lane = 0; lane < VGPU_LANES_MAX && result == CUDA_SUCCESS; lane++) {
        if (context->per_thread[lane]) {
            result = state_of(channel, context->per_thread[lane]);
        }
    }
    return result;
}

void driver_capture_over(struct driver_channel *channel, struct driver_context *context,
                         uint8_t *mark)
{
    if (*mark) {
        context->captures--;
        context->blocking_captures -= *mark == CAPTURE_BLOCKING;
        channel->captures--;
        *mark = 0;
    }
}

/* Where it stands that this stream's capture was begun. */
static uint8_t *mark_of(struct driver_call *call, uint64_t value)
{
    return value == CU_STREAM_PER_THREAD ? &call->context->lane_captures[call->record->record.lane]
                                         : &driver_entry(call, value, CUDA_KIND_STREAM)->captures;
}

/* A stream that can be captured: not the default one. */
static CUresult take_stream(struct driver_call *call, uint64_t value, CUstream *stream)
{
    if (value == 0 || value == CU_STREAM_LEGACY) {
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return driver_stream(call, value, stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult driver_run_capture_begin(struct driver_call *call)
{
    CUstream stream;
    unsigned flags = 0;
    uint8_t *mark;
    CUresult result;

    if (call->arg_count < 2 || call->args[1] > MODE_RELAXED) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = take_stream(call, call->args[0], &stream);
    if (result) {
        return result;
    }
    if (driver_is_captured(call)) {
        return CUDA_ERROR_ILLEGAL_STATE; /* a question for its flags would spoil it */
    }
    if (call->channel->captures == CAPTURES_MAX) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    call->api->cuStreamGetFlags(stream, &flags);
    result = call->api->cuStreamBeginCapture_v2(stream, MODE_RELAXED);
    mark = mark_of(call, call->args[0]);
    if (result == CUDA_SUCCESS && !*mark) {
        *mark = flags & 1 ? CAPTURE_PLAIN : CAPTURE_BLOCKING;
        call->context->captures++;
        call->context->blocking_captures += *mark == CAPTURE_BLOCKING;
        call->channel->captures++;
    }
    return result;
}

CUresult driver_run_capture_end(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    struct driver_memops *memops;
    struct driver_entry *entry;
    CUstream stream;
    CUgraph graph = NULL;
    unsigned status = 0;
    bool well;
    CUresult result;

    if (call->arg_count < 2 || !driver_handle_free(call, call->args[0], CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    result = take_stream(call, call->args[1], &stream);
    if (result) {
        return result;
    }
    driver_is_captured(call); /* which one it is */
    result = call->api->cuStreamEndCapture(stream, &graph);
    if (call->api->cuStreamIsCapturing(stream, &status) != CUDA_SUCCESS || status != 0) {
        return result ? result : CUDA_ERROR_UNKNOWN; /* it goes on */
    }
    driver_capture_over(channel, call->context, mark_of(call, call->args[1]));
    memops = take_memops(channel, call->capture, &well);
    if (result == CUDA_SUCCESS && !well) {
        call->api->cuGraphDestroy(graph);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    entry = driver_handle_made(call, call->args[0], CUDA_KIND_GRAPH, graph, result);
    if (entry) {
        entry->memops = memops;
    } else {
        driver_memops_drop(memops);
    }
    return result;
}

CUresult driver_run_capture_info(struct driver_call *call)
{
    CUstream stream;
    unsigned status = 0;
    unsigned long long capture = 0;
    CUresult result;

    if (call->arg_count < 1 || !driver_stream(call, call->args[0], &stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    result = call->api->cuStreamGetCaptureInfo_v2(stream, &status, &capture, NULL, NULL, NULL);
    call->out[0] = status;
    call->out[1] = capture;
    call->out_count = 2;
    return result;
}

/* ---- graphs ---- */

static struct driver_entry *graph_of(struct driver_call *call, unsigned at, unsigned kind)
{
    return call->arg_count > at ? driver_entry(call, call->args[at], kind) : NULL;
}

CUresult driver_run_graph_clone(struct driver_call *call)
{
    struct driver_entry *from = graph_of(call, 1, CUDA_KIND_GRAPH), *entry;
    struct driver_memops *memops;
    CUgraph graph = NULL;
    CUresult result;

    if (!from || !driver_handle_free(call, call->args[0], CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    from = graph_of(call, 1, CUDA_KIND_GRAPH); /* the table may have moved */
    memops = from->memops;
    result = call->api->cuGraphClone(&graph, from->real);
    entry = driver_handle_made(call, call->args[0], CUDA_KIND_GRAPH, graph, result);
    if (entry) {
        entry->memops = share(memops);
    }
    return result;
}

CUresult driver_run_graph_instantiate(struct driver_call *call)
{
    struct driver_entry *from, *entry;
    struct driver_memops *memops;
    CUgraphExec exec = NULL;
    CUresult result;

    if (call->arg_count < 3 || !driver_handle_free(call, call->args[0], CUDA_KIND_GRAPH_EXEC)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    from = graph_of(call, 1, CUDA_KIND_GRAPH);
    if (!from) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (call->args[2] & DEVICE_LAUNCH) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    if ((call->args[2] & ~(uint64_t)INSTANTIATE_FLAGS) || !may_run(call, from->memops)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memops = from->memops;
    result = call->api->cuGraphInstantiateWithFlags(&exec, from->real, call->args[2]);
    entry = driver_handle_made(call, call->args[0], CUDA_KIND_GRAPH_EXEC, exec, result);
    if (entry) {
        entry->memops = share(memops);
    }
    return result;
}

CUresult driver_run_graph_update(struct driver_call *call)
{
    struct driver_entry *exec = graph_of(call, 0, CUDA_KIND_GRAPH_EXEC);
    struct driver_entry *graph = graph_of(call, 1, CUDA_KIND_GRAPH);
    CUgraphExecUpdateResultInfo info = {0};
    CUresult result;

    if (!exec || !graph) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (!may_run(call, graph->memops)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = call->api->cuGraphExecUpdate_v2(exec->real, graph->real, &info);
    call->out[0] = (uint32_t)info.result;
    call->out_count = 1;
    if (result == CUDA_SUCCESS) {
        driver_memops_drop(exec->memops);
        exec->memops = share(graph->memops);
    }
    return result;
}

CUresult driver_run_graph_launch(struct driver_call *call)
{
    struct driver_entry *exec = graph_of(call, 0, CUDA_KIND_GRAPH_EXEC);
    CUstream stream;

    if (!exec || call->arg_count < 2 || !driver_stream(call, call->args[1], &stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (!may_run(call, exec->memops)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call->touched_count = 0;
    if (driver_is_captured(call)) {
        for (size_t i = 0; exec->memops && i < exec->memops->count; i++) {
            struct driver_memop memop = exec->memops->all[i];

            memop.capture = call->capture;
            if (!note_memop(call->channel, &memop)) {
                return CUDA_ERROR_OUT_OF_MEMORY;
            }
        }
    }
    return call->api->cuGraphLaunch(exec->real, stream);
}

/* ---- nodes ---- */

/* The handle that a node has, or `fresh`; 0: it gets none. */
static uint64_t node_handle(struct driver_call *call, uint64_t graph, CUgraphNode node,
                            uint64_t fresh)
{
    struct driver_channel *channel = call->channel;
    struct driver_entry *entry;

    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        entry = &channel->entries[i];
        if (entry->real == node && vgpu_handle_kind(entry->handle) == CUDA_KIND_GRAPH_NODE) {
            return entry->handle;
        }
    }
    if (!driver_handle_free(call, fresh, CUDA_KIND_GRAPH_NODE)) {
        return 0;
    }
    entry = driver_handle_made(call, fresh, CUDA_KIND_GRAPH_NODE, node, CUDA_SUCCESS);
    if (entry) {
        entry->of = graph;
    }
    return entry ? fresh : 0;
}

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
        answer->handles[answer->count] = node_handle(call, call->args[1], nodes[i], fresh);
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
    struct driver_entry *graph = graph_of(call, 1, CUDA_KIND_GRAPH);
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

/* They belong to no context for the driver, but their kernels do. */
void driver_graphs_end(struct driver_channel *channel, struct driver_context *context)
{
    uint32_t index = vgpu_handle_index(context->handle);

    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        struct driver_entry *entry = &channel->entries[i];
        unsigned kind = vgpu_handle_kind(entry->handle);

        if (entry->context != index) {
            continue;
        }
        if (kind == CUDA_KIND_GRAPH_EXEC) {
            channel->api->cuGraphExecDestroy(entry->real);
        } else if (kind == CUDA_KIND_GRAPH) {
            channel->api->cuGraphDestroy(entry->real);
        }
    }
    for (unsigned lane = 0; lane < VGPU_LANES_MAX; lane++) {
        driver_capture_over(channel, context, &context->lane_captures[lane]);
    }
}
