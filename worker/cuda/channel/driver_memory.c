/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory and copies.  Every address that reaches a copy is looked up first: the driver would
 * also take an address of this process.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define HOST_REGISTER_PORTABLE 1u
#define HOST_REGISTER_DEVICEMAP 2u
#define INLINE UINT64_MAX

static bool is_allocation(const struct cuda_range *range)
{
    return range->kind == CUDA_RANGE_DEVICE || range->kind == CUDA_RANGE_ASYNC;
}

/* What comes from a pool belongs to no context: the driver keeps it until it is freed. */
void driver_memory_drop(struct driver_channel *channel, const struct driver_context *context)
{
    for (size_t i = 0; i < channel->ranges.count; i++) {
        const struct cuda_range *range = &channel->ranges.all[i];

        if (range->context == context && range->kind == CUDA_RANGE_DEVICE) {
            driver_allocation_ended(channel, range->start, range->bytes);
        } else if (range->context == context && range->kind == CUDA_RANGE_ASYNC) {
            channel->api->cuMemFree_v2(range->start);
            driver_pool_released(channel, range->serial);
        }
    }
    driver_pool_look(channel);
    cuda_ranges_forget(&channel->ranges, context);
}

void driver_globals_drop(struct driver_channel *channel)
{
    struct cuda_range_map *map = &channel->ranges;
    size_t kept = 0;

    for (size_t i = 0; i < map->count; i++) {
        if (map->all[i].kind != CUDA_RANGE_GLOBAL ||
            driver_handle_lives(channel, map->all[i].owner)) {
            map->all[kept++] = map->all[i];
        }
    }
    map->count = kept;
}

void driver_memory_end(struct driver_channel *channel)
{
    driver_pools_end(channel);
    driver_virtual_end(channel);
    driver_account_end(channel);
    free(channel->ranges.all);
    channel->ranges = (struct cuda_range_map){0};
    free(channel->memops);
    channel->memops = NULL;
    channel->memop_count = channel->memop_room = 0;
}

/* ---- ranges ---- */

/* The part of the arena that is registered with the driver, or will be: pinned memory. */
static bool in_window(const struct driver_channel *channel, uint64_t address, uint64_t bytes)
{
    uint64_t start = (uint64_t)(uintptr_t)channel->window;

    return channel->window && address >= start &&
           address - start <= channel->geometry.arena_bytes &&
           bytes <= channel->geometry.arena_bytes - (address - start);
}

/* The GPU knows it under this address, all of it. */
bool driver_pinned_ok(const struct driver_channel *channel, uint64_t address, uint64_t bytes)
{
    uint64_t offset = address - (uint64_t)(uintptr_t)channel->window;

    if (!in_window(channel, address, bytes) || bytes == 0) {
        return false;
    }
    for (uint64_t part = offset / CUDA_PIN_BYTES; part <= (offset + bytes - 1) / CUDA_PIN_BYTES;
         part++) {
        if (!channel->pinned[part]) {
            return false;
        }
    }
    return true;
}

void driver_touch(struct driver_call *call, uint64_t address, uint64_t bytes)
{
    if (call->channel->captures == 0) {
        return;
    }
    call->touched_more |= call->touched_count == DRIVER_TOUCHED_MAX;
    if (call->touched_count < DRIVER_TOUCHED_MAX) {
        call->touched[call->touched_count++] =
            (struct driver_memop){.address = address, .bytes = bytes};
    }
}

bool driver_range_ok(struct driver_call *call, uint64_t address, uint64_t bytes)
{
    if (bytes) {
        driver_touch(call, address, bytes);
    }
    return cuda_ranges_hold(&call->channel->ranges, address, bytes) ||
           driver_pinned_ok(call->channel, address, bytes);
}

void driver_range_add(struct driver_call *call, uint64_t address, uint64_t bytes,
                      enum cuda_range_kind kind, uint64_t pool)
{
    struct cuda_range range = {
        .start = address, .bytes = bytes, .kind = kind, .serial = pool, .context = call->context};

    cuda_ranges_insert(&call->channel->ranges, &range);
}

