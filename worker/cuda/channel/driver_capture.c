/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stream capture.
 *
 * A capture is begun as a relaxed one whatever the program asked for: programs of a VM share this
 * process, and a stricter one would forbid calls of the others.
 *
 * While it is under way nothing of ours may stand in a captured stream, where it would become part
 * of the graph, and no event may be set over all of the context, which would spoil the capture.  So
 * what is captured is no work (driver_is_captured), and a fence over the context looks at each of
 * its other streams instead (driver_streams_state).  Nothing is in flight when a capture begins.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <string.h>

#define MODE_RELAXED 2
#define CAPTURES_MAX 64u
#define CAPTURE_PLAIN 1u
#define CAPTURE_BLOCKING 2u /* of a stream that the default stream waits for */

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

/* Does the call make one node of the stream's capture, and no more? */
static bool makes_one_node(const struct driver_call *call)
{
    uint16_t op = call->record->record.op;

    return op == CUDA_OP_LAUNCH ||
           (op >= CUDA_OP_cuMemsetD8_v2 && op <= CUDA_OP_cuMemcpyDtoDAsync_v2);
}

/* The node that the call has made: what the stream's next one would come behind. */
static const void *captured_node(struct driver_call *call)
{
    const CUgraphNode *last = NULL;
    unsigned status = 0;
    size_t count = 0;

    return makes_one_node(call) &&
                   call->api->cuStreamGetCaptureInfo_v2(call->stream, &status, NULL, NULL, &last,
                                                        &count) == CUDA_SUCCESS &&
                   status && count == 1
               ? *last
               : NULL;
}

