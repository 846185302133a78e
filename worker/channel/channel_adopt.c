/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A mediator takes the channels over from the one before it. */
#include "worker/channel/channel_internal.h"

/* Chunks that are being removed are gone before anybody asks. */
static bool has_chunk(const struct channel *channel, uint32_t number)
{
    return channel_chunk_bytes(channel, number) > 0;
}

static unsigned count_chunks(const struct channel *channel)
{
    unsigned count = 0;

    for (uint32_t i = 1; i < VGPU_CHUNKS_MAX; i++) {
        count += has_chunk(channel, i);
    }
    return count;
}

/* What the old mediator was told, and what it promised, counts no more. */
static void forget_mediator(struct channel *channel, uint64_t number)
{
    channel->handle = 0;
    channel->held = number;
    channel->wants = true; /* nobody could give it a turn */
}

unsigned channel_set_count_lives(const struct channel_set *set)
{
    unsigned count = 0;

    for (unsigned i = 0; i < set->count; i++) {
        count += !set->all[i]->closing && mapping_life(set->all[i]->mapping) >= 0;
    }
    return count;
}

void channel_set_adopt(struct channel_set *set, uint64_t *next, const struct channel_heirs *heirs)
{
    for (unsigned i = set->count; i-- > 0;) {
        struct channel *channel = set->all[i];

        forget_mediator(channel, ++*next);
        if (channel->closing) {
            continue;
        }
        if (mapping_life(channel->mapping) < 0) {
            channel_end_and_tell(set, channel, VGPU_CLOSED_SESSION);
            continue;
        }
        heirs->held(heirs->opaque, channel->held, channel->mapping, count_chunks(channel));
        for (uint32_t chunk = 1; chunk < VGPU_CHUNKS_MAX; chunk++) {
            if (has_chunk(channel, chunk)) {
                heirs->chunk(heirs->opaque, channel->held, chunk,
                             channel_chunk_bytes(channel, chunk));
            }
        }
    }
}

bool channel_set_claim(struct channel_set *set, uint64_t number, uint64_t handle)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct channel *channel = set->all[i];

        if (channel->handle != 0 || channel->held != number || channel->closing) {
            continue;
        }
        channel->handle = handle;
        channel->wants = false;
        if (handle == 0) {
            channel_end_and_tell(set, channel, VGPU_CLOSED_LIMITS);
        }
        return true;
    }
    return false;
}
