/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scheduler alone under random events, with books of our own beside it.
 *
 * Time passes in random steps; jobs come, are handed out, end after random
 * times; VMs come and go, become ready or not, change their shares; jobs
 * overrun; the policy changes.  What must hold all the while:
 *   - a job handed out is its VM's oldest, the VM is ready, and it is handed out once
 *   - at most `depth` jobs of a VM are in flight, of one VM besides those aside; beside these
 *     of others one each
 *   - fifo hands out in order of arrival; urgency the most urgent when it chooses;
 *     wfq nobody who is ahead while somebody who could run is owed
 *   - with work waiting and nothing in flight there is a job, or a time to ask again
 *   - counters are right, and lags sum up to 0 when nothing is in flight
 *   - what VMs are entitled to, what is kept for them and the switches that they cause never go
 *     back; all together are entitled to no more than the time that has passed, to nothing while
 *     the GPU is paused, and a VM to nothing while it has no work; no more time is kept than
 *     has passed
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "core/sched/scheduler_wfq.h"
#include "tests/property/property.h"

#define VMS 12u
#define JOBS 400u
#define STEPS 1500u
#define BEGIN_NS 1000000000ull

struct test_job {
    struct wfq_job job;
    enum { FREE, WAITING, RUNNING } state;
    bool beside;    /* it was handed out while something ran aside */
    uint64_t order; /* of arrival */
};

struct test_vm {
    bool attached, ready;
    struct wfq_vm_params params;
    uint32_t waiting, running;
    bool aside; /* until nothing of it is in flight */
    bool had_work;
    struct wfq_vm_stats seen; /* its figures when they were last looked at */
};

struct world {
    uint64_t seed;
    struct rng rng;
    struct wfq *wfq;
    struct wfq_config config;
    struct test_job jobs[JOBS];
    struct test_vm vms[VMS];
    uint64_t now_ns, next_order, busy_ns;
    uint64_t figures_ns; /* when the VMs' figures were last looked at */
    double kept_ns;      /* for all of them, from the beginning */
    uint32_t waiting;
    bool paused, was_paused;
};

static struct test_job *oldest(struct world *world, uint32_t vm, int state)
{
    struct test_job *found = NULL;

    for (uint32_t i = 0; i < JOBS; i++) {
        struct test_job *job = &world->jobs[i];

        if ((int)job->state == state && job->job.vm == vm &&
            (!found || job->order < found->order)) {
            found = job;
        }
    }
    return found;
}

static bool could_run(const struct world *world, uint32_t vm)
{
    return world->vms[vm].attached && world->vms[vm].ready && world->vms[vm].waiting > 0;
}

static double urgency(struct world *world, uint32_t vm)
{
    const struct test_vm *state = &world->vms[vm];
    const struct test_job *head = oldest(world, vm, WAITING);
    static const double base[] = {1, 2, 4};

    return base[state->params.priority] * state->params.weight / 50 * (1 + state->waiting / 10.0) *
           (1 + (double)(world->now_ns - head->job.arrival_ns) / 1e9 / 10);
}

static double lag_of(struct world *world, uint32_t vm)
{
    struct wfq_vm_stats stats;

    wfq_get_vm_stats(world->wfq, vm, world->now_ns, &stats);
    return (double)stats.lag_ns;
}

/* A choice among all was made: was it right?  `lags` are from before it. */
static void check_choice(struct world *world, uint32_t vm, const double *lags,
                         const double *urgencies)
{
    bool somebody_owed = false;
    double most = 0;

    for (uint32_t i = 0; i < VMS; i++) {
        if (could_run(world, i) && !world->vms[i].aside) {
            somebody_owed = somebody_owed || lags[i] > 10;
            most = urgencies[i] > most ? urgencies[i] : most;
        }
    }
    if (world->config.policy == WFQ_POLICY_URGENCY) {
        PROPERTY(urgencies[vm] >= most * (1 - 1e-9), world->seed, "VM %u: %g, but %g waits", vm,
                 urgencies[vm], most);
    } else if (world->config.policy == WFQ_POLICY_WFQ) {
        PROPERTY(lags[vm] >= -10 || !somebody_owed, world->seed, "VM %u is %g ns ahead", vm,
                 -lags[vm]);
    }
}

