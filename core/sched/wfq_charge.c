/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a job costs.
 *
 * Estimates.  At dispatch a job is charged its VM's average.  While it runs it is
 * counted as it goes (wfq_progress()): V moves by the time that it has run, so
 * that a VM that comes or goes in the middle of a long job does so at that time;
 * or else one that came back near the end of 90 ms would be credited with all 90.
 *
 * Reports.  Workers run a guest's code, so what they report is held to the clock.
 *   - From above: a worker does one job after the other.  Its time line is used up
 *     to somewhere; a job can't have used more than what has passed since there, or
 *     since it was handed out.  (Not since the last completion: two reports that
 *     are read together would cut honest work.)
 *   - From below: nobody else had the GPU since the last completion.  What has passed
 *     since then, less the hand-over if nothing was behind, is the job's; a tenth of that
 *     may be missing now and then, a fiftieth for good, and what was too much before.  A worker
 *     that takes up the next job, and we who read that one has ended, may wait for a processor
 *     of the host: a job that is charged by its report alone may lack 25 us for that, too.
 *     But the first job of a worker may take long without using the GPU: where 64 of them
 *     start at once, on two processors, it waits for one.  100 ms of that are its VM's for
 *     nothing, and again as a fiftieth of its part of the time passes.
 *
 * Switches.  Who makes the GPU change to another worker takes its time from all.  A
 * turn begins with the price of one switch on its account, which it earns back by
 * using half a quantum, or at once when others end it.  So among VMs that always have
 * work nobody pays in sum, and crumbs pay for what they cause.  Who cuts a turn pays
 * for the way back to it, too.  One that paused while it was owed has paid for that time
 * already; its way back is paid by who came in between.  But not by who was let in to fill
 * the pause, being ahead: rule H has asked whether its jobs are worth the way back, and
 * its next turn would come sooner than to pay 135 us for a job of 50.
 *
 * Beside jobs aside.  The driver gives slices in turn, so a job of 0.1 ms waits for 2 ms of
 * another VM's first.  There each job is charged what it held: the time from the end of the
 * one before it to its own, divided by all that run (wfq_own_clock_ns()).  So those who are
 * not aside share their part of the time, whatever the driver makes of it for each of them.
 */
#include "core/sched/wfq_internal.h"

/*
 * A tiny job holds the GPU for longer than it computes, for the hand-over costs
 * more than the work.  It is charged what it held, up to this; or else a VM that
 * floods with empty jobs would owe nothing and keep the GPU for ever.
 */
#define HELD_MAX_NS (50 * NS_PER_US)
/* In mid-turn a job also holds the GPU while the next one is handed over, where nothing is behind
 * it, or only what is as short as that.  Its VM, alone, would not have that time either: it is
 * charged so much of it at most.  (Long jobs go one at a time by our own choice.) */
#define GAP_MAX_NS (100 * NS_PER_US)
/* Where two ends are told of at once the first one seems late, and the second has no time at all:
 * so much of that is remembered. */
#define GAP_SAVED_MAX_NS 1e6
/* The time from one job's end to the next one's start, where nothing was behind it. */
#define HAND_OVER_MAX_NS (50 * NS_PER_US)
/* Parts of a job that its report may leave out: for once, and for good; and how much is saved. */
#define UNEXPLAINED_ONCE 0.1
#define UNEXPLAINED_ONCE_NS 200e3
#define UNEXPLAINED_FOR_GOOD 0.02
#define UNEXPLAINED_MAX_NS 10e6
/* So much the host takes between two jobs of which the second one waits with its worker: on
 * average, for now and then it takes a processor away for some ms. */
#define HOST_LATE_NS 25e3

/* ---- what runs ---- */

