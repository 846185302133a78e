/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/metrics/metrics.h"
#include "common/ns.h"
#include "core/metrics/metrics_label.h"
#include "core/metrics/quantile.h"
#include "core/test_random.h"

#define US NS_PER_US
#define MS NS_PER_MS
#define SECOND NS_PER_S
#define VMS 8u

static struct metrics *begin(void)
{
    struct metrics *metrics = metrics_new(VMS);

    assert_non_null(metrics);
    metrics_vm_add(metrics, 0, "zero", 100);
    metrics_vm_add(metrics, 1, "one", 101);
    return metrics;
}

/* A job that waited, travelled and ran for these times, ending at end_ns. */
static void job(struct metrics *metrics, uint32_t vm, uint64_t queue_ns, uint64_t transport_ns,
                uint64_t gpu_ns, uint64_t end_ns)
{
    const struct metrics_job record = {
        .accepted_ns = end_ns - queue_ns - transport_ns - gpu_ns,
        .turn_ns = end_ns - transport_ns - gpu_ns,
        .ended_ns = end_ns,
        .gpu_ns = gpu_ns,
        .charged_ns = gpu_ns,
    };

    metrics_record_job(metrics, vm, 0, &record);
}

static void test_parts_add_up(void **state)
{
    static const uint64_t expected[METRICS_PART_COUNT] = {
        [METRICS_TOTAL] = 8 * MS,
        [METRICS_QUEUE] = 5 * MS,
        [METRICS_TRANSPORT] = 1 * MS,
        [METRICS_GPU] = 2 * MS,
    };
    struct metrics *metrics = begin();
    struct metrics_quantiles quantiles;

    job(metrics, 0, 5 * MS, 1 * MS, 2 * MS, 100 * SECOND);
    for (unsigned part = 0; part < METRICS_PART_COUNT; part++) {
        assert_int_equal(metrics_histogram_of(metrics, 0, part)->sum_ns, expected[part]);
        assert_int_equal(metrics_histogram_of(metrics, METRICS_NO_VM, part)->sum_ns,
                         expected[part]);
        metrics_quantiles_of(metrics, 0, part, &quantiles);
        assert_int_equal(quantiles.samples, 1);
        assert_int_equal(quantiles.p50_ns, expected[part]);
        assert_int_equal(quantiles.p99_ns, expected[part]);
        assert_int_equal(quantiles.max_ns, expected[part]);
        metrics_quantiles_of(metrics, 1, part, &quantiles);
        assert_int_equal(quantiles.samples, 0);
    }
    assert_int_equal(metrics_count(metrics, 0, METRICS_JOBS), 1);
    assert_int_equal(metrics_count(metrics, 0, METRICS_GPU_TIME_NS), 2 * MS);
    assert_int_equal(metrics_count(metrics, 1, METRICS_JOBS), 0);
    metrics_free(metrics);
}

/* Two processes' clocks and a worker's word: no time is negative, the parts fit the whole. */
static void test_inconsistent_times(void **state)
{
    static const struct metrics_job jobs[] = {
        {.accepted_ns = 100, .turn_ns = 50, .ended_ns = 90, .gpu_ns = 7},
        {.accepted_ns = 100, .turn_ns = 5000, .ended_ns = 1100, .gpu_ns = 7},
        {.accepted_ns = 100, .turn_ns = 200, .ended_ns = 1100, .gpu_ns = UINT64_MAX},
        {.accepted_ns = 0, .turn_ns = 0, .ended_ns = UINT64_MAX, .gpu_ns = 1},
    };
    struct metrics *metrics = begin();

    for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
        uint64_t total_ns, sum_ns;

        metrics_vm_remove(metrics, 0);
        metrics_vm_add(metrics, 0, "zero", 100);
        metrics_record_job(metrics, 0, 0, &jobs[i]);
        total_ns = metrics_histogram_of(metrics, 0, METRICS_TOTAL)->sum_ns;
        sum_ns = metrics_histogram_of(metrics, 0, METRICS_QUEUE)->sum_ns +
                 metrics_histogram_of(metrics, 0, METRICS_TRANSPORT)->sum_ns +
                 metrics_histogram_of(metrics, 0, METRICS_GPU)->sum_ns;
        assert_int_equal(total_ns, sum_ns);
        assert_int_equal(total_ns, jobs[i].ended_ns > jobs[i].accepted_ns
                                       ? jobs[i].ended_ns - jobs[i].accepted_ns
                                       : 0);
    }
    metrics_free(metrics);
}

