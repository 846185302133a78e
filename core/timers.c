/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/timers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int timers_init(struct timers *timers, uint32_t capacity)
{
    memset(timers, 0, sizeof(*timers));
    timers->capacity = capacity;
    timers->heap = calloc(capacity, sizeof(*timers->heap));
    timers->position = calloc(capacity, sizeof(*timers->position));
    timers->when_ns = calloc(capacity, sizeof(*timers->when_ns));
    if (!timers->heap || !timers->position || !timers->when_ns) {
        timers_destroy(timers);
        return -ENOMEM;
    }
    return 0;
}

void timers_destroy(struct timers *timers)
{
    free(timers->heap);
    free(timers->position);
    free(timers->when_ns);
    memset(timers, 0, sizeof(*timers));
}

static void place(struct timers *timers, uint32_t at, uint32_t object)
{
    timers->heap[at] = object;
    timers->position[object] = at + 1;
}

static void sift_up(struct timers *timers, uint32_t at)
{
    uint32_t object = timers->heap[at];

    while (at > 0) {
        uint32_t parent = (at - 1) / 2;

        if (timers->when_ns[timers->heap[parent]] <= timers->when_ns[object]) {
            break;
        }
        place(timers, at, timers->heap[parent]);
        at = parent;
    }
    place(timers, at, object);
}

static void sift_down(struct timers *timers, uint32_t at)
{
    uint32_t object = timers->heap[at];

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= timers->count) {
            break;
        }
        if (child + 1 < timers->count &&
            timers->when_ns[timers->heap[child + 1]] < timers->when_ns[timers->heap[child]]) {
            child++;
        }
        if (timers->when_ns[timers->heap[child]] >= timers->when_ns[object]) {
            break;
        }
        place(timers, at, timers->heap[child]);
        at = child;
    }
    place(timers, at, object);
}

static void remove_object(struct timers *timers, uint32_t object)
{
    uint32_t at = timers->position[object] - 1;
    uint32_t last = timers->heap[--timers->count];

    timers->position[object] = 0;
    if (last != object) {
        place(timers, at, last);
        sift_up(timers, at);
        sift_down(timers, timers->position[last] - 1);
    }
}

void timers_set(struct timers *timers, uint32_t object, uint64_t when_ns)
{
    if (when_ns == TIMERS_NEVER) {
        if (timers->position[object] != 0) {
            remove_object(timers, object);
        }
        return;
    }
    timers->when_ns[object] = when_ns;
    if (timers->position[object] == 0) {
        place(timers, timers->count++, object);
    }
    sift_up(timers, timers->position[object] - 1);
    sift_down(timers, timers->position[object] - 1);
}

void timers_lower(struct timers *timers, uint32_t object, uint64_t when_ns)
{
    if (timers->position[object] == 0 || when_ns < timers->when_ns[object]) {
        timers_set(timers, object, when_ns);
    }
}

uint64_t timers_next_ns(const struct timers *timers)
{
    return timers->count > 0 ? timers->when_ns[timers->heap[0]] : TIMERS_NEVER;
}

uint32_t timers_take_due(struct timers *timers, uint64_t now_ns)
{
    uint32_t object;

    if (timers->count == 0 || timers_next_ns(timers) > now_ns) {
        return UINT32_MAX;
    }
    object = timers->heap[0];
    remove_object(timers, object);
    return object;
}