void wfq_progress(struct wfq *wfq, uint64_t now_ns)
{
    struct vm_state *state;
    struct wfq_job *job;
    uint64_t ran_ns, step_ns;

    if (wfq->holder == NOBODY || wfq->in_flight == 0) {
        return;
    }
    state = &wfq->vms[wfq->holder];
    if (state->in_flight.count != wfq->in_flight) {
        return; /* the last job of another turn may still run */
    }
    job = job_list_first(&state->in_flight);
    ran_ns = wfq_held_ns(wfq, job, now_ns);
    if (ran_ns <= job->progressed_ns) {
        return;
    }
    step_ns = ran_ns - job->progressed_ns;
    wfq->pending_ns -= wfq_pending_ns(job);
    job->progressed_ns = ran_ns;
    wfq->pending_ns += wfq_pending_ns(job);
    if (ran_ns > job->charged_ns) {
        wfq_charge(wfq, wfq->holder, (double)(ran_ns - job->charged_ns));
        wfq->turn_used_ns += ran_ns - job->charged_ns;
        job->charged_ns = ran_ns;
    }
    vt_advance_for(&wfq->vt, wfq->holder, (double)step_ns);
}

/* ---- switches: accounts and V; that those who could run have another S is noted after it ---- */

/* It has earned so much of the price back, or all that is left of it.  Returns how much that is. */
static double earn_back(struct vm_state *state, double ns)
{
    ns = wfq_least(ns, state->price_left_ns);
    state->price_left_ns -= ns;
    return ns;
}

/* The part of a price that the VM's pause has not paid for already. */
static double unpaid(struct pause *pause, double price_ns)
{
    double paid_ns = wfq_least(price_ns, pause->paid_ns);

    pause->paid_ns -= paid_ns;
    return price_ns - paid_ns;
}

/* Others have ended the latest turn before its time. */
static bool was_cut(const struct wfq *wfq)
{
    return wfq->turn_used_ns < wfq->config.quantum_ns &&
           (wfq->turn_cut || wfq->cut_late || wfq_virtual_now(wfq) >= wfq->cut_v);
}

/*
 * Beside jobs aside the driver switches all the time, and the clock counts it.  But a turn begins
 * with the wait for their slices.  Who cuts a turn pays its VM for the next such wait.
 */
static void charge_slice(struct wfq *wfq, uint32_t last, uint32_t vm)
{
    struct vm_state *state = &wfq->vms[vm];
    double asides = wfq->aside_count, wait_ns = WFQ_DRIVER_SLICE_NS * asides / (asides + 1);

    state->switching_ns += state->price_left_ns;
    state->price_left_ns = 0;
    if (wfq->vms[last].waiting.count > 0 && was_cut(wfq) && vt_member(&wfq->vt, last) &&
        vt_member(&wfq->vt, vm)) {
        wait_ns *= 1 - wfq_real(wfq->turn_used_ns) / wfq_real(wfq->config.quantum_ns);
        vt_charge(&wfq->vt, vm, wait_ns);
        wfq_charge(wfq, last, -wait_ns);
    }
}

/* `last` had the GPU while another one paused, which has paid so much of its way back by that. */
static void charge_way_back(struct wfq *wfq, uint32_t last, double ns, bool filled)
{
    wfq->vms[last].switching_ns += ns;
    if (ns > 0 && !filled && vt_member(&wfq->vt, last)) {
        wfq->vms[last].paid_back = true;
        wfq_charge_all(wfq, last, ns);
    }
}

