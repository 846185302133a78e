/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stand-in's modules, functions and launches. */
#include "tests/cuda/stand_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTRIBUTE_LAST 17u /* of a launch */

static void add_kernel(struct module *module, char *line)
{
    struct function *function = &module->functions[module->function_count++];
    char *rest = NULL, *word = strtok_r(line, " ", &rest);

    function->object = (struct object){FUNCTION, stand_in_current};
    snprintf(function->name, sizeof(function->name), "%s", word ? word : "");
    while ((word = strtok_r(NULL, " ", &rest)) && function->params < PARAMS_MAX) {
        unsigned bytes = (unsigned)strtoul(word, NULL, 10);
        unsigned align;

        if (strncmp(word, "local=", 6) == 0) {
            function->local_bytes = (unsigned)strtoul(word + 6, NULL, 10);
            continue;
        }
        align = bytes > 8 ? 16 : bytes;

        function->bytes[function->params] = bytes;
        function->offsets[function->params] = (function->param_bytes + align - 1) / align * align;
        function->param_bytes = function->offsets[function->params++] + bytes;
    }
}

CUresult stand_in_load(struct module **out, const char *image)
{
    struct module *module;
    char *copy_of, *rest = NULL;
    CUresult result;

    copy_of = stand_in_text(image, &result);
    if (!copy_of) {
        return result;
    }
    module = calloc(1, sizeof(*module));
    stand_in_born(&module->object, MODULE, stand_in_current);
    for (char *line = strtok_r(copy_of, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "kernel ", 7) == 0) {
            add_kernel(module, line + 7);
        } else if (strncmp(line, "global ", 7) == 0) {
            unsigned n = module->global_count++;

            sscanf(line + 7, "%31s %zu", module->globals[n].name, &module->globals[n].bytes);
            module->globals[n].address = stand_in_allocate(module->globals[n].bytes);
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
    stand_in_never_wait(__func__, stand_in_current);
    result = stand_in_load((struct module **)out, image);
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER && result) {
            strcpy(values[i], "no such text");
        }
    }
    return result;
}

void stand_in_module_dies(struct module *module)
{
    stand_in_dies(&module->object);
    for (unsigned i = 0; i < module->function_count; i++) {
        module->functions[i].object.kind = DEAD;
    }
    for (unsigned i = 0; i < module->global_count; i++) {
        stand_in_give_back(module->globals[i].address);
    }
}

EXPORT CUresult cuModuleUnload(CUmodule handle)
{
    struct module *module = CHECK(handle, MODULE);

    NEED_CONTEXT;
    stand_in_never_wait(__func__, stand_in_current);
    if (module->object.context != stand_in_current) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    stand_in_module_dies(module);
    return CUDA_SUCCESS;
}

struct function *stand_in_find(struct module *module, const char *name)
{
    for (unsigned i = 0; i < module->function_count; i++) {
        if (strcmp(module->functions[i].name, name) == 0) {
            return &module->functions[i];
        }
    }
    return NULL;
}

EXPORT CUresult cuModuleGetFunction(CUfunction *out, CUmodule handle, const char *name)
{
    struct module *module = CHECK(handle, MODULE);

    NEED_CONTEXT;
    stand_in_never_wait(__func__, stand_in_current);
    *out = (CUfunction)stand_in_find(module, name);
    return *out ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
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
    const struct function *function = CHECK(handle, FUNCTION);

    NEED_CONTEXT;
    *value = attribute == 0                     ? 1024
             : attribute == 3                   ? (int)function->local_bytes
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

/* As natively, these take no CUkernel. */
EXPORT CUresult cuFuncLoad(CUfunction handle)
{
    CHECK(handle, FUNCTION);
    NEED_CONTEXT;
    stand_in_never_wait(__func__, stand_in_current);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncIsLoaded(unsigned *state, CUfunction handle)
{
    CHECK(handle, FUNCTION);
    *state = 1;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncSetCacheConfig(CUfunction handle, unsigned config)
{
    CHECK(handle, FUNCTION);
    NEED_CONTEXT;
    return config <= 3 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuFuncSetSharedMemConfig(CUfunction handle, unsigned config)
{
    CHECK(handle, FUNCTION);
    NEED_CONTEXT;
    return config <= 2 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
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
    NEED_CONTEXT;
    stand_in_function(__func__, handle);
    *blocks = size > 0 && size <= 1024 ? 2048 / size : 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction handle, void **params,
                                 void **extra)
{
    struct function *function = stand_in_function(__func__, handle);
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
    work = stand_in_work(WORK_KERNEL, stand_in_stream(__func__, config->hStream));
    if (extra) {
        memcpy(&bytes, extra[3], sizeof(bytes));
    }
    if (bytes > PARAM_BYTES_MAX || bytes > function->param_bytes + 15u) {
        free(work);
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    }
    if (function->local_bytes > stand_in_current->local_bytes) {
        if (!stand_in_take(stand_in_current,
                           (function->local_bytes - stand_in_current->local_bytes) *
                               RESIDENT_THREADS)) {
            free(work);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        stand_in_current->local_bytes = function->local_bytes;
    }
    if (bytes) {
        memcpy(work->params, extra[1], bytes);
    }
    work->function = function;
    memcpy(work->grid, &config->gridDimX, sizeof(work->grid));
    memcpy(work->block, &config->blockDimX, sizeof(work->block));
    work->shared_bytes = config->sharedMemBytes;
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

/* What it has of its own is the address and a mark. */
EXPORT CUresult cuTensorMapEncodeTiled(CUtensorMap *map, unsigned type, unsigned rank,
                                       void *address, const uint64_t *dims, const uint64_t *strides,
                                       const unsigned *box, const unsigned *element_strides,
                                       unsigned interleave, unsigned swizzle, unsigned promotion,
                                       unsigned fill)
{
    if (rank < 1 || rank > 5 || type > 12 || interleave > 2 || swizzle > 3 || promotion > 3 ||
        fill > 1 || (uintptr_t)address % 16 || box[0] > 256 || element_strides[0] < 1) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memset(map, 0, sizeof(*map));
    map->opaque[0] = (uintptr_t)address;
    map->opaque[1] = dims[rank - 1] ^ (rank > 1 ? strides[rank - 2] : 0) ^ 0x7e50;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuTensorMapReplaceAddress(CUtensorMap *map, void *address)
{
    if ((uintptr_t)address % 16) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    map->opaque[0] = (uintptr_t)address;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxActiveClusters(int *clusters, CUfunction handle,
                                             const CUlaunchConfig *config)
{
    NEED_CONTEXT;
    stand_in_function(__func__, handle);
    *clusters = config->blockDimX <= 1024 && config->numAttrs ? 132 : 0; /* none: no clusters */
    return CUDA_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxPotentialClusterSize(int *size, CUfunction handle,
                                                   const CUlaunchConfig *config)
{
    NEED_CONTEXT;
    stand_in_function(__func__, handle);
    *size = config->blockDimX <= 1024 ? 8 : 0;
    return CUDA_SUCCESS;
}
