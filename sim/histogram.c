/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sim/histogram.h"

static uint32_t bucket_of(uint64_t value)
{
    uint32_t shift;

    if (value < 1u << HISTOGRAM_STEPS_LOG2) {
        return (uint32_t)value;
    }
    shift = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_STEPS_LOG2;
    return ((shift + 1) << HISTOGRAM_STEPS_LOG2) +
           (uint32_t)((value >> shift) - (1u << HISTOGRAM_STEPS_LOG2));
}

static uint64_t upper_edge(uint32_t bucket)
{
    uint32_t octave = bucket >> HISTOGRAM_STEPS_LOG2;
    uint64_t step = bucket & ((1u << HISTOGRAM_STEPS_LOG2) - 1);

    if (octave == 0) {
        return step;
    }
    return ((step + (1u << HISTOGRAM_STEPS_LOG2) + 1) << (octave - 1)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
    histogram->buckets[bucket_of(value_ns)]++;
    histogram->count++;
    if (value_ns > histogram->max_ns) {
        histogram->max_ns = value_ns;
    }
}

uint64_t histogram_quantile(const struct histogram *histogram, double part)
{
    double wanted = part * (double)histogram->count;
    uint64_t seen = 0;

    if (histogram->count == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if ((double)seen >= wanted && seen > 0) {
            return upper_edge(i) < histogram->max_ns ? upper_edge(i) : histogram->max_ns;
        }
    }
    return histogram->max_ns;
}
