/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Programs for the GPU: images, functions, launches. */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>
#include <string.h>

#define LOG_BYTES 1500u
#define IMAGE_END_BYTES 64u                      /* zeros behind an image */
#define STAGED_MAX (CUDA_IMAGE_MAX + (1u << 20)) /* of all channels of a worker */
#define LOCAL_BYTES 3                            /* the attribute of a function */
#define UNKNOWN_FACTS UINT32_MAX

/* Options that are numbers; what is a pointer is never taken from a process. */
static bool option_is_number(uint64_t name)
{
    static const uint64_t numbers = 1ull << 0 | 1ull << 1 | 1ull << 7 | 1ull << 8 | 1ull << 9 |
                                    1ull << 10 | 1ull << 11 | 1ull << 12 | 1ull << 13 | 1ull << 14 |
                                    1ull << 15 | 1ull << 16 | 1ull << 20 | 1ull << 21 | 1ull << 22 |
                                    1ull << 23 | 1ull << 24 | 1ull << 29 | 1ull << 30 | 1ull << 31 |
                                    1ull << 32 | 1ull << 33;

    return name < 64 && (numbers >> name & 1);
}

void driver_image_drop(struct driver_channel *channel)
{
    struct driver_image *image = &channel->image;

    __atomic_sub_fetch(&channel->set->staged_bytes, image->room, __ATOMIC_RELAXED);
    free(image->bytes);
    *image = (struct driver_image){0};
}

/* Room for so many bytes.  False: there is no memory, or the VM's programs have staged too much. */
static bool stage(struct driver_channel *channel, uint64_t bytes)
{
    struct driver_image *image = &channel->image;
    uint64_t room = bytes + bytes / 2 + 4096, most = CUDA_IMAGE_MAX + IMAGE_END_BYTES, more;
    uint8_t *place;

    if (bytes <= image->room) {
        return true;
    }
    room = room < most ? room : most;
    more = room - image->room;
    if (__atomic_add_fetch(&channel->set->staged_bytes, more, __ATOMIC_RELAXED) > STAGED_MAX) {
        __atomic_sub_fetch(&channel->set->staged_bytes, more, __ATOMIC_RELAXED);
        return false;
    }
    place = realloc(image->bytes, room);
    if (!place) {
        __atomic_sub_fetch(&channel->set->staged_bytes, more, __ATOMIC_RELAXED);
        return false;
    }
    image->bytes = place;
    image->room = room;
    return true;
}

CUresult driver_run_image(struct driver_call *call)
{
    struct driver_image *image = &call->channel->image;
    uint64_t at = call->args[0], end = at + call->payload_bytes;

    if (call->arg_count < 1 || call->payload_bytes == 0 || (at != 0 && at != image->count) ||
        end > CUDA_IMAGE_MAX) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!stage(call->channel, end)) {
        driver_image_drop(call->channel); /* its load says that there is none */
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memcpy(image->bytes + at, call->payload, call->payload_bytes);
    image->count = end;
    return CUDA_SUCCESS;
}

