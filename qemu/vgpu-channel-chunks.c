/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chunks beyond chunk 0: memory for data that a driver adds to an open channel and removes.
 *
 *   shared:  their pieces go to the worker, as chunk 0's did
 *   copied:  the mediator makes a memfd, and the copy engine has both
 *
 * One command at a time waits for its answer.  Memory is the guest's again after REMOVED, or when
 * the channel is FREE.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "vgpu-channel-internal.h"

static VgpuChunk *chunk_of(VgpuChannel *channel, uint32_t number)
{
    return channel->chunks && number > 0 && number < VGPU_CHUNKS_MAX ? &channel->chunks[number]
                                                                     : NULL;
}

static bool is_there(VgpuChannel *channel, uint32_t number)
{
    VgpuChunk *chunk = chunk_of(channel, number);

    return chunk && chunk->pieces;
}

static bool read_setup(VgpuChannel *channel, VGPUChannelSetup *setup)
{
    VgpuChannels *set = channel->set;

    return channel->state == VGPU_REGISTER_OPEN &&
           vgpu_dma_read(set->uses.dev, set->setup, setup, sizeof(*setup));
}

static void await(VgpuChannel *channel, uint32_t number, bool removing)
{
    channel->awaited_chunk = number;
    channel->removing = removing;
    channel->result = VGPU_RESULT_PENDING;
}

static void forget(VgpuChannel *channel, uint32_t number)
{
    vgpu_chunk_release(&channel->chunks[number], channel->set->pieces);
}

static void answer(VgpuChannel *channel, uint32_t result)
{
    channel->awaited_chunk = 0;
    channel->result = result;
    vgpu_channel_tell_changed(channel);
}

/* ---- Adding -------------------------------------------------------------------- */

/* The host makes the memory. */
static enum vgpu_error send_copied(VgpuChannel *channel, uint32_t number)
{
    VGPUChunkAdd add = {
        .channel = cpu_to_le32(channel->number),
        .chunk = cpu_to_le32(number),
        .bytes = cpu_to_le64(channel->chunks[number].bytes),
    };

    await(channel, number, false);
    vgpu_link_channel(channel->set->uses.link, VGPU_MSG_CHUNK_ADD, &add, sizeof(add), NULL, 0);
    return VGPU_ERR_NONE;
}

static enum vgpu_error send_shared(VgpuChannel *channel, uint32_t number)
{
    VgpuChannels *set = channel->set;
    g_autofree VgpuChunkFrames *frames = g_new0(VgpuChunkFrames, 1);
    int fds[VGPU_FRAME_FDS_MAX];

    /* Of a channel all is shared or nothing. */
    if (!vgpu_chunk_frames_make(frames, set->uses.dev, &channel->chunks[number])) {
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    if (!vgpu_chunk_frames_duplicate(frames, fds)) {
        return VGPU_ERR_QUEUE_FULL;
    }
    await(channel, number, false);
    vgpu_chunk_frames_send(frames, set->uses.link, channel->number, number,
                           channel->chunks[number].bytes, fds);
    return VGPU_ERR_NONE;
}

/* What the setup says is taken over. */
static enum vgpu_error take_chunk(VgpuChannel *channel, const VGPUChannelSetup *setup,
                                  uint32_t number)
{
    VgpuChannels *set = channel->set;

    if (number == 0 || number >= VGPU_CHUNKS_MAX || is_there(channel, number)) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (!channel->chunks) {
        channel->chunks = g_new0(VgpuChunk, VGPU_CHUNKS_MAX);
    }
    if (!vgpu_chunk_take(&channel->chunks[number], set->pieces, le64_to_cpu(setup->bytes),
                         le32_to_cpu(setup->piece_count), setup->pieces)) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (!vgpu_chunk_is_ram(set->uses.dev, &channel->chunks[number])) {
        forget(channel, number);
        return VGPU_ERR_INVALID_REQUEST;
    }
    return VGPU_ERR_NONE;
}

/* Does a mediator know of the channel? */
static bool is_known(const VgpuChannel *channel)
{
    return vgpu_link_is_up(channel->set->uses.link) && channel->resume == VGPU_RESUME_NONE;
}

enum vgpu_error vgpu_channel_chunk_add(VgpuChannel *channel)
{
    g_autofree VGPUChannelSetup *setup = g_new(VGPUChannelSetup, 1);
    enum vgpu_error error;
    uint32_t number;

