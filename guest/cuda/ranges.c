/* SPDX-License-Identifier: BSD-3-Clause */
/* What the process knows of addresses of the GPU: allocations, variables, pinned memory. */
#include "guest/cuda/internal.h"

static struct cuda_range_map map;
static uint64_t next_serial = 1;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

static void add(struct cuda_range range)
{
    if (range.start == 0 || range.bytes == 0) {
        return;
    }
    range.context = range.kind == CUDA_RANGE_MAPPED ? NULL : cuda_current();
    pthread_rwlock_wrlock(&lock);
    range.serial = next_serial++;
    /* Without memory for it, copies to it are refused; the allocation itself is there. */
    cuda_ranges_insert(&map, &range);
    pthread_rwlock_unlock(&lock);
}

void cuda_range_add(uint64_t start, uint64_t bytes, enum cuda_range_kind kind)
{
    add((struct cuda_range){.start = start, .bytes = bytes, .kind = kind});
}

void cuda_range_unmap(uint64_t start, uint64_t bytes)
{
    pthread_rwlock_wrlock(&lock);
    if (cuda_ranges_reserve(&map)) {
        cuda_ranges_cut(&map, start, bytes);
    }
    pthread_rwlock_unlock(&lock);
}

void cuda_range_add_global(uint64_t start, uint64_t bytes, uint64_t owner)
{
    add((struct cuda_range){
        .start = start, .bytes = bytes, .kind = CUDA_RANGE_GLOBAL, .owner = owner});
}

void cuda_range_add_pinned(uint64_t start, uint64_t bytes, unsigned flags)
{
    add((struct cuda_range){
        .start = start, .bytes = bytes, .kind = CUDA_RANGE_PINNED, .flags = flags});
}

void cuda_ranges_drop_globals(void)
{
    size_t kept = 0;

    pthread_rwlock_wrlock(&lock);
    for (size_t i = 0; i < map.count; i++) {
        if (map.all[i].kind != CUDA_RANGE_GLOBAL ||
            cuda_object(map.all[i].owner, vgpu_handle_kind(map.all[i].owner))) {
            map.all[kept++] = map.all[i];
        }
    }
    map.count = kept;
    pthread_rwlock_unlock(&lock);
}

bool cuda_range_next_pinned(const struct cuda_context *context, uint64_t after,
                            struct cuda_range *range)
{
    bool found = false;

    pthread_rwlock_rdlock(&lock);
    for (size_t i = cuda_ranges_behind(&map, after); i < map.count && !found; i++) {
        found = map.all[i].kind == CUDA_RANGE_PINNED && map.all[i].context == context;
        *range = map.all[i];
    }
    pthread_rwlock_unlock(&lock);
    return found;
}

bool cuda_range_find(uint64_t address, struct cuda_range *range)
{
    const struct cuda_range *found;

    pthread_rwlock_rdlock(&lock);
    found = cuda_ranges_find(&map, address);
    if (found) {
        *range = *found;
    }
    pthread_rwlock_unlock(&lock);
    return found != NULL;
}

bool cuda_is_pinned(uint64_t address)
{
    struct cuda_range range;

    return cuda_range_find(address, &range) && range.kind == CUDA_RANGE_PINNED;
}

bool cuda_range_remove(uint64_t start)
{
    bool found;

    pthread_rwlock_wrlock(&lock);
    found = cuda_ranges_remove(&map, start);
    pthread_rwlock_unlock(&lock);
    return found;
}

void cuda_ranges_drop(const struct cuda_context *context)
{
    pthread_rwlock_wrlock(&lock);
    cuda_ranges_forget(&map, context);
    pthread_rwlock_unlock(&lock);
}

bool cuda_range_ok(uint64_t address, uint64_t bytes)
{
    bool holds;

    pthread_rwlock_rdlock(&lock);
    holds = cuda_ranges_hold(&map, address, bytes);
    pthread_rwlock_unlock(&lock);
    return holds;
}
