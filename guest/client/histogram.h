/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Latencies in bounded memory: buckets that grow with the value, each less
 * than 1 % wide, so that a run of any length gives its percentiles.
 */
#ifndef VGPU_CLIENT_HISTOGRAM_H
#define VGPU_CLIENT_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7u
#define HISTOGRAM_BUCKETS ((64u - HISTOGRAM_SUB_BITS + 1u) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t total_ns;
    uint64_t min_ns;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_reset(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value_ns);

/* The value that `fraction` (0 to 1) of all values don't exceed; 0 when empty. */
uint64_t histogram_quantile_ns(const struct histogram *h, double fraction);

#endif
