/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/sched/scheduler_wfq.h"

#define MS NS_PER_MS
#define US NS_PER_US

static struct wfq *make(enum wfq_policy_id policy)
{
    const struct wfq_config config = {
        .max_vms = 32,
        .depth = 2,
        .quantum_ns = 6 * MS,
        .anticipation_ns = 1 * MS,
        .policy = policy,
    };

    return wfq_init(&config);
}

static void add_vm(struct wfq *wfq, uint32_t vm, uint32_t weight, uint32_t priority, char pool)
{
    const struct wfq_vm_params params = {.weight = weight, .priority = priority, .pool = pool};

    wfq_vm_attach(wfq, vm, &params);
    wfq_vm_set_ready(wfq, vm, true, 0);
}

/* VMs 0 and 1 of medium priority in one pool. */
static struct wfq *make_pair(enum wfq_policy_id policy, uint32_t weight0, uint32_t weight1)
{
    struct wfq *wfq = make(policy);

    add_vm(wfq, 0, weight0, 1, 'A');
    add_vm(wfq, 1, weight1, 1, 'A');
    return wfq;
}

static struct wfq_job *submit(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct wfq_job *job = calloc(1, sizeof(*job));

    job->vm = vm;
    wfq_enqueue(wfq, job, now_ns);
    return job;
}

/* A job of each of these VMs, in this order, all at time 0. */
static void submit_each(struct wfq *wfq, const uint32_t *vms, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        submit(wfq, vms[i], 0);
    }
}

static void finish(struct wfq *wfq, struct wfq_job *job, uint64_t gpu_ns, uint64_t now_ns)
{
    wfq_complete(wfq, job, gpu_ns, false, now_ns);
    free(job);
}

/* The job that was dispatched first of those in flight. */
static struct wfq_job *take_first(struct wfq_job **flying, uint32_t *count)
{
    struct wfq_job *first = flying[0];

    memmove(flying, flying + 1, --*count * sizeof(flying[0]));
    return first;
}

/* One job after the other, each `cost` of its VM, `depth` waiting; returns the time. */
static uint64_t saturate(struct wfq *wfq, const uint64_t *cost_ns, uint32_t vms, uint64_t now_ns,
                         uint64_t for_ns)
{
    uint64_t end_ns = now_ns + for_ns;
    struct wfq_job *flying[WFQ_DEPTH_MAX];
    uint32_t count = 0;

    for (uint32_t vm = 0; vm < vms; vm++) {
        while (wfq_vm_queue_depth(wfq, vm) < 4) {
            submit(wfq, vm, now_ns);
        }
    }
    while (now_ns < end_ns) {
        struct wfq_job *job;

        while ((job = wfq_dequeue(wfq, now_ns)) != NULL) {
            flying[count++] = job;
        }
        assert_true(count > 0);
        job = take_first(flying, &count);
        now_ns += cost_ns[job->vm];
        submit(wfq, job->vm, now_ns);
        finish(wfq, job, cost_ns[job->vm], now_ns);
    }
    while (count > 0) {
        struct wfq_job *job = take_first(flying, &count);

        now_ns += cost_ns[job->vm];
        finish(wfq, job, cost_ns[job->vm], now_ns);
    }
    return now_ns;
}

static void drain(struct wfq *wfq, uint32_t vms)
{
    for (uint32_t vm = 0; vm < vms; vm++) {
        struct wfq_job *job;

        while ((job = wfq_take_queued(wfq, vm, UINT64_MAX / 2)) != NULL) {
            free(job);
        }
    }
    wfq_destroy(wfq);
}

static double share(const struct wfq *wfq, uint32_t vm)
{
    struct wfq_vm_stats stats;

    wfq_get_vm_stats(wfq, vm, 0, &stats);
    return (double)stats.gpu_time_ns / (double)wfq_busy_ns(wfq);
}

