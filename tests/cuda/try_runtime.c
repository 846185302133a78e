/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program on the CUDA runtime that checks every value that comes back.  It runs unchanged
 * natively on NVIDIA's runtime, on ours over NVIDIA's driver, and through us.
 *
 *     try_runtime            all but what follows
 *     try_runtime fault      a fault on the GPU, and what it does to later calls
 *
 * Exit status: 0 all well, 1 something is wrong.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cuda/runtime_program.h"

#define ELEMENTS 5000u
#define BYTES (ELEMENTS * sizeof(unsigned))
#define NOWHERE ((void *)0x10) /* no memory */

/* They are not built; natively they are not called. */
cudaError_t cudaMallocManaged(void **memory, size_t bytes, unsigned flags);
cudaError_t cudaIpcGetMemHandle(void *handle, void *memory);
cudaError_t cudaDeviceEnablePeerAccess(int device, unsigned flags);

static unsigned wrong;

static void expect(const char *what, int got, int wanted)
{
    if (got != wanted) {
        printf("%s: %d in place of %d\n", what, got, wanted);
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    }
}

#define OK(call) expect(#call, (int)(call), cudaSuccess)
#define GIVES(wanted, call) expect(#call, (int)(call), wanted)
#define TRUE(holds) expect(#holds, !!(holds), 1)

/* ---- before anything has a context ---- */

static void try_without_context(void)
{
    struct cudaDeviceProp prop;
    int value = -1;

    memset(&prop, 0x5a, sizeof(prop));
    OK(cudaGetDeviceCount(&value));
    expect("devices", value, 1);
    OK(cudaRuntimeGetVersion(&value));
    expect("version", value, 13000);
    OK(cudaDriverGetVersion(&value));
    TRUE(value >= 13000);
    OK(cudaGetDevice(&value));
    expect("device", value, 0);
    OK(cudaGetDeviceProperties(&prop, 0));
    TRUE(prop.name[0] && prop.totalGlobalMem > 0 && prop.multiProcessorCount > 0);
    TRUE(prop.warpSize > 0 && prop.maxThreadsPerBlock == 1024);
    TRUE(prop.reserved[0] == 0x5a5a5a5a && prop.reserved[55] == 0x5a5a5a5a);
    GIVES(cudaErrorInvalidDevice, cudaGetDeviceProperties(&prop, 5));
    OK(cudaDeviceGetAttribute(&value, 16, 0));
    expect("multiprocessors", value, prop.multiProcessorCount);
    GIVES(cudaErrorInvalidDevice, cudaSetDevice(3));
    GIVES(cudaErrorInvalidDevice, cudaSetDevice(-1));
    expect("the last error", cudaPeekAtLastError(), cudaErrorInvalidDevice);
    OK(cudaGetDevice(&value));
    expect("a success clears nothing", cudaGetLastError(), cudaErrorInvalidDevice);
    expect("it was read", cudaGetLastError(), cudaSuccess);
}

static void try_texts(void)
{
    TRUE(strcmp(cudaGetErrorName(1), "cudaErrorInvalidValue") == 0);
    TRUE(strcmp(cudaGetErrorString(1), "invalid argument") == 0);
    TRUE(strcmp(cudaGetErrorName(77777), "unrecognized error code") == 0);
    TRUE(strcmp(cudaGetErrorString(-3), "unrecognized error code") == 0);
}

/* ---- memory and copies ---- */

