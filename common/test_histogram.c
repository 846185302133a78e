/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/histogram.h"

enum { VALUES = 20000 };

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Every quantile lies within 1/256 of the one of the sorted values. */
static void check_quantiles(uint64_t *values, size_t count)
{
    static struct histogram histogram;
    static const double fractions[] = {0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1};

    histogram_reset(&histogram);
    for (size_t i = 0; i < count; i++) {
        histogram_add(&histogram, values[i]);
    }
    qsort(values, count, sizeof(*values), compare);
    assert_int_equal(histogram.count, count);
    assert_int_equal(histogram.min_ns, values[0]);
    assert_int_equal(histogram.max_ns, values[count - 1]);
    for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
        double rank = ceil(fractions[i] * (double)count);
        uint64_t exact = values[rank > 1 ? (size_t)rank - 1 : 0];
        uint64_t told = histogram_quantile_ns(&histogram, fractions[i]);

        assert_true(told <= exact + exact / 256 + 1 && exact <= told + exact / 256 + 1);
    }
}

static void test_quantiles(void **state)
{
    static uint64_t values[VALUES];
    uint64_t random = 88172645463325252ull;

    for (unsigned bits = 1; bits <= HISTOGRAM_MAX_BITS; bits++) {
        for (size_t i = 0; i < VALUES; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            values[i] = random >> (64 - bits);
        }
        check_quantiles(values, VALUES);
    }
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = i; /* every small value, and every bucket's edge */
    }
    check_quantiles(values, VALUES);
}

static void test_extremes(void **state)
{
    static struct histogram histogram, other;

    histogram_reset(&histogram);
    assert_int_equal(histogram_quantile_ns(&histogram, 0.5), 0);
    histogram_add(&histogram, 0);
    assert_int_equal(histogram_quantile_ns(&histogram, 0.5), 0);
    histogram_add(&histogram, UINT64_MAX >> 1);
    assert_int_equal(histogram.max_ns, UINT64_MAX >> 1);
    assert_true(histogram_quantile_ns(&histogram, 1) >= 1ull << (HISTOGRAM_MAX_BITS - 1));

    histogram_reset(&histogram);
    histogram_add(&other, 1000);
    histogram_merge(&histogram, &other); /* into an empty one */
    assert_int_equal(histogram.min_ns, 1000);
    histogram_reset(&other);
    histogram_merge(&histogram, &other); /* of an empty one */
    assert_int_equal(histogram.min_ns, 1000);
    histogram_add(&other, 3000);
    histogram_merge(&histogram, &other);
    assert_int_equal(histogram.count, 2);
    assert_int_equal(histogram.min_ns, 1000);
    assert_int_equal(histogram.max_ns, 3000);
    assert_true(histogram_mean_ns(&histogram) == 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_extremes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
