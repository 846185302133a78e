/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cuDNN's backend interface on the host's library.
 *
 * The library believes handles and addresses.  So descriptors are looked up, and of each tensor
 * is known whether it is given by value: then the library reads it at an address of this process,
 * and gets a copy of ours.  Which tensors these are goes from each descriptor to those that it is
 * set in or that are made from it, up to the plan.  In the same way it is known which handles a
 * descriptor may still use (dnn_handles.c).
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/dnn.h"
#include "worker/cuda/channel/driver_internal.h"
#include "worker/libraries/dnn_library.h"
#include "worker/libraries/dnn_run.h"
#include "worker/libraries/library_call.h"

#define OBJECTS_MAX 65536u /* descriptors of one process */

/* What is known of a descriptor. */
struct desc {
    void *real;
    uint32_t kind;
    bool is_final, by_value, is_long; /* a tensor of more than one element */
    int32_t data_type;
    uint32_t handles; /* that it may use: a bit for each place */
    int64_t id;
    uint64_t workspace_bytes; /* of a plan */
    uint32_t count;
    DNNValue *values; /* tensors by value that it is about */
};

/* ---- descriptors ---- */

static void end_desc(struct driver_channel *channel, struct desc *desc)
{
    dnn_library.BackendDestroyDescriptor(desc->real);
    dnn_handles_leave(channel, desc->handles);
    free(desc->values);
    free(desc);
}

static void end_all(struct driver_channel *channel, uint32_t context, unsigned kind)
{
    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        struct driver_entry *entry = &channel->entries[i];

        if (entry->context != context || !entry->real || vgpu_handle_kind(entry->handle) != kind) {
            continue;
        }
        if (kind == CUDA_KIND_DNN) {
            dnn_handle_end(channel, entry->real);
        } else {
            end_desc(channel, entry->real);
        }
        entry->real = NULL; /* the entry goes with its context, in a moment */
    }
}

void dnn_handles_end(struct driver_channel *channel, uint32_t context)
{
    end_all(channel, context, CUDA_KIND_DNN_DESC);
    end_all(channel, context, CUDA_KIND_DNN);
}

static CUresult answer(struct driver_call *call, int status)
{
    call->out[0] = (uint64_t)status;
    call->out_count = 1;
    return CUDA_SUCCESS;
}

static struct desc *desc_of(struct driver_call *call, uint64_t handle)
{
    return driver_handle(call, handle, CUDA_KIND_DNN_DESC);
}

