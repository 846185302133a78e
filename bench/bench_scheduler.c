/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What choosing the next job costs.
 *
 * A "world" is a few schedulers of the same shape: so many backlogged VMs, so
 * many waiting jobs.  A round takes one job from each (timed: wfq_dequeue()
 * alone, in one go, so that reading the clock does not count), completes it
 * (timed) and puts a job back (timed), which leaves the world as it was.  The
 * quantum is so short that every dequeue is a choice among all VMs, never the
 * rest of a turn.  Worlds that are compared take rounds in turn, so that
 * whatever disturbs the machine disturbs both, and medians are compared.
 *
 * Jobs lie in one arena per world, in random order; for a million jobs it is
 * far larger than the caches and than what the TLB covers.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "common/clock.h"
#include "core/sched/policy.h"
#include "core/sched/scheduler_wfq.h"

#define SCHEDULERS 4u
#define ROUNDS_MAX 200000u

/* In the mediator a job has its request with it, and lines of its own. */
struct bench_job {
    _Alignas(64) struct wfq_job job;
};

struct world {
    struct wfq *schedulers[SCHEDULERS];
    struct bench_job *arena;
    struct wfq_job *taken[SCHEDULERS];
    uint32_t vms, jobs;
    enum wfq_policy_id policy;
    uint64_t now_ns;
    size_t samples;
    double *dequeue_ns, *complete_ns, *enqueue_ns;
};

static struct wfq *make_scheduler(struct world *world, uint32_t index)
{
    const struct wfq_config config = {
        .max_vms = world->vms, .depth = 1, .quantum_ns = 1, .policy = world->policy};
    struct wfq *wfq = bench_must(wfq_init(&config));
    uint32_t *order = bench_must(calloc(world->jobs, sizeof(*order)));

    for (uint32_t vm = 0; vm < world->vms; vm++) {
        const struct wfq_vm_params params = {
            .weight = 1 + (uint32_t)(bench_random() % 100),
            .priority = (uint32_t)(bench_random() % 3),
            .pool = 'A',
        };

        wfq_vm_attach(wfq, vm, &params);
        wfq_vm_set_ready(wfq, vm, true, 0);
    }
    for (uint32_t i = 0; i < world->jobs; i++) {
        uint32_t at = (uint32_t)(bench_random() % (i + 1));

        order[i] = order[at];
        order[at] = i;
    }
    assert(world->vms > 0);
    for (uint32_t i = 0; i < world->jobs; i++) {
        struct wfq_job *job = &world->arena[(size_t)index * world->jobs + order[i]].job;

        job->vm = i % world->vms;
        wfq_enqueue(wfq, job, ++world->now_ns);
    }
    free(order);
    return wfq;
}

static void world_init(struct world *world, enum wfq_policy_id policy, uint32_t vms, uint32_t jobs)
{
    memset(world, 0, sizeof(*world));
    world->policy = policy;
    world->vms = vms;
    world->jobs = jobs;
    world->arena = bench_must(aligned_alloc(64, (size_t)SCHEDULERS * jobs * sizeof(*world->arena)));
    memset(world->arena, 0, (size_t)SCHEDULERS * jobs * sizeof(*world->arena));
    world->dequeue_ns = bench_must(calloc(ROUNDS_MAX, sizeof(double)));
    world->complete_ns = bench_must(calloc(ROUNDS_MAX, sizeof(double)));
    world->enqueue_ns = bench_must(calloc(ROUNDS_MAX, sizeof(double)));
    for (uint32_t i = 0; i < SCHEDULERS; i++) {
        world->schedulers[i] = make_scheduler(world, i);
    }
}

static void world_free(struct world *world)
{
    for (uint32_t i = 0; i < SCHEDULERS; i++) {
        wfq_destroy(world->schedulers[i]);
    }
    free(world->arena);
    free(world->dequeue_ns);
    free(world->complete_ns);
    free(world->enqueue_ns);
}