void wfq_charge_switch(struct wfq *wfq, uint32_t vm, bool filled)
{
    const double price_ns = WFQ_SWITCH_COST_NS, quantum_ns = wfq_real(wfq->config.quantum_ns);
    struct vm_state *state = &wfq->vms[vm];
    uint32_t last = wfq->last_holder;
    double charge_ns = 0, left_ns = 0;

    if (!wfq->policy->shares || last == NOBODY) {
        return;
    }
    if (wfq->aside_count > 0) {
        charge_slice(wfq, last, vm);
        return;
    }
    if (wfq->vms[last].waiting.count > 0) {
        if (wfq->vms[last].price_left_ns > 0) {
            /* Not its doing: its turn was ended. */
            wfq_charge_all(wfq, last, -earn_back(&wfq->vms[last], HUGE_VAL));
        }
        if (was_cut(wfq)) {
            double back_ns = price_ns * (1 - wfq_real(wfq->turn_used_ns) / quantum_ns);

            charge_ns = unpaid(&state->pause, back_ns);
            state->switching_ns += back_ns;
        }
    }
    state->switching_ns += state->price_left_ns; /* its latest turn did not earn that back */
    left_ns = unpaid(&state->pause, price_ns);
    charge_way_back(wfq, last, price_ns - left_ns, filled);
    charge_ns += left_ns;
    vt_charge_all(&wfq->vt, vm, charge_ns);
    state->price_left_ns = left_ns;
    state->pause.paid_ns = 0;
}

/* ---- what has run ---- */

/* It is charged the time until the next one is there, too. */
static bool charged_for_gaps(const struct wfq *wfq, const struct wfq_job *job, uint64_t used_ns)
{
    return !job->first && (job->lone || used_ns <= wfq->config.ahead_ns);
}

/* What it used at least, going by the clock. */
static uint64_t least_ns(struct wfq *wfq, const struct wfq_job *job, uint64_t used_ns,
                         uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[job->vm];
    uint64_t since_ns = state->head_started_ns > wfq->last_completed_ns ? state->head_started_ns
                                                                        : wfq->last_completed_ns;
    bool pipelined = job->dispatched_ns + HAND_OVER_MAX_NS <= since_ns;
    uint64_t off_ns = pipelined && !job->first ? 0 : HAND_OVER_MAX_NS;
    bool host_late = pipelined && !charged_for_gaps(wfq, job, used_ns);
    double held_ns, missing_ns, saved_ns;

    off_ns += job->first ? WFQ_SWITCH_COST_NS : 0;
    held_ns = wfq_real(wfq_since_ns(now_ns, since_ns + off_ns + state->excused_ns));
    missing_ns = held_ns - wfq_real(used_ns);
    saved_ns = UNEXPLAINED_FOR_GOOD * held_ns - (pipelined ? wfq_least(missing_ns, 0) : 0);
    saved_ns += host_late ? HOST_LATE_NS : 0;
    state->unexplained_ns = wfq_least(UNEXPLAINED_MAX_NS, state->unexplained_ns + saved_ns);
    if (missing_ns <= 0) {
        return 0;
    }
    if (!host_late) {
        missing_ns = wfq_least(missing_ns, fmax(UNEXPLAINED_ONCE * held_ns, UNEXPLAINED_ONCE_NS));
    }
    missing_ns = wfq_least(missing_ns, state->unexplained_ns);
    state->unexplained_ns -= missing_ns;
    return (uint64_t)(held_ns - missing_ns);
}

/* What is missing may have been the start of its worker: how much of it. */
static uint64_t starting_ns(struct wfq *wfq, uint32_t vm, uint64_t missing_ns, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    double share = wfq->vt.accounts[vm].phi / (wfq->vt.phi_sum + 1);
    double passed_ns = wfq_real(wfq_since_ns(now_ns, state->start_mark_ns)), most_ns;

    state->fresh = false;
    state->start_mark_ns = now_ns;
    most_ns =
        wfq_least(WFQ_START_MAX_NS, state->start_ns + UNEXPLAINED_FOR_GOOD * share * passed_ns);
    state->start_ns = most_ns - wfq_least(most_ns, wfq_real(missing_ns));
    return (uint64_t)(most_ns - state->start_ns);
}

