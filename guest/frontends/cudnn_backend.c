/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cuDNN's backend interface: descriptors, their attributes, and the execution of a plan.
 *
 * A descriptor is a handle of the worker's.  A variant pack alone stays here and travels with the
 * execution, since its addresses may be the program's: tensors by value, whose bytes are copied.
 * Which these are says the answer to a plan's finalization.
 */
#include <stdlib.h>
#include <string.h>

#include "cudnn_hand.h"
#include "guest/frontends/blas_call.h"
#include "guest/frontends/cudnn.h"

#define DESC_MARK 0x7667707564657363ull

struct dnn_desc {
    uint64_t mark;
    uint64_t real; /* the worker's; 0: a variant pack */
    int kind;
    bool is_final;
    bool was_run; /* a plan: the first execution is asked for; atomic */
    /* A plan's tensors by value. */
    uint32_t value_count;
    DNNValue *values;
    /* A variant pack. */
    uint32_t id_count, place_count;
    int64_t *ids;
    void **places;
    void *workspace;
};

static struct dnn_desc *desc_of(void *opaque)
{
    struct dnn_desc *desc = opaque;

    return desc && desc->mark == DESC_MARK ? desc : NULL;
}

/* The status is the answer's first word. */
static int ask(struct cuda_call *call)
{
    CUresult result = blas_driver->ask(call);

    return result ? dnn_status_of(result) : (int)call->out[0];
}

/* ---- descriptors ---- */

static int create(struct dnn_desc *desc)
{
    struct cuda_call call;
    CUresult result;
    int status = dnn_open(&call, CUDA_OP_DNN_DESC);

    if (status) {
        return status;
    }
    cuda_add(&call, blas_driver->object_new(&call, CUDA_KIND_DNN_DESC));
    cuda_add(&call, (uint64_t)desc->kind);
    result = blas_driver->ask(&call);
    status = result ? dnn_status_of(result) : (int)call.out[0];
    blas_driver->object_made(&call, status && !result ? CUDA_ERROR_UNKNOWN : result, &desc->real);
    return status;
}

int cudnnBackendCreateDescriptor(int descriptorType, void **descriptor)
{
    struct dnn_desc *made;
    int status = DNN_SUCCESS;

    if (!descriptor || descriptorType < 0 || descriptorType >= DNN_KINDS_END) {
        return descriptor ? DNN_NOT_SUPPORTED : DNN_NULL_POINTER;
    }
    made = calloc(1, sizeof(*made));
    if (!made) {
        return DNN_ALLOC_FAILED;
    }
    made->kind = descriptorType;
    if (descriptorType != DNN_VARIANT_PACK) {
        status = create(made);
    }
    if (status) {
        free(made);
        return status;
    }
    made->mark = DESC_MARK;
    *descriptor = made;
    return DNN_SUCCESS;
}

int cudnnBackendDestroyDescriptor(void *descriptor)
{
    struct dnn_desc *desc = desc_of(descriptor);
    const struct cuda_object *object;
    struct cuda_call call;

    if (!desc) {
        return descriptor ? DNN_BAD_PARAM : DNN_NULL_POINTER;
    }
    object = desc->real ? blas_driver->object(desc->real, CUDA_KIND_DNN_DESC) : NULL;
    if (object && blas_driver->begin(&call, CUDA_OP_DNN_DESC_END, 0) == CUDA_SUCCESS) {
        call.context = object->context;
        call.head.record.context = (uint16_t)vgpu_handle_index(object->context->handle);
        cuda_add(&call, desc->real);
        blas_driver->object_end(desc->real, blas_driver->forget(&call));
    }
    desc->mark = 0;
    free(desc->values);
    free(desc->ids);
    free(desc->places);
    free(desc);
    return DNN_SUCCESS;
}

static int keep_values(struct dnn_desc *desc, const DNNFinalized *finalized)
{
    if (finalized->count > DNN_VALUES_MAX) {
        return DNN_EXECUTION_FAILED; /* the worker makes no sense */
    }
    desc->values = calloc(finalized->count ? finalized->count : 1, sizeof(*desc->values));
    if (!desc->values) {
        return DNN_ALLOC_FAILED;
    }
    memcpy(desc->values, finalized->values, finalized->count * sizeof(*desc->values));
    desc->value_count = finalized->count;
    return DNN_SUCCESS;
}

int cudnnBackendFinalize(void *descriptor)
{
    struct dnn_desc *desc = desc_of(descriptor);
    DNNFinalized finalized;
    struct cuda_call call;
    CUresult result;
    int status;

    if (!desc || desc->is_final) {
        return descriptor ? DNN_BAD_PARAM : DNN_NULL_POINTER;
    }
    if (desc->kind == DNN_VARIANT_PACK) {
        desc->is_final = desc->id_count == desc->place_count;
        return desc->is_final ? DNN_SUCCESS : DNN_BAD_PARAM;
    }
    status = dnn_open(&call, CUDA_OP_DNN_FINALIZE);
    if (status) {
        return status;
    }
    cuda_add(&call, desc->real);
    call.reply = &finalized;
    call.reply_bytes = sizeof(finalized);
    result = blas_driver->ask(&call);
    status = result ? dnn_status_of(result) : finalized.status;
    if (!status && desc->kind == DNN_PLAN) {
        status = keep_values(desc, &finalized);
    }
    desc->is_final = status == DNN_SUCCESS;
    return status;
}