static void test_buckets(void **state)
{
    struct metrics *metrics = begin();
    const struct metrics_histogram *histogram;

    for (uint32_t i = 0; i < METRICS_BUCKETS; i++) {
        /* the bound itself belongs to its bucket, one more does not */
        job(metrics, 0, 0, 0, metrics_bucket_ns[i], 1000 * SECOND);
        job(metrics, 0, 0, 0, metrics_bucket_ns[i] + 1, 1000 * SECOND);
        job(metrics, 0, 0, 0, metrics_bucket_ns[i] - 1, 1000 * SECOND);
    }
    histogram = metrics_histogram_of(metrics, 0, METRICS_GPU);
    assert_int_equal(histogram->count, 3 * METRICS_BUCKETS);
    assert_int_equal(histogram->buckets[0], 2);
    for (uint32_t i = 1; i < METRICS_BUCKETS; i++) {
        assert_int_equal(histogram->buckets[i], 3);
    }
    assert_int_equal(histogram->buckets[METRICS_BUCKETS], 1);
    histogram = metrics_histogram_of(metrics, 0, METRICS_QUEUE);
    assert_int_equal(histogram->buckets[0], 3 * METRICS_BUCKETS);
    metrics_free(metrics);
}

/* The bucket that was found fast is the one that a search finds, for any time. */
static void test_buckets_of_random_times(void **state)
{
    struct metrics *metrics = begin();
    uint64_t expected[METRICS_BUCKETS + 1] = {0};
    const struct metrics_histogram *histogram;

    for (int i = 0; i < 100000; i++) {
        uint64_t time_ns = next_random() >> (24 + next_random() % 40);
        uint32_t bucket = 0;

        while (bucket < METRICS_BUCKETS && time_ns > metrics_bucket_ns[bucket]) {
            bucket++;
        }
        expected[bucket]++;
        job(metrics, 0, 0, 0, time_ns, 1ull << 62);
    }
    histogram = metrics_histogram_of(metrics, 0, METRICS_TOTAL);
    assert_memory_equal(histogram->buckets, expected, sizeof(expected));
    metrics_free(metrics);
}

/* ---- quantiles against sorting, on hard distributions ---- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

enum distribution {
    CONSTANT,
    TWO_VALUES, /* 99 % fast, 1 % a thousand times slower: p99 sits on the edge */
    ASCENDING,
    DESCENDING,
    HEAVY_TAIL, /* 10 us to minutes, evenly in the logarithm */
    RANDOM,
    SPIKES, /* alternating */
    DISTRIBUTION_COUNT
};

static uint64_t draw(enum distribution distribution, uint32_t i)
{
    switch (distribution) {
    case CONSTANT: return 123 * US;
    case TWO_VALUES: return i % 100 == 17 ? 50 * MS : 50 * US;
    case ASCENDING: return i * 700;
    case DESCENDING: return (100000 - i) * 700ull;
    case HEAVY_TAIL: return 10000ull << (next_random() % 23);
    case RANDOM: return next_random() % (400 * SECOND);
    case SPIKES: return i % 2 ? 0 : 60 * SECOND;
    default: return 0;
    }
}

/* As the samples are kept. */
static uint64_t rounded(uint64_t time_ns)
{
    return (time_ns + METRICS_SAMPLE_NS / 2) / METRICS_SAMPLE_NS * METRICS_SAMPLE_NS;
}

static void check_quantiles(struct metrics *metrics, uint64_t *values, uint32_t count)
{
    struct metrics_quantiles quantiles;

    qsort(values, count, sizeof(*values), compare);
    metrics_quantiles_of(metrics, 0, METRICS_QUEUE, &quantiles);
    assert_int_equal(quantiles.samples, count);
    assert_int_equal(quantiles.p50_ns, values[(count * 50 + 99) / 100 - 1]);
    assert_int_equal(quantiles.p95_ns, values[(count * 95 + 99) / 100 - 1]);
    assert_int_equal(quantiles.p99_ns, values[(count * 99 + 99) / 100 - 1]);
    assert_int_equal(quantiles.max_ns, values[count - 1]);
}

