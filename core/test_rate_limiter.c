/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/vm_limits.h"
#include "common/ns.h"
#include "core/rate_limiter.h"
#include "core/test_random.h"

#define SECOND_NS NS_PER_S
#define YEAR_NS (31557600ull * SECOND_NS)

static void start(struct rate_limiter *limiter, uint32_t rate_hz, uint32_t burst, uint64_t now_ns)
{
    rl_init_vm(limiter, now_ns);
    rl_configure_vm(limiter, rate_hz, burst, 0, now_ns);
}

/* How many are allowed at this very moment. */
static uint32_t drain(struct rate_limiter *limiter, uint64_t now_ns)
{
    uint32_t count = 0;

    while (count <= VM_LIMIT_BURST_MAX && rl_check(limiter, 0, now_ns) == RL_ALLOW) {
        count++;
    }
    return count;
}

/*
 * Asking at awkward intervals, less than a token apart and with room for one
 * more in the bucket, loses nothing and gains nothing: after T ns exactly
 * floor(rate * T) + burst.
 */
static void test_exact_counts(void **state)
{
    static const struct {
        uint32_t rate_hz, burst;
        uint64_t step_ns;
    } cases[] = {
        {1, 2, 333333333},
        {3, 2, 7777777},
        {7, 2, 1000003},
        {10, 5, 99999989},
        {50, 10, 19999999},
        {999, 3, 1000},
        {1000, 2, 333},
        {4999, 9, 199999},
        {31, 64, 12345677},
        {100000, 100, 9973},
        {VM_LIMIT_RATE_MAX, 8, 997},
        {VM_LIMIT_RATE_MAX, 1, 1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rate_limiter limiter;
        uint64_t now_ns = 12345, allowed, elapsed_ns;

        start(&limiter, cases[i].rate_hz, cases[i].burst, now_ns);
        allowed = drain(&limiter, now_ns);
        assert_int_equal(allowed, cases[i].burst);
        for (uint32_t check = 0; check < 1000000; check++) {
            now_ns += cases[i].step_ns;
            allowed += rl_check(&limiter, 0, now_ns) == RL_ALLOW;
        }
        elapsed_ns = now_ns - 12345;
        assert_int_equal(allowed, (unsigned __int128)elapsed_ns * cases[i].rate_hz / SECOND_NS +
                                      cases[i].burst);
    }
}

/* No window of a second may ever see more than rate + burst. */
static void test_window_limit(void **state)
{
    enum { RATE = 40, BURST = 15, KEEP = RATE + BURST };
    struct rate_limiter limiter;
    uint64_t granted_ns[KEEP] = {0};
    uint64_t now_ns = 0, grants = 0;

    seed_random(1);
    start(&limiter, RATE, BURST, now_ns);
    for (uint32_t check = 0; check < 300000; check++) {
        now_ns +=
            next_random() % 100 == 0 ? next_random() % SECOND_NS : next_random() % (4 * NS_PER_MS);
        if (rl_check(&limiter, 0, now_ns) != RL_ALLOW) {
            continue;
        }
        /* The one KEEP grants ago and this one: KEEP + 1 of them. */
        if (grants >= KEEP) {
            assert_true(now_ns - granted_ns[grants % KEEP] >= SECOND_NS);
        }
        granted_ns[grants++ % KEEP] = now_ns;
    }
    assert_true(grants > 10000);
}

static void test_clock_extremes(void **state)
{
    struct rate_limiter limiter;

    /* Years, and the largest jump that there is, fill the bucket and no more. */
    start(&limiter, VM_LIMIT_RATE_MAX, VM_LIMIT_BURST_MAX, 0);
    assert_int_equal(drain(&limiter, 0), VM_LIMIT_BURST_MAX);
    assert_int_equal(drain(&limiter, 500 * YEAR_NS), VM_LIMIT_BURST_MAX);
    assert_int_equal(drain(&limiter, UINT64_MAX), VM_LIMIT_BURST_MAX);
    assert_int_equal(drain(&limiter, UINT64_MAX), 0);

    start(&limiter, 1, VM_LIMIT_BURST_MAX, 0);
    drain(&limiter, 0);
    assert_int_equal(drain(&limiter, VM_LIMIT_BURST_MAX * SECOND_NS - 1), VM_LIMIT_BURST_MAX - 1);
    assert_int_equal(drain(&limiter, UINT64_MAX), VM_LIMIT_BURST_MAX);

    /* A clock that stands still gives nothing. */
    start(&limiter, 1000, 5, YEAR_NS);
    assert_int_equal(drain(&limiter, YEAR_NS), 5);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(rl_check(&limiter, 0, YEAR_NS), RL_DENY_RATE);
    }
    /* One that goes back gives nothing either, and time passed counts once. */
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(rl_check(&limiter, 0, i), RL_DENY_RATE);
        assert_int_equal(rl_check(&limiter, 0, YEAR_NS), RL_DENY_RATE);
        rl_configure_vm(&limiter, 1000, 5, 0, i);
        assert_int_equal(rl_check(&limiter, 0, YEAR_NS), RL_DENY_RATE);
    }
    assert_int_equal(drain(&limiter, YEAR_NS + 2 * NS_PER_MS), 2);
}

