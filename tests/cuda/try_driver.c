/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program on the CUDA driver interface that finds libcuda.so.1 as any program does and checks
 * every value that comes back.  It runs unchanged natively and on our library.
 *
 *     try_driver IMAGE [THREADS]
 *
 * IMAGE has the kernels add(a, b, c, n), increment(p) and mix(u8, u64, u16, 48 bytes, f32):
 * PTX for a GPU, text for the stand-in.  Exit status: 0 all well, 1 something is wrong.
 */
#include <pthread.h>

#include "tests/cuda/client.h"

#define ELEMENTS 5000u
#define LARGE (5u << 20) /* more than a piece of the arena */
#define HUGE (80u << 20) /* more than is registered at a time */

static unsigned wrong;

static void expect(const char *what, CUresult got, CUresult wanted)
{
    if (got != wanted) {
        printf("%s: %d in place of %d\n", what, got, wanted);
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    }
}

static void expect_true(const char *what, int holds)
{
    if (!holds) {
        printf("%s: wrong\n", what);
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    }
}

#define OK(call) expect(#call, (call), CUDA_SUCCESS)

static void try_add(CUmodule module)
{
    unsigned *host = malloc(ELEMENTS * sizeof(*host)), count = ELEMENTS;
    CUdeviceptr a, b, c;
    CUfunction add;
    void *params[] = {&a, &b, &c, &count};
    size_t bytes = ELEMENTS * sizeof(*host);

    OK(cuModuleGetFunction(&add, module, "add"));
    OK(cuMemAlloc(&a, bytes));
    OK(cuMemAlloc(&b, bytes));
    OK(cuMemAlloc(&c, bytes));
    for (unsigned i = 0; i < ELEMENTS; i++) {
        host[i] = i * 3;
    }
    OK(cuMemcpyHtoD(a, host, bytes));
    OK(cuMemsetD32(b, 1000, ELEMENTS));
    OK(cuLaunchKernel(add, (ELEMENTS + 255) / 256, 1, 1, 256, 1, 1, 0, NULL, params, NULL));
    memset(host, 0, bytes);
    OK(cuMemcpyDtoH(host, c, bytes));
    for (unsigned i = 0; i < ELEMENTS; i++) {
        if (host[i] != i * 3 + 1000) {
            expect_true("a sum", 0);
            break;
        }
    }
    OK(cuMemFree(a));
    OK(cuMemFree(b));
    OK(cuMemFree(c));
    free(host);
}

/* While there is one thread: another could have got that very address in between. */
static void try_free_twice(void)
{
    CUdeviceptr memory;

    OK(cuMemAlloc(&memory, 1 << 20));
    OK(cuMemFree(memory));
    expect("a second cuMemFree", cuMemFree(memory), CUDA_ERROR_INVALID_VALUE);
}

