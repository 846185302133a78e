/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A channel's chunks beyond chunk 0: memory for data, of whole pages. */
#include "worker/channel/channel_internal.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

/* Maps a chunk, which must have this size.  Closes its descriptor. */
static uint8_t *map_chunk(int fd, uint64_t bytes)
{
    struct stat about;
    void *memory = MAP_FAILED;

    if (fstat(fd, &about) == 0 && (uint64_t)about.st_size == bytes) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

enum vgpu_error channel_set_add_chunk(struct channel_set *set, uint64_t handle, uint32_t number,
                                      uint64_t bytes, int fd)
{
    struct channel *channel = channel_find(set, handle);
    uint8_t *memory = NULL;

    if (!channel || channel->closing || number == 0 || number >= VGPU_CHUNKS_MAX ||
        (channel->chunks && channel->chunks[number].memory)) {
        close(fd);
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (!channel->chunks) {
        channel->chunks = calloc(VGPU_CHUNKS_MAX, sizeof(*channel->chunks));
    }
    if (channel->chunks) {
        memory = map_chunk(fd, bytes);
    } else {
        close(fd);
    }
    if (!memory) {
        log_error("a chunk of %llu bytes cannot be mapped", (unsigned long long)bytes);
        return VGPU_ERR_MEMORY_LIMIT;
    }
    channel->chunks[number] = (struct chunk){.memory = memory, .bytes = bytes};
    bulk_add_chunk(channel->bulk, number, memory, 0, bytes);
    return VGPU_ERR_NONE;
}

void channel_remove_chunks(struct channel_set *set, struct channel *channel)
{
    for (uint32_t i = 0; channel->removing > 0 && i < VGPU_CHUNKS_MAX; i++) {
        struct chunk *chunk = &channel->chunks[i];

        if (chunk->removing && channel->retired >= chunk->gone_at) {
            bulk_remove_chunk(channel->bulk, i);
            munmap(chunk->memory, chunk->bytes);
            *chunk = (struct chunk){.memory = NULL};
            channel->removing--;
            set->uses.tell(set->uses.opaque, VGPU_WORKER_CHUNK_REMOVED, channel->handle, i);
        }
    }
}

void channel_set_remove_chunk(struct channel_set *set, uint64_t handle, uint32_t number)
{
    struct channel *channel = channel_find(set, handle);
    struct chunk *chunk;

    if (!channel || channel->closing || !channel->chunks || number == 0 ||
        number >= VGPU_CHUNKS_MAX || !channel->chunks[number].memory ||
        channel->chunks[number].removing) {
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
        if (channel->chunks[i].memory) {
            munmap(channel->chunks[i].memory, channel->chunks[i].bytes);
        }
    }
    free(channel->chunks);
}
