/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A flood of jobs that compute next to nothing, but hold the GPU for as long as
 * their hand-over takes, must not keep it from a VM with real jobs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/sched/scheduler_wfq.h"

enum { FLOODING, WORKING, VMS, JOBS = 32 };

struct gpu {
    struct wfq *wfq;
    struct wfq_job jobs[VMS][JOBS];
    struct wfq_job *running[WFQ_DEPTH_DEFAULT];
    uint32_t count;
    uint64_t now_ns, held_ns[VMS];
    const uint64_t *waited_ns; /* what the host says of each job; NULL: nothing */
};

static void hand_out(struct gpu *gpu)
{
    struct wfq_job *job;

    while ((job = wfq_dequeue(gpu->wfq, gpu->now_ns)) != NULL) {
        assert_true(gpu->count < WFQ_DEPTH_DEFAULT);
        gpu->running[gpu->count++] = job;
    }
}

/* The oldest job ends after it has held the GPU for `held_ns`, and comes again. */
static void run_one(struct gpu *gpu, const uint64_t held_ns[VMS], const uint64_t used_ns[VMS])
{
    struct wfq_job *job;

    hand_out(gpu);
    if (gpu->count == 0) {
        gpu->now_ns = wfq_next_wakeup_ns(gpu->wfq);
        assert_true(gpu->now_ns != WFQ_NEVER);
        return;
    }
    job = gpu->running[0];
    gpu->running[0] = gpu->running[1];
    gpu->count--;
    gpu->now_ns += held_ns[job->vm];
    gpu->held_ns[job->vm] += held_ns[job->vm];
    if (gpu->waited_ns) {
        wfq_excuse(gpu->wfq, job->vm, gpu->waited_ns[job->vm]);
    }
    wfq_complete(gpu->wfq, job, used_ns[job->vm], false, gpu->now_ns);
    wfq_enqueue(gpu->wfq, job, gpu->now_ns);
}

/* What the VM with real jobs gets of the time, in percent. */
static double excused_share(const uint64_t held_ns[VMS], const uint64_t used_ns[VMS],
                            const uint64_t *waited_ns)
{
    const struct wfq_config config = {.max_vms = VMS,
                                      .depth = WFQ_DEPTH_DEFAULT,
                                      .quantum_ns = WFQ_QUANTUM_DEFAULT_NS,
                                      .anticipation_ns = WFQ_ANTICIPATION_DEFAULT_NS,
                                      .policy = WFQ_POLICY_WFQ};
    const struct wfq_vm_params params = {.weight = 50, .priority = 1, .pool = 'A'};
    struct gpu gpu = {.wfq = wfq_init(&config), .now_ns = 1000, .waited_ns = waited_ns};
    uint64_t end_ns = gpu.now_ns + 2000000000ull;
    double share;

    assert_non_null(gpu.wfq);
    for (uint32_t vm = 0; vm < VMS; vm++) {
        wfq_vm_attach(gpu.wfq, vm, &params);
        wfq_vm_set_ready(gpu.wfq, vm, true, gpu.now_ns);
        for (uint32_t i = 0; i < JOBS; i++) {
            gpu.jobs[vm][i].vm = vm;
            wfq_enqueue(gpu.wfq, &gpu.jobs[vm][i], gpu.now_ns);
        }
    }
    while (gpu.now_ns < end_ns) {
        run_one(&gpu, held_ns, used_ns);
    }
    share = 100.0 * (double)gpu.held_ns[WORKING] /
            (double)(gpu.held_ns[WORKING] + gpu.held_ns[FLOODING]);
    wfq_destroy(gpu.wfq);
    return share;
}

static double working_share(const uint64_t held_ns[VMS], const uint64_t used_ns[VMS])
{
    return excused_share(held_ns, used_ns, NULL);
}

static void test_flood_of_empty_jobs(void **state)
{
    static const uint64_t held_ns[VMS] = {10000, 1010000};
    static const uint64_t empty_ns[VMS] = {0, 1000000}, tiny_ns[VMS] = {100, 1000000};
    double empty = working_share(held_ns, empty_ns), tiny = working_share(held_ns, tiny_ns);

    assert_true(empty > 49 && empty < 51);
    assert_true(tiny > 49 && tiny < 51);
}

/* A worker that reports half of the time that its jobs hold the GPU, or nothing, gains nothing. */
static void test_a_report_is_held_to_the_clock(void **state)
{
    static const uint64_t held_ns[VMS] = {2000000, 1000000};
    static const uint64_t half_ns[VMS] = {1000000, 1000000}, none_ns[VMS] = {0, 1000000};
    static const uint64_t too_much_ns[VMS] = {3600000000000, 1000000};

    assert_in_range((uint64_t)working_share(held_ns, half_ns), 47, 52);
    assert_in_range((uint64_t)working_share(held_ns, none_ns), 47, 52);
    assert_in_range((uint64_t)working_share(held_ns, too_much_ns), 49, 52);
}

/* Nor does one that leaves a tenth out of each report. */
static void test_small_lies_add_up(void **state)
{
    static const uint64_t held_ns[VMS] = {10000000, 10000000};
    static const uint64_t used_ns[VMS] = {9000000, 10000000};
    double share = working_share(held_ns, used_ns);

    assert_true(share > 48.5 && share < 51);
}

/*
 * The host takes 20 us between two jobs until the next one has begun and we know: jobs of 0.2 ms
 * lose a tenth by that, longer ones next to nothing.  By what they report their shares are equal.
 */
static void test_a_late_host_costs_no_share(void **state)
{
    static const uint64_t held_ns[VMS] = {225000, 1025000}, used_ns[VMS] = {205000, 1005000};
    double share = working_share(held_ns, used_ns), used;

    used = share * 1005 / 1025 / (share * 1005 / 1025 + (100 - share) * 205 / 225);
    assert_true(used > 0.495 && used < 0.505);
}

/* Who says so of time that its jobs did use has 25 us of each by that and 2 %, and no more. */
static void test_a_late_host_is_no_excuse(void **state)
{
    static const uint64_t held_ns[VMS] = {400000, 400000}, used_ns[VMS] = {205000, 400000};
    double share = working_share(held_ns, used_ns);

    assert_true(share > 47 && share < 50); /* 1 / (1 + 1 / (1 - 33 / 400)) is 0.478 */
}

/*
 * By the kernel the first one's worker waits 100 us for a processor in each of its jobs of 205 us:
 * it is charged what its jobs report.  It is no excuse for more than that.
 */
static void test_what_the_host_keeps_is_not_charged(void **state)
{
    static const uint64_t held_ns[VMS] = {305000, 1005000}, used_ns[VMS] = {205000, 1005000};
    static const uint64_t waited_ns[VMS] = {100000, 0}, half_ns[VMS] = {50000, 0};
    double share = excused_share(held_ns, used_ns, waited_ns), used;

    used = share / (share + (100 - share) * 205 / 305);
    assert_true(used > 0.495 && used < 0.505);
    share = excused_share(held_ns, used_ns, half_ns);
    used = share / (share + (100 - share) * 205 / 305); /* 25 us and 2 % of the rest go, too */
    assert_true(used > 0.51 && used < 0.54);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flood_of_empty_jobs),
        cmocka_unit_test(test_a_report_is_held_to_the_clock),
        cmocka_unit_test(test_small_lies_add_up),
        cmocka_unit_test(test_a_late_host_costs_no_share),
        cmocka_unit_test(test_a_late_host_is_no_excuse),
        cmocka_unit_test(test_what_the_host_keeps_is_not_charged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
