/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vectorised scans choose what plain loops choose. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* For both widths of the scans, which are private to it. */
#include "core/sched/policy_scan.c"
#include "core/test_random.h"

enum { VMS_MAX = 300, ROOM = VMS_MAX + POLICY_LANES };

static uint32_t vm_of[ROOM];
static double start[ROOM], finish[ROOM], urgency0[ROOM], arrival_ns[ROOM];
static uint64_t sequence[ROOM];

static uint32_t plain_loop(const struct policy_view *view, double limit, uint32_t *eligible)
{
    uint32_t winner = view->count;
    double most = 0;

    *eligible = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        double bonus = (view->now_ns - view->arrival_ns[i]) * POLICY_WAIT_PER_NS;
        double urgency = view->urgency0[i] * (bonus + 1);

        if (view->start[i] > limit) {
            continue;
        }
        ++*eligible;
        if (urgency > most || (urgency == most && view->sequence[i] < view->sequence[winner])) {
            most = urgency;
            winner = i;
        }
    }
    return winner;
}

static uint32_t plain_first_finish(const struct policy_view *view, double limit, uint32_t *eligible)
{
    uint32_t first = view->count;

    *eligible = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        if (view->start[i] > limit) {
            continue;
        }
        ++*eligible;
        if (first == view->count || view->finish[i] < view->finish[first] ||
            (view->finish[i] == view->finish[first] && view->sequence[i] < view->sequence[first])) {
            first = i;
        }
    }
    return first;
}

/* Few distinct values in some runs, so that many tie. */
static void fill(struct policy_view *view, uint32_t count)
{
    uint64_t kinds = 1 + next_random() % (next_random() % 2 ? 3 : 1000000);

    for (uint32_t i = 0; i < ROOM; i++) {
        vm_of[i] = i;
        start[i] = i < count ? (double)(next_random() % 100) : HUGE_VAL;
        finish[i] = start[i] + (double)(next_random() % kinds);
        urgency0[i] = i < count ? wfq_urgency((uint32_t)(next_random() % 3),
                                              1 + (uint32_t)(next_random() % 100),
                                              (uint32_t)(next_random() % kinds % 64), 0)
                                : -1;
        if (i < count && kinds < 4) {
            urgency0[i] = (double)(1 + next_random() % kinds);
        }
        arrival_ns[i] = i < count ? 1e12 - (double)(next_random() % kinds * 1000) : 0;
        sequence[i] = i < count ? next_random() >> 1 : UINT64_MAX;
    }
    *view = (struct policy_view){.count = count,
                                 .vm = vm_of,
                                 .start = start,
                                 .finish = finish,
                                 .urgency0 = urgency0,
                                 .arrival_ns = arrival_ns,
                                 .sequence = sequence,
                                 .now_ns = 1e12};
}

static void test_same_choice(void **state)
{
    for (uint64_t run = 1; run <= 30000; run++) {
        struct policy_view view;
        uint32_t expected, eligible, found;
        double limit;

        seed_random(run);
        fill(&view, 1 + (uint32_t)(next_random() % (run % 3 ? 40 : VMS_MAX)));
        limit = run % 7 == 0 ? DBL_MAX : (double)(next_random() % 110) - 5;
        expected = plain_loop(&view, limit, &eligible);

        assert_int_equal(policy_most_urgent(&view, limit, &found), expected);
        assert_int_equal(found, eligible);
        assert_int_equal(scan2_most_urgent(&view, limit, &found), expected);
        assert_int_equal(found, eligible);
#ifdef __x86_64__
        if (__builtin_cpu_supports("avx2")) {
            assert_int_equal(scan4_most_urgent(&view, limit, &found), expected);
            assert_int_equal(found, eligible);
        }
#endif
    }
}

static void test_same_first_finish(void **state)
{
    for (uint64_t run = 1; run <= 30000; run++) {
        struct policy_view view;
        uint32_t expected, eligible, found;
        double limit, least = HUGE_VAL;

        seed_random(run);
        fill(&view, 1 + (uint32_t)(next_random() % (run % 3 ? 40 : VMS_MAX)));
        limit = run % 7 == 0 ? DBL_MAX : (double)(next_random() % 110) - 5;
        expected = plain_first_finish(&view, limit, &eligible);
        for (uint32_t i = 0; i < view.count; i++) {
            least = finish[i] < least ? finish[i] : least;
        }

        assert_int_equal(policy_first_finish(&view, limit, &found), expected);
        assert_int_equal(found, eligible);
        assert_true(policy_least(finish, view.count) == least);
        assert_int_equal(scan2_first_finish(&view, limit, &found), expected);
        assert_int_equal(found, eligible);
        assert_true(scan2_least(finish, view.count) == least);
#ifdef __x86_64__
        if (__builtin_cpu_supports("avx2")) {
            assert_int_equal(scan4_first_finish(&view, limit, &found), expected);
            assert_int_equal(found, eligible);
            assert_true(scan4_least(finish, view.count) == least);
        }
#endif
    }
}

/* Who is late is the first one of all, where that one's finish has come. */
static void test_same_first_late(void **state)
{
    uint32_t late = 0;

    for (uint64_t run = 1; run <= 30000; run++) {
        struct policy_view view;
        uint32_t expected, eligible, found;
        double limit;

        seed_random(run);
        fill(&view, 1 + (uint32_t)(next_random() % (run % 3 ? 40 : VMS_MAX)));
        view.v = (double)(next_random() % 110) - 5;
        limit = view.v + POLICY_SLACK;
        expected = plain_first_finish(&view, limit, &eligible);
        if (expected != view.count && finish[expected] > view.v) {
            expected = view.count;
        }
        late += expected != view.count;

        for (int width = 0; width < 3; width++) {
            found = expected == view.count ? eligible : UINT32_MAX;
            if (width == 0) {
                assert_int_equal(policy_first_late(&view, limit, &found), expected);
            } else if (width == 1) {
                assert_int_equal(scan2_first_late(&view, limit, &found), expected);
#ifdef __x86_64__
            } else if (__builtin_cpu_supports("avx2")) {
                assert_int_equal(scan4_first_late(&view, limit, &found), expected);
#endif
            }
            assert_int_equal(found, eligible);
        }
    }
    assert_in_range(late, 5000, 29000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_choice),
        cmocka_unit_test(test_same_first_finish),
        cmocka_unit_test(test_same_first_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
