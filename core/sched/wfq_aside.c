/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs that overran, and VMs that are suspended.
 *
 * A job aside goes on, the next VM is let in beside it, and the driver divides the GPU
 * between all that run.  What its VM had ahead until then the others are owed as always.
 * What it uses aside is its debt, and no part of the fluid set: a VM aside is taken to have
 * its part of the time, 1 / (those aside, and what runs beside them), as long as there are
 * others that it keeps waiting.  While there are none, those aside are the set: V moves for
 * them, so they become even.  As many run aside as overrun, one of each VM.
 *
 * When V has reached its S the VM is suspended, and the others go on among themselves as if
 * it were not there, until V has come as far as its debt.  Until then it runs only when
 * nobody else can.  For that it is lent its place in the set: the others' V moves by what it
 * uses, and those who pause meanwhile are owed their part, as beside any other neighbour.
 * Its debt is put by until it is even in the set, and does not change so long.  While the
 * whole GPU is idle debts shrink by the time that passes.
 */
#include "core/sched/wfq_internal.h"

/* ---- what runs aside ---- */

void wfq_charge_asides(struct wfq *wfq, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - wfq->aside_marked_ns;
    uint64_t own_ns = passed_ns / (wfq->aside_count + (wfq->in_flight > 0));
    uint64_t left_ns = passed_ns / (wfq->aside_count + 1);
    bool others = wfq->vt.phi_sum > 0;

    for (uint32_t i = 0; i < wfq->suspended_count; i++) {
        const struct vm_state *state = &wfq->vms[wfq->suspended[i]];

        if (state->aside) {
            job_list_first(&state->in_flight)->progressed_ns += own_ns;
            job_list_first(&state->in_flight)->charged_ns += others ? own_ns : 0;
        }
    }
    if (!others) {
        wfq->vt.v += (double)passed_ns / wfq->aside_phi;
    }
    wfq->taken_ns += passed_ns - left_ns;
    wfq->aside_marked_ns = now_ns;
}

/* The driver gives slices in turn, and the job's first and last moments are its own. */
uint64_t wfq_own_part_ns(const struct wfq *wfq, uint64_t elapsed_ns, uint64_t taken_ns)
{
    uint64_t asides = wfq->aside_count > 0 ? wfq->aside_count : 1;
    uint64_t slice_ns = WFQ_DRIVER_SLICE_NS * asides / (asides + 1);
    uint64_t most_ns = elapsed_ns * asides / (asides + 1);

    taken_ns = taken_ns < most_ns ? taken_ns : most_ns;
    return elapsed_ns - (taken_ns > slice_ns ? taken_ns - slice_ns : 0);
}

/* The job at the head runs aside from now on: its debt is counted from 0. */
static void charge_so_far(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    struct wfq_job *head = job_list_first(&state->in_flight), *job;
    uint64_t ran_ns = wfq_held_ns(wfq, head, now_ns);

    ran_ns = ran_ns > head->progressed_ns ? ran_ns : head->progressed_ns;
    wfq_charge(wfq, vm, (double)ran_ns);
    vt_advance_for(&wfq->vt, vm, (double)ran_ns - (double)head->progressed_ns);
    STAILQ_FOREACH (job, &state->in_flight.jobs, link) {
        wfq_charge(wfq, vm, -(double)job->charged_ns); /* those behind it have not begun */
        wfq->pending_ns -= wfq_pending_ns(job);
        job->charged_ns = job->progressed_ns = 0;
    }
    head->progressed_ns = ran_ns;
    head->first = false;
}

/*
 * It takes so long because of those aside: by its own part of the time it has not overrun.  The
 * driver's switches are in that, too: an eighth more is allowed for them.
 */
static bool only_slowed(const struct wfq *wfq, const struct wfq_job *job, uint64_t now_ns)
{
    return wfq_was_beside(wfq, job) && !job->guest &&
           wfq_held_ns(wfq, job, now_ns) < wfq->config.overrun_ns / 8 * 9;
}

