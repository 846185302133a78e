/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stand-in's pools.  They reserve memory in steps of 32 MiB and keep it until the GPU is seen
 * to be done.  What is freed stays mapped: work in flight may use it.
 */
#include "tests/cuda/stand_in.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define POOL_MEMORY 0x280000000000ull /* as DEVICE_MEMORY: out of sanitizers' way */
#define STEP (32ull << 20)
#define PAGE 4096u

static uint64_t next_address = POOL_MEMORY;
static struct cuda_range_map blocks; /* of all pools; context: the pool */

EXPORT CUresult cuMemPoolCreate(CUmemoryPool *out, const CUmemPoolProps *properties)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    if (properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED || properties->location.id != 0) {
        free(pool);
        return CUDA_ERROR_INVALID_VALUE;
    }
    stand_in_born(&pool->object, POOL, NULL);
    *out = (CUmemoryPool)pool;
    return CUDA_SUCCESS;
}

/* Down to so much, as far as it is not in use. */
static void shrink(struct pool *pool, uint64_t keep)
{
    uint64_t used = (pool->used + STEP - 1) / STEP * STEP;
    uint64_t least = keep > used ? keep : used;

    if (pool->reserved > least) {
        GPU->used_bytes -= pool->reserved - least;
        pool->reserved = least;
    }
}

/* What is still in use stays, as natively; it is a leak, which tests see. */
EXPORT CUresult cuMemPoolDestroy(CUmemoryPool handle)
{
    struct pool *pool = CHECK(handle, POOL);

    LOCKED(shrink(pool, 0));
    stand_in_dies(&pool->object);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep)
{
    struct pool *pool = CHECK(handle, POOL);

    NEED_CONTEXT;
    stand_in_never_wait(__func__, stand_in_current);
    LOCKED(shrink(pool, keep));
    return CUDA_SUCCESS;
}

void stand_in_pools_shrink(void)
{
    for (struct object *object = GPU->objects; object; object = object->next) {
        if (object->kind == POOL) {
            LOCKED(shrink((struct pool *)object, ((struct pool *)object)->threshold));
        }
    }
}

EXPORT CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void *value)
{
    struct pool *pool = CHECK(handle, POOL);
    uint64_t number = attribute == 4                     ? pool->threshold
                      : attribute == 5 || attribute == 6 ? pool->reserved
                      : attribute == 7 || attribute == 8 ? pool->used
                                                         : 1;

    memcpy(value, &number, attribute <= 3 ? sizeof(int) : sizeof(number));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void *value)
{
    struct pool *pool = CHECK(handle, POOL);

    if (attribute == 4) {
        memcpy(&pool->threshold, value, sizeof(pool->threshold));
    }
    return attribute <= 4 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* Reserves what is lacking.  False: the GPU has too little. */
static bool grow(struct pool *pool, uint64_t bytes)
{
    uint64_t wanted = (pool->used + bytes + STEP - 1) / STEP * STEP;

    if (wanted > pool->reserved) {
        if (wanted - pool->reserved > GPU->total_bytes - GPU->used_bytes) {
            return false;
        }
        GPU->used_bytes += wanted - pool->reserved;
        pool->reserved = wanted;
    }
    pool->used += bytes;
    return true;
}

EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool handle,
                                        CUstream stream)
{
    struct pool *pool = CHECK(handle, POOL);
    struct cuda_range range = {.start = next_address, .bytes = bytes, .context = pool};
    uint64_t room = (bytes + PAGE - 1) / PAGE * PAGE;
    bool ok;

    NEED_CONTEXT;
    stand_in_stream(__func__, stream);
    LOCKED(ok = grow(pool, bytes));
    if (!ok || mmap((void *)(uintptr_t)next_address, room, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1,
                    0) == MAP_FAILED) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    next_address += room;
    *address = range.start;
    LOCKED(cuda_ranges_insert(&blocks, &range); cuda_ranges_insert(&GPU->memory, &range));
    return CUDA_SUCCESS;
}

bool stand_in_pool_free(CUdeviceptr address)
{
    const struct cuda_range *range;
    bool found;

    pthread_mutex_lock(&GPU->lock);
    range = cuda_ranges_find(&blocks, address);
    found = range && range->start == address;
    if (found) {
        ((struct pool *)(uintptr_t)range->context)->used -= range->bytes;
        cuda_ranges_remove(&blocks, address);
    }
    pthread_mutex_unlock(&GPU->lock);
    return found;
}

EXPORT CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
    NEED_CONTEXT;
    stand_in_stream(__func__, stream);
    if (stand_in_pool_free(address)) {
        return CUDA_SUCCESS;
    }
    /* Of cuMemAlloc: it would stay taken until the stream gets there, which nobody would charge. */
    stand_in_owner_never_waits(__func__, address);
    return stand_in_give_back(address);
}
