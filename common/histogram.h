/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A histogram counts durations in log-linear buckets.  An octave has HISTOGRAM_STEPS of them,
 * so a quantile is off by at most 1/256 of its value, whatever its size.  The minimum, the
 * maximum and the mean are exact.  Its size is fixed, and adding takes a few instructions.
 * All zero is an empty one.
 */
#ifndef COMMON_HISTOGRAM_H
#define COMMON_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 7u
#define HISTOGRAM_STEPS (1u << HISTOGRAM_STEP_BITS)
#define HISTOGRAM_MAX_BITS 42u /* 73 minutes in ns; longer ones count as that long */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_MAX_BITS - HISTOGRAM_STEP_BITS + 1u) * HISTOGRAM_STEPS)

struct histogram {
    uint64_t count, sum_ns, min_ns, max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_reset(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t value_ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value that `fraction` (0 to 1) of all values don't exceed; 0 when it is empty. */
uint64_t histogram_quantile_ns(const struct histogram *histogram, double fraction);
double histogram_mean_ns(const struct histogram *histogram);

#endif /* COMMON_HISTOGRAM_H */
