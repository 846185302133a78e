/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a driver's setup to the frames that ask for a channel. */
#include "qemu/osdep.h"
#include <glib-unix.h>
#include "qemu/bswap.h"
#include "qemu/main-loop.h"
#include "vgpu-channel-internal.h"

VGPUGeometry vgpu_channel_geometry(const VGPUChannelOpen *open)
{
    return (VGPUGeometry){
        .lanes = le32_to_cpu(open->geometry.lanes),
        .event_slots = le32_to_cpu(open->geometry.event_slots),
        .notice_bytes = le32_to_cpu(open->geometry.notice_bytes),
        .command_bytes = le32_to_cpu(open->geometry.command_bytes),
        .arena_bytes = le64_to_cpu(open->geometry.arena_bytes),
    };
}

#define OPEN_FRAMES_BYTES                                                                          \
    (VGPU_CHUNK_FRAMES_BYTES + (uint32_t)sizeof(VGPUSocketHeader) +                                \
     (uint32_t)sizeof(VGPUChannelOpen))

/* Sends OPEN with a new lease, and the chunk where it is shared.  enum vgpu_error. */
static enum vgpu_error send_open(VgpuChannel *channel, VgpuChunkFrames *frames, IOHandler *on_lease)
{
    VgpuChannels *set = channel->set;
    int ends[2], fds[VGPU_FRAME_FDS_MAX];

    if (!g_unix_open_pipe(ends, FD_CLOEXEC, NULL)) {
        return VGPU_ERR_QUEUE_FULL;
    }
    if (!vgpu_chunk_frames_duplicate(frames, fds)) {
        close(ends[0]);
        close(ends[1]);
        return VGPU_ERR_QUEUE_FULL;
    }
    channel->state = VGPU_REGISTER_OPENING;
    channel->result = VGPU_RESULT_PENDING;
    channel->reason = VGPU_CLOSED_NONE;
    channel->opened = false;
    channel->last_word = false;
    channel->resume = VGPU_RESUME_NONE;
    channel->lease = ends[0];
    channel->waited = false;
    g_unix_set_fd_nonblocking(channel->lease, true, NULL);
    qemu_set_fd_handler(channel->lease, on_lease, NULL, channel);
    vgpu_link_channel(set->uses.link, VGPU_MSG_CHANNEL_OPEN, &channel->open, sizeof(channel->open),
                      &ends[1], 1);
    vgpu_chunk_frames_send(frames, set->uses.link, channel->number, 0, channel->chunk0.bytes, fds);
    return VGPU_ERR_NONE;
}

/* Takes chunk 0 over and asks the mediator. */
static enum vgpu_error open_with(VgpuChannel *channel, const VGPUChannelSetup *setup,
                                 IOHandler *on_lease)
{
    VgpuChannels *set = channel->set;
    g_autofree VgpuChunkFrames *frames = g_new0(VgpuChunkFrames, 1);

    if (!vgpu_chunk_is_ram(set->uses.dev, &channel->chunk0)) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (set->uses.shared_possible &&
        vgpu_chunk_frames_make(frames, set->uses.dev, &channel->chunk0)) {
        channel->transport = VGPU_TRANSPORT_SHARED;
    } else if (set->uses.copied_possible) {
        frames->count = 0;
        channel->transport = VGPU_TRANSPORT_COPIED;
    } else {
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    if (!vgpu_channel_events_possible(channel->transport)) {
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    channel->open = setup->open;
    channel->open.features =
        cpu_to_le32((le32_to_cpu(setup->open.features) & ~VGPU_CHANNEL_LIFE) |
                    (vgpu_link_resumes(set->uses.link) ? VGPU_CHANNEL_LIFE : 0));
    channel->open.channel = cpu_to_le32(channel->number);
    channel->open.transports = cpu_to_le32(1u << channel->transport);
    return send_open(channel, frames, on_lease);
}

/* Is it chunk 0 as its geometry says?  Then the pieces are taken. */
static bool take_chunk0(VgpuChannel *channel, const VGPUChannelSetup *setup)
{
    const VGPUGeometry geometry = vgpu_channel_geometry(&setup->open);
    struct vgpu_channel_layout layout;

    return vgpu_channel_layout(&geometry, &layout) && layout.bytes == le64_to_cpu(setup->bytes) &&
           vgpu_chunk_take(&channel->chunk0, channel->set->pieces, layout.bytes,
                           le32_to_cpu(setup->piece_count), setup->pieces);
}

/* What can be said without looking at the setup. */
static enum vgpu_error may_open(const VgpuChannel *channel)
{
    VgpuChannels *set = channel->set;

    if (channel->state != VGPU_REGISTER_FREE) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (!vgpu_link_is_up(set->uses.link)) {
        return VGPU_ERR_MEDIATOR_UNAVAILABLE;
    }
    if (!vgpu_link_has_channels(set->uses.link)) {
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    return set->resetting || !vgpu_link_has_room(set->uses.link, OPEN_FRAMES_BYTES)
               ? VGPU_ERR_QUEUE_FULL
               : VGPU_ERR_NONE;
}

enum vgpu_error vgpu_channel_open(VgpuChannel *channel, IOHandler *on_lease)
{
    VgpuChannels *set = channel->set;
    g_autofree VGPUChannelSetup *setup = g_new(VGPUChannelSetup, 1);
    enum vgpu_error error = may_open(channel);

    if (error != VGPU_ERR_NONE) {
        return error;
    }
    if (!vgpu_dma_read(set->uses.dev, set->setup, setup, sizeof(*setup)) ||
        !take_chunk0(channel, setup)) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    error = open_with(channel, setup, on_lease);
    if (error != VGPU_ERR_NONE) {
        vgpu_chunk_release(&channel->chunk0, set->pieces);
    }
    return error;
}
