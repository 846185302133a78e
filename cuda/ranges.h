/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header has a map of address ranges that don't overlap, for the library and the worker.  It
 * is an array sorted by start; whoever uses it from several threads has a lock of its own.
 */
#ifndef CUDA_RANGES_H
#define CUDA_RANGES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum cuda_range_kind {
    CUDA_RANGE_DEVICE,
    CUDA_RANGE_ASYNC,
    CUDA_RANGE_GLOBAL,
    CUDA_RANGE_PINNED,
    CUDA_RANGE_MAPPED, /* by virtual memory management: one may go on in the next */
};

struct cuda_range {
    uint64_t start, bytes;
    enum cuda_range_kind kind;
    unsigned flags;      /* of pinned memory */
    uint64_t serial;     /* the library: a number that no other allocation has */
    const void *context; /* it goes with this one */
    uint64_t owner;      /* a variable's module or library */
};

struct cuda_range_map {
    struct cuda_range *all;
    size_t count, room;
};

/* The number of ranges that start at or below this address. */
static inline size_t cuda_ranges_behind(const struct cuda_range_map *map, uint64_t address)
{
    size_t low = 0, high = map->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (map->all[middle].start <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* NULL: none holds this address. */
static inline const struct cuda_range *cuda_ranges_find(const struct cuda_range_map *map,
                                                        uint64_t address)
{
    size_t place = cuda_ranges_behind(map, address);

    return place > 0 && address - map->all[place - 1].start < map->all[place - 1].bytes
               ? &map->all[place - 1]
               : NULL;
}

/* Makes room for two more.  False: no memory. */
static inline bool cuda_ranges_reserve(struct cuda_range_map *map)
{
    if (map->room - map->count < 2) {
        size_t wanted = map->room ? map->room * 2 : 256;
        struct cuda_range *more =
            (struct cuda_range *)realloc(map->all, wanted * sizeof(*map->all));

        if (!more) {
            return false;
        }
        map->all = more;
        map->room = wanted;
    }
    return true;
}

/* Replaces one with the same start.  False: no memory. */
static inline bool cuda_ranges_insert(struct cuda_range_map *map, const struct cuda_range *range)
{
    size_t place = cuda_ranges_behind(map, range->start);

    if (place > 0 && map->all[place - 1].start == range->start) {
        map->all[place - 1] = *range;
        return true;
    }
    if (map->count == map->room && !cuda_ranges_reserve(map)) {
        return false;
    }
    memmove(&map->all[place + 1], &map->all[place], (map->count - place) * sizeof(*map->all));
    map->all[place] = *range;
    map->count++;
    return true;
}

/* False: none starts there. */
static inline bool cuda_ranges_remove(struct cuda_range_map *map, uint64_t start)
{
    size_t place = cuda_ranges_behind(map, start);

    if (place == 0 || map->all[place - 1].start != start) {
        return false;
    }
    memmove(&map->all[place - 1], &map->all[place], (map->count - place) * sizeof(*map->all));
    map->count--;
    return true;
}

/* Takes what is mapped between them out.  There is room for one more: a range may be cut in two. */
static inline void cuda_ranges_cut(struct cuda_range_map *map, uint64_t start, uint64_t bytes)
{
    uint64_t end = start + bytes;

    for (size_t i = 0; i < map->count;) {
        struct cuda_range *range = &map->all[i], rest = *range;
        uint64_t range_end = range->start + range->bytes;

        if (range->kind != CUDA_RANGE_MAPPED || range_end <= start || range->start >= end) {
            i++;
            continue;
        }
        rest.start = end;
        rest.bytes = range_end > end ? range_end - end : 0;
        range->bytes = range->start < start ? start - range->start : 0;
        if (range->bytes == 0) {
            cuda_ranges_remove(map, range->start);
        } else {
            i++;
        }
        if (rest.bytes) {
            cuda_ranges_insert(map, &rest);
            i++;
        }
    }
}

/* All of a context. */
static inline void cuda_ranges_forget(struct cuda_range_map *map, const void *context)
{
    size_t kept = 0;

    for (size_t i = 0; i < map->count; i++) {
        if (map->all[i].context != context) {
            map->all[kept++] = map->all[i];
        }
    }
    map->count = kept;
}

/* Do all `bytes` lie in one, or in mapped ones side by side?  None always do. */
static inline bool cuda_ranges_hold(const struct cuda_range_map *map, uint64_t address,
                                    uint64_t bytes)
{
    const struct cuda_range *range;

    if (bytes == 0) {
        return true;
    }
    for (range = cuda_ranges_find(map, address); range; range = cuda_ranges_find(map, address)) {
        uint64_t there = range->bytes - (address - range->start);

        if (bytes <= there) {
            return true;
        }
        if (range->kind != CUDA_RANGE_MAPPED) {
            return false;
        }
        bytes -= there;
        address += there;
    }
    return false;
}

/* Sums that never wrap round. */
static inline uint64_t bytes_of(uint64_t count, uint64_t size)
{
    uint64_t bytes;

    return __builtin_mul_overflow(count, size, &bytes) ? UINT64_MAX : bytes;
}

static inline uint64_t bytes_of_2d(uint64_t pitch, uint64_t width, uint64_t height)
{
    uint64_t bytes;

    if (width == 0 || height == 0) {
        return 0;
    }
    if (height > 1 && pitch < width) {
        return UINT64_MAX; /* rows that overlap: no range holds so much */
    }
    bytes = bytes_of(pitch, height - 1);
    return bytes > UINT64_MAX - width ? UINT64_MAX : bytes + width;
}

#endif /* CUDA_RANGES_H */
