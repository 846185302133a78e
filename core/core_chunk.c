/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chunks 1 and up of a channel: memory that the process asks for while it works.
 *
 *   FREE ──ADD, charged──► ADDING ──the worker has mapped it──► OPEN
 *   OPEN ──REMOVE──► REMOVING ──the worker has let go──► FREE
 *
 * Memory of the host counts towards the VM's channel memory from ADD until the worker has let go of
 * it, or of its channel.  A SHARED channel's is the guest's own: it costs nothing here, and comes
 * in several ADDs, each a part with its descriptor, which the worker gets at once.  Each chunk has
 * one ADDED as its answer, each REMOVE one REMOVED, unless the channel ends before.
 */
#include "core/core_internal.h"

#include <stdlib.h>

struct core_chunk {
    enum { CHUNK_FREE, CHUNK_NAMING, CHUNK_ADDING, CHUNK_OPEN, CHUNK_REMOVING } state;
    uint64_t bytes, charged_bytes;
    uint64_t named_bytes; /* NAMING: by the parts so far */
    uint32_t parts;       /* of them */
};

/* An OPEN one, by the number that its session has for it. */
static struct core_channel *open_channel(struct core *core, uint32_t session, uint32_t number)
{
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX; i++) {
        struct core_channel *channel = &core->channels[i];

        if (channel->state == CORE_CHANNEL_OPEN && channel->session == session &&
            core_channel_has_session(core, channel) && channel->open.channel == number) {
            return channel;
        }
    }
    return NULL;
}

static void send(struct core *core, uint32_t session, uint32_t type, void *payload, uint32_t bytes)
{
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = type,
        .vm_id = core->sessions[session].claimed_id,
        .payload_len = bytes,
    };

    core->effects.send(core->effects.opaque, session, &header, payload);
}

static void refuse(struct core *core, uint32_t session, const VGPUChunkAdd *add,
                   enum vgpu_error status)
{
    VGPUChunkAdded added = {.channel = add->channel, .chunk = add->chunk, .status = status};

    send(core, session, VGPU_MSG_CHUNK_ADDED, &added, sizeof(added));
}

static void charge(struct core *core, struct core_channel *channel, struct core_chunk *chunk,
                   uint64_t bytes)
{
    chunk->bytes = bytes;
    chunk->charged_bytes = core_channel_charge(channel->transport, bytes);
    channel->charged_bytes += chunk->charged_bytes;
    core->vms[channel->vm].channel_bytes += chunk->charged_bytes;
    core->channel_bytes += chunk->charged_bytes;
}

static void release(struct core *core, struct core_channel *channel, struct core_chunk *chunk)
{
    channel->chunks_adding -= chunk->state == CHUNK_ADDING;
    channel->charged_bytes -= chunk->charged_bytes;
    core->vms[channel->vm].channel_bytes -= chunk->charged_bytes;
    core->channel_bytes -= chunk->charged_bytes;
    *chunk = (struct core_chunk){.state = CHUNK_FREE};
}

static bool has_places(struct core_channel *channel)
{
    if (!channel->chunks) {
        channel->chunks = calloc(VGPU_CHUNKS_MAX, sizeof(*channel->chunks));
    }
    return channel->chunks != NULL;
}

static enum vgpu_error examine(struct core *core, struct core_channel *channel, uint64_t bytes)
{
    if (bytes == 0 || bytes % VGPU_CHANNEL_PAGE != 0 || bytes > VGPU_CHUNK_BYTES_MAX) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (channel->chunks_adding == CORE_CHUNKS_ADDING_MAX) {
        return VGPU_ERR_QUEUE_FULL;
    }
    if (core_channel_charge(channel->transport, bytes) > core_channel_room(core, channel->vm)) {
        return VGPU_ERR_MEMORY_LIMIT;
    }
    return has_places(channel) ? VGPU_ERR_NONE : VGPU_ERR_MEMORY_LIMIT;
}

