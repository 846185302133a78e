/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stand-in for libcuda.so.1, for tests on machines without a GPU.
 *
 * It implements what worker/cuda/cuda_api.h declares, closely enough to run the CUDA
 * backend's every path: a stream is a queue that one thread works off in order,
 * kernels are C functions found by their name in the PTX, a bad address makes
 * every later call fail as a real context does.  What a test wants of it comes
 * from the environment:
 *
 *   STAND_IN_GPUS=N          number of GPUs (default 1)
 *   STAND_IN_INIT=PATH       a file with what cuInit answers; without the file all is well
 *   STAND_IN_MISSING=NAME    cuGetProcAddress doesn't know this function
 *   STAND_IN_MEMORY=BYTES    GPU memory (default 1 GiB)
 *   STAND_IN_PINNABLE=BYTES  host memory that one call can pin (default 1 GiB)
 *   STAND_IN_FAIL_LAUNCH=N   the Nth launch fails, once, without harm
 */
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/unused.h"
#include "common/ns.h"
#include "worker/cuda/cuda_api.h"

#define ILLEGAL_ADDRESS 700
#define INVALID_VALUE 1
#define NOT_FOUND 500
#define INVALID_DEVICE 101
#define LAUNCH_OUT_OF_RESOURCES 701
#define QUEUE_MAX 1024
#define PARAM_WORDS 4
#define EVENTS_MAX 64

struct cuda_event_s {
    bool recorded, reached;
    double at_ms;
};

struct cuda_function_s {
    char name[64];
    int params; /* 64-bit words that the kernel takes */
};

struct work {
    enum { WORK_EVENT, WORK_KERNEL } kind;
    struct cuda_event_s *event;
    const struct cuda_function_s *kernel;
    uint64_t params[PARAM_WORDS];
    unsigned threads;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct work queue[QUEUE_MAX];
    unsigned first, last; /* free-running */
    cuda_result lost;
    unsigned launches;
} gpu = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct cuda_function_s functions[] = {
    {"vgpu_add", 3},  {"vgpu_vector_add_i32", 4}, {"vgpu_vector_add_f32", 4},
    {"vgpu_spin", 2}, {"vgpu_hang", 0},           {"vgpu_crash", 1},
};

static double now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / NS_PER_MS;
}

static unsigned long setting(const char *name, unsigned long fallback)
{
    const char *value = getenv(name);

    return value ? strtoul(value, NULL, 10) : fallback;
}

static void run_vector_add(const struct work *work, bool is_float)
{
    const uint32_t *a = (const uint32_t *)(uintptr_t)work->params[0];
    const uint32_t *b = (const uint32_t *)(uintptr_t)work->params[1];
    uint32_t *c = (uint32_t *)(uintptr_t)work->params[2];
    uint32_t count = (uint32_t)work->params[3];

    for (uint32_t i = 0; i < count && i < work->threads; i++) {
        if (is_float) {
            float x, y, sum;

            memcpy(&x, &a[i], 4);
            memcpy(&y, &b[i], 4);
            sum = x + y;
            memcpy(&c[i], &sum, 4);
            if (isnan(sum)) {
                c[i] = 0x7fffffff;
            }
        } else {
            c[i] = a[i] + b[i];
        }
    }
}

static cuda_result run_kernel(const struct work *work)
{
    const char *name = work->kernel->name;

    if (strcmp(name, "vgpu_add") == 0) {
        *(uint32_t *)(uintptr_t)work->params[2] =
            (uint32_t)work->params[0] + (uint32_t)work->params[1];
    } else if (strcmp(name, "vgpu_vector_add_i32") == 0) {
        run_vector_add(work, false);
    } else if (strcmp(name, "vgpu_vector_add_f32") == 0) {
        run_vector_add(work, true);
    } else if (strcmp(name, "vgpu_spin") == 0) {
        double end_ms = now_ms() + (double)work->params[0] / 1e6;

        while (now_ms() < end_ms) {
            usleep(20);
        }
    } else if (strcmp(name, "vgpu_hang") == 0) {
        for (;;) {
            pause();
        }
    } else if (strcmp(name, "vgpu_crash") == 0) {
        return ILLEGAL_ADDRESS;
    }
    return CUDA_OK;
}

static void *work_off(UNUSED void *unused)
{
    pthread_mutex_lock(&gpu.lock);
    for (;;) {
        struct work work;
        cuda_result error = CUDA_OK;

        while (gpu.first == gpu.last) {
            pthread_cond_wait(&gpu.changed, &gpu.lock);
        }
        work = gpu.queue[gpu.first % QUEUE_MAX];
        pthread_mutex_unlock(&gpu.lock);
        if (gpu.lost == CUDA_OK && work.kind == WORK_KERNEL) {
            error = run_kernel(&work);
        }
        pthread_mutex_lock(&gpu.lock);
        if (error) {
            gpu.lost = error;
        }
        if (work.kind == WORK_EVENT) {
            work.event->reached = true;
            work.event->at_ms = now_ms();
        }
        gpu.first++;
        pthread_cond_broadcast(&gpu.changed);
    }
    return NULL;
}

