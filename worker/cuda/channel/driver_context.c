/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The first call, contexts, and what waits for the GPU. */
#include "worker/cuda/channel/driver_internal.h"

#include <string.h>
#include <sys/mman.h>

#include "common/log.h"

/* Attributes that say something else to a guest, with what they say. */
static const struct attribute {
    int number, value;
} changed[] = {
    {83, 0},  /* managed memory */
    {88, 0},  /* pageable memory access */
    {89, 0},  /* concurrent managed access */
    {99, 0},  /* registered host memory */
    {100, 0}, /* pageable memory by the host's page tables */
    {101, 0}, /* direct access to managed memory */
    {103, 0}, /* handles as file descriptors */
    {110, 0}, /* GPUDirect RDMA */
    {116, 0}, /* GPUDirect RDMA flush */
    {119, 0}, /* handle types of pools */
    {124, 0}, /* dma-buf */
    {125, 0}, /* IPC events */
    {128, 0}, /* NUMA of host memory */
    {132, 0}, /* multicast */
};

#define ATTRIBUTE_MULTIPROCESSORS 16
#define ATTRIBUTE_RESIDENT_THREADS 39
#define ATTRIBUTE_PAGEABLE 88

static void change_attributes(CUDASnapshot *snapshot)
{
    for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++) {
        if (snapshot->results[changed[i].number] == CUDA_SUCCESS) {
            snapshot->values[changed[i].number] = changed[i].value;
        }
    }
}

/* A VM's own UUID of the GPU: the same at each start, another one for each VM. */
static void change_uuid(uint8_t uuid[16], uint32_t vm_id)
{
    uint64_t state = 0xcbf29ce484222325u ^ vm_id;

    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 16; i++) {
            state = (state ^ uuid[i]) * 0x100000001b3u;
            state ^= state >> 29;
            uuid[i] = (uint8_t)(state >> 24);
        }
    }
    uuid[6] = (uuid[6] & 0x0f) | 0x80; /* RFC 9562: version 8, made by an own rule */
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

static CUresult take_snapshot(struct driver_call *call, CUDASnapshot *snapshot)
{
    const struct driver_api *api = call->api;
    uint64_t limit = call->channel->set->uses.account->limit_bytes;
    size_t total = 0;
    CUuuid uuid;
    CUresult result = api->cuDriverGetVersion(&snapshot->version);

    result = result ? result : api->cuDeviceTotalMem_v2(&total, call->device);
    result = result ? result
                    : api->cuDeviceGetName(snapshot->name, sizeof(snapshot->name), call->device);
    result = result ? result : api->cuDeviceGetUuid(&uuid, call->device);
    if (result) {
        return result;
    }
    snapshot->total_bytes = limit && limit < total ? limit : total;
    memcpy(snapshot->uuid, &uuid, sizeof(snapshot->uuid));
    change_uuid(snapshot->uuid, call->channel->set->uses.vm_id);
    for (int i = 1; i <= CU_DEVICE_ATTRIBUTES; i++) {
        snapshot->results[i] =
            (uint8_t)(api->cuDeviceGetAttribute(&snapshot->values[i], i, call->device) != 0);
    }
    return CUDA_SUCCESS;
}

/* The arena once more, at the address that the process has it at. */
static bool map_window(struct driver_channel *channel, uint64_t address)
{
    uint64_t bytes = channel->geometry.arena_bytes;
    void *wanted = (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): agreed on */
    void *place;

    if (channel->window || bytes == 0 || address < CUDA_WINDOW_LOW ||
        address > CUDA_WINDOW_HIGH - bytes || address % CUDA_WINDOW_ALIGN != 0) {
        return false;
    }
    place = mmap(wanted, bytes, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) {
        return false;
    }
    if (place != wanted || !mapping_again(channel->mapping, channel->layout.arena, bytes, place)) {
        munmap(place, bytes);
        return false;
    }
    channel->window = place;
    return true;
}

CUresult driver_run_init(struct driver_call *call)
{
    static __thread CUDASnapshot snapshot;
    CUresult result;

    if (call->arg_count < 1) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memset(&snapshot, 0, sizeof(snapshot));
    result = take_snapshot(call, &snapshot);
    if (result) {
        return result;
    }
    if (snapshot.values[ATTRIBUTE_PAGEABLE]) {
        log_error("no CUDA for guests' programs on this host: its driver lets kernels read this "
                  "process (HMM); load nvidia_uvm with uvm_disable_hmm=1");
        return CUDA_ERROR_NO_DEVICE;
    }
    if (!map_window(call->channel, call->args[0])) {
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    }
    call->channel->resident_threads =
        bytes_of((uint32_t)snapshot.values[ATTRIBUTE_MULTIPROCESSORS],
                 (uint32_t)snapshot.values[ATTRIBUTE_RESIDENT_THREADS]);
    change_attributes(&snapshot);
    call->channel->ready = true;
    call->reply = &snapshot;
    call->reply_bytes = sizeof(snapshot);
    return CUDA_SUCCESS;
}

/* ---- contexts ---- */

