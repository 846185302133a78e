/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes of graphs that a process adds by hand, and what they do.
 *
 * Every address of a copy or memset is looked up when the node gets it, and again whenever the
 * graph is to run (driver_memops.c); so are functions and events.  Ordinary memory of the process
 * is no end of a copy: the graph would read it at its launch.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <string.h>

#include "cuda/copy.h"

#define USES_MAX 2u /* of one node: both ends of a copy */

/* What a node is to do, from a record. */
struct node {
    int type;
    CUDANode of;
    const uint8_t *params;
    CUkernelNodeParams kernel;
    CUmemcpy3D copy;
    CUmemsetNodeParams set;
    CUevent event;
    struct driver_entry *graph;
    bool moves; /* the graph goes into the node, which gets no copy of it */
    void *pointers[CUDA_PARAMS_MAX];
    struct driver_memop uses[USES_MAX];
    unsigned use_count;
};

static void use(struct node *node, uint64_t address, uint64_t bytes)
{
    node->uses[node->use_count++] = (struct driver_memop){.address = address, .bytes = bytes};
}

/* ---- handles ---- */

uint64_t driver_node_handle(struct driver_call *call, uint64_t graph, CUgraphNode node,
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

struct driver_entry *driver_node_of(struct driver_call *call, unsigned at, int type)
{
    struct driver_entry *node = driver_graph_of(call, at, CUDA_KIND_GRAPH_NODE);
    int is = -1;

    return node && call->api->cuGraphNodeGetType(node->real, &is) == CUDA_SUCCESS && is == type
               ? node
               : NULL;
}

bool driver_node_is_in(struct driver_call *call, const struct driver_entry *node,
                       const struct driver_entry *exec)
{
    return driver_graph_is_in(call->channel, node->of, exec->source);
}

/* ---- copies ---- */

static CUresult check_side(struct driver_call *call, const CUDASide *side, const CUDACopy *copy,
                           bool *is_host)
{
    uint64_t start = cuda_side_start(side), bytes = cuda_side_span(side, copy);

    *is_host = side->type == CU_MEMORY_HOST;
    if (*is_host) {
        return driver_pin_part(call, start, bytes);
    }
    if (side->type != CU_MEMORY_DEVICE && side->type != CU_MEMORY_UNIFIED) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    return driver_range_ok(call, start, bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult driver_take_copy(struct driver_call *call, const CUDACopy *from, CUmemcpy3D *copy)
{
    bool host_src, host_dst;
    CUresult result;

    if (from->width == 0 || from->height == 0 || from->depth == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = check_side(call, &from->src, from, &host_src);
    result = result ? result : check_side(call, &from->dst, from, &host_dst);
    if (result) {
        return result;
    }
    *copy = (CUmemcpy3D){
        .srcXInBytes = from->src.x,
        .srcY = from->src.y,
        .srcZ = from->src.z,
        .srcMemoryType = (int)from->src.type,
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): checked to lie in the window */
        .srcHost = host_src ? (const void *)(uintptr_t)from->src.address : NULL,
        .srcDevice = host_src ? 0 : from->src.address,
        .srcPitch = from->src.pitch,
        .srcHeight = from->src.height,
        .dstXInBytes = from->dst.x,
        .dstY = from->dst.y,
        .dstZ = from->dst.z,
        .dstMemoryType = (int)from->dst.type,
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): checked to lie in the window */
        .dstHost = host_dst ? (void *)(uintptr_t)from->dst.address : NULL,
        .dstDevice = host_dst ? 0 : from->dst.address,
        .dstPitch = from->dst.pitch,
        .dstHeight = from->dst.height,
        .WidthInBytes = from->width,
        .Height = from->height,
        .Depth = from->depth,
    };
    return CUDA_SUCCESS;
}

/* ---- what a node does ---- */

/* Each parameter where the function has it, in the record's bytes. */
static CUresult take_params(struct driver_call *call, CUfunction function, struct node *node)
{
    size_t offset, bytes;
    unsigned count = 0;

    while (call->api->cuFuncGetParamInfo(function, count, &offset, &bytes) == CUDA_SUCCESS) {
        if (count == CUDA_PARAMS_MAX || offset > node->of.of.kernel.param_bytes ||
            bytes > node->of.of.kernel.param_bytes - offset) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        node->pointers[count++] = (void *)(uintptr_t)(node->params + offset);
    }
    node->kernel.kernelParams = count ? node->pointers : NULL;
    return CUDA_SUCCESS;
}

static CUresult take_kernel(struct driver_call *call, struct node *node)
{
    const CUDAKernelNode *from = &node->of.of.kernel;
    struct driver_entry *function = driver_entry(call, from->function, CUDA_KIND_FUNCTION);
    CUresult result;

    if (!function) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    result = driver_charge_local(call, function);
    if (result) {
        return result;
    }
    node->kernel = (CUkernelNodeParams){
        .func = driver_function(call, from->function, &result),
        .gridDimX = from->grid[0],
        .gridDimY = from->grid[1],
        .gridDimZ = from->grid[2],
        .blockDimX = from->block[0],
        .blockDimY = from->block[1],
        .blockDimZ = from->block[2],
        .sharedMemBytes = from->shared_bytes,
    };
    use(node, from->function, 0);
    return result ? result : take_params(call, node->kernel.func, node);
}

static CUresult take_copy(struct driver_call *call, struct node *node)
{
    const CUDACopy *copy = &node->of.of.copy;
    CUresult result = driver_take_copy(call, copy, &node->copy);

    use(node, cuda_side_start(&copy->src), result ? 1 : cuda_side_span(&copy->src, copy));
    use(node, cuda_side_start(&copy->dst), result ? 1 : cuda_side_span(&copy->dst, copy));
    return result;
}

static CUresult take_set(struct driver_call *call, struct node *node)
{
    const CUDASetNode *from = &node->of.of.set;
    uint64_t bytes;

    if ((from->element_bytes != 1 && from->element_bytes != 2 && from->element_bytes != 4) ||
        from->width == 0 || from->height == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    bytes = bytes_of_2d(from->pitch, bytes_of(from->width, from->element_bytes), from->height);
    if (!driver_range_ok(call, from->address, bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    node->set = (CUmemsetNodeParams){
        .dst = from->address,
        .pitch = from->pitch,
        .value = from->value,
        .elementSize = from->element_bytes,
        .width = from->width,
        .height = from->height,
        .ctx = call->context->real,
    };
    use(node, from->address, bytes);
    return CUDA_SUCCESS;
}

static CUresult take_event(struct driver_call *call, struct node *node)
{
    node->event = driver_handle(call, node->of.of.handle, CUDA_KIND_EVENT);
    use(node, node->of.of.handle, 0);
    return node->event ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult take_graph(struct driver_call *call, struct node *node)
{
    node->graph = driver_entry(call, node->of.of.handle, CUDA_KIND_GRAPH);
    return !node->graph                                  ? CUDA_ERROR_INVALID_HANDLE
           : node->graph->unknown || node->graph->filled ? CUDA_ERROR_INVALID_VALUE
                                                         : CUDA_SUCCESS;
}

/* The payload from `at` on: what the node does, and a kernel's parameters behind `skip` bytes. */
static CUresult take_node(struct driver_call *call, uint64_t type, size_t skip, struct node *node)
{
    size_t bytes = sizeof(node->of) + skip;

    if (call->payload_bytes < bytes) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    node->type = (int)type;
    node->moves = false;
    node->use_count = 0;
    memcpy(&node->of, call->payload, sizeof(node->of));
    node->params = call->payload + bytes;
    switch (type) {
    case CU_NODE_KERNEL:
        return node->of.of.kernel.param_bytes > call->payload_bytes - bytes
                   ? CUDA_ERROR_INVALID_VALUE
                   : take_kernel(call, node);
    case CU_NODE_COPY: return take_copy(call, node);
    case CU_NODE_SET: return take_set(call, node);
    case CU_NODE_GRAPH: return take_graph(call, node);
    case CU_NODE_EMPTY: return CUDA_SUCCESS;
    case CU_NODE_WAIT_EVENT:
    case CU_NODE_EVENT_RECORD: return take_event(call, node);
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
}

/* ---- adding ---- */

static CUresult add_graph(struct driver_call *call, CUgraph graph, const CUgraphNode *before,
                          size_t count, const struct node *node, CUgraphNode *made)
{
    CUgraphNodeParams params = {.type = CU_NODE_GRAPH,
                                .of.child = {.graph = node->graph->real, .ownership = 1}};

    return node->moves
               ? call->api->cuGraphAddNode_v2(made, graph, before, NULL, count, &params)
               : call->api->cuGraphAddChildGraphNode(made, graph, before, count, node->graph->real);
}

static CUresult add(struct driver_call *call, CUgraph graph, const CUgraphNode *before,
                    size_t count, struct node *node, CUgraphNode *made)
{
    const struct driver_api *api = call->api;

    before = count ? before : NULL;
    switch (node->type) {
    case CU_NODE_KERNEL:
        return api->cuGraphAddKernelNode_v2(made, graph, before, count, &node->kernel);
    case CU_NODE_COPY:
        return api->cuGraphAddMemcpyNode(made, graph, before, count, &node->copy,
                                         call->context->real);
    case CU_NODE_SET:
        return api->cuGraphAddMemsetNode(made, graph, before, count, &node->set,
                                         call->context->real);
    case CU_NODE_GRAPH: return add_graph(call, graph, before, count, node, made);
    case CU_NODE_WAIT_EVENT:
        return api->cuGraphAddEventWaitNode(made, graph, before, count, node->event);
    case CU_NODE_EVENT_RECORD:
        return api->cuGraphAddEventRecordNode(made, graph, before, count, node->event);
    default: return api->cuGraphAddEmptyNode(made, graph, before, count);
    }
}

/* The nodes before it, and their edges' data; *plain: there is none. */
static CUresult take_edges(struct driver_call *call, uint64_t graph, size_t count,
                           CUgraphNode *before, CUgraphEdgeData *data, bool *plain)
{
    static const CUgraphEdgeData none;

    *plain = true;
    if (count > CUDA_EDGES_AT_ONCE ||
        call->payload_bytes < sizeof(CUDANode) + count * sizeof(CUDAEdge)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < count; i++) {
        const struct driver_entry *node;
        CUDAEdge edge;

        memcpy(&edge, call->payload + sizeof(CUDANode) + i * sizeof(edge), sizeof(edge));
        node = driver_entry(call, edge.from, CUDA_KIND_GRAPH_NODE);
        if (!node || node->of != graph) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        before[i] = node->real;
        data[i] = edge.data;
        *plain = *plain && memcmp(&none, &edge.data, sizeof(none)) == 0;
    }
    return CUDA_SUCCESS;
}

/* Edges with data are put behind the node's making: so it is one call of the driver for all. */
static CUresult add_with_edges(struct driver_call *call, const struct driver_entry *graph,
                               struct node *node, CUgraphNode *made)
{
    CUgraphNode before[CUDA_EDGES_AT_ONCE], self[CUDA_EDGES_AT_ONCE];
    CUgraphEdgeData data[CUDA_EDGES_AT_ONCE];
    size_t count = call->args[3];
    bool plain;
    CUresult result = take_edges(call, graph->handle, count, before, data, &plain);

    result = result ? result : add(call, graph->real, before, plain ? count : 0, node, made);
    if (result || plain) {
        return result;
    }
    for (size_t i = 0; i < count; i++) {
        self[i] = *made;
    }
    result = call->api->cuGraphAddDependencies_v2(graph->real, before, self, data, count);
    if (result) {
        call->api->cuGraphDestroyNode(*made);
    }
    return result;
}

/* What the node uses is noted; there is room for that. */
static void note(struct driver_entry *list, const struct node *node,
                 const struct driver_memops *inside, const void *real)
{
    for (unsigned i = 0; i < node->use_count; i++) {
        struct driver_memop memop = node->uses[i];

        memop.node = real;
        driver_memops_add(list, &memop);
    }
    for (size_t i = 0; i < driver_memops_count(inside); i++) {
        struct driver_memop memop = *driver_memops_at(inside, i);

        memop.node = real;
        driver_memops_add(list, &memop);
    }
}

/* What a graph that goes into the node uses; the caller's to drop. */
static CUresult uses_inside(struct driver_call *call, const struct node *node,
                            struct driver_memops **inside)
{
    *inside = NULL;
    if (node->type != CU_NODE_GRAPH || node->moves) {
        return CUDA_SUCCESS; /* one that moves keeps its list */
    }
    if (!driver_memops_of_graph(call->channel, node->graph, inside)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

/* A graph may go into one node, and into no graph that is inside of it. */
static CUresult take_ownership(struct driver_call *call, const struct driver_entry *graph,
                               struct node *node)
{
    node->moves = node->type == CU_NODE_GRAPH && call->args[4] == 1;
    return call->args[4] > node->moves ||
                   (node->moves &&
                    (node->graph->of ||
                     driver_graph_is_in(call->channel, graph->handle, node->graph->handle)))
               ? CUDA_ERROR_INVALID_VALUE
               : CUDA_SUCCESS;
}

CUresult driver_run_graph_add(struct driver_call *call)
{
    struct driver_entry *graph;
    struct driver_memops *inside;
    struct node node;
    CUgraphNode made = NULL;
    CUresult result;

    if (call->arg_count < 5 || !driver_handle_free(call, call->args[0], CUDA_KIND_GRAPH_NODE)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    graph = driver_graph_of(call, 1, CUDA_KIND_GRAPH);
    if (!graph || call->args[3] > CUDA_EDGES_AT_ONCE) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = take_node(call, call->args[2], call->args[3] * sizeof(CUDAEdge), &node);
    result = result ? result : take_ownership(call, graph, &node);
    result = result ? result : uses_inside(call, &node, &inside);
    if (result) {
        return result;
    }
    if (!driver_memops_reserve(graph, node.use_count + driver_memops_count(inside))) {
        driver_memops_drop(inside);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = add_with_edges(call, graph, &node, &made);
    if (result == CUDA_SUCCESS) {
        note(graph, &node, inside, made);
        driver_node_handle(call, call->args[1], made, call->args[0]);
        if (node.moves) {
            node.graph->of = call->args[0];
        }
    }
    driver_memops_drop(inside);
    return result;
}

/* ---- changing ---- */

static CUresult set(struct driver_call *call, CUgraphNode real, struct node *node)
{
    const struct driver_api *api = call->api;

    switch (node->type) {
    case CU_NODE_KERNEL: return api->cuGraphKernelNodeSetParams_v2(real, &node->kernel);
    case CU_NODE_COPY: return api->cuGraphMemcpyNodeSetParams(real, &node->copy);
    case CU_NODE_SET: return api->cuGraphMemsetNodeSetParams(real, &node->set);
    case CU_NODE_WAIT_EVENT: return api->cuGraphEventWaitNodeSetEvent(real, node->event);
    case CU_NODE_EVENT_RECORD: return api->cuGraphEventRecordNodeSetEvent(real, node->event);
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

static CUresult set_in_instance(struct driver_call *call, CUgraphExec exec, CUgraphNode real,
                                struct node *node)
{
    const struct driver_api *api = call->api;
    CUcontext context = call->context->real;

    switch (node->type) {
    case CU_NODE_KERNEL: return api->cuGraphExecKernelNodeSetParams_v2(exec, real, &node->kernel);
    case CU_NODE_COPY: return api->cuGraphExecMemcpyNodeSetParams(exec, real, &node->copy, context);
    case CU_NODE_SET: return api->cuGraphExecMemsetNodeSetParams(exec, real, &node->set, context);
    case CU_NODE_GRAPH:
        return api->cuGraphExecChildGraphNodeSetParams(exec, real, node->graph->real);
    case CU_NODE_WAIT_EVENT: return api->cuGraphExecEventWaitNodeSetEvent(exec, real, node->event);
    case CU_NODE_EVENT_RECORD:
        return api->cuGraphExecEventRecordNodeSetEvent(exec, real, node->event);
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

/* The instance, or else the graph, whose node it is. */
static struct driver_entry *owner_of(struct driver_call *call, const struct driver_entry *node)
{
    struct driver_entry *owner = call->args[0] ? driver_graph_of(call, 0, CUDA_KIND_GRAPH_EXEC)
                                               : driver_handle_entry(call->channel, node->of);

    return owner && (!call->args[0] || driver_node_is_in(call, node, owner)) ? owner : NULL;
}

CUresult driver_run_graph_set(struct driver_call *call)
{
    struct driver_entry *entry, *owner;
    struct driver_memops *inside;
    struct node node;
    CUresult result;

    if (call->arg_count < 3) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    entry = driver_node_of(call, 1, (int)call->args[2]);
    owner = entry ? owner_of(call, entry) : NULL;
    if (!owner) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = take_node(call, call->args[2], 0, &node);
    result = result ? result : uses_inside(call, &node, &inside);
    if (result) {
        return result;
    }
    if (!driver_memops_reserve(owner, node.use_count + driver_memops_count(inside))) {
        driver_memops_drop(inside);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = call->args[0] ? set_in_instance(call, owner->real, entry->real, &node)
                           : set(call, entry->real, &node);
    if (result == CUDA_SUCCESS) {
        driver_memops_remove(owner, entry->real); /* the list is its own by now */
        note(owner, &node, inside, entry->real);
    }
    driver_memops_drop(inside);
    return result;
}

CUresult decode_cuGraphDestroyNode(struct driver_call *call)
{
    struct driver_entry *node = driver_graph_of(call, 0, CUDA_KIND_GRAPH_NODE);
    struct driver_entry *graph = node ? driver_handle_entry(call->channel, node->of) : NULL;
    const void *real;
    CUresult result;

    if (!node || !graph) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (!driver_memops_reserve(graph, 0)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    real = node->real;
    result = call->api->cuGraphDestroyNode(node->real);
    if (result == CUDA_SUCCESS) {
        driver_memops_remove(graph, real);
    }
    driver_handle_end(call, call->args[0], result);
    return result;
}
