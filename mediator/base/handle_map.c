/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/handle_map.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

struct handle_map_entry {
    uint64_t handle;
    void *object; /* NULL: free */
};

int handle_map_init(struct handle_map *map, uint32_t limit)
{
    uint32_t size = 16;

    /* At most half full, so that chains stay short. */
    while (size < 2 * limit) {
        size *= 2;
    }
    map->entries = calloc(size, sizeof(*map->entries));
    if (!map->entries) {
        return -ENOMEM;
    }
    map->mask = size - 1;
    map->used = 0;
    return 0;
}

void handle_map_destroy(struct handle_map *map)
{
    free(map->entries);
    map->entries = NULL;
}

static uint32_t home(const struct handle_map *map, uint64_t handle)
{
    return (uint32_t)((handle * 0x9e3779b97f4a7c15ull) >> 32) & map->mask;
}

int handle_map_put(struct handle_map *map, uint64_t handle, void *object)
{
    uint32_t i = home(map, handle);

    if (map->used > map->mask / 2) {
        return -ENOSPC;
    }
    while (map->entries[i].object) {
        i = (i + 1) & map->mask;
    }
    map->entries[i] = (struct handle_map_entry){handle, object};
    map->used++;
    return 0;
}

void *handle_map_get(const struct handle_map *map, uint64_t handle)
{
    for (uint32_t i = home(map, handle); map->entries[i].object; i = (i + 1) & map->mask) {
        if (map->entries[i].handle == handle) {
            return map->entries[i].object;
        }
    }
    return NULL;
}

void handle_map_remove(struct handle_map *map, uint64_t handle)
{
    struct handle_map_entry *entries = map->entries;
    uint32_t i = home(map, handle);

    while (entries[i].object && entries[i].handle != handle) {
        i = (i + 1) & map->mask;
    }
    if (!entries[i].object) {
        return;
    }
    map->used--;

    /* Close the gap: move up whatever would not be found across it. */
    for (uint32_t j = (i + 1) & map->mask; entries[j].object; j = (j + 1) & map->mask) {
        uint32_t want = home(map, entries[j].handle);

        if (((j - want) & map->mask) >= ((j - i) & map->mask)) {
            entries[i] = entries[j];
            i = j;
        }
    }
    entries[i].object = NULL;
}