static void test_formula(void **state)
{
    /* base * weight/50 * (1 + depth/10) * (1 + waited/10 s), worked out by hand */
    assert_float_equal(wfq_urgency(0, 50, 0, 0), 1.0, 1e-12);
    assert_float_equal(wfq_urgency(2, 50, 0, 0), 4.0, 1e-12);
    assert_float_equal(wfq_urgency(1, 100, 0, 0), 4.0, 1e-12);
    assert_float_equal(wfq_urgency(1, 25, 10, 0), 2.0, 1e-12);
    assert_float_equal(wfq_urgency(0, 62.5, 0, 0), 1.25, 1e-12);
    assert_float_equal(wfq_urgency(0, 0.25, 0, 0), 0.005, 1e-12);
    assert_float_equal(wfq_urgency(0, 50, 0, 10000000000ull), 2.0, 1e-12);
    assert_float_equal(wfq_urgency(2, 80, 5, 5000000000ull), 4 * 1.6 * 1.5 * 1.5, 1e-12);
}

static void test_weights_are_shares(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_WFQ, 80, 20);
    const uint64_t cost[] = {MS, MS};

    saturate(wfq, cost, 2, 0, 10000 * MS);
    assert_float_equal(share(wfq, 0), 0.8, 0.002);
    assert_float_equal(share(wfq, 1), 0.2, 0.002);
    drain(wfq, 2);
}

/* The same load under the formula alone: it starves the lighter VM. */
static void test_urgency_alone_starves(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_URGENCY, 80, 20);
    const uint64_t cost[] = {MS, MS};

    saturate(wfq, cost, 2, 0, 20000 * MS);
    assert_true(share(wfq, 1) < 0.01);
    drain(wfq, 2);
}

/* GPU time is shared, not jobs; and what a job costs need not be known before. */
static void test_shares_with_unequal_jobs(void **state)
{
    struct wfq *wfq = make(WFQ_POLICY_WFQ);
    const uint64_t cost[] = {50 * US, 50 * MS, 3 * MS};
    struct wfq_vm_stats stats;

    add_vm(wfq, 0, 30, 0, 'A');
    add_vm(wfq, 1, 30, 0, 'A');
    add_vm(wfq, 2, 10, 2, 'A');
    saturate(wfq, cost, 3, 0, 60000 * MS);
    assert_float_equal(share(wfq, 0), 0.30, 0.005);
    assert_float_equal(share(wfq, 1), 0.30, 0.005);
    assert_float_equal(share(wfq, 2), 0.40, 0.005);
    for (uint32_t vm = 0; vm < 3; vm++) {
        wfq_get_vm_stats(wfq, vm, 0, &stats);
        assert_true((uint64_t)stats.max_lag_ns <= wfq_lag_bound_ns(wfq, vm));
        assert_true(stats.max_lag_ns > 0);
    }
    drain(wfq, 3);
}

static void test_weight_changes_live(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_WFQ, 10, 10);
    const uint64_t cost[] = {MS, MS};
    const struct wfq_vm_params heavy = {.weight = 90, .priority = 1, .pool = 'A'};
    struct wfq_vm_stats before, after;
    uint64_t now_ns;

    now_ns = saturate(wfq, cost, 2, 0, 5000 * MS);
    wfq_get_vm_stats(wfq, 0, now_ns, &before);
    assert_float_equal(share(wfq, 0), 0.5, 0.01);
    wfq_vm_update(wfq, 0, &heavy, now_ns);
    saturate(wfq, cost, 2, now_ns, 5000 * MS);
    wfq_get_vm_stats(wfq, 0, now_ns, &after);
    assert_float_equal((double)(after.gpu_time_ns - before.gpu_time_ns) / (5000.0 * MS), 0.9, 0.01);
    drain(wfq, 2);
}

/* A turn lasts a quantum, so switches are few; alone there are none at all. */
static void test_quantum_amortises_switches(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_WFQ, 50, 50);
    const uint64_t cost[] = {100 * US, 100 * US};

    saturate(wfq, cost, 2, 0, 6000 * MS);
    assert_in_range(wfq_context_switches(wfq), 900, 1100); /* one in 6 ms */
    drain(wfq, 2);

    wfq = make(WFQ_POLICY_WFQ);
    add_vm(wfq, 0, 50, 1, 'A');
    saturate(wfq, cost, 1, 0, 1000 * MS);
    assert_int_equal(wfq_context_switches(wfq), 1);
    drain(wfq, 1);
}