static void try_memory(void)
{
    struct cudaPointerAttributes attributes;
    unsigned *device = NULL, *pinned = NULL;
    size_t free_bytes = 0, total = 0, pitch = 0;
    void *nothing = NOWHERE;

    OK(cudaMalloc(&nothing, 0));
    TRUE(nothing == NULL);
    OK(cudaFree(NULL));
    OK(cudaFreeHost(NULL));
    GIVES(cudaErrorInvalidValue, cudaMalloc(NULL, 16));
    GIVES(cudaErrorInvalidValue, cudaFree(NOWHERE));
    GIVES(cudaErrorMemoryAllocation, cudaMalloc(&nothing, (size_t)1 << 60));
    OK(cudaMalloc((void **)&device, BYTES));
    OK(cudaPointerGetAttributes(&attributes, device + 3));
    expect("type", (int)attributes.type, cudaMemoryTypeDevice);
    expect("device", attributes.device, 0);
    TRUE(attributes.devicePointer == device + 3);
    TRUE(attributes.hostPointer == NULL);
    OK(cudaPointerGetAttributes(&attributes, &wrong));
    TRUE(attributes.type == cudaMemoryTypeUnregistered && attributes.device == -2);
    GIVES(cudaErrorInvalidValue, cudaPointerGetAttributes(NULL, device));
    OK(cudaHostAlloc((void **)&pinned, BYTES, 0));
    OK(cudaPointerGetAttributes(&attributes, pinned));
    expect("type", (int)attributes.type, cudaMemoryTypeHost);
    TRUE(attributes.hostPointer == pinned);
    OK(cudaMemGetInfo(&free_bytes, &total));
    TRUE(free_bytes > 0 && total >= free_bytes);
    OK(cudaFree(device));
    GIVES(cudaErrorInvalidValue, cudaFree(device));
    OK(cudaFreeHost(pinned));
    OK(cudaMallocPitch((void **)&device, &pitch, 100, 20));
    TRUE(pitch >= 100);
    OK(cudaFree(device));
    expect("the last of them", cudaGetLastError(), cudaErrorInvalidValue);
}

static void try_kinds(void)
{
    unsigned host[4] = {1, 2, 3, 4}, back[4] = {0};
    unsigned *a = NULL, *b = NULL;

    OK(cudaMalloc((void **)&a, sizeof(host)));
    OK(cudaMalloc((void **)&b, sizeof(host)));
    OK(cudaMemcpy(a, host, sizeof(host), cudaMemcpyHostToDevice));
    OK(cudaMemcpy(b, a, sizeof(host), cudaMemcpyDeviceToDevice));
    OK(cudaMemcpy(back, b, sizeof(host), cudaMemcpyDeviceToHost));
    TRUE(memcmp(back, host, sizeof(host)) == 0);
    memset(back, 0, sizeof(back));
    OK(cudaMemset(a, 0x11, sizeof(host)));
    OK(cudaMemcpy(b, a, sizeof(host), cudaMemcpyDefault));
    OK(cudaMemcpy(back, b, sizeof(host), cudaMemcpyDefault));
    TRUE(back[0] == 0x11111111 && back[3] == 0x11111111);
    OK(cudaMemcpy(b, host, sizeof(host), cudaMemcpyDefault));
    OK(cudaMemcpy_ptds(back, b, sizeof(host), cudaMemcpyDeviceToHost));
    TRUE(memcmp(back, host, sizeof(host)) == 0);
    memset(back, 0, sizeof(back));
    OK(cudaMemcpy(back, host, sizeof(host), cudaMemcpyHostToHost));
    TRUE(memcmp(back, host, sizeof(host)) == 0);
    OK(cudaMemcpy(NULL, NULL, 0, cudaMemcpyHostToDevice));
    GIVES(cudaErrorInvalidMemcpyDirection, cudaMemcpy(a, host, 4, (enum cudaMemcpyKind)7));
    GIVES(cudaErrorInvalidValue, cudaMemcpy(a, NULL, 4, cudaMemcpyHostToDevice));
    OK(cudaMemcpy(a, b, 4, cudaMemcpyHostToDevice)); /* both are of the GPU, and that counts */
    OK(cudaMemcpy(b, a, 4, cudaMemcpyDeviceToHost));
    GIVES(cudaErrorInvalidValue, cudaMemcpy(host, back, 4, cudaMemcpyDeviceToDevice));
    GIVES(cudaErrorInvalidValue, cudaMemcpy(a, host, sizeof(host) + 4096, cudaMemcpyHostToDevice));
    OK(cudaFree(a));
    OK(cudaFree(b));
    cudaGetLastError();
}

static void try_rows(void)
{
    unsigned char host[6][10], back[6][10] = {{0}};
    unsigned char *device = NULL;
    size_t pitch = 0;

    for (unsigned i = 0; i < sizeof(host); i++) {
        host[i / 10][i % 10] = (unsigned char)i;
    }
    OK(cudaMallocPitch((void **)&device, &pitch, 7, 6));
    OK(cudaMemset2D(device, pitch, 0xee, 7, 6));
    OK(cudaMemcpy2D(device, pitch, host, 10, 5, 6, cudaMemcpyHostToDevice));
    OK(cudaMemcpy2D(back, 10, device, pitch, 7, 6, cudaMemcpyDeviceToHost));
    for (unsigned y = 0; y < 6; y++) {
        TRUE(memcmp(back[y], host[y], 5) == 0 && back[y][5] == 0xee && back[y][6] == 0xee &&
             back[y][7] == 0);
    }
    GIVES(12, cudaMemcpy2D(device, 3, host, 10, 5, 6, cudaMemcpyHostToDevice));
    OK(cudaFree(device));
    cudaGetLastError();
}