CUresult driver_captured(struct driver_call *call, CUresult result)
{
    const struct driver_memop never = {.capture = call->capture}; /* no handle is 0 */
    const void *node = result == CUDA_SUCCESS ? captured_node(call) : NULL;

    if (call->touched_more && !driver_memops_note(call->channel, &never)) {
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (unsigned i = 0; i < call->touched_count && result == CUDA_SUCCESS; i++) {
        call->touched[i].capture = call->capture;
        call->touched[i].node = node;
        if (!driver_memops_note(call->channel, &call->touched[i])) {
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

/* ---- captures that go on in a graph of the process ---- */

/* Where that of a capture stands, or 0 for a free place; -1: none. */
static int fill_of(const struct driver_channel *channel, uint64_t capture)
{
    for (int i = 0; i < (int)DRIVER_FILLS_MAX; i++) {
        if (channel->fills[i].capture == capture && (capture || !channel->fills[i].graph)) {
            return i;
        }
    }
    return -1;
}

/* The nodes that the payload names, of a graph; edges may be NULL.  Not 0: they are none of it. */
static CUresult take_nodes(struct driver_call *call, uint64_t graph, size_t count,
                           CUgraphNode *nodes, CUgraphEdgeData *data)
{
    for (size_t i = 0; i < count; i++) {
        const struct driver_entry *node;
        CUDAEdge edge;

        memcpy(&edge, call->payload + i * sizeof(edge), sizeof(edge));
        node = driver_entry(call, edge.from, CUDA_KIND_GRAPH_NODE);
        if (!node || node->of != graph) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        nodes[i] = node->real;
        data[i] = edge.data;
    }
    return CUDA_SUCCESS;
}

static CUresult begin_in_graph(struct driver_call *call, CUstream stream)
{
    struct driver_channel *channel = call->channel;
    struct driver_entry *graph = driver_graph_of(call, 2, CUDA_KIND_GRAPH);
    size_t count = call->payload_bytes / sizeof(CUDAEdge);
    CUgraphNode nodes[CUDA_EDGES_AT_ONCE];
    CUgraphEdgeData data[CUDA_EDGES_AT_ONCE];
    int place = fill_of(channel, 0);
    CUresult result;

    if (!graph || graph->filled || count > CUDA_EDGES_AT_ONCE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (place < 0) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = take_nodes(call, graph->handle, count, nodes, data);
    if (result) {
        return result;
    }
    result = call->api->cuStreamBeginCaptureToGraph(stream, graph->real, count ? nodes : NULL,
                                                    count ? data : NULL, count, MODE_RELAXED);
    if (result == CUDA_SUCCESS) {
        call->has_stream = true;
        call->stream = stream;
        channel->captures++; /* so that it is looked at */
        driver_is_captured(call);
        channel->captures--;
        channel->fills[place].capture = call->capture;
        channel->fills[place].graph = graph->handle;
        graph->filled = true;
    }
    return result;
}

/* The graph in which the capture went on; NULL: it has made one. */
static struct driver_entry *end_fill(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    int place = fill_of(channel, call->capture);
    struct driver_entry *graph;

    if (call->capture == 0 || place < 0) {
        return NULL;
    }
    graph = driver_handle_entry(channel, channel->fills[place].graph);
    channel->fills[place].capture = channel->fills[place].graph = 0;
    if (graph) {
        graph->filled = false;
    }
    return graph;
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
    result = call->arg_count > 2 ? begin_in_graph(call, stream)
                                 : call->api->cuStreamBeginCapture_v2(stream, MODE_RELAXED);
    mark = mark_of(call, call->args[0]);
    if (result == CUDA_SUCCESS && !*mark) {
        *mark = flags & 1 ? CAPTURE_PLAIN : CAPTURE_BLOCKING;
        call->context->captures++;
        call->context->blocking_captures += *mark == CAPTURE_BLOCKING;
        call->channel->captures++;
    }
    return result;
}

/* What the capture used is now the graph's; without memory for that it never runs. */
static void fill(struct driver_entry *graph, struct driver_memops *memops, bool well)
{
    graph->unknown |= !well || !driver_memops_reserve(graph, driver_memops_count(memops));
    for (size_t i = 0; !graph->unknown && i < driver_memops_count(memops); i++) {
        driver_memops_add(graph, driver_memops_at(memops, i));
    }
    driver_memops_drop(memops);
}

static CUresult new_graph(struct driver_call *call, CUgraph graph, struct driver_memops *memops,
                          CUresult result)
{
    struct driver_entry *entry =
        driver_handle_made(call, call->args[0], CUDA_KIND_GRAPH, graph, result);

    if (entry) {
        entry->memops = memops;
    } else {
        driver_memops_drop(memops);
    }
    return result;
}

CUresult driver_run_capture_end(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    struct driver_entry *filled;
    struct driver_memops *memops;
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
    well = driver_memops_take(channel, call->capture, &memops);
    filled = end_fill(call);
    call->out[0] = filled ? filled->handle : call->args[0];
    call->out_count = 1;
    if (filled) {
        fill(filled, memops, well);
        return result ? result : well ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result == CUDA_SUCCESS && !well) {
        call->api->cuGraphDestroy(graph);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    return new_graph(call, graph, memops, result);
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

static void destroy_new(struct driver_channel *channel, CUgraph graph)
{
    for (uint32_t i = CUDA_CONTEXTS_MAX; graph && i < channel->entry_room; i++) {
        if (channel->entries[i].real == graph &&
            vgpu_handle_kind(channel->entries[i].handle) == CUDA_KIND_GRAPH) {
            return;
        }
    }
    if (graph) {
        channel->api->cuGraphDestroy(graph);
    }
}

/* One that goes on in a graph of the process ends with its stream, and the graph stays. */
void driver_captures_end(struct driver_channel *channel, struct driver_context *context)
{
    uint32_t index = vgpu_handle_index(context->handle);

    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        struct driver_entry *entry = &channel->entries[i];
        CUgraph graph = NULL;

        if (entry->context == index && entry->captures) {
            channel->api->cuStreamEndCapture(entry->real, &graph);
            destroy_new(channel, graph);
        }
    }
    for (unsigned lane = 0; lane < VGPU_LANES_MAX; lane++) {
        CUgraph graph = NULL;

        if (context->lane_captures[lane]) {
            channel->api->cuStreamEndCapture(context->per_thread[lane], &graph);
            destroy_new(channel, graph);
        }
    }
    for (unsigned i = 0; i < DRIVER_FILLS_MAX; i++) {
        const struct driver_entry *graph = driver_handle_entry(channel, channel->fills[i].graph);

        if (!graph || graph->context == index) {
            channel->fills[i].capture = channel->fills[i].graph = 0;
        }
    }
}

/* They belong to no context for the driver, but their kernels do. */
