/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This map leads from the core's handles to the mediator's objects.  It is a hash table of
 * fixed size, and allocates nothing after its creation.
 */
#ifndef MEDIATOR_BASE_HANDLE_MAP_H
#define MEDIATOR_BASE_HANDLE_MAP_H

#include <stdint.h>

struct handle_map {
    uint32_t mask;
    uint32_t used;
    struct handle_map_entry *entries;
};

/* Room for `limit` handles. -ENOMEM. */
int handle_map_init(struct handle_map *map, uint32_t limit);
void handle_map_destroy(struct handle_map *map);
/* The handle is not in the map yet. -ENOSPC beyond the limit. */
int handle_map_put(struct handle_map *map, uint64_t handle, void *object);
/* NULL: not there. */
void *handle_map_get(const struct handle_map *map, uint64_t handle);
void handle_map_remove(struct handle_map *map, uint64_t handle);

#endif /* MEDIATOR_BASE_HANDLE_MAP_H */