CUresult driver_run_dnn_desc(struct driver_call *call)
{
    struct desc *desc;
    int status;

    if (call->arg_count < 2 || call->args[1] >= DNN_KINDS_END ||
        call->args[1] == DNN_VARIANT_PACK ||
        !driver_handle_free(call, call->args[0], CUDA_KIND_DNN_DESC)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!dnn_library_is_there()) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    desc = call->channel->dnn_descs < OBJECTS_MAX ? calloc(1, sizeof(*desc)) : NULL;
    if (!desc) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    desc->kind = (uint32_t)call->args[1];
    desc->data_type = -1;
    status = dnn_library.BackendCreateDescriptor((int)desc->kind, &desc->real);
    if (status) {
        free(desc);
        return answer(call, status);
    }
    if (!driver_handle_made(call, call->args[0], CUDA_KIND_DNN_DESC, desc, CUDA_SUCCESS)) {
        end_desc(call->channel, desc);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return answer(call, DNN_SUCCESS);
}

CUresult driver_run_dnn_desc_end(struct driver_call *call)
{
    struct desc *desc = call->arg_count > 0 ? desc_of(call, call->args[0]) : NULL;

    if (!desc) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    end_desc(call->channel, desc);
    driver_handle_end(call, call->args[0], CUDA_SUCCESS);
    return CUDA_SUCCESS;
}

static bool add_value(struct desc *desc, const DNNValue *value)
{
    DNNValue *more;

    for (uint32_t i = 0; i < desc->count; i++) {
        if (desc->values[i].id == value->id) {
            return desc->values[i].bytes == value->bytes;
        }
    }
    if (desc->count == DNN_VALUES_MAX) {
        return false;
    }
    more = realloc(desc->values, (desc->count + 1) * sizeof(*more));
    if (!more) {
        return false;
    }
    desc->values = more;
    desc->values[desc->count++] = *value;
    return true;
}

static bool inherit(struct driver_channel *channel, struct desc *desc, const struct desc *from)
{
    dnn_handles_use(channel, &desc->handles, from->handles);
    for (uint32_t i = 0; i < from->count; i++) {
        if (!add_value(desc, &from->values[i])) {
            return false;
        }
    }
    return true;
}

/* ---- attributes ---- */

/* What the library gets of descriptors: their own ones. */
static int reals_of(struct driver_call *call, uint64_t count, void *reals[], struct desc *descs[],
                    bool are_final)
{
    if (count > DNN_DESCS_MAX || call->payload_bytes != count * sizeof(uint64_t)) {
        return DNN_BAD_PARAM;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t handle;

        memcpy(&handle, call->payload + i * sizeof(handle), sizeof(handle));
        descs[i] = desc_of(call, handle);
        if (!descs[i] || descs[i]->is_final != are_final) {
            return descs[i] ? DNN_NOT_FINALIZED : DNN_BAD_PARAM;
        }
        reals[i] = descs[i]->real;
    }
    return DNN_SUCCESS;
}

static int set_descs(struct driver_call *call, struct desc *desc, int name, uint64_t count)
{
    struct desc *descs[DNN_DESCS_MAX];
    void *reals[DNN_DESCS_MAX];
    int status = reals_of(call, count, reals, descs, true);

    for (uint64_t i = 0; i < count && !status; i++) {
        status = inherit(call->channel, desc, descs[i]) ? DNN_SUCCESS : DNN_NOT_SUPPORTED;
    }
    return status ? status
                  : dnn_library.BackendSetAttribute(desc->real, name, DNN_TYPE_DESCRIPTOR,
                                                    (int64_t)count, reals);
}

static int set_handle(struct driver_call *call, struct desc *desc, int name, uint64_t count)
{
    struct dnn *handle;
    uint64_t number;
    void *real;

    if (count != 1 || call->payload_bytes != sizeof(number)) {
        return DNN_BAD_PARAM;
    }
    memcpy(&number, call->payload, sizeof(number));
    handle = driver_handle(call, number, CUDA_KIND_DNN);
    if (!handle) {
        return DNN_BAD_PARAM;
    }
    dnn_handles_use(call->channel, &desc->handles, dnn_handle_bit(handle));
    real = dnn_real(handle);
    return dnn_library.BackendSetAttribute(desc->real, name, DNN_TYPE_HANDLE, 1, &real);
}

static bool are_ones(const uint8_t *value, uint32_t bytes)
{
    const int64_t one = 1;
    uint32_t at = 0;

    while (at < bytes && bytes - at >= sizeof(one) && memcmp(value + at, &one, sizeof(one)) == 0) {
        at += sizeof(one);
    }
    return at == bytes;
}

/* What a tensor is known by here. */
static void look_at_tensor(struct desc *desc, int name, const uint8_t *value, uint32_t bytes)
{
    if (name == DNN_TENSOR_DATA_TYPE && bytes == sizeof(desc->data_type)) {
        memcpy(&desc->data_type, value, sizeof(desc->data_type));
    } else if (name == DNN_TENSOR_ID && bytes == sizeof(desc->id)) {
        memcpy(&desc->id, value, sizeof(desc->id));
    } else if (name == DNN_TENSOR_BY_VALUE && bytes == 1) {
        desc->by_value = *value != 0;
    } else if (name == DNN_TENSOR_DIMENSIONS || name == DNN_TENSOR_VECTOR_COUNT) {
        desc->is_long |= !are_ones(value, bytes);
    }
}

static int set_attribute(struct driver_call *call, struct desc *desc)
{
    int name = (int)call->args[1], type = (int)call->args[2];
    uint64_t count = call->args[3];
    uint32_t bytes = dnn_element_bytes(call->args[2]);
    int status;

    if (bytes == 0 || type == DNN_TYPE_VOID_PTR || name == DNN_PLAN_JSON) {
        return DNN_NOT_SUPPORTED;
    }
    if (desc->is_final || count > DNN_ELEMENTS_MAX || call->payload_bytes != count * bytes) {
        return DNN_BAD_PARAM;
    }
    if (type == DNN_TYPE_CHAR) { /* texts are read back: plans and the like that nobody looked at */
        return DNN_NOT_SUPPORTED;
    }
    if (type == DNN_TYPE_DESCRIPTOR) {
        return set_descs(call, desc, name, count);
    }
    if (type == DNN_TYPE_HANDLE) {
        return set_handle(call, desc, name, count);
    }
    status = dnn_library.BackendSetAttribute(desc->real, name, type, (int64_t)count, call->payload);
    if (!status && desc->kind == DNN_TENSOR) {
        look_at_tensor(desc, name, call->payload, call->payload_bytes);
    }
    return status;
}

CUresult driver_run_dnn_set(struct driver_call *call)
{
    struct desc *desc = call->arg_count == 4 ? desc_of(call, call->args[0]) : NULL;

    if (!desc || call->args[1] > INT32_MAX) {
        return desc ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    return answer(call, set_attribute(call, desc));
}

static int get_descs(struct driver_call *call, const struct desc *desc, DNNGot *got)
{
    struct desc *descs[DNN_DESCS_MAX];
    void *reals[DNN_DESCS_MAX];
    uint64_t wanted = call->args[3];
    int status = reals_of(call, wanted, reals, descs, false);

    if (!status) {
        status =
            dnn_library.BackendGetAttribute(desc->real, (int)call->args[1], DNN_TYPE_DESCRIPTOR,
                                            (int64_t)wanted, &got->count, wanted ? reals : NULL);
    }
    for (uint64_t i = 0; !status && i < wanted && (int64_t)i < got->count; i++) {
        descs[i]->is_final = true;
        status = inherit(call->channel, descs[i], desc) ? DNN_SUCCESS : DNN_NOT_SUPPORTED;
    }
    return status;
}

static int get_attribute(struct driver_call *call, const struct desc *desc, DNNGot *got)
{
    uint32_t bytes = dnn_element_bytes(call->args[2]);
    uint64_t wanted = call->args[3];

    if (bytes == 0 || call->args[2] == DNN_TYPE_VOID_PTR || call->args[2] == DNN_TYPE_HANDLE) {
        return DNN_NOT_SUPPORTED;
    }
    if (call->args[2] == DNN_TYPE_DESCRIPTOR) {
        return get_descs(call, desc, got);
    }
    if (wanted > sizeof(got->bytes) / bytes) {
        wanted = sizeof(got->bytes) / bytes;
    }
    return dnn_library.BackendGetAttribute(desc->real, (int)call->args[1], (int)call->args[2],
                                           (int64_t)wanted, &got->count,
                                           wanted ? got->bytes : NULL);
}

CUresult driver_run_dnn_get(struct driver_call *call)
{
    static _Thread_local DNNGot got; /* it is the answer, after this */
    struct desc *desc = call->arg_count == 4 ? desc_of(call, call->args[0]) : NULL;

    if (!desc || call->args[1] > INT32_MAX) {
        return desc ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    memset(&got, 0, sizeof(got));
    got.status = get_attribute(call, desc, &got);
    call->reply = &got;
    call->reply_bytes = sizeof(got);
    return CUDA_SUCCESS;
}

static int finalize(struct desc *desc)
{
    const DNNValue value = {.id = desc->id, .bytes = dnn_data_bytes(desc->data_type)};
    int64_t bytes = 0, count = 0;
    int status;

    if (desc->is_final) {
        return DNN_BAD_PARAM;
    }
    /* Of a value that is longer than its copy the library would read what lies behind that. */
    if (desc->kind == DNN_TENSOR && desc->by_value &&
        (desc->is_long || !value.bytes || !add_value(desc, &value))) {
        return DNN_NOT_SUPPORTED;
    }
    status = dnn_library.BackendFinalize(desc->real);
    if (!status && desc->kind == DNN_PLAN) {
        status = dnn_library.BackendGetAttribute(desc->real, DNN_PLAN_WORKSPACE_BYTES,
                                                 DNN_TYPE_INT64, 1, &count, &bytes);
        desc->workspace_bytes = bytes > 0 ? (uint64_t)bytes : 0;
    }
    desc->is_final = status == DNN_SUCCESS;
    return status;
}

CUresult driver_run_dnn_finalize(struct driver_call *call)
{
    static _Thread_local DNNFinalized finalized;
    struct desc *desc = call->arg_count > 0 ? desc_of(call, call->args[0]) : NULL;

    if (!desc) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    memset(&finalized, 0, sizeof(finalized));
    finalized.status = finalize(desc);
    if (desc->kind == DNN_PLAN && desc->is_final) {
        finalized.count = desc->count;
        if (desc->count) {
            memcpy(finalized.values, desc->values, desc->count * sizeof(DNNValue));
        }
    }
    call->reply = &finalized;
    call->reply_bytes =
        (uint32_t)(offsetof(DNNFinalized, values) + finalized.count * sizeof(DNNValue));
    return CUDA_SUCCESS;
}

/* ---- execution ---- */

static bool is_by_value(const struct desc *plan, int64_t id)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        if (plan->values[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Each tensor's place: the process's memory on the GPU, or a copy of its value in `entries`. */
static int places_of(struct driver_call *call, const struct desc *plan, DNNEntry *entries,
                     uint32_t count, int64_t ids[], void *places[])
{
    for (uint32_t i = 0; i < count; i++) {
        DNNEntry *entry = &entries[i];

        if (is_by_value(plan, entry->id) != (entry->is_value != 0) ||
            (!entry->is_value && entry->address && !driver_range_ok(call, entry->address, 1))) {
            return DNN_BAD_PARAM;
        }
        ids[i] = entry->id;
        places[i] = entry->is_value
                        ? (void *)entry->value
                        : (void *)(uintptr_t)entry->address; /* NOLINT(performance-no-int-to-ptr) */
    }
    return DNN_SUCCESS;
}

static int make_pack(void *pack, uint32_t count, const int64_t ids[], void *const places[],
                     void *workspace)
{
    int status =
        dnn_library.BackendSetAttribute(pack, DNN_PACK_POINTERS, DNN_TYPE_VOID_PTR, count, places);

    status = status
                 ? status
                 : dnn_library.BackendSetAttribute(pack, DNN_PACK_IDS, DNN_TYPE_INT64, count, ids);
    status = status ? status
                    : dnn_library.BackendSetAttribute(pack, DNN_PACK_WORKSPACE, DNN_TYPE_VOID_PTR,
                                                      1, &workspace);
    return status ? status : dnn_library.BackendFinalize(pack);
}

static int execute_pack(struct dnn *handle, const struct desc *plan, uint32_t count,
                        const int64_t ids[], void *const places[], uint64_t workspace)
{
    void *pack = NULL;
    int status = dnn_library.BackendCreateDescriptor(DNN_VARIANT_PACK, &pack);

    if (status) {
        return status;
    }
    status = make_pack(pack, count, ids, places,
                       (void *)(uintptr_t)workspace); /* NOLINT(performance-no-int-to-ptr) */
    status = status ? status : dnn_library.BackendExecute(dnn_real(handle), plan->real, pack);
    dnn_library.BackendDestroyDescriptor(pack);
    return status;
}

static int execute(struct driver_call *call, struct dnn *handle, const struct desc *plan)
{
    static _Thread_local DNNEntry entries[DNN_ENTRIES_MAX];
    int64_t ids[DNN_ENTRIES_MAX];
    void *places[DNN_ENTRIES_MAX];
    DNNExecute head;
    CUstream stream = NULL;
    int status;

    if (call->payload_bytes < sizeof(head)) {
        return DNN_BAD_PARAM;
    }
    memcpy(&head, call->payload, sizeof(head));
    if (head.count > DNN_ENTRIES_MAX ||
        call->payload_bytes != sizeof(head) + head.count * sizeof(entries[0]) ||
        !driver_stream(call, head.stream, &stream) ||
        !driver_range_ok(call, head.workspace, plan->workspace_bytes)) {
        return DNN_BAD_PARAM;
    }
    memcpy(entries, call->payload + sizeof(head), head.count * sizeof(entries[0]));
    status = places_of(call, plan, entries, head.count, ids, places);
    status = status ? status : dnn_set_stream(handle, stream);
    return status ? status : execute_pack(handle, plan, head.count, ids, places, head.workspace);
}

CUresult driver_run_dnn_execute(struct driver_call *call)
{
    struct dnn *handle = dnn_of(call);
    struct desc *plan = call->arg_count > 1 ? desc_of(call, call->args[1]) : NULL;

    if (!handle || !plan) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (plan->kind != DNN_PLAN || !plan->is_final) {
        return library_answer(call, "cuDNN", DNN_BAD_PARAM);
    }
    driver_touch(call, call->args[1], 0); /* its kernels go with it: no graph runs them then */
    return library_answer(call, "cuDNN", execute(call, handle, plan));
}