static bool somebody_aside(const struct world *world)
{
    bool aside = false;

    for (uint32_t i = 0; i < VMS; i++) {
        aside = aside || world->vms[i].aside;
    }
    return aside;
}

/* Something runs aside, or did when VM i's job was handed out: then some may run a job each. */
static bool beside(struct world *world, uint32_t i)
{
    const struct test_job *running = oldest(world, i, RUNNING);

    return somebody_aside(world) || (running && running->beside);
}

static void check_taken(struct world *world, struct wfq_job *taken)
{
    struct test_job *job = (struct test_job *)taken;
    struct test_vm *vm = &world->vms[taken->vm];

    PROPERTY(job->state == WAITING, world->seed, "a job that does not wait");
    PROPERTY(job == oldest(world, taken->vm, WAITING), world->seed, "not its VM's oldest");
    PROPERTY(vm->ready && vm->attached && !world->paused, world->seed, "VM %u can't run",
             taken->vm);
    PROPERTY(vm->running < wfq_in_flight_max(&world->config), world->seed, "VM %u: %u in flight",
             taken->vm, vm->running);
    for (uint32_t i = 0; i < VMS; i++) {
        PROPERTY(i == taken->vm || world->vms[i].running == 0 || world->vms[i].aside || vm->aside ||
                     (beside(world, i) && (world->vms[i].running == 1 || vm->running == 0)),
                 world->seed, "VM %u beside VM %u", taken->vm, i);
        if (world->config.policy == WFQ_POLICY_FIFO && could_run(world, i) &&
            !world->vms[i].aside) {
            PROPERTY(oldest(world, i, WAITING)->order >= job->order, world->seed,
                     "fifo: VM %u's job came earlier", i);
        }
    }
}

/* Hands out one job; false when there is none. */
static bool hand_out(struct world *world)
{
    double lags[VMS] = {0}, urgencies[VMS] = {0};
    uint32_t in_flight = wfq_in_flight(world->wfq);
    /* The end of a wait for a VM's next job, which it is charged for, changes the lags. */
    bool waits = wfq_next_wakeup_ns(world->wfq) != WFQ_NEVER;
    struct wfq_dispatch last;
    struct wfq_job *taken;
    uint32_t runnable = 0;

    for (uint32_t i = 0; i < VMS; i++) {
        if (world->vms[i].attached) {
            /* Changes nothing, but that accounts are brought up to now. */
            wfq_vm_update(world->wfq, i, &world->vms[i].params, world->now_ns);
        }
    }
    for (uint32_t i = 0; i < VMS; i++) {
        if (could_run(world, i)) {
            lags[i] = lag_of(world, i);
            urgencies[i] = urgency(world, i);
            runnable++;
        }
    }
    taken = wfq_dequeue(world->wfq, world->now_ns);
    if (!taken) {
        PROPERTY(world->paused || runnable == 0 || in_flight > 0 ||
                     wfq_next_wakeup_ns(world->wfq) != WFQ_NEVER,
                 world->seed, "%u VMs wait for an idle GPU", runnable);
        return false;
    }
    check_taken(world, taken);
    PROPERTY(wfq_dispatch_log(world->wfq, &last, 1) == 1 && last.vm == taken->vm, world->seed,
             "the log says VM %u", last.vm);
    if (in_flight == 0 && !waits && last.reason == WFQ_REASON_URGENT) {
        check_choice(world, taken->vm, lags, urgencies);
    }
    ((struct test_job *)taken)->beside = somebody_aside(world);
    ((struct test_job *)taken)->state = RUNNING;
    world->vms[taken->vm].waiting--;
    world->vms[taken->vm].running++;
    world->waiting--;
    return true;
}