static void world_round(struct world *world, bool count)
{
    uint64_t job_ns = 50000 + bench_random() % NS_PER_MS;
    uint64_t t0, t1, t2, t3;

    t0 = clock_now_ns();
    for (uint32_t i = 0; i < SCHEDULERS; i++) {
        world->taken[i] = wfq_dequeue(world->schedulers[i], world->now_ns);
    }
    t1 = clock_now_ns();
    world->now_ns += job_ns;
    for (uint32_t i = 0; i < SCHEDULERS; i++) {
        if (!world->taken[i]) {
            fprintf(stderr, "bench_scheduler: the scheduler chose nobody: that is a bug\n");
            exit(1);
        }
        wfq_complete(world->schedulers[i], world->taken[i], job_ns, false, world->now_ns);
    }
    t2 = clock_now_ns();
    for (uint32_t i = 0; i < SCHEDULERS; i++) {
        wfq_enqueue(world->schedulers[i], world->taken[i], world->now_ns);
    }
    t3 = clock_now_ns();
    if (count) {
        world->dequeue_ns[world->samples] = (double)(t1 - t0) / SCHEDULERS;
        world->complete_ns[world->samples] = (double)(t2 - t1) / SCHEDULERS;
        world->enqueue_ns[world->samples++] = (double)(t3 - t2) / SCHEDULERS;
    }
}

/* Rounds of all worlds in turn. */
static void measure(struct world *worlds, uint32_t count, uint32_t rounds)
{
    for (uint32_t round = 0; round < rounds / 10; round++) {
        for (uint32_t i = 0; i < count; i++) {
            world_round(&worlds[i], false);
        }
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < count; i++) {
            world_round(&worlds[i], true);
        }
    }
}

static double median(double *values, const struct world *world)
{
    return bench_quantile(values, world->samples, 0.5);
}

static void bench_vms(uint32_t rounds)
{
    struct world worlds[3];

    world_init(&worlds[0], WFQ_POLICY_WFQ, 16, 1024);
    world_init(&worlds[1], WFQ_POLICY_WFQ, 128, 8192);
    world_init(&worlds[2], WFQ_POLICY_WFQ, 1024, 65536);
    measure(worlds, 3, rounds);
    bench_figure_at_most("choose: wfq_dequeue, 16 backlogged VMs", "ns",
                         median(worlds[0].dequeue_ns, &worlds[0]), 150);
    bench_figure("choose: wfq_dequeue, 128 backlogged VMs", "ns",
                 median(worlds[1].dequeue_ns, &worlds[1]));
    bench_figure_at_most("choose: wfq_dequeue, 1024 backlogged VMs", "ns",
                         median(worlds[2].dequeue_ns, &worlds[2]), 1000);
    bench_figure("wfq_complete, 16 VMs", "ns", median(worlds[0].complete_ns, &worlds[0]));
    bench_figure("wfq_complete, 1024 VMs", "ns", median(worlds[2].complete_ns, &worlds[2]));
    bench_figure("wfq_enqueue, 16 VMs", "ns", median(worlds[0].enqueue_ns, &worlds[0]));
    bench_figure("wfq_enqueue, 1024 VMs", "ns", median(worlds[2].enqueue_ns, &worlds[2]));
    for (uint32_t i = 0; i < 3; i++) {
        world_free(&worlds[i]);
    }
}

static void bench_wf2q(uint32_t rounds)
{
    struct world worlds[2];

    world_init(&worlds[0], WFQ_POLICY_WF2Q, 16, 1024);
    world_init(&worlds[1], WFQ_POLICY_WF2Q, 1024, 65536);
    measure(worlds, 2, rounds);
    bench_figure("choose: wf2q, 16 backlogged VMs", "ns", median(worlds[0].dequeue_ns, &worlds[0]));
    bench_figure("choose: wf2q, 1024 backlogged VMs", "ns",
                 median(worlds[1].dequeue_ns, &worlds[1]));
    world_free(&worlds[0]);
    world_free(&worlds[1]);
}

/* A thousand jobs against a million, for the same VMs. */
static double compare_jobs(uint32_t vms, uint32_t rounds, double *few_ns, double *many_ns)
{
    struct world worlds[2];

    world_init(&worlds[0], WFQ_POLICY_WFQ, vms, 1024);
    world_init(&worlds[1], WFQ_POLICY_WFQ, vms, 1024 * 1024);
    measure(worlds, 2, rounds);
    *few_ns = median(worlds[0].dequeue_ns, &worlds[0]);
    *many_ns = median(worlds[1].dequeue_ns, &worlds[1]);
    world_free(&worlds[0]);
    world_free(&worlds[1]);
    return *many_ns / *few_ns;
}