static void test_values_are_cut(void **state)
{
    struct rate_limiter limiter;

    start(&limiter, UINT32_MAX, UINT32_MAX, 7);
    assert_int_equal(limiter.rate_hz, VM_LIMIT_RATE_MAX);
    assert_int_equal(limiter.burst, VM_LIMIT_BURST_MAX);
    assert_int_equal(drain(&limiter, 7), VM_LIMIT_BURST_MAX);

    /* Burst 0: a tenth of a second's worth, at least one. */
    start(&limiter, 200, 0, 0);
    assert_int_equal(drain(&limiter, 0), 20);
    start(&limiter, 3, 0, 0);
    assert_int_equal(drain(&limiter, 0), 1);
}

static void test_reconfiguring_gives_nothing(void **state)
{
    struct rate_limiter limiter;
    uint64_t now_ns = 1000;

    start(&limiter, 10, 10, now_ns);
    assert_int_equal(drain(&limiter, now_ns), 10);
    /* Raised, lowered, taken off and put back: still empty. */
    rl_configure_vm(&limiter, 1000, 500, 0, now_ns);
    assert_int_equal(drain(&limiter, now_ns), 0);
    rl_configure_vm(&limiter, 1, 1, 0, now_ns);
    assert_int_equal(drain(&limiter, now_ns), 0);
    rl_configure_vm(&limiter, 0, 0, 0, now_ns);
    assert_int_equal(rl_check(&limiter, 0, now_ns), RL_ALLOW);
    rl_configure_vm(&limiter, 10, 10, 0, now_ns);
    assert_int_equal(drain(&limiter, now_ns), 0);

    /* Applying the same values over and over changes nothing. */
    for (uint32_t i = 0; i < 1000; i++) {
        now_ns += 333333;
        rl_configure_vm(&limiter, 10, 10, 0, now_ns);
    }
    assert_int_equal(drain(&limiter, now_ns), 3);

    /* What was saved stays, cut to the new burst; time before counts at the old rate. */
    now_ns += SECOND_NS / 2;
    rl_configure_vm(&limiter, 1000, 100, 0, now_ns);
    assert_int_equal(drain(&limiter, now_ns), 5);
    now_ns += SECOND_NS;
    rl_configure_vm(&limiter, 1000, 4, 0, now_ns);
    rl_configure_vm(&limiter, 1000, 100, 0, now_ns);
    assert_int_equal(drain(&limiter, now_ns), 4);

    /* Nor is anything earned while there is no limit. */
    rl_configure_vm(&limiter, 0, 0, 0, now_ns);
    now_ns += YEAR_NS;
    rl_configure_vm(&limiter, 10, 10, 0, now_ns);
    assert_int_equal(drain(&limiter, now_ns), 0);
    assert_int_equal(drain(&limiter, now_ns + SECOND_NS), 10);
}