static void end_a_job(struct world *world, uint32_t vm)
{
    struct test_job *job = oldest(world, vm, RUNNING);
    uint64_t used_ns;

    if (!job) {
        return;
    }
    used_ns = (uint64_t)rng_log_uniform(&world->rng, 1, 1e7);
    world->now_ns += used_ns;
    /* Some lie, by any factor; the account goes by the clock then. */
    wfq_complete(world->wfq, &job->job,
                 rng_chance(&world->rng, 0.9) ? used_ns : rng_next(&world->rng),
                 rng_chance(&world->rng, 0.5), world->now_ns);
    world->busy_ns += job->job.charged_ns;
    PROPERTY(job->job.charged_ns <= world->now_ns - job->job.dispatched_ns, world->seed,
             "charged more than the time since it was handed out");
    job->state = FREE;
    if (--world->vms[vm].running == 0) {
        world->vms[vm].aside = false;
    }
}

static void submit(struct world *world, uint32_t vm)
{
    for (uint32_t i = 0; i < JOBS && world->vms[vm].attached; i++) {
        if (world->jobs[i].state == FREE) {
            world->jobs[i] = (struct test_job){.state = WAITING, .order = ++world->next_order};
            world->jobs[i].job.vm = vm;
            world->vms[vm].waiting++;
            world->waiting++;
            wfq_enqueue(world->wfq, &world->jobs[i].job, world->now_ns);
            return;
        }
    }
}

static struct wfq_vm_params random_params(struct world *world)
{
    return (struct wfq_vm_params){
        .weight = (double)rng_range(&world->rng, 100, 10000) / 100,
        .priority = (uint32_t)rng_range(&world->rng, 0, 2),
        .pool = (char)rng_range(&world->rng, 'A', 'C'),
    };
}

static void take_all(struct world *world, uint32_t vm)
{
    struct wfq_job *job;

    while ((job = wfq_take_queued(world->wfq, vm, world->now_ns)) != NULL) {
        PROPERTY((struct test_job *)job == oldest(world, vm, WAITING), world->seed,
                 "taken out of order");
        ((struct test_job *)job)->state = FREE;
        world->vms[vm].waiting--;
        world->waiting--;
    }
}

/* What has its last figures is no less than what it had before. */
static void leave(struct world *world, uint32_t vm)
{
    struct wfq_vm_stats before, last;

    wfq_get_vm_stats(world->wfq, vm, world->now_ns, &before);
    wfq_vm_detach(world->wfq, vm, world->now_ns, &last);
    PROPERTY(last.entitled_ns == before.entitled_ns && last.kept_ns == before.kept_ns &&
                 last.switching_ns >= before.switching_ns &&
                 last.switching_ns <= before.switching_ns + WFQ_SWITCH_COST_NS + 1,
             world->seed, "VM %u leaves with other figures", vm);
    world->vms[vm].attached = false;
}

static void change_vm(struct world *world, uint32_t vm)
{
    struct test_vm *state = &world->vms[vm];

    if (!state->attached) {
        *state = (struct test_vm){.attached = true, .params = random_params(world)};
        wfq_vm_attach(world->wfq, vm, &state->params);
        return;
    }
    switch (rng_range(&world->rng, 0, 5)) {
    case 0:
        take_all(world, vm);
        if (state->running == 0) {
            leave(world, vm);
        }
        break;
    case 1:
        state->params = random_params(world);
        wfq_vm_update(world->wfq, vm, &state->params, world->now_ns);
        break;
    default:
        state->ready = rng_chance(&world->rng, 0.8);
        wfq_vm_set_ready(world->wfq, vm, state->ready, world->now_ns);
        break;
    }
}