/* ---- kernels ---- */

static void try_add(void)
{
    unsigned *host = malloc(BYTES), *a = NULL, *b = NULL, *c = NULL, off = 0;

    for (unsigned i = 0; i < ELEMENTS; i++) {
        host[i] = i;
    }
    OK(cudaMalloc((void **)&a, BYTES));
    OK(cudaMalloc((void **)&b, BYTES));
    OK(cudaMalloc((void **)&c, BYTES));
    OK(cudaMemcpy(a, host, BYTES, cudaMemcpyHostToDevice));
    OK(cudaMemcpy(b, host, BYTES, cudaMemcpyHostToDevice));
    LAUNCH((ELEMENTS + 255) / 256, 256, NULL, add(a, b, c, ELEMENTS));
    expect("the launch", cudaGetLastError(), cudaSuccess);
    memset(host, 0, BYTES);
    OK(cudaMemcpy(host, c, BYTES, cudaMemcpyDeviceToHost));
    for (unsigned i = 0; i < ELEMENTS; i++) {
        off += host[i] != 2 * i;
    }
    expect("elements that are wrong", (int)off, 0);
    OK(cudaFree(a));
    OK(cudaFree(b));
    OK(cudaFree(c));
    free(host);
}

static void try_other_launches(void)
{
    cudaLaunchConfig_t config = {.gridDim = {1, 1, 1}, .blockDim = {1, 1, 1}};
    unsigned *value = NULL, back = 0;
    void *args[] = {&value};
    cudaFunction_t function = NULL;
    cudaKernel_t kernel = NULL;
    const char *name = NULL;
    dim3 one = {1, 1, 1};

    OK(cudaMalloc((void **)&value, sizeof(*value)));
    OK(cudaMemset(value, 0, sizeof(*value)));
    OK(cudaLaunchKernel((const void *)increment, one, one, args, 0, NULL));
    OK(cudaLaunchKernel_ptsz((const void *)increment, one, one, args, 0, NULL));
    OK(cudaDeviceSynchronize());
    OK(cudaLaunchKernelExC(&config, (const void *)increment, args));
    OK(cudaLaunchCooperativeKernel((const void *)increment, one, one, args, 0, NULL));
    OK(cudaGetKernel(&kernel, (const void *)increment));
    OK(cudaLaunchKernel(kernel, one, one, args, 0, NULL));
    OK(cudaMemcpy(&back, value, sizeof(back), cudaMemcpyDeviceToHost));
    expect("launches", (int)back, 5);
    OK(cudaGetFuncBySymbol(&function, (const void *)increment));
    TRUE(function != NULL);
    OK(cudaFuncGetName(&name, (const void *)increment));
    TRUE(name && strcmp(name, "increment") == 0);
    OK(cudaFree(value));
}

static void try_wrong_launches(void)
{
    struct cudaFuncAttributes attributes;
    unsigned value = 0, *memory = &value;
    void *args[] = {&memory};
    cudaKernel_t kernel = NULL;
    dim3 one = {1, 1, 1}, grid, block;
    cudaStream_t stream;
    size_t shared;

    LAUNCH(0, 1, NULL, increment(NULL));
    expect("a grid of 0", cudaGetLastError(), cudaErrorInvalidValue);
    LAUNCH(1, 2048, NULL, increment(NULL));
    expect("a block of 2048", cudaGetLastError(), cudaErrorInvalidValue);
    GIVES(cudaErrorInvalidDeviceFunction, cudaLaunchKernel(NULL, one, one, args, 0, NULL));
    GIVES(cudaErrorInvalidResourceHandle, cudaLaunchKernel(&wrong, one, one, args, 0, NULL));
    GIVES(cudaErrorInvalidResourceHandle, cudaFuncGetAttributes(&attributes, &wrong));
    for (int i = 0; i < 2; i++) { /* each time */
        LAUNCH(1, 1, NULL, lost(NULL));
        expect("no code", cudaGetLastError(), cudaErrorNoKernelImageForDevice);
    }
    OK(cudaDeviceSynchronize());
    GIVES(cudaErrorNoKernelImageForDevice, cudaFuncGetAttributes(&attributes, (void *)lost));
    LAUNCH(1, 1, NULL, absent(NULL));
    expect("no such kernel", cudaGetLastError(), cudaErrorSymbolNotFound);
    if (!getenv("TRY_NATIVE")) { /* NVIDIA's runtime crashes */
        GIVES(cudaErrorMissingConfiguration,
              __cudaPopCallConfiguration(&grid, &block, &shared, &stream));
        GIVES(cudaErrorInvalidDeviceFunction, __cudaGetKernel(&kernel, &wrong));
        GIVES(cudaErrorInvalidValue, cudaLaunchKernelExC(NULL, (const void *)increment, args));
    }
    cudaGetLastError();
}

