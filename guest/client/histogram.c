/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "histogram.h"

#define SUB_COUNT (1u << HISTOGRAM_SUB_BITS)

/* Below SUB_COUNT a bucket per value; above, SUB_COUNT buckets per power of two. */
static uint32_t bucket_of(uint64_t value)
{
    uint32_t shift;

    if (value < SUB_COUNT) {
        return (uint32_t)value;
    }
    shift = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift) - SUB_COUNT;
}

/* The middle of a bucket. */
static uint64_t value_of(uint32_t bucket)
{
    uint32_t shift;

    if (bucket < SUB_COUNT) {
        return bucket;
    }
    shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    return ((uint64_t)(SUB_COUNT + bucket % SUB_COUNT) << shift) + ((1ull << shift) >> 1);
}

void histogram_reset(struct histogram *h)
{
    memset(h, 0, sizeof(*h));
}

void histogram_add(struct histogram *h, uint64_t value_ns)
{
    if (h->count == 0 || value_ns < h->min_ns) {
        h->min_ns = value_ns;
    }
    if (value_ns > h->max_ns) {
        h->max_ns = value_ns;
    }
    h->count++;
    h->total_ns += value_ns;
    h->buckets[bucket_of(value_ns)]++;
}

uint64_t histogram_quantile_ns(const struct histogram *h, double fraction)
{
    uint64_t rank = (uint64_t)(fraction * (double)h->count + 0.5), seen = 0, value;
    uint32_t i;

    if (h->count == 0) {
        return 0;
    }
    if (rank < 1) {
        rank = 1;
    }
    for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= rank) {
            break;
        }
    }
    value = i < HISTOGRAM_BUCKETS ? value_of(i) : h->max_ns;
    return value < h->min_ns ? h->min_ns : value > h->max_ns ? h->max_ns : value;
}
