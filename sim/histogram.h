/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts of durations in 256 steps per factor of two: percentiles within 0.4 %. */
#ifndef SIM_HISTOGRAM_H
#define SIM_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS_LOG2 8
#define HISTOGRAM_BUCKETS ((65 - HISTOGRAM_STEPS_LOG2) << HISTOGRAM_STEPS_LOG2)

struct histogram {
    uint64_t count;
    uint64_t max_ns;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value_ns);
/* Upper edge of the bucket where this part (0..1) of the values is reached; 0 if empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double part);

#endif /* SIM_HISTOGRAM_H */