static void try_attributes(void)
{
    struct cudaFuncAttributes attributes = {0};
    int blocks = 0;

    OK(cudaFuncGetAttributes(&attributes, (const void *)add));
    TRUE(attributes.maxThreadsPerBlock == 1024 && attributes.numRegs > 0);
    TRUE(attributes.maxDynamicSharedSizeBytes >= 0);
    OK(cudaFuncSetAttribute((const void *)add, 8, 65536));
    OK(cudaFuncGetAttributes(&attributes, (const void *)add));
    expect("shared memory", attributes.maxDynamicSharedSizeBytes, 65536);
    GIVES(cudaErrorInvalidValue, cudaFuncSetAttribute((const void *)add, 8, 1 << 30));
    GIVES(cudaErrorInvalidValue, cudaFuncGetAttributes(NULL, (const void *)add));
    OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, (const void *)add, 256, 0));
    TRUE(blocks > 0);
    cudaGetLastError();
}

static void try_symbols(void)
{
    unsigned value = 4711, back = 0;
    void *address = NULL;
    size_t bytes = 0;

    OK(cudaMemcpyToSymbol(&counter, &value, sizeof(value), 0, cudaMemcpyHostToDevice));
    OK(cudaMemcpyFromSymbol(&back, &counter, sizeof(back), 0, cudaMemcpyDeviceToHost));
    expect("the variable", (int)back, 4711);
    OK(cudaGetSymbolSize(&bytes, &counter));
    TRUE(bytes == sizeof(counter));
    OK(cudaGetSymbolAddress(&address, &counter));
    OK(cudaMemcpy(&back, address, sizeof(back), cudaMemcpyDeviceToHost));
    expect("at its address", (int)back, 4711);
    GIVES(cudaErrorInvalidSymbol, cudaGetSymbolAddress(&address, &wrong));
    GIVES(cudaErrorInvalidSymbol, cudaGetSymbolAddress(&address, NULL));
    GIVES(cudaErrorSymbolNotFound, cudaGetSymbolSize(&bytes, &no_such_variable));
    GIVES(cudaErrorInvalidValue,
          cudaMemcpyToSymbol(&counter, &value, 4, 4, cudaMemcpyHostToDevice));
    GIVES(cudaErrorInvalidValue,
          cudaMemcpyToSymbol(&counter, &value, 4, SIZE_MAX - 1, cudaMemcpyHostToDevice));
    GIVES(cudaErrorInvalidMemcpyDirection,
          cudaMemcpyToSymbol(&counter, &value, 4, 0, cudaMemcpyDeviceToHost));
    cudaGetLastError();
}

/* ---- streams ---- */

