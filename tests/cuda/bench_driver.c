/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What calls of the CUDA driver interface cost.  The same program measures the driver and our
 * library: it finds libcuda.so.1 as any program does.
 *
 *     bench_driver IMAGE [SECONDS [START]]
 *
 * Prints one JSON object.  With SECONDS it does nothing but launch kernels of 4 us for so long,
 * at most 128 ahead of the GPU, and says how many there were: for shares.  START is when, by
 * CLOCK_MONOTONIC in seconds.
 */
#include <time.h>
#include <unistd.h>

#include "tests/cuda/client.h"

#define ROUNDS 2000u
#define LAUNCHES 20000u
#define COPY_ROUNDS 20u
#define SHARE_AHEAD 64u

static CUfunction nop, spin;
static CUstream stream;

static double now_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void must(CUresult result, const char *what)
{
    if (result != CUDA_SUCCESS) {
        printf("{\"error\": \"%s: %d\"}\n", what, result);
        exit(1);
    }
}

#define MUST(call) must((call), #call)

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), compare);
    return values[count / 2];
}

static void launch(CUfunction function, void **params)
{
    MUST(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
}

static double launch_and_sync(void)
{
    static double us[ROUNDS];

    for (unsigned i = 0; i < ROUNDS; i++) {
        double start = now_us(CLOCK_MONOTONIC);

        launch(nop, NULL);
        MUST(cuStreamSynchronize(stream));
        us[i] = now_us(CLOCK_MONOTONIC) - start;
    }
    return median(us, ROUNDS);
}

/* Wall time of each, the caller's processor time of each, and all of it until the GPU is done. */
static void launches(double out[3])
{
    double start, cpu;

    MUST(cuStreamSynchronize(stream));
    start = now_us(CLOCK_MONOTONIC);
    cpu = now_us(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < LAUNCHES; i++) {
        launch(nop, NULL);
    }
    out[0] = (now_us(CLOCK_MONOTONIC) - start) / LAUNCHES;
    out[1] = (now_us(CLOCK_THREAD_CPUTIME_ID) - cpu) / LAUNCHES;
    MUST(cuStreamSynchronize(stream));
    out[2] = (now_us(CLOCK_MONOTONIC) - start) / LAUNCHES;
}

/* A call when there is room for it: the caller's time for 200 at a time. */
static double call_cost(void)
{
    static double us[100];

    for (unsigned i = 0; i < 100; i++) {
        double cpu;

        MUST(cuStreamSynchronize(stream));
        cpu = now_us(CLOCK_THREAD_CPUTIME_ID);
        for (unsigned k = 0; k < 200; k++) {
            launch(nop, NULL);
        }
        us[i] = (now_us(CLOCK_THREAD_CPUTIME_ID) - cpu) / 200;
    }
    return median(us, 100);
}

static double small_trip(CUdeviceptr memory)
{
    static double us[ROUNDS];
    unsigned a = 1, b = 2, c = 0;

    for (unsigned i = 0; i < ROUNDS; i++) {
        double start = now_us(CLOCK_MONOTONIC);

        MUST(cuMemcpyHtoD(memory, &a, 4));
        MUST(cuMemcpyHtoD(memory + 4, &b, 4));
        MUST(cuLaunchKernel(nop, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
        MUST(cuMemcpyDtoH(&c, memory, 4));
        us[i] = now_us(CLOCK_MONOTONIC) - start;
    }
    must(c == 1 ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN, "small trip's value");
    return median(us, ROUNDS);
}

/* GB/s to the GPU and back. */
static void copies(void *host, size_t bytes, CUdeviceptr memory, double out[2])
{
    static double to[COPY_ROUNDS], back[COPY_ROUNDS];

    for (unsigned i = 0; i < COPY_ROUNDS; i++) {
        double start = now_us(CLOCK_MONOTONIC), middle;

        MUST(cuMemcpyHtoDAsync(memory, host, bytes, stream));
        MUST(cuStreamSynchronize(stream));
        middle = now_us(CLOCK_MONOTONIC);
        MUST(cuMemcpyDtoHAsync(host, memory, bytes, stream));
        MUST(cuStreamSynchronize(stream));
        to[i] = middle - start;
        back[i] = now_us(CLOCK_MONOTONIC) - middle;
    }
    out[0] = (double)bytes / median(to, COPY_ROUNDS) / 1e3;
    out[1] = (double)bytes / median(back, COPY_ROUNDS) / 1e3;
}

static double allocate_and_free(size_t bytes)
{
    static double us[200];

    MUST(cuCtxSynchronize()); /* what came before is not to be waited for here */
    for (unsigned i = 0; i < 200; i++) {
        double start = now_us(CLOCK_MONOTONIC);
        CUdeviceptr memory;

        MUST(cuMemAlloc(&memory, bytes));
        MUST(cuMemFree(memory));
        us[i] = now_us(CLOCK_MONOTONIC) - start;
    }
    return median(us, 200);
}

static void saturate(double seconds, double start_s)
{
    unsigned spin_ns = 4000;
    void *params[] = {&spin_ns};
    CUevent events[2];
    double end;
    unsigned long long count = 0;

    MUST(cuEventCreate(&events[0], 2));
    MUST(cuEventCreate(&events[1], 2));
    launch(spin, params);
    MUST(cuStreamSynchronize(stream));
    while (now_us(CLOCK_MONOTONIC) < start_s * 1e6) {
        usleep(100);
    }
    end = now_us(CLOCK_MONOTONIC) + seconds * 1e6;
    for (unsigned round = 0; now_us(CLOCK_MONOTONIC) < end; round++) {
        if (round >= 2) {
            MUST(cuEventSynchronize(events[round % 2]));
        }
        for (unsigned i = 0; i < SHARE_AHEAD; i++) {
            launch(spin, params);
        }
        MUST(cuEventRecord(events[round % 2], stream));
        count += SHARE_AHEAD;
    }
    MUST(cuStreamSynchronize(stream));
    printf("{\"launches\": %llu, \"seconds\": %.3f}\n", count,
           seconds + (now_us(CLOCK_MONOTONIC) - end) / 1e6);
}

static void measure(void)
{
    const size_t pinned_bytes = 64u << 20, plain_bytes = 16u << 20;
    void *pinned, *plain = malloc(plain_bytes);
    double costs[3], pinned_gbs[2], plain_gbs[2];
    CUdeviceptr memory;

    MUST(cuMemAlloc(&memory, pinned_bytes));
    MUST(cuMemHostAlloc(&pinned, pinned_bytes, 0));
    memset(pinned, 1, pinned_bytes);
    memset(plain, 1, plain_bytes);
    printf("{\"launch_sync_us\": %.3f, ", launch_and_sync());
    launches(costs);
    printf("\"launch_us\": %.3f, \"launch_cpu_us\": %.3f, \"launch_done_us\": %.3f, ", costs[0],
           costs[1], costs[2]);
    printf("\"call_cpu_us\": %.3f, ", call_cost());
    printf("\"small_trip_us\": %.3f, ", small_trip(memory));
    copies(pinned, pinned_bytes, memory, pinned_gbs);
    copies(plain, plain_bytes, memory, plain_gbs);
    printf("\"pinned_in_gbs\": %.2f, \"pinned_out_gbs\": %.2f, ", pinned_gbs[0], pinned_gbs[1]);
    printf("\"plain_in_gbs\": %.2f, \"plain_out_gbs\": %.2f, ", plain_gbs[0], plain_gbs[1]);
    printf("\"alloc_free_1m_us\": %.3f, ", allocate_and_free(1u << 20));
    printf("\"alloc_free_4k_us\": %.3f}\n", allocate_and_free(4096));
}

int main(int argc, char **argv)
{
    CUcontext context;
    CUmodule module;

    if (argc < 2 || !find_functions()) {
        return 1;
    }
    MUST(cuInit(0));
    MUST(cuDevicePrimaryCtxRetain(&context, 0));
    MUST(cuCtxSetCurrent(context));
    MUST(cuModuleLoadData(&module, read_image(argv[1])));
    MUST(cuModuleGetFunction(&nop, module, "nop"));
    MUST(cuModuleGetFunction(&spin, module, "spin"));
    MUST(cuStreamCreate(&stream, 1));
    launch(nop, NULL);
    MUST(cuStreamSynchronize(stream));
    if (argc > 2) {
        saturate(atof(argv[2]), argc > 3 ? atof(argv[3]) : 0);
    } else {
        measure();
    }
    return 0;
}
