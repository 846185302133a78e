/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What pauses, fills and switches cost, and whose turn it is then.  Each value is worked out by
 * hand beside it.  A switch is 135 us; a turn earns its price back by 45 us for each ms.
 */
#include <stdlib.h>

#include "core/sched/test_wfq_world.h"

#define MS ((int64_t)NS_PER_MS)
#define US ((int64_t)NS_PER_US)
#define VMS 4u

/* VMs of these weights, all ready; their pauses may be filled for so much of their due. */
static void begin_slack(enum wfq_policy_id policy, uint32_t weight0, uint32_t weight1,
                        uint32_t weight2, uint32_t slack_permille)
{
    const struct wfq_config config = {
        .max_vms = VMS,
        .depth = 2,
        .quantum_ns = 6 * NS_PER_MS,
        .ahead_ns = 200 * NS_PER_US,
        .patience_ns = 100 * NS_PER_MS,
        .slack_permille = slack_permille,
        .policy = policy,
    };
    const struct wfq_vm_params params[VMS] = {{.weight = weight0, .pool = 'A'},
                                              {.weight = weight1, .pool = 'A'},
                                              {.weight = weight2, .pool = 'A'},
                                              {.weight = 1, .pool = 'A'}};

    begin_vms(&config, params, NS_PER_MS);
}

static void begin(enum wfq_policy_id policy, uint32_t weight0, uint32_t weight1, uint32_t weight2)
{
    begin_slack(policy, weight0, weight1, weight2, 80);
}

/* It ends after so long, and has used the GPU all the while. */
static void finish(struct wfq_job *job, int64_t ns)
{
    now_ns += (uint64_t)ns;
    wfq_complete(wfq, job, (uint64_t)ns, false, now_ns);
}

static int64_t lag_of(uint32_t vm)
{
    return stats_of(vm).lag_ns;
}

/* To a nanosecond or two: V is not counted in whole ones. */
static void assert_ns(int64_t is, int64_t right)
{
    if (llabs(is - right) > 2) {
        fail_msg("%lld ns, %lld would be right", (long long)is, (long long)right);
    }
}

/* VM 1 has a job of 1 ms, twice, and pauses for so long after each. */
static void learn_pause(int64_t pause_ns)
{
    for (int i = 0; i < 2; i++) {
        submit(1, 1);
        finish(take(1), MS);
        now_ns += (uint64_t)pause_ns;
    }
}

/*
 * VMs 0 and 1 have the same share.  VM 0 has a job of 8 ms while VM 1 waits, which is owed 4 ms
 * then; but the price of VM 0's turn was paid while it was alone, and is earned back from both: so
 * 4 ms - 135 us / 2.  VM 1 has its job of 1 ms, and a switch that it earns back by 45 us: it is
 * owed 1 ms + 90 us, divided by two, less.  Then it has nothing to do.
 */
#define OWED (4 * MS - 135 * US / 2 - (MS + 90 * US) / 2)

static void owe_vm1(int64_t usual_ns, uint32_t more)
{
    struct wfq_job *job;

    begin(WFQ_POLICY_WFQ, 50, 50, 1);
    learn_pause(usual_ns);
    submit(0, 1);
    job = take(0);
    submit(1, 1);
    submit(0, more);
    finish(job, 8 * MS);
    assert_ns(lag_of(1), 4 * MS - 135 * US / 2);
    finish(take(1), MS);
    assert_null(wfq_dequeue(wfq, now_ns));
    assert_ns(lag_of(1), OWED);
    assert_true(stats_of(1).pausing);
}

/* ---- pauses ---- */

/* VM 0 has long jobs, so the GPU is kept: VM 1 pays 400 us, and has half of V's way by them. */
static void test_kept_time_is_paid_once(void **state)
{
    owe_vm1(MS, 1);
    assert_true(wfq_next_wakeup_ns(wfq) > now_ns + 400 * NS_PER_US);
    now_ns += 400 * NS_PER_US;
    submit(1, 1);
    assert_ns(lag_of(1), OWED - 200 * US);
    assert_ns(lag_of(0), -(OWED - 200 * US));
    assert_int_equal(stats_of(1).kept_ns, 400 * US);
    take(1);
    end();
}

/* Nobody has work: it costs the same, though nothing is kept for it. */
static void test_idle_time_is_paid_once(void **state)
{
    owe_vm1(MS, 0);
    now_ns += 400 * NS_PER_US;
    submit(1, 1);
    assert_ns(lag_of(1), OWED - 200 * US);
    assert_ns(lag_of(0), -(OWED - 200 * US));
    assert_int_equal(stats_of(1).kept_ns, 0);
    take(1);
    end();
}