static void try_streams(void)
{
    unsigned *value = NULL, back = 0;
    cudaStream_t stream = NULL, other = NULL;
    cudaEvent_t start = NULL, end = NULL;
    float ms = -1;
    int priority = 1;
    unsigned flags = 7, capturing = 9;

    OK(cudaStreamCreate(&stream));
    OK(cudaStreamCreateWithFlags(&other, 1));
    OK(cudaStreamGetPriority(stream, &priority));
    OK(cudaStreamGetFlags(other, &flags));
    expect("flags", (int)flags, 1);
    OK(cudaEventCreate(&start));
    OK(cudaEventCreateWithFlags(&end, 0));
    OK(cudaMallocAsync((void **)&value, sizeof(*value), stream));
    OK(cudaMemsetAsync(value, 0, sizeof(*value), stream));
    OK(cudaEventRecord(start, stream));
    for (unsigned i = 0; i < 100; i++) {
        LAUNCH(1, 1, stream, increment(value));
    }
    OK(cudaEventRecord(end, stream));
    OK(cudaStreamWaitEvent(other, end, 0));
    OK(cudaMemcpyAsync(&back, value, sizeof(back), cudaMemcpyDeviceToHost, other));
    OK(cudaStreamSynchronize(other));
    expect("in the stream's order", (int)back, 100);
    OK(cudaEventSynchronize(end));
    OK(cudaEventQuery(end));
    OK(cudaEventElapsedTime(&ms, start, end));
    TRUE(ms >= 0);
    OK(cudaStreamQuery(stream));
    OK(cudaStreamIsCapturing(stream, (enum cudaStreamCaptureStatus *)&capturing));
    expect("no capture", (int)capturing, 0);
    OK(cudaFreeAsync(value, stream));
    OK(cudaStreamSynchronize(stream));
    OK(cudaEventDestroy(start));
    OK(cudaEventDestroy(end));
    OK(cudaStreamDestroy(stream));
    OK(cudaStreamDestroy(other));
    GIVES(cudaErrorInvalidResourceHandle, cudaStreamDestroy(NULL));
    GIVES(cudaErrorInvalidResourceHandle, cudaEventDestroy(NULL));
    expect("nothing else", cudaGetLastError(), cudaErrorInvalidResourceHandle);
}

/* ---- graphs by hand ---- */

/* Slices of rows: what lies beside the box stays. */
static void try_slices(void)
{
    unsigned char host[2][3][8], back[2][3][8] = {{{0}}};
    struct cudaMemcpy3DParms p = {.extent = {5, 3, 2}, .kind = cudaMemcpyHostToDevice};
    struct cudaPitchedPtr device = {.ptr = NULL};

    for (unsigned i = 0; i < sizeof(host); i++) {
        host[i / 24][i / 8 % 3][i % 8] = (unsigned char)(i + 1);
    }
    OK(cudaMalloc3D(&device, (struct cudaExtent){8, 3, 2}));
    OK(cudaMemset3D(device, 0xee, (struct cudaExtent){8, 3, 2}));
    p.srcPtr = (struct cudaPitchedPtr){host, 8, 8, 3};
    p.srcPos.x = 1;
    p.dstPtr = device;
    OK(cudaMemcpy3D(&p));
    p = (struct cudaMemcpy3DParms){.srcPtr = device,
                                   .dstPtr = {back, 8, 8, 3},
                                   .extent = {8, 3, 2},
                                   .kind = cudaMemcpyDefault};
    OK(cudaMemcpy3DAsync(&p, NULL));
    OK(cudaDeviceSynchronize());
    for (unsigned i = 0; i < 6; i++) {
        const unsigned char *row = back[i / 3][i % 3];

        TRUE(memcmp(row, host[i / 3][i % 3] + 1, 5) == 0 && row[5] == 0xee && row[7] == 0xee);
    }
    p.extent.width = 0;
    OK(cudaMemcpy3D(&p));
    p.extent.width = 8;
    p.kind = (enum cudaMemcpyKind)7;
    GIVES(cudaErrorInvalidMemcpyDirection, cudaMemcpy3D(&p));
    GIVES(cudaErrorInvalidValue, cudaMemcpy3D(NULL));
    OK(cudaFree(device.ptr));
    cudaGetLastError();
}

struct built {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaGraphNode_t in, set, add, out;
    unsigned *a, *b, *c, *pinned;
};

/* c = a + b, where a comes from the host and b is filled. */
static struct cudaKernelNodeParams adding(void **args)
{
    return (struct cudaKernelNodeParams){
        .func = (void *)add, .gridDim = {1, 1, 1}, .blockDim = {64, 1, 1}, .kernelParams = args};
}

