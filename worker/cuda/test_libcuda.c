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
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/unused.h"
#include "worker/cuda/test_libcuda.h"

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

    if (test_setting("STAND_IN_GPUS", 1) == 0 || (visible && strstr(visible, "ffff"))) {
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
    *count = (int)test_setting("STAND_IN_GPUS", 1);
    return CUDA_OK;
}

static cuda_result do_DeviceGet(cuda_device *device, int index)
{
    *device = index;
    return index < (int)test_setting("STAND_IN_GPUS", 1) ? CUDA_OK : INVALID_DEVICE;
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
    *bytes = test_setting("STAND_IN_MEMORY", 1ul << 30);
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
    *context = (cuda_context)&test_gpu;
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
    if (memcmp(image, "\177ELF", 4) == 0 && test_setting("STAND_IN_REFUSES_IMAGES", 0)) {
        return INVALID_VALUE;
    }
    if (test_setting("STAND_IN_TELLS_IMAGES", 0)) {
        fprintf(stderr, "stand-in: %s is loaded\n",
                memcmp(image, "\177ELF", 4) == 0 ? "an image" : "PTX");
    }
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
    *memory = bytes <= test_setting("STAND_IN_PINNABLE", 1ul << 30) ? malloc(bytes) : NULL;
    if (!*memory) {
        return CUDA_OUT_OF_MEMORY;
    }
    test_remember((uintptr_t)*memory, bytes);
    return CUDA_OK;
}

static cuda_result do_MemAlloc(cuda_address *address, size_t bytes)
{
    void *memory =
        bytes && bytes <= test_setting("STAND_IN_MEMORY", 1ul << 30) ? malloc(bytes) : NULL;

    if (!memory) {
        return bytes ? CUDA_OUT_OF_MEMORY : INVALID_VALUE;
    }
    memset(memory, 0xA5, bytes); /* as another process left it */
    *address = (uintptr_t)memory;
    pthread_mutex_lock(&test_gpu.lock);
    test_remember(*address, bytes);
    pthread_mutex_unlock(&test_gpu.lock);
    return CUDA_OK;
}

static cuda_result do_MemFree(cuda_address address)
{
    cuda_result result = INVALID_VALUE;

    pthread_mutex_lock(&test_gpu.lock);
    if (test_is_busy()) {
        test_broken("cuMemFree would wait for what is in flight");
    }
    for (unsigned i = 0; i < MEMORIES_MAX; i++) {
        if (test_gpu.memories[i].bytes && test_gpu.memories[i].from == address) {
            test_gpu.memories[i].bytes = 0;
            free((void *)(uintptr_t)address);
            result = CUDA_OK;
            break;
        }
    }
    pthread_mutex_unlock(&test_gpu.lock);
    return result;
}

static cuda_result do_MemsetD8Async(cuda_address address, unsigned char value, size_t bytes,
                                    cuda_stream stream)
{
    struct work work = {.kind = WORK_SET8, .params = {address, value, bytes}};

    test_checked(address, bytes);
    return test_enqueue(stream, &work);
}

static cuda_result do_MemsetD32Async(cuda_address address, unsigned value, size_t words,
                                     cuda_stream stream)
{
    struct work work = {.kind = WORK_SET32, .params = {address, value, words}};

    test_checked(address, words * 4);
    return test_enqueue(stream, &work);
}

static cuda_result do_MemcpyHtoDAsync(cuda_address to, const void *from, size_t bytes,
                                      cuda_stream stream)
{
    struct work work = {.kind = WORK_COPY, .params = {to, (uintptr_t)from, bytes}};

    test_checked(to, bytes);
    return test_enqueue(stream, &work);
}

static cuda_result do_MemcpyDtoHAsync(void *to, cuda_address from, size_t bytes, cuda_stream stream)
{
    struct work work = {.kind = WORK_COPY, .params = {(uintptr_t)to, from, bytes}};

    test_checked(from, bytes);
    return test_enqueue(stream, &work);
}

