/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual memory management: ranges of addresses, physical memory, and mappings of the one to the
 * other.
 *
 * Physical memory is charged when it is made, until its handle and all of its mappings have gone.
 * What is mapped and may be accessed stands in the channel's ranges, cut where it is unmapped.
 * Nothing of it belongs to a context, so it is given back when the process ends.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>

#define GRANULARITY (2ull << 20)
#define RESERVED_MAX (16ull << 40) /* of a process; addresses cost nothing, but there is an end */
#define RANGES_MAX 65536u          /* of a process: reservations, and mappings */
#define ACCESS_MAX 3u

struct driver_physical {
    CUmemGenericAllocationHandle real;
    uint64_t bytes;
    unsigned users; /* its handle, and its mappings */
};

static void drop_physical(struct driver_channel *channel, struct driver_physical *physical)
{
    if (--physical->users == 0) {
        driver_discharge(channel, physical->bytes);
        free(physical);
    }
}

static CUmemAllocationProp properties(const struct driver_channel *channel)
{
    return (CUmemAllocationProp){
        .type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .location = {CU_MEM_LOCATION_TYPE_DEVICE, channel->device},
    };
}

/* ---- addresses ---- */

CUresult driver_run_reserve(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    struct cuda_range range = {.bytes = call->args[0]};
    CUdeviceptr address = 0;
    CUresult result;

    if (call->arg_count < 4 || range.bytes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (range.bytes > RESERVED_MAX - channel->reserved_bytes ||
        channel->reservations.count == RANGES_MAX || !cuda_ranges_reserve(&channel->reservations)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = call->api->cuMemAddressReserve(&address, range.bytes, call->args[1], call->args[2],
                                            call->args[3]);
    if (result == CUDA_SUCCESS) {
        range.start = address;
        cuda_ranges_insert(&channel->reservations, &range);
        channel->reserved_bytes += range.bytes;
        call->out[0] = address;
        call->out_count = 1;
    }
    return result;
}

static bool is_reserved(const struct driver_channel *channel, uint64_t start, uint64_t bytes)
{
    return bytes > 0 && cuda_ranges_hold(&channel->reservations, start, bytes);
}

/* Is anything mapped between them? */
static bool has_mapping(const struct driver_channel *channel, uint64_t start, uint64_t bytes)
{
    size_t next = cuda_ranges_behind(&channel->mappings, start);

    return cuda_ranges_find(&channel->mappings, start) ||
           (next < channel->mappings.count && channel->mappings.all[next].start - start < bytes);
}

CUresult driver_run_reserve_end(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    const struct cuda_range *range =
        call->arg_count < 2 ? NULL : cuda_ranges_find(&channel->reservations, call->args[0]);
    CUresult result;

    if (!range || range->start != call->args[0] || range->bytes != call->args[1] ||
        has_mapping(channel, range->start, range->bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = call->api->cuMemAddressFree(range->start, range->bytes);
    if (result == CUDA_SUCCESS) {
        channel->reserved_bytes -= call->args[1];
        cuda_ranges_remove(&channel->reservations, call->args[0]);
    }
    return result;
}

/* ---- physical memory ---- */

CUresult driver_run_granularity(struct driver_call *call)
{
    CUmemAllocationProp prop = properties(call->channel);
    size_t bytes = 0;
    CUresult result =
        call->arg_count < 1
            ? CUDA_ERROR_INVALID_VALUE
            : call->api->cuMemGetAllocationGranularity(&bytes, &prop, (unsigned)call->args[0]);

    call->out[0] = bytes;
    call->out_count = 1;
    return result;
}

CUresult driver_run_physical(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    CUmemAllocationProp prop = properties(channel);
    struct driver_physical *physical;
    uint64_t bytes;
    CUresult result;

    if (call->arg_count < 2 || !driver_handle_free(call, call->args[0], CUDA_KIND_PHYSICAL)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    bytes = call->args[1];
    if (bytes == 0 || bytes % GRANULARITY != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    physical = calloc(1, sizeof(*physical));
    if (!physical || bytes > UINT64_MAX / 2 || !driver_charge(channel, bytes)) {
        free(physical);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *physical = (struct driver_physical){.bytes = bytes, .users = 1};
    result = call->api->cuMemCreate(&physical->real, bytes, &prop, 0);
    if (result != CUDA_SUCCESS ||
        !driver_handle_made(call, call->args[0], CUDA_KIND_PHYSICAL, physical, CUDA_SUCCESS)) {
        drop_physical(channel, physical);
    }
    return result;
}

CUresult driver_run_physical_end(struct driver_call *call)
{
    struct driver_physical *physical =
        call->arg_count < 1 ? NULL : driver_handle(call, call->args[0], CUDA_KIND_PHYSICAL);
    CUresult result;

    if (!physical) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = call->api->cuMemRelease(physical->real);
    if (result == CUDA_SUCCESS) {
        driver_handle_end(call, call->args[0], result);
        drop_physical(call->channel, physical);
    }
    return result;
}

/* ---- mappings ---- */

/* The driver takes the whole of what was made, from its start. */
CUresult driver_run_map(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    struct cuda_range range = {.start = call->args[0], .bytes = call->args[1]};
    const struct cuda_range *within = cuda_ranges_find(&channel->reservations, range.start);
    struct driver_physical *physical =
        call->arg_count < 3 ? NULL : driver_handle(call, call->args[2], CUDA_KIND_PHYSICAL);
    CUresult result;

    if (!physical || !within || range.bytes != physical->bytes ||
        range.bytes > within->bytes - (range.start - within->start) ||
        has_mapping(channel, range.start, range.bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (channel->mappings.count == RANGES_MAX || !cuda_ranges_reserve(&channel->mappings)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = call->api->cuMemMap(range.start, range.bytes, 0, physical->real, 0);
    if (result == CUDA_SUCCESS) {
        range.context = physical;
        physical->users++;
        cuda_ranges_insert(&channel->mappings, &range);
    }
    return result;
}

/* Do whole mappings, one behind the other, fill it?  *count is how many. */
static bool is_filled(const struct driver_channel *channel, uint64_t start, uint64_t bytes,
                      bool whole, size_t *first, size_t *count)
{
    size_t place = cuda_ranges_behind(&channel->mappings, start);
    uint64_t at = start, end;

    if (bytes == 0 || __builtin_add_overflow(start, bytes, &end) || place == 0) {
        return false;
    }
    *first = --place;
    if (whole && channel->mappings.all[place].start != start) {
        return false;
    }
    for (*count = 0; at < end; ++*count, place++) {
        const struct cuda_range *mapping = &channel->mappings.all[place];

        if (place == channel->mappings.count || mapping->start > at ||
            at - mapping->start >= mapping->bytes) {
            return false;
        }
        at = mapping->start + mapping->bytes;
    }
    return !whole || at == end;
}

CUresult driver_run_unmap(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    uint64_t start = call->args[0], bytes = call->args[1];
    size_t first = 0, count = 0;
    CUresult result;

    if (call->arg_count >= 2 && is_reserved(channel, start, bytes) &&
        !has_mapping(channel, start, bytes)) {
        return CUDA_SUCCESS; /* as natively */
    }
    if (call->arg_count < 2 || !is_filled(channel, start, bytes, true, &first, &count)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!cuda_ranges_reserve(&channel->ranges)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = call->api->cuMemUnmap(start, bytes);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    cuda_ranges_cut(&channel->ranges, start, bytes);
    for (; count > 0; count--) {
        const struct cuda_range *mapping = &channel->mappings.all[first];

        drop_physical(channel, (struct driver_physical *)mapping->context);
        cuda_ranges_remove(&channel->mappings, mapping->start);
    }
    return CUDA_SUCCESS;
}

bool driver_access_changes(const struct driver_call *call)
{
    const struct cuda_range_map *ranges = &call->channel->ranges;
    uint64_t start = call->args[0];
    size_t next = cuda_ranges_behind(ranges, start);

    return call->arg_count >= 2 &&
           (cuda_ranges_find(ranges, start) ||
            (next < ranges->count && ranges->all[next].start - start < call->args[1]));
}

CUresult driver_run_access(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    struct cuda_range range = {
        .start = call->args[0], .bytes = call->args[1], .kind = CUDA_RANGE_MAPPED};
    CUmemAccessDesc access = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, channel->device},
                              .flags = (int)call->args[2]};
    size_t first = 0, count = 0;
    CUresult result;

    if (call->arg_count < 3 || call->args[2] > ACCESS_MAX ||
        !is_filled(channel, range.start, range.bytes, false, &first, &count)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!cuda_ranges_reserve(&channel->ranges)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = call->api->cuMemSetAccess(range.start, range.bytes, &access, 1);
    if (result == CUDA_SUCCESS) {
        cuda_ranges_cut(&channel->ranges, range.start, range.bytes);
        if (access.flags) {
            cuda_ranges_insert(&channel->ranges, &range);
        }
    }
    return result;
}

CUresult driver_run_access_of(struct driver_call *call)
{
    CUmemLocation location = {CU_MEM_LOCATION_TYPE_DEVICE, call->channel->device};
    unsigned long long flags = 0;
    CUresult result = CUDA_ERROR_INVALID_VALUE;

    if (call->arg_count > 0 && cuda_ranges_find(&call->channel->mappings, call->args[0])) {
        result = call->api->cuMemGetAccess(&flags, &location, call->args[0]);
    }
    call->out[0] = flags;
    call->out_count = 1;
    return result;
}

/* ---- the end ---- */

void driver_virtual_end(struct driver_channel *channel)
{
    for (size_t i = 0; i < channel->mappings.count; i++) {
        const struct cuda_range *mapping = &channel->mappings.all[i];

        channel->api->cuMemUnmap(mapping->start, mapping->bytes);
        drop_physical(channel, (struct driver_physical *)mapping->context);
    }
    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        struct driver_entry *entry = &channel->entries[i];

        if (vgpu_handle_kind(entry->handle) == CUDA_KIND_PHYSICAL) {
            struct driver_physical *physical = entry->real;

            channel->api->cuMemRelease(physical->real);
            drop_physical(channel, physical);
            *entry = (struct driver_entry){0};
        }
    }
    for (size_t i = 0; i < channel->reservations.count; i++) {
        channel->api->cuMemAddressFree(channel->reservations.all[i].start,
                                       channel->reservations.all[i].bytes);
    }
    free(channel->mappings.all);
    free(channel->reservations.all);
    channel->mappings = channel->reservations = (struct cuda_range_map){0};
}