static void build(struct built *g)
{
    unsigned n = 64;
    void *args[] = {&g->a, &g->b, &g->c, &n};
    struct cudaKernelNodeParams kernel = adding(args);
    struct cudaMemsetParams set = {
        .dst = g->b, .value = 5, .elementSize = 4, .width = 64, .height = 1};
    cudaGraphNode_t before[2];

    OK(cudaGraphCreate(&g->graph, 0));
    OK(cudaGraphAddMemcpyNode1D(&g->in, g->graph, NULL, 0, g->a, g->pinned, 256,
                                cudaMemcpyHostToDevice));
    OK(cudaGraphAddMemsetNode(&g->set, g->graph, NULL, 0, &set));
    before[0] = g->in;
    before[1] = g->set;
    OK(cudaGraphAddKernelNode(&g->add, g->graph, before, 2, &kernel));
    OK(cudaGraphAddMemcpyNode1D(&g->out, g->graph, &g->add, 1, g->pinned + 64, g->c, 256,
                                cudaMemcpyDefault));
    GIVES(cudaErrorInvalidMemcpyDirection,
          cudaGraphAddMemcpyNode1D(&before[0], g->graph, NULL, 0, g->a, g->pinned, 256,
                                   (enum cudaMemcpyKind)9));
    kernel.func = (void *)&counter;
    TRUE(cudaGraphAddKernelNode(&before[0], g->graph, NULL, 0, &kernel) != cudaSuccess);
    OK(cudaGraphInstantiate(&g->exec, g->graph, 0));
}

static unsigned launched(const struct built *g, unsigned place)
{
    OK(cudaGraphLaunch(g->exec, NULL));
    OK(cudaDeviceSynchronize());
    return g->pinned[64 + place];
}

static void try_nodes(void)
{
    struct built g = {.graph = NULL};
    struct cudaMemsetParams set = {.elementSize = 4, .value = 70, .width = 64, .height = 1}, got;
    unsigned n = 64;
    void *args[] = {&g.a, &g.a, &g.c, &n};
    struct cudaKernelNodeParams kernel = adding(args);
    enum cudaGraphNodeType type = (enum cudaGraphNodeType) - 1;

    OK(cudaMalloc((void **)&g.a, 256));
    OK(cudaMalloc((void **)&g.b, 256));
    OK(cudaMalloc((void **)&g.c, 256));
    OK(cudaHostAlloc((void **)&g.pinned, 1024, 0));
    for (unsigned i = 0; i < 256; i++) {
        g.pinned[i] = i;
    }
    build(&g);
    expect("a + 5", (int)launched(&g, 9), 14);
    OK(cudaGraphNodeGetType(g.in, &type));
    expect("a copy", (int)type, 1);
    OK(cudaGraphMemsetNodeGetParams(g.set, &got));
    TRUE(got.dst == g.b && got.value == 5 && got.width == 64);
    set.dst = g.b;
    OK(cudaGraphExecMemsetNodeSetParams(g.exec, g.set, &set));
    expect("a + 70", (int)launched(&g, 9), 79);
    OK(cudaGraphExecMemcpyNodeSetParams1D(g.exec, g.in, g.a, g.pinned + 128, 256,
                                          cudaMemcpyHostToDevice));
    expect("another a", (int)launched(&g, 9), 207);
    OK(cudaGraphExecKernelNodeSetParams(g.exec, g.add, &kernel));
    expect("a + a", (int)launched(&g, 9), 274);
    /* The graph itself is as it was. */
    OK(cudaGraphExecDestroy(g.exec));
    OK(cudaGraphKernelNodeSetParams(g.add, &kernel));
    OK(cudaGraphMemcpyNodeSetParams1D(g.in, g.a, g.pinned + 129, 252, cudaMemcpyHostToDevice));
    OK(cudaGraphMemsetNodeSetParams(g.set, &set));
    OK(cudaGraphInstantiate(&g.exec, g.graph, 0));
    expect("a + a again", (int)launched(&g, 9), 276);
    OK(cudaGraphExecDestroy(g.exec));
    OK(cudaGraphDestroy(g.graph));
    OK(cudaFree(g.a));
    OK(cudaFree(g.b));
    OK(cudaFree(g.c));
    OK(cudaFreeHost(g.pinned));
    cudaGetLastError();
}

static void try_pool(void)
{
    unsigned long long threshold = 1 << 20, again = 0;
    cudaMemPool_t pool = NULL;

    OK(cudaDeviceGetDefaultMemPool(&pool, 0));
    OK(cudaMemPoolSetAttribute(pool, (enum cudaMemPoolAttr)4, &threshold));
    OK(cudaMemPoolGetAttribute(pool, (enum cudaMemPoolAttr)4, &again));
    TRUE(again == threshold);
    threshold = 0;
    OK(cudaMemPoolSetAttribute(pool, (enum cudaMemPoolAttr)4, &threshold));
}

