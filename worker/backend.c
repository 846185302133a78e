/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/backend.h"

#include <time.h>

void backend_copy_name(char *to, size_t to_bytes, const char *from)
{
    size_t n = 0;

    for (; *from && n + 1 < to_bytes; from++) {
        unsigned char c = (unsigned char)*from;

        to[n++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    to[n] = '\0';
}

static uint64_t read_clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t backend_now_ns(void)
{
    return read_clock_ns(CLOCK_MONOTONIC);
}

uint64_t backend_thread_cpu_ns(void)
{
    return read_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}