bool core_chunks_adopt(struct core *core, struct core_channel *channel,
                       const struct core_channel_held *held)
{
    for (uint32_t i = 0; i < held->chunk_count; i++) {
        uint32_t number = held->chunks[i].number;

        if (number == 0 || number >= VGPU_CHUNKS_MAX ||
            examine(core, channel, held->chunks[i].bytes) != VGPU_ERR_NONE ||
            channel->chunks[number].state != CHUNK_FREE) {
            return false;
        }
        charge(core, channel, &channel->chunks[number], held->chunks[i].bytes);
        channel->chunks[number].state = CHUNK_OPEN;
    }
    return true;
}

bool core_chunk_add(struct core *core, uint32_t session, const VGPUChunkAdd *add)
{
    struct core_channel *channel = open_channel(core, session, add->channel);
    struct core_chunk *chunk;
    enum vgpu_error status;

    /* The mediator makes the memory, so there are no pieces. */
    if (add->channel >= VGPU_CHANNELS_MAX || add->chunk == 0 || add->chunk >= VGPU_CHUNKS_MAX ||
        add->flags != 0 || add->piece_count != 0) {
        return false;
    }
    if (!channel) {
        refuse(core, session, add, VGPU_ERR_INVALID_REQUEST);
        return true;
    }
    if (channel->transport == VGPU_TRANSPORT_SHARED ||
        (channel->chunks && channel->chunks[add->chunk].state != CHUNK_FREE)) {
        return false;
    }
    status = examine(core, channel, add->bytes);
    if (status != VGPU_ERR_NONE) {
        refuse(core, session, add, status);
        return true;
    }
    chunk = &channel->chunks[add->chunk];
    charge(core, channel, chunk, add->bytes);
    if (core->effects.chunk_start(core->effects.opaque, core->vms[channel->vm].worker.handle,
                                  channel->handle, add->chunk, add->bytes) < 0) {
        release(core, channel, chunk);
        refuse(core, session, add, VGPU_ERR_MEMORY_LIMIT);
        return true;
    }
    chunk->state = CHUNK_ADDING;
    channel->chunks_adding++;
    return true;
}

bool core_part_is_right(const VGPUChunkAdd *add, const VGPUPiece *pieces, uint64_t chunk_bytes,
                        uint64_t named_bytes, uint64_t *bytes)
{
    uint64_t left = chunk_bytes - named_bytes;

    *bytes = 0;
    if (add->bytes != chunk_bytes || add->piece_count == 0 || add->page_bytes < VGPU_CHANNEL_PAGE ||
        add->page_bytes > VGPU_CHUNK_BYTES_MAX || (add->page_bytes & (add->page_bytes - 1)) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < add->piece_count; i++) {
        if (pieces[i].bytes == 0 || pieces[i].bytes > left - *bytes ||
            pieces[i].bytes % add->page_bytes != 0 || pieces[i].address % add->page_bytes != 0 ||
            pieces[i].address > INT64_MAX - pieces[i].bytes) {
            return false;
        }
        *bytes += pieces[i].bytes;
    }
    return (*bytes == left) == !(add->flags & VGPU_CHUNK_MORE);
}

/* The place of a chunk of which this is a part; NULL: a part of it makes no sense now. */
static struct core_chunk *naming(struct core_channel *channel, const VGPUChunkAdd *add)
{
    struct core_chunk *chunk = &channel->chunks[add->chunk];

    if (chunk->state == CHUNK_FREE && add->bytes <= VGPU_CHUNK_BYTES_MAX) {
        *chunk = (struct core_chunk){.state = CHUNK_NAMING, .bytes = add->bytes};
    }
    return chunk->state == CHUNK_NAMING && chunk->parts < VGPU_FRAME_FDS_MAX ? chunk : NULL;
}