/* ---- the driver's functions ---- */

static void try_entry_points(void)
{
    enum cudaDriverEntryPointQueryResult status = 9;
    void *base = NULL, *threaded = NULL, *kept = NOWHERE;

    OK(cudaGetDriverEntryPointByVersion("cuLaunchKernel", &base, 12050, 0, &status));
    TRUE(base && status == cudaDriverEntryPointSuccess);
    OK(cudaGetDriverEntryPointByVersion_ptsz("cuLaunchKernel", &threaded, 12050, 0, &status));
    TRUE(threaded && threaded != base);
    OK(cudaGetDriverEntryPoint("cuNoSuch", &kept, 0, &status));
    TRUE(kept == NULL && status == cudaDriverEntryPointSymbolNotFound);
    OK(cudaGetDriverEntryPointByVersion("cuLaunchKernelEx", &kept, 10000, 0, &status));
    TRUE(kept == NULL && status == cudaDriverEntryPointVersionNotSufficent);
    kept = NOWHERE;
    GIVES(cudaErrorInvalidValue,
          cudaGetDriverEntryPointByVersion("cuInit", &kept, 12000, 99, &status));
    TRUE(kept == NOWHERE);
    cudaGetLastError();
}

/* ---- threads, resets, images that come and go ---- */

static void *other_thread(void *opaque)
{
    (void)opaque;
    expect("a new thread's last error", cudaPeekAtLastError(), cudaSuccess);
    for (unsigned i = 0; i < 3; i++) {
        try_add();
        try_wrong_launches();
    }
    return NULL;
}

static void try_threads(void)
{
    pthread_t threads[4];

    GIVES(cudaErrorInvalidValue, cudaMalloc(NULL, 1));
    for (unsigned i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, other_thread, NULL);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    expect("this thread's last error", cudaGetLastError(), cudaErrorInvalidValue);
}

static void try_reset(void)
{
    unsigned value = 1, *memory = NULL;

    OK(cudaMemcpyToSymbol(&counter, &value, sizeof(value), 0, cudaMemcpyHostToDevice));
    OK(cudaMalloc((void **)&memory, 16));
    OK(cudaDeviceReset());
    OK(cudaDeviceReset());
    GIVES(cudaErrorInvalidValue, cudaFree(memory));
    cudaGetLastError();
    try_add();
    OK(cudaMemcpyFromSymbol(&value, &counter, sizeof(value), 0, cudaMemcpyDeviceToHost));
    expect("a variable after a reset", (int)value, 0);
    cudaGetLastError();
}

static void try_registration(void)
{
    static const char host_function, host_variable;
    unsigned value = 0, *memory = NULL;
    void *args[] = {&memory}, *address = NULL;
    dim3 one = {1, 1, 1};

    OK(cudaMalloc((void **)&memory, sizeof(*memory)));
    OK(cudaMemset(memory, 0, sizeof(*memory)));
    for (unsigned i = 0; i < 3; i++) { /* as dlopen and dlclose do */
        void **handle = __cudaRegisterFatBinary((void *)&fat_wrapper);

        register_kernel(handle, &host_function, "increment");
        __cudaRegisterVar(handle, (char *)&host_variable, (char *)"counter", "counter", 0, 4, 0, 0);
        __cudaRegisterFatBinaryEnd(handle);
        OK(cudaLaunchKernel(&host_function, one, one, args, 0, NULL));
        OK(cudaGetSymbolAddress(&address, &host_variable));
        OK(cudaDeviceSynchronize());
        __cudaUnregisterFatBinary(handle);
        GIVES(cudaErrorInvalidResourceHandle,
              cudaLaunchKernel(&host_function, one, one, args, 0, NULL));
        GIVES(cudaErrorInvalidSymbol, cudaGetSymbolAddress(&address, &host_variable));
    }
    OK(cudaMemcpy(&value, memory, sizeof(value), cudaMemcpyDeviceToHost));
    expect("launches of what came and went", (int)value, 3);
    OK(cudaFree(memory));
    cudaGetLastError();
}

