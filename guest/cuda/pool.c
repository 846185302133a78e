/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools, and memory that is allocated and freed in a stream's order. */
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define ACCESS_READ_WRITE 3

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t default_pool; /* its handle; 0: nobody has asked for it */
static uint64_t device_pool;  /* what cuMemAllocAsync takes; 0: the default one */

static uint64_t handle_of(CUmemoryPool pool)
{
    return (uint64_t)(uintptr_t)pool;
}

static bool is_pool(CUmemoryPool pool)
{
    return cuda_object(handle_of(pool), CUDA_KIND_POOL) != NULL;
}

/* ---- the device's ---- */

static CUresult need(const void *to, CUdevice dev)
{
    if (cuda_state() != CUDA_READY && cuda_state() != CUDA_LOST) {
        return cuda_state_result();
    }
    return dev ? CUDA_ERROR_INVALID_DEVICE : to ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* It outlives contexts, and so do those that a program creates. */
static CUresult make(uint16_t op, size_t most_bytes, uint64_t *handle)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, op, 0);

    if (result) {
        return result;
    }
    cuda_add(&call, cuda_object_new(&call, CUDA_KIND_POOL));
    cuda_add(&call, most_bytes);
    call.context = NULL;
    result = cuda_ask(&call);
    cuda_object_made(&call, result, handle);
    return result;
}

CUresult hand_cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice dev)
{
    CUresult result = need(pool_out, dev);

    if (result) {
        return result;
    }
    pthread_mutex_lock(&lock);
    result = default_pool ? CUDA_SUCCESS : make(CUDA_OP_POOL_OF, 0, &default_pool);
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): a handle */
    *pool_out = (CUmemoryPool)(uintptr_t)default_pool;
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult hand_cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
    CUresult result = need(pool, dev);
    uint64_t chosen = __atomic_load_n(&device_pool, __ATOMIC_ACQUIRE);

    if (result || !chosen) {
        return result ? result : hand_cuDeviceGetDefaultMemPool(pool, dev);
    }
    *pool = (CUmemoryPool)(uintptr_t)chosen; /* NOLINT(performance-no-int-to-ptr): a handle */
    return CUDA_SUCCESS;
}

CUresult hand_cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
    CUresult result = need(pool, dev);

    if (result == CUDA_SUCCESS && !is_pool(pool)) {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS) {
        __atomic_store_n(&device_pool, handle_of(pool), __ATOMIC_RELEASE);
    }
    return result;
}

/* ---- a program's own ---- */

static bool is_ours(CUmemLocation location)
{
    return location.type == CU_MEM_LOCATION_TYPE_DEVICE && location.id == 0;
}

/* Only memory of the GPU for this process can be had. */
CUresult hand_cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *poolProps)
{
    const CUmemLocation location = {poolProps ? poolProps->location.type : 0,
                                    poolProps ? poolProps->location.id : 0};
    CUresult result = need(pool, 0);
    uint64_t handle = 0;

    if (result) {
        return result;
    }
    if (!poolProps || poolProps->allocType != CU_MEM_ALLOCATION_TYPE_PINNED) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (location.type == CU_MEM_LOCATION_TYPE_DEVICE && location.id != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!is_ours(location) || poolProps->handleTypes || poolProps->usage) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    result = make(CUDA_OP_POOL_CREATE, poolProps->maxSize, &handle);
    if (result == CUDA_SUCCESS) {
        *pool = (CUmemoryPool)(uintptr_t)handle; /* NOLINT(performance-no-int-to-ptr): a handle */
    }
    return result;
}

/* What is allocated from it stays.  The device goes back to its default one. */
CUresult hand_cuMemPoolDestroy(CUmemoryPool pool)
{
    uint64_t handle = handle_of(pool);
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_POOL_DESTROY, 0);

    if (result) {
        return result;
    }
    if (!cuda_add_handle(&call, handle, CUDA_KIND_POOL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        __atomic_compare_exchange_n(&device_pool, &(uint64_t){handle}, 0, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED);
    }
    cuda_object_end(handle, result);
    return result;
}

