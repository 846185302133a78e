/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the scheduler says of a VM: what it was entitled to, what was kept for it,
 * and the switches that it caused.  A small GPU runs one job after the other and
 * counts for itself what it lost to switches, and for how long it was idle though
 * somebody waited.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/sched/scheduler_wfq.h"

#define MS NS_PER_MS
#define US NS_PER_US
#define S NS_PER_S

enum { VMS = 9, JOBS = 4 };

struct guest {
    uint32_t weight;
    uint64_t job_ns, think_ns;
    uint32_t depth;  /* jobs that it has at a time, JOBS at most */
    uint64_t end_ns; /* it sends no more after that; 0: never stops */
};

struct one_job {
    struct wfq_job job; /* first */
    uint64_t due_ns;    /* when it is sent, WFQ_NEVER: it is with the scheduler */
};

struct gpu {
    struct wfq *wfq;
    const struct guest *guests;
    uint32_t vms;
    struct one_job jobs[VMS][JOBS];
    struct wfq_job *running[WFQ_DEPTH_MAX];
    uint32_t count, last_vm;
    uint64_t now_ns, ends_ns, used_ns;
    uint64_t idle_ns, switching_ns; /* lost */
};

static void begin(struct gpu *gpu, const struct guest *guests, uint32_t vms)
{
    const struct wfq_config config = {.max_vms = VMS,
                                      .depth = WFQ_DEPTH_DEFAULT,
                                      .quantum_ns = WFQ_QUANTUM_DEFAULT_NS,
                                      .anticipation_ns = WFQ_ANTICIPATION_DEFAULT_NS,
                                      .patience_ns = WFQ_PATIENCE_DEFAULT_NS,
                                      .slack_permille = WFQ_SLACK_DEFAULT_PERMILLE,
                                      .policy = WFQ_POLICY_WFQ};

    memset(gpu, 0, sizeof(*gpu));
    gpu->wfq = wfq_init(&config);
    assert_non_null(gpu->wfq);
    gpu->guests = guests;
    gpu->vms = vms;
    gpu->last_vm = UINT32_MAX;
    for (uint32_t vm = 0; vm < vms; vm++) {
        const struct wfq_vm_params params = {.weight = guests[vm].weight, .pool = 'A'};

        wfq_vm_attach(gpu->wfq, vm, &params);
        wfq_vm_set_ready(gpu->wfq, vm, true, 0);
        for (uint32_t i = 0; i < JOBS; i++) {
            gpu->jobs[vm][i].job.vm = vm;
            gpu->jobs[vm][i].due_ns = i < guests[vm].depth ? 0 : WFQ_NEVER;
        }
    }
}

static struct wfq_vm_stats figures(const struct gpu *gpu, uint32_t vm)
{
    struct wfq_vm_stats stats;

    wfq_get_vm_stats(gpu->wfq, vm, gpu->now_ns, &stats);
    return stats;
}

/* Sends what is due; returns when the next is. */
static uint64_t send(struct gpu *gpu)
{
    uint64_t next_ns = WFQ_NEVER;

    for (uint32_t vm = 0; vm < gpu->vms; vm++) {
        for (uint32_t i = 0; i < JOBS; i++) {
            struct one_job *job = &gpu->jobs[vm][i];

            if (job->due_ns <= gpu->now_ns) {
                job->due_ns = WFQ_NEVER;
                wfq_enqueue(gpu->wfq, &job->job, gpu->now_ns);
            } else if (job->due_ns < next_ns) {
                next_ns = job->due_ns;
            }
        }
    }
    return next_ns;
}

/* The job at the head begins. */
static void start(struct gpu *gpu)
{
    uint32_t vm = gpu->running[0]->vm;
    uint64_t switch_ns = vm != gpu->last_vm && gpu->last_vm != UINT32_MAX ? WFQ_SWITCH_COST_NS : 0;

    gpu->switching_ns += switch_ns;
    gpu->last_vm = vm;
    gpu->ends_ns = gpu->now_ns + switch_ns + gpu->guests[vm].job_ns;
}

static void hand_out(struct gpu *gpu)
{
    struct wfq_job *job;

    while ((job = wfq_dequeue(gpu->wfq, gpu->now_ns)) != NULL) {
        gpu->running[gpu->count++] = job;
        if (gpu->count == 1) {
            start(gpu);
        }
    }
}