uint64_t wfq_believe_ns(struct wfq *wfq, const struct wfq_job *job, uint64_t reported_ns,
                        uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[job->vm];
    uint64_t from_ns = state->line_ns > job->dispatched_ns ? state->line_ns : job->dispatched_ns;
    uint64_t most_ns = wfq_since_ns(now_ns, from_ns);
    uint64_t used_ns = reported_ns < most_ns ? reported_ns : most_ns;

    state->line_ns = from_ns + used_ns;
    if (!wfq_was_beside(wfq, job)) {
        uint64_t floor_ns = least_ns(wfq, job, used_ns, now_ns);
        uint64_t missing_ns = floor_ns > used_ns ? floor_ns - used_ns : 0;

        if (state->fresh) {
            missing_ns -= starting_ns(wfq, job->vm, missing_ns, now_ns);
        }
        used_ns += missing_ns;
    }
    return used_ns;
}

/*
 * What `job` is charged that ran beside a job aside.  A guest had a slice beside another VM's
 * turn: it is charged what it used and a switch, and that VM the rest.
 */
static uint64_t held_beside_ns(struct wfq *wfq, const struct wfq_job *job, uint64_t used_ns,
                               uint64_t now_ns)
{
    uint64_t held_ns = wfq_held_ns(wfq, job, now_ns);
    const struct wfq_job *turns;

    if (!job->guest || wfq->in_flight == 0 || wfq->holder == NOBODY) {
        wfq->own_done_ns = wfq_own_clock_ns(wfq, now_ns);
        return held_ns;
    }
    held_ns = held_ns < used_ns + WFQ_SWITCH_COST_NS ? held_ns : used_ns + WFQ_SWITCH_COST_NS;
    turns = job_list_first(&wfq->vms[wfq->holder].in_flight);
    if (turns) {
        wfq->own_done_ns =
            wfq_own_clock_ns(wfq, now_ns) - wfq_held_ns(wfq, turns, now_ns) + held_ns;
    }
    return held_ns;
}

/* So long its job has held the GPU beyond what it used. */
static uint64_t gap_ns(struct vm_state *state, uint64_t held_ns, uint64_t used_ns)
{
    double gap_ns = state->gap_ns + wfq_real(held_ns) - wfq_real(used_ns);

    state->gap_ns = gap_ns > 0 ? 0 : fmax(gap_ns, -GAP_SAVED_MAX_NS);
    return gap_ns > 0 ? (uint64_t)wfq_least(gap_ns, GAP_MAX_NS) : 0;
}

uint64_t wfq_charge_job(struct wfq *wfq, const struct wfq_job *job, uint64_t used_ns,
                        uint64_t now_ns, uint64_t *length_ns)
{
    struct vm_state *state = &wfq->vms[job->vm];
    uint64_t held_ns = wfq_since_ns(now_ns, state->head_started_ns + state->excused_ns);
    uint64_t least_ns = held_ns < HELD_MAX_NS ? held_ns : HELD_MAX_NS;
    uint64_t cost_ns, charge_ns;
    bool beside = wfq_was_beside(wfq, job);
    double earned_ns = 0;

    *length_ns = cost_ns = used_ns > least_ns ? used_ns : least_ns;
    if (!beside && charged_for_gaps(wfq, job, used_ns)) {
        cost_ns = used_ns + gap_ns(state, held_ns, used_ns);
    }
    charge_ns = beside ? held_beside_ns(wfq, job, used_ns, now_ns) : cost_ns;
    if (state->price_left_ns > 0) {
        earned_ns = earn_back(state, wfq_real(charge_ns) * wfq->earned_per_ns);
    }
    vt_charge(&wfq->vt, job->vm, wfq_real(charge_ns - job->charged_ns) - earned_ns);
    vt_advance_for(&wfq->vt, job->vm, wfq_real(charge_ns - job->progressed_ns) - earned_ns);
    if (wfq->holder == job->vm) {
        wfq->turn_used_ns += charge_ns;
        wfq->turn_used_ns -=
            wfq->turn_used_ns < job->charged_ns ? wfq->turn_used_ns : job->charged_ns;
    }
    return cost_ns;
}
