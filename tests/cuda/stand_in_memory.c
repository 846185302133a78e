/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stand-in's memory, pools, copies and memsets. */
#include "tests/cuda/stand_in.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DEVICE_MEMORY 0x1000000000ull /* where it begins */
#define SLOT 512u

static uint64_t next_address = DEVICE_MEMORY;

/* ---- pools ---- */

struct pool {
    struct object object;
    uint64_t threshold;
};

EXPORT CUresult cuMemPoolCreate(CUmemoryPool *out, const CUmemPoolProps *properties)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    if (properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED || properties->location.id != 0) {
        free(pool);
        return CUDA_ERROR_INVALID_VALUE;
    }
    pool->object.kind = POOL;
    *out = (CUmemoryPool)pool;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolDestroy(CUmemoryPool handle)
{
    struct pool *pool = CHECK(handle, POOL);

    pool->object.kind = DEAD;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
    (void)keep;
    CHECK(pool, POOL);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void *value)
{
    struct pool *pool = CHECK(handle, POOL);
    uint64_t number = attribute == 4 ? pool->threshold : 1;

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

/* ---- memory ---- */

uint64_t stand_in_allocate(size_t bytes)
{
    uint64_t room = (bytes + SLOT - 1) / SLOT * SLOT, address = 0;

    pthread_mutex_lock(&GPU->lock);
    if (room <= GPU->total_bytes - GPU->used_bytes) {
        void *wanted = (void *)(uintptr_t)((next_address + 4095) / 4096 * 4096);
        void *place =
            mmap(wanted, room, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);

        if (place == wanted) {
            struct cuda_range range = {.start = (uint64_t)(uintptr_t)place, .bytes = bytes};

            address = range.start;
            next_address = address + room;
            GPU->used_bytes += room;
            cuda_ranges_insert(&GPU->memory, &range);
        }
    }
    pthread_mutex_unlock(&GPU->lock);
    return address;
}

CUresult stand_in_give_back(CUdeviceptr address)
{
    const struct cuda_range *range;
    CUresult result = CUDA_ERROR_INVALID_VALUE;

    pthread_mutex_lock(&GPU->lock);
    range = cuda_ranges_find(&GPU->memory, address);
    if (range && range->start == address) {
        uint64_t room = (range->bytes + SLOT - 1) / SLOT * SLOT;

        GPU->used_bytes -= room;
        munmap((void *)(uintptr_t)address, room);
        cuda_ranges_remove(&GPU->memory, address);
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&GPU->lock);
    return result;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
    NEED_CONTEXT;
    if (bytes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *address = bytes <= TOTAL_BYTES ? stand_in_allocate(bytes) : 0;
    return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr address)
{
    NEED_CONTEXT;
    stand_in_never_wait(__func__, stand_in_current);
    return stand_in_give_back(address);
}

EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool pool,
                                        CUstream stream)
{
    CHECK(pool, POOL);
    stand_in_stream(__func__, stream);
    return cuMemAlloc_v2(address, bytes);
}

/* Never in the middle of work that may use it: it is kept, as a pool keeps it. */
EXPORT CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
    const struct cuda_range *range;
    bool found;

    NEED_CONTEXT;
    stand_in_stream(__func__, stream);
    LOCKED(range = cuda_ranges_find(&GPU->memory, address);
           found = range && range->start == address);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    NEED_CONTEXT;
    *total = GPU->total_bytes;
    *free_bytes = GPU->total_bytes - GPU->used_bytes;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemHostRegister_v2(void *memory, size_t bytes, unsigned flags)
{
    struct cuda_range range = {.start = (uint64_t)(uintptr_t)memory, .bytes = bytes};

    (void)flags;
    NEED_CONTEXT;
    LOCKED(cuda_ranges_insert(&GPU->registered, &range));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemHostUnregister(void *memory)
{
    LOCKED(cuda_ranges_remove(&GPU->registered, (uint64_t)(uintptr_t)memory));
    return CUDA_SUCCESS;
}

/* An address of the GPU's, all of it; else whoever called let an unchecked one through. */
static void *device(const char *function, CUdeviceptr address, uint64_t bytes)
{
    bool ok;

    LOCKED(ok = cuda_ranges_hold(&GPU->memory, address, bytes) ||
                cuda_ranges_hold(&GPU->registered, address, bytes));
    if (!ok) {
        stand_in_abort(function, "the address is none of the GPU's");
    }
    return (void *)(uintptr_t)address;
}

static bool is_registered(const void *memory, uint64_t bytes)
{
    bool ok;

    LOCKED(ok = cuda_ranges_hold(&GPU->registered, (uint64_t)(uintptr_t)memory, bytes));
    return ok;
}

static CUresult copy(void *to, const void *from, size_t bytes, struct stream *stream, bool take)
{
    struct work *work = stand_in_work(WORK_COPY, stream);

    work->to = to;
    work->from = from;
    work->width = bytes;
    if (take) {
        work->own = malloc(bytes);
        memcpy(work->own, from, bytes);
    }
    LOCKED(stand_in_queue(work));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes,
                                     CUstream stream)
{
    void *memory = device(__func__, to, bytes);

    NEED_CONTEXT;
    return copy(memory, from, bytes, stand_in_stream(__func__, stream),
                !is_registered(from, bytes));
}

EXPORT CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    void *memory = device(__func__, from, bytes);

    NEED_CONTEXT;
    if (!is_registered(to, bytes)) {
        stand_in_abort(__func__, "it would wait: its target is not registered");
    }
    return copy(to, memory, bytes, stand_in_stream(__func__, stream), false);
}

EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                     CUstream stream)
{
    void *memory = device(__func__, to, bytes);

    NEED_CONTEXT;
    return copy(memory, device(__func__, from, bytes), bytes, stand_in_stream(__func__, stream),
                false);
}

EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return cuMemcpyDtoDAsync_v2(to, from, bytes, NULL);
}

static CUresult set(const char *function, CUdeviceptr to, uint64_t pitch, uint32_t value,
                    unsigned unit, uint64_t width, uint64_t height, CUstream stream)
{
    struct work *work;

    NEED_CONTEXT;
    work = stand_in_work(WORK_SET, stand_in_stream(function, stream));
    work->to = device(function, to, bytes_of_2d(pitch, width * unit, height));
    work->value = value;
    work->unit = unit;
    work->width = width;
    work->height = height;
    work->pitch = pitch;
    LOCKED(stand_in_queue(work));
    return CUDA_SUCCESS;
}

#define MEMSET(bits, type)                                                                         \
    EXPORT CUresult cuMemsetD##bits##_v2(CUdeviceptr to, type value, size_t count)                 \
    {                                                                                              \
        return set(__func__, to, 0, value, sizeof(type), count, 1, NULL);                          \
    }                                                                                              \
    EXPORT CUresult cuMemsetD##bits##Async(CUdeviceptr to, type value, size_t count,               \
                                           CUstream stream)                                        \
    {                                                                                              \
        return set(__func__, to, 0, value, sizeof(type), count, 1, stream);                        \
    }                                                                                              \
    EXPORT CUresult cuMemsetD2D##bits##_v2(CUdeviceptr to, size_t pitch, type value, size_t width, \
                                           size_t height)                                          \
    {                                                                                              \
        return set(__func__, to, pitch, value, sizeof(type), width, height, NULL);                 \
    }                                                                                              \
    EXPORT CUresult cuMemsetD2D##bits##Async(CUdeviceptr to, size_t pitch, type value,             \
                                             size_t width, size_t height, CUstream stream)         \
    {                                                                                              \
        return set(__func__, to, pitch, value, sizeof(type), width, height, stream);               \
    }

MEMSET(8, unsigned char)
MEMSET(16, unsigned short)
MEMSET(32, unsigned)
