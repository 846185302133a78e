/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns: when a channel wants the GPU, what it may start in its turn, and when that is over
 * (docs/channels.md, "Turns").
 */
#include "worker/channel/channel_internal.h"

#include "common/clock.h"

/*
 * A worker that is given its turn needs about so long until its first kernel is there, because it
 * sleeps deeply.  On an H200 with kernels of 1 ms and 100 us, hand-overs of 100 us kept the GPU
 * busy for 96.9 and 95.9 % of the time, of 200 us for 97.6 and 97.3 %.
 */
#define HAND_OVER_NS (200 * NS_PER_US)

void channel_set_turn_page(struct channel_set *set, const VGPUTurnPage *page)
{
    set->turn_page = page;
}

/* For how long what is in flight, and needs turns, will keep the GPU. */
static uint64_t flying_ns(const struct channel_set *set)
{
    uint64_t jobs_ns = set->jobs_ns;

    if (jobs_ns > 0) {
        uint64_t gone_ns = clock_now_ns() - set->job_since_ns;

        /* At least a little: it has not ended. */
        jobs_ns = gone_ns < jobs_ns ? jobs_ns - gone_ns : 1;
    }
    return jobs_ns + set->uses.engine->busy_ns(set->uses.engine->opaque);
}

/* Do others wait, so that a turn should have ended when this time has passed from now on? */
static bool has_to_yield(const struct channel_set *set, uint64_t in_ns)
{
    uint64_t yield_ns = set->turn_page ? VGPU_LOAD_RELAXED(&set->turn_page->yield_ns) : 0;

    return yield_ns != 0 && clock_now_ns() + in_ns >= yield_ns;
}

bool channel_has_room_in_turn(const struct channel_set *set, struct channel *channel)
{
    if (set->uses.units_fly && !channel->stopping) {
        uint64_t flying = flying_ns(set);

        channel->stopping =
            clock_now_ns() - channel->turn_start_ns + flying >= channel->turn_budget_ns ||
            has_to_yield(set, flying);
    }
    return !channel->stopping;
}

void channel_want(struct channel_set *set, struct channel *channel)
{
    if (!channel->wants) {
        channel->wants = true; /* one that nobody knows wants already: it is never told as 0 */
        set->uses.tell(set->uses.opaque, VGPU_WORKER_WANT, channel->handle, 0);
    }
}

/* In its second half, while there seems to be work for more. */
static void want_the_next(struct channel_set *set, struct channel *channel,
                          const struct channel_turn *turn, uint64_t used_ns)
{
    bool more = channel->has_record ? channel->needs_turn
                                    : vgpu_ring_look(&channel->commands) == VGPU_RING_OK;

    if (more && used_ns >= turn->budget_ns / 2) {
        channel_want(set, channel);
    }
}

/* A piece of a turn whose units are over when they have been run. */
static bool turn_of_processor(struct channel_set *set, uint64_t handle,
                              const struct channel_turn *turn, uint64_t *used_ns)
{
    struct channel *channel = channel_find(set, handle);
    uint64_t left_ns = turn->budget_ns > *used_ns ? turn->budget_ns - *used_ns : 0;
    uint64_t start_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
    bool did = channel_serve(set, channel, true, left_ns < SERVE_NS ? left_ns : SERVE_NS);

    *used_ns += clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns;
    channel = channel_find(set, handle); /* channel_serve() may have ended it */
    if (channel) {
        want_the_next(set, channel, turn, *used_ns);
    }
    return !did || *used_ns >= turn->budget_ns || has_to_yield(set, 0);
}

/* The same of units that are started: the time that passes is charged, until the last is over. */
static bool turn_of_gpu(struct channel_set *set, uint64_t handle, const struct channel_turn *turn,
                        uint64_t *used_ns)
{
    struct channel *channel = channel_find(set, handle);
    uint64_t start_ns = channel->turn_start_ns, flying;
    bool did;

    channel->stopping |= channel->closing;
    did = channel_serve(set, channel, !channel->stopping, SERVE_NS);
    *used_ns = clock_now_ns() - start_ns;
    channel = channel_find(set, handle); /* channel_serve() may have ended it */
    if (!channel) {
        return true;
    }
    flying = flying_ns(set);
    want_the_next(set, channel, turn, *used_ns + flying);
    if (channel->stopping && !channel->closing) {
        *used_ns += flying;
        return turn->goes_on || flying <= HAND_OVER_NS;
    }
    return !did && flying == 0;
}

bool channel_set_turn(struct channel_set *set, uint64_t handle, const struct channel_turn *turn,
                      uint64_t *used_ns)
{
    struct channel *channel = channel_find(set, handle);
    bool over;

    if (!channel) {
        return true;
    }
    if (!channel->in_turn) {
        channel->wants = false;
        channel->in_turn = true;
        channel->stopping = false;
        channel->turn_start_ns = clock_now_ns();
        channel->turn_budget_ns = turn->budget_ns;
        VGPU_STORE_RELAXED(&channel->control->turn, 1u);
    }
    over = set->uses.units_fly ? turn_of_gpu(set, handle, turn, used_ns)
                               : turn_of_processor(set, handle, turn, used_ns);
    channel = channel_find(set, handle);
    if (channel && over) {
        channel->in_turn = false;
        VGPU_STORE_RELAXED(&channel->control->turn, 0u);
    }
    return over || !channel;
}
