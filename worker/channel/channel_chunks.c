/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel's chunks beyond chunk 0: memory for data, of whole pages.  The mediator has made them,
 * or they are a guest's and come in parts.
 */
#include "worker/channel/channel_internal.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"

static bool is_there(const struct channel *channel, uint32_t number)
{
    return channel->chunks && number > 0 && number < VGPU_CHUNKS_MAX &&
           channel->chunks[number].map.memory && stretch_is_complete(&channel->chunks[number].map);
}

uint64_t channel_chunk_bytes(const struct channel *channel, uint32_t number)
{
    return is_there(channel, number) && !channel->chunks[number].removing
               ? channel->chunks[number].map.bytes
               : 0;
}

/* The place of a chunk that is not there yet; NULL: it has none. */
static struct chunk *place_of(struct channel *channel, uint32_t number)
{
    if (!channel || channel->closing || number == 0 || number >= VGPU_CHUNKS_MAX ||
        is_there(channel, number)) {
        return NULL;
    }
    if (!channel->chunks) {
        channel->chunks = calloc(VGPU_CHUNKS_MAX, sizeof(*channel->chunks));
    }
    return channel->chunks ? &channel->chunks[number] : NULL;
}

static enum vgpu_error say_why(enum vgpu_error error, uint64_t bytes)
{
    if (error != VGPU_ERR_NONE) {
        log_error("a chunk of %llu bytes cannot be mapped", (unsigned long long)bytes);
    }
    return error;
}

enum vgpu_error channel_set_add_chunk(struct channel_set *set, uint64_t handle, uint32_t number,
                                      uint64_t bytes, int fd)
{
    struct channel *channel = channel_find(set, handle);
    struct chunk *chunk = place_of(channel, number);
    enum vgpu_error error;

    if (!chunk || chunk->map.bytes) {
        close(fd);
        return VGPU_ERR_INVALID_REQUEST;
    }
    error = stretch_map(&chunk->map, bytes, fd);
    if (error == VGPU_ERR_NONE) {
        bulk_add_chunk(channel->bulk, number, chunk->map.memory, 0, bytes);
    }
    return say_why(error, bytes);
}

enum vgpu_error channel_set_add_part(struct channel_set *set, uint64_t handle,
                                     const VGPUChunkAdd *add, const VGPUPiece *pieces, int fd)
{
    struct channel *channel = channel_find(set, handle);
    struct chunk *chunk = place_of(channel, add->chunk);
    enum vgpu_error error;

    if (!chunk || channel->mapping->what.transport != VGPU_TRANSPORT_SHARED) {
        close(fd);
        return VGPU_ERR_INVALID_REQUEST;
    }
    chunk->map.bytes = chunk->map.bytes ? chunk->map.bytes : add->bytes;
    if (chunk->status == VGPU_ERR_NONE) {
        chunk->status = stretch_add(&chunk->map, add, pieces, fd, NULL);
    } else {
        close(fd);
    }
    error = chunk->status;
    if (add->flags & VGPU_CHUNK_MORE) {
        return error;
    }
    if (error == VGPU_ERR_NONE && !stretch_is_complete(&chunk->map)) {
        error = VGPU_ERR_INVALID_REQUEST;
    }
    if (error == VGPU_ERR_NONE) {
        bulk_add_chunk(channel->bulk, add->chunk, chunk->map.memory, 0, chunk->map.bytes);
    } else {
        stretch_free(&chunk->map);
        *chunk = (struct chunk){.status = VGPU_ERR_NONE};
    }
    return say_why(error, add->bytes);
}

/* Has nobody anything to do with one that is being removed?  COPIED: nor the engine. */
static bool is_gone(struct channel *channel, uint32_t number)
{
    struct chunk *chunk = &channel->chunks[number];

    if (!chunk->removing || channel->retired < chunk->gone_at ||
        outbox_names(&channel->outbox, number)) {
        return false;
    }
    if (!chunk->asked) {
        chunk->asked = true;
        chunk->asked_tail = channel->outbox.copier.tail;
    }
    return !outbox_is_on(&channel->outbox) ||
           copier_is_done(&channel->outbox.copier, chunk->asked_tail);
}

bool channel_has_gone_chunk(struct channel *channel)
{
    for (uint32_t i = 1; channel->removing > 0 && i < VGPU_CHUNKS_MAX; i++) {
        if (is_gone(channel, i)) {
            return true;
        }
    }
    return false;
}

void channel_remove_chunks(struct channel_set *set, struct channel *channel)
{
    for (uint32_t i = 1; channel->removing > 0 && i < VGPU_CHUNKS_MAX; i++) {
        struct chunk *chunk = &channel->chunks[i];

        if (is_gone(channel, i)) {
            bulk_remove_chunk(channel->bulk, i);
            stretch_free(&chunk->map);
            *chunk = (struct chunk){.status = VGPU_ERR_NONE};
            channel->removing--;
            set->uses.tell(set->uses.opaque, VGPU_WORKER_CHUNK_REMOVED, channel->handle, i);
        }
    }
}

void channel_set_remove_chunk(struct channel_set *set, uint64_t handle, uint32_t number)
{
    struct channel *channel = channel_find(set, handle);
    struct chunk *chunk;

    if (!channel || channel->closing || channel_chunk_bytes(channel, number) == 0) {
        return;
    }
    chunk = &channel->chunks[number];
    chunk->removing = true;
    chunk->gone_at = channel->retired + channel->in_flight + (channel->begun ? 1 : 0);
    channel->removing++;
    bulk_hide_chunk(channel->bulk, number);
    channel_remove_chunks(set, channel);
}

void channel_free_chunks(struct channel *channel)
{
    for (uint32_t i = 0; channel->chunks && i < VGPU_CHUNKS_MAX; i++) {
        stretch_free(&channel->chunks[i].map);
    }
    free(channel->chunks);
}