static void test_depth_and_one_vm_at_a_time(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_WFQ, 50, 50);
    struct wfq_job *a[2];

    for (int i = 0; i < 4; i++) {
        submit(wfq, 0, 0);
    }
    a[0] = wfq_dequeue(wfq, 0);
    assert_null(wfq_dequeue(wfq, 0)); /* how long its jobs are is not known yet */
    finish(wfq, a[0], MS, MS);
    a[0] = wfq_dequeue(wfq, MS);
    a[1] = wfq_dequeue(wfq, MS);
    assert_non_null(a[1]);
    assert_null(wfq_dequeue(wfq, MS)); /* depth */
    submit(wfq, 1, MS);
    finish(wfq, a[0], 8 * MS, 8 * MS);
    assert_null(wfq_dequeue(wfq, 8 * MS)); /* the quantum is used up: drain first */
    finish(wfq, a[1], 1 * MS, 9 * MS);
    a[0] = wfq_dequeue(wfq, 9 * MS);
    assert_int_equal(a[0]->vm, 1);
    finish(wfq, a[0], MS, 10 * MS);
    drain(wfq, 2);
}

/* A VM that was idle gets no back pay, and does not lose what it had ahead either. */
static void test_idle_earns_nothing(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_WFQ, 50, 50);
    const uint64_t cost[] = {MS, MS};
    struct wfq_vm_stats before, after;
    uint64_t now_ns;

    now_ns = saturate(wfq, cost, 1, 0, 10000 * MS); /* only VM 0 */
    wfq_get_vm_stats(wfq, 0, now_ns, &before);
    saturate(wfq, cost, 2, now_ns, 2000 * MS);
    wfq_get_vm_stats(wfq, 0, now_ns, &after);
    assert_float_equal((double)(after.gpu_time_ns - before.gpu_time_ns) / (2000.0 * MS), 0.5, 0.01);
    drain(wfq, 2);
}

/* VM 0 has one job at a time and pauses for 100 us, as a guest without rings does it; VM 1
 * always has work.  Jobs take 1 ms. */
static void play_one_at_a_time(struct wfq *wfq, uint64_t begin_ns, uint64_t until_ns)
{
    uint64_t now_ns = begin_ns, end_ns = UINT64_MAX, next_ns = begin_ns;
    struct wfq_job *flying[WFQ_DEPTH_MAX];
    uint32_t count = 0, unfinished = 8;

    for (int i = 0; i < 8; i++) {
        submit(wfq, 1, now_ns);
    }
    while (now_ns < until_ns || unfinished > 0) {
        struct wfq_job *job;

        if (now_ns >= next_ns && now_ns < until_ns) {
            submit(wfq, 0, now_ns);
            unfinished++;
            next_ns = UINT64_MAX;
        }
        while ((job = wfq_dequeue(wfq, now_ns)) != NULL) {
            flying[count++] = job;
            end_ns = count == 1 ? now_ns + MS : end_ns;
        }
        if (count > 0 && end_ns <= now_ns) {
            job = take_first(flying, &count);
            end_ns = count > 0 ? now_ns + MS : UINT64_MAX;
            unfinished--;
            if (now_ns < until_ns && job->vm == 1) {
                submit(wfq, 1, now_ns);
                unfinished++;
            } else if (now_ns < until_ns) {
                next_ns = now_ns + 100 * US;
            }
            finish(wfq, job, MS, now_ns);
            continue;
        }
        now_ns = end_ns < next_ns ? end_ns : next_ns;
        if (wfq_next_wakeup_ns(wfq) < now_ns) {
            now_ns = wfq_next_wakeup_ns(wfq);
        }
    }
}

static void test_anticipation_keeps_shares(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_WFQ, 80, 20);

    play_one_at_a_time(wfq, 0, 5000 * MS);
    /* Its pauses are charged to it: 80 % * 1000/1100 is what it can get. */
    assert_in_range((uint64_t)(1000 * share(wfq, 0)), 750, 810);
    drain(wfq, 2);
}