/* After patience what is left of it is gone, and the others are even again. */
static void test_patience_ends(void **state)
{
    owe_vm1(MS, 1);
    now_ns = wfq_next_wakeup_ns(wfq);
    take(0); /* twice what it is owed has passed: it is owed nothing any more */
    assert_false(stats_of(1).pausing);
    assert_ns(lag_of(1), 0);
    assert_in_range(stats_of(1).kept_ns, 2 * OWED - 2, 2 * OWED + 2);
    end();
}

/* Who usually stays away for longer than patience is owed nothing when it goes. */
static void test_who_stays_away_does_not_pause(void **state)
{
    struct wfq_job *job;

    begin(WFQ_POLICY_WFQ, 50, 50, 1);
    learn_pause(900 * MS);
    submit(0, 2);
    job = take(0);
    submit(1, 1);
    finish(job, 8 * MS);
    finish(take(1), MS);
    take(0);
    assert_false(stats_of(1).pausing);
    assert_ns(lag_of(1), 0);
    end();
}

/* ---- fills ---- */

/* VM 1 usually pauses for 50 ms; it does so now, and is owed something.  VM 0 has jobs of 0.5 ms.
 * */
static void owe_a_filled_pause(uint32_t slack_permille)
{
    struct wfq_job *job;

    begin_slack(WFQ_POLICY_WFQ, 50, 50, 1, slack_permille);
    submit(0, 1);
    finish(take(0), 500 * US);
    for (int i = 0; i < 3; i++) {
        now_ns += 50 * NS_PER_MS;
        submit(1, 1);
        finish(take(1), 100 * US);
    }
    now_ns += 50 * NS_PER_MS;
    submit(0, 8);
    job = take(0);
    submit(1, 1);
    while (job->vm == 0) {
        finish(job, 500 * US);
        job = wfq_dequeue(wfq, now_ns);
        assert_non_null(job);
    }
    finish(job, 100 * US);
}

/*
 * VM 0 is ahead with jobs of 0.5 ms, VM 1 usually pauses for 50 ms: a job fills the pause.  W =
 * 0.5 + 0.135 ms, r = 50 ms - 0: VM 1 gives up W * W / (W + r) = 7.963 us.  (The switch back, 135
 * us, it waits for.)  VM 0 pays for one switch, of which VM 1 has half: 67.5 us.
 */
static void test_what_a_fill_costs(void **state)
{
    int64_t before;

    owe_a_filled_pause(80);
    before = lag_of(1);
    assert_true(before > 100 * US);
    take(0);
    assert_true(stats_of(1).pausing);
    assert_ns(lag_of(1) - before, -7963 + 67500);
    end();
}

/*
 * ... and VM 1 is back after 200 us, with a job of 0.1 ms.  VM 0 wants more: it has the price of
 * its turn back, 135 - 9 us, of which V takes a half.  The pause has paid 200 us: the way back to
 * VM 0, 135 us less 1/30, and 69.5 us of the one to VM 1, which pays the other 65.5 us, and V
 * moves by them.  VM 0 pays nothing for that: it filled a pause.
 */
static void test_who_fills_does_not_pay_for_the_way_back(void **state)
{
    struct wfq_job *job;
    int64_t before;

    owe_a_filled_pause(80);
    job = take(0);
    now_ns += 200 * NS_PER_US;
    submit(1, 1);
    wfq_complete(wfq, job, 200 * NS_PER_US, false, now_ns);
    before = lag_of(0);
    take(1);
    assert_ns(lag_of(0) - before, 126 * US - 63 * US + 65500 / 2);
    end();
}

/* Without slack nobody fills a pause, however short his jobs are. */
static void test_no_slack_no_fills(void **state)
{
    owe_a_filled_pause(0);
    assert_null(wfq_dequeue(wfq, now_ns));
    assert_true(stats_of(1).pausing);
    end();
}

/*
 * A thousandth: the tokens of about 203 ms, in most of which VM 1 was alone, are 0.2 ms.  The first
 * fill costs 0.155 of them; the next one would cost 0.145, with a usual pause of 38 ms.
 */
