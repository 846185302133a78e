/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/rate_limiter.h"

#include <string.h>

#include "common/ns.h"
#include "common/vm_limits.h"

#define UNITS_PER_TOKEN NS_PER_S

static uint64_t capacity(const struct rate_limiter *limiter)
{
    return limiter->burst * UNITS_PER_TOKEN;
}

static uint64_t level_at(const struct rate_limiter *limiter, uint64_t now_ns)
{
    uint64_t room = capacity(limiter) - limiter->units;
    uint64_t elapsed_ns = now_ns > limiter->updated_ns ? now_ns - limiter->updated_ns : 0;

    if (elapsed_ns >= room / limiter->rate_hz + 1) {
        return capacity(limiter);
    }
    return limiter->units + elapsed_ns * limiter->rate_hz <= capacity(limiter)
               ? limiter->units + elapsed_ns * limiter->rate_hz
               : capacity(limiter);
}

void rl_init_vm(struct rate_limiter *limiter, uint64_t now_ns)
{
    memset(limiter, 0, sizeof(*limiter));
    limiter->units = UINT64_MAX; /* full, however large the first bucket is */
    limiter->updated_ns = now_ns;
}

void rl_configure_vm(struct rate_limiter *limiter, uint32_t rate_hz, uint32_t burst,
                     uint32_t queue_depth, uint64_t now_ns)
{
    /* While there is no limit the bucket keeps what it had. */
    uint64_t units = limiter->rate_hz != 0 ? level_at(limiter, now_ns) : limiter->units;

    limiter->rate_hz = vm_limit_rate(rate_hz);
    limiter->burst = vm_limit_burst(limiter->rate_hz, burst);
    limiter->queue_depth = vm_limit_queue_depth(queue_depth);
    if (limiter->rate_hz != 0 && units > capacity(limiter)) {
        units = capacity(limiter);
    }
    limiter->units = units;
    if (now_ns > limiter->updated_ns) {
        limiter->updated_ns = now_ns;
    }
}

static void refill(struct rate_limiter *limiter, uint64_t now_ns)
{
    limiter->units = level_at(limiter, now_ns);
    if (now_ns > limiter->updated_ns) {
        limiter->updated_ns = now_ns;
    }
}

uint32_t rl_take(struct rate_limiter *limiter, uint32_t max, uint64_t now_ns)
{
    uint64_t tokens;

    refill(limiter, now_ns);
    tokens = limiter->units / UNITS_PER_TOKEN;
    tokens = tokens < max ? tokens : max;
    limiter->units -= tokens * UNITS_PER_TOKEN;
    return (uint32_t)tokens;
}

uint64_t rl_token_ns(const struct rate_limiter *limiter, uint64_t now_ns)
{
    uint64_t units = level_at(limiter, now_ns);

    if (units >= UNITS_PER_TOKEN) {
        return now_ns;
    }
    return now_ns + (UNITS_PER_TOKEN - units + limiter->rate_hz - 1) / limiter->rate_hz;
}

enum rl_verdict rl_check(struct rate_limiter *limiter, uint32_t queued, uint64_t now_ns)
{
    if (queued >= limiter->queue_depth) {
        return RL_DENY_QUEUE;
    }
    if (limiter->rate_hz == 0) {
        return RL_ALLOW;
    }
    refill(limiter, now_ns);
    if (limiter->units < UNITS_PER_TOKEN) {
        return RL_DENY_RATE;
    }
    limiter->units -= UNITS_PER_TOKEN;
    return RL_ALLOW;
}
