/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stand-in for cuDNN's backend interface on the stand-in driver; a worker opens it by the path
 * in VGPU_CUDNN.  It knows one computation: a tensor of floats times a value that the program
 * gives by its address.
 *
 * It is strict as that one is: what isn't live ends the process, and so does the first execution
 * of a plan while work is in flight.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/dnn.h"
#include "tests/cuda/stand_in_cublas.h"

#define DESC_MARK 0x5c00d22eu
#define OLD_MARK 0x5c00d01du
#define DEAD_MARK 0xdeadu
#define ATTRIBUTES_MAX 16u
#define ATTRIBUTE_BYTES 64u
#define VERSION 91900
#define WORKSPACE_BYTES 16
#define TEXT_BYTES 5000 /* of a plan: more than an answer of the worker holds */

enum {
    HEURISTIC = 4,
    CONFIG = 3,
    OPERATION = 13,
    GRAPH = 15,
    OPERATION_X = 751,
    OPERATION_B = 752,
    OPERATION_Y = 753,
    GRAPH_HANDLE = 800,
    GRAPH_OPERATIONS = 801,
    HEURISTIC_GRAPH = 201,
    HEURISTIC_RESULTS = 202,
    CONFIG_GRAPH = -1, /* not of the interface: what the configuration is of */
    PLAN_CONFIG = 401,
};

struct attribute {
    int name, type;
    int64_t count;
    uint8_t bytes[ATTRIBUTE_BYTES];
};

struct desc {
    unsigned mark;
    int kind;
    bool is_final, was_run;
    struct attribute attributes[ATTRIBUTES_MAX];
    unsigned count;
};

struct handle {
    unsigned mark;
    CUstream stream;
    CUmodule module;
    CUfunction axpy;
};

static unsigned alive;
static CUresult (*load)(CUmodule *, const void *, unsigned, unsigned *, void **);
static CUresult (*get)(CUfunction *, CUmodule, const char *);
static CUresult (*launch)(const CUlaunchConfig *, CUfunction, void **, void **);

EXPORT unsigned stand_in_cudnn_alive(void)
{
    return alive;
}

static struct handle *check(void *opaque)
{
    struct handle *handle = opaque;

    if (!handle || handle->mark != HANDLE_MARK) {
        fprintf(stderr, "stand-in cuDNN: the handle is not live\n");
        abort();
    }
    return handle;
}

static struct desc *desc_of(void *opaque)
{
    struct desc *desc = opaque;

    if (!desc || desc->mark != DESC_MARK) {
        fprintf(stderr, "stand-in cuDNN: a descriptor is not live\n");
        abort();
    }
    return desc;
}

EXPORT size_t cudnnGetVersion(void)
{
    return VERSION;
}

EXPORT int cudnnCreate(void **out)
{
    void *driver = dlopen(getenv("VGPU_CUDA_DRIVER"), RTLD_NOW | RTLD_NOLOAD);
    struct handle *handle = stand_in_keep(sizeof(*handle));

    if (!driver) {
        return DNN_NOT_INITIALIZED;
    }
    *(void **)&load = dlsym(driver, "cuModuleLoadDataEx");
    *(void **)&get = dlsym(driver, "cuModuleGetFunction");
    *(void **)&launch = dlsym(driver, "cuLaunchKernelEx");
    if (load(&handle->module, "vgpu-test\nkernel axpy 8 8 8 4 4 4 4 4\n", 0, NULL, NULL) ||
        get(&handle->axpy, handle->module, "axpy")) {
        return DNN_NOT_INITIALIZED;
    }
    handle->mark = HANDLE_MARK;
    alive++;
    *out = handle;
    return DNN_SUCCESS;
}

EXPORT int cudnnDestroy(void *opaque)
{
    check(opaque)->mark = DEAD_MARK; /* it stays, so that a use of it shows */
    alive--;
    return DNN_SUCCESS;
}

EXPORT int cudnnSetStream(void *opaque, CUstream stream)
{
    check(opaque)->stream = stream;
    return DNN_SUCCESS;
}

EXPORT int cudnnBackendCreateDescriptor(int kind, void **out)
{
    struct desc *desc;

    if (kind > 43) {
        return DNN_NOT_SUPPORTED;
    }
    desc = stand_in_keep(sizeof(*desc));
    desc->mark = DESC_MARK;
    desc->kind = kind;
    alive++;
    *out = desc;
    return DNN_SUCCESS;
}

EXPORT int cudnnBackendDestroyDescriptor(void *opaque)
{
    desc_of(opaque)->mark = DEAD_MARK;
    alive--;
    return DNN_SUCCESS;
}

static struct attribute *attribute_of(struct desc *desc, int name)
{
    for (unsigned i = 0; i < desc->count; i++) {
        if (desc->attributes[i].name == name) {
            return &desc->attributes[i];
        }
    }
    return NULL;
}

