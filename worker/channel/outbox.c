/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/channel/outbox.h"

#include <string.h>

#include "vgpu/vgpu_ring.h"

/* Requests that tell of positions at most: notices in two stretches, two lines, the interrupt. */
#define POSITION_REQUESTS 5u

void outbox_init(struct outbox *outbox, const struct vgpu_channel_layout *layout,
                 uint64_t notice_bytes, VGPUControl *control, VGPUCopyPage *page, int engine)
{
    memset(outbox, 0, sizeof(*outbox));
    outbox->layout = *layout;
    outbox->notice_bytes = notice_bytes;
    outbox->control = control;
    copier_init(&outbox->copier, page, engine);
}

void outbox_add_range(struct outbox *outbox, const struct outbox_range *range)
{
    if (outbox_is_on(outbox) && range->bytes > 0) {
        outbox->ranges[(outbox->first + outbox->count++) % OUTBOX_RANGES_MAX] = *range;
        outbox->positions = true;
    }
}

void outbox_add_answer(struct outbox *outbox, unsigned lane, unsigned bytes)
{
    if (outbox_is_on(outbox)) {
        outbox->lanes += outbox->lane_bytes[lane] == 0;
        outbox->lane_bytes[lane] = (uint16_t)((bytes + 7) / 8 * 8);
        outbox->positions = true;
    }
}

void outbox_add_positions(struct outbox *outbox)
{
    outbox->positions |= outbox_is_on(outbox);
}

/* A part of chunk 0. */
static void push(struct outbox *outbox, uint64_t offset, uint64_t bytes)
{
    copier_ask(&outbox->copier, VGPU_COPY_PUSH, 0, offset, bytes);
}

static unsigned send_ranges(struct outbox *outbox, unsigned room)
{
    for (; outbox->count > 0 && room > 0; room--) {
        const struct outbox_range *range = &outbox->ranges[outbox->first];

        copier_ask(&outbox->copier, VGPU_COPY_PUSH, range->chunk, range->offset, range->bytes);
        outbox->first = (outbox->first + 1) % OUTBOX_RANGES_MAX;
        outbox->count--;
    }
    return room;
}

static unsigned send_answers(struct outbox *outbox, unsigned room)
{
    for (unsigned lane = 0; outbox->lanes > 0 && room > 0; lane++) {
        if (outbox->lane_bytes[lane] > 0) {
            push(outbox, outbox->layout.mailboxes + (uint64_t)lane * VGPU_MAILBOX_BYTES,
                 outbox->lane_bytes[lane]);
            outbox->lane_bytes[lane] = 0;
            outbox->lanes--;
            room--;
        }
    }
    return room;
}

static void send_notices(struct outbox *outbox, uint64_t tail)
{
    uint64_t at = outbox->notices_pushed % outbox->notice_bytes;
    uint64_t bytes = tail - outbox->notices_pushed;
    uint64_t first = bytes < outbox->notice_bytes - at ? bytes : outbox->notice_bytes - at;

    if (first > 0) {
        push(outbox, outbox->layout.notices + at, first);
    }
    if (bytes > first) {
        push(outbox, outbox->layout.notices, bytes - first);
    }
    outbox->notices_pushed = tail;
    push(outbox, offsetof(VGPUControl, notice_tail), 16); /* and notices_lost */
}

static bool may_tell(struct outbox *outbox, unsigned room)
{
    return outbox->count == 0 && outbox->lanes == 0 && outbox->positions &&
           room >= POSITION_REQUESTS && copier_is_done(&outbox->copier, outbox->told);
}

void outbox_send(struct outbox *outbox, uint64_t notice_tail, uint64_t retired)
{
    unsigned room;

    if (!outbox_is_on(outbox)) {
        return;
    }
    room = send_ranges(outbox, copier_room(&outbox->copier));
    if (outbox->count == 0) {
        room = send_answers(outbox, room);
    }
    if (may_tell(outbox, room)) {
        VGPU_STORE_RELEASE(&outbox->control->notice_tail, notice_tail);
        VGPU_STORE_RELEASE(&outbox->control->retired, retired);
        send_notices(outbox, notice_tail);
        push(outbox, offsetof(VGPUControl, command_head), 16); /* and retired */
        copier_ask(&outbox->copier, VGPU_COPY_INTERRUPT, 0, 0, 0);
        outbox->positions = false;
        outbox->told = outbox->copier.tail;
    }
    copier_kick(&outbox->copier);
}

bool outbox_names(const struct outbox *outbox, uint32_t chunk)
{
    for (unsigned i = 0; i < outbox->count; i++) {
        if (outbox->ranges[(outbox->first + i) % OUTBOX_RANGES_MAX].chunk == chunk) {
            return true;
        }
    }
    return false;
}

bool outbox_can_send(struct outbox *outbox)
{
    return outbox_is_on(outbox) && outbox->positions &&
           copier_room(&outbox->copier) >= POSITION_REQUESTS &&
           (outbox->count > 0 || outbox->lanes > 0 ||
            copier_is_done(&outbox->copier, outbox->told));
}
