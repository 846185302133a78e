/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/histogram.h"

#include <string.h>

/*
 * Values below STEPS have a bucket each.  Beyond, the bits below the highest
 * STEP_BITS + 1 are dropped: `shift` counts them, and numbers the octave.
 */
static uint32_t bucket_of(uint64_t value)
{
    uint32_t shift;

    if (value >> HISTOGRAM_MAX_BITS) {
        return HISTOGRAM_BUCKETS - 1;
    }
    if (value < HISTOGRAM_STEPS) {
        return (uint32_t)value;
    }
    shift = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return shift * HISTOGRAM_STEPS + (uint32_t)(value >> shift);
}

/* The middle of a bucket. */
static uint64_t value_of(uint32_t bucket)
{
    uint32_t shift;
    uint64_t low;

    if (bucket < 2 * HISTOGRAM_STEPS) {
        return bucket;
    }
    shift = bucket / HISTOGRAM_STEPS - 1;
    low = (uint64_t)(bucket - shift * HISTOGRAM_STEPS) << shift;
    return low + (1ull << shift) / 2;
}

void histogram_reset(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
    if (histogram->count++ == 0 || value_ns < histogram->min_ns) {
        histogram->min_ns = value_ns;
    }
    histogram->sum_ns += value_ns;
    histogram->max_ns = value_ns > histogram->max_ns ? value_ns : histogram->max_ns;
    histogram->buckets[bucket_of(value_ns)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    if (into->count == 0 || (from->count > 0 && from->min_ns < into->min_ns)) {
        into->min_ns = from->min_ns;
    }
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        into->buckets[i] += from->buckets[i];
    }
}

uint64_t histogram_quantile_ns(const struct histogram *histogram, double fraction)
{
    double wanted = fraction * (double)histogram->count;
    uint64_t seen = 0, value_ns;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && histogram->count; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            value_ns = value_of(i);
            value_ns = value_ns < histogram->min_ns ? histogram->min_ns : value_ns;
            return value_ns > histogram->max_ns ? histogram->max_ns : value_ns;
        }
    }
    return histogram->max_ns;
}

double histogram_mean_ns(const struct histogram *histogram)
{
    return histogram->count ? (double)histogram->sum_ns / (double)histogram->count : 0;
}
