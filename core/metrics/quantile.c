/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/metrics/quantile.h"

#include <assert.h>
#include <string.h>

#define DIGIT_BITS 11u
#define DIGITS 3u
#define DIGIT_VALUES (1u << DIGIT_BITS)

/* Radix sort by three digits: the time does not depend on the distribution. */
void quantile_sort(uint32_t *values, uint32_t *scratch, uint32_t count)
{
    uint32_t starts[DIGITS][DIGIT_VALUES];
    uint32_t *from = values, *to = scratch, *swap;

    memset(starts, 0, sizeof(starts));
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t digit = 0; digit < DIGITS; digit++) {
            starts[digit][(values[i] >> (digit * DIGIT_BITS)) % DIGIT_VALUES]++;
        }
    }
    for (uint32_t digit = 0; digit < DIGITS; digit++) {
        uint32_t position = 0;

        for (uint32_t value = 0; value < DIGIT_VALUES; value++) {
            uint32_t here = starts[digit][value];

            starts[digit][value] = position;
            position += here;
        }
        for (uint32_t i = 0; i < count; i++) {
            to[starts[digit][(from[i] >> (digit * DIGIT_BITS)) % DIGIT_VALUES]++] = from[i];
        }
        swap = from;
        from = to;
        to = swap;
    }
    if (from != values) {
        memcpy(values, from, count * sizeof(*values));
    }
}

uint32_t quantile_of_sorted(const uint32_t *sorted, uint32_t count, uint32_t percent)
{
    uint64_t rank = ((uint64_t)count * percent + 99) / 100;

    assert(count > 0 && percent > 0 && percent <= 100);
    return sorted[rank - 1];
}