static void try_library(void)
{
    unsigned count = 0, value = 0, *memory = NULL;
    void *args[] = {&memory}, *address = NULL;
    cudaLibrary_t library = NULL;
    cudaKernel_t kernel = NULL;
    size_t bytes = 0;
    dim3 one = {1, 1, 1};

    OK(cudaMalloc((void **)&memory, sizeof(*memory)));
    OK(cudaMemset(memory, 0, sizeof(*memory)));
    OK(cudaLibraryLoadData(&library, fat_binary, NULL, NULL, 0, NULL, NULL, 0));
    OK(cudaLibraryGetKernelCount(&count, library));
    TRUE(count >= 3);
    GIVES(cudaErrorSymbolNotFound, cudaLibraryGetKernel(&kernel, library, "nothing"));
    OK(cudaLibraryGetKernel(&kernel, library, "increment"));
    OK(cudaLibraryGetGlobal(&address, &bytes, library, "counter"));
    TRUE(address && bytes == 4);
    OK(cudaLaunchKernel(kernel, one, one, args, 0, NULL));
    OK(cudaMemcpy(&value, memory, sizeof(value), cudaMemcpyDeviceToHost));
    expect("a launch by the library's kernel", (int)value, 1);
    OK(cudaLibraryUnload(library));
    OK(cudaFree(memory));
    cudaGetLastError();
}

static void try_refused(void)
{
    void *memory = NOWHERE;

    GIVES(cudaErrorNotSupported, cudaMallocManaged(&memory, 16, 1));
    GIVES(cudaErrorNotSupported, cudaIpcGetMemHandle(NULL, NULL));
    GIVES(cudaErrorNotSupported, cudaDeviceEnablePeerAccess(0, 0));
    expect("it is the last error, too", cudaGetLastError(), cudaErrorNotSupported);
    TRUE(memory == NOWHERE);
}

/* Last: the child has no CUDA, and its parent still has. */
static void try_fork(void)
{
    int status = 0, count = 0;
    pid_t child;
    void *memory;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        _exit(cudaGetDeviceCount(&count) == cudaSuccess && count == 1 &&
                      cudaMalloc(&memory, 16) == cudaErrorInitializationError
                  ? 0
                  : 1);
    }
    waitpid(child, &status, 0);
    expect("the child's answers", status, 0);
    try_add();
}

static int fault(void)
{
    struct cudaDeviceProp prop;
    unsigned *memory = NULL;
    int device;

    OK(cudaMalloc((void **)&memory, 16));
    LAUNCH(1, 1, NULL, bad());
    GIVES(700, cudaDeviceSynchronize());
    expect("kept", cudaGetLastError(), 700);
    expect("once", cudaGetLastError(), 0);
    GIVES(700, cudaMalloc((void **)&memory, 16));
    expect("it comes again", cudaGetLastError(), 700);
    OK(cudaGetDevice(&device));
    OK(cudaSetDevice(0));
    OK(cudaGetDeviceCount(&device));
    OK(cudaGetDeviceProperties(&prop, 0));
    return wrong != 0;
}

/* Where the program crashes is told by the last line on stderr. */
#define RUN(part)                                                                                  \
    do {                                                                                           \
        if (getenv("TRY_PARTS")) {                                                                 \
            fprintf(stderr, "%s\n", #part);                                                        \
        }                                                                                          \
        part();                                                                                    \
    } while (0)

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash loses nothing */
    if (argc > 1 && strcmp(argv[1], "fault") == 0) {
        int status = fault();

        printf("runtime: %u wrong\n", wrong);
        return status;
    }
    RUN(try_texts);
    RUN(try_without_context);
    RUN(try_entry_points);
    RUN(try_memory);
    RUN(try_kinds);
    RUN(try_rows);
    RUN(try_slices);
    RUN(try_add);
    RUN(try_other_launches);
    RUN(try_wrong_launches);
    RUN(try_attributes);
    RUN(try_symbols);
    RUN(try_streams);
    RUN(try_nodes);
    RUN(try_pool);
    RUN(try_threads);
    RUN(try_registration);
    RUN(try_library);
    RUN(try_reset);
    if (!getenv("TRY_NATIVE")) {
        RUN(try_refused); /* NVIDIA's library has them */
    }
    RUN(try_fork);
    printf("runtime: %u wrong\n", wrong);
    return wrong != 0;
}
