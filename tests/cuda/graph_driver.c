/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stream capture and graphs.  Prints each call's result and what it computed, the same natively and
 * on our library.
 *
 *     graph_driver IMAGE
 *
 * IMAGE has the kernels add(a, b, c, n) and increment(p).
 */

#include "tests/cuda/client.h"

#define RELAXED 2
#define COUNT 1000u
#define LAUNCHES 20u
#define NODES_MAX 16u

#define CAPTURE_FUNCTIONS(X)                                                                       \
    X(cuStreamBeginCapture, CUstream, int)                                                         \
    X(cuStreamEndCapture, CUstream, CUgraph *)                                                     \
    X(cuStreamIsCapturing, CUstream, int *)                                                        \
    X(cuGraphCreate, CUgraph *, unsigned)                                                          \
    X(cuGraphDestroy, CUgraph)                                                                     \
    X(cuGraphClone, CUgraph *, CUgraph)                                                            \
    X(cuGraphInstantiateWithFlags, CUgraphExec *, CUgraph, unsigned long long)                     \
    X(cuGraphExecUpdate, CUgraphExec, CUgraph, CUgraphExecUpdateResultInfo *)                      \
    X(cuGraphExecDestroy, CUgraphExec)                                                             \
    X(cuGraphLaunch, CUgraphExec, CUstream)                                                        \
    X(cuGraphUpload, CUgraphExec, CUstream)                                                        \
    X(cuGraphGetNodes, CUgraph, CUgraphNode *, size_t *)                                           \
    X(cuGraphGetRootNodes, CUgraph, CUgraphNode *, size_t *)                                       \
    X(cuGraphNodeGetType, CUgraphNode, int *)

CAPTURE_FUNCTIONS(F)

#define SAY(call) printf("%s %d\n", #call, (call))
#define SAY_NUMBER(name, number) printf("%s %llu\n", (name), (unsigned long long)(number))

struct things {
    CUfunction add, increment;
    CUstream stream, side, other;
    CUevent fork, join;
    CUdeviceptr a, b, c, counter;
    unsigned host[COUNT];
};

