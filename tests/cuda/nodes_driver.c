/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Graphs whose nodes are added by hand, and copies of rows.  Prints each call's result and what it
 * computed, the same natively and on our library.
 *
 *     nodes_driver IMAGE
 *
 * IMAGE has the kernels add(a, b, c, n) and increment(p).
 */
#include "tests/cuda/client.h"

#define RELAXED 2
#define COUNT 1000u
#define NODES_MAX 16u
#define WIDTH 48u /* bytes of a row */
#define HEIGHT 20u
#define DEPTH 3u
#define PITCH 512u
#define WIDE (3u << 20) /* bytes of a row that fits no piece of the arena */

#define NODE_FUNCTIONS(X)                                                                          \
    X(cuStreamBeginCapture, CUstream, int)                                                         \
    X(cuStreamBeginCaptureToGraph, CUstream, CUgraph, const CUgraphNode *,                         \
      const CUgraphEdgeData *, size_t, int)                                                        \
    X(cuStreamEndCapture, CUstream, CUgraph *)                                                     \
    X(cuGraphCreate, CUgraph *, unsigned)                                                          \
    X(cuGraphDestroy, CUgraph)                                                                     \
    X(cuGraphClone, CUgraph *, CUgraph)                                                            \
    X(cuGraphInstantiateWithFlags, CUgraphExec *, CUgraph, unsigned long long)                     \
    X(cuGraphExecUpdate, CUgraphExec, CUgraph, CUgraphExecUpdateResultInfo *)                      \
    X(cuGraphExecDestroy, CUgraphExec)                                                             \
    X(cuGraphLaunch, CUgraphExec, CUstream)                                                        \
    X(cuGraphGetNodes, CUgraph, CUgraphNode *, size_t *)                                           \
    X(cuGraphGetRootNodes, CUgraph, CUgraphNode *, size_t *)                                       \
    X(cuGraphNodeGetType, CUgraphNode, int *)                                                      \
    X(cuGraphAddKernelNode, CUgraphNode *, CUgraph, const CUgraphNode *, size_t,                   \
      const CUkernelNodeParams *)                                                                  \
    X(cuGraphAddMemcpyNode, CUgraphNode *, CUgraph, const CUgraphNode *, size_t,                   \
      const CUmemcpy3D *, CUcontext)                                                               \
    X(cuGraphAddMemsetNode, CUgraphNode *, CUgraph, const CUgraphNode *, size_t,                   \
      const CUmemsetNodeParams *, CUcontext)                                                       \
    X(cuGraphAddChildGraphNode, CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUgraph)      \
    X(cuGraphAddEmptyNode, CUgraphNode *, CUgraph, const CUgraphNode *, size_t)                    \
    X(cuGraphAddEventRecordNode, CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUevent)     \
    X(cuGraphAddEventWaitNode, CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUevent)       \
    X(cuGraphAddNode, CUgraphNode *, CUgraph, const CUgraphNode *, const CUgraphEdgeData *,        \
      size_t, CUgraphNodeParams *)                                                                 \
    X(cuGraphKernelNodeGetParams, CUgraphNode, CUkernelNodeParams *)                               \
    X(cuGraphKernelNodeSetParams, CUgraphNode, const CUkernelNodeParams *)                         \
    X(cuGraphMemcpyNodeGetParams, CUgraphNode, CUmemcpy3D *)                                       \
    X(cuGraphMemsetNodeGetParams, CUgraphNode, CUmemsetNodeParams *)                               \
    X(cuGraphMemsetNodeSetParams, CUgraphNode, const CUmemsetNodeParams *)                         \
    X(cuGraphChildGraphNodeGetGraph, CUgraphNode, CUgraph *)                                       \
    X(cuGraphEventRecordNodeGetEvent, CUgraphNode, CUevent *)                                      \
    X(cuGraphExecKernelNodeSetParams, CUgraphExec, CUgraphNode, const CUkernelNodeParams *)        \
    X(cuGraphExecMemcpyNodeSetParams, CUgraphExec, CUgraphNode, const CUmemcpy3D *, CUcontext)     \
    X(cuGraphExecMemsetNodeSetParams, CUgraphExec, CUgraphNode, const CUmemsetNodeParams *,        \
      CUcontext)                                                                                   \
    X(cuGraphExecChildGraphNodeSetParams, CUgraphExec, CUgraphNode, CUgraph)                       \
    X(cuGraphNodeFindInClone, CUgraphNode *, CUgraphNode, CUgraph)                                 \
    X(cuGraphNodeGetEnabled, CUgraphExec, CUgraphNode, unsigned *)                                 \
    X(cuGraphNodeSetEnabled, CUgraphExec, CUgraphNode, unsigned)                                   \
    X(cuGraphDestroyNode, CUgraphNode)                                                             \
    X(cuGraphAddDependencies, CUgraph, const CUgraphNode *, const CUgraphNode *,                   \
      const CUgraphEdgeData *, size_t)                                                             \
    X(cuGraphRemoveDependencies, CUgraph, const CUgraphNode *, const CUgraphNode *,                \
      const CUgraphEdgeData *, size_t)                                                             \
    X(cuGraphGetEdges, CUgraph, CUgraphNode *, CUgraphNode *, CUgraphEdgeData *, size_t *)         \
    X(cuGraphNodeGetDependencies, CUgraphNode, CUgraphNode *, CUgraphEdgeData *, size_t *)         \
    X(cuGraphNodeGetDependentNodes, CUgraphNode, CUgraphNode *, CUgraphEdgeData *, size_t *)       \
    X(cuGraphKernelNodeSetAttribute, CUgraphNode, int, const void *)                               \
    X(cuGraphKernelNodeGetAttribute, CUgraphNode, int, void *)                                     \
    X(cuMemAllocPitch, CUdeviceptr *, size_t *, size_t, size_t, unsigned)                          \
    X(cuMemcpy2D, const CUmemcpy2D *)                                                              \
    X(cuMemcpy2DAsync, const CUmemcpy2D *, CUstream)                                               \
    X(cuMemcpy3D, const CUmemcpy3D *)                                                              \
    X(cuMemcpy3DAsync, const CUmemcpy3D *, CUstream)

