/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Functions and kernels.  The answer to the first question brings what a launch needs: the
 * parameters' places and the attributes; so a launch asks nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define ATTRIBUTE_MAX_THREADS 0
#define UNKNOWN_FACTS UINT32_MAX

static uint32_t bytes_of_params(const CUDAFunction *facts)
{
    uint32_t end = 0;

    for (uint32_t i = 0; i < facts->param_count && i < CUDA_PARAMS_MAX; i++) {
        uint32_t behind = (uint32_t)facts->params[i].offset + facts->params[i].bytes;

        end = behind > end ? behind : end;
    }
    return end > CUDA_PARAM_BYTES_MAX ? CUDA_PARAM_BYTES_MAX : end;
}

/* Keeps what the worker said of a new function. */
static CUresult keep(uint64_t handle, uint64_t of, const char *name, const CUDAFunction *facts)
{
    struct cuda_object *object = cuda_object(handle, vgpu_handle_kind(handle));
    struct cuda_function *function = calloc(1, sizeof(*function));
    char *copy = strdup(name);

    if (!object || !function || !copy ||
        (facts->param_count > CUDA_PARAMS_MAX && facts->param_count != UNKNOWN_FACTS)) {
        free(function);
        free(copy);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    object->of = of;
    function->name = copy;
    function->facts = *facts;
    function->param_bytes = facts->param_count == UNKNOWN_FACTS ? 0 : bytes_of_params(facts);
    object->function = function;
    return CUDA_SUCCESS;
}

static CUresult get(uint64_t of, unsigned how, unsigned kind, const char *name, void *to)
{
    struct cuda_call call;
    CUDAFunction facts;
    CUresult result = cuda_begin(&call, CUDA_OP_GET_FUNCTION,
                                 how == CUDA_GET_OF_LIBRARY ? 0 : CUDA_NEEDS_CONTEXT);
    uint64_t handle;

    if (result) {
        return result;
    }
    /* The same module gives the same function each time, as natively. */
    handle = cuda_object_by_name(of, name, kind);
    if (!handle) {
        cuda_add(&call, cuda_object_new(&call, kind));
        cuda_add(&call, of);
        cuda_add(&call, how);
        cuda_add_string(&call, name);
        call.reply = &facts;
        call.reply_bytes = sizeof(facts);
        result = cuda_ask(&call);
        cuda_object_made(&call, result, &handle);
        if (result == CUDA_SUCCESS) {
            result = keep(handle, of, name, &facts);
        }
    }
    if (result == CUDA_SUCCESS) {
        memcpy(to, &handle, sizeof(handle));
    }
    return result;
}

CUresult hand_cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GET_FUNCTION, CUDA_NEEDS_CONTEXT);
    uint64_t module = (uint64_t)(uintptr_t)hmod;

    if (result) {
        return result;
    }
    if (!hfunc || !name) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return cuda_fits(&call, cuda_object(module, CUDA_KIND_MODULE))
               ? get(module, CUDA_GET_OF_MODULE, CUDA_KIND_FUNCTION, name, hfunc)
               : CUDA_ERROR_INVALID_HANDLE;
}

CUresult hand_cuLibraryGetKernel(CUkernel *pKernel, CUlibrary library, const char *name)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GET_FUNCTION, 0);
    uint64_t handle = (uint64_t)(uintptr_t)library;

    if (result) {
        return result;
    }
    if (!pKernel || !name) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return cuda_object(handle, CUDA_KIND_LIBRARY)
               ? get(handle, CUDA_GET_OF_LIBRARY, CUDA_KIND_KERNEL, name, pKernel)
               : CUDA_ERROR_INVALID_HANDLE;
}

CUresult hand_cuKernelGetFunction(CUfunction *pFunc, CUkernel kernel)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GET_FUNCTION, CUDA_NEEDS_CONTEXT);
    uint64_t handle = (uint64_t)(uintptr_t)kernel;
    struct cuda_object *object = cuda_object(handle, CUDA_KIND_KERNEL);

    if (result) {
        return result;
    }
    if (!pFunc) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return object && object->function
               ? get(handle, CUDA_GET_OF_KERNEL, CUDA_KIND_FUNCTION, object->function->name, pFunc)
               : CUDA_ERROR_INVALID_HANDLE;
}