/* So many times `overrun` a job has the GPU alone at most, while others wait. */
#define OWED_OVERRUNS 3

/*
 * It is owed the time, also when what has run is charged: those who wait are ahead, and beside it
 * they would have more; and what a VM is owed when it is set aside is gone.  But not for ever: one
 * with nearly all of the shares is owed for long.
 */
static bool still_owed(const struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    const struct wfq_job *head = job_list_first(&wfq->vms[vm].in_flight);
    uint64_t ran_ns = wfq_held_ns(wfq, head, now_ns);

    return wfq->policy->shares && wfq->aside_count == 0 && wfq->holder == vm && wfq_even(wfq, vm) &&
           ran_ns < OWED_OVERRUNS * wfq->config.overrun_ns;
}

bool wfq_set_aside(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    uint32_t others = wfq->run_count - (state->run_index != NOBODY) + wfq->pausing_count;

    wfq_account_aside(wfq, now_ns);
    if (state->aside || others == 0 || state->in_flight.count == 0 ||
        only_slowed(wfq, job_list_first(&state->in_flight), now_ns)) {
        return false;
    }
    wfq_settle(wfq, now_ns);
    wfq_progress(wfq, now_ns);
    if (still_owed(wfq, vm, now_ns)) {
        return false;
    }
    charge_so_far(wfq, vm, now_ns);
    wfq->aside_marked_ns = now_ns;
    wfq->aside_count++;
    wfq->aside_phi += wfq->vt.accounts[vm].phi;
    if (job_list_first(&state->in_flight)->guest) {
        wfq_guest_end(wfq, job_list_first(&state->in_flight));
    } else {
        wfq->in_flight -= state->in_flight.count;
    }
    state->aside = true;
    if (wfq->holder == vm) {
        wfq->holder = NOBODY;
        wfq->anticipating = false;
    }
    wfq_suspend(wfq, vm, now_ns);
    return true;
}

uint64_t wfq_charge_aside(struct wfq *wfq, const struct wfq_job *job, uint64_t reported_ns,
                          bool elapsed, uint64_t now_ns)
{
    uint64_t held_ns = wfq_since_ns(now_ns, wfq->vms[job->vm].head_started_ns);

    vt_owe(&wfq->vt, job->vm,
           (double)(reported_ns < job->charged_ns ? reported_ns : job->charged_ns));
    return elapsed || reported_ns > held_ns ? job->progressed_ns : reported_ns;
}

void wfq_leave_aside(struct wfq *wfq, uint32_t vm)
{
    struct vm_state *state = &wfq->vms[vm];

    state->aside = false;
    wfq->aside_count--;
    wfq->aside_phi -= wfq->vt.accounts[vm].phi;
    wfq->in_flight += state->in_flight.count; /* what was behind it runs now */
}

/* ---- guests ---- */

/*
 * Beside a job aside each turn begins with the wait for that one's time slice, so to cut a turn
 * costs a slice.  It is not needed: where the driver divides the GPU anyway, a short job that
 * comes back goes to its worker beside the turn, and has its slice there.  So many, and so short,
 * that together they take no more than a slice.
 */
#define GUEST_MAX_NS (WFQ_DRIVER_SLICE_NS / WFQ_GUESTS_MAX)

bool wfq_may_be_guest(const struct wfq *wfq, uint32_t vm)
{
    const struct vm_state *state = &wfq->vms[vm];

    return wfq->aside_count > 0 && wfq->policy->shares && wfq->in_flight > 0 && wfq->holder != vm &&
           state->in_flight.count == 0 && state->recent_longest_ns <= GUEST_MAX_NS &&
           !vt_in_debt(&wfq->vt, vm);
}

