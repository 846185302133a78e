/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/channel/copier.h"

#include <string.h>
#include <unistd.h>

#include "vgpu/vgpu_ring.h"

void copier_init(struct copier *copier, VGPUCopyPage *page, int engine)
{
    *copier = (struct copier){.page = page, .engine = engine};
}

/* How many are not done.  What the engine says is checked. */
static uint64_t outstanding(struct copier *copier)
{
    uint64_t count = copier->tail - VGPU_LOAD_ACQUIRE(&copier->page->head);

    if (count > VGPU_COPY_SLOTS) {
        copier->broken = true;
        return VGPU_COPY_SLOTS;
    }
    return count;
}

unsigned copier_room(struct copier *copier)
{
    return VGPU_COPY_SLOTS - (unsigned)outstanding(copier);
}

void copier_ask(struct copier *copier, enum vgpu_copy_kind kind, uint32_t chunk, uint64_t offset,
                uint64_t bytes)
{
    const VGPUCopyRequest request = {
        .kind = kind, .chunk = chunk, .offset = offset, .bytes = bytes};

    memcpy(&copier->page->requests[copier->tail++ % VGPU_COPY_SLOTS], &request, sizeof(request));
}

void copier_kick(struct copier *copier)
{
    const uint64_t one = 1;

    if (copier->published == copier->tail) {
        return;
    }
    copier->published = copier->tail;
    VGPU_STORE_RELEASE(&copier->page->tail, copier->tail);
    if (vgpu_must_wake(&copier->page->engine_parked)) {
        ssize_t n = write(copier->engine, &one, sizeof(one));

        (void)n; /* full: then it is signalled enough */
    }
}

bool copier_is_done(struct copier *copier, uint64_t tail)
{
    return copier->tail - tail >= outstanding(copier);
}

void copier_park(struct copier *copier)
{
    if (copier->page) {
        vgpu_park(&copier->page->worker_parked);
    }
}

void copier_unpark(struct copier *copier)
{
    if (copier->page) {
        vgpu_unpark(&copier->page->worker_parked);
    }
}
