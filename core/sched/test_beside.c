/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMs beside jobs aside share the time that these leave; and who comes back cuts turns, now and
 * then early, all the time late.
 */
#include "core/sched/test_wfq_world.h"

#define MS NS_PER_MS
#define US NS_PER_US
#define VMS 5u

/* VMs of equal weight, all ready. */
static void begin(enum wfq_policy_id policy)
{
    const struct wfq_config config = {
        .max_vms = VMS,
        .depth = 2,
        .quantum_ns = 6 * MS,
        .handover_ns = 2 * MS,
        .patience_ns = 100 * MS,
        .slack_permille = 80,
        .overrun_ns = 100 * MS,
        .policy = policy,
    };
    struct wfq_vm_params params[VMS];

    for (uint32_t vm = 0; vm < VMS; vm++) {
        params[vm] = (struct wfq_vm_params){.weight = 50, .priority = 1, .pool = 'A'};
    }
    begin_vms(&config, params, NS_PER_S);
}

static void take_none(void)
{
    assert_null(wfq_dequeue(wfq, now_ns));
}

/* It ends after `ns` more, and its worker reports so much between its start and its end. */
static void finish(struct wfq_job *job, uint64_t ns, uint64_t reported_ns)
{
    now_ns += ns;
    wfq_complete(wfq, job, reported_ns, true, now_ns);
}

/* `vm` has a job that overran and runs aside, and is suspended; the others are even. */
static void run_aside(uint32_t vm)
{
    submit(vm, 1);
    take(vm);
    submit(1, 1);
    assert_true(wfq_set_aside(wfq, vm, now_ns)); /* it has not had anything yet */
    finish(take(1), MS, MS);
}

/* ---- the time that is left ---- */

/* Two jobs of 1 ms, for which the driver took 4 and 8 ms: 2 and 4 of them were theirs. */
static void test_charged_by_the_clock(void **state)
{
    int64_t before;

    begin(WFQ_POLICY_WFQ);
    run_aside(0);
    submit(2, 2);
    submit(3, 2);
    before = stats_of(2).lag_ns;
    finish(take(2), 4 * MS, MS);
    assert_int_equal(stats_of(2).lag_ns - before, -2 * (int64_t)MS / 2); /* half is VM 3's */
    assert_int_equal(stats_of(2).gpu_time_ns, MS);
    assert_int_equal(stats_of(3).lag_ns, MS);
    end();
}

/* Beside two jobs aside it is a third of the time. */
static void test_a_third_beside_two(void **state)
{

    begin(WFQ_POLICY_WFQ);
    run_aside(0);
    submit(4, 1);
    take(4);
    submit(1, 1);
    now_ns += 300 * MS; /* 150 by its part: it overran */
    assert_true(wfq_set_aside(wfq, 4, now_ns));
    finish(take(1), MS, MS);
    while (stats_of(1).lag_ns > 0) { /* what VM 4 had ahead is made good first */
        submit(1, 1);
        finish(take(1), 30 * MS, 10 * MS);
    }
    submit(2, 2);
    submit(3, 2);
    finish(take(2), 9 * MS, MS);
    assert_in_range(stats_of(3).lag_ns, 1499 * US, 1501 * US); /* half of 9 ms / 3 */
    end();
}

/*
 * VM 1's job keeps VM 0 waiting for so long, of which half is VM 0's; so long after the begin of
 * its own job it is not even yet, and so long after that it is.
 */
static void set_aside_when(uint64_t waits_ns, uint64_t not_yet_ns, uint64_t then_ns)
{
    struct wfq_job *job;

    begin(WFQ_POLICY_WFQ);
    submit(1, 1);
    job = take(1);
    now_ns += MS;
    submit(0, 2);
    finish(job, waits_ns, waits_ns + MS);
    submit(1, 1);
    take(0);
    now_ns += not_yet_ns;
    assert_false(wfq_set_aside(wfq, 0, now_ns));
    now_ns += then_ns - not_yet_ns;
    assert_true(wfq_set_aside(wfq, 0, now_ns));
    end();
}