/* A VM that was away for long is not taken for one that is slow. */
static void test_anticipation_after_a_long_pause(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_WFQ, 80, 20);
    struct wfq_vm_stats before, after;

    play_one_at_a_time(wfq, 0, 1000 * MS);
    wfq_get_vm_stats(wfq, 0, 5000 * MS, &before);
    play_one_at_a_time(wfq, 5000 * MS, 5020 * MS);
    wfq_get_vm_stats(wfq, 0, 5020 * MS, &after);
    assert_in_range((after.gpu_time_ns - before.gpu_time_ns) / MS, 12, 16);
    drain(wfq, 2);
}

static void test_overrun_lets_the_next_in(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_WFQ, 50, 50);
    struct wfq_job *hog, *job;
    struct wfq_vm_stats stats;
    uint64_t now_ns = 100 * MS;

    add_vm(wfq, 2, 50, 1, 'A');
    submit(wfq, 0, 0);
    hog = wfq_dequeue(wfq, 0);
    assert_false(wfq_set_aside(wfq, 0, now_ns)); /* nobody waits */
    submit(wfq, 1, now_ns);
    assert_null(wfq_dequeue(wfq, now_ns));
    assert_true(wfq_set_aside(wfq, 0, now_ns));
    submit(wfq, 0, now_ns); /* must wait: its VM is aside */
    job = wfq_dequeue(wfq, now_ns);
    assert_int_equal(job->vm, 1);
    assert_false(wfq_set_aside(wfq, 1, now_ns)); /* VM 0 may not run, and nobody else waits */
    now_ns += 10 * MS;
    /* Of 10 ms the first slice, 2 ms, was its own, and half of the rest. */
    wfq_complete(wfq, job, 10 * MS, true, now_ns);
    free(job);
    wfq_get_vm_stats(wfq, 1, now_ns, &stats);
    assert_in_range(stats.gpu_time_ns, 6 * MS - 1, 6 * MS + 1);
    assert_null(wfq_dequeue(wfq, now_ns));
    wfq_complete(wfq, hog, 999 * MS, true, now_ns);
    free(hog);
    wfq_get_vm_stats(wfq, 0, now_ns, &stats);
    assert_in_range(stats.gpu_time_ns, 105 * MS - 1, 105 * MS + 1); /* half of the time beside */
    job = wfq_dequeue(wfq, now_ns);
    assert_int_equal(job->vm, 0);
    finish(wfq, job, MS, now_ns + MS);
    drain(wfq, 3);
}

static void test_pause(void **state)
{
    struct wfq *wfq = make(WFQ_POLICY_WFQ);
    struct wfq_job *job;

    add_vm(wfq, 0, 50, 1, 'A');
    wfq_set_paused(wfq, true, 0);
    submit(wfq, 0, 0);
    assert_null(wfq_dequeue(wfq, MS));
    wfq_set_paused(wfq, false, MS);
    job = wfq_dequeue(wfq, MS);
    assert_non_null(job);
    finish(wfq, job, MS, 2 * MS);
    drain(wfq, 1);
}

/* Runs what waits, one by one, and writes the VMs' numbers down. */
static void order_of_service(struct wfq *wfq, uint32_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct wfq_job *job = wfq_dequeue(wfq, i * MS);

        assert_non_null(job);
        order[i] = job->vm;
        finish(wfq, job, MS, (i + 1) * MS);
    }
}

static void test_fifo(void **state)
{
    struct wfq *wfq = make(WFQ_POLICY_FIFO);
    const uint32_t arrivals[] = {2, 0, 1, 1, 0, 2};
    uint32_t order[6];

    for (uint32_t vm = 0; vm < 3; vm++) {
        add_vm(wfq, vm, 1 + 40 * vm, vm, 'A');
    }
    submit_each(wfq, arrivals, 6);
    order_of_service(wfq, order, 6);
    assert_memory_equal(order, arrivals, sizeof(order));
    drain(wfq, 3);
}