void cuda_function_changed(struct cuda_function *function)
{
    memset(function->seen, 0, sizeof(function->seen));
}

void cuda_function_attribute(uint64_t handle, unsigned attribute, int value)
{
    const struct cuda_object *object = cuda_object(handle, CUDA_KIND_FUNCTION);

    if (object && object->function && attribute < CUDA_FUNCTION_ATTRIBUTES) {
        object->function->facts.values[attribute] = value;
        cuda_function_changed(object->function);
    }
}

/* A kernel that was got without a context: its facts are those of its function in this one. */
static CUresult complete(uint64_t handle, struct cuda_object *object)
{
    CUfunction function;
    CUresult result;

    /* NOLINTNEXTLINE(performance-no-int-to-ptr): a handle */
    result = hand_cuKernelGetFunction(&function, (CUkernel)(uintptr_t)handle);
    if (result == CUDA_SUCCESS) {
        struct cuda_object *made = cuda_object((uint64_t)(uintptr_t)function, CUDA_KIND_FUNCTION);

        if (!made || !made->function) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        object->function->facts = made->function->facts;
        object->function->param_bytes = made->function->param_bytes;
    }
    return result;
}

struct cuda_function *cuda_function_of(uint64_t handle, CUresult *result)
{
    struct cuda_object *object = cuda_object(handle, CUDA_KIND_FUNCTION);

    if (!object || !object->function) {
        *result = CUDA_ERROR_INVALID_HANDLE;
        return NULL;
    }
    *result = object->function->facts.param_count == UNKNOWN_FACTS ? complete(handle, object)
                                                                   : CUDA_SUCCESS;
    return *result == CUDA_SUCCESS ? object->function : NULL;
}

/* ---- attributes ---- */

CUresult hand_cuFuncGetAttribute(int *pi, int attrib, CUfunction hfunc)
{
    struct cuda_call call;
    struct cuda_function *function;
    CUresult result = cuda_begin(&call, CUDA_OP_GET_FUNCTION, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!pi || attrib < 0 || attrib >= (int)CUDA_FUNCTION_ATTRIBUTES) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    function = cuda_function_of((uint64_t)(uintptr_t)hfunc, &result);
    if (!function) {
        return result;
    }
    if (function->facts.results[attrib]) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pi = function->facts.values[attrib];
    return CUDA_SUCCESS;
}

CUresult hand_cuFuncSetAttribute(CUfunction hfunc, int attrib, int value)
{
    struct cuda_call call;
    struct cuda_function *function;
    CUresult result = cuda_begin(&call, CUDA_OP_SET_ATTRIBUTE, CUDA_NEEDS_CONTEXT);
    CUDAFunction facts;

    if (result) {
        return result;
    }
    function = cuda_function_of((uint64_t)(uintptr_t)hfunc, &result);
    if (!function) {
        return result;
    }
    cuda_add(&call, (uint64_t)(uintptr_t)hfunc);
    cuda_add(&call, (uint64_t)(uint32_t)attrib);
    cuda_add(&call, (uint64_t)(uint32_t)value);
    call.reply = &facts;
    call.reply_bytes = sizeof(facts);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        memcpy(function->facts.values, facts.values, sizeof(facts.values));
        cuda_function_changed(function);
    }
    return result;
}

static CUresult param_info(uint64_t handle, size_t paramIndex, size_t *paramOffset,
                           size_t *paramSize)
{
    struct cuda_call call;
    struct cuda_function *function;
    CUresult result = cuda_begin(&call, CUDA_OP_GET_FUNCTION, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!paramOffset) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    function = cuda_function_of(handle, &result);
    if (!function) {
        return result;
    }
    if (paramIndex >= function->facts.param_count) {
        return CUDA_ERROR_INVALID_VALUE; /* and nothing is written, as natively */
    }
    *paramOffset = function->facts.params[paramIndex].offset;
    if (paramSize) {
        *paramSize = function->facts.params[paramIndex].bytes;
    }
    return CUDA_SUCCESS;
}

CUresult hand_cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t *paramOffset,
                                 size_t *paramSize)
{
    return param_info((uint64_t)(uintptr_t)func, paramIndex, paramOffset, paramSize);
}

CUresult hand_cuKernelGetParamInfo(CUkernel kernel, size_t paramIndex, size_t *paramOffset,
                                   size_t *paramSize)
{
    return param_info((uint64_t)(uintptr_t)kernel, paramIndex, paramOffset, paramSize);
}