void driver_range_global(struct driver_call *call, uint64_t address, uint64_t bytes, uint64_t owner)
{
    const struct cuda_range *known = cuda_ranges_find(&call->channel->ranges, address);
    struct cuda_range range = {.start = address,
                               .bytes = bytes,
                               .kind = CUDA_RANGE_GLOBAL,
                               .context = call->context,
                               .owner = owner};

    if (!known || known->kind == CUDA_RANGE_GLOBAL) {
        cuda_ranges_insert(&call->channel->ranges, &range);
    }
}

/* ---- allocations ---- */

static void give(struct driver_call *call, uint64_t address)
{
    call->out[0] = address;
    call->out_count = 1;
}

CUresult driver_run_alloc(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    CUdeviceptr address = 0;
    uint64_t bytes = call->args[0], charged_bytes;
    CUresult result;

    if (call->arg_count < 1 || bytes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!cuda_ranges_reserve(&channel->ranges) || !cuda_ranges_reserve(&channel->blocks) ||
        !driver_charge_allocation(channel, bytes, &charged_bytes)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = call->api->cuMemAlloc_v2(&address, bytes);
    if (result != CUDA_SUCCESS) {
        driver_discharge(channel, charged_bytes);
        return result;
    }
    if (!driver_allocation_made(channel, address, bytes, charged_bytes)) {
        call->api->cuMemFree_v2(address);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    driver_range_add(call, address, bytes, CUDA_RANGE_DEVICE, 0);
    give(call, address);
    return CUDA_SUCCESS;
}

/* The allocation that starts there, of a kind that can be freed. */
static const struct cuda_range *allocation(struct driver_call *call)
{
    const struct cuda_range *range =
        call->arg_count > 0 ? cuda_ranges_find(&call->channel->ranges, call->args[0]) : NULL;

    return range && range->start == call->args[0] && is_allocation(range) ? range : NULL;
}

static void forget(struct driver_call *call, const struct cuda_range *range)
{
    if (range->kind == CUDA_RANGE_DEVICE) {
        driver_allocation_ended(call->channel, range->start, range->bytes);
    } else {
        driver_pool_released(call->channel, range->serial);
        driver_pool_look(call->channel);
    }
    cuda_ranges_remove(&call->channel->ranges, call->args[0]);
}

CUresult driver_run_free(struct driver_call *call)
{
    const struct cuda_range *range = allocation(call);
    CUresult result;

    if (!range) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = call->api->cuMemFree_v2(call->args[0]);
    if (result == CUDA_SUCCESS) {
        forget(call, range);
    }
    return result;
}

CUresult driver_run_free_async(struct driver_call *call)
{
    const struct cuda_range *range = allocation(call);
    CUresult result;
    CUstream stream;

    if (call->arg_count < 2 || !driver_stream(call, call->args[1], &stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (driver_is_captured(call)) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (!range) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = call->api->cuMemFreeAsync(call->args[0], stream);
    if (result == CUDA_SUCCESS) {
        forget(call, range);
    }
    return result;
}

CUresult driver_run_mem_info(struct driver_call *call)
{
    const struct memory_account *account = call->channel->set->uses.account;
    uint64_t limit = account->limit_bytes, charged;
    size_t free_bytes = 0, total_bytes = 0;
    CUresult result = call->api->cuMemGetInfo_v2(&free_bytes, &total_bytes);

    driver_pool_look(call->channel);
    charged = memory_used(account);
    if (limit && limit < total_bytes) {
        uint64_t left = charged < limit ? limit - charged : 0;

        total_bytes = limit;
        free_bytes = left < free_bytes ? left : free_bytes;
    }
    call->out[0] = free_bytes;
    call->out[1] = total_bytes;
    call->out_count = 2;
    return result;
}

CUresult driver_run_account(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    const struct memory_account *account = channel->set->uses.account;

    channel->account = (CUDAAccount){
        .limit_bytes = account->limit_bytes,
        .used_bytes = memory_used(account),
        .turns_ns = __atomic_load_n(&channel->set->turns_ns, __ATOMIC_RELAXED),
        .clock_ns = clock_now_ns(),
    };
    call->reply = &channel->account;
    call->reply_bytes = sizeof(channel->account);
    return CUDA_SUCCESS;
}

/* ---- pinned memory ---- */

/* The pieces of the arena that hold this range are registered, now if not before. */
static CUresult pin(struct driver_call *call, uint64_t offset, uint64_t bytes)
{
    struct driver_channel *channel = call->channel;
    uint64_t end = channel->geometry.arena_bytes;
    CUresult result = CUDA_SUCCESS;

    for (uint64_t part = offset / CUDA_PIN_BYTES;
         part <= (offset + bytes - 1) / CUDA_PIN_BYTES && result == CUDA_SUCCESS; part++) {
        uint64_t from = part * CUDA_PIN_BYTES;
        uint64_t count = end - from < CUDA_PIN_BYTES ? end - from : CUDA_PIN_BYTES;

        if (!channel->pinned[part]) {
            result = call->api->cuMemHostRegister_v2(
                channel->window + from, count, HOST_REGISTER_PORTABLE | HOST_REGISTER_DEVICEMAP);
            channel->pinned[part] = result == CUDA_SUCCESS ? call->context : NULL;
        }
    }
    return result;
}

CUresult driver_pin_part(struct driver_call *call, uint64_t address, uint64_t bytes)
{
    uint64_t offset = address - (uint64_t)(uintptr_t)call->channel->window;

    if (bytes == 0 || !in_window(call->channel, address, bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (offset / CUDA_PIN_BYTES != (offset + bytes - 1) / CUDA_PIN_BYTES) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    return pin(call, offset, bytes);
}

/* The registration goes with its context, so it is taken back; who needs the memory later
 * registers it again. */
void driver_unpin(struct driver_channel *channel, const struct driver_context *context)
{
    for (unsigned part = 0; part < DRIVER_WINDOW_PARTS; part++) {
        if (channel->pinned[part] == context) {
            channel->api->cuMemHostUnregister(channel->window + part * CUDA_PIN_BYTES);
            channel->pinned[part] = NULL;
        }
    }
}

static bool in_arena(const struct driver_channel *channel, uint64_t offset, uint64_t bytes)
{
    return channel->window && bytes > 0 && offset <= channel->geometry.arena_bytes &&
           bytes <= channel->geometry.arena_bytes - offset;
}

CUresult driver_run_pin(struct driver_call *call)
{
    if (call->arg_count < 2 || !in_arena(call->channel, call->args[0], call->args[1])) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return pin(call, call->args[0], call->args[1]);
}

/* ---- copies ---- */

/* The copy was queued: who reads or writes its memory must wait for this. */
static CUresult behind_copy(struct driver_call *call, CUresult result, CUstream stream)
{
    struct driver_fence *fence;

    if (result != CUDA_SUCCESS) {
        return result;
    }
    call->context->work++;
    DRIVER_COUNT(call->channel, copies);
    fence = driver_fence_stream(call->channel, call->context, stream, &result);
    if (!fence) {
        return result;
    }
    driver_retire_behind(call, fence);
    if (call->record->record.flags & VGPU_RECORD_WAIT) {
        call->fence = fence;
    } else {
        driver_fence_drop(call->channel, fence);
    }
    return result;
}

/* Arguments that both directions share: address, bytes, stream, offset. */
static CUresult check_copy(struct driver_call *call, CUstream *stream)
{
    if (!call->context) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (call->arg_count < 4 || !driver_stream(call, call->args[2], stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (driver_is_captured(call)) {
        return CUDA_ERROR_NOT_SUPPORTED; /* at a launch the bytes would be others */
    }
    return call->args[1] > 0 && driver_range_ok(call, call->args[0], call->args[1])
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
}

CUresult driver_run_copy_in(struct driver_call *call)
{
    uint64_t bytes = call->args[1], offset = call->args[3];
    CUstream stream;
    CUresult result = check_copy(call, &stream);

    if (result) {
        return result;
    }
    if (offset == INLINE) {
        /* The driver takes so few bytes of ordinary memory at once. */
        if (bytes > call->payload_bytes || bytes > CUDA_INLINE_MAX) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        call->context->work++;
        DRIVER_COUNT(call->channel, copies);
        return call->api->cuMemcpyHtoDAsync_v2(call->args[0], call->payload, bytes, stream);
    }
    if (!in_arena(call->channel, offset, bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = pin(call, offset, bytes);
    return result ? result
                  : behind_copy(call,
                                call->api->cuMemcpyHtoDAsync_v2(
                                    call->args[0], call->channel->window + offset, bytes, stream),
                                stream);
}

CUresult driver_run_copy_out(struct driver_call *call)
{
    uint64_t bytes = call->args[1], offset = call->args[3];
    CUstream stream;
    CUresult result = check_copy(call, &stream);

    if (result == CUDA_SUCCESS && !in_arena(call->channel, offset, bytes)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    result = result ? result : pin(call, offset, bytes);
    return result ? result
                  : behind_copy(call,
                                call->api->cuMemcpyDtoHAsync_v2(call->channel->window + offset,
                                                                call->args[0], bytes, stream),
                                stream);
}

/* To, from, bytes, stream; `host` is which of the two lies in the window. */
static CUresult check_pinned(struct driver_call *call, unsigned host, CUstream *stream)
{
    if (!call->context) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (call->arg_count < 4 || !driver_stream(call, call->args[3], stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (call->args[2] == 0 || !in_window(call->channel, call->args[host], call->args[2]) ||
        !driver_range_ok(call, call->args[1 - host], call->args[2])) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return pin(call, call->args[host] - (uint64_t)(uintptr_t)call->channel->window, call->args[2]);
}

/* Memory that was registered in pieces is copied in those pieces. */
static uint64_t part_of(const struct driver_channel *channel, uint64_t host, uint64_t bytes)
{
    uint64_t offset = host - (uint64_t)(uintptr_t)channel->window;
    uint64_t left = CUDA_PIN_BYTES - offset % CUDA_PIN_BYTES;

    return bytes < left ? bytes : left;
}

static CUresult copy_pinned(struct driver_call *call, unsigned host_at)
{
    uint64_t host = call->args[host_at], other = call->args[1 - host_at], left = call->args[2];
    CUstream stream;
    CUresult result = check_pinned(call, host_at, &stream);

    while (result == CUDA_SUCCESS && left > 0) {
        uint64_t part = part_of(call->channel, host, left);
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): checked to lie in the window */
        void *memory = (void *)(uintptr_t)host;

        call->context->work++;
        DRIVER_COUNT(call->channel, copies);
        result = host_at == 1 ? call->api->cuMemcpyHtoDAsync_v2(other, memory, part, stream)
                              : call->api->cuMemcpyDtoHAsync_v2(memory, other, part, stream);
        host += part;
        other += part;
        left -= part;
    }
    return result;
}

CUresult driver_run_pinned_in(struct driver_call *call)
{
    return copy_pinned(call, 1);
}

CUresult driver_run_pinned_out(struct driver_call *call)
{
    return copy_pinned(call, 0);
}

/* ---- rows and slices ---- */

/* Stream, and whether the process waits for the end of the host's memory's use; the payload is a
 * CUDACopy. */
static CUresult copy_rows(struct driver_call *call, bool within)
{
    CUDACopy from;
    CUmemcpy3D copy;
    CUstream stream;
    CUresult result;

    if (call->arg_count < 2 || !driver_stream(call, call->args[0], &stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (call->payload_bytes < sizeof(from)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(&from, call->payload, sizeof(from));
    if (within != (from.src.type == CU_MEMORY_DEVICE && from.dst.type == CU_MEMORY_DEVICE)) {
        return CUDA_ERROR_INVALID_VALUE; /* what the GPU does alone needs a turn */
    }
    if (call->args[1] && driver_is_captured(call)) {
        return CUDA_ERROR_NOT_SUPPORTED; /* at a launch the bytes would be others */
    }
    result = driver_take_copy(call, &from, &copy);
    result = result ? result : call->api->cuMemcpy3DAsync_v2(&copy, stream);
    if (call->args[1]) {
        return behind_copy(call, result, stream);
    }
    if (!within) {
        call->context->work++;
        DRIVER_COUNT(call->channel, copies);
    }
    return result;
}

CUresult driver_run_copy_rows(struct driver_call *call)
{
    return copy_rows(call, false);
}

CUresult driver_run_copy_within(struct driver_call *call)
{
    return copy_rows(call, true);
}
