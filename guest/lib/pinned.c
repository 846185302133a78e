/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of this process that the worker has too: a chunk of the channel's own.  What is in it is
 * copied by the GPU, and by nobody else.
 *
 * A channel that ends takes its chunks away from the worker, not from the program: then the memory
 * is like any other, until it is freed.
 */
#include <string.h>
#include <sys/mman.h>

#include "channel.h"

int vgpu_pinned_new(struct vgpu *v, uint64_t bytes, void **memory)
{
    struct channel_link *link = vgpu_channel_of(v);
    const uint64_t page = VGPU_CHANNEL_PAGE;
    struct channel_chunk chunk = {.bytes = (bytes + page - 1) / page * page, .lives = 1};
    uint32_t number = 1, code;

    *memory = NULL;
    if (!link) {
        return VGPU_FAILED;
    }
    while (number < VGPU_CHUNKS_MAX && link->chunks[number].memory) {
        number++;
    }
    if (bytes == 0 || bytes > VGPU_CHUNK_BYTES_MAX || number == VGPU_CHUNKS_MAX) {
        return vgpu_result_of(vgpu_set_error(
            v, VGPU_ERR_ARGUMENT, "pinned memory has 1 to %llu bytes, and a channel at most %u",
            (unsigned long long)VGPU_CHUNK_BYTES_MAX, VGPU_CHUNKS_MAX - 1));
    }
    code = link->dead;
    if (code) {
        return vgpu_result_of(vgpu_channel_dead(v, code, "see the first error"));
    }
    chunk.number = number;
    code = link->way->add_chunk(v, &chunk);
    if (code == VGPU_ERR_NONE) {
        link->chunks[number] = chunk;
        *memory = chunk.memory;
    }
    return vgpu_result_of(code);
}

/* The one that has all of these bytes; 0: none. */
static uint32_t find(const struct channel_link *link, const void *memory, uint64_t bytes)
{
    uintptr_t at = (uintptr_t)memory;

    for (uint32_t i = 1; i < VGPU_CHUNKS_MAX; i++) {
        const struct channel_chunk *chunk = &link->chunks[i];
        uintptr_t from = (uintptr_t)chunk->memory;

        if (chunk->memory && at >= from && at - from <= chunk->bytes &&
            bytes <= chunk->bytes - (at - from)) {
            return i;
        }
    }
    return 0;
}

int vgpu_pinned_free(struct vgpu *v, void *memory)
{
    struct channel_link *link = vgpu_channel_of(v);
    uint32_t number, code = VGPU_ERR_NONE;
    struct channel_chunk *chunk;

    if (!link) {
        return VGPU_FAILED;
    }
    number = find(link, memory, 1);
    chunk = &link->chunks[number];
    if (number == 0 || chunk->memory != memory) {
        return vgpu_result_of(
            vgpu_set_error(v, VGPU_ERR_ARGUMENT, "this is no memory of vgpu_pinned_new()"));
    }
    if (chunk->lives && !link->dead) {
        code = vgpu_channel_wait_over(v, link->posted, CHANNEL_FOREVER);
        code = code == VGPU_ERR_NONE ? link->way->remove_chunk(v, chunk->number) : code;
    }
    munmap(chunk->memory, chunk->bytes);
    memset(chunk, 0, sizeof(*chunk));
    return vgpu_result_of(code);
}

uint32_t vgpu_pinned_find(const struct channel_link *link, const void *memory, uint64_t bytes,
                          uint64_t *offset)
{
    uint32_t number = find(link, memory, bytes);

    if (number == 0 || !link->chunks[number].lives) {
        return 0;
    }
    *offset = (uint64_t)((const uint8_t *)memory - link->chunks[number].memory);
    return link->chunks[number].number;
}

void vgpu_pinned_lost(struct channel_link *link)
{
    for (uint32_t i = 1; i < VGPU_CHUNKS_MAX; i++) {
        link->chunks[i].lives = 0;
    }
}

void vgpu_pinned_unmap(struct channel_link *link)
{
    for (uint32_t i = 1; i < VGPU_CHUNKS_MAX; i++) {
        if (link->chunks[i].memory) {
            munmap(link->chunks[i].memory, link->chunks[i].bytes);
        }
    }
}