uint32_t wfq_choose_guest(const struct wfq *wfq)
{
    uint32_t guest = NOBODY;

    for (uint32_t i = 0; wfq->guest_count < WFQ_GUESTS_MAX && i < wfq->run_count; i++) {
        uint32_t vm = wfq->run_vm[i];

        if (wfq->vms[vm].returned && wfq_may_be_guest(wfq, vm) && wfq_even(wfq, vm) &&
            (guest == NOBODY || wfq->vt.accounts[vm].start < wfq->vt.accounts[guest].start)) {
            guest = vm;
        }
    }
    return guest;
}

/* It was handed out as one of a turn, and does not count as that: V moves for it at once. */
void wfq_guest_begin(struct wfq *wfq, struct wfq_job *job, uint64_t now_ns)
{
    wfq->pending_ns -= job->charged_ns;
    vt_advance_for(&wfq->vt, job->vm, wfq_real(job->charged_ns));
    job->progressed_ns = job->charged_ns;
    job->guest = true;
    wfq->in_flight--;
    wfq->turn_used_ns -= job->charged_ns;
    wfq->guests[wfq->guest_count++] = job->vm;
    /* It has been charged for that much of its wait. */
    wfq->vms[job->vm].pause.mark_ns = wfq_own_clock_ns(wfq, now_ns) + job->charged_ns;
}

void wfq_guest_end(struct wfq *wfq, struct wfq_job *job)
{
    uint32_t at = 0;

    while (wfq->guests[at] != job->vm) {
        at++;
    }
    wfq->guests[at] = wfq->guests[--wfq->guest_count];
    job->guest = false;
}

/* ---- suspended ---- */

void wfq_suspend(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];

    wfq_account_due(wfq, now_ns);
    wfq_note_due(wfq, vm);
    wfq_pause_end(wfq, vm);
    vt_suspend(&wfq->vt, vm);
    if (state->suspend_index == NOBODY) {
        state->suspend_index = wfq->suspended_count;
        wfq->suspended[wfq->suspended_count++] = vm;
    }
    wfq_refresh(wfq, vm, now_ns);
}

void wfq_suspend_end(struct wfq *wfq, uint32_t vm)
{
    uint32_t at = wfq->vms[vm].suspend_index, last;

    if (at == NOBODY) {
        return;
    }
    last = wfq->suspended[--wfq->suspended_count];
    wfq->suspended[at] = last;
    wfq->vms[last].suspend_index = at;
    wfq->vms[vm].suspend_index = NOBODY;
}

void wfq_lend(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    wfq_account_due(wfq, now_ns);
    vt_lend(&wfq->vt, vm);
    wfq->vms[vm].due_mark = wfq->due_clock;
}

/* Nobody has work, and has had none since the last job ended. */
static void shrink_debts(struct wfq *wfq, uint64_t now_ns)
{
    double idle_ns = (double)wfq_since_ns(now_ns, wfq->last_completed_ns);

    if (wfq->vt.phi_sum > 0 || wfq->in_flight > 0 || wfq->guest_count > 0 || wfq->aside_count > 0 ||
        wfq->waiting > 0) {
        return;
    }
    for (uint32_t i = 0; i < wfq->suspended_count; i++) {
        wfq_charge(wfq, wfq->suspended[i], -idle_ns);
    }
    wfq->last_completed_ns = now_ns;
}

void wfq_return_suspended(struct wfq *wfq, uint64_t now_ns)
{
    if (wfq->suspended_count == 0) {
        return;
    }
    shrink_debts(wfq, now_ns);
    for (uint32_t i = 0; i < wfq->suspended_count;) {
        uint32_t vm = wfq->suspended[i];
        struct vt_account *account = &wfq->vt.accounts[vm];

        /* One that is ahead by nothing, without work, leaves when V next advances. */
        if (wfq->vms[vm].in_flight.count > 0 || account->start > wfq->vt.v ||
            account->standing == VT_AHEAD) {
            i++;
        } else if (account->standing == VT_SUSPENDED) {
            account->standing = VT_OUTSIDE;
            wfq_suspend_end(wfq, vm);
            wfq_refresh(wfq, vm, now_ns);
        } else {
            wfq_suspend(wfq, vm, now_ns); /* it was lent its place */
        }
    }
}