static void bench_waiting_jobs(uint32_t rounds)
{
    double few_ns, many_ns, ratio = compare_jobs(64, rounds, &few_ns, &many_ns);

    bench_figure("choose: 64 VMs, 1k jobs wait", "ns", few_ns);
    bench_figure("choose: 64 VMs, 1M jobs wait", "ns", many_ns);
    bench_figure_at_most("choose: 64 VMs, 1M jobs against 1k", "ratio", ratio, 1.2);
    /* No target: with so many VMs their oldest jobs alone are more than the TLB covers. */
    ratio = compare_jobs(512, rounds, &few_ns, &many_ns);
    bench_figure("choose: 512 VMs, 1M jobs against 1k", "ratio", ratio);
}

/* The policy's scan alone, over arrays that change a little each time. */
static double scan_ns(const struct policy *policy, uint32_t count, uint32_t batches)
{
    enum { BATCH = 64 };
    double *start = bench_must(calloc(count + POLICY_LANES, sizeof(double)));
    double *finish = bench_must(calloc(count + POLICY_LANES, sizeof(double)));
    double *urgency0 = bench_must(calloc(count + POLICY_LANES, sizeof(double)));
    double *arrival = bench_must(calloc(count + POLICY_LANES, sizeof(double)));
    uint64_t *sequence = bench_must(calloc(count + POLICY_LANES, sizeof(uint64_t)));
    uint32_t *vm = bench_must(calloc(count + POLICY_LANES, sizeof(uint32_t)));
    struct wfq_vm_params *params = bench_must(calloc(count, sizeof(*params)));
    double *samples = bench_must(calloc(batches, sizeof(double)));
    struct policy_view view = {.count = count,
                               .vm = vm,
                               .start = start,
                               .finish = finish,
                               .urgency0 = urgency0,
                               .arrival_ns = arrival,
                               .sequence = sequence,
                               .v = 500,
                               .now_ns = 2e9,
                               .params = params,
                               .preferred = UINT32_MAX};
    double result;

    for (uint32_t i = 0; i < count + POLICY_LANES; i++) {
        start[i] = i < count ? (double)(bench_random() % 1000) : 1e300;
        finish[i] = start[i] + 1000;
        urgency0[i] = i < count ? 1 + (double)(bench_random() % 400) / 50 : -1;
        arrival[i] = (double)(bench_random() % 1000000000);
        sequence[i] = i;
        vm[i] = i;
    }
    for (uint32_t i = 0; i < count; i++) {
        params[i] = (struct wfq_vm_params){.weight = 50, .priority = 1, .pool = 'A'};
    }
    for (uint32_t batch = 0; batch < batches; batch++) {
        uint64_t began_ns = clock_now_ns();

        for (uint32_t i = 0; i < BATCH; i++) {
            struct policy_choice choice;

            policy->choose(&view, &choice);
            BENCH_KEEP(choice.index);
            urgency0[choice.index] = 1 + (double)(i % 7);
            start[choice.index] = i % 1000;
        }
        samples[batch] = (double)(clock_now_ns() - began_ns) / BATCH;
    }
    result = bench_quantile(samples, batches, 0.5);
    free(start);
    free(finish);
    free(urgency0);
    free(arrival);
    free(sequence);
    free(vm);
    free(params);
    free(samples);
    return result;
}

int main(int argc, char **argv)
{
    struct bench_options options;
    int status = bench_parse(&options, "bench_scheduler",
                             "What choosing the next job costs, in the scheduler of one GPU: by\n"
                             "the number of backlogged VMs and of waiting jobs.\n",
                             argc, argv);
    uint32_t rounds;

    if (status >= 0) {
        return status;
    }
    rounds = options.quick ? 5000 : 50000;
    bench_vms(rounds);
    bench_wf2q(rounds);
    bench_waiting_jobs(rounds);
    bench_figure("scan of policy wfq alone, 16 VMs", "ns", scan_ns(&policy_wfq, 16, rounds / 20));
    bench_figure("scan of policy wfq alone, 1024 VMs", "ns",
                 scan_ns(&policy_wfq, 1024, rounds / 20));
    bench_figure("scan of policy wf2q alone, 1024 VMs", "ns",
                 scan_ns(&policy_wf2q, 1024, rounds / 20));
    bench_figure("scan of policy urgency alone, 1024 VMs", "ns",
                 scan_ns(&policy_urgency, 1024, rounds / 20));
    bench_figure("scan of policy priority alone, 1024 VMs", "ns",
                 scan_ns(&policy_priority, 1024, rounds / 20));
    bench_figure("scan of policy fifo alone, 1024 VMs", "ns",
                 scan_ns(&policy_fifo, 1024, rounds / 20));
    bench_print(&options, "bench_scheduler");
    return 0;
}