/* What is known of a handle without asking: its name, or what it is of. */
static CUresult of_handle(uint64_t handle, unsigned kind, const void *to,
                          struct cuda_object **object)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GET_FUNCTION, 0);

    if (result) {
        return result;
    }
    *object = cuda_object(handle, kind);
    if (!to) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return *object && (*object)->function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult hand_cuFuncGetName(const char **name, CUfunction hfunc)
{
    struct cuda_object *object;
    CUresult result = of_handle((uint64_t)(uintptr_t)hfunc, CUDA_KIND_FUNCTION, name, &object);

    if (result == CUDA_SUCCESS) {
        *name = object->function->name;
    }
    return result;
}

CUresult hand_cuKernelGetName(const char **name, CUkernel hfunc)
{
    struct cuda_object *object;
    CUresult result = of_handle((uint64_t)(uintptr_t)hfunc, CUDA_KIND_KERNEL, name, &object);

    if (result == CUDA_SUCCESS) {
        *name = object->function->name;
    }
    return result;
}

CUresult hand_cuFuncGetModule(CUmodule *hmod, CUfunction hfunc)
{
    struct cuda_object *object;
    CUresult result = of_handle((uint64_t)(uintptr_t)hfunc, CUDA_KIND_FUNCTION, hmod, &object);

    if (result == CUDA_SUCCESS) {
        if (vgpu_handle_kind(object->of) != CUDA_KIND_MODULE) {
            return CUDA_ERROR_NOT_SUPPORTED; /* a library's kernel: cuLibraryGetModule has it */
        }
        memcpy(hmod, &object->of, sizeof(object->of));
    }
    return result;
}

CUresult hand_cuKernelGetLibrary(CUlibrary *pLib, CUkernel kernel)
{
    struct cuda_object *object;
    CUresult result = of_handle((uint64_t)(uintptr_t)kernel, CUDA_KIND_KERNEL, pLib, &object);

    if (result == CUDA_SUCCESS) {
        memcpy(pLib, &object->of, sizeof(object->of));
    }
    return result;
}

/* ---- how large a block had best be ---- */

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *numBlocks, CUfunction func,
                                                              int blockSize, size_t bytes,
                                                              unsigned int flags);

#define WARP 32

/* The block with which the most threads are resident, the largest among equals. */
CUresult hand_cuOccupancyMaxPotentialBlockSizeWithFlags(int *minGridSize, int *blockSize,
                                                        CUfunction func,
                                                        size_t (*blockSizeToDynamicSMemSize)(int),
                                                        size_t dynamicSMemSize, int blockSizeLimit,
                                                        unsigned int flags)
{
    int most = 0, best = 0, largest = 0, blocks, best_blocks = 0;
    CUresult result;

    if (!minGridSize || !blockSize) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = hand_cuFuncGetAttribute(&largest, ATTRIBUTE_MAX_THREADS, func);
    if (result) {
        return result;
    }
    if (blockSizeLimit > 0 && blockSizeLimit < largest) {
        largest = blockSizeLimit;
    }
    for (int size = largest; size > 0; size = (size - 1) / WARP * WARP) {
        size_t bytes =
            blockSizeToDynamicSMemSize ? blockSizeToDynamicSMemSize(size) : dynamicSMemSize;

        result =
            cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&blocks, func, size, bytes, flags);
        if (result) {
            return result;
        }
        if (blocks * size > most) {
            most = blocks * size;
            best = size;
            best_blocks = blocks;
        }
        if (most >= cuda_process.snapshot.values[39]) {
            break; /* all that a multiprocessor can hold */
        }
    }
    *blockSize = best;
    *minGridSize = best_blocks * cuda_process.snapshot.values[16];
    return CUDA_SUCCESS;
}

CUresult hand_cuOccupancyMaxPotentialBlockSize(int *minGridSize, int *blockSize, CUfunction func,
                                               size_t (*blockSizeToDynamicSMemSize)(int),
                                               size_t dynamicSMemSize, int blockSizeLimit)
{
    return hand_cuOccupancyMaxPotentialBlockSizeWithFlags(minGridSize, blockSize, func,
                                                          blockSizeToDynamicSMemSize,
                                                          dynamicSMemSize, blockSizeLimit, 0);
}
