/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host memory that a program registers.
 *
 * It stays where it is: the worker never has it.  So it is known as registered, and copied as
 * ordinary memory is, in its stream's order for the program: a copy from the GPU waits, and one to
 * the GPU has read it when it returns.  A kernel can't have it.
 */
#include <string.h>
#include <sys/mman.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define PAGE 4096u
#define FLAGS_DEVICEMAP 2u
#define FLAGS_IOMEMORY 4u
#define FLAGS_KNOWN 15u

static struct cuda_range_map map;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

bool cuda_registered_find(uint64_t address, struct cuda_range *range)
{
    const struct cuda_range *found;

    pthread_mutex_lock(&lock);
    found = cuda_ranges_find(&map, address);
    if (found) {
        *range = *found;
    }
    pthread_mutex_unlock(&lock);
    return found != NULL;
}

void cuda_registered_drop(const struct cuda_context *context)
{
    pthread_mutex_lock(&lock);
    cuda_ranges_forget(&map, context);
    pthread_mutex_unlock(&lock);
}

/* Is something of it registered? */
static bool overlaps(uint64_t start, uint64_t bytes)
{
    size_t place = cuda_ranges_behind(&map, start + bytes - 1);

    return place > 0 && map.all[place - 1].start + map.all[place - 1].bytes > start;
}

/* Is the process's own memory there, all of it? */
static bool is_mapped(uint64_t start, uint64_t bytes)
{
    uint64_t first = start / PAGE * PAGE;

    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the page of an address of the program */
    return msync((void *)(uintptr_t)first, start - first + bytes, MS_ASYNC) == 0;
}

CUresult hand_cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags)
{
    struct cuda_range range = {
        .start = (uint64_t)(uintptr_t)p, .bytes = bytesize, .flags = Flags | FLAGS_DEVICEMAP};
    struct cuda_range known;
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_PIN, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!p || bytesize == 0 || Flags > FLAGS_KNOWN || range.start + bytesize < range.start) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (Flags & FLAGS_IOMEMORY) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (cuda_range_find(range.start, &known)) {
        return known.kind == CUDA_RANGE_PINNED ? CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
                                               : CUDA_ERROR_INVALID_VALUE;
    }
    if (!is_mapped(range.start, bytesize)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    range.context = call.context;
    pthread_mutex_lock(&lock);
    result = overlaps(range.start, bytesize)    ? CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
             : cuda_ranges_insert(&map, &range) ? CUDA_SUCCESS
                                                : CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult hand_cuMemHostUnregister(void *p)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_PIN, CUDA_NEEDS_CONTEXT);
    bool found, inside;

    if (result) {
        return result;
    }
    if (!p) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    pthread_mutex_lock(&lock);
    found = cuda_ranges_remove(&map, (uint64_t)(uintptr_t)p);
    inside = cuda_ranges_find(&map, (uint64_t)(uintptr_t)p) != NULL;
    pthread_mutex_unlock(&lock);
    return found    ? CUDA_SUCCESS
           : inside ? CUDA_ERROR_INVALID_VALUE
                    : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}