static void test_tokens_are_spent(void **state)
{
    struct wfq_job *job;

    owe_a_filled_pause(1);
    job = take(0);
    submit(1, 1); /* it is back at once, and cuts in after half of the quantum */
    while (job->vm == 0) {
        finish(job, 500 * US);
        job = wfq_dequeue(wfq, now_ns);
        assert_non_null(job);
    }
    finish(job, 100 * US);
    submit(0, 1);
    assert_null(wfq_dequeue(wfq, now_ns));
    assert_true(stats_of(1).pausing);
    end();
}

/* ---- the way back ---- */

/*
 * Three VMs of the same share; VM 2's job of 30 ms has left the others 10 ms each.  VM 1 has 1 ms
 * of them and pauses for 7 ms, in which VM 0 has a job of 7 ms in its own right, earns the price
 * of its turn back, and wants another one.  The pause of VM 1 has paid for the switch to it, so
 * the 135 us of it are VM 0's; V moves by them, 45 us for each.
 */
static void test_the_way_back_is_theirs_who_came_between(void **state)
{
    struct wfq_job *job;
    int64_t zero, one;

    begin(WFQ_POLICY_WF2Q, 50, 50, 50);
    submit(0, 1);
    finish(take(0), 7 * MS);
    learn_pause(7 * MS);
    submit(2, 1);
    job = take(2);
    submit(1, 1);
    submit(0, 2);
    finish(job, 30 * MS);
    finish(take(1), MS);
    job = take(0);
    assert_true(stats_of(1).pausing);
    finish(job, 7 * MS);
    submit(1, 1);
    zero = lag_of(0);
    one = lag_of(1);
    assert_true(zero > 0 && one > 0);
    take(1);
    assert_ns(lag_of(0) - zero, -135 * US + 45 * US);
    assert_ns(lag_of(1) - one, 45 * US - MS); /* its job of 1 ms is in flight */
    end();
}

/* ---- prices ---- */