    if (!is_known(channel)) {
        return VGPU_ERR_MEDIATOR_UNAVAILABLE;
    }
    if (!read_setup(channel, setup)) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (!vgpu_link_has_room(channel->set->uses.link, VGPU_CHUNK_FRAMES_BYTES)) {
        return VGPU_ERR_QUEUE_FULL;
    }
    number = le32_to_cpu(setup->chunk);
    error = take_chunk(channel, setup, number);
    if (error != VGPU_ERR_NONE) {
        return error;
    }
    error = channel->copy ? send_copied(channel, number) : send_shared(channel, number);
    if (error != VGPU_ERR_NONE) {
        forget(channel, number);
    }
    return error;
}

/* Is it the answer that is waited for?  1; 0: it has come too late; -1: it makes no sense. */
static int is_awaited(VgpuChannel *channel, uint32_t number, bool removing)
{
    if (!channel || !channel->opened) {
        return -1;
    }
    if (channel->state != VGPU_REGISTER_OPEN) {
        return 0; /* it crossed the channel's end */
    }
    return channel->awaited_chunk != 0 && channel->awaited_chunk == number &&
                   channel->removing == removing
               ? 1
               : -1;
}

int vgpu_channel_chunk_added(VgpuChannel *channel, const VGPUChunkAdded *added, const int *fds,
                             unsigned fd_count)
{
    uint32_t number = le32_to_cpu(added->chunk), status = le32_to_cpu(added->status);
    int awaited = is_awaited(channel, number, false);

    if (awaited <= 0) {
        return awaited;
    }
    if (status != VGPU_ERR_NONE) {
        forget(channel, number);
        answer(channel, status);
        return 0;
    }
    if (le64_to_cpu(added->bytes) != channel->chunks[number].bytes ||
        fd_count != (channel->copy ? 1 : 0)) {
        return -1;
    }
    if (channel->copy &&
        !vgpu_copy_add_chunk(channel->copy, number, &channel->chunks[number], fds[0])) {
        return -1;
    }
    answer(channel, VGPU_ERR_NONE);
    return fd_count;
}

/* ---- Removing -------------------------------------------------------------------- */

enum vgpu_error vgpu_channel_chunk_remove(VgpuChannel *channel)
{
    g_autofree VGPUChannelSetup *setup = g_new(VGPUChannelSetup, 1);
    VGPUChunkRemove remove = {.channel = cpu_to_le32(channel->number)};

    if (!is_known(channel)) {
        return VGPU_ERR_MEDIATOR_UNAVAILABLE;
    }
    if (!read_setup(channel, setup) || !is_there(channel, le32_to_cpu(setup->chunk))) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    remove.chunk = setup->chunk;
    if (!vgpu_link_has_room(channel->set->uses.link, VGPU_SOCKET_FRAME_MAX)) {
        return VGPU_ERR_QUEUE_FULL;
    }
    await(channel, le32_to_cpu(setup->chunk), true);
    vgpu_link_channel(channel->set->uses.link, VGPU_MSG_CHUNK_REMOVE, &remove, sizeof(remove), NULL,
                      0);
    return VGPU_ERR_NONE;
}

int vgpu_channel_chunk_removed(VgpuChannel *channel, const VGPUChunkRemove *removed)
{
    uint32_t number = le32_to_cpu(removed->chunk);
    int awaited = is_awaited(channel, number, true);

    if (awaited <= 0) {
        return awaited;
    }
    if (channel->copy) {
        vgpu_copy_remove_chunk(channel->copy, number);
    }
    forget(channel, number);
    answer(channel, VGPU_ERR_NONE);
    return 0;
}

void vgpu_channel_chunks_release(VgpuChannel *channel)
{
    uint32_t i;

    for (i = 1; channel->chunks && i < VGPU_CHUNKS_MAX; i++) {
        vgpu_chunk_release(&channel->chunks[i], channel->set->pieces);
    }
    g_free(channel->chunks);
    channel->chunks = NULL;
}