bool core_chunk_part(struct core *core, uint32_t session, const VGPUChunkAdd *add,
                     const VGPUPiece *pieces, int fd)
{
    struct core_channel *channel = open_channel(core, session, add->channel);
    bool last = (add->flags & VGPU_CHUNK_MORE) == 0;
    struct core_chunk *chunk;
    uint64_t bytes;

    if (add->channel >= VGPU_CHANNELS_MAX || add->chunk == 0 || add->chunk >= VGPU_CHUNKS_MAX ||
        (add->flags & ~VGPU_CHUNK_MORE) != 0) {
        return false;
    }
    if (!channel || !has_places(channel)) {
        if (last) {
            refuse(core, session, add, channel ? VGPU_ERR_MEMORY_LIMIT : VGPU_ERR_INVALID_REQUEST);
        }
        return true;
    }
    chunk = naming(channel, add);
    if (channel->transport != VGPU_TRANSPORT_SHARED || !chunk ||
        !core_part_is_right(add, pieces, chunk->bytes, chunk->named_bytes, &bytes) ||
        core->effects.chunk_part(core->effects.opaque, core->vms[channel->vm].worker.handle,
                                 channel->handle, add, pieces, fd) < 0) {
        return false;
    }
    chunk->named_bytes += bytes;
    chunk->parts++;
    if (last) {
        chunk->state = CHUNK_ADDING;
        channel->chunks_adding++;
    }
    return true;
}

bool core_chunk_remove(struct core *core, uint32_t session, const VGPUChunkRemove *remove)
{
    struct core_channel *channel = open_channel(core, session, remove->channel);

    if (remove->channel >= VGPU_CHANNELS_MAX || remove->chunk == 0 ||
        remove->chunk >= VGPU_CHUNKS_MAX) {
        return false;
    }
    if (!channel) {
        return true; /* its CLOSED is on the way, and says the same */
    }
    if (!channel->chunks || channel->chunks[remove->chunk].state != CHUNK_OPEN) {
        return false;
    }
    channel->chunks[remove->chunk].state = CHUNK_REMOVING;
    core->effects.chunk_stop(core->effects.opaque, core->vms[channel->vm].worker.handle,
                             channel->handle, remove->chunk);
    return true;
}

/* What the worker speaks of; NULL: nothing that is waited for. */
static struct core_chunk *waiting(struct core_channel *channel, uint32_t chunk, unsigned state)
{
    bool known = channel && channel->state == CORE_CHANNEL_OPEN && channel->chunks && chunk > 0 &&
                 chunk < VGPU_CHUNKS_MAX && channel->chunks[chunk].state == state;

    return known ? &channel->chunks[chunk] : NULL;
}

void core_chunk_added(struct core *core, uint64_t worker, uint64_t handle, uint32_t number,
                      uint32_t status)
{
    struct core_channel *channel = core_channel_find(core, worker, handle);
    struct core_chunk *chunk = waiting(channel, number, CHUNK_ADDING);
    VGPUChunkAdded added = {.chunk = number, .status = status};
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = VGPU_MSG_CHUNK_ADDED,
        .payload_len = sizeof(added),
    };

    if (!chunk) {
        return;
    }
    added.channel = channel->open.channel;
    added.bytes = chunk->bytes;
    header.vm_id = core->sessions[channel->session].claimed_id;
    if (status != VGPU_ERR_NONE) {
        added.status = status < VGPU_ERR_COUNT ? status : VGPU_ERR_MEMORY_LIMIT;
        added.bytes = 0;
        release(core, channel, chunk);
        core->effects.chunk_free(core->effects.opaque, handle, number);
        send(core, channel->session, VGPU_MSG_CHUNK_ADDED, &added, sizeof(added));
        return;
    }
    channel->chunks_adding--;
    chunk->state = CHUNK_OPEN;
    core->effects.chunk_send(core->effects.opaque, channel->session, handle, number, &header,
                             &added);
}

void core_chunk_removed(struct core *core, uint64_t worker, uint64_t handle, uint32_t number)
{
    struct core_channel *channel = core_channel_find(core, worker, handle);
    struct core_chunk *chunk = waiting(channel, number, CHUNK_REMOVING);
    VGPUChunkRemove removed = {.chunk = number};

    if (!chunk) {
        return;
    }
    removed.channel = channel->open.channel;
    release(core, channel, chunk);
    send(core, channel->session, VGPU_MSG_CHUNK_REMOVED, &removed, sizeof(removed));
}

void core_chunks_forget(struct core_channel *channel)
{
    free(channel->chunks);
    channel->chunks = NULL;
    channel->chunks_adding = 0;
}