/* Turns that end by themselves: each ms earns 45 us back, half a quantum all of it. */
static void test_a_price_is_earned_back(void **state)
{
    static const struct {
        int64_t job_ns, left_ns;
    } cases[] = {{MS, 90 * US}, {2 * MS, 45 * US}, {3 * MS, 0}, {5 * MS, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin(WFQ_POLICY_WFQ, 50, 50, 1);
        learn_pause(MS);
        submit(0, 1);
        finish(take(0), cases[i].job_ns);
        assert_ns((int64_t)stats_of(0).switching_ns, 0); /* it could still be earned back */
        submit(1, 1);
        finish(take(1), MS);
        assert_ns((int64_t)stats_of(0).switching_ns - 0, 0);
        submit(0, 1);
        finish(take(0), MS);
        assert_ns((int64_t)stats_of(0).switching_ns, cases[i].left_ns);
        end();
    }
}

/*
 * VM 1 is back after a pause of 20 ms, and cuts a turn of VM 0 that has used 2 ms and has 45 us of
 * its price left, which it gets back.  VM 1 pays 135 us for its turn and 135 * (1 - 2/6) for the
 * way back.  V moves by 180 us, of which each has a half; and its job of 1 ms is in flight.
 */
static void test_who_cuts_pays_for_the_way_back(void **state)
{
    struct wfq_job *job;
    int64_t zero, one;

    begin(WFQ_POLICY_WF2Q, 50, 50, 1);
    submit(0, 1);
    finish(take(0), MS);
    learn_pause(20 * MS);
    submit(0, 3);
    finish(take(0), MS);
    job = take(0);
    submit(1, 1);
    finish(job, MS);
    zero = lag_of(0);
    one = lag_of(1);
    take(1);
    assert_ns(lag_of(0) - zero, 45 * US + 90 * US);
    assert_ns(lag_of(1) - one, -225 * US + 90 * US - MS);
    end();
}

/* ---- whose turn ---- */

/* A job of 50 ms counts as a turn of 6: 6 / 10 = 0.6 is sooner than 4 / 5 = 0.8.  (50 / 10 = 5 is
 * not: a VM with long jobs would have to be owed two of them before it is late.) */
static void test_a_long_job_counts_as_a_turn(void **state)
{
    begin(WFQ_POLICY_WF2Q, 5, 10, 1);
    submit(0, 1);
    finish(take(0), 4 * MS);
    submit(1, 1);
    finish(take(1), 50 * MS);
    now_ns += NS_PER_S;
    submit(0, 1);
    submit(1, 1);
    take(1);
    end();
}

/* wf2q: S + what waits / share.  VM 2 has 4 ms waiting of a share of 50: 80 us; VM 0 1 ms of 10:
 * 100; VM 1 1 ms of 20: 50. */
static void test_wf2q_takes_the_smallest_finish(void **state)
{
    begin(WFQ_POLICY_WF2Q, 10, 20, 50);
    submit(3, 1);
    finish(take(3), MS);
    submit(0, 1);
    submit(1, 1);
    submit(2, 4);
    finish(take(1), MS);
    for (int i = 0; i < 4; i++) {
        finish(take(2), MS);
    }
    finish(take(0), MS);
    assert_null(wfq_dequeue(wfq, now_ns));
    end();
}

/* ... but only of those who are not ahead.  VM 1 has had 6.1 ms of a share of 20: S is 0.305, and V
 * 6.1 / 21 = 0.29.  With 6 ms more it would be at 0.605, VM 0 with 1 ms of a share of 1 at 1. */
static void test_wf2q_passes_over_who_is_ahead(void **state)
{
    begin(WFQ_POLICY_WF2Q, 1, 20, 1);
    submit(0, 1);
    submit(1, 2);
    finish(take(1), 6100 * US);
    assert_true(lag_of(1) < 0);
    take(0);
    end();
}

/* ---- slow workers ---- */

/*
 * Jobs of 28 us, of which the next one is always with the worker; it takes up each 56 us late.
 * What it holds is what it is charged, but for 2 %, and for 10 ms once.
 */
static void test_a_slow_worker_pays_for_what_it_holds(void **state)
{
    struct wfq_job *flying[2];
    uint64_t began_ns;

    begin(WFQ_POLICY_WFQ, 50, 50, 1);
    submit(0, 8);
    finish(take(0), 28 * US);
    flying[0] = take(0);
    flying[1] = take(0);
    began_ns = now_ns;
    for (int i = 0; i < 5000; i++) {
        now_ns += 84 * NS_PER_US;
        wfq_complete(wfq, flying[0], 28 * NS_PER_US, false, now_ns);
        submit(0, 1);
        flying[0] = flying[1];
        flying[1] = take(0);
    }
    assert_in_range(stats_of(0).gpu_time_ns, (now_ns - began_ns) * 98 / 100 - 10 * NS_PER_MS,
                    now_ns - began_ns);
    end();
}

/*
 * Four jobs of 30 us are with the worker; VM 1 waits, and is owed half of what they are charged.
 * The first one's end is told of at once.  That of the second comes 30 us late, with that of the
 * third; the fourth takes as long as it should from the begin of the third: these three have held
 * the GPU for 120 us, and not for 60 + 30 + 60.
 */
static void test_late_news_cost_nothing(void **state)
{
    struct wfq_job *flying[4];
    int64_t before;

    begin(WFQ_POLICY_WFQ, 50, 50, 1);
    submit(0, 8);
    finish(take(0), 30 * US);
    for (int i = 0; i < 4; i++) {
        flying[i] = take(0);
    }
    submit(1, 1);
    finish(flying[0], 30 * US);
    before = lag_of(1);
    now_ns += 60 * NS_PER_US;
    wfq_complete(wfq, flying[1], 30 * NS_PER_US, false, now_ns);
    assert_ns(lag_of(1) - before, 60 * US / 2);
    wfq_complete(wfq, flying[2], 30 * NS_PER_US, false, now_ns);
    now_ns += 60 * NS_PER_US;
    wfq_complete(wfq, flying[3], 30 * NS_PER_US, false, now_ns);
    assert_ns(lag_of(1) - before, 120 * US / 2);
    end();
}

/*
 * Tiny jobs go ahead sixteen at a time.  One end that is told of 190 us late makes them no long
 * ones; one of 2 ms may be a job of 2 ms that says 2 us, and then no second one goes ahead.
 */
static void test_late_news_make_no_long_jobs(void **state)
{
    struct wfq_job *flying[WFQ_DEPTH_MAX] = {0}, *job;
    uint32_t count = 0;

    begin(WFQ_POLICY_WFQ, 50, 50, 1);
    submit(0, 40);
    for (int i = 0; i < 20; i++) {
        finish(take(0), 2 * US);
    }
    flying[0] = take(0);
    now_ns += 190 * NS_PER_US;
    wfq_complete(wfq, flying[0], 2 * NS_PER_US, false, now_ns);
    for (int i = 0; i < 8; i++) {
        finish(take(0), 2 * US);
    }
    submit(0, 40);
    while ((job = wfq_dequeue(wfq, now_ns)) != NULL) {
        flying[count++] = job;
    }
    assert_int_equal(count, WFQ_DEPTH_MAX);
    now_ns += 2 * NS_PER_MS;
    for (uint32_t i = 0; i < count; i++) {
        now_ns += 2 * NS_PER_US;
        wfq_complete(wfq, flying[i], 2 * NS_PER_US, false, now_ns);
    }
    take(0);
    take(0);
    assert_null(wfq_dequeue(wfq, now_ns));
    end();
}

/* VM 0's worker is new; its first job is told of after so long, and has used 5 us. */
static uint64_t first_job_after(uint64_t ns)
{
    uint64_t before_ns = stats_of(0).gpu_time_ns;
    struct wfq_job *job;

    wfq_vm_set_ready(wfq, 0, false, now_ns);
    wfq_vm_set_ready(wfq, 0, true, now_ns);
    submit(0, 1);
    job = take(0);
    now_ns += ns;
    wfq_complete(wfq, job, 5 * NS_PER_US, false, now_ns);
    return stats_of(0).gpu_time_ns - before_ns;
}

/*
 * 64 VMs begin at once: the first NOP of a worker waits 80 ms for a processor.  A worker that
 * begins again and again would lie by that: of the second 80 ms 20 are forgiven, less the
 * hand-over and the price of the switch of the first, and nothing of the third but what has come
 * to it since.
 */
static void test_the_first_job_of_a_worker_may_be_late(void **state)
{
    uint64_t ns;

    begin(WFQ_POLICY_WFQ, 50, 50, 1);
    assert_int_equal(first_job_after(80 * NS_PER_MS), 5 * NS_PER_US);
    ns = first_job_after(80 * NS_PER_MS);
    assert_in_range(ns, 50 * NS_PER_MS, 62 * NS_PER_MS);
    ns = first_job_after(80 * NS_PER_MS);
    assert_in_range(ns, 72 * NS_PER_MS, 80 * NS_PER_MS);
    now_ns += 5 * NS_PER_S; /* a fiftieth: it is alone, and has all the time */
    assert_int_equal(first_job_after(80 * NS_PER_MS), 5 * NS_PER_US);
    end();
}

/* Not the second one, which says 0 for 50 ms, and not the first one of a VM that only came back. */
static void test_only_the_first_job_may_be_late(void **state)
{
    const struct wfq_vm_params params = {.weight = 50, .pool = 'A'};
    uint64_t before_ns;
    struct wfq_job *job;

    begin(WFQ_POLICY_WFQ, 50, 50, 1);
    first_job_after(90 * NS_PER_MS);
    before_ns = stats_of(0).gpu_time_ns;
    submit(0, 1);
    job = take(0);
    now_ns += 50 * NS_PER_MS;
    wfq_complete(wfq, job, 0, false, now_ns);
    assert_in_range(stats_of(0).gpu_time_ns - before_ns, 44 * NS_PER_MS, 50 * NS_PER_MS);
    wfq_vm_detach(wfq, 0, now_ns, NULL);
    wfq_vm_attach(wfq, 0, &params);
    assert_in_range(first_job_after(90 * NS_PER_MS), 60 * NS_PER_MS, 90 * NS_PER_MS);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_time_is_paid_once),
        cmocka_unit_test(test_idle_time_is_paid_once),
        cmocka_unit_test(test_patience_ends),
        cmocka_unit_test(test_who_stays_away_does_not_pause),
        cmocka_unit_test(test_what_a_fill_costs),
        cmocka_unit_test(test_who_fills_does_not_pay_for_the_way_back),
        cmocka_unit_test(test_no_slack_no_fills),
        cmocka_unit_test(test_tokens_are_spent),
        cmocka_unit_test(test_the_way_back_is_theirs_who_came_between),
        cmocka_unit_test(test_a_price_is_earned_back),
        cmocka_unit_test(test_who_cuts_pays_for_the_way_back),
        cmocka_unit_test(test_a_long_job_counts_as_a_turn),
        cmocka_unit_test(test_wf2q_takes_the_smallest_finish),
        cmocka_unit_test(test_wf2q_passes_over_who_is_ahead),
        cmocka_unit_test(test_a_slow_worker_pays_for_what_it_holds),
        cmocka_unit_test(test_late_news_cost_nothing),
        cmocka_unit_test(test_late_news_make_no_long_jobs),
        cmocka_unit_test(test_the_first_job_of_a_worker_may_be_late),
        cmocka_unit_test(test_only_the_first_job_may_be_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