static struct driver_context *context_place(struct driver_call *call, uint64_t handle)
{
    uint32_t index = vgpu_handle_index(handle);

    return (handle & VGPU_HANDLE_MARK) && vgpu_handle_kind(handle) == CUDA_KIND_CONTEXT &&
                   index > 0 && index < CUDA_CONTEXTS_MAX
               ? &call->channel->contexts[index]
               : NULL;
}

#define CONTEXT_FLAGS 0xffu
#define CONTEXT_DUMPS 0x60u /* 0x20, 0x40: the driver would write the worker's core */

CUresult driver_run_ctx_create(struct driver_call *call)
{
    struct driver_context *context = context_place(call, call->args[0]);
    unsigned flags = (unsigned)call->args[1] & ~CONTEXT_DUMPS;
    CUresult result;

    if (call->arg_count < 2 || !context || context->real) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (call->args[1] > CONTEXT_FLAGS) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!driver_charge_context(call->channel, context)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    call->channel->current = NULL; /* the new one becomes current */
    result = call->api->cuCtxCreate_v2(&context->real, flags, call->device);
    if (result != CUDA_SUCCESS) {
        context->real = NULL;
        driver_context_ended(call->channel, context);
        return result;
    }
    if (!call->channel->is_live) {
        call->channel->is_live = true;
        __atomic_add_fetch(&call->channel->set->live, 1, __ATOMIC_ACQ_REL);
    }
    driver_count(&call->channel->set->figures.contexts_made);
    context->handle = call->args[0];
    context->settled = context->work;
    memset(context->per_thread, 0, sizeof(context->per_thread));
    call->channel->current = context;
    return CUDA_SUCCESS;
}

/* It is current, and nothing of any context of the channel is in flight. */
CUresult driver_context_end(struct driver_channel *channel, struct driver_context *context)
{
    CUresult result;

    blas_handles_end(channel, vgpu_handle_index(context->handle));
    dnn_handles_end(channel, vgpu_handle_index(context->handle));
    fft_plans_end(channel, vgpu_handle_index(context->handle));
    driver_memory_drop(channel, context);
    driver_unpin(channel, context);
    driver_graphs_end(channel, context);
    result = channel->api->cuCtxDestroy_v2(context->real);
    driver_count(&channel->set->figures.contexts_ended);
    context->real = NULL;
    context->life++;
    channel->current = NULL;
    driver_context_ended(channel, context);
    driver_fences_free(channel, context);
    driver_handles_drop(channel, vgpu_handle_index(context->handle));
    return result;
}

CUresult driver_run_ctx_destroy(struct driver_call *call)
{
    struct driver_context *context = context_place(call, call->args[0]);
    struct driver_channel *channel = call->channel;
    CUresult result;

    if (call->arg_count < 1 || !context || !context->real || context->handle != call->args[0] ||
        context != call->context) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    result = driver_context_end(channel, context);
    if (result != CUDA_SUCCESS && !cuda_is_sticky(result)) {
        return result;
    }
    call->context = NULL;
    return CUDA_SUCCESS;
}

/* ---- waiting ---- */

CUresult driver_run_ctx_sync(struct driver_call *call)
{
    CUresult result;

    if (!call->context) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    call->fence = driver_fence_context(call->channel, call->context, &result);
    return result;
}

CUresult driver_run_stream_sync(struct driver_call *call)
{
    CUresult result;
    CUstream stream;

    if (!call->context) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (call->arg_count < 1 || !driver_stream(call, call->args[0], &stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (driver_is_captured(call)) {
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    call->fence = driver_fence_stream(call->channel, call->stream_context, stream, &result);
    return result;
}

CUresult driver_run_event_sync(struct driver_call *call)
{
    if (call->arg_count < 1 || !driver_handle(call, call->args[0], CUDA_KIND_EVENT)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    call->wait_event = call->args[0];
    return CUDA_SUCCESS;
}

/* ---- threads, refused calls ---- */

CUresult driver_run_lane_end(struct driver_call *call)
{
    unsigned lane = call->record->record.lane;

    call->channel->late[lane] = CUDA_SUCCESS;
    call->stream = NULL; /* it ends here */
    for (unsigned i = 0; i < CUDA_CONTEXTS_MAX; i++) {
        struct driver_context *context = &call->channel->contexts[i];

        if (context->real && context->per_thread[lane]) {
            driver_enter(call->channel, context);
            driver_capture_over(call->channel, context, &context->lane_captures[lane]);
            call->api->cuStreamDestroy_v2(context->per_thread[lane]);
            context->per_thread[lane] = NULL;
        }
    }
    return CUDA_SUCCESS;
}

CUresult driver_run_refused(struct driver_call *call)
{
    const char *name = call->arg_count > 0 ? driver_string(call, call->args[0]) : NULL;

    driver_count_refused(call->channel, name ? name : "");
    if (name && call->channel->figures.refused <= 64 &&
        strspn(name, "abcdefghijklmnopqrstuvwxyz"
                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                     "0123456789_") == strlen(name)) {
        log_info("a program called %.100s, which is not built", name);
    }
    return CUDA_SUCCESS;
}