static void test_queue_depth(void **state)
{
    struct rate_limiter limiter;

    rl_init_vm(&limiter, 0);
    rl_configure_vm(&limiter, 0, 0, 4, 0);
    assert_int_equal(rl_check(&limiter, 3, 0), RL_ALLOW);
    assert_int_equal(rl_check(&limiter, 4, 0), RL_DENY_QUEUE);
    assert_int_equal(rl_check(&limiter, UINT32_MAX, 0), RL_DENY_QUEUE);

    /* A denial for the queue's sake takes no token. */
    start(&limiter, 1, 3, 0);
    rl_configure_vm(&limiter, 1, 3, 2, 0);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(rl_check(&limiter, 2, 0), RL_DENY_QUEUE);
    }
    assert_int_equal(drain(&limiter, 0), 3);
    /* With both limits reached the queue is named: waiting helps there first. */
    assert_int_equal(rl_check(&limiter, 2, 0), RL_DENY_QUEUE);
    assert_int_equal(rl_check(&limiter, 1, 0), RL_DENY_RATE);
}

/* ---- against an exact model in 128 bits ---- */

struct model {
    bool limited_before;
    __int128 rate, burst, units;
    uint64_t updated_ns;
};

static void model_advance(struct model *model, uint64_t now_ns)
{
    if (now_ns > model->updated_ns) {
        if (model->rate != 0) {
            model->units += (__int128)(now_ns - model->updated_ns) * model->rate;
        }
        model->updated_ns = now_ns;
    }
    if (model->rate != 0 && model->units > model->burst * (__int128)SECOND_NS) {
        model->units = model->burst * (__int128)SECOND_NS;
    }
}

static void model_configure(struct model *model, uint32_t rate_hz, uint32_t burst, uint64_t now_ns)
{
    model_advance(model, now_ns);
    model->rate = rate_hz;
    model->burst = burst;
    if (rate_hz != 0 && !model->limited_before) {
        model->limited_before = true;
        model->units = (__int128)burst * SECOND_NS;
    }
    model_advance(model, now_ns);
}

static bool model_allows(struct model *model, uint64_t now_ns)
{
    if (model->rate == 0) {
        return true;
    }
    model_advance(model, now_ns);
    if (model->units < (__int128)SECOND_NS) {
        return false;
    }
    model->units -= SECOND_NS;
    return true;
}

/* Steps of all orders of magnitude, now and then backwards. */
static uint64_t random_step(uint64_t now_ns)
{
    uint64_t step_ns = next_random() >> (16 + next_random() % 48);

    if (next_random() % 50 == 0) {
        return now_ns > step_ns ? now_ns - step_ns : 0;
    }
    return now_ns > UINT64_MAX - step_ns ? UINT64_MAX : now_ns + step_ns;
}

static void test_against_model(void **state)
{
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct rate_limiter limiter;
        struct model model = {0};
        uint64_t now_ns;

        seed_random(seed);
        now_ns = seed % 10 == 0 ? UINT64_MAX - next_random() % (1ull << 45) : next_random() >> 24;
        model.updated_ns = now_ns;
        rl_init_vm(&limiter, now_ns);
        for (uint32_t step = 0; step < 3000; step++) {
            now_ns = random_step(now_ns);
            if (step == 0 || next_random() % 40 == 0) {
                uint32_t rate_hz = (uint32_t)(next_random() % (VM_LIMIT_RATE_MAX + 1ull));
                uint32_t burst = (uint32_t)(1 + next_random() % VM_LIMIT_BURST_MAX);

                rate_hz >>= next_random() % 20;
                burst >>= next_random() % 20;
                rate_hz = next_random() % 8 == 0 ? 0 : rate_hz;
                burst += burst == 0;
                rl_configure_vm(&limiter, rate_hz, burst, 0, now_ns);
                model_configure(&model, rate_hz, burst, now_ns);
            }
            for (uint32_t check = next_random() % 4; check > 0; check--) {
                if ((rl_check(&limiter, 0, now_ns) == RL_ALLOW) != model_allows(&model, now_ns)) {
                    fail_msg("seed %llu, step %u: not what the model says",
                             (unsigned long long)seed, step);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_counts),
        cmocka_unit_test(test_window_limit),
        cmocka_unit_test(test_clock_extremes),
        cmocka_unit_test(test_values_are_cut),
        cmocka_unit_test(test_reconfiguring_gives_nothing),
        cmocka_unit_test(test_queue_depth),
        cmocka_unit_test(test_against_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
