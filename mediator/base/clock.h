/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mediator's clock is CLOCK_MONOTONIC in nanoseconds.  Workers' time stamps use it, too. */
#ifndef MEDIATOR_BASE_CLOCK_H
#define MEDIATOR_BASE_CLOCK_H

#include <stdint.h>
#include <uv.h>

static inline uint64_t mediator_now_ns(void)
{
    return uv_hrtime();
}

#endif /* MEDIATOR_BASE_CLOCK_H */
