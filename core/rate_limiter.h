/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A rate limiter has the limits of one VM: a token bucket for its rate, and a cap on its
 * waiting jobs.
 *
 * Integer arithmetic: the bucket counts in units of 1e-9 token, so a rate of
 * r tokens a second adds exactly r units a nanosecond, with nothing to round
 * and nothing to drift.  A bucket never holds more than `burst` tokens, and
 * elapsed time is cut to what fills it before it is multiplied, so no product
 * exceeds VM_LIMIT_BURST_MAX * 1e9 + VM_LIMIT_RATE_MAX < 2^63.
 */
#ifndef CORE_RATE_LIMITER_H
#define CORE_RATE_LIMITER_H

#include <stdint.h>

enum rl_verdict {
    RL_ALLOW,
    RL_DENY_RATE,
    RL_DENY_QUEUE,
};

struct rate_limiter {
    uint32_t rate_hz;     /* 0 = no limit */
    uint32_t burst;       /* tokens that the bucket holds */
    uint32_t queue_depth; /* never 0 once it is configured */
    uint64_t units;       /* in the bucket */
    uint64_t updated_ns;
};

/* Configure it next.  Its first rate limit finds the bucket full. */
void rl_init_vm(struct rate_limiter *limiter, uint64_t now_ns);

/*
 * Sets the limits, as common/vm_limits.h reads them: 0 is no limit.  Live: the bucket keeps the
 * tokens it has, cut to the new burst; it gains none by being reconfigured, nor by having been
 * unlimited for a while.  (A VM that never had a limit starts with a full one.)
 */
void rl_configure_vm(struct rate_limiter *limiter, uint32_t rate_hz, uint32_t burst,
                     uint32_t queue_depth, uint64_t now_ns);

/*
 * May this VM, with `queued` jobs waiting, submit another?  A job is allowed
 * only when both limits allow it, and only an allowed job takes a token.
 */
enum rl_verdict rl_check(struct rate_limiter *limiter, uint32_t queued, uint64_t now_ns);

/* Takes up to `max` tokens at once, for operations that don't wait here: how many it had. */
uint32_t rl_take(struct rate_limiter *limiter, uint32_t max, uint64_t now_ns);
/* When it will have a token, now or later.  There is a limit. */
uint64_t rl_token_ns(const struct rate_limiter *limiter, uint64_t now_ns);

#endif /* CORE_RATE_LIMITER_H */
