/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pools, and what is allocated from them.
 *
 * Other programs share this process, so what a program takes for the device's default pool is one
 * of its own.  A pool that a program destroys stays until the last allocation from it is freed:
 * what it reserves is charged, and only the driver says how much that is.
 */
#include "worker/cuda/channel/driver_internal.h"

static CUresult create(struct driver_call *call, struct driver_pool *pool)
{
    const CUmemPoolProps properties = {
        .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
        .location = {CU_MEM_LOCATION_TYPE_DEVICE, call->device},
        .maxSize = call->arg_count > 1 && pool != call->channel->pools ? call->args[1] : 0,
    };

    return pool->real ? CUDA_SUCCESS : call->api->cuMemPoolCreate(&pool->real, &properties);
}

static void destroy(struct driver_channel *channel, struct driver_pool *pool)
{
    channel->api->cuMemPoolDestroy(pool->real);
    *pool = (struct driver_pool){0};
}

/* The one with this handle, or NULL. */
static struct driver_pool *pool_with(struct driver_call *call, uint64_t handle)
{
    CUmemoryPool real = driver_handle(call, handle, CUDA_KIND_POOL);

    for (unsigned i = 0; real && i < DRIVER_POOLS_MAX; i++) {
        if (call->channel->pools[i].real == real) {
            return &call->channel->pools[i];
        }
    }
    return NULL;
}

struct driver_pool *driver_pool_of(struct driver_call *call)
{
    return call->arg_count > 2 && call->args[2] ? pool_with(call, call->args[2])
                                                : &call->channel->pools[0];
}

void driver_pool_released(struct driver_channel *channel, uint64_t number)
{
    struct driver_pool *pool = &channel->pools[number];

    pool->users--;
    if (pool->ended && pool->users == 0) {
        destroy(channel, pool);
    }
}

void driver_pools_end(struct driver_channel *channel)
{
    for (unsigned i = 0; i < DRIVER_POOLS_MAX; i++) {
        if (channel->pools[i].real) {
            destroy(channel, &channel->pools[i]);
        }
    }
}

/* ---- pools of the process ---- */

CUresult driver_run_pool_of(struct driver_call *call)
{
    struct driver_pool *pool = &call->channel->pools[0];
    CUresult result;

    if (call->arg_count < 1 || !driver_handle_free(call, call->args[0], CUDA_KIND_POOL)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    result = create(call, pool);
    driver_handle_made(call, call->args[0], CUDA_KIND_POOL, pool->real, result);
    return result;
}

/* Its handle, and how large it may become: 0 says nothing. */
CUresult driver_run_pool_create(struct driver_call *call)
{
    struct driver_pool *pools = call->channel->pools;
    unsigned place = 1;
    CUresult result;

    if (call->arg_count < 2 || !driver_handle_free(call, call->args[0], CUDA_KIND_POOL)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    while (place < DRIVER_POOLS_MAX && pools[place].real) {
        place++;
    }
    if (place == DRIVER_POOLS_MAX) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = create(call, &pools[place]);
    driver_handle_made(call, call->args[0], CUDA_KIND_POOL, pools[place].real, result);
    return result;
}

CUresult driver_run_pool_destroy(struct driver_call *call)
{
    struct driver_pool *pool = call->arg_count > 0 ? pool_with(call, call->args[0]) : NULL;

    if (!pool || pool == &call->channel->pools[0]) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    driver_handle_end(call, call->args[0], CUDA_SUCCESS);
    pool->ended = true;
    if (pool->users == 0) {
        destroy(call->channel, pool);
    }
    driver_pool_look(call->channel);
    return CUDA_SUCCESS;
}

/* An attribute of a pool, and what it has room for; NULL: it is none, or no pool. */
static CUmemoryPool pool_and_attribute(struct driver_call *call, unsigned arg_count)
{
    return call->arg_count >= arg_count && call->args[1] >= 1 &&
                   call->args[1] <= CUDA_POOL_ATTRIBUTE_LAST
               ? driver_handle(call, call->args[0], CUDA_KIND_POOL)
               : NULL;
}

CUresult driver_run_pool_get(struct driver_call *call)
{
    CUmemoryPool pool = pool_and_attribute(call, 2);

    call->out[0] = 0;
    call->out_count = 1;
    return pool ? call->api->cuMemPoolGetAttribute(pool, (int)call->args[1], &call->out[0])
                : CUDA_ERROR_INVALID_VALUE;
}

CUresult driver_run_pool_set(struct driver_call *call)
{
    CUmemoryPool pool = pool_and_attribute(call, 3);
    uint64_t value = pool ? call->args[2] : 0;

    CUresult result = pool ? call->api->cuMemPoolSetAttribute(pool, (int)call->args[1], &value)
                           : CUDA_ERROR_INVALID_VALUE;

    driver_pool_look(call->channel);
    return result;
}

/* ---- allocations ---- */

/* Bytes, stream, and a pool's handle, without which it is the default pool. */
CUresult driver_run_alloc_async(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    struct driver_pool *pool = driver_pool_of(call);
    CUdeviceptr address = 0;
    uint64_t bytes = call->args[0], charged_bytes;
    CUstream stream;
    CUresult result;

    if (call->arg_count < 2 || !pool || !driver_stream(call, call->args[1], &stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (driver_is_captured(call)) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    call->out_count = 1;
    if (bytes == 0) {
        return CUDA_SUCCESS; /* as natively, nothing to free */
    }
    result = create(call, pool);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (!cuda_ranges_reserve(&channel->ranges) ||
        !driver_charge_pool(channel, pool, bytes, &charged_bytes)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = call->api->cuMemAllocFromPoolAsync(&address, bytes, pool->real, stream);
    driver_discharge(channel, charged_bytes);
    driver_pool_look(channel);
    if (result == CUDA_SUCCESS) {
        pool->users++;
        driver_range_add(call, address, bytes, CUDA_RANGE_ASYNC, (uint64_t)(pool - channel->pools));
        call->out[0] = address;
    }
    return result;
}