static void test_quantiles_are_exact(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 99, 100, 101, 4095, 4096, 4097, 10000};
    uint64_t *values = malloc(10000 * sizeof(*values));

    assert_non_null(values);
    for (int distribution = 0; distribution < DISTRIBUTION_COUNT; distribution++) {
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            struct metrics *metrics = begin();
            uint32_t count = counts[c];
            uint32_t kept = count < METRICS_WINDOW ? count : METRICS_WINDOW;

            for (uint32_t i = 0; i < count; i++) {
                uint64_t time_ns = draw((enum distribution)distribution, i);

                values[i] = rounded(time_ns);
                job(metrics, 0, time_ns, 0, 0, 1000 * SECOND);
            }
            /* only the latest METRICS_WINDOW matter */
            check_quantiles(metrics, values + (count - kept), kept);
            metrics_free(metrics);
        }
    }
    free(values);
}

static void test_times_saturate(void **state)
{
    struct metrics *metrics = begin();
    struct metrics_quantiles quantiles;

    job(metrics, 0, 300 * SECOND, 300 * SECOND, 300 * SECOND, 10000 * SECOND);
    metrics_quantiles_of(metrics, 0, METRICS_TOTAL, &quantiles);
    assert_int_equal(quantiles.max_ns, (uint64_t)UINT32_MAX * METRICS_SAMPLE_NS);
    assert_int_equal(metrics_histogram_of(metrics, 0, METRICS_TOTAL)->sum_ns, 900 * SECOND);
    metrics_free(metrics);
}

static void test_sort(void **state)
{
    uint32_t values[1000], scratch[1000];

    for (int round = 0; round < 100; round++) {
        uint32_t count = (uint32_t)(next_random() % 1000);
        uint64_t sum = 0, sorted_sum = 0;

        for (uint32_t i = 0; i < count; i++) {
            values[i] = (uint32_t)(next_random() >> (round % 40));
            sum += values[i];
        }
        quantile_sort(values, scratch, count);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(i == 0 || values[i - 1] <= values[i]);
            sorted_sum += values[i];
        }
        assert_int_equal(sum, sorted_sum);
    }
}

/* ---- counters, slots ---- */

static void test_counters(void **state)
{
    struct metrics *metrics = begin();

    metrics_record_error(metrics, 0, VGPU_ERR_TIMEOUT);
    metrics_record_error(metrics, 1, VGPU_ERR_TIMEOUT);
    metrics_record_rejection(metrics, 0, VGPU_ERR_QUEUE_FULL);
    metrics_record_rejection(metrics, METRICS_NO_VM, VGPU_ERR_VM_NOT_REGISTERED);
    metrics_record_context_switch(metrics, 1, 3);
    metrics_record_gpu_reset(metrics, 3);
    metrics_record_gpu_reset(metrics, METRICS_GPUS_MAX); /* none such: ignored */
    metrics_record_count(metrics, 5, METRICS_FAULTS, 2); /* an empty slot */
    assert_int_equal(metrics_errors(metrics, 0, VGPU_ERR_TIMEOUT), 1);
    assert_int_equal(metrics_errors(metrics, METRICS_NO_VM, VGPU_ERR_TIMEOUT), 2);
    assert_int_equal(metrics_rejections(metrics, 0, VGPU_ERR_QUEUE_FULL), 1);
    assert_int_equal(metrics_rejections(metrics, 0, VGPU_ERR_VM_NOT_REGISTERED), 0);
    assert_int_equal(metrics_rejections(metrics, METRICS_NO_VM, VGPU_ERR_VM_NOT_REGISTERED), 1);
    assert_int_equal(metrics_count(metrics, 1, METRICS_CONTEXT_SWITCHES), 1);
    assert_int_equal(metrics_gpu_context_switches(metrics, 3), 1);
    assert_int_equal(metrics_gpu_resets(metrics, 3), 1);
    assert_int_equal(metrics_count(metrics, 5, METRICS_FAULTS), 0);
    assert_int_equal(metrics_count(metrics, METRICS_NO_VM, METRICS_FAULTS), 2);
    metrics_free(metrics);
}