NODE_FUNCTIONS(F)

#define SAY(call) printf("%s %d\n", #call, (call))
#define SAY_NUMBER(name, number) printf("%s %llu\n", (name), (unsigned long long)(number))

struct things {
    CUcontext context;
    CUfunction add, increment;
    CUstream stream;
    CUevent event;
    CUdeviceptr a, b, c, counter;
    unsigned host[COUNT];
};

static int find_node_functions(void)
{
    int status;

#define FIND_TOO(name, ...)                                                                        \
    if (get_proc(#name, (void **)&name, 12050, 0, &status) != CUDA_SUCCESS || !name) {             \
        printf("no function %s\n", #name);                                                         \
        return 0;                                                                                  \
    }
    NODE_FUNCTIONS(FIND_TOO)
    return 1;
}

static unsigned counter(struct things *t)
{
    unsigned value = 0;

    cuCtxSynchronize();
    cuMemcpyDtoH(&value, t->counter, sizeof(value));
    return value;
}

static unsigned right_values(struct things *t, CUdeviceptr memory, unsigned factor, unsigned sum)
{
    unsigned right = 0;

    cuCtxSynchronize();
    cuMemcpyDtoH(t->host, memory, sizeof(t->host));
    for (unsigned i = 0; i < COUNT; i++) {
        right += t->host[i] == factor * i + sum;
    }
    return right;
}

static CUmemcpy3D linear(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return (CUmemcpy3D){
        .srcMemoryType = CU_MEMORY_DEVICE,
        .srcDevice = from,
        .dstMemoryType = CU_MEMORY_DEVICE,
        .dstDevice = to,
        .WidthInBytes = bytes,
        .Height = 1,
        .Depth = 1,
    };
}

/* a = 5 by a memset; b = a by a copy; c = a + b; the counter goes up behind them. */
static void try_nodes(struct things *t)
{
    unsigned count = COUNT, zero = 0;
    void *sum_params[] = {&t->a, &t->b, &t->c, &count}, *counter_params[] = {&t->counter};
    void *other_params[] = {&t->b, &t->b, &t->c, &count};
    CUkernelNodeParams sum = {.func = t->add,
                              .gridDimX = 8,
                              .gridDimY = 1,
                              .gridDimZ = 1,
                              .blockDimX = 128,
                              .blockDimY = 1,
                              .blockDimZ = 1,
                              .kernelParams = sum_params};
    CUkernelNodeParams up = {.func = t->increment,
                             .gridDimX = 1,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 1,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .kernelParams = counter_params};
    CUkernelNodeParams got = {0};
    CUmemsetNodeParams fill = {
        .dst = t->a, .value = 5, .elementSize = 4, .width = COUNT, .height = 1};
    CUmemsetNodeParams got_fill = {0};
    CUmemcpy3D copy = linear(t->b, t->a, sizeof(t->host)), got_copy = {0};
    CUgraphNode nodes[8], list[NODES_MAX], others[NODES_MAX], found;
    CUgraph graph = NULL, clone = NULL;
    CUgraphExec exec = NULL;
    CUevent event = NULL;
    size_t number = NODES_MAX;
    unsigned enabled = 7;
    int type = -1;
    CUlaunchAttribute priority = {.value = {.number = 0}};

    cuMemcpyHtoD(t->counter, &zero, sizeof(zero));
    SAY(cuGraphCreate(&graph, 0));
    SAY(cuGraphAddMemsetNode(&nodes[0], graph, NULL, 0, &fill, t->context));
    SAY(cuGraphAddMemcpyNode(&nodes[1], graph, &nodes[0], 1, &copy, t->context));
    SAY(cuGraphAddKernelNode(&nodes[2], graph, nodes, 2, &sum));
    SAY(cuGraphAddEmptyNode(&nodes[3], graph, &nodes[2], 1));
    SAY(cuGraphAddEventRecordNode(&nodes[4], graph, &nodes[3], 1, t->event));
    SAY(cuGraphAddKernelNode(&nodes[5], graph, &nodes[4], 1, &up));
    SAY(cuGraphGetNodes(graph, list, &number));
    SAY_NUMBER("nodes", number);
    number = NODES_MAX;
    SAY(cuGraphGetRootNodes(graph, list, &number));
    SAY_NUMBER("roots", number);
    SAY_NUMBER("the first is one", list[0] == nodes[0]);
    SAY(cuGraphGetEdges(graph, NULL, NULL, NULL, &number));
    SAY_NUMBER("edges", number);
    number = NODES_MAX;
    SAY(cuGraphGetEdges(graph, list, others, NULL, &number));
    SAY_NUMBER("got", number);
    number = NODES_MAX;
    SAY(cuGraphNodeGetDependencies(nodes[2], list, NULL, &number));
    SAY_NUMBER("before the kernel", number);
    number = NODES_MAX;
    SAY(cuGraphNodeGetDependentNodes(nodes[0], list, NULL, &number));
    SAY_NUMBER("behind the memset", number);
    number = 0;
    SAY(cuGraphNodeGetDependencies(nodes[0], NULL, NULL, &number));
    SAY_NUMBER("before the memset", number);
    for (unsigned i = 0; i < 6; i++) {
        SAY(cuGraphNodeGetType(nodes[i], &type));
        SAY_NUMBER("type", type);
    }
    SAY(cuGraphKernelNodeGetParams(nodes[2], &got));
    SAY_NUMBER("function", got.func == t->add);
    SAY_NUMBER("grid", got.gridDimX);
    SAY_NUMBER("first parameter",
               got.kernelParams && memcmp(got.kernelParams[0], &t->a, sizeof(t->a)) == 0);
    SAY_NUMBER("last parameter", got.kernelParams && *(unsigned *)got.kernelParams[3] == COUNT);
    SAY(cuGraphMemsetNodeGetParams(nodes[0], &got_fill));
    SAY_NUMBER("value", got_fill.value);
    SAY_NUMBER("its memory", got_fill.dst == t->a);
    SAY(cuGraphMemcpyNodeGetParams(nodes[1], &got_copy));
    SAY_NUMBER("width", got_copy.WidthInBytes);
    SAY_NUMBER("its source", got_copy.srcDevice == t->a);
    SAY(cuGraphEventRecordNodeGetEvent(nodes[4], &event));
    SAY_NUMBER("event", event == t->event);
    SAY(cuGraphKernelNodeSetAttribute(nodes[5], 8, &priority.value));
    SAY(cuGraphKernelNodeGetAttribute(nodes[5], 8, &priority.value));
    SAY_NUMBER("priority", priority.value.number);

    SAY(cuGraphInstantiateWithFlags(&exec, graph, 0));
    SAY(cuGraphLaunch(exec, t->stream));
    SAY(cuStreamSynchronize(t->stream));
    SAY(cuEventQuery(t->event));
    SAY_NUMBER("tens", right_values(t, t->c, 0, 10));
    SAY_NUMBER("counter", counter(t));

    fill.value = 7;
    SAY(cuGraphExecMemsetNodeSetParams(exec, nodes[0], &fill, t->context));
    sum.kernelParams = other_params;
    SAY(cuGraphExecKernelNodeSetParams(exec, nodes[2], &sum));
    SAY(cuGraphExecMemcpyNodeSetParams(exec, nodes[1], &copy, t->context));
    SAY(cuGraphNodeGetEnabled(exec, nodes[5], &enabled));
    SAY_NUMBER("enabled", enabled);
    SAY(cuGraphNodeSetEnabled(exec, nodes[5], 0));
    SAY(cuGraphLaunch(exec, t->stream));
    SAY_NUMBER("fourteens", right_values(t, t->c, 0, 14));
    SAY_NUMBER("counter", counter(t));
    SAY(cuGraphNodeSetEnabled(exec, nodes[5], 1));
    SAY(cuGraphExecDestroy(exec));

    SAY(cuGraphInstantiateWithFlags(&exec, graph, 0)); /* the graph is as it was */
    SAY(cuGraphLaunch(exec, t->stream));
    SAY_NUMBER("tens again", right_values(t, t->c, 0, 10));
    fill.value = 9;
    SAY(cuGraphMemsetNodeSetParams(nodes[0], &fill));
    SAY(cuGraphKernelNodeSetParams(nodes[2], &sum));
    SAY(cuGraphClone(&clone, graph));
    SAY(cuGraphNodeFindInClone(&found, nodes[0], clone));
    SAY(cuGraphMemsetNodeGetParams(found, &got_fill));
    SAY_NUMBER("the clone's value", got_fill.value);
    SAY(cuGraphNodeFindInClone(&found, found, graph));
    SAY(cuGraphDestroyNode(nodes[5]));
    number = NODES_MAX;
    SAY(cuGraphGetNodes(graph, list, &number));
    SAY_NUMBER("nodes", number);
    SAY(cuGraphRemoveDependencies(graph, &nodes[0], &nodes[2], NULL, 1));
    SAY(cuGraphRemoveDependencies(graph, &nodes[0], &nodes[2], NULL, 1));
    SAY(cuGraphAddDependencies(graph, &nodes[0], &nodes[2], NULL, 1));
    SAY(cuGraphExecDestroy(exec));
    SAY(cuGraphInstantiateWithFlags(&exec, clone, 0));
    SAY(cuGraphLaunch(exec, t->stream));
    SAY_NUMBER("eighteens", right_values(t, t->c, 0, 18));
    SAY_NUMBER("counter", counter(t));
    SAY(cuGraphExecDestroy(exec));
    SAY(cuGraphDestroy(clone));
    SAY(cuGraphDestroy(graph));
}

/* Graphs in graphs, the form for all kinds, and a capture that goes on in a graph. */
static void try_children(struct things *t)
{
    void *params[] = {&t->counter};
    CUgraphNodeParams up = {.type = CU_NODE_KERNEL,
                            .of.kernel = {.func = t->increment,
                                          .gridDimX = 1,
                                          .gridDimY = 1,
                                          .gridDimZ = 1,
                                          .blockDimX = 1,
                                          .blockDimY = 1,
                                          .blockDimZ = 1,
                                          .kernelParams = params}};
    CUgraphNodeParams wait = {.type = CU_NODE_WAIT_EVENT, .of.event = t->event};
    CUgraphNodeParams none = {.type = CU_NODE_EMPTY};
    CUgraph inner = NULL, outer = NULL, seen = NULL, ended = NULL, two = NULL;
    CUgraphNode node, next, child, list[NODES_MAX];
    CUgraphExec exec = NULL;
    size_t number = NODES_MAX;
    unsigned before = counter(t);

    SAY(cuGraphCreate(&inner, 0));
    SAY(cuGraphAddNode(&node, inner, NULL, NULL, 0, &up));
    SAY(cuGraphAddNode(&next, inner, &node, NULL, 1, &up));
    SAY(cuGraphCreate(&outer, 0));
    SAY(cuGraphAddNode(&node, outer, NULL, NULL, 0, &wait));
    SAY(cuGraphAddChildGraphNode(&child, outer, &node, 1, inner));
    SAY(cuGraphAddNode(&next, outer, &child, NULL, 1, &none));
    SAY(cuGraphChildGraphNodeGetGraph(child, &seen));
    SAY_NUMBER("a graph of its own", seen && seen != inner);
    SAY(cuGraphGetNodes(seen, list, &number));
    SAY_NUMBER("nodes inside", number);
    SAY(cuStreamBeginCaptureToGraph(t->stream, outer, &next, NULL, 1, RELAXED));
    SAY(cuLaunchKernel(t->increment, 1, 1, 1, 1, 1, 1, 0, t->stream, params, NULL));
    SAY(cuStreamEndCapture(t->stream, &ended));
    SAY_NUMBER("the same graph", ended == outer);
    number = NODES_MAX;
    SAY(cuGraphGetNodes(outer, list, &number));
    SAY_NUMBER("nodes", number);
    SAY(cuGraphInstantiateWithFlags(&exec, outer, 0));
    SAY(cuGraphLaunch(exec, t->stream));
    SAY(cuGraphLaunch(exec, t->stream));
    SAY_NUMBER("increments", counter(t) - before);
    SAY(cuGraphCreate(&two, 0));
    SAY(cuGraphAddNode(&node, two, NULL, NULL, 0, &up));
    SAY(cuGraphAddNode(&next, two, &node, NULL, 1, &up));
    SAY(cuGraphExecChildGraphNodeSetParams(exec, child, two));
    SAY(cuGraphLaunch(exec, t->stream));
    SAY_NUMBER("increments", counter(t) - before);
    SAY(cuGraphExecDestroy(exec));
    SAY(cuGraphDestroy(two));
    SAY(cuGraphDestroy(inner));
    SAY(cuGraphDestroy(outer));
}

static void try_wrong(struct things *t)
{
    CUmemsetNodeParams fill = {.dst = t->a, .value = 5, .elementSize = 3, .width = 1, .height = 1};
    CUkernelNodeParams kernel = {.func = t->increment, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1};
    CUgraph graph = NULL, other = NULL;
    CUgraphNode node = NULL, strange = NULL;

    SAY(cuGraphCreate(&graph, 0));
    SAY(cuGraphCreate(&other, 0));
    SAY(cuGraphAddEmptyNode(&strange, other, NULL, 0));
    SAY(cuGraphAddEmptyNode(NULL, graph, NULL, 0));
    SAY(cuGraphAddEmptyNode(&node, graph, NULL, 1));
    SAY(cuGraphAddEmptyNode(&node, graph, &strange, 1));
    SAY(cuGraphAddMemsetNode(&node, graph, NULL, 0, &fill, t->context));
    SAY(cuGraphAddKernelNode(&node, graph, NULL, 0, NULL));
    SAY(cuGraphAddKernelNode(&node, graph, NULL, 0, &kernel)); /* no threads, no parameters */
    SAY(cuGraphAddMemcpyNode(&node, graph, NULL, 0, NULL, t->context));
    SAY(cuGraphDestroy(other));
    SAY(cuGraphDestroy(graph));
}

/* ---- rows ---- */

static unsigned char byte_at(unsigned x, unsigned y, unsigned z)
{
    return (unsigned char)(x * 7 + y * 13 + z * 101 + 1);
}

/* Host to GPU with another pitch, GPU to GPU, back to the host: each from ordinary memory and from
 * pinned. */
static void try_rows(struct things *t, int pinned)
{
    size_t pitch = 0, bytes = (size_t)PITCH * HEIGHT * DEPTH;
    unsigned char *from = NULL, *to = NULL;
    CUdeviceptr rows = 0, slices = 0;
    unsigned right = 0, kept = 0;
    CUmemcpy2D flat = {0};
    CUmemcpy3D deep = {0};

    if (pinned) {
        cuMemHostAlloc((void **)&from, bytes, 0);
        cuMemHostAlloc((void **)&to, bytes, 0);
    } else {
        from = malloc(bytes);
        to = malloc(bytes);
    }
    memset(to, 0xee, bytes);
    for (unsigned i = 0; i < bytes; i++) {
        from[i] = byte_at(i % PITCH, i / PITCH % HEIGHT, i / PITCH / HEIGHT);
    }
    SAY(cuMemAllocPitch(&rows, &pitch, WIDTH, HEIGHT * DEPTH, 4));
    SAY(cuMemAlloc(&slices, WIDTH * HEIGHT * DEPTH));
    for (unsigned z = 0; z < DEPTH; z++) {
        flat = (CUmemcpy2D){.srcMemoryType = CU_MEMORY_HOST,
                            .srcHost = from + (size_t)z * PITCH * HEIGHT,
                            .srcXInBytes = 16,
                            .srcPitch = PITCH,
                            .dstMemoryType = CU_MEMORY_DEVICE,
                            .dstDevice = rows,
                            .dstY = z * HEIGHT,
                            .dstPitch = pitch,
                            .WidthInBytes = WIDTH,
                            .Height = HEIGHT};
        SAY(z ? cuMemcpy2D(&flat) : cuMemcpy2DAsync(&flat, t->stream));
    }
    SAY(cuStreamSynchronize(t->stream));
    deep = (CUmemcpy3D){.srcMemoryType = CU_MEMORY_DEVICE,
                        .srcDevice = rows,
                        .srcPitch = pitch,
                        .srcHeight = HEIGHT,
                        .dstMemoryType = CU_MEMORY_UNIFIED,
                        .dstDevice = slices,
                        .dstPitch = WIDTH,
                        .dstHeight = HEIGHT,
                        .WidthInBytes = WIDTH,
                        .Height = HEIGHT,
                        .Depth = DEPTH};
    SAY(cuMemcpy3D(&deep));
    SAY(cuCtxSynchronize());
    deep = (CUmemcpy3D){.srcMemoryType = CU_MEMORY_DEVICE,
                        .srcDevice = slices,
                        .srcPitch = WIDTH,
                        .srcHeight = HEIGHT,
                        .dstMemoryType = CU_MEMORY_HOST,
                        .dstHost = to,
                        .dstXInBytes = 8,
                        .dstPitch = PITCH,
                        .dstHeight = HEIGHT,
                        .WidthInBytes = WIDTH,
                        .Height = HEIGHT,
                        .Depth = DEPTH};
    SAY(cuMemcpy3DAsync(&deep, t->stream));
    SAY(cuStreamSynchronize(t->stream));
    for (unsigned i = 0; i < bytes; i++) {
        unsigned x = i % PITCH, y = i / PITCH % HEIGHT, z = i / PITCH / HEIGHT;

        if (x < 8 || x >= 8 + WIDTH) {
            kept += to[i] == 0xee;
        } else {
            right += to[i] == byte_at(x + 8, y, z);
        }
    }
    SAY_NUMBER("right bytes", right);
    SAY_NUMBER("kept bytes", kept);
    SAY(cuMemFree(rows));
    SAY(cuMemFree(slices));
    if (pinned) {
        cuMemFreeHost(from);
        cuMemFreeHost(to);
    } else {
        free(from);
        free(to);
    }
}

static void try_wide_rows(void)
{
    unsigned char *from = malloc(2 * (size_t)WIDE), *to = calloc(2, WIDE);
    CUdeviceptr memory = 0;
    CUmemcpy2D copy;

    for (unsigned i = 0; i < 2 * WIDE; i++) {
        from[i] = (unsigned char)(i * 31 + i / 4093);
    }
    SAY(cuMemAlloc(&memory, 2 * (size_t)WIDE));
    copy = (CUmemcpy2D){.srcMemoryType = CU_MEMORY_HOST,
                        .srcHost = from,
                        .srcPitch = WIDE,
                        .dstMemoryType = CU_MEMORY_DEVICE,
                        .dstDevice = memory,
                        .dstPitch = WIDE,
                        .WidthInBytes = WIDE - 5,
                        .Height = 2};
    SAY(cuMemcpy2D(&copy));
    copy = (CUmemcpy2D){.srcMemoryType = CU_MEMORY_DEVICE,
                        .srcDevice = memory,
                        .srcPitch = WIDE,
                        .dstMemoryType = CU_MEMORY_HOST,
                        .dstHost = to,
                        .dstPitch = WIDE,
                        .WidthInBytes = WIDE - 5,
                        .Height = 2};
    SAY(cuMemcpy2D(&copy));
    SAY_NUMBER("the same",
               memcmp(from, to, WIDE - 5) == 0 && memcmp(from + WIDE, to + WIDE, WIDE - 5) == 0);
    SAY_NUMBER("nothing between", to[WIDE - 1] == 0);
    SAY(cuMemFree(memory));
    free(from);
    free(to);
}

static void try_wrong_rows(struct things *t)
{
    CUmemcpy2D copy = {.srcMemoryType = CU_MEMORY_HOST,
                       .srcHost = t->host,
                       .srcPitch = 8,
                       .dstMemoryType = CU_MEMORY_DEVICE,
                       .dstDevice = t->a,
                       .dstPitch = 64,
                       .WidthInBytes = 16,
                       .Height = 4};

    SAY(cuMemcpy2D(&copy)); /* rows that overlap */
    copy.srcPitch = 16;
    copy.dstPitch = 8;
    SAY(cuMemcpy2D(&copy));
    copy.dstPitch = 64;
    copy.dstMemoryType = 9;
    SAY(cuMemcpy2D(&copy));
    copy.dstMemoryType = CU_MEMORY_DEVICE;
    copy.WidthInBytes = 0;
    SAY(cuMemcpy2D(&copy));
    copy.WidthInBytes = 16;
    copy.Height = 0;
    SAY(cuMemcpy2D(&copy));
    SAY(cuMemcpy2D(NULL));
}

static int open_things(struct things *t, const char *image)
{
    CUmodule module;

    return cuInit(0) == 0 && cuDevicePrimaryCtxRetain(&t->context, 0) == 0 &&
           cuCtxSetCurrent(t->context) == 0 && cuModuleLoadData(&module, image) == 0 &&
           cuModuleGetFunction(&t->add, module, "add") == 0 &&
           cuModuleGetFunction(&t->increment, module, "increment") == 0 &&
           cuStreamCreate(&t->stream, 1) == 0 && cuEventCreate(&t->event, 2) == 0 &&
           cuMemAlloc(&t->a, sizeof(t->host)) == 0 && cuMemAlloc(&t->b, sizeof(t->host)) == 0 &&
           cuMemAlloc(&t->c, sizeof(t->host)) == 0 && cuMemAlloc(&t->counter, 4) == 0;
}

int main(int argc, char **argv)
{
    static struct things t;

    if (argc != 2 || !find_functions() || !find_node_functions() ||
        !open_things(&t, read_image(argv[1]))) {
        printf("it did not come so far\n");
        return 1;
    }
    try_nodes(&t);
    try_children(&t);
    try_wrong(&t);
    try_rows(&t, 0);
    try_rows(&t, 1);
    try_wide_rows();
    try_wrong_rows(&t);
    return 0;
}
