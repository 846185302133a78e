/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stand-in for the CUDA driver, for tests of profile CUDA on machines without a GPU.
 *
 * It has the functions that the worker calls and answers as the driver does, where tests look.
 * It is strict: what a real driver turns into a crash, a hang or a leak ends the process here,
 * namely a handle that isn't live, an address of the calling process where one of the GPU
 * belongs, and a call that would wait for work in flight.
 *
 * Images are text: "vgpu-test", then lines "kernel NAME BYTES..." (of each parameter) and
 * "global NAME BYTES".
 */
#include "tests/cuda/stand_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DEVICE_MEMORY 0x1000000000ull /* where it begins */
#define TOTAL_BYTES (1ull << 30)
#define SLOT 512u
#define ATTRIBUTE_LAST 17u /* of a launch */

__thread struct context *stand_in_current;

static uint64_t next_address = DEVICE_MEMORY, next_id = 13;

#define GPU (&stand_in_gpu)
#define LOCKED(body)                                                                               \
    do {                                                                                           \
        pthread_mutex_lock(&GPU->lock);                                                            \
        body;                                                                                      \
        pthread_mutex_unlock(&GPU->lock);                                                          \
    } while (0)

static void *check(const char *function, const void *handle, enum kind kind)
{
    const struct object *object = handle;

    if (!handle || object->kind != kind) {
        stand_in_abort(function, "the handle is not live");
    }
    return (void *)handle;
}

#define CHECK(handle, kind) check(__func__, handle, kind)

#define NEED_CONTEXT                                                                               \
    do {                                                                                           \
        if (!stand_in_current) {                                                                   \
            return CUDA_ERROR_INVALID_CONTEXT;                                                     \
        }                                                                                          \
        if (GPU->lost) {                                                                           \
            return GPU->lost;                                                                      \
        }                                                                                          \
    } while (0)

static void never_wait(const char *function, const struct context *context)
{
    bool busy;

    LOCKED(busy = context->in_flight > 0 && !GPU->lost);
    if (busy) {
        stand_in_abort(function, "it would wait for work in flight");
    }
}

static struct stream *stream_of(const char *function, CUstream stream)
{
    return (uintptr_t)stream <= CU_STREAM_LEGACY ? NULL : check(function, stream, STREAM);
}

/* ---- the device ---- */

static const int attributes[][2] = {
    {1, 1024},    {2, 1024},    {3, 1024},   {4, 64},     {5, 2147483647}, {6, 65535}, {7, 65535},
    {8, 49152},   {9, 65536},   {10, 32},    {16, 132},   {39, 2048},      {41, 1},    {75, 9},
    {76, 0},      {83, 1},      {89, 1},     {90, 1},     {91, 1},         {95, 1},    {99, 1},
    {102, 1},     {103, 1},     {106, 32},   {107, 1},    {108, 39321600}, {110, 1},   {113, 1},
    {114, 1},     {115, 1},     {116, 1},    {117, 1},    {118, 100},      {119, 9},   {120, 1},
    {121, 1},     {122, 1},     {124, 1},    {125, 1},    {128, 1},        {144, 1},   {19, 1},
    {97, 232448}, {81, 233472}, {12, 65536}, {82, 65536}, {33, 4},
};

EXPORT CUresult cuInit(unsigned flags)
{
    GPU->total_bytes = TOTAL_BYTES;
    return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

EXPORT CUresult cuDriverGetVersion(int *version)
{
    *version = 13000;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    *device = 0;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

EXPORT CUresult cuDeviceGetName(char *name, int bytes, CUdevice device)
{
    (void)device;
    snprintf(name, (size_t)bytes, "Stand-in GPU");
    return CUDA_SUCCESS;
}

/* The UUID of a CPU worker's only GPU, as the test says it. */
EXPORT CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    (void)device;
    memset(uuid, 0xab, sizeof(*uuid));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    (void)device;
    *bytes = TOTAL_BYTES;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    (void)device;
    if (attribute < 1 || attribute > CU_DEVICE_ATTRIBUTES) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *value = 0;
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
        if (attributes[i][0] == attribute) {
            *value = attributes[i][1];
        }
    }
    return CUDA_SUCCESS;
}

struct pool {
    struct object object;
    uint64_t threshold;
};

