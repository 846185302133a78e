/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stand-in for libcuda.so.1, for tests on machines without a GPU.
 *
 * It implements what worker/cuda/cuda_api.h declares, closely enough to run the CUDA
 * backend's every path: a stream is a queue that a thread of its own works off in order,
 * kernels are C functions found by their name in the PTX, a bad address makes
 * every later call fail as a real context does.  It is strict: a copy or a kernel that leaves
 * its allocation, and a cuMemFree that a real driver would make wait, end the process.  What a
 * test wants of it comes from the environment:
 *
 *   STAND_IN_GPUS=N          number of GPUs (default 1)
 *   STAND_IN_INIT=PATH       a file with what cuInit answers; without the file all is well
 *   STAND_IN_MISSING=NAME    cuGetProcAddress doesn't know this function
 *   STAND_IN_MEMORY=BYTES    GPU memory (default 1 GiB)
 *   STAND_IN_PINNABLE=BYTES  host memory that one call can pin (default 1 GiB)
 *   STAND_IN_FAIL_LAUNCH=N   the Nth launch fails, once, without harm
 *   STAND_IN_COPY_US=N       each copy takes so long, so that what doesn't wait for it shows
 *   STAND_IN_KERNEL_US=N     the same for each kernel on buffers
 *   STAND_IN_REGISTER=N      what cuMemHostRegister answers (default 0)
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
#define PARAM_WORDS 9
#define EVENTS_MAX 512
#define STREAMS_MAX 8
#define MEMORIES_MAX 8192

struct cuda_event_s {
    unsigned recorded, reached; /* how often */
    double at_ms;
};

struct cuda_function_s {
    char name[64];
    const char *params; /* '8' or '4' for each: its bytes */
};

struct work {
    enum { WORK_EVENT, WORK_WAIT, WORK_KERNEL, WORK_COPY, WORK_SET8, WORK_SET32 } kind;
    struct cuda_event_s *event;
    unsigned generation; /* of the event */
    const struct cuda_function_s *kernel;
    uint64_t params[PARAM_WORDS]; /* COPY: to, from, bytes; SET: address, value, count */
    unsigned threads;
};

struct cuda_stream_s {
    struct work queue[QUEUE_MAX];
    unsigned first, last; /* free-running */
};

/* Device memory, and what cuMemHostAlloc made. */
struct memory {
    uint64_t from, bytes;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct cuda_stream_s streams[STREAMS_MAX];
    unsigned stream_count;
    struct memory memories[MEMORIES_MAX];
    cuda_result lost;
    unsigned launches;
} gpu = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct cuda_function_s functions[] = {
    {"vgpu_add", "448"},
    {"vgpu_vector_add_i32", "8884"},
    {"vgpu_vector_add_f32", "8884"},
    {"vgpu_spin", "88"},
    {"vgpu_hang", ""},
    {"vgpu_crash", "8"},
    {"vgpu_saxpy", "8844"},
    {"vgpu_sgemm", "888444444"},
};

static void broken(const char *what)
{
    fprintf(stderr, "stand-in: %s\n", what);
    abort();
}

/* Ends the process when this is no memory of ours. */
static void *checked(uint64_t address, uint64_t bytes)
{
    for (unsigned i = 0; i < MEMORIES_MAX; i++) {
        const struct memory *memory = &gpu.memories[i];

        if (memory->bytes && address >= memory->from && address - memory->from <= memory->bytes &&
            bytes <= memory->bytes - (address - memory->from)) {
            return (void *)(uintptr_t)address;
        }
    }
    broken("an address or a size outside of every allocation");
    return NULL;
}

static void remember(uint64_t from, uint64_t bytes)
{
    for (unsigned i = 0; i < MEMORIES_MAX; i++) {
        if (gpu.memories[i].bytes == 0) {
            gpu.memories[i] = (struct memory){from, bytes};
            return;
        }
    }
    broken("too many allocations");
}

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
    uint32_t count = (uint32_t)work->params[3];
    const uint32_t *a = checked(work->params[0], count * 4ull);
    const uint32_t *b = checked(work->params[1], count * 4ull);
    uint32_t *c = checked(work->params[2], count * 4ull);

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

static float as_float(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value;

    memcpy(&value, &low, sizeof(value));
    return value;
}

static void run_saxpy(const struct work *work)
{
    uint32_t count = (uint32_t)work->params[3];
    float *target = checked(work->params[0], count * 4ull);
    const float *a = checked(work->params[1], count * 4ull);
    const float alpha = as_float(work->params[2]);

    for (uint32_t i = 0; i < count && i < work->threads; i++) {
        float product = alpha * a[i];

        target[i] = target[i] + product;
        if (isnan(target[i])) {
            target[i] = as_float(0x7fffffff);
        }
    }
}