/* A slot's next VM inherits nothing; the totals keep what was. */
static void test_slot_reuse(void **state)
{
    struct metrics *metrics = begin();
    uint64_t serial = metrics_vm_serial(metrics, 0);

    job(metrics, 0, MS, MS, MS, 100 * SECOND);
    metrics_vm_rename(metrics, 0, "renamed", 100);
    assert_string_equal(metrics_vm_label(metrics, 0), "renamed");
    assert_int_equal(metrics_count(metrics, 0, METRICS_JOBS), 1);
    assert_int_not_equal(metrics_vm_serial(metrics, 0), serial);
    serial = metrics_vm_serial(metrics, 0);

    metrics_vm_remove(metrics, 0);
    metrics_vm_remove(metrics, 0); /* again: nothing happens */
    assert_null(metrics_vm_label(metrics, 0));
    assert_int_equal(metrics_vm_serial(metrics, 0), 0);
    assert_int_equal(metrics_count(metrics, 0, METRICS_JOBS), 0);
    assert_int_equal(metrics_histogram_of(metrics, 0, METRICS_TOTAL)->count, 0);
    job(metrics, 0, MS, MS, MS, 100 * SECOND); /* its last answer comes late */

    metrics_vm_add(metrics, 0, "next", 102);
    assert_true(metrics_vm_serial(metrics, 0) > serial);
    assert_int_equal(metrics_count(metrics, 0, METRICS_JOBS), 0);
    assert_int_equal(metrics_count(metrics, METRICS_NO_VM, METRICS_JOBS), 2);
    metrics_free(metrics);
}

/* ---- labels ---- */

static void test_labels_are_unique(void **state)
{
    struct metrics *metrics = metrics_new(VMS);

    metrics_vm_add(metrics, 0, "web", 1);
    metrics_vm_add(metrics, 1, "web (vm 3)", 2);
    metrics_vm_add(metrics, 2, "web", 3);
    metrics_vm_add(metrics, 3, "", 4);
    metrics_vm_add(metrics, 4, "vm 5", 6);
    metrics_vm_add(metrics, 5, "", 5);
    for (uint32_t a = 0; a < 6; a++) {
        for (uint32_t b = 0; b < a; b++) {
            assert_string_not_equal(metrics_vm_label(metrics, a), metrics_vm_label(metrics, b));
        }
    }
    assert_string_equal(metrics_vm_label(metrics, 0), "web");
    assert_string_equal(metrics_vm_label(metrics, 2), "web (vm 3, 2)");
    assert_string_equal(metrics_vm_label(metrics, 3), "vm 4");
    metrics_vm_remove(metrics, 0);
    metrics_vm_rename(metrics, 2, "web", 3);
    assert_string_equal(metrics_vm_label(metrics, 2), "web");
    metrics_free(metrics);
}

static void test_labels_of_hostile_names(void **state)
{
    static const struct {
        const char *name, *label;
    } cases[] = {
        {"caf\xC3\xA9 \"x\\", "caf\xC3\xA9 \"x\\"}, /* escaped by the exporter */
        {"a\nb\x1b[31m\x7f", "a\xEF\xBF\xBD"
                             "b\xEF\xBF\xBD[31m\xEF\xBF\xBD"},
        {"\xFF\xFE", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},                 /* overlong */
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* surrogate */
        {"\xC2\x9B"
         "2J",
         "\xEF\xBF\xBD\xEF\xBF\xBD"
         "2J"}, /* C1 control */
        {"cut \xE2\x82", "cut \xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF0\x9F\x9A\x80", "\xF0\x9F\x9A\x80"},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    char label[METRICS_LABEL_BYTES];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        metrics_label(label, cases[i].name, 1, 0);
        assert_string_equal(label, cases[i].label);
    }
}

