/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A copier is the worker's end of a device's copy engine (vgpu_channel_device.h): it asks
 * for ranges of a `copied` channel's chunks to be pulled from the guest or pushed to it.
 *
 * Requests are done in their order.  None of these functions waits.
 */
#ifndef WORKER_CHANNEL_COPIER_H
#define WORKER_CHANNEL_COPIER_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu/vgpu_channel_device.h"

struct copier {
    VGPUCopyPage *page; /* NULL: the memory needs no copying */
    int engine;         /* eventfd that wakes it */
    uint64_t tail, published;
    bool broken; /* the engine's position can't be right */
};

/* The page and the descriptor stay the caller's. */
void copier_init(struct copier *copier, VGPUCopyPage *page, int engine);

/* How many requests can be made now. */
unsigned copier_room(struct copier *copier);
/* There must be room. */
void copier_ask(struct copier *copier, enum vgpu_copy_kind kind, uint32_t chunk, uint64_t offset,
                uint64_t bytes);
/* Shows the engine what was asked, and wakes it if it sleeps. */
void copier_kick(struct copier *copier);

/* Is all done that was asked up to a moment when `tail` was so? */
bool copier_is_done(struct copier *copier, uint64_t tail);

/* Before and after a sleep: the engine rings the channel's doorbell when it has done something. */
void copier_park(struct copier *copier);
void copier_unpark(struct copier *copier);

#endif /* WORKER_CHANNEL_COPIER_H */