static void test_priority(void **state)
{
    struct wfq *wfq = make(WFQ_POLICY_PRIORITY);
    /* Pools take turns A B A B; in A the high VM 1 before the low VM 0. */
    const uint32_t expected[] = {1, 2, 0, 3, 2};
    uint32_t order[5];

    add_vm(wfq, 0, 50, 0, 'A');
    add_vm(wfq, 1, 50, 2, 'A');
    add_vm(wfq, 2, 50, 1, 'B');
    add_vm(wfq, 3, 50, 1, 'B');
    submit_each(wfq, (const uint32_t[]){0, 1, 2, 3, 2}, 5);
    order_of_service(wfq, order, 5);
    assert_memory_equal(order, expected, sizeof(order));
    drain(wfq, 4);
}

static void test_preferred_breaks_ties(void **state)
{
    struct wfq *wfq = make(WFQ_POLICY_PRIORITY);
    const uint32_t expected[] = {2, 1, 0};
    uint32_t order[3];

    add_vm(wfq, 0, 50, 0, 'A');
    add_vm(wfq, 1, 50, 0, 'A');
    add_vm(wfq, 2, 50, 1, 'A'); /* higher priority: no tie to break */
    wfq_set_preferred(wfq, 1);
    submit_each(wfq, (const uint32_t[]){0, 1, 2}, 3);
    order_of_service(wfq, order, 3);
    assert_memory_equal(order, expected, sizeof(order));
    drain(wfq, 3);
}

/* Whoever comes and goes in whatever order: the sum of the shares is exact, and 0 at the end. */
static void test_sums_of_shares_are_exact(void **state)
{
    enum { WEIGHTS = 9901 };
    double sum = 0;

    for (uint32_t n = 0; n < WEIGHTS; n++) {
        sum += wfq_share(1 + n / 100.0, n % 3);
    }
    for (uint32_t n = 0, at = 0; n < WEIGHTS; n++, at = (at + 3571) % WEIGHTS) {
        sum -= wfq_share(1 + at / 100.0, at % 3);
    }
    assert_true(sum == 0);
    assert_true(wfq_share(62.5, 1) == 125 && wfq_share(100, 2) == 400 && wfq_share(1, 0) == 1);
}

/* High before low whatever the pool, then the order of arrival. */
static void test_priority_over_all_pools(void **state)
{
    struct wfq *wfq = make(WFQ_POLICY_PRIORITY_ALL);
    const uint32_t expected[] = {3, 3, 1, 2, 0};
    uint32_t order[5];

    add_vm(wfq, 0, 50, 0, 'A');
    add_vm(wfq, 1, 50, 1, 'A');
    add_vm(wfq, 2, 50, 1, 'B');
    add_vm(wfq, 3, 50, 2, 'B');
    submit_each(wfq, (const uint32_t[]){0, 1, 2, 3, 3}, 5);
    order_of_service(wfq, order, 5);
    assert_memory_equal(order, expected, sizeof(order));
    drain(wfq, 4);
}

/* Pool B has all its jobs served before A's turn comes, and B's order is by priority still. */
static void test_preferred_pool_goes_first(void **state)
{
    struct wfq *wfq = make(WFQ_POLICY_PRIORITY);
    const uint32_t expected[] = {3, 2, 2, 1, 0};
    uint32_t order[5];

    add_vm(wfq, 0, 50, 0, 'A');
    add_vm(wfq, 1, 50, 2, 'A');
    add_vm(wfq, 2, 50, 0, 'B');
    add_vm(wfq, 3, 50, 1, 'B');
    wfq_set_preferred(wfq, 2);
    submit_each(wfq, (const uint32_t[]){0, 1, 2, 3, 2}, 5);
    order_of_service(wfq, order, 5);
    assert_memory_equal(order, expected, sizeof(order));
    drain(wfq, 4);
}

