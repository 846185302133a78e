/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module finds exact quantiles of a few thousand numbers. */
#ifndef CORE_METRICS_QUANTILE_H
#define CORE_METRICS_QUANTILE_H

#include <stdint.h>

/* Sorts ascending, in linear time; `scratch` has room for `count` too. */
void quantile_sort(uint32_t *values, uint32_t *scratch, uint32_t count);

/*
 * Nearest rank: the smallest of the sorted values such that at least `percent`
 * of 100 of them are no larger.  count > 0, 0 < percent <= 100.
 */
uint32_t quantile_of_sorted(const uint32_t *sorted, uint32_t count, uint32_t percent);

#endif /* CORE_METRICS_QUANTILE_H */
