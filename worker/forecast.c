/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/forecast.h"
#include "common/ns.h"

#include <stdbool.h>

/* A job of an unknown kind is watched without a pause for so long. */
#define TINY_NS (50 * NS_PER_US)

#define SLICE_MIN_NS (20 * NS_PER_US)
#define SLICE_MAX_NS NS_PER_MS
/* Slices are this part of the time waited: finer where no end is expected. */
#define SLICE_SHARE 16u
#define SLICE_SHARE_EXPECTING 4u

/* The ends of equal jobs spread by about so much, and by this part of their time. */
#define SPREAD_NS (20 * NS_PER_US)
#define SPREAD_SHARE 256u

#define OVERSLEEP_MAX_NS (200 * NS_PER_US)
#define OVERSLEEP_FADE 16u

static uint64_t spread_ns(uint64_t took_ns)
{
    return SPREAD_NS + took_ns / SPREAD_SHARE;
}

void forecast_learn(struct forecast *forecast, uint32_t opcode, uint64_t took_ns)
{
    unsigned kind = opcode % FORECAST_KINDS;

    forecast->took_ns[kind][forecast->next[kind]] = took_ns ? took_ns : 1;
    forecast->next[kind] = (forecast->next[kind] + 1) % FORECAST_MEMORY;
}

/* Follows the worst at once and forgets it slowly: waking up late is what costs. */
void forecast_slept(struct forecast *forecast, uint64_t asked_ns, uint64_t slept_ns)
{
    uint64_t over_ns = slept_ns > asked_ns ? slept_ns - asked_ns : 0;

    if (over_ns > OVERSLEEP_MAX_NS) {
        over_ns = OVERSLEEP_MAX_NS;
    }
    if (over_ns >= forecast->oversleep_ns) {
        forecast->oversleep_ns = over_ns;
    } else {
        forecast->oversleep_ns -= (forecast->oversleep_ns - over_ns) / OVERSLEEP_FADE;
    }
}

/*
 * The next end to expect: of the remembered times the shortest that is not
 * over yet.  0: none.  *tiny: the job may be over in a moment.
 */
static uint64_t next_end_ns(const struct forecast *forecast, uint32_t opcode, uint64_t waited_ns,
                            bool *tiny)
{
    const uint64_t *took_ns = forecast->took_ns[opcode % FORECAST_KINDS];
    uint64_t end_ns = 0;

    *tiny = false;
    for (unsigned i = 0; i < FORECAST_MEMORY; i++) {
        *tiny = *tiny || took_ns[i] <= 2 * TINY_NS; /* or unknown */
        if (took_ns[i] && took_ns[i] + spread_ns(took_ns[i]) > waited_ns &&
            (!end_ns || took_ns[i] < end_ns)) {
            end_ns = took_ns[i];
        }
    }
    return end_ns;
}

uint64_t forecast_pause_ns(const struct forecast *forecast, uint32_t opcode, uint64_t waited_ns)
{
    bool tiny;
    uint64_t end_ns = next_end_ns(forecast, opcode, waited_ns, &tiny);
    uint64_t slice_ns = waited_ns / (end_ns ? SLICE_SHARE_EXPECTING : SLICE_SHARE);
    uint64_t early_ns;

    if (tiny && waited_ns < TINY_NS) {
        return 0;
    }
    slice_ns = slice_ns < SLICE_MIN_NS ? SLICE_MIN_NS : slice_ns;
    slice_ns = slice_ns > SLICE_MAX_NS ? SLICE_MAX_NS : slice_ns;
    if (!end_ns) {
        return slice_ns;
    }
    if (!tiny && slice_ns < TINY_NS) {
        slice_ns = TINY_NS;
    }
    early_ns = spread_ns(end_ns) + forecast->oversleep_ns;
    if (waited_ns + early_ns >= end_ns) {
        return 0;
    }
    end_ns -= early_ns + waited_ns;
    return end_ns < slice_ns ? end_ns : slice_ns;
}