static void test_policy_switch_keeps_jobs(void **state)
{
    struct wfq *wfq = make(WFQ_POLICY_FIFO);
    uint32_t order[3];

    add_vm(wfq, 0, 1, 0, 'A');
    add_vm(wfq, 1, 100, 2, 'A');
    submit_each(wfq, (const uint32_t[]){0, 0, 1}, 3);
    wfq_set_policy(wfq, WFQ_POLICY_WFQ);
    order_of_service(wfq, order, 3);
    assert_int_equal(order[0], 1); /* the most urgent of those that are even */
    assert_int_equal(wfq_queue_len(wfq), 0);
    drain(wfq, 2);
}

static void test_dispatch_log_gives_reasons(void **state)
{
    struct wfq *wfq = make_pair(WFQ_POLICY_WFQ, 50, 60);
    struct wfq_dispatch log[8];
    uint32_t order[3];

    submit_each(wfq, (const uint32_t[]){0, 1, 1}, 3);
    order_of_service(wfq, order, 3);
    assert_int_equal(wfq_dispatch_log(wfq, log, 8), 3);
    assert_int_equal(log[0].vm, 1);
    assert_int_equal(log[0].reason, WFQ_REASON_URGENT);
    assert_int_equal(log[0].eligible_vms, 2);
    assert_int_equal(log[0].waiting_vms, 2);
    assert_int_equal(log[1].reason, WFQ_REASON_TURN);
    assert_int_equal(log[2].reason, WFQ_REASON_ALONE);
    assert_int_equal(log[2].waited_ns, 2 * MS);
    drain(wfq, 2);
}

/* Many VMs with equal accounts: the vector scan finds the same as the formula. */
static void test_scan_agrees_with_formula(void **state)
{
    srand(7);
    for (int round = 0; round < 200; round++) {
        struct wfq *wfq = make(WFQ_POLICY_URGENCY);
        uint32_t n = 1 + (uint32_t)rand() % 31, best = 0;
        double most = -1;
        struct wfq_job *job;
        uint32_t weight[32], priority[32], depth[32];
        uint64_t arrival[32];

        for (uint32_t vm = 0; vm < n; vm++) {
            weight[vm] = 1 + (uint32_t)rand() % 100;
            priority[vm] = (uint32_t)rand() % 3;
            depth[vm] = 1 + (uint32_t)rand() % 5;
            arrival[vm] = vm * MS;
            add_vm(wfq, vm, weight[vm], priority[vm], 'A');
            for (uint32_t i = 0; i < depth[vm]; i++) {
                submit(wfq, vm, arrival[vm]);
            }
        }
        for (uint32_t vm = 0; vm < n; vm++) {
            double u = wfq_urgency(priority[vm], weight[vm], depth[vm], 5000 * MS - arrival[vm]);

            if (u > most) {
                most = u;
                best = vm;
            }
        }
        job = wfq_dequeue(wfq, 5000 * MS);
        assert_int_equal(job->vm, best);
        finish(wfq, job, MS, 5001 * MS);
        drain(wfq, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula),
        cmocka_unit_test(test_weights_are_shares),
        cmocka_unit_test(test_urgency_alone_starves),
        cmocka_unit_test(test_shares_with_unequal_jobs),
        cmocka_unit_test(test_weight_changes_live),
        cmocka_unit_test(test_quantum_amortises_switches),
        cmocka_unit_test(test_depth_and_one_vm_at_a_time),
        cmocka_unit_test(test_idle_earns_nothing),
        cmocka_unit_test(test_anticipation_keeps_shares),
        cmocka_unit_test(test_anticipation_after_a_long_pause),
        cmocka_unit_test(test_overrun_lets_the_next_in),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_fifo),
        cmocka_unit_test(test_priority),
        cmocka_unit_test(test_preferred_breaks_ties),
        cmocka_unit_test(test_sums_of_shares_are_exact),
        cmocka_unit_test(test_priority_over_all_pools),
        cmocka_unit_test(test_preferred_pool_goes_first),
        cmocka_unit_test(test_policy_switch_keeps_jobs),
        cmocka_unit_test(test_dispatch_log_gives_reasons),
        cmocka_unit_test(test_scan_agrees_with_formula),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