static void rare_things(struct world *world, uint32_t vm)
{
    switch (rng_range(&world->rng, 0, 3)) {
    case 0:
        world->paused = !world->paused && rng_chance(&world->rng, 0.3);
        wfq_set_paused(world->wfq, world->paused, world->now_ns);
        break;
    case 1:
        world->config.policy = (enum wfq_policy_id)rng_range(&world->rng, 0, WFQ_POLICY_COUNT - 1);
        wfq_set_policy(world->wfq, world->config.policy);
        break;
    case 2:
        if (world->vms[vm].running > 0 && wfq_set_aside(world->wfq, vm, world->now_ns)) {
            world->vms[vm].aside = true;
        }
        break;
    default: wfq_set_preferred(world->wfq, vm); break;
    }
}

/* Debts are outside the set. */
static double lag_in_set(const struct world *world, uint32_t vm)
{
    struct wfq_vm_stats stats;

    wfq_get_vm_stats(world->wfq, vm, world->now_ns, &stats);
    return (double)(stats.lag_ns + stats.debt_ns);
}

static void check_books(struct world *world)
{
    double sum_ns = 0;
    uint32_t in_flight = 0;

    for (uint32_t vm = 0; vm < VMS; vm++) {
        const struct test_vm *state = &world->vms[vm];
        struct wfq_vm_stats stats;

        if (!state->attached) {
            continue;
        }
        wfq_get_vm_stats(world->wfq, vm, world->now_ns, &stats);
        PROPERTY(wfq_vm_queue_depth(world->wfq, vm) == state->waiting &&
                     stats.in_flight == state->running,
                 world->seed, "VM %u: %u waiting, %u in flight", vm, state->waiting,
                 state->running);
        in_flight += state->running;
        sum_ns += lag_in_set(world, vm);
    }
    PROPERTY(wfq_queue_len(world->wfq) == world->waiting, world->seed, "%u wait", world->waiting);
    PROPERTY(wfq_in_flight(world->wfq) == in_flight, world->seed, "%u in flight", in_flight);
    PROPERTY(wfq_busy_ns(world->wfq) == world->busy_ns, world->seed, "busy");
    if (in_flight == 0 && wfq_next_wakeup_ns(world->wfq) == WFQ_NEVER) {
        PROPERTY(fabs(sum_ns) < 1000, world->seed, "lags sum up to %g ns", sum_ns);
    }
}

/* It has work, or the GPU is kept for its next job. */
static bool has_work(const struct world *world, uint32_t vm)
{
    return could_run(world, vm) || world->vms[vm].running > 0 ||
           wfq_holder(world->wfq) == (int64_t)vm;
}

/* Since the last look there was one step, at the beginning of which time may have passed. */
static void check_figures(struct world *world)
{
    double entitled_ns = 0;
    double passed_ns = (double)(world->now_ns - world->figures_ns) + 2 * VMS;

    for (uint32_t vm = 0; vm < VMS; vm++) {
        struct test_vm *state = &world->vms[vm];
        bool works = state->attached && has_work(world, vm);
        struct wfq_vm_stats now;

        if (!state->attached) {
            continue;
        }
        wfq_get_vm_stats(world->wfq, vm, world->now_ns, &now);
        PROPERTY(now.entitled_ns >= state->seen.entitled_ns && now.kept_ns >= state->seen.kept_ns &&
                     now.switching_ns >= state->seen.switching_ns,
                 world->seed, "VM %u: a figure goes back", vm);
        PROPERTY(works || state->had_work || now.entitled_ns <= state->seen.entitled_ns + 1,
                 world->seed, "VM %u: entitled without work", vm);
        entitled_ns += (double)(now.entitled_ns - state->seen.entitled_ns);
        world->kept_ns += (double)(now.kept_ns - state->seen.kept_ns);
        state->had_work = works;
        state->seen = now;
    }
    PROPERTY(entitled_ns <= passed_ns, world->seed, "entitled to %g ns of %g", entitled_ns,
             passed_ns);
    PROPERTY(!world->paused || !world->was_paused || entitled_ns <= 2 * VMS, world->seed,
             "entitled to %g ns while paused", entitled_ns);
    PROPERTY(world->kept_ns <= (double)(world->now_ns - BEGIN_NS) + 2 * VMS, world->seed,
             "%g ns kept", world->kept_ns);
    world->figures_ns = world->now_ns;
    world->was_paused = world->paused;
}