static cuda_result enqueue(const struct work *work)
{
    cuda_result result;

    pthread_mutex_lock(&gpu.lock);
    result = gpu.lost;
    if (!result) {
        if (work->kind == WORK_EVENT) {
            work->event->recorded = true;
            work->event->reached = false;
        }
        while (gpu.last - gpu.first == QUEUE_MAX) {
            pthread_cond_wait(&gpu.changed, &gpu.lock);
        }
        gpu.queue[gpu.last++ % QUEUE_MAX] = *work;
        pthread_cond_broadcast(&gpu.changed);
    }
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static cuda_result do_Init(UNUSED unsigned flags)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES"), *path = getenv("STAND_IN_INIT");
    FILE *file = path ? fopen(path, "r") : NULL;
    int answer = CUDA_OK;
    pthread_t thread;

    if (file) {
        if (fscanf(file, "%d", &answer) != 1) {
            answer = CUDA_OK;
        }
        fclose(file);
    }
    if (answer != CUDA_OK) {
        return answer;
    }

    if (setting("STAND_IN_GPUS", 1) == 0 || (visible && strstr(visible, "ffff"))) {
        return CUDA_NO_DEVICE;
    }
    return pthread_create(&thread, NULL, work_off, NULL) ? INVALID_VALUE : CUDA_OK;
}

static cuda_result do_DriverGetVersion(int *version)
{
    *version = 12040;
    return CUDA_OK;
}

static cuda_result do_GetErrorName(cuda_result error, const char **name)
{
    *name = error == ILLEGAL_ADDRESS      ? "CUDA_ERROR_ILLEGAL_ADDRESS"
            : error == CUDA_NO_DEVICE     ? "CUDA_ERROR_NO_DEVICE"
            : error == CUDA_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
                                          : "CUDA_ERROR_STAND_IN";
    return CUDA_OK;
}

static cuda_result do_GetErrorString(UNUSED cuda_result error, const char **text)
{
    *text = "said by the stand-in";
    return CUDA_OK;
}

static cuda_result do_DeviceGetCount(int *count)
{
    *count = (int)setting("STAND_IN_GPUS", 1);
    return CUDA_OK;
}

static cuda_result do_DeviceGet(cuda_device *device, int index)
{
    *device = index;
    return index < (int)setting("STAND_IN_GPUS", 1) ? CUDA_OK : INVALID_DEVICE;
}

static cuda_result do_DeviceGetName(char *name, int bytes, cuda_device device)
{
    snprintf(name, (size_t)bytes, "Stand-in \"GPU\" \xc3\xa9 %d", device);
    return CUDA_OK;
}

static cuda_result do_DeviceGetUuid(cuda_uuid *uuid, cuda_device device)
{
    memset(uuid->bytes, 0xab, sizeof(uuid->bytes));
    uuid->bytes[15] = (uint8_t)device;
    return CUDA_OK;
}

static cuda_result do_DeviceTotalMem(size_t *bytes, UNUSED cuda_device device)
{
    *bytes = setting("STAND_IN_MEMORY", 1ul << 30);
    return CUDA_OK;
}

static cuda_result do_DeviceGetAttribute(int *value, int attribute, UNUSED cuda_device device)
{
    switch (attribute) {
    case CUDA_ATTRIBUTE_MULTIPROCESSORS: *value = 108; return CUDA_OK;
    case CUDA_ATTRIBUTE_COMPUTE_MAJOR: *value = 8; return CUDA_OK;
    case CUDA_ATTRIBUTE_COMPUTE_MINOR: *value = 6; return CUDA_OK;
    default: return INVALID_VALUE;
    }
}

static cuda_result do_DevicePrimaryCtxRetain(cuda_context *context, UNUSED cuda_device device)
{
    *context = (cuda_context)&gpu;
    return CUDA_OK;
}

static cuda_result do_DevicePrimaryCtxRelease(UNUSED cuda_device device)
{
    return CUDA_OK;
}

static cuda_result do_CtxSetCurrent(UNUSED cuda_context context)
{
    return CUDA_OK;
}

static cuda_result do_ModuleLoadDataEx(cuda_module *module, const void *image,
                                       UNUSED unsigned options, UNUSED unsigned *names,
                                       UNUSED void **values)
{
    *module = (cuda_module)image;
    return CUDA_OK;
}

static cuda_result do_ModuleGetFunction(cuda_function *function, cuda_module module,
                                        const char *name)
{
    char entry[96];

    snprintf(entry, sizeof(entry), ".entry %s(", name);
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        if (strcmp(functions[i].name, name) == 0 && strstr((const char *)module, entry)) {
            *function = &functions[i];
            return CUDA_OK;
        }
    }
    return NOT_FOUND;
}

static cuda_result do_MemHostAlloc(void **memory, size_t bytes, UNUSED unsigned flags)
{
    *memory = bytes <= setting("STAND_IN_PINNABLE", 1ul << 30) ? malloc(bytes) : NULL;
    return *memory ? CUDA_OK : CUDA_OUT_OF_MEMORY;
}