/* ---- attributes ---- */

/* A copy of what the program gives. */
static int keep(void *to, uint32_t *count, const void *from, int64_t wanted, size_t bytes)
{
    void *made = calloc(wanted ? (size_t)wanted : 1, bytes);

    if (!made) {
        return DNN_ALLOC_FAILED;
    }
    memcpy(made, from, (size_t)wanted * bytes);
    free(*(void **)to);
    *(void **)to = made;
    *count = (uint32_t)wanted;
    return DNN_SUCCESS;
}

static int set_in_pack(struct dnn_desc *desc, int name, int type, int64_t count,
                       const void *elements)
{
    if (name == DNN_PACK_IDS && type == DNN_TYPE_INT64 && count <= (int64_t)DNN_ENTRIES_MAX) {
        return keep(&desc->ids, &desc->id_count, elements, count, sizeof(*desc->ids));
    }
    if (name == DNN_PACK_POINTERS && type == DNN_TYPE_VOID_PTR &&
        count <= (int64_t)DNN_ENTRIES_MAX) {
        return keep(&desc->places, &desc->place_count, elements, count, sizeof(*desc->places));
    }
    if (name == DNN_PACK_WORKSPACE && type == DNN_TYPE_VOID_PTR && count == 1) {
        memcpy(&desc->workspace, elements, sizeof(desc->workspace));
        return DNN_SUCCESS;
    }
    return DNN_NOT_SUPPORTED;
}

/* Handles of the worker's in place of the program's pointers. */
static int translate(uint64_t *to, const void *elements, int64_t count, int type)
{
    for (int64_t i = 0; i < count; i++) {
        void *element;

        memcpy(&element, (const char *)elements + (size_t)i * sizeof(element), sizeof(element));
        if (type == DNN_TYPE_HANDLE) {
            to[i] = dnn_handle(element) ? dnn_handle(element)->real : 0;
        } else {
            to[i] = desc_of(element) ? desc_of(element)->real : 0;
        }
        if (!to[i]) {
            return DNN_BAD_PARAM;
        }
    }
    return DNN_SUCCESS;
}

int cudnnBackendSetAttribute(void *descriptor, int attributeName, int attributeType,
                             int64_t elementCount, const void *arrayOfElements)
{
    uint32_t bytes = dnn_element_bytes((uint64_t)(unsigned)attributeType);
    struct dnn_desc *desc = desc_of(descriptor);
    uint64_t handles[DNN_DESCS_MAX];
    struct cuda_call call;
    int status;

    if (!desc || desc->is_final || elementCount < 0 || (elementCount && !arrayOfElements)) {
        return descriptor && arrayOfElements ? DNN_BAD_PARAM : DNN_NULL_POINTER;
    }
    if (desc->kind == DNN_VARIANT_PACK) {
        return set_in_pack(desc, attributeName, attributeType, elementCount, arrayOfElements);
    }
    if (bytes == 0 || elementCount > (int64_t)DNN_ELEMENTS_MAX) {
        return DNN_NOT_SUPPORTED;
    }
    if (attributeType == DNN_TYPE_HANDLE || attributeType == DNN_TYPE_DESCRIPTOR) {
        status = elementCount <= (int64_t)DNN_DESCS_MAX
                     ? translate(handles, arrayOfElements, elementCount, attributeType)
                     : DNN_NOT_SUPPORTED;
        if (status) {
            return status;
        }
        arrayOfElements = handles;
    }
    status = dnn_open(&call, CUDA_OP_DNN_SET);
    if (status) {
        return status;
    }
    cuda_add(&call, desc->real);
    cuda_add(&call, (uint64_t)(unsigned)attributeName);
    cuda_add(&call, (uint64_t)(unsigned)attributeType);
    cuda_add(&call, (uint64_t)elementCount);
    if (elementCount) {
        blas_driver->add_bytes(&call, arrayOfElements, (uint32_t)elementCount * bytes);
    }
    return ask(&call);
}

/* What is longer than an answer (a plan's text) would reach the program in part. */
static int take_elements(const DNNGot *got, void *to, int64_t wanted, uint32_t bytes)
{
    uint64_t count = (uint64_t)(got->count < wanted ? got->count : wanted);

    if (got->count > 0 && count > sizeof(got->bytes) / bytes) {
        return DNN_NOT_SUPPORTED;
    }
    memcpy(to, got->bytes, got->count > 0 ? count * bytes : 0);
    return DNN_SUCCESS;
}

/* Descriptors that the worker has filled. */
static void fill(void *const descriptors[], int64_t wanted, int64_t count)
{
    for (int64_t i = 0; i < wanted && i < count; i++) {
        desc_of(descriptors[i])->is_final = true;
    }
}