static cuda_result do_MemHostRegister(UNUSED void *memory, UNUSED size_t bytes,
                                      UNUSED unsigned flags)
{
    return (cuda_result)test_setting("STAND_IN_REGISTER", 0);
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

    if (test_gpu.stream_count == STREAMS_MAX) {
        return CUDA_OUT_OF_MEMORY;
    }
    *stream = &test_gpu.streams[test_gpu.stream_count++];
    return pthread_create(&thread, NULL, test_work_off, *stream) ? INVALID_VALUE : CUDA_OK;
}

static cuda_result do_StreamQuery(cuda_stream stream)
{
    cuda_result result;

    pthread_mutex_lock(&test_gpu.lock);
    result = test_gpu.lost                   ? test_gpu.lost
             : stream->first == stream->last ? CUDA_OK
                                             : CUDA_NOT_READY;
    pthread_mutex_unlock(&test_gpu.lock);
    return result;
}

static cuda_result do_StreamSynchronize(cuda_stream stream)
{
    cuda_result result;

    pthread_mutex_lock(&test_gpu.lock);
    while (stream->first != stream->last) {
        pthread_cond_wait(&test_gpu.changed, &test_gpu.lock);
    }
    result = test_gpu.lost;
    pthread_mutex_unlock(&test_gpu.lock);
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

    return test_enqueue(stream, &work);
}

static cuda_result do_StreamWaitEvent(cuda_stream stream, cuda_event event, UNUSED unsigned flags)
{
    struct work work = {.kind = WORK_WAIT, .event = event};

    return test_enqueue(stream, &work);
}

static cuda_result do_EventQuery(cuda_event event)
{
    cuda_result result;

    pthread_mutex_lock(&test_gpu.lock);
    result = test_gpu.lost                      ? test_gpu.lost
             : event->reached < event->recorded ? CUDA_NOT_READY
                                                : CUDA_OK;
    pthread_mutex_unlock(&test_gpu.lock);
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

    if (++test_gpu.launches == test_setting("STAND_IN_FAIL_LAUNCH", 0)) {
        return LAUNCH_OUT_OF_RESOURCES;
    }
    if (!grid_x || !grid_y || grid_y > 65535 || !block_x || block_x > 1024) {
        return INVALID_VALUE;
    }
    for (unsigned i = 0; function->params[i]; i++) {
        memcpy(&work.params[i], params[i], (size_t)(function->params[i] - '0'));
    }
    return test_enqueue(stream, &work);
}

/* What is "compiled" is the text again, behind an image's first bytes. */
cuda_result cuLinkCreate_v2(unsigned options, unsigned *names, void **values, void **state);
cuda_result cuLinkAddData_v2(void *state, int type, void *data, size_t bytes, const char *name,
                             unsigned options, unsigned *names, void **values);
cuda_result cuLinkComplete(void *state, void **image, size_t *bytes);
cuda_result cuLinkDestroy(void *state);

static char linked[1 << 20];
static size_t linked_bytes;

cuda_result cuLinkCreate_v2(UNUSED unsigned options, UNUSED unsigned *names, UNUSED void **values,
                            void **state)
{
    *state = linked;
    return test_setting("STAND_IN_LINKS", 1) ? CUDA_OK : INVALID_VALUE;
}

cuda_result cuLinkAddData_v2(void *state, int type, void *data, size_t bytes,
                             UNUSED const char *name, UNUSED unsigned options,
                             UNUSED unsigned *names, UNUSED void **values)
{
    if (state != linked || type != 1 || bytes > sizeof(linked) - 4) {
        return INVALID_VALUE;
    }
    memcpy(linked, "\177ELF", 4);
    memcpy(linked + 4, data, bytes);
    linked_bytes = bytes + 4;
    return CUDA_OK;
}

cuda_result cuLinkComplete(UNUSED void *state, void **image, size_t *bytes)
{
    *image = linked;
    *bytes = linked_bytes;
    return CUDA_OK;
}

cuda_result cuLinkDestroy(UNUSED void *state)
{
    return CUDA_OK;
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
