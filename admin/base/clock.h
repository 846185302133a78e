/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monotonic clock, for waiting and for limits of time. */
#ifndef ADMIN_BASE_CLOCK_H
#define ADMIN_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline double clock_now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#endif /* ADMIN_BASE_CLOCK_H */