EXPORT int cudnnBackendSetAttribute(void *opaque, int name, int type, int64_t count,
                                    const void *elements)
{
    uint64_t bytes = dnn_element_bytes((uint64_t)type) * (uint64_t)count;
    struct desc *desc = desc_of(opaque);
    struct attribute *attribute = attribute_of(desc, name);

    if (desc->is_final || bytes > ATTRIBUTE_BYTES || desc->count == ATTRIBUTES_MAX) {
        return DNN_BAD_PARAM;
    }
    if (type == DNN_TYPE_DESCRIPTOR) {
        for (int64_t i = 0; i < count; i++) {
            if (!desc_of(((void *const *)elements)[i])->is_final) {
                return DNN_NOT_FINALIZED;
            }
        }
    } else if (type == DNN_TYPE_HANDLE) {
        check(*(void *const *)elements);
    }
    attribute = attribute ? attribute : &desc->attributes[desc->count++];
    *attribute = (struct attribute){.name = name, .type = type, .count = count};
    memcpy(attribute->bytes, elements, bytes);
    return DNN_SUCCESS;
}

/* The program may have destroyed it since: what was set stays. */
static struct desc *child(struct desc *desc, int name)
{
    struct attribute *attribute = attribute_of(desc, name);

    return attribute ? *(struct desc **)attribute->bytes : NULL;
}

/* One configuration, of the graph that it is asked for. */
static int fill(struct desc *heuristic, int64_t wanted, int64_t *count, void **elements)
{
    struct desc *graph = child(heuristic, HEURISTIC_GRAPH);

    *count = 1;
    if (wanted > 0) {
        struct desc *config = desc_of(elements[0]);

        config->attributes[config->count++] =
            (struct attribute){CONFIG_GRAPH, DNN_TYPE_DESCRIPTOR, 1, {0}};
        memcpy(config->attributes[config->count - 1].bytes, &graph, sizeof(graph));
        config->is_final = true;
    }
    return DNN_SUCCESS;
}

EXPORT int cudnnBackendGetAttribute(void *opaque, int name, int type, int64_t wanted,
                                    int64_t *count, void *elements)
{
    struct desc *desc = desc_of(opaque);
    struct attribute *attribute = attribute_of(desc, name);
    int64_t bytes = WORKSPACE_BYTES;

    if (desc->kind == HEURISTIC && name == HEURISTIC_RESULTS && type == DNN_TYPE_DESCRIPTOR) {
        return fill(desc, wanted, count, elements);
    }
    if (desc->kind == DNN_PLAN && name == DNN_PLAN_WORKSPACE_BYTES) {
        memcpy(elements, &bytes, wanted ? sizeof(bytes) : 0);
        *count = 1;
        return DNN_SUCCESS;
    }
    if (desc->kind == DNN_PLAN && name == DNN_PLAN_JSON && type == DNN_TYPE_CHAR) {
        *count = TEXT_BYTES;
        memset(elements, 'x', (size_t)(wanted < TEXT_BYTES ? wanted : TEXT_BYTES));
        return DNN_SUCCESS;
    }
    if (!attribute || attribute->type != type) {
        return DNN_NOT_SUPPORTED;
    }
    *count = attribute->count;
    memcpy(elements, attribute->bytes,
           dnn_element_bytes((uint64_t)type) *
               (uint64_t)(wanted < attribute->count ? wanted : attribute->count));
    return DNN_SUCCESS;
}

/* It asks the handle that was set, which the program may not have destroyed. */
static void look_at_handle(struct desc *graph)
{
    struct attribute *attribute = attribute_of(graph, GRAPH_HANDLE);

    if (graph->kind == GRAPH && attribute) {
        check(*(void **)attribute->bytes);
    }
}

EXPORT int cudnnBackendFinalize(void *opaque)
{
    struct desc *desc = desc_of(opaque);

    if (desc->kind == OPERATION &&
        (!child(desc, OPERATION_X) || !child(desc, OPERATION_B) || !child(desc, OPERATION_Y))) {
        return DNN_BAD_PARAM;
    }
    look_at_handle(desc);
    if (desc->kind == HEURISTIC && child(desc, HEURISTIC_GRAPH)) {
        look_at_handle(child(desc, HEURISTIC_GRAPH));
    }
    desc->is_final = true;
    return DNN_SUCCESS;
}

static int64_t id_of(struct desc *tensor)
{
    int64_t id;

    memcpy(&id, attribute_of(tensor, DNN_TENSOR_ID)->bytes, sizeof(id));
    return id;
}

/* Where the pack has this tensor. */
static void *place_of(struct desc *pack, int64_t id)
{
    struct attribute *ids = attribute_of(pack, DNN_PACK_IDS);
    struct attribute *places = attribute_of(pack, DNN_PACK_POINTERS);

    for (int64_t i = 0; i < ids->count; i++) {
        if (((int64_t *)ids->bytes)[i] == id) {
            return ((void **)places->bytes)[i];
        }
    }
    return NULL;
}

/* ---- the older interface: one normalization, and the sizes that go with it ---- */

struct old_desc {
    unsigned mark;
    int type, count, dims[8], strides[8];
};

static struct old_desc *old_desc(void *opaque)
{
    struct old_desc *desc = opaque;

