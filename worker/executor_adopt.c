/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Another mediator: what of the channels goes on, and how that one learns of it. */
#include "worker/executor_internal.h"

#include <string.h>

static void tell_held(void *opaque, uint64_t number, const struct channel_mapping *mapping,
                      unsigned chunks)
{
    struct executor *e = opaque;
    vgpu_worker_held held = {.what = mapping->what, .chunk_count = chunks};

    if (executor_send_fd(e, VGPU_WORKER_HELD, number, &held, sizeof(held), mapping_life(mapping)) <
        0) {
        e->broken = true;
    }
}

static void tell_chunk(void *opaque, uint64_t number, uint32_t chunk, uint64_t bytes)
{
    struct executor *e = opaque;
    vgpu_worker_chunk body = {.chunk = chunk, .bytes = bytes};

    if (executor_send(e, VGPU_WORKER_HELD_CHUNK, number, &body, sizeof(body), NULL, 0) < 0) {
        e->broken = true;
    }
}

/* Of devices, whose connections end with their mediator. */
static void drop_partials(struct executor *e)
{
    while (!LIST_EMPTY(&e->partials)) {
        struct channel_mapping *partial = LIST_FIRST(&e->partials);

        LIST_REMOVE(partial, link);
        mapping_free(partial);
    }
}

int executor_adopted(struct executor *e, uint64_t number)
{
    const struct channel_heirs heirs = {.opaque = e, .held = tell_held, .chunk = tell_chunk};
    vgpu_worker_ready ready = e->ready;
    int ret;

    drop_partials(e);
    e->limits = (vgpu_worker_limits){0}; /* this one says its own */
    ready.held = e->channels ? channel_set_count_lives(e->channels) : 0;
    ready.held += e->has_drivers ? driver_set_count_lives(&e->drivers) : 0;
    ret = executor_send(e, VGPU_WORKER_READY, number, &ready, sizeof(ready), NULL, 0);
    if (ret == 0 && e->channels) {
        channel_set_adopt(e->channels, &e->held, &heirs);
    }
    if (ret == 0 && e->has_drivers) {
        driver_set_limit(&e->drivers, e->limits.kernel_ns);
        driver_set_adopt(&e->drivers, &e->held, &heirs);
    }
    return ret;
}

enum take executor_take_claim(struct executor *e, size_t length, uint64_t number)
{
    vgpu_worker_claim claim;

    if (length != sizeof(vgpu_worker_header) + sizeof(claim)) {
        return executor_malformed("CLAIM has the wrong length", length);
    }
    memcpy(&claim, e->frame + sizeof(vgpu_worker_header), sizeof(claim));
    if ((e->channels && channel_set_claim(e->channels, number, claim.channel)) ||
        (e->has_drivers && driver_set_claim(&e->drivers, number, claim.channel)) ||
        claim.channel == 0) {
        return TAKE_JOB;
    }
    executor_tell(e, VGPU_WORKER_CHANNEL_CLOSED, claim.channel, VGPU_CLOSED_WORKER_LOST);
    return TAKE_JOB;
}