static void end_job(struct gpu *gpu)
{
    struct one_job *job = (struct one_job *)gpu->running[0];
    const struct guest *guest = &gpu->guests[job->job.vm];

    memmove(gpu->running, gpu->running + 1, --gpu->count * sizeof(gpu->running[0]));
    if (guest->end_ns == 0 || gpu->now_ns < guest->end_ns) {
        job->due_ns = gpu->now_ns + guest->think_ns;
    }
    wfq_complete(gpu->wfq, &job->job, guest->job_ns, false, gpu->now_ns);
    gpu->used_ns += guest->job_ns;
    if (gpu->count > 0) {
        start(gpu);
    }
}

static void run_until(struct gpu *gpu, uint64_t until_ns)
{
    while (gpu->now_ns < until_ns) {
        uint64_t next_ns = send(gpu), wakeup_ns;
        bool idle;

        hand_out(gpu);
        wakeup_ns = wfq_next_wakeup_ns(gpu->wfq);
        idle = gpu->count == 0 && wfq_queue_len(gpu->wfq) > 0;
        if (gpu->count > 0 && gpu->ends_ns < next_ns) {
            next_ns = gpu->ends_ns;
        }
        next_ns = wakeup_ns > gpu->now_ns && wakeup_ns < next_ns ? wakeup_ns : next_ns;
        next_ns = until_ns < next_ns ? until_ns : next_ns;
        gpu->idle_ns += idle ? next_ns - gpu->now_ns : 0;
        gpu->now_ns = next_ns;
        if (gpu->count > 0 && gpu->ends_ns <= gpu->now_ns) {
            end_job(gpu);
        }
    }
}

static void test_saturated(void **state)
{
    static const struct guest guests[] = {
        {.weight = 60, .job_ns = 2 * MS, .depth = 4},
        {.weight = 30, .job_ns = 500 * US, .depth = 4},
        {.weight = 10, .job_ns = 1 * MS, .depth = 4},
    };
    uint64_t entitled_ns = 0, got_ns = 0;
    struct gpu gpu;

    begin(&gpu, guests, 3);
    run_until(&gpu, 10 * S);
    for (uint32_t vm = 0; vm < 3; vm++) {
        struct wfq_vm_stats stats = figures(&gpu, vm);
        uint64_t due_ns = guests[vm].weight * (10 * S / 100);
        uint64_t lost_ns = stats.entitled_ns - stats.gpu_time_ns;

        assert_in_range(stats.entitled_ns, due_ns - 10, due_ns + 10);
        assert_in_range(lost_ns, 0, due_ns / 20 + 20 * MS); /* switches, and what it is owed */
        assert_int_equal(stats.kept_ns, 0);
        assert_in_range(stats.switching_ns, 0, WFQ_SWITCH_COST_NS);
        assert_false(stats.pausing || stats.suspended);
        entitled_ns += stats.entitled_ns;
        got_ns += stats.gpu_time_ns;
    }
    assert_in_range(entitled_ns, 10 * S - 10, 10 * S + 10); /* somebody always had work */
    assert_int_equal(got_ns, gpu.used_ns);
    assert_int_equal(gpu.idle_ns, 0);
    wfq_destroy(gpu.wfq);
}

/* The GPU is idle for those alone who pause, and all of that time is somebody's. */
static void test_kept_idle(void **state)
{
    static const struct guest guests[] = {
        {.weight = 1, .job_ns = 90 * MS, .depth = 4},
        {.weight = 100, .job_ns = 1 * MS, .depth = 1, .think_ns = 1 * MS},
    };
    struct wfq_vm_stats weak, strong;
    struct gpu gpu;

    begin(&gpu, guests, 2);
    run_until(&gpu, 10 * S);
    weak = figures(&gpu, 0);
    strong = figures(&gpu, 1);
    assert_true(gpu.idle_ns > 4 * S);
    assert_in_range(strong.kept_ns, gpu.idle_ns - 2 * MS, gpu.idle_ns); /* but the latest */
    assert_int_equal(weak.kept_ns, 0);
    assert_true(strong.entitled_ns > strong.gpu_time_ns - strong.gpu_time_ns / 50);
    assert_true(weak.entitled_ns + strong.entitled_ns <= 10 * S);
    wfq_destroy(gpu.wfq);
}