static void run_sgemm(const struct work *work)
{
    uint32_t m = (uint32_t)work->params[3], n = (uint32_t)work->params[4];
    uint32_t k = (uint32_t)work->params[5], stride = (uint32_t)work->params[6];
    const float alpha = as_float(work->params[7]), beta = as_float(work->params[8]);
    const float *a = checked(work->params[0], (uint64_t)m * k * 4);
    const float *b = checked(work->params[1], ((k - 1ull) * stride + n) * 4);
    float *c = checked(work->params[2], ((m - 1ull) * stride + n) * 4);

    for (uint32_t i = 0; i < m; i++) {
        float *to = &c[(uint64_t)i * stride];

        for (uint32_t j = 0; j < n; j++) {
            to[j] = beta == 0 ? 0 : beta * to[j];
        }
        for (uint32_t l = 0; l < k; l++) {
            const float factor = alpha * a[(uint64_t)i * k + l];

            for (uint32_t j = 0; j < n; j++) {
                to[j] += factor * b[(uint64_t)l * stride + j];
            }
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
    } else if (strcmp(name, "vgpu_saxpy") == 0) {
        run_saxpy(work);
    } else if (strcmp(name, "vgpu_sgemm") == 0) {
        run_sgemm(work);
    }
    return CUDA_OK;
}

static bool is_on_buffers(const struct work *work)
{
    return work->kind != WORK_KERNEL || (strlen(work->kernel->params) > 3 && work->threads > 128);
}

static cuda_result run_work(const struct work *work)
{
    const uint64_t *p = work->params;

    if (is_on_buffers(work)) {
        usleep((useconds_t)setting(
            work->kind == WORK_COPY ? "STAND_IN_COPY_US" : "STAND_IN_KERNEL_US", 0));
    }
    switch (work->kind) {
    case WORK_KERNEL: return run_kernel(work);
    case WORK_COPY: memcpy((void *)(uintptr_t)p[0], (void *)(uintptr_t)p[1], p[2]); break;
    case WORK_SET8: memset(checked(p[0], p[2]), (int)p[1], p[2]); break;
    case WORK_SET32:
        for (uint64_t i = 0; i < p[2]; i++) {
            ((uint32_t *)checked(p[0], p[2] * 4))[i] = (uint32_t)p[1];
        }
        break;
    default: break;
    }
    return CUDA_OK;
}

static void *work_off(void *opaque)
{
    struct cuda_stream_s *stream = opaque;

    pthread_mutex_lock(&gpu.lock);
    for (;;) {
        struct work work;
        cuda_result error = CUDA_OK;

        while (stream->first == stream->last) {
            pthread_cond_wait(&gpu.changed, &gpu.lock);
        }
        work = stream->queue[stream->first % QUEUE_MAX];
        while (work.kind == WORK_WAIT && work.event->reached < work.generation) {
            pthread_cond_wait(&gpu.changed, &gpu.lock);
        }
        pthread_mutex_unlock(&gpu.lock);
        if (gpu.lost == CUDA_OK) {
            error = run_work(&work);
        }
        pthread_mutex_lock(&gpu.lock);
        if (error) {
            gpu.lost = error;
        }
        if (work.kind == WORK_EVENT) {
            work.event->reached++;
            work.event->at_ms = now_ms();
        }
        stream->first++;
        pthread_cond_broadcast(&gpu.changed);
    }
    return NULL;
}

static cuda_result enqueue(struct cuda_stream_s *stream, struct work *work)
{
    cuda_result result;

    pthread_mutex_lock(&gpu.lock);
    result = gpu.lost;
    if (!result) {
        if (work->kind == WORK_EVENT) {
            work->event->recorded++;
        }
        while (stream->last - stream->first == QUEUE_MAX) {
            pthread_cond_wait(&gpu.changed, &gpu.lock);
        }
        if (work->kind == WORK_WAIT) {
            work->generation = work->event->recorded;
        }
        stream->queue[stream->last++ % QUEUE_MAX] = *work;
        pthread_cond_broadcast(&gpu.changed);
    }
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static bool is_busy(void)
{
    for (unsigned i = 0; i < gpu.stream_count; i++) {
        if (gpu.streams[i].first != gpu.streams[i].last) {
            return true;
        }
    }
    return false;
}

static cuda_result do_Init(UNUSED unsigned flags)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES"), *path = getenv("STAND_IN_INIT");
    FILE *file = path ? fopen(path, "r") : NULL;
    int answer = CUDA_OK;

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
    return CUDA_OK;
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
    if (!*memory) {
        return CUDA_OUT_OF_MEMORY;
    }
    remember((uintptr_t)*memory, bytes);
    return CUDA_OK;
}

static cuda_result do_MemAlloc(cuda_address *address, size_t bytes)
{
    void *memory = bytes && bytes <= setting("STAND_IN_MEMORY", 1ul << 30) ? malloc(bytes) : NULL;

    if (!memory) {
        return bytes ? CUDA_OUT_OF_MEMORY : INVALID_VALUE;
    }
    memset(memory, 0xA5, bytes); /* as another process left it */
    *address = (uintptr_t)memory;
    pthread_mutex_lock(&gpu.lock);
    remember(*address, bytes);
    pthread_mutex_unlock(&gpu.lock);
    return CUDA_OK;
}

static cuda_result do_MemFree(cuda_address address)
{
    cuda_result result = INVALID_VALUE;

    pthread_mutex_lock(&gpu.lock);
    if (is_busy()) {
        broken("cuMemFree would wait for what is in flight");
    }
    for (unsigned i = 0; i < MEMORIES_MAX; i++) {
        if (gpu.memories[i].bytes && gpu.memories[i].from == address) {
            gpu.memories[i].bytes = 0;
            free((void *)(uintptr_t)address);
            result = CUDA_OK;
            break;
        }
    }
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static cuda_result do_MemsetD8Async(cuda_address address, unsigned char value, size_t bytes,
                                    cuda_stream stream)
{
    struct work work = {.kind = WORK_SET8, .params = {address, value, bytes}};

    checked(address, bytes);
    return enqueue(stream, &work);
}

static cuda_result do_MemsetD32Async(cuda_address address, unsigned value, size_t words,
                                     cuda_stream stream)
{
    struct work work = {.kind = WORK_SET32, .params = {address, value, words}};

    checked(address, words * 4);
    return enqueue(stream, &work);
}

static cuda_result do_MemcpyHtoDAsync(cuda_address to, const void *from, size_t bytes,
                                      cuda_stream stream)
{
    struct work work = {.kind = WORK_COPY, .params = {to, (uintptr_t)from, bytes}};

    checked(to, bytes);
    return enqueue(stream, &work);
}

static cuda_result do_MemcpyDtoHAsync(void *to, cuda_address from, size_t bytes, cuda_stream stream)
{
    struct work work = {.kind = WORK_COPY, .params = {(uintptr_t)to, from, bytes}};

    checked(from, bytes);
    return enqueue(stream, &work);
}

static cuda_result do_MemHostRegister(UNUSED void *memory, UNUSED size_t bytes,
                                      UNUSED unsigned flags)
{
    return (cuda_result)setting("STAND_IN_REGISTER", 0);
}

static cuda_result do_MemHostUnregister(UNUSED void *memory)
{
    return CUDA_OK;
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
    pthread_t thread;

    if (gpu.stream_count == STREAMS_MAX) {
        return CUDA_OUT_OF_MEMORY;
    }
    *stream = &gpu.streams[gpu.stream_count++];
    return pthread_create(&thread, NULL, work_off, *stream) ? INVALID_VALUE : CUDA_OK;
}

static cuda_result do_StreamQuery(cuda_stream stream)
{
    cuda_result result;

    pthread_mutex_lock(&gpu.lock);
    result = gpu.lost ? gpu.lost : stream->first == stream->last ? CUDA_OK : CUDA_NOT_READY;
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static cuda_result do_StreamSynchronize(cuda_stream stream)
{
    cuda_result result;

    pthread_mutex_lock(&gpu.lock);
    while (stream->first != stream->last) {
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

static cuda_result do_EventRecord(cuda_event event, cuda_stream stream)
{
    struct work work = {.kind = WORK_EVENT, .event = event};

    return enqueue(stream, &work);
}

static cuda_result do_StreamWaitEvent(cuda_stream stream, cuda_event event, UNUSED unsigned flags)
{
    struct work work = {.kind = WORK_WAIT, .event = event};

    return enqueue(stream, &work);
}

static cuda_result do_EventQuery(cuda_event event)
{
    cuda_result result;

    pthread_mutex_lock(&gpu.lock);
    result = gpu.lost ? gpu.lost : event->reached < event->recorded ? CUDA_NOT_READY : CUDA_OK;
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

static cuda_result do_LaunchKernel(cuda_function function, unsigned grid_x, unsigned grid_y,
                                   UNUSED unsigned grid_z, unsigned block_x,
                                   UNUSED unsigned block_y, UNUSED unsigned block_z,
                                   UNUSED unsigned shared_bytes, cuda_stream stream, void **params,
                                   UNUSED void **extra)
{
    struct work work = {.kind = WORK_KERNEL, .kernel = function, .threads = grid_x * block_x};

    if (++gpu.launches == setting("STAND_IN_FAIL_LAUNCH", 0)) {
        return LAUNCH_OUT_OF_RESOURCES;
    }
    if (!grid_x || !grid_y || grid_y > 65535 || !block_x || block_x > 1024) {
        return INVALID_VALUE;
    }
    for (unsigned i = 0; function->params[i]; i++) {
        memcpy(&work.params[i], params[i], (size_t)(function->params[i] - '0'));
    }
    return enqueue(stream, &work);
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
        ENTRY(MemAlloc),
        ENTRY(MemFree),
        ENTRY(MemsetD8Async),
        ENTRY(MemsetD32Async),
        ENTRY(MemcpyHtoDAsync),
        ENTRY(MemcpyDtoHAsync),
        ENTRY(MemHostRegister),
        ENTRY(MemHostUnregister),
        ENTRY(MemHostAlloc),
        ENTRY(MemFreeHost),
        ENTRY(MemHostGetDevicePointer),
        ENTRY(StreamCreate),
        ENTRY(StreamQuery),
        ENTRY(StreamSynchronize),
        ENTRY(StreamWaitEvent),
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