static cuda_result do_MemFreeHost(void *memory)
{
    free(memory);
    return CUDA_OK;
}

static cuda_result do_MemHostGetDevicePointer(cuda_address *address, void *memory,
                                              UNUSED unsigned flags)
{
    *address = (cuda_address)(uintptr_t)memory;
    return CUDA_OK;
}

static cuda_result do_StreamCreate(cuda_stream *stream, UNUSED unsigned flags)
{
    *stream = (cuda_stream)&gpu;
    return CUDA_OK;
}

static cuda_result do_StreamQuery(UNUSED cuda_stream stream)
{
    cuda_result result;

    pthread_mutex_lock(&gpu.lock);
    result = gpu.lost ? gpu.lost : gpu.first == gpu.last ? CUDA_OK : CUDA_NOT_READY;
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static cuda_result do_StreamSynchronize(UNUSED cuda_stream stream)
{
    cuda_result result;

    pthread_mutex_lock(&gpu.lock);
    while (gpu.first != gpu.last) {
        pthread_cond_wait(&gpu.changed, &gpu.lock);
    }
    result = gpu.lost;
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static cuda_result do_EventCreate(cuda_event *event, UNUSED unsigned flags)
{
    /* They go with the context, so nobody gives them back. */
    static struct cuda_event_s events[EVENTS_MAX];
    static unsigned used;

    if (used == EVENTS_MAX) {
        return CUDA_OUT_OF_MEMORY;
    }
    *event = &events[used++];
    return CUDA_OK;
}

static cuda_result do_EventRecord(cuda_event event, UNUSED cuda_stream stream)
{
    struct work work = {.kind = WORK_EVENT, .event = event};

    return enqueue(&work);
}

static cuda_result do_EventQuery(cuda_event event)
{
    cuda_result result;

    pthread_mutex_lock(&gpu.lock);
    result = gpu.lost ? gpu.lost : event->recorded && !event->reached ? CUDA_NOT_READY : CUDA_OK;
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static cuda_result do_EventElapsedTime(float *milliseconds, cuda_event start, cuda_event end)
{
    if (!start->reached || !end->reached) {
        return CUDA_NOT_READY;
    }
    *milliseconds = (float)(end->at_ms - start->at_ms);
    return CUDA_OK;
}

static cuda_result do_LaunchKernel(cuda_function function, unsigned grid_x, UNUSED unsigned grid_y,
                                   UNUSED unsigned grid_z, unsigned block_x,
                                   UNUSED unsigned block_y, UNUSED unsigned block_z,
                                   UNUSED unsigned shared_bytes, UNUSED cuda_stream stream,
                                   void **params, UNUSED void **extra)
{
    struct work work = {.kind = WORK_KERNEL, .kernel = function, .threads = grid_x * block_x};
    bool is_add = strcmp(function->name, "vgpu_add") == 0;

    if (++gpu.launches == setting("STAND_IN_FAIL_LAUNCH", 0)) {
        return LAUNCH_OUT_OF_RESOURCES;
    }
    if (!grid_x || !block_x || block_x > 1024) {
        return INVALID_VALUE;
    }
    for (int i = 0; i < function->params; i++) {
        /* The two operands of vgpu_add and the vectors' count are 32 bits wide. */
        bool narrow = is_add ? i < 2 : i == 3;

        memcpy(&work.params[i], params[i], narrow ? 4 : 8);
    }
    return enqueue(&work);
}

cuda_result cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                                int *status);

cuda_result cuGetProcAddress_v2(const char *name, void **function, UNUSED int version,
                                UNUSED uint64_t flags, UNUSED int *status)
{
    static const struct {
        const char *name;
        void *function;
    } table[] = {
#define ENTRY(member) {"cu" #member, (void *)do_##member}
        ENTRY(Init),
        ENTRY(DriverGetVersion),
        ENTRY(GetErrorName),
        ENTRY(GetErrorString),
        ENTRY(DeviceGetCount),
        ENTRY(DeviceGet),
        ENTRY(DeviceGetName),
        ENTRY(DeviceGetUuid),
        ENTRY(DeviceTotalMem),
        ENTRY(DeviceGetAttribute),
        ENTRY(DevicePrimaryCtxRetain),
        ENTRY(DevicePrimaryCtxRelease),
        ENTRY(CtxSetCurrent),
        ENTRY(ModuleLoadDataEx),
        ENTRY(ModuleGetFunction),
        ENTRY(MemHostAlloc),
        ENTRY(MemFreeHost),
        ENTRY(MemHostGetDevicePointer),
        ENTRY(StreamCreate),
        ENTRY(StreamQuery),
        ENTRY(StreamSynchronize),
        ENTRY(EventCreate),
        ENTRY(EventRecord),
        ENTRY(EventQuery),
        ENTRY(EventElapsedTime),
        ENTRY(LaunchKernel),
#undef ENTRY
    };
    const char *missing = getenv("STAND_IN_MISSING");

    *function = NULL;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].name, name) == 0 && !(missing && strcmp(missing, name) == 0)) {
            *function = table[i].function;
            return CUDA_OK;
        }
    }
    return NOT_FOUND;
}
