/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stand-in's memory, pools, copies and memsets. */
#include "tests/cuda/stand_in.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DEVICE_MEMORY 0x200000000000ull /* where it begins: no sanitizer has its own there */
#define BLOCK (2ull << 20)
#define PAGE 4096u

static uint64_t next_address = DEVICE_MEMORY, next_small = DEVICE_MEMORY;

/* ---- memory ---- */

/* How many allocations lie in each block; only smaller ones share them. */
static uint16_t *block_users;
static size_t block_count;

/* One user more or less of each block; adds up what they take. */
static void use_blocks(uint64_t address, uint64_t bytes, int change)
{
    for (uint64_t at = address / BLOCK; at <= (address + bytes - 1) / BLOCK; at++) {
        size_t block = at - DEVICE_MEMORY / BLOCK;

        if (block >= block_count) {
            size_t count = (block + 1) * 2;

            block_users = realloc(block_users, count * sizeof(*block_users));
            memset(block_users + block_count, 0, (count - block_count) * sizeof(*block_users));
            block_count = count;
        }
        GPU->used_bytes += block_users[block] == 0 ? BLOCK : 0;
        block_users[block] = (uint16_t)(block_users[block] + change);
        GPU->used_bytes -= block_users[block] == 0 ? BLOCK : 0;
    }
}

/* The address for so many bytes, as the lock is held; 0: there is no more. */
static uint64_t allocate_locked(size_t bytes)
{
    bool small = bytes <= BLOCK / 2;
    uint64_t room = (bytes + PAGE - 1) / PAGE * PAGE;
    uint64_t wanted = small ? next_small : next_address;
    void *place;

    if (small && (wanted % BLOCK == 0 || wanted / BLOCK != (wanted + room - 1) / BLOCK)) {
        wanted = next_address;
    }
    if (room + BLOCK > GPU->total_bytes - GPU->used_bytes) {
        return 0;
    }
    place = mmap((void *)(uintptr_t)wanted, room, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
    if (place != (void *)(uintptr_t)wanted) {
        return 0;
    }
    if (wanted == next_address) {
        next_address += (room + BLOCK - 1) / BLOCK * BLOCK;
    }
    next_small = small ? wanted + room : next_small;
    use_blocks(wanted, bytes, 1);
    return wanted;
}

uint64_t stand_in_allocate(size_t bytes)
{
    struct cuda_range range = {.bytes = bytes, .context = stand_in_current};

    LOCKED(range.start = allocate_locked(bytes);
           if (range.start) { cuda_ranges_insert(&GPU->memory, &range); });
    return range.start;
}

CUresult stand_in_give_back(CUdeviceptr address)
{
    const struct cuda_range *range;
    CUresult result = CUDA_ERROR_INVALID_VALUE;

    pthread_mutex_lock(&GPU->lock);
    range = cuda_ranges_find(&GPU->memory, address);
    if (range && range->start == address) {
        munmap((void *)(uintptr_t)address, (range->bytes + PAGE - 1) / PAGE * PAGE);
        use_blocks(address, range->bytes, -1);
        cuda_ranges_remove(&GPU->memory, address);
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&GPU->lock);
    return result;
}

void stand_in_memory_dies(const struct context *context)
{
    for (size_t i = GPU->memory.count; i-- > 0;) {
        if (GPU->memory.all[i].context == context) {
            stand_in_give_back(GPU->memory.all[i].start);
        }
    }
    for (size_t i = 0; i < GPU->registered.count; i++) {
        if (GPU->registered.all[i].context == context) {
            stand_in_abort(__func__, "a context with registered memory ends");
        }
    }
}

void stand_in_owner_never_waits(const char *function, CUdeviceptr address)
{
    const struct cuda_range *range;
    const struct object *owner = NULL;

    LOCKED(range = cuda_ranges_find(&GPU->memory, address);
           owner = range && range->start == address ? range->context : NULL);
    if (owner && owner->kind == CONTEXT) { /* a pool's is of none */
        stand_in_never_wait(function, (const struct context *)owner);
    }
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
    stand_in_owner_never_waits(__func__, address);
    return stand_in_pool_free(address) ? CUDA_SUCCESS : stand_in_give_back(address);
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
    struct cuda_range range = {
        .start = (uint64_t)(uintptr_t)memory, .bytes = bytes, .context = stand_in_current};

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

bool stand_in_is_memory(const void *memory, uint64_t bytes)
{
    uint64_t address = (uint64_t)(uintptr_t)memory;
    bool ok;

    LOCKED(ok = cuda_ranges_hold(&GPU->memory, address, bytes) ||
                cuda_ranges_hold(&GPU->registered, address, bytes));
    return ok;
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
