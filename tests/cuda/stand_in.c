/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stand-in for the CUDA driver, for tests of profile CUDA on machines without a GPU.
 *
 * It has the functions that the worker calls and answers as the driver does, where tests look.
 * It is strict: what a real driver turns into a crash, a hang or a leak ends the process here,
 * namely a handle that isn't live, an address of the calling process where one of the GPU
 * belongs, and a call that would wait for work in flight.
 *
 * Images are text: "vgpu-test", then lines "kernel NAME BYTES..." (of each parameter, then
 * "local=BYTES") and "global NAME BYTES".
 */
#include "tests/cuda/stand_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__thread struct context *stand_in_current;

void *stand_in_check(const char *function, const void *handle, enum kind kind)
{
    const struct object *object = handle;

    if (!handle || object->kind != kind) {
        stand_in_abort(function, "the handle is not live");
    }
    return (void *)handle;
}

void stand_in_born(struct object *object, enum kind kind, struct context *context)
{
    object->kind = kind;
    object->context = context;
    LOCKED(object->next = GPU->objects; GPU->objects = object);
}

/* It stays, so that a use of it shows. */
void stand_in_dies(struct object *object)
{
    object->kind = DEAD;
}

void stand_in_context_dies(const struct context *context)
{
    for (struct object *object = GPU->objects; object; object = object->next) {
        if (object->context != context || object->kind == DEAD) {
            continue;
        }
        if (object->kind == STREAM) {
            stand_in_capture_ends((struct stream *)object);
        }
        if (object->kind == MODULE) {
            stand_in_module_dies((struct module *)object);
        }
        stand_in_dies(object);
    }
}

bool stand_in_take(struct context *context, uint64_t bytes)
{
    bool fits;

    LOCKED(fits = bytes <= GPU->total_bytes - GPU->used_bytes; GPU->used_bytes += fits ? bytes : 0);
    context->taken_bytes += fits ? bytes : 0;
    return fits;
}

/* ---- for tests ---- */

EXPORT unsigned vgpu_stand_in_alive(const char *kind)
{
    static const char *const names[] = {"context", "module",  "function", "stream",
                                        "event",   "library", "kernel",   "pool",
                                        "graph",   "exec",    "node",     "physical"};
    unsigned count = 0;

    for (const struct object *object = GPU->objects; object; object = object->next) {
        count += object->kind != DEAD && strcmp(names[object->kind - CONTEXT], kind) == 0;
    }
    return count;
}

EXPORT uint64_t vgpu_stand_in_used_bytes(void)
{
    return GPU->used_bytes;
}

void stand_in_never_wait(const char *function, const struct context *context)
{
    bool busy;

    LOCKED(busy = context->in_flight > 0 && !GPU->lost);
    if (busy) {
        stand_in_abort(function, "it would wait for work in flight");
    }
}

struct stream *stand_in_stream(const char *function, CUstream stream)
{
    return (uintptr_t)stream <= CU_STREAM_LEGACY ? NULL : stand_in_check(function, stream, STREAM);
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
    if (getenv("NVML_STAND_IN")) {
        uuid->bytes[15] = 0; /* the first one that it has */
    }
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

/* ---- contexts ---- */

EXPORT CUresult cuCtxCreate_v2(CUcontext *out, unsigned flags, CUdevice device)
{
    static const uint64_t limits[] = {1024, 8650752, 8388608, 0, 2048, 64, 11796480};
    struct context *context = calloc(1, sizeof(*context));

    (void)device;
    if (flags & 0x60) {
        stand_in_abort(__func__, "a guest asks for a core dump");
    }
    if (GPU->lost) {
        free(context);
        return GPU->lost;
    }
    stand_in_born(&context->object, CONTEXT, NULL);
    context->flags = flags;
    memcpy(context->limits, limits, sizeof(limits));
    context->local_bytes = limits[0];
    stand_in_current = context;
    *out = (CUcontext)context;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxDestroy_v2(CUcontext handle)
{
    struct context *context = CHECK(handle, CONTEXT);

    stand_in_never_wait(__func__, context);
    stand_in_context_dies(context);
    stand_in_memory_dies(context);
    stand_in_dies(&context->object);
    LOCKED(GPU->used_bytes -= context->taken_bytes);
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
    stand_in_never_wait(__func__, stand_in_current);
    stand_in_print();
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
    if (limit == 0 && value > stand_in_current->local_bytes) {
        if (!stand_in_take(stand_in_current,
                           (value - stand_in_current->local_bytes) * RESIDENT_THREADS)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        stand_in_current->local_bytes = value;
    }
    if ((limit == 1 || limit == 2) && value > stand_in_current->limits[limit] &&
        !stand_in_take(stand_in_current, value - stand_in_current->limits[limit])) {
        return CUDA_ERROR_OUT_OF_MEMORY;
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