static void step(struct world *world)
{
    uint32_t vm = (uint32_t)rng_range(&world->rng, 0, VMS - 1);
    double what = rng_unit(&world->rng);

    if (rng_chance(&world->rng, 0.5)) {
        world->now_ns += (uint64_t)rng_log_uniform(&world->rng, 1, 1e6);
    }
    if (what < 0.45) {
        submit(world, vm);
    } else if (what < 0.85) {
        for (uint32_t i = 0; i < VMS; i++) {
            if (world->vms[(vm + i) % VMS].running > 0) {
                end_a_job(world, (vm + i) % VMS);
                break;
            }
        }
    } else if (what < 0.97) {
        change_vm(world, vm);
    } else {
        rare_things(world, vm);
    }
    while (!rng_chance(&world->rng, 0.05) && hand_out(world)) {
    }
    check_books(world);
    check_figures(world);
}

/* In the end nothing is left over. */
static void drain(struct world *world)
{
    wfq_set_paused(world->wfq, false, world->now_ns);
    world->paused = false;
    for (uint32_t vm = 0; vm < VMS; vm++) {
        if (world->vms[vm].attached) {
            world->vms[vm].ready = true;
            wfq_vm_set_ready(world->wfq, vm, true, world->now_ns);
        }
    }
    for (uint32_t i = 0; i < 10 * JOBS && (world->waiting > 0 || wfq_in_flight(world->wfq) > 0);
         i++) {
        uint64_t wakeup_ns;

        while (hand_out(world)) {
        }
        for (uint32_t vm = 0; vm < VMS; vm++) {
            end_a_job(world, vm);
        }
        wakeup_ns = wfq_next_wakeup_ns(world->wfq);
        if (wakeup_ns != WFQ_NEVER && wakeup_ns > world->now_ns) {
            world->now_ns = wakeup_ns;
        }
    }
    PROPERTY(world->waiting == 0 && wfq_in_flight(world->wfq) == 0, world->seed, "%u jobs are left",
             world->waiting);
    check_books(world);
}

static void run(uint64_t seed)
{
    static struct world world; /* large */

    memset(&world, 0, sizeof(world));
    world.seed = seed;
    world.rng = rng_stream(seed, 5);
    world.now_ns = world.figures_ns = BEGIN_NS;
    world.config = (struct wfq_config){
        .max_vms = VMS,
        .depth = (uint32_t)rng_range(&world.rng, 1, 4),
        .ahead_ns = rng_chance(&world.rng, 0.5) ? 200000 : 0,
        .quantum_ns = (uint64_t)rng_log_uniform(&world.rng, 1e4, 1e7),
        .anticipation_ns = rng_chance(&world.rng, 0.5) ? 1000000 : 0,
        .patience_ns =
            rng_chance(&world.rng, 0.5) ? (uint64_t)rng_log_uniform(&world.rng, 1e4, 1e8) : 0,
        .slack_permille = (uint32_t)rng_range(&world.rng, 0, 200),
        .policy = (enum wfq_policy_id)rng_range(&world.rng, 0, WFQ_POLICY_COUNT - 1),
    };
    world.wfq = wfq_init(&world.config);
    PROPERTY(world.wfq, seed, "no memory");
    for (uint32_t i = 0; i < STEPS; i++) {
        step(&world);
    }
    drain(&world);
    wfq_destroy(world.wfq);
}

int main(void)
{
    return property_run("scheduler", 600, run);
}