static int find_capture_functions(void)
{
    int status;

#define FIND_TOO(name, ...)                                                                        \
    if (get_proc(#name, (void **)&name, 12050, 0, &status) != CUDA_SUCCESS || !name) {             \
        printf("no function %s\n", #name);                                                         \
        return 0;                                                                                  \
    }
    CAPTURE_FUNCTIONS(FIND_TOO)
    return 1;
}

static CUresult launch_increment(struct things *t, CUstream stream)
{
    void *params[] = {&t->counter};

    return cuLaunchKernel(t->increment, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL);
}

static unsigned counter(struct things *t)
{
    unsigned value = 0;

    cuCtxSynchronize();
    cuMemcpyDtoH(&value, t->counter, sizeof(value));
    return value;
}

/* c = a + b in the stream, two increments of which one takes the side stream. */
static void capture(struct things *t)
{
    unsigned count = COUNT;
    void *params[] = {&t->a, &t->b, &t->c, &count};
    int status = -1;

    SAY(cuStreamBeginCapture(t->stream, RELAXED));
    SAY(cuStreamIsCapturing(t->stream, &status));
    SAY_NUMBER("captures", status);
    SAY(cuStreamBeginCapture(t->stream, RELAXED));
    SAY(cuLaunchKernel(t->add, (COUNT + 127) / 128, 1, 1, 128, 1, 1, 0, t->stream, params, NULL));
    SAY(cuEventRecord(t->fork, t->stream));
    SAY(cuStreamWaitEvent(t->side, t->fork, 0));
    SAY(launch_increment(t, t->side));
    SAY(cuStreamIsCapturing(t->side, &status));
    SAY_NUMBER("the side stream captures", status);
    SAY(cuEventRecord(t->join, t->side));
    SAY(cuStreamWaitEvent(t->stream, t->join, 0));
    SAY(launch_increment(t, t->stream));
}

/* What is no part of the capture goes on beside it. */
static void beside(struct things *t)
{
    CUdeviceptr memory;

    SAY(launch_increment(t, t->other));
    SAY(cuStreamSynchronize(t->other));
    SAY(cuMemAlloc(&memory, 4096));
    SAY(cuMemFree(memory));
    SAY(cuEventRecord(t->fork, t->other));
    SAY(cuEventSynchronize(t->fork));
}

static void look_at(CUgraph graph)
{
    CUgraphNode nodes[NODES_MAX], again[NODES_MAX];
    size_t count = 0, types = 0;

    SAY(cuGraphGetNodes(graph, NULL, &count));
    SAY_NUMBER("nodes", count);
    SAY(cuGraphGetNodes(graph, nodes, &count));
    SAY(cuGraphGetNodes(graph, again, &count));
    SAY_NUMBER("the same nodes", memcmp(nodes, again, count * sizeof(nodes[0])) == 0);
    for (size_t i = 0; i < count; i++) {
        int type = -1;

        types += cuGraphNodeGetType(nodes[i], &type) == CUDA_SUCCESS && type == 0;
    }
    SAY_NUMBER("of kernels", types);
    count = NODES_MAX;
    SAY(cuGraphGetRootNodes(graph, nodes, &count));
    SAY_NUMBER("roots", count);
}

static void run(struct things *t, CUgraphExec exec)
{
    unsigned right = 0, before = counter(t);

    SAY(cuGraphUpload(exec, t->other));
    for (unsigned i = 0; i < LAUNCHES; i++) {
        CUresult result = cuGraphLaunch(exec, t->other);

        if (result) {
            printf("launch %u %d\n", i, result);
        }
    }
    SAY(cuStreamSynchronize(t->other));
    SAY(cuMemcpyDtoH(t->host, t->c, sizeof(t->host)));
    for (unsigned i = 0; i < COUNT; i++) {
        right += t->host[i] == 3 * i;
    }
    SAY_NUMBER("right sums", right);
    SAY_NUMBER("increments", counter(t) - before);
}

static void try_graph(struct things *t)
{
    CUgraph graph = NULL, clone = NULL, small = NULL;
    CUgraphExec exec = NULL, second = NULL;
    CUgraphExecUpdateResultInfo info = {-1, NULL, NULL};

    SAY(cuStreamEndCapture(t->stream, &graph));
    capture(t);
    beside(t);
    SAY(cuStreamEndCapture(t->stream, &graph));
    look_at(graph);
    SAY(cuGraphInstantiateWithFlags(&exec, graph, 0));
    SAY(cuGraphClone(&clone, graph));
    SAY(cuGraphDestroy(graph));
    run(t, exec);
    SAY(cuGraphInstantiateWithFlags(&second, clone, 0));
    run(t, second);
    SAY(cuGraphExecUpdate(exec, clone, &info));
    SAY_NUMBER("updated", info.result);
    SAY(cuStreamBeginCapture(t->stream, RELAXED));
    SAY(launch_increment(t, t->stream));
    SAY(cuStreamEndCapture(t->stream, &small));
    SAY(cuGraphExecUpdate(exec, small, &info));
    SAY_NUMBER("updated with another", info.result != 0);
    run(t, exec);
    SAY(cuGraphDestroy(small));
    SAY(cuGraphDestroy(clone));
    SAY(cuGraphExecDestroy(exec));
    SAY(cuGraphExecDestroy(second));
    SAY(cuStreamBeginCapture(NULL, RELAXED));
    SAY(cuGraphCreate(&graph, 0));
    look_at(graph);
    SAY(cuGraphDestroy(graph));
}

/* A memset and copies within the GPU as nodes; the pinned host is read when it is launched. */
static void try_copies(struct things *t)
{
    CUgraph graph;
    CUgraphExec exec;
    unsigned *pinned, right = 0;

    SAY(cuMemHostAlloc((void **)&pinned, sizeof(t->host), 0));
    SAY(cuStreamBeginCapture(t->stream, RELAXED));
    SAY(cuMemcpyHtoDAsync(t->a, pinned, sizeof(t->host), t->stream));
    SAY(cuMemcpyDtoHAsync(pinned, t->b, sizeof(t->host), t->stream));
    SAY(cuStreamEndCapture(t->stream, &graph));
    SAY(cuGraphInstantiateWithFlags(&exec, graph, 0));
    for (unsigned i = 0; i < COUNT; i++) {
        pinned[i] = 7 * i;
    }
    SAY(cuGraphLaunch(exec, t->stream));
    SAY(cuStreamSynchronize(t->stream));
    SAY(cuMemcpyDtoH(t->host, t->a, sizeof(t->host)));
    for (unsigned i = 0; i < COUNT; i++) {
        right += t->host[i] == 7 * i && pinned[i] == 2 * i;
    }
    SAY_NUMBER("right copies", right);
    SAY(cuGraphDestroy(graph));
    SAY(cuGraphExecDestroy(exec));
    SAY(cuMemFreeHost(pinned));
}

static int open_things(struct things *t, const char *image)
{
    CUcontext context;
    CUmodule module;
    unsigned zero = 0;

    if (cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context) ||
        cuModuleLoadData(&module, image) || cuModuleGetFunction(&t->add, module, "add") ||
        cuModuleGetFunction(&t->increment, module, "increment") || cuStreamCreate(&t->stream, 1) ||
        cuStreamCreate(&t->side, 1) || cuStreamCreate(&t->other, 1) || cuEventCreate(&t->fork, 2) ||
        cuEventCreate(&t->join, 2) || cuMemAlloc(&t->a, sizeof(t->host)) ||
        cuMemAlloc(&t->b, sizeof(t->host)) || cuMemAlloc(&t->c, sizeof(t->host)) ||
        cuMemAlloc(&t->counter, 4) || cuMemcpyHtoD(t->counter, &zero, 4)) {
        return 0;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        t->host[i] = i;
    }
    cuMemcpyHtoD(t->a, t->host, sizeof(t->host));
    for (unsigned i = 0; i < COUNT; i++) {
        t->host[i] = 2 * i;
    }
    return cuMemcpyHtoD(t->b, t->host, sizeof(t->host)) == CUDA_SUCCESS;
}

int main(int argc, char **argv)
{
    static struct things t;

    if (argc != 2 || !find_functions() || !find_capture_functions() ||
        !open_things(&t, read_image(argv[1]))) {
        printf("it did not come so far\n");
        return 1;
    }
    try_graph(&t);
    try_copies(&t);
    return 0;
}