int cudnnBackendGetAttribute(void *descriptor, int attributeName, int attributeType,
                             int64_t requestedElementCount, int64_t *elementCount,
                             void *arrayOfElements)
{
    uint32_t bytes = dnn_element_bytes((uint64_t)(unsigned)attributeType);
    struct dnn_desc *desc = desc_of(descriptor);
    const bool of_descs = attributeType == DNN_TYPE_DESCRIPTOR;
    int64_t wanted = arrayOfElements ? requestedElementCount : 0;
    uint64_t handles[DNN_DESCS_MAX];
    struct cuda_call call;
    CUresult result;
    DNNGot got;
    int status;

    if (!desc || !desc->real || wanted < 0) {
        return descriptor ? DNN_BAD_PARAM : DNN_NULL_POINTER;
    }
    if (bytes == 0 || (of_descs && wanted > (int64_t)DNN_DESCS_MAX)) {
        return DNN_NOT_SUPPORTED;
    }
    status = of_descs ? translate(handles, arrayOfElements, wanted, attributeType) : DNN_SUCCESS;
    status = status ? status : dnn_open(&call, CUDA_OP_DNN_GET);
    if (status) {
        return status;
    }
    cuda_add(&call, desc->real);
    cuda_add(&call, (uint64_t)(unsigned)attributeName);
    cuda_add(&call, (uint64_t)(unsigned)attributeType);
    cuda_add(&call, (uint64_t)wanted);
    if (of_descs && wanted) {
        blas_driver->add_bytes(&call, handles, (uint32_t)wanted * bytes);
    }
    call.reply = &got;
    call.reply_bytes = sizeof(got);
    result = blas_driver->ask(&call);
    status = result ? dnn_status_of(result) : got.status;
    if (status) {
        return status;
    }
    if (elementCount) {
        *elementCount = got.count;
    }
    if (of_descs) {
        fill(arrayOfElements, wanted, got.count);
        return DNN_SUCCESS;
    }
    return wanted ? take_elements(&got, arrayOfElements, wanted, bytes) : DNN_SUCCESS;
}

/* ---- execution ---- */

static const DNNValue *value_of(const struct dnn_desc *plan, int64_t id)
{
    for (uint32_t i = 0; i < plan->value_count; i++) {
        if (plan->values[i].id == id) {
            return &plan->values[i];
        }
    }
    return NULL;
}

static int make_entries(DNNEntry *entries, const struct dnn_desc *plan, const struct dnn_desc *pack)
{
    for (uint32_t i = 0; i < pack->id_count; i++) {
        const DNNValue *value = value_of(plan, pack->ids[i]);
        DNNEntry *entry = &entries[i];

        *entry = (DNNEntry){.id = pack->ids[i], .is_value = value != NULL};
        if (!value) {
            entry->address = (uint64_t)(uintptr_t)pack->places[i];
        } else if (pack->places[i] && value->bytes <= sizeof(entry->value)) {
            memcpy(entry->value, pack->places[i], value->bytes);
        } else {
            return DNN_NULL_POINTER;
        }
    }
    return DNN_SUCCESS;
}

/* The first one loads the plan's kernels, and so is asked for: what can fail, fails then. */
static int run(struct cuda_call *call, struct dnn_desc *plan, CUstream stream)
{
    CUresult result;

    if (__atomic_load_n(&plan->was_run, __ATOMIC_ACQUIRE)) {
        return dnn_status_of(blas_driver->forget(call));
    }
    result = blas_settle(stream);
    if (result == CUDA_SUCCESS) {
        result = blas_driver->ask(call);
    }
    if (result == CUDA_SUCCESS && call->out[0] == DNN_SUCCESS) {
        __atomic_store_n(&plan->was_run, true, __ATOMIC_RELEASE);
    }
    return result ? dnn_status_of(result) : (int)call->out[0];
}

int cudnnBackendExecute(struct dnn_handle *handle, void *executionPlan, void *variantPack)
{
    struct dnn_desc *plan = desc_of(executionPlan), *pack = desc_of(variantPack);
    DNNEntry entries[DNN_ENTRIES_MAX];
    struct cuda_call call;
    DNNExecute head;
    int status;

    if (!dnn_handle(handle)) {
        return DNN_NOT_INITIALIZED;
    }
    if (!plan || !pack || plan->kind != DNN_PLAN || pack->kind != DNN_VARIANT_PACK) {
        return DNN_BAD_PARAM;
    }
    if (!plan->is_final || !pack->is_final) {
        return DNN_NOT_FINALIZED;
    }
    head = (DNNExecute){.stream = (uint64_t)(uintptr_t)handle->stream,
                        .workspace = (uint64_t)(uintptr_t)pack->workspace,
                        .count = pack->id_count};
    status = make_entries(entries, plan, pack);
    status = status ? status : dnn_open(&call, CUDA_OP_DNN_EXECUTE);
    if (status) {
        return status;
    }
    cuda_add(&call, handle->real);
    cuda_add(&call, plan->real);
    blas_driver->add_bytes(&call, &head, sizeof(head));
    if (pack->id_count) {
        blas_driver->add_bytes(&call, entries, pack->id_count * (uint32_t)sizeof(entries[0]));
    }
    return run(&call, plan, handle->stream);
}
