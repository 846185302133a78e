/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sim/events.h"

#include <stdio.h>
#include <stdlib.h>

static void out_of_memory(void)
{
    fprintf(stderr, "vgpu-sim: out of memory\n");
    exit(2);
}

void *sim_allocate(uint64_t count, uint64_t size_bytes)
{
    void *memory = calloc(count, size_bytes);

    if (!memory) {
        out_of_memory();
    }
    return memory;
}

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->order < b->order;
}

void sim_events_add(struct sim_events *events, uint64_t time_ns, enum sim_event_kind kind,
                    uint64_t subject, uint64_t serial)
{
    struct sim_event event = {.time_ns = time_ns,
                              .order = ++events->next_order,
                              .kind = kind,
                              .subject = subject,
                              .serial = serial};
    uint32_t at;

    if (events->count == events->capacity) {
        events->capacity = events->capacity ? 2 * events->capacity : 256;
        events->heap = realloc(events->heap, events->capacity * sizeof(*events->heap));
        if (!events->heap) {
            out_of_memory();
        }
    }
    for (at = events->count++; at > 0 && earlier(&event, &events->heap[(at - 1) / 2]);
         at = (at - 1) / 2) {
        events->heap[at] = events->heap[(at - 1) / 2];
    }
    events->heap[at] = event;
}

uint64_t sim_events_next_ns(const struct sim_events *events)
{
    return events->count > 0 ? events->heap[0].time_ns : UINT64_MAX;
}

bool sim_events_take(struct sim_events *events, struct sim_event *event)
{
    struct sim_event last;
    uint32_t at = 0;

    if (events->count == 0) {
        return false;
    }
    *event = events->heap[0];
    last = events->heap[--events->count];
    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= events->count) {
            break;
        }
        if (child + 1 < events->count && earlier(&events->heap[child + 1], &events->heap[child])) {
            child++;
        }
        if (!earlier(&events->heap[child], &last)) {
            break;
        }
        events->heap[at] = events->heap[child];
        at = child;
    }
    if (events->count > 0) {
        events->heap[at] = last;
    }
    return true;
}

void sim_events_destroy(struct sim_events *events)
{
    free(events->heap);
    *events = (struct sim_events){0};
}