static void try_mix(CUmodule module)
{
    unsigned char u8 = 200;
    unsigned short u16 = 40000;
    char large[48] = {0};
    float f = 12.0f;
    unsigned out[4] = {0};
    CUdeviceptr memory;
    CUfunction mix;
    void *params[] = {&u8, &memory, &u16, large, &f};

    large[47] = 77;
    OK(cuModuleGetFunction(&mix, module, "mix"));
    OK(cuMemAlloc(&memory, sizeof(out)));
    OK(cuLaunchKernel(mix, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    OK(cuMemcpyDtoH(out, memory, sizeof(out)));
    expect_true("parameters of mixed sizes",
                out[0] == 200 && out[1] == 40000 && out[2] == 77 && out[3] == 12);
    expect("parameters missing", cuLaunchKernel(mix, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL),
           CUDA_ERROR_INVALID_VALUE);
    expect("a block too large", cuLaunchKernel(mix, 1, 1, 1, 2048, 1, 1, 0, NULL, params, NULL),
           CUDA_ERROR_INVALID_VALUE);
    expect("a grid of nothing", cuLaunchKernel(mix, 0, 1, 1, 1, 1, 1, 0, NULL, params, NULL),
           CUDA_ERROR_INVALID_VALUE);
    OK(cuMemFree(memory));
}

/* Questions about pools and clusters. */
static void try_questions(CUmodule module)
{
    CUlaunchAttribute pairs = {.id = 4}; /* the cluster's dimensions */
    CUlaunchConfig config = {132, 1, 1, 128, 1, 1, 0, NULL, NULL, 0};
    unsigned long long threshold = 1 << 20, again = 0;
    CUmemoryPool pool, same;
    CUfunction add;
    int clusters = -1, size = -1;

    OK(cuDeviceGetDefaultMemPool(&pool, 0));
    OK(cuDeviceGetDefaultMemPool(&same, 0));
    expect_true("one pool", pool == same);
    OK(cuMemPoolSetAttribute(pool, 4, &threshold));
    OK(cuMemPoolGetAttribute(pool, 4, &again));
    expect_true("the release threshold", again == threshold);
    threshold = 0;
    OK(cuMemPoolSetAttribute(pool, 4, &threshold));
    OK(cuModuleGetFunction(&add, module, "add"));
    OK(cuOccupancyMaxPotentialClusterSize(&size, add, &config));
    ((unsigned *)pairs.value.bytes)[0] = 2;
    ((unsigned *)pairs.value.bytes)[1] = ((unsigned *)pairs.value.bytes)[2] = 1;
    config.attrs = &pairs; /* without them the driver says 0 */
    config.numAttrs = 1;
    OK(cuOccupancyMaxActiveClusters(&clusters, add, &config));
    if (size <= 0 || clusters <= 0) {
        printf("clusters of %d, %d at a time\n", size, clusters);
    }
    expect_true("clusters", size > 0 && clusters > 0);
}

static void try_large(int pinned, unsigned bytes)
{
    unsigned char *to, *from;
    CUdeviceptr a, b;
    CUstream stream;

    if (pinned) {
        OK(cuMemHostAlloc((void **)&to, bytes, 0));
        OK(cuMemHostAlloc((void **)&from, bytes, 0));
    } else {
        to = malloc(bytes);
        from = malloc(bytes);
    }
    for (unsigned i = 0; i < bytes; i++) {
        from[i] = (unsigned char)(i * 2654435761u >> 24);
    }
    memset(to, 0, bytes);
    OK(cuMemAlloc(&a, bytes));
    OK(cuMemAlloc(&b, bytes));
    OK(cuStreamCreate(&stream, 1));
    OK(cuMemcpyHtoDAsync(a, from, bytes, stream));
    OK(cuStreamSynchronize(stream));
    OK(cuMemcpyDtoD(b, a, bytes));
    OK(cuCtxSynchronize());
    OK(cuMemcpyDtoHAsync(to, b, bytes, stream));
    OK(cuStreamSynchronize(stream));
    expect_true(pinned ? "pinned memory there and back" : "memory there and back",
                memcmp(to, from, bytes) == 0);
    expect("a copy past the end", cuMemcpyHtoD(a, from, bytes + 1), CUDA_ERROR_INVALID_VALUE);
    OK(cuStreamDestroy(stream));
    OK(cuMemFree(a));
    OK(cuMemFree(b));
    if (pinned) {
        OK(cuMemFreeHost(to));
        OK(cuMemFreeHost(from));
    } else {
        free(to);
        free(from);
    }
}

/* Launches that nobody waits for, in order; then an event that follows them. */
static void try_stream(CUmodule module, unsigned launches)
{
    CUdeviceptr memory;
    CUfunction increment;
    CUstream stream, other;
    CUevent start, end;
    unsigned value = 0;
    float ms = -1;
    void *params[] = {&memory};

    OK(cuModuleGetFunction(&increment, module, "increment"));
    OK(cuMemAlloc(&memory, sizeof(value)));
    OK(cuMemcpyHtoD(memory, &value, sizeof(value)));
    OK(cuCtxSynchronize()); /* by its contract the copy may still be on its way */
    OK(cuStreamCreate(&stream, 1));
    OK(cuStreamCreate(&other, 0));
    OK(cuEventCreate(&start, 0));
    OK(cuEventCreate(&end, 0));
    OK(cuEventQuery(end));
    OK(cuEventRecord(start, stream));
    for (unsigned i = 0; i < launches; i++) {
        expect("a launch", cuLaunchKernel(increment, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL),
               CUDA_SUCCESS);
    }
    OK(cuEventRecord(end, stream));
    OK(cuStreamWaitEvent(other, end, 0));
    OK(cuMemcpyDtoHAsync(&value, memory, sizeof(value), other));
    OK(cuStreamSynchronize(other));
    OK(cuEventSynchronize(end));
    OK(cuEventElapsedTime(&ms, start, end));
    expect_true("the launches' count", value == launches);
    expect_true("the events' time", ms >= 0);
    OK(cuEventDestroy(start));
    OK(cuEventDestroy(end));
    OK(cuStreamDestroy(stream));
    OK(cuStreamDestroy(other));
    if (is_ours()) { /* the driver itself would crash */
        expect("a stream that is gone", cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
    }
    OK(cuMemFree(memory));
}

struct job {
    CUcontext context;
    CUmodule module;
};

static void *other_thread(void *opaque)
{
    struct job *job = opaque;
    CUdeviceptr memory;

    expect("a thread without a context", cuMemAlloc(&memory, 4), CUDA_ERROR_INVALID_CONTEXT);
    OK(cuCtxSetCurrent(job->context));
    for (unsigned i = 0; i < 5; i++) {
        try_add(job->module);
        try_stream(job->module, 100);
    }
    return NULL;
}

static void try_threads(struct job *job, unsigned count)
{
    pthread_t threads[16];

    for (unsigned i = 0; i < count; i++) {
        pthread_create(&threads[i], NULL, other_thread, job);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 2 ? (unsigned)atoi(argv[2]) : 4;
    char name[128] = "", *image;
    int count = 0;
    size_t total, free_bytes, again;
    struct job job;
    CUdevice device;

    if (argc < 2 || threads > 16 || !find_functions()) {
        return 1;
    }
    image = read_image(argv[1]);
    expect("before cuInit", cuDeviceGet(&device, 0), CUDA_ERROR_NOT_INITIALIZED);
    if (cuInit(0) != CUDA_SUCCESS) {
        printf("cuInit fails\n");
        return 1;
    }
    OK(cuDeviceGet(&device, 0));
    OK(cuDeviceGetName(name, sizeof(name), device));
    OK(cuDeviceGetAttribute(&count, 16, device));
    OK(cuDeviceTotalMem(&total, device));
    expect_true("the name", name[0] != 0 && count > 0 && total > 0);
    OK(cuDevicePrimaryCtxRetain(&job.context, device));
    OK(cuCtxSetCurrent(job.context));
    OK(cuModuleLoadData(&job.module, image));
    OK(cuMemGetInfo(&free_bytes, &total));
    try_add(job.module);
    try_free_twice();
    try_mix(job.module);
    try_questions(job.module);
    try_large(0, LARGE);
    try_large(1, LARGE);
    try_large(1, HUGE);
    try_stream(job.module, 2000);
    try_threads(&job, threads);
    OK(cuMemGetInfo(&again, &total));
    OK(cuModuleUnload(job.module));
    OK(cuDevicePrimaryCtxRelease(device));
    printf("%s: %u wrong\n", name, wrong);
    return wrong != 0;
}