/* It is owed 120 ms, and even after 240; 350 ms, and three times `overrun` is enough. */
static void test_who_is_owed_is_not_set_aside_yet(void **state)
{
    set_aside_when(240 * MS, 239 * MS, 242 * MS);
    set_aside_when(700 * MS, 299 * MS, 300 * MS);
}

/* A job of 60 ms takes 120 ms beside one aside, and has not overrun. */
static void test_who_is_only_slowed_is_not_set_aside(void **state)
{

    begin(WFQ_POLICY_WFQ);
    run_aside(0);
    submit(2, 1);
    take(2);
    submit(3, 1);
    now_ns += 120 * MS;
    assert_false(wfq_set_aside(wfq, 2, now_ns));
    now_ns += 100 * MS; /* 110, and the driver's switches are in that */
    assert_false(wfq_set_aside(wfq, 2, now_ns));
    now_ns += 20 * MS; /* 120 */
    assert_true(wfq_set_aside(wfq, 2, now_ns));
    end();
}

/* A slice makes 2.1 ms of a job of 0.1: that says nothing.  Two in a row do. */
static void test_an_interrupted_job_teaches_nothing(void **state)
{

    begin(WFQ_POLICY_WFQ);
    run_aside(0);
    for (uint32_t i = 0; i < 40; i++) {
        submit(2, 1);
        finish(take(2), 100 * US, 100 * US);
    }
    assert_int_equal(stats_of(2).average_execution_ns, 100 * US);
    submit(2, 1);
    finish(take(2), 2100 * US, 2100 * US);
    assert_int_equal(stats_of(2).average_execution_ns, 100 * US);
    submit(2, 1);
    finish(take(2), 2100 * US, 2100 * US);
    assert_in_range(stats_of(2).average_execution_ns, 200 * US, 400 * US);
    end();
}

/*
 * Jobs are handed out with an estimate, and a turn is over when that says so.  It is not taken up
 * again when they turn out to be shorter: its last jobs would find a worker that has run dry, and
 * each would wait for a slice of the job aside.
 */
static void test_a_turn_that_is_over_is_over(void **state)
{
    const struct wfq_vm_params weak = {.weight = 10, .priority = 1, .pool = 'A'};
    struct wfq_job *turn[2];

    begin(WFQ_POLICY_WFQ);
    run_aside(0);
    submit(3, 1);
    finish(take(3), 8 * MS, 8 * MS);
    wfq_vm_update(wfq, 3, &weak, now_ns);
    submit(2, 4);
    submit(3, 4);
    finish(take(2), 14 * MS, 14 * MS);
    turn[0] = take(3); /* 5 ms, as the first one was ... */
    turn[1] = take(3);
    finish(turn[0], 5 * MS, 5 * MS); /* 2.5 by the clock, and 5 for the next one */
    take_none();
    finish(turn[1], MS, MS); /* 3 in all */
    take(2);
    end();
}

/* ---- guests ---- */

/* VM 2 has jobs of 0.1 ms, all are answered, and it rests. */
static void make_short_jobs(uint32_t vm)
{
    for (uint32_t i = 0; i < 8; i++) {
        submit(vm, 1);
        finish(take(vm), 100 * US, 100 * US);
    }
}

static void test_a_short_job_goes_beside_the_turn(void **state)
{
    struct wfq_job *turn[2], *guest;
    struct wfq_dispatch choice;

    begin(WFQ_POLICY_WFQ);
    run_aside(0);
    make_short_jobs(2);
    now_ns += 50 * MS;
    submit(1, 8);
    turn[0] = take(1);
    turn[1] = take(1);
    take_none();
    submit(2, 2);
    guest = take(2);
    assert_int_equal(wfq_dispatch_log(wfq, &choice, 1), 1);
    assert_int_equal(choice.reason, WFQ_REASON_BESIDE);
    assert_int_equal(wfq_in_flight(wfq), 4);
    take_none(); /* one at a time */
    finish(turn[0], 2 * MS, MS);
    turn[0] = take(1); /* its turn goes on */
    finish(guest, MS, 100 * US);
    assert_int_equal(wfq_in_flight(wfq), 3);
    finish(turn[1], MS, MS);
    finish(turn[0], MS, MS);
    end();
}