static void test_labels_are_cut_between_characters(void **state)
{
    char name[256], label[METRICS_LABEL_BYTES], other[METRICS_LABEL_BYTES];

    for (size_t length = 0; length < 40; length++) {
        memset(name, 'x', length);
        name[length] = '\0';
        for (int i = 0; i < 60; i++) {
            strcat(name, "\xE2\x82\xAC");
        }
        metrics_label(label, name, UINT32_MAX, UINT32_MAX);
        assert_true(strlen(label) < METRICS_LABEL_BYTES);
        assert_non_null(strstr(label, "\xE2\x82\xAC (vm 4294967295, 4294967295)"));
        metrics_label(other, name, UINT32_MAX, 0);
        assert_int_equal((strlen(other) - length) % 3, 0);
    }
}

/* ---- shares ---- */

static void test_share_received(void **state)
{
    struct metrics *metrics = begin();

    assert_true(metrics_share_received(metrics, 0, 0, 100 * SECOND) == 0);
    for (uint64_t i = 0; i < 100; i++) {
        job(metrics, 0, 0, 0, 8 * MS, 100 * SECOND + i * 10 * MS);
        job(metrics, 1, 0, 0, 2 * MS, 100 * SECOND + i * 10 * MS);
    }
    assert_float_equal(metrics_share_received(metrics, 0, 0, 110 * SECOND), 0.8, 1e-6);
    assert_float_equal(metrics_share_received(metrics, 1, 0, 110 * SECOND), 0.2, 1e-6);
    assert_true(metrics_share_received(metrics, 1, 1, 110 * SECOND) == 0); /* another GPU */
    /* a minute later only what came since counts */
    job(metrics, 1, 0, 0, 2 * MS, 155 * SECOND);
    assert_float_equal(metrics_share_received(metrics, 1, 0, 162 * SECOND), 1, 1e-6);
    assert_float_equal(metrics_share_received(metrics, 0, 0, 162 * SECOND), 0, 1e-6);
    assert_true(metrics_share_received(metrics, 1, 0, 1000 * SECOND) == 0);
    metrics_free(metrics);
}

/* A job of 30 s did not use its GPU time in the second of its end. */
static void test_share_of_long_jobs(void **state)
{
    struct metrics *metrics = begin();

    job(metrics, 0, 0, 0, 30 * SECOND, 100 * SECOND); /* 70 to 100 */
    job(metrics, 1, 0, 0, 10 * SECOND, 100 * SECOND); /* 90 to 100, beside it */
    assert_float_equal(metrics_share_received(metrics, 0, 0, 100 * SECOND), 0.75, 1e-6);
    /* the last minute began at 90: ten seconds of each */
    assert_float_equal(metrics_share_received(metrics, 0, 0, 149 * SECOND + 1), 0.5, 0.03);
    job(metrics, 0, 0, 0, 400 * SECOND, 1000 * SECOND);
    job(metrics, 1, 0, 0, 60 * SECOND, 1000 * SECOND);
    assert_float_equal(metrics_share_received(metrics, 0, 0, 1000 * SECOND), 0.5, 0.02);
    metrics_free(metrics);
}

static void test_share_after_moving(void **state)
{
    struct metrics *metrics = begin();
    const struct metrics_job on_one = {.ended_ns = 101 * SECOND, .gpu_ns = MS, .charged_ns = MS};

    job(metrics, 0, 0, 0, 500 * MS, 100 * SECOND);
    metrics_record_job(metrics, 0, 1, &on_one);
    assert_int_equal(metrics_vm_gpu(metrics, 0), 1);
    assert_float_equal(metrics_share_received(metrics, 0, 1, 101 * SECOND), 1, 1e-6);
    assert_true(metrics_share_received(metrics, 0, 0, 101 * SECOND) == 0);
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_add_up),
        cmocka_unit_test(test_inconsistent_times),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_buckets_of_random_times),
        cmocka_unit_test(test_quantiles_are_exact),
        cmocka_unit_test(test_times_saturate),
        cmocka_unit_test(test_sort),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_slot_reuse),
        cmocka_unit_test(test_labels_are_unique),
        cmocka_unit_test(test_labels_of_hostile_names),
        cmocka_unit_test(test_labels_are_cut_between_characters),
        cmocka_unit_test(test_share_received),
        cmocka_unit_test(test_share_of_long_jobs),
        cmocka_unit_test(test_share_after_moving),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
