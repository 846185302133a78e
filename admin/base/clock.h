/* SPDX-License-Identifier: GPL-2.0-or-later */
/* These functions read the monotonic clock, for waiting and for limits of time. */
#ifndef ADMIN_BASE_CLOCK_H
#define ADMIN_BASE_CLOCK_H

#include <stdint.h>

#include "common/clock.h"

static inline int64_t clock_now_ms(void)
{
    return (int64_t)(clock_now_ns() / NS_PER_MS);
}

static inline double clock_now_s(void)
{
    return (double)clock_now_ns() / NS_PER_S;
}

#endif /* ADMIN_BASE_CLOCK_H */