/* A guest is in flight when the turn's own VM goes aside: then it is nobody's turn. */
static void test_a_guest_is_left_without_a_turn(void **state)
{
    uint32_t vm = 77;

    begin(WFQ_POLICY_WFQ);
    run_aside(0);
    make_short_jobs(2);
    now_ns += 50 * MS;
    submit(1, 8);
    take(1);
    take(1);
    submit(2, 2);
    take(2);
    assert_true(wfq_turn_ends_ns(wfq, now_ns, &vm) < UINT64_MAX);
    assert_int_equal(vm, 1);
    now_ns += 500 * MS;
    assert_true(wfq_set_aside(wfq, 1, now_ns));
    assert_int_equal(wfq_turn_ends_ns(wfq, now_ns, &vm), UINT64_MAX);
    end();
}

/* Long jobs wait for their turn. */
static void test_a_long_job_is_no_guest(void **state)
{
    struct wfq_job *turn[2];

    begin(WFQ_POLICY_WFQ);
    run_aside(0);
    submit(3, 1);
    finish(take(3), MS, MS); /* known to be long */
    submit(1, 8);
    turn[0] = take(1);
    turn[1] = take(1);
    submit(3, 1);
    take_none();
    finish(turn[0], MS, MS);
    finish(turn[1], MS, MS);
    end();
}

/* ---- cuts ---- */

/* VM 1 has had pauses of so long; then it comes back at the begin of a turn of VM 0, which has
 * jobs of 0.5 ms.  So many of these are handed out before VM 1's. */
static uint32_t jobs_before_the_cut(uint64_t pause_ns)
{
    struct wfq_job *flying[2];
    uint32_t handed = 0;

    begin(WFQ_POLICY_WF2Q);
    for (uint32_t i = 0; i < 30; i++) {
        submit(1, 1);
        finish(take(1), 100 * US, 100 * US);
        now_ns += pause_ns;
    }
    submit(0, 20);
    flying[0] = take(0);
    finish(flying[0], 500 * US, 500 * US); /* its length is known now */
    flying[0] = take(0);
    flying[1] = take(0);
    handed = 3;
    submit(1, 1);
    for (;;) {
        struct wfq_job *next;

        finish(flying[0], 500 * US, 500 * US);
        flying[0] = flying[1];
        next = wfq_dequeue(wfq, now_ns);
        if (!next) {
            finish(flying[0], 500 * US, 500 * US);
            next = take(1);
        }
        flying[1] = next;
        if (next->vm == 1) {
            break;
        }
        handed++;
    }
    end();
    return handed;
}

static void test_a_cut_is_late_for_who_comes_all_the_time(void **state)
{
    /* After an eighth of 6 ms: the two that were in flight. */
    assert_int_equal(jobs_before_the_cut(20 * MS), 3);
    /* After half of it. */
    assert_in_range(jobs_before_the_cut(300 * US), 6, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_charged_by_the_clock),
        cmocka_unit_test(test_a_third_beside_two),
        cmocka_unit_test(test_who_is_owed_is_not_set_aside_yet),
        cmocka_unit_test(test_who_is_only_slowed_is_not_set_aside),
        cmocka_unit_test(test_an_interrupted_job_teaches_nothing),
        cmocka_unit_test(test_a_turn_that_is_over_is_over),
        cmocka_unit_test(test_a_short_job_goes_beside_the_turn),
        cmocka_unit_test(test_a_guest_is_left_without_a_turn),
        cmocka_unit_test(test_a_long_job_is_no_guest),
        cmocka_unit_test(test_a_cut_is_late_for_who_comes_all_the_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
