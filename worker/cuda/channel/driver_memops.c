/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What graphs use.
 *
 * The driver keeps a graph's functions and events, and the addresses of its copies and memsets.  A
 * function may be unloaded, and what was freed may be something else of this process later, so they
 * are looked up again whenever the graph is to run.  What is known of a node goes when the node
 * goes, or does something else.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>
#include <string.h>

#define MEMOPS_MAX 65536u /* of all captures under way, and of each graph */
#define MEMOPS_FIRST 64u

struct driver_memops {
    unsigned users;
    size_t count, room;
    struct driver_memop all[];
};

void driver_memops_drop(struct driver_memops *memops)
{
    if (memops && --memops->users == 0) {
        free(memops);
    }
}

struct driver_memops *driver_memops_share(struct driver_memops *memops)
{
    if (memops) {
        memops->users++;
    }
    return memops;
}

size_t driver_memops_count(const struct driver_memops *memops)
{
    return memops ? memops->count : 0;
}

const struct driver_memop *driver_memops_at(const struct driver_memops *memops, size_t place)
{
    return &memops->all[place];
}

struct driver_memop *driver_memops_own(struct driver_memops *memops, size_t place)
{
    return &memops->all[place];
}

bool driver_memops_live(struct driver_call *call, const struct driver_memops *memops)
{
    for (size_t i = 0; i < driver_memops_count(memops); i++) {
        const struct driver_memop *memop = &memops->all[i];

        if (memop->bytes ? !driver_range_ok(call, memop->address, memop->bytes)
                         : !driver_handle_lives(call->channel, memop->address)) {
            return false;
        }
    }
    return true;
}

static struct driver_memops *empty_list(size_t room)
{
    struct driver_memops *memops =
        room <= MEMOPS_MAX ? malloc(sizeof(*memops) + room * sizeof(memops->all[0])) : NULL;

    if (memops) {
        *memops = (struct driver_memops){.users = 1, .room = room};
    }
    return memops;
}

bool driver_memops_reserve(struct driver_entry *graph, size_t count)
{
    struct driver_memops *old = graph->memops, *fresh;
    size_t used = driver_memops_count(old), room = used + count;

    if (old && old->users == 1 && old->room - used >= count) {
        return true;
    }
    if (room > MEMOPS_MAX) {
        return false;
    }
    room = room < MEMOPS_FIRST ? MEMOPS_FIRST : room * 2;
    fresh = empty_list(room < MEMOPS_MAX ? room : MEMOPS_MAX);
    if (!fresh) {
        return false;
    }
    if (old) {
        memcpy(fresh->all, old->all, used * sizeof(fresh->all[0]));
    }
    fresh->count = used;
    driver_memops_drop(old);
    graph->memops = fresh;
    return true;
}

void driver_memops_add(struct driver_entry *graph, const struct driver_memop *memop)
{
    graph->memops->all[graph->memops->count++] = *memop;
}

bool driver_memops_remove(struct driver_entry *graph, const void *node)
{
    struct driver_memops *memops;
    size_t kept = 0;

    if (!driver_memops_reserve(graph, 0)) {
        return false;
    }
    memops = graph->memops;
    for (size_t i = 0; i < driver_memops_count(memops); i++) {
        if (memops->all[i].node != node) {
            memops->all[kept++] = memops->all[i];
        }
    }
    if (memops) {
        memops->count = kept;
    }
    return true;
}

/* ---- graphs inside of a graph ---- */

bool driver_graph_is_in(struct driver_channel *channel, uint64_t graph, uint64_t outer)
{
    /* One inside of another has its node as origin, which has that graph: there is no circle. */
    while (graph && graph != outer) {
        const struct driver_entry *entry = driver_handle_entry(channel, graph);
        const struct driver_entry *node =
            entry && entry->of ? driver_handle_entry(channel, entry->of) : NULL;

        graph = node ? node->of : 0;
    }
    return graph != 0;
}

/* The next one that has its own list; NULL: none. */
static const struct driver_entry *next_inside(struct driver_channel *channel, uint64_t outer,
                                              uint32_t *place)
{
    while (*place < channel->entry_room) {
        const struct driver_entry *entry = &channel->entries[(*place)++];

        if (vgpu_handle_kind(entry->handle) == CUDA_KIND_GRAPH && entry->of && entry->memops &&
            driver_graph_is_in(channel, entry->handle, outer)) {
            return entry;
        }
    }
    return NULL;
}

bool driver_memops_of_graph(struct driver_channel *channel, const struct driver_entry *graph,
                            struct driver_memops **all)
{
    struct driver_entry sum = {.memops = driver_memops_share(graph->memops)};
    const struct driver_entry *inside;
    uint32_t place = CUDA_CONTEXTS_MAX;

    while ((inside = next_inside(channel, graph->handle, &place)) != NULL) {
        if (!driver_memops_reserve(&sum, inside->memops->count)) {
            driver_memops_drop(sum.memops);
            return false;
        }
        for (size_t i = 0; i < inside->memops->count; i++) {
            driver_memops_add(&sum, &inside->memops->all[i]);
        }
    }
    *all = sum.memops;
    return true;
}

/* ---- captures ---- */

bool driver_memops_note(struct driver_channel *channel, const struct driver_memop *memop)
{
    if (channel->memop_count == channel->memop_room) {
        size_t room = channel->memop_room ? channel->memop_room * 2 : MEMOPS_FIRST;
        struct driver_memop *more =
            room <= MEMOPS_MAX ? realloc(channel->memops, room * sizeof(*more)) : NULL;

        if (!more) {
            return false;
        }
        channel->memops = more;
        channel->memop_room = room;
    }
    channel->memops[channel->memop_count++] = *memop;
    return true;
}

bool driver_memops_take(struct driver_channel *channel, uint64_t capture,
                        struct driver_memops **memops)
{
    struct driver_memops *taken = channel->memop_count ? empty_list(channel->memop_count) : NULL;
    bool well = channel->memop_count == 0 || taken;
    size_t kept = 0;

    for (size_t i = 0; i < channel->memop_count; i++) {
        if (channel->memops[i].capture != capture) {
            channel->memops[kept++] = channel->memops[i];
        } else if (taken) {
            taken->all[taken->count++] = channel->memops[i];
        }
    }
    channel->memop_count = kept;
    *memops = taken;
    return well;
}