    if (!desc || desc->mark != OLD_MARK) {
        fprintf(stderr, "stand-in cuDNN: an old descriptor is not live\n");
        abort();
    }
    return desc;
}

EXPORT int cudnnCreateTensorDescriptor(void **out)
{
    struct old_desc *desc = stand_in_keep(sizeof(*desc));

    desc->mark = OLD_MARK;
    alive++;
    *out = desc;
    return DNN_SUCCESS;
}

EXPORT int cudnnDestroyTensorDescriptor(void *opaque)
{
    old_desc(opaque)->mark = DEAD_MARK;
    alive--;
    return DNN_SUCCESS;
}

EXPORT int cudnnSetTensorNdDescriptor(void *opaque, int type, int count, const int *dims,
                                      const int *strides)
{
    struct old_desc *desc = old_desc(opaque);

    desc->type = type;
    desc->count = count;
    memcpy(desc->dims, dims, (size_t)count * sizeof(*dims));
    memcpy(desc->strides, strides, (size_t)count * sizeof(*strides));
    return DNN_SUCCESS;
}

EXPORT int cudnnCreateActivationDescriptor(void **out)
{
    return cudnnCreateTensorDescriptor(out);
}

EXPORT int cudnnDestroyActivationDescriptor(void *opaque)
{
    return cudnnDestroyTensorDescriptor(opaque);
}

EXPORT int cudnnSetActivationDescriptor(void *opaque, int mode, int nan, double coefficient)
{
    old_desc(opaque)->type = mode + nan + (int)coefficient;
    return DNN_SUCCESS;
}

/* y = alpha x: with a mean of 0, a variance of 1, a scale of 1 and no bias that is the value. */
EXPORT int cudnnBatchNormalizationForwardInference(void *opaque, int mode, const float *alpha,
                                                   const float *beta, void *x_desc, uint64_t x,
                                                   void *y_desc, uint64_t y, void *derived,
                                                   uint64_t scale, uint64_t bias, uint64_t mean,
                                                   uint64_t variance, double epsilon)
{
    struct handle *handle = check(opaque);
    struct old_desc *of = old_desc(x_desc);
    struct axpy call = {
        .x = x, .y = y, .n = 1, .incx = 1, .incy = 1, .flags = SCALE_ONLY, .size = 4};
    size_t bytes = sizeof(call);
    void *extra[] = {(void *)1, &call, (void *)2, &bytes, NULL};
    CUlaunchConfig config = {1, 1, 1, 1, 1, 1, 0, handle->stream, NULL, 0};

    old_desc(y_desc);
    old_desc(derived);
    if (mode != 1 || *beta != 0 || !scale || !bias || !mean || !variance || epsilon < 1e-5) {
        return DNN_BAD_PARAM;
    }
    for (int i = 0; i < of->count; i++) {
        call.n *= of->dims[i];
    }
    memcpy(&call.alpha, alpha, sizeof(*alpha));
    return launch(&config, handle->axpy, NULL, extra) ? DNN_EXECUTION_FAILED : DNN_SUCCESS;
}

EXPORT int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void *handle, int mode, int ops,
                                                                void *activation, void *x,
                                                                size_t *size)
{
    check(handle);
    (void)mode, (void)ops;
    *size = (size_t)old_desc(x)->dims[1] * (activation ? 2 : 1);
    return DNN_SUCCESS;
}

EXPORT int cudnnBackendExecute(void *opaque, void *plan_opaque, void *pack_opaque)
{
    struct handle *handle = check(opaque);
    struct desc *plan = desc_of(plan_opaque), *pack = desc_of(pack_opaque);
    struct desc *graph = child(child(plan, PLAN_CONFIG), CONFIG_GRAPH);
    struct desc *operation = child(graph, GRAPH_OPERATIONS);
    struct desc *x = child(operation, OPERATION_X), *b = child(operation, OPERATION_B);
    struct axpy call = {.incx = 1, .incy = 1, .flags = SCALE_ONLY, .size = 4, .n = 1};
    size_t bytes = sizeof(call);
    void *extra[] = {(void *)1, &call, (void *)2, &bytes, NULL};
    CUlaunchConfig config = {1, 1, 1, 1, 1, 1, 0, handle->stream, NULL, 0};
    struct attribute *dimensions = attribute_of(x, DNN_TENSOR_DIMENSIONS);
    CUmodule module;

    if (!plan->was_run) { /* it loads code, and so waits for what is in flight */
        plan->was_run = true;
        load(&module, "vgpu-test\n", 0, NULL, NULL);
    }
    for (int64_t i = 0; i < dimensions->count; i++) {
        call.n *= (int)((int64_t *)dimensions->bytes)[i];
    }
    call.x = (uint64_t)(uintptr_t)place_of(pack, id_of(x));
    call.y = (uint64_t)(uintptr_t)place_of(pack, id_of(child(operation, OPERATION_Y)));
    memcpy(&call.alpha, place_of(pack, id_of(b)), sizeof(float)); /* of this process */
    return launch(&config, handle->axpy, NULL, extra) ? DNN_EXECUTION_FAILED : DNN_SUCCESS;
}