static void test_switches_are_theirs_who_cause_them(void **state)
{
    static const struct guest guests[VMS] = {
        {.weight = 100, .job_ns = 1 * MS, .depth = 4},
        {.weight = 1, .job_ns = 10 * US, .depth = 1, .think_ns = 5 * MS},
        {.weight = 1, .job_ns = 10 * US, .depth = 1, .think_ns = 5 * MS},
        {.weight = 1, .job_ns = 10 * US, .depth = 1, .think_ns = 5 * MS},
        {.weight = 1, .job_ns = 10 * US, .depth = 1, .think_ns = 5 * MS},
        {.weight = 1, .job_ns = 10 * US, .depth = 1, .think_ns = 5 * MS},
        {.weight = 1, .job_ns = 10 * US, .depth = 1, .think_ns = 5 * MS},
        {.weight = 1, .job_ns = 10 * US, .depth = 1, .think_ns = 5 * MS},
        {.weight = 1, .job_ns = 10 * US, .depth = 1, .think_ns = 5 * MS},
    };
    uint64_t caused_ns = 0;
    struct gpu gpu;

    begin(&gpu, guests, VMS);
    run_until(&gpu, 10 * S);
    for (uint32_t vm = 1; vm < VMS; vm++) {
        caused_ns += figures(&gpu, vm).switching_ns;
    }
    assert_true(gpu.switching_ns > S / 2);
    assert_in_range(caused_ns, gpu.switching_ns * 7 / 10, gpu.switching_ns);
    assert_in_range(figures(&gpu, 0).switching_ns, 0, caused_ns / 50);
    wfq_destroy(gpu.wfq);
}

/* VM 0 has half of 200 ms ahead of its time and leaves; until V has reached it, it is served in
 * the fluid system, and VM 1 is due its half; then all. */
static void test_due_beside_one_that_left_ahead(void **state)
{
    static const struct guest guests[] = {
        {.weight = 50, .job_ns = 100 * MS, .depth = 1, .end_ns = 1},
        {.weight = 50, .job_ns = 1 * MS, .depth = 4},
    };
    struct gpu gpu;

    begin(&gpu, guests, 2);
    run_until(&gpu, 1 * S);
    assert_in_range(figures(&gpu, 0).entitled_ns, 50 * MS, 55 * MS);
    assert_in_range(figures(&gpu, 1).entitled_ns, 899 * MS, 901 * MS);
    wfq_destroy(gpu.wfq);
}

static void test_nobody_is_entitled_while_paused(void **state)
{
    static const struct guest guests[] = {{.weight = 50, .job_ns = 1 * MS, .depth = 4}};
    struct wfq_vm_stats before, after;
    struct gpu gpu;

    begin(&gpu, guests, 1);
    run_until(&gpu, 100 * MS);
    wfq_set_paused(gpu.wfq, true, gpu.now_ns);
    before = figures(&gpu, 0);
    run_until(&gpu, 1100 * MS);
    after = figures(&gpu, 0);
    assert_int_equal(after.queue_depth, 4);
    assert_int_equal(before.entitled_ns, 100 * MS);
    assert_int_equal(after.entitled_ns, before.entitled_ns);
    wfq_set_paused(gpu.wfq, false, gpu.now_ns);
    run_until(&gpu, 1150 * MS);
    assert_in_range(figures(&gpu, 0).entitled_ns, 150 * MS - 1, 150 * MS + 1);
    wfq_destroy(gpu.wfq);
}

/* The price of its latest turn, which it can't earn back any more, is in the last figures. */
static void test_last_figures(void **state)
{
    static const struct guest guests[] = {
        {.weight = 50, .job_ns = 1 * MS, .depth = 4},
        {.weight = 50, .job_ns = 10 * US, .depth = 1, .end_ns = 1},
    };
    struct wfq_vm_stats before, last;
    struct gpu gpu;

    begin(&gpu, guests, 2);
    run_until(&gpu, 1 * S);
    before = figures(&gpu, 1);
    assert_int_equal(before.completed, 1);
    wfq_vm_detach(gpu.wfq, 1, gpu.now_ns, &last);
    assert_int_equal(last.completed, 1);
    assert_int_equal(last.gpu_time_ns, before.gpu_time_ns);
    assert_int_equal(last.entitled_ns, before.entitled_ns);
    assert_true(last.entitled_ns > 0);
    assert_in_range(last.switching_ns, WFQ_SWITCH_COST_NS * 9 / 10, WFQ_SWITCH_COST_NS);
    wfq_destroy(gpu.wfq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saturated),
        cmocka_unit_test(test_kept_idle),
        cmocka_unit_test(test_switches_are_theirs_who_cause_them),
        cmocka_unit_test(test_due_beside_one_that_left_ahead),
        cmocka_unit_test(test_nobody_is_entitled_while_paused),
        cmocka_unit_test(test_last_figures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
