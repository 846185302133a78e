/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vgpu/vgpu_protocol.h"
#include "common/ns.h"
#include "worker/forecast.h"

#define US NS_PER_US
#define MS NS_PER_MS

/*
 * Plays one job that ends after took_ns, with sleeps that last over_ns too
 * long.  Returns how late its end was seen; *looks and *polled_ns tell the price.
 */
static uint64_t play(struct forecast *f, uint32_t opcode, uint64_t took_ns, uint64_t over_ns,
                     unsigned *looks, uint64_t *polled_ns)
{
    const uint64_t look_ns = 500;
    uint64_t now_ns = 0;

    *looks = 0;
    *polled_ns = 0;
    while (now_ns < took_ns) {
        uint64_t pause_ns = forecast_pause_ns(f, opcode, now_ns);

        assert_true(pause_ns <= MS);
        ++*looks;
        if (pause_ns) {
            forecast_slept(f, pause_ns, pause_ns + over_ns);
            now_ns += pause_ns + over_ns;
        } else {
            *polled_ns += look_ns;
            now_ns += look_ns;
        }
    }
    forecast_learn(f, opcode, now_ns);
    return now_ns - took_ns;
}

static void test_unknown_jobs_are_watched_closely(void **state)
{
    struct forecast f = {0};

    assert_int_equal(forecast_pause_ns(&f, VGPU_OP_TEST_SPIN, 0), 0);
    assert_int_equal(forecast_pause_ns(&f, VGPU_OP_TEST_SPIN, 49 * US), 0);
    assert_int_equal(forecast_pause_ns(&f, VGPU_OP_TEST_SPIN, 60 * US), 20 * US);
    assert_int_equal(forecast_pause_ns(&f, VGPU_OP_TEST_SPIN, 3200 * US), 200 * US);
    assert_int_equal(forecast_pause_ns(&f, VGPU_OP_TEST_SPIN, 3600ull * 1000 * MS), MS);
}

/* Equal jobs are seen to end at once after few of them, and hardly cost any CPU time. */
static void test_equal_jobs(void **state)
{
    static const uint64_t lengths_us[] = {5, 60, 100, 300, 1000, 5000, 10000, 100000, 2000000};
    static const uint64_t over_us[] = {0, 5, 60, 150};

    for (unsigned i = 0; i < sizeof(lengths_us) / sizeof(lengths_us[0]); i++) {
        for (unsigned k = 0; k < sizeof(over_us) / sizeof(over_us[0]); k++) {
            struct forecast f = {0};
            uint64_t late_ns = 0, polled_ns = 0;
            unsigned looks = 0;

            for (int job = 0; job < 100; job++) {
                late_ns = play(&f, VGPU_OP_TEST_SPIN, lengths_us[i] * US, over_us[k] * US, &looks,
                               &polled_ns);
            }
            assert_true(late_ns <= US);
            if (lengths_us[i] >= 1000 && over_us[k] <= 60) {
                assert_true(polled_ns * 8 <= lengths_us[i] * US);
            }
        }
    }
}

/* Ends jitter by a few microseconds and a part in a thousand. */
static void test_jitter(void **state)
{
    struct forecast f = {0};
    unsigned looks;
    uint64_t polled_ns, seed = 1;

    for (int job = 0; job < 1000; job++) {
        uint64_t late_ns;

        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        late_ns =
            play(&f, VGPU_OP_TEST_SPIN, MS + (seed >> 33) % (15 * US), 5 * US, &looks, &polled_ns);
        assert_true(job < 20 || late_ns <= US);
    }
}

/* Two lengths in turn: both are expected, and the short one isn't slept through. */
static void test_two_lengths(void **state)
{
    struct forecast f = {0};
    unsigned looks;
    uint64_t polled_ns;

    for (int job = 0; job < 100; job++) {
        uint64_t took_ns = job % 2 ? 10 * MS : MS;
        uint64_t late_ns = play(&f, VGPU_OP_TEST_SPIN, took_ns, 5 * US, &looks, &polled_ns);

        assert_true(job < 20 || late_ns <= US);
    }
}

/* What nothing foretold is late by a quarter of its time and a slice at most, never beyond a ms. */
static void test_surprises_are_bounded(void **state)
{
    for (uint64_t took_ns = US; took_ns < 200 * MS; took_ns = took_ns * 5 / 4 + 1) {
        struct forecast f = {0};
        unsigned looks;
        uint64_t polled_ns, late_ns;

        for (int job = 0; job < 16; job++) {
            forecast_learn(&f, VGPU_OP_TEST_SPIN, 50 * MS);
        }
        late_ns = play(&f, VGPU_OP_TEST_SPIN, took_ns, 0, &looks, &polled_ns);
        assert_true(late_ns <= 50 * US + took_ns / 4);
        assert_true(late_ns <= MS);
    }
}

/* An endless job of a kind that used to be short costs a thousand looks a second. */
static void test_endless(void **state)
{
    struct forecast f = {0};
    unsigned looks;
    uint64_t polled_ns;

    for (int job = 0; job < 8; job++) {
        forecast_learn(&f, VGPU_OP_TEST_HANG, 10 * US);
    }
    play(&f, VGPU_OP_TEST_HANG, 10000 * MS, 0, &looks, &polled_ns);
    assert_true(looks < 10000 + 500);
    assert_true(polled_ns <= 100 * US);
}

static void test_operations_do_not_mix(void **state)
{
    static const uint32_t opcodes[] = {VGPU_OP_CUDA_KERNEL,    VGPU_OP_VECTOR_ADD_I32,
                                       VGPU_OP_VECTOR_ADD_F32, VGPU_OP_TEST_SPIN,
                                       VGPU_OP_TEST_HANG,      VGPU_OP_TEST_CRASH};
    struct forecast f = {0};

    for (int job = 0; job < 8; job++) {
        forecast_learn(&f, VGPU_OP_TEST_SPIN, 50 * MS);
    }
    for (unsigned i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        assert_int_equal(forecast_pause_ns(&f, opcodes[i], 0),
                         opcodes[i] == VGPU_OP_TEST_SPIN ? 50 * US : 0);
    }
}

static void test_oversleep(void **state)
{
    struct forecast f = {0};

    forecast_slept(&f, 20 * US, 10 * US);
    assert_int_equal(f.oversleep_ns, 0);
    forecast_slept(&f, 20 * US, 90 * US);
    assert_int_equal(f.oversleep_ns, 70 * US);
    forecast_slept(&f, 20 * US, 90 * MS);
    assert_int_equal(f.oversleep_ns, 200 * US);
    for (int i = 0; i < 200; i++) {
        forecast_slept(&f, 20 * US, 25 * US);
    }
    assert_in_range(f.oversleep_ns, 5 * US, 6 * US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_jobs_are_watched_closely),
        cmocka_unit_test(test_equal_jobs),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_two_lengths),
        cmocka_unit_test(test_surprises_are_bounded),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_operations_do_not_mix),
        cmocka_unit_test(test_oversleep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