EXPORT CUresult cuMemPoolCreate(CUmemoryPool *out, const CUmemPoolProps *properties)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    if (properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED || properties->location.id != 0) {
        free(pool);
        return CUDA_ERROR_INVALID_VALUE;
    }
    pool->object.kind = POOL;
    *out = (CUmemoryPool)pool;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolDestroy(CUmemoryPool handle)
{
    struct pool *pool = CHECK(handle, POOL);

    pool->object.kind = DEAD;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
    (void)keep;
    CHECK(pool, POOL);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void *value)
{
    struct pool *pool = CHECK(handle, POOL);
    uint64_t number = attribute == 4 ? pool->threshold : 1;

    memcpy(value, &number, attribute <= 3 ? sizeof(int) : sizeof(number));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void *value)
{
    struct pool *pool = CHECK(handle, POOL);

    if (attribute == 4) {
        memcpy(&pool->threshold, value, sizeof(pool->threshold));
    }
    return attribute <= 4 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- contexts ---- */

EXPORT CUresult cuCtxCreate_v2(CUcontext *out, unsigned flags, CUdevice device)
{
    static const uint64_t limits[] = {1024, 8650752, 8388608, 0, 2048, 64, 11796480};
    struct context *context = calloc(1, sizeof(*context));

    (void)device;
    if (GPU->lost) {
        free(context);
        return GPU->lost;
    }
    context->object.kind = CONTEXT;
    context->flags = flags;
    memcpy(context->limits, limits, sizeof(limits));
    stand_in_current = context;
    *out = (CUcontext)context;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxDestroy_v2(CUcontext handle)
{
    struct context *context = CHECK(handle, CONTEXT);

    never_wait(__func__, context);
    context->object.kind = DEAD; /* it stays, so that a use of it shows */
    if (stand_in_current == context) {
        stand_in_current = NULL;
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetCurrent(CUcontext handle)
{
    stand_in_current = handle ? CHECK(handle, CONTEXT) : NULL;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSynchronize(void)
{
    NEED_CONTEXT;
    never_wait(__func__, stand_in_current);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetLimit(size_t *value, unsigned limit)
{
    NEED_CONTEXT;
    if (limit == 3 || limit > 6) {
        return 215;
    }
    *value = stand_in_current->limits[limit];
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetLimit(unsigned limit, size_t value)
{
    NEED_CONTEXT;
    if (limit > 6) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (limit == 3) {
        return 215;
    }
    if (limit == 0 && value >= 1u << 20) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    stand_in_current->limits[limit] = value;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetCacheConfig(unsigned *config)
{
    NEED_CONTEXT;
    *config = 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    NEED_CONTEXT;
    *least = 0;
    *greatest = -5;
    return CUDA_SUCCESS;
}

/* ---- streams and events ---- */

EXPORT CUresult cuStreamCreateWithPriority(CUstream *out, unsigned flags, int priority)
{
    struct stream *stream;

    NEED_CONTEXT;
    if (flags > 1) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    stream = calloc(1, sizeof(*stream));
    *stream = (struct stream){.object = {STREAM, stand_in_current},
                              .flags = flags,
                              .priority = priority,
                              .id = next_id += 2};
    *out = (CUstream)stream;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamCreate(CUstream *out, unsigned flags)
{
    return cuStreamCreateWithPriority(out, flags, 0);
}

EXPORT CUresult cuStreamDestroy_v2(CUstream handle)
{
    struct stream *stream = CHECK(handle, STREAM);

    NEED_CONTEXT;
    stream->object.kind = DEAD;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetFlags(CUstream handle, unsigned *flags)
{
    struct stream *stream = stream_of(__func__, handle);

    NEED_CONTEXT;
    *flags = stream ? stream->flags : 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetPriority(CUstream handle, int *priority)
{
    struct stream *stream = stream_of(__func__, handle);

    NEED_CONTEXT;
    *priority = stream ? stream->priority : 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetId(CUstream handle, unsigned long long *id)
{
    struct stream *stream = stream_of(__func__, handle);

    NEED_CONTEXT;
    *id = stream ? stream->id : 7;
    return CUDA_SUCCESS;
}

static bool stream_is_busy(const struct stream *stream)
{
    bool busy = false;

    pthread_mutex_lock(&GPU->lock);
    for (const struct work *work = GPU->first; work; work = work->next) {
        busy = busy || (work->context == stand_in_current && work->stream == stream);
    }
    pthread_mutex_unlock(&GPU->lock);
    return busy;
}

EXPORT CUresult cuStreamQuery(CUstream handle)
{
    struct stream *stream = stream_of(__func__, handle);

    NEED_CONTEXT;
    return stream_is_busy(stream) ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

EXPORT CUresult cuStreamSynchronize(CUstream handle)
{
    struct stream *stream = stream_of(__func__, handle);

    NEED_CONTEXT;
    if (stream_is_busy(stream)) {
        stand_in_abort(__func__, "it would wait for work in flight");
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventCreate(CUevent *out, unsigned flags)
{
    struct event *event;

    NEED_CONTEXT;
    event = calloc(1, sizeof(*event));
    *event = (struct event){.object = {EVENT, stand_in_current}, .flags = flags};
    *out = (CUevent)event;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventDestroy_v2(CUevent handle)
{
    struct event *event = CHECK(handle, EVENT);

    NEED_CONTEXT;
    event->object.kind = DEAD;
    return CUDA_SUCCESS;
}

static struct work *new_work(enum work_kind kind, struct stream *stream)
{
    struct work *work = calloc(1, sizeof(*work));

    work->kind = kind;
    work->context = stand_in_current;
    work->stream = stream;
    return work;
}

static CUresult record(struct event *event, struct stream *stream)
{
    struct work *work;

    if (event->object.context != stand_in_current ||
        (stream && stream->object.context != stand_in_current)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    work = new_work(WORK_RECORD, stream);
    work->event = event;
    LOCKED(work->generation = ++event->asked; stand_in_queue(work));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventRecord(CUevent event, CUstream stream)
{
    struct event *which = CHECK(event, EVENT);

    NEED_CONTEXT;
    return record(which, stream_of(__func__, stream));
}

EXPORT CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags)
{
    return flags > 1 ? CUDA_ERROR_INVALID_VALUE : cuEventRecord(event, stream);
}

/* Behind everything of the context: it waits for what each stream has now. */
EXPORT CUresult cuCtxRecordEvent(CUcontext context, CUevent handle)
{
    struct event *event = CHECK(handle, EVENT);
    struct work *work;

    CHECK(context, CONTEXT);
    NEED_CONTEXT;
    pthread_mutex_lock(&GPU->lock);
    event->asked++;
    if (stand_in_current->in_flight == 0) {
        event->done = event->asked;
        pthread_mutex_unlock(&GPU->lock);
        return CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&GPU->lock);
    /* A stream of its own would not do: each stream gets a mark, the last one counts. */
    work = new_work(WORK_RECORD, NULL);
    work->event = event;
    work->generation = event->asked;
    work->unit = 1; /* waits for every stream, also for those that don't block */
    LOCKED(stand_in_queue(work));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventQuery(CUevent handle)
{
    struct event *event = CHECK(handle, EVENT);
    bool done;

    if (GPU->lost) {
        return GPU->lost;
    }
    LOCKED(done = event->done == event->asked);
    return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

EXPORT CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end)
{
    struct event *a = CHECK(start, EVENT), *b = CHECK(end, EVENT);

    NEED_CONTEXT;
    if (!a->asked || !b->asked || ((a->flags | b->flags) & 2)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (a->done != a->asked || b->done != b->asked) {
        return CUDA_ERROR_NOT_READY;
    }
    *ms = (float)(b->at_ms - a->at_ms);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent handle, unsigned flags)
{
    struct event *event = CHECK(handle, EVENT);
    struct work *work;

    (void)flags;
    NEED_CONTEXT;
    work = new_work(WORK_WAIT, stream_of(__func__, stream));
    work->event = event;
    LOCKED(work->generation = event->asked; stand_in_queue(work));
    return CUDA_SUCCESS;
}

/* ---- memory ---- */

static uint64_t allocate(size_t bytes)
{
    uint64_t room = (bytes + SLOT - 1) / SLOT * SLOT, address = 0;

    pthread_mutex_lock(&GPU->lock);
    if (room <= GPU->total_bytes - GPU->used_bytes) {
        void *wanted = (void *)(uintptr_t)((next_address + 4095) / 4096 * 4096);
        void *place =
            mmap(wanted, room, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);

        if (place == wanted) {
            struct cuda_range range = {.start = (uint64_t)(uintptr_t)place, .bytes = bytes};

            address = range.start;
            next_address = address + room;
            GPU->used_bytes += room;
            cuda_ranges_insert(&GPU->memory, &range);
        }
    }
    pthread_mutex_unlock(&GPU->lock);
    return address;
}

static CUresult give_back(CUdeviceptr address)
{
    const struct cuda_range *range;
    CUresult result = CUDA_ERROR_INVALID_VALUE;

    pthread_mutex_lock(&GPU->lock);
    range = cuda_ranges_find(&GPU->memory, address);
    if (range && range->start == address) {
        uint64_t room = (range->bytes + SLOT - 1) / SLOT * SLOT;

        GPU->used_bytes -= room;
        munmap((void *)(uintptr_t)address, room);
        cuda_ranges_remove(&GPU->memory, address);
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&GPU->lock);
    return result;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
    NEED_CONTEXT;
    if (bytes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *address = bytes <= TOTAL_BYTES ? allocate(bytes) : 0;
    return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr address)
{
    NEED_CONTEXT;
    never_wait(__func__, stand_in_current);
    return give_back(address);
}

EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool pool,
                                        CUstream stream)
{
    CHECK(pool, POOL);
    stream_of(__func__, stream);
    return cuMemAlloc_v2(address, bytes);
}

/* Never in the middle of work that may use it: it is kept, as a pool keeps it. */
EXPORT CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
    const struct cuda_range *range;
    bool found;

    NEED_CONTEXT;
    stream_of(__func__, stream);
    LOCKED(range = cuda_ranges_find(&GPU->memory, address);
           found = range && range->start == address);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    NEED_CONTEXT;
    *total = GPU->total_bytes;
    *free_bytes = GPU->total_bytes - GPU->used_bytes;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemHostRegister_v2(void *memory, size_t bytes, unsigned flags)
{
    struct cuda_range range = {.start = (uint64_t)(uintptr_t)memory, .bytes = bytes};

    (void)flags;
    NEED_CONTEXT;
    LOCKED(cuda_ranges_insert(&GPU->registered, &range));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemHostUnregister(void *memory)
{
    LOCKED(cuda_ranges_remove(&GPU->registered, (uint64_t)(uintptr_t)memory));
    return CUDA_SUCCESS;
}

/* An address of the GPU's, all of it; else whoever called let an unchecked one through. */
static void *device(const char *function, CUdeviceptr address, uint64_t bytes)
{
    bool ok;

    LOCKED(ok = cuda_ranges_hold(&GPU->memory, address, bytes) ||
                cuda_ranges_hold(&GPU->registered, address, bytes));
    if (!ok) {
        stand_in_abort(function, "the address is none of the GPU's");
    }
    return (void *)(uintptr_t)address;
}

static bool is_registered(const void *memory, uint64_t bytes)
{
    bool ok;

    LOCKED(ok = cuda_ranges_hold(&GPU->registered, (uint64_t)(uintptr_t)memory, bytes));
    return ok;
}

static CUresult copy(void *to, const void *from, size_t bytes, struct stream *stream, bool take)
{
    struct work *work = new_work(WORK_COPY, stream);

    work->to = to;
    work->from = from;
    work->width = bytes;
    if (take) {
        work->own = malloc(bytes);
        memcpy(work->own, from, bytes);
    }
    LOCKED(stand_in_queue(work));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes,
                                     CUstream stream)
{
    void *memory = device(__func__, to, bytes);

    NEED_CONTEXT;
    return copy(memory, from, bytes, stream_of(__func__, stream), !is_registered(from, bytes));
}

EXPORT CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    void *memory = device(__func__, from, bytes);

    NEED_CONTEXT;
    if (!is_registered(to, bytes)) {
        stand_in_abort(__func__, "it would wait: its target is not registered");
    }
    return copy(to, memory, bytes, stream_of(__func__, stream), false);
}

EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                     CUstream stream)
{
    void *memory = device(__func__, to, bytes);

    NEED_CONTEXT;
    return copy(memory, device(__func__, from, bytes), bytes, stream_of(__func__, stream), false);
}

EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return cuMemcpyDtoDAsync_v2(to, from, bytes, NULL);
}

static CUresult set(const char *function, CUdeviceptr to, uint64_t pitch, uint32_t value,
                    unsigned unit, uint64_t width, uint64_t height, CUstream stream)
{
    struct work *work;

    NEED_CONTEXT;
    work = new_work(WORK_SET, stream_of(function, stream));
    work->to = device(function, to, bytes_of_2d(pitch, width * unit, height));
    work->value = value;
    work->unit = unit;
    work->width = width;
    work->height = height;
    work->pitch = pitch;
    LOCKED(stand_in_queue(work));
    return CUDA_SUCCESS;
}

#define MEMSET(bits, type)                                                                         \
    EXPORT CUresult cuMemsetD##bits##_v2(CUdeviceptr to, type value, size_t count)                 \
    {                                                                                              \
        return set(__func__, to, 0, value, sizeof(type), count, 1, NULL);                          \
    }                                                                                              \
    EXPORT CUresult cuMemsetD##bits##Async(CUdeviceptr to, type value, size_t count,               \
                                           CUstream stream)                                        \
    {                                                                                              \
        return set(__func__, to, 0, value, sizeof(type), count, 1, stream);                        \
    }                                                                                              \
    EXPORT CUresult cuMemsetD2D##bits##_v2(CUdeviceptr to, size_t pitch, type value, size_t width, \
                                           size_t height)                                          \
    {                                                                                              \
        return set(__func__, to, pitch, value, sizeof(type), width, height, NULL);                 \
    }                                                                                              \
    EXPORT CUresult cuMemsetD2D##bits##Async(CUdeviceptr to, size_t pitch, type value,             \
                                             size_t width, size_t height, CUstream stream)         \
    {                                                                                              \
        return set(__func__, to, pitch, value, sizeof(type), width, height, stream);               \
    }

MEMSET(8, unsigned char)
MEMSET(16, unsigned short)
MEMSET(32, unsigned)

/* ---- code ---- */

static void add_kernel(struct module *module, char *line)
{
    struct function *function = &module->functions[module->function_count++];
    char *rest = NULL, *word = strtok_r(line, " ", &rest);

    function->object = (struct object){FUNCTION, stand_in_current};
    snprintf(function->name, sizeof(function->name), "%s", word ? word : "");
    while ((word = strtok_r(NULL, " ", &rest)) && function->params < PARAMS_MAX) {
        unsigned bytes = (unsigned)strtoul(word, NULL, 10);
        unsigned align = bytes > 8 ? 16 : bytes;

        function->bytes[function->params] = bytes;
        function->offsets[function->params] = (function->param_bytes + align - 1) / align * align;
        function->param_bytes = function->offsets[function->params++] + bytes;
    }
}

static CUresult load(struct module **out, const char *image)
{
    struct module *module;
    char *copy_of, *rest = NULL;

    if (strncmp(image, "vgpu-test\n", 10) != 0) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    module = calloc(1, sizeof(*module));
    module->object = (struct object){MODULE, stand_in_current};
    copy_of = strdup(image);
    for (char *line = strtok_r(copy_of, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "kernel ", 7) == 0) {
            add_kernel(module, line + 7);
        } else if (strncmp(line, "global ", 7) == 0) {
            unsigned n = module->global_count++;

            sscanf(line + 7, "%31s %zu", module->globals[n].name, &module->globals[n].bytes);
            module->globals[n].address = allocate(module->globals[n].bytes);
        }
    }
    free(copy_of);
    *out = module;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned count,
                                   unsigned *options, void **values)
{
    CUresult result;

    NEED_CONTEXT;
    never_wait(__func__, stand_in_current);
    result = load((struct module **)out, image);
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER && result) {
            strcpy(values[i], "no such text");
        }
    }
    return result;
}

EXPORT CUresult cuModuleUnload(CUmodule handle)
{
    struct module *module = CHECK(handle, MODULE);

    NEED_CONTEXT;
    never_wait(__func__, stand_in_current);
    module->object.kind = DEAD;
    for (unsigned i = 0; i < module->function_count; i++) {
        module->functions[i].object.kind = DEAD;
    }
    for (unsigned i = 0; i < module->global_count; i++) {
        give_back(module->globals[i].address);
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleGetFunction(CUfunction *out, CUmodule handle, const char *name)
{
    struct module *module = CHECK(handle, MODULE);

    NEED_CONTEXT;
    never_wait(__func__, stand_in_current);
    for (unsigned i = 0; i < module->function_count; i++) {
        if (strcmp(module->functions[i].name, name) == 0) {
            *out = (CUfunction)&module->functions[i];
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_NOT_FOUND;
}

EXPORT CUresult cuModuleGetFunctionCount(unsigned *count, CUmodule handle)
{
    *count = ((struct module *)CHECK(handle, MODULE))->function_count;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule handle,
                                     const char *name)
{
    struct module *module = CHECK(handle, MODULE);

    NEED_CONTEXT;
    for (unsigned i = 0; i < module->global_count; i++) {
        if (strcmp(module->globals[i].name, name) == 0) {
            *address = module->globals[i].address;
            *bytes = module->globals[i].bytes;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_NOT_FOUND;
}

EXPORT CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction handle)
{
    CHECK(handle, FUNCTION);
    NEED_CONTEXT;
    *value = attribute == 0                     ? 1024
             : attribute == 4                   ? 32
             : attribute == 5 || attribute == 6 ? 90
                                                : 0;
    return attribute <= 15 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuFuncSetAttribute(CUfunction handle, int attribute, int value)
{
    CHECK(handle, FUNCTION);
    NEED_CONTEXT;
    return (attribute == 8 && value <= 232448) || attribute == 9 ? CUDA_SUCCESS
                                                                 : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t *offset, size_t *bytes)
{
    struct function *function = CHECK(handle, FUNCTION);

    if (index >= function->params) {
        *offset = *bytes = 0;
        return CUDA_ERROR_INVALID_VALUE;
    }
    *offset = function->offsets[index];
    *bytes = function->bytes[index];
    return CUDA_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction handle,
                                                                     int size, size_t bytes,
                                                                     unsigned flags)
{
    (void)bytes;
    (void)flags;
    CHECK(handle, FUNCTION);
    NEED_CONTEXT;
    *blocks = size > 0 && size <= 1024 ? 2048 / size : 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction handle, void **params,
                                 void **extra)
{
    struct function *function = CHECK(handle, FUNCTION);
    uint64_t threads = (uint64_t)config->blockDimX * config->blockDimY * config->blockDimZ;
    struct work *work;
    size_t bytes = 0;

    NEED_CONTEXT;
    if (params) {
        stand_in_abort(__func__, "parameters come packed");
    }
    if (function->object.context != stand_in_current) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (!config->gridDimX || !config->gridDimY || !config->gridDimZ || threads == 0 ||
        threads > 1024 || config->gridDimY > 65535 || config->sharedMemBytes > 49152) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (unsigned i = 0; i < config->numAttrs; i++) {
        if (config->attrs[i].id > ATTRIBUTE_LAST) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    work = new_work(WORK_KERNEL, stream_of(__func__, config->hStream));
    if (extra) {
        memcpy(&bytes, extra[3], sizeof(bytes));
    }
    if (bytes > PARAM_BYTES_MAX || bytes > function->param_bytes + 15u) {
        free(work);
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    }
    if (bytes) {
        memcpy(work->params, extra[1], bytes);
    }
    work->function = function;
    work->threads = threads * config->gridDimX * config->gridDimY * config->gridDimZ;
    LOCKED(stand_in_queue(work));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                               unsigned grid_z, unsigned block_x, unsigned block_y,
                               unsigned block_z, unsigned shared_bytes, CUstream stream,
                               void **params, void **extra)
{
    CUlaunchConfig config = {grid_x,  grid_y,       grid_z, block_x, block_y,
                             block_z, shared_bytes, stream, NULL,    0};

    return cuLaunchKernelEx(&config, function, params, extra);
}

EXPORT CUresult cuOccupancyMaxActiveClusters(int *clusters, CUfunction handle,
                                             const CUlaunchConfig *config)
{
    CHECK(handle, FUNCTION);
    NEED_CONTEXT;
    *clusters = config->blockDimX <= 1024 ? 132 : 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxPotentialClusterSize(int *size, CUfunction handle,
                                                   const CUlaunchConfig *config)
{
    CHECK(handle, FUNCTION);
    NEED_CONTEXT;
    *size = config->blockDimX <= 1024 ? 8 : 0;
    return CUDA_SUCCESS;
}
