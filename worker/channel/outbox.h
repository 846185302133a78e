/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An outbox has what a worker has written into a `copied` channel and the guest has not seen:
 * data first, then answers, then notices and positions, then the interrupt.  The copy engine
 * takes it in this order.  For other transports it is off, and nothing needs it.
 *
 * The engine copies what a range holds when it comes to it, not when it was asked for.  So a
 * position goes into shared memory only when what it covers was asked for before, and when the
 * engine has done the last request for positions: else it would take the new one along, and the
 * guest would find old data behind it.
 */
#ifndef WORKER_CHANNEL_OUTBOX_H
#define WORKER_CHANNEL_OUTBOX_H

#include "worker/channel/copier.h"

/* Ranges of chunks that can wait. */
#define OUTBOX_RANGES_MAX 256u

struct outbox {
    struct copier copier;
    struct vgpu_channel_layout layout;
    uint64_t notice_bytes;
    struct outbox_range {
        uint32_t chunk;
        uint64_t offset, bytes;
    } ranges[OUTBOX_RANGES_MAX];
    unsigned first, count;
    uint16_t lane_bytes[VGPU_LANES_MAX]; /* of answers that wait; 0: none */
    unsigned lanes;                      /* how many of these are not 0 */
    uint64_t notices_pushed;             /* position in the notice ring */
    uint64_t told;                       /* the last request for positions */
    VGPUControl *control;                /* shared; outbox_send() stores positions there */
    bool positions;                      /* they have moved, or something else has been pushed */
};

/* page NULL: off. */
void outbox_init(struct outbox *outbox, const struct vgpu_channel_layout *layout,
                 uint64_t notice_bytes, VGPUControl *control, VGPUCopyPage *page, int engine);

static inline bool outbox_is_on(const struct outbox *outbox)
{
    return outbox->copier.page != NULL;
}

/* How many ranges can be added. */
static inline unsigned outbox_room(const struct outbox *outbox)
{
    return OUTBOX_RANGES_MAX - outbox->count;
}

/* All of these do nothing when it is off.  There must be room for a range. */
void outbox_add_range(struct outbox *outbox, const struct outbox_range *range);
void outbox_add_answer(struct outbox *outbox, unsigned lane, unsigned bytes);
void outbox_add_positions(struct outbox *outbox);

/* Hands over as much as the engine has room for.  The worker's positions: of its notices, and how
 * many records are over. */
void outbox_send(struct outbox *outbox, uint64_t notice_tail, uint64_t retired);

/* Waits a range of this chunk? */
bool outbox_names(const struct outbox *outbox, uint32_t chunk);

/* Waits something that the engine has room for? */
bool outbox_can_send(struct outbox *outbox);

#endif /* WORKER_CHANNEL_OUTBOX_H */