/* The device that has it may always read and write it. */
CUresult hand_cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count)
{
    CUresult result = need(map, 0);

    if (result) {
        return result;
    }
    if (!is_pool(pool) || count == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_ours(map[i].location)) {
            return map[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE ? CUDA_ERROR_INVALID_DEVICE
                                                                       : CUDA_ERROR_NOT_SUPPORTED;
        }
        if (map[i].flags != ACCESS_READ_WRITE) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return CUDA_SUCCESS;
}

CUresult hand_cuMemPoolGetAccess(int *flags, CUmemoryPool memPool, CUmemLocation *location)
{
    CUresult result = need(flags, 0);

    if (result) {
        return result;
    }
    if (!location || !is_pool(memPool)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!is_ours(*location)) {
        return location->type == CU_MEM_LOCATION_TYPE_DEVICE ? CUDA_ERROR_INVALID_DEVICE
                                                             : CUDA_ERROR_NOT_SUPPORTED;
    }
    *flags = ACCESS_READ_WRITE;
    return CUDA_SUCCESS;
}

/* ---- attributes ---- */

static CUresult begin_pool(struct cuda_call *call, uint16_t op, CUmemoryPool pool, int attr,
                           const void *value)
{
    CUresult result = cuda_begin(call, op, 0);

    if (result) {
        return result;
    }
    if (!value || attr < 1 || attr > CUDA_POOL_ATTRIBUTE_LAST) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!cuda_add_handle(call, (uint64_t)(uintptr_t)pool, CUDA_KIND_POOL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(call, (uint64_t)attr);
    return CUDA_SUCCESS;
}

static size_t pool_value_bytes(int attr)
{
    return attr <= CUDA_POOL_ATTRIBUTE_INT_LAST ? sizeof(int) : sizeof(uint64_t);
}

CUresult hand_cuMemPoolGetAttribute(CUmemoryPool pool, int attr, void *value)
{
    struct cuda_call call;
    CUresult result = begin_pool(&call, CUDA_OP_POOL_GET, pool, attr, value);

    result = result ? result : cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        memcpy(value, &call.out[0], pool_value_bytes(attr));
    }
    return result;
}

CUresult hand_cuMemPoolSetAttribute(CUmemoryPool pool, int attr, void *value)
{
    struct cuda_call call;
    uint64_t number = 0;
    CUresult result = begin_pool(&call, CUDA_OP_POOL_SET, pool, attr, value);

    if (result) {
        return result;
    }
    memcpy(&number, value, pool_value_bytes(attr));
    cuda_add(&call, number);
    return cuda_ask(&call);
}

/* ---- allocations ---- */

/* pool: 0 is the default one. */
static CUresult alloc_async(CUdeviceptr *dptr, size_t bytesize, uint64_t pool, CUstream hStream,
                            int mode)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_ALLOC_ASYNC, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!dptr) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, bytesize);
    if ((pool && !cuda_object(pool, CUDA_KIND_POOL)) || !cuda_add_stream(&call, hStream, mode)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    cuda_add(&call, pool);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        *dptr = call.out[0];
        cuda_range_add(*dptr, bytesize, CUDA_RANGE_ASYNC);
    }
    return result;
}

CUresult hand_cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream, int mode)
{
    return alloc_async(dptr, bytesize, __atomic_load_n(&device_pool, __ATOMIC_ACQUIRE), hStream,
                       mode);
}

CUresult hand_cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool,
                                      CUstream hStream, int mode)
{
    return pool ? alloc_async(dptr, bytesize, handle_of(pool), hStream, mode)
                : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream, int mode)
{
    struct cuda_call call;
    struct cuda_range range;
    CUresult result = cuda_begin(&call, CUDA_OP_FREE_ASYNC, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!cuda_range_find(dptr, &range) || range.start != dptr ||
        (range.kind != CUDA_RANGE_DEVICE && range.kind != CUDA_RANGE_ASYNC)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, dptr);
    if (!cuda_add_stream(&call, hStream, mode)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    cuda_range_remove(dptr);
    return cuda_ask(&call);
}
