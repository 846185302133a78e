/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The job that overran.  It goes on, the next VM is let in beside it, and the
 * driver divides the GPU between the two; who used how much is worked out here.
 */
#include "core/sched/wfq_internal.h"

/* The driver's time slice between two busy workers, as measured. */
#define DRIVER_SLICE_NS 2000000ull

/* ---- what runs aside ---- */

/*
 * The VM aside is charged for all the time that passes.  What others use beside
 * it is known when their jobs end, and is taken off its account then.
 */
void wfq_account_aside(struct wfq *wfq, uint64_t now_ns)
{
    uint64_t passed_ns;

    if (wfq->aside == NOBODY || now_ns <= wfq->aside_marked_ns) {
        return;
    }
    passed_ns = now_ns - wfq->aside_marked_ns;
    wfq->vms[wfq->aside].in_flight.head->charged_ns += passed_ns;
    wfq_charge(wfq, wfq->aside, (double)passed_ns);
    vt_advance(&wfq->vt, (double)passed_ns);
    wfq->aside_clock_ns += passed_ns;
    wfq->aside_marked_ns = now_ns;
}

/* A job that used so much ended beside the one aside. */
void wfq_credit_aside(struct wfq *wfq, const struct wfq_job *beside, uint64_t used_ns)
{
    struct wfq_job *job = wfq->vms[wfq->aside].in_flight.head;
    uint64_t since_ns =
        beside->aside_mark_ns > wfq->aside_began_ns ? beside->aside_mark_ns : wfq->aside_began_ns;
    uint64_t overlap_ns = wfq->aside_clock_ns - since_ns;
    uint64_t credit_ns = used_ns < overlap_ns ? used_ns : overlap_ns;

    credit_ns = credit_ns < job->charged_ns ? credit_ns : job->charged_ns;
    job->charged_ns -= credit_ns;
    wfq_charge(wfq, wfq->aside, -(double)credit_ns);
    vt_advance(&wfq->vt, -(double)credit_ns);
}

/*
 * What a job used of the time between its start and its end, so much of which it
 * had a neighbour: the driver gives them slices in turn, and the job's first and
 * last moments are its own.
 */
uint64_t wfq_own_part_ns(uint64_t elapsed_ns, uint64_t beside_ns)
{
    uint64_t shared_ns = beside_ns < elapsed_ns ? beside_ns : elapsed_ns;

    return elapsed_ns - (shared_ns > DRIVER_SLICE_NS ? (shared_ns - DRIVER_SLICE_NS) / 2 : 0);
}

bool wfq_set_aside(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    uint32_t others = wfq->run_count - (state->run_index != NOBODY);
    struct wfq_job *job = state->in_flight.head;
    uint64_t ran_ns;

    if (wfq->aside != NOBODY || others == 0 || !job) {
        return false;
    }
    ran_ns = now_ns > state->head_started_ns ? now_ns - state->head_started_ns : 0;
    ran_ns = wfq_own_part_ns(ran_ns, wfq->aside_clock_ns - job->aside_mark_ns); /* an earlier one */
    wfq_charge(wfq, vm, (double)ran_ns - (double)job->charged_ns);
    vt_advance(&wfq->vt, (double)ran_ns);
    wfq->pending_ns -= job->charged_ns;
    job->charged_ns = ran_ns;

    wfq->aside = vm;
    wfq->aside_marked_ns = now_ns;
    wfq->aside_began_ns = wfq->aside_clock_ns;
    wfq->in_flight -= state->in_flight.count;
    if (wfq->holder == vm) {
        wfq->holder = NOBODY;
        wfq->anticipating = false;
    }
    wfq_refresh(wfq, vm);
    return true;
}

void wfq_leave_aside(struct wfq *wfq)
{
    uint32_t vm = wfq->aside;

    wfq->aside = NOBODY;
    wfq->in_flight += wfq->vms[vm].in_flight.count;
    wfq_refresh(wfq, vm);
}