/* The image of this length, with zeros behind it.  Not 0: it has not come, or is cut. */
static CUresult whole_image(struct driver_call *call, uint64_t bytes)
{
    struct driver_image *image = &call->channel->image;

    if (image->count == 0 && bytes > 0) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (image->count != bytes || !driver_image_is_whole(image->bytes, bytes)) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (!stage(call->channel, bytes + IMAGE_END_BYTES)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memset(image->bytes + bytes, 0, IMAGE_END_BYTES);
    return CUDA_SUCCESS;
}

struct options {
    unsigned names[CUDA_JIT_OPTIONS_MAX + 4];
    void *values[CUDA_JIT_OPTIONS_MAX + 4];
    unsigned count;
    char error[LOG_BYTES], info[LOG_BYTES];
};

static void add_option(struct options *options, unsigned name, void *value)
{
    options->names[options->count] = name;
    options->values[options->count++] = value;
}

/* The process's numbers, and buffers of our own for the logs it wants. */
static CUresult take_options(struct driver_call *call, unsigned count, struct options *options)
{
    bool logs = false;

    if ((uint64_t)count * 16 > call->payload_bytes || count > CUDA_JIT_OPTIONS_MAX) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (unsigned i = 0; i < count; i++) {
        uint64_t pair[2];

        memcpy(pair, call->payload + i * sizeof(pair), sizeof(pair));
        if (pair[0] >= CU_JIT_INFO_LOG_BUFFER && pair[0] <= CU_JIT_ERROR_LOG_BYTES) {
            logs = true;
        } else if (option_is_number(pair[0])) {
            /* NOLINTNEXTLINE(performance-no-int-to-ptr): a number, as the interface has it */
            add_option(options, (unsigned)pair[0], (void *)(uintptr_t)(uint32_t)pair[1]);
        } else if (pair[0] != 2) { /* 2, the compiler's time, is only ever written */
            return CUDA_ERROR_NOT_SUPPORTED;
        }
    }
    if (logs) {
        add_option(options, CU_JIT_ERROR_LOG_BUFFER, options->error);
        add_option(options, CU_JIT_ERROR_LOG_BYTES, (void *)(uintptr_t)LOG_BYTES);
        add_option(options, CU_JIT_INFO_LOG_BUFFER, options->info);
        add_option(options, CU_JIT_INFO_LOG_BYTES, (void *)(uintptr_t)LOG_BYTES);
    }
    return CUDA_SUCCESS;
}

static void answer_logs(struct driver_call *call, const struct options *options)
{
    CUDALogs *logs = &call->channel->logs;

    memset(logs, 0, sizeof(*logs));
    logs->error_bytes = (uint32_t)strnlen(options->error, LOG_BYTES);
    logs->info_bytes = (uint32_t)strnlen(options->info, LOG_BYTES);
    memcpy(logs->text, options->error, logs->error_bytes);
    memcpy(logs->text + logs->error_bytes, options->info, logs->info_bytes);
    call->reply = logs;
    call->reply_bytes = sizeof(*logs);
}

static CUresult load_image(struct driver_call *call, unsigned kind)
{
    struct options options = {.count = 0};
    uint8_t *image;
    void *real = NULL;
    struct driver_entry *entry;
    /* Of a library's own options there is only whether its image lives on; it is copied. */
    CUresult result = take_options(call, (unsigned)call->args[2], &options);

    result = result ? result : whole_image(call, call->args[1]);
    if (result) {
        return result;
    }
    if (!driver_charge(call->channel, call->args[1])) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    image = call->channel->image.bytes;
    result = kind == CUDA_KIND_MODULE
                 ? call->api->cuModuleLoadDataEx((CUmodule *)&real, image, options.count,
                                                 options.names, options.values)
                 : call->api->cuLibraryLoadData((CUlibrary *)&real, image, options.names,
                                                options.values, options.count, NULL, NULL, 0);
    entry = driver_handle_made(call, call->args[0], kind, real, result);
    if (entry) {
        driver_output_image(call->channel, image, call->args[1]);
        entry->charged_bytes = call->args[1];
    } else {
        driver_discharge(call->channel, call->args[1]);
    }
    answer_logs(call, &options);
    return result;
}

static CUresult load(struct driver_call *call, unsigned kind)
{
    CUresult result;

    if (call->arg_count < 4 || !driver_handle_free(call, call->args[0], kind) ||
        call->args[2] > CUDA_JIT_OPTIONS_MAX || call->args[3] > CUDA_JIT_OPTIONS_MAX) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = load_image(call, kind);
    driver_image_drop(call->channel);
    return result;
}

CUresult driver_run_module_load(struct driver_call *call)
{
    return call->context ? load(call, CUDA_KIND_MODULE) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult driver_run_library_load(struct driver_call *call)
{
    return load(call, CUDA_KIND_LIBRARY);
}

/* ---- functions ---- */

static void read_attributes(struct driver_call *call, CUfunction function, CUDAFunction *facts)
{
    for (unsigned i = 0; i < CUDA_FUNCTION_ATTRIBUTES; i++) {
        int value = 0;
        CUresult result = call->api->cuFuncGetAttribute(&value, (int)i, function);

        facts->values[i] = result == CUDA_SUCCESS ? value : 0;
        facts->results[i] = result != CUDA_SUCCESS;
    }
}

/* What a launch needs to know.  False: it has more parameters than a launch can carry. */
static bool read_facts(struct driver_call *call, CUfunction function, CUDAFunction *facts)
{
    size_t offset, bytes;

    memset(facts, 0, sizeof(*facts));
    read_attributes(call, function, facts);
    while (call->api->cuFuncGetParamInfo(function, facts->param_count, &offset, &bytes) ==
           CUDA_SUCCESS) {
        if (facts->param_count == CUDA_PARAMS_MAX || offset > CUDA_PARAM_BYTES_MAX ||
            bytes > CUDA_PARAM_BYTES_MAX) {
            return false;
        }
        facts->params[facts->param_count].offset = (uint16_t)offset;
        facts->params[facts->param_count].bytes = (uint16_t)bytes;
        facts->param_count++;
    }
    return true;
}

static CUresult find_function(struct driver_call *call, const char *name, CUfunction *function,
                              CUkernel *kernel)
{
    void *of;

    switch (call->args[2]) {
    case CUDA_GET_OF_MODULE:
        of = driver_handle(call, call->args[1], CUDA_KIND_MODULE);
        return of ? call->api->cuModuleGetFunction(function, of, name) : CUDA_ERROR_INVALID_HANDLE;
    case CUDA_GET_OF_KERNEL:
        of = driver_handle(call, call->args[1], CUDA_KIND_KERNEL);
        return of ? call->api->cuKernelGetFunction(function, of) : CUDA_ERROR_INVALID_HANDLE;
    case CUDA_GET_OF_LIBRARY:
        of = driver_handle(call, call->args[1], CUDA_KIND_LIBRARY);
        return of ? call->api->cuLibraryGetKernel(kernel, of, name) : CUDA_ERROR_INVALID_HANDLE;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult driver_run_get_function(struct driver_call *call)
{
    CUDAFunction *facts = &call->channel->function;
    const char *name = call->arg_count > 3 ? driver_string(call, call->args[3]) : NULL;
    CUfunction function = NULL;
    CUkernel kernel = NULL;
    struct driver_entry *entry;
    CUresult result;

    if (!name || !driver_handle_free(call, call->args[0],
                                     call->args[2] == CUDA_GET_OF_LIBRARY ? CUDA_KIND_KERNEL
                                                                          : CUDA_KIND_FUNCTION)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!call->context && call->args[2] != CUDA_GET_OF_LIBRARY) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    result = find_function(call, name, &function, &kernel);
    if (result) {
        return result;
    }
    memset(facts, 0, sizeof(*facts));
    facts->param_count = UNKNOWN_FACTS; /* a kernel's: asked for once it has a context */
    if (function && !read_facts(call, function, facts)) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    entry = driver_handle_made(call, call->args[0], kernel ? CUDA_KIND_KERNEL : CUDA_KIND_FUNCTION,
                               kernel ? (void *)kernel : (void *)function, result);
    if (entry && function) {
        entry->local_bytes = (uint32_t)facts->values[LOCAL_BYTES];
        entry->local_known = true;
    }
    call->reply = facts;
    call->reply_bytes = sizeof(*facts);
    return CUDA_SUCCESS;
}

CUfunction driver_function(struct driver_call *call, uint64_t handle, CUresult *result)
{
    void *real = driver_handle(call, handle, CUDA_KIND_FUNCTION);
    CUfunction function = real;

    *result = real ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    if (real && vgpu_handle_kind(handle) == CUDA_KIND_KERNEL) {
        *result = call->api->cuKernelGetFunction(&function, real);
    }
    return function;
}

CUresult driver_run_set_attribute(struct driver_call *call)
{
    CUDAFunction *facts = &call->channel->function;
    CUfunction function;
    CUresult result;

    if (call->arg_count < 3 || !call->context) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    function = driver_function(call, call->args[0], &result);
    if (result == CUDA_SUCCESS) {
        result = call->api->cuFuncSetAttribute(function, (int)call->args[1], (int)call->args[2]);
    }
    if (result == CUDA_SUCCESS) {
        memset(facts, 0, sizeof(*facts));
        read_attributes(call, function, facts);
        call->reply = facts;
        call->reply_bytes = sizeof(*facts);
    }
    return result;
}

/* ---- launches ---- */

#define EXTRA_END ((void *)0)
#define EXTRA_POINTER ((void *)1)
#define EXTRA_SIZE ((void *)2)

/* The function, and *config with attributes of our own memory, from a record. */
static CUresult take_configuration(struct driver_call *call, unsigned arg_count,
                                   struct driver_entry **function, CUlaunchConfig *config,
                                   CUlaunchAttribute attributes[CUDA_ATTRIBUTES_MAX])
{
    const uint64_t *args = call->args;
    unsigned count = (unsigned)(args[CUDA_LAUNCH_BLOCK_Z] >> 32);
    uint64_t bytes = (uint32_t)args[CUDA_LAUNCH_PARAM_BYTES];
    CUstream stream;

    if (call->arg_count < arg_count || count > CUDA_ATTRIBUTES_MAX ||
        bytes > CUDA_PARAM_BYTES_MAX || count * sizeof(*attributes) + bytes > call->payload_bytes) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *function = driver_entry(call, args[CUDA_LAUNCH_FUNCTION], CUDA_KIND_FUNCTION);
    if (!*function || !driver_stream(call, args[CUDA_LAUNCH_STREAM], &stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    memcpy(attributes, call->payload, count * sizeof(*attributes));
    for (unsigned i = 0; i < count; i++) {
        CUresult result = cuda_check_attribute(attributes[i].id);

        if (result) {
            return result;
        }
    }
    *config = (CUlaunchConfig){
        .gridDimX = (uint32_t)args[CUDA_LAUNCH_GRID_XY],
        .gridDimY = (uint32_t)(args[CUDA_LAUNCH_GRID_XY] >> 32),
        .gridDimZ = (uint32_t)args[CUDA_LAUNCH_GRID_Z],
        .blockDimX = (uint32_t)args[CUDA_LAUNCH_BLOCK_XY],
        .blockDimY = (uint32_t)(args[CUDA_LAUNCH_BLOCK_XY] >> 32),
        .blockDimZ = (uint32_t)args[CUDA_LAUNCH_BLOCK_Z],
        .sharedMemBytes = (uint32_t)(args[CUDA_LAUNCH_GRID_Z] >> 32),
        .hStream = stream,
        .attrs = count ? attributes : NULL,
        .numAttrs = count,
    };
    return CUDA_SUCCESS;
}

CUresult driver_charge_local(struct driver_call *call, struct driver_entry *entry)
{
    CUfunction function = entry->real;
    CUresult result = CUDA_SUCCESS;
    int bytes = 0;

    if (!entry->local_known) {
        result = call->api->cuKernelGetFunction(&function, entry->real);
        result = result ? result : call->api->cuFuncGetAttribute(&bytes, LOCAL_BYTES, function);
        entry->local_bytes = (uint32_t)bytes;
        entry->local_known = result == CUDA_SUCCESS;
    }
    return result || driver_charge_launch(call, entry->local_bytes) ? result
                                                                    : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult driver_run_launch(struct driver_call *call)
{
    CUlaunchAttribute attributes[CUDA_ATTRIBUTES_MAX];
    size_t bytes = (uint32_t)call->args[CUDA_LAUNCH_PARAM_BYTES];
    void *extra[] = {EXTRA_POINTER, NULL, EXTRA_SIZE, &bytes, EXTRA_END};
    CUlaunchConfig config;
    struct driver_entry *entry;
    CUfunction function;
    CUresult result = take_configuration(call, CUDA_LAUNCH_ARGS, &entry, &config, attributes);

    result = result ? result : driver_charge_local(call, entry);
    if (result) {
        return result;
    }
    driver_touch(call, call->args[CUDA_LAUNCH_FUNCTION], 0);
    function = entry->real;
    extra[1] = (void *)(uintptr_t)(call->payload + config.numAttrs * sizeof(*attributes));
    if (config.numAttrs) {
        return call->api->cuLaunchKernelEx(&config, function, NULL, bytes ? extra : NULL);
    }
    return call->api->cuLaunchKernel(function, config.gridDimX, config.gridDimY, config.gridDimZ,
                                     config.blockDimX, config.blockDimY, config.blockDimZ,
                                     config.sharedMemBytes, config.hStream, NULL,
                                     bytes ? extra : NULL);
}

CUresult driver_run_clusters(struct driver_call *call)
{
    CUlaunchAttribute attributes[CUDA_ATTRIBUTES_MAX];
    CUlaunchConfig config;
    CUfunction function;
    struct driver_entry *found;
    int answer = 0;
    CUresult result = take_configuration(call, CUDA_CLUSTERS_ARGS, &found, &config, attributes);

    if (result) {
        return result;
    }
    function = driver_function(call, call->args[CUDA_LAUNCH_FUNCTION], &result);
    if (result) {
        return result;
    }
    result = call->args[CUDA_LAUNCH_ARGS] == CUDA_CLUSTERS_ACTIVE
                 ? call->api->cuOccupancyMaxActiveClusters(&answer, function, &config)
                 : call->api->cuOccupancyMaxPotentialClusterSize(&answer, function, &config);
    call->out[0] = (uint64_t)answer;
    call->out_count = 1;
    return result;
}
