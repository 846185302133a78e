/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Theory of operation.
 *
 * Each attached VM has a FIFO of waiting jobs and one of jobs in flight.  Those
 * that could run (ready, a job waiting, not aside) stand in the dense arrays of
 * `run`, which the policy scans.  One VM, the holder, has the GPU:
 *
 *   no holder ──choose──► turn of VM h ──quantum used, others wait──► drain ──► choose
 *
 * During its turn the holder's jobs are handed out up to `depth` ahead, so the
 * GPU does not idle between them; when the turn ends its jobs in flight are
 * waited for, because two VMs' jobs at once would share the GPU in ways that
 * nobody can account for.  But the last of them, if it is shorter than the
 * driver's time slice, has the next VM's first job behind it already.  While
 * nobody else waits a turn does not end.
 *
 * Two things bend that rule for the sake of latency and of shares:
 *   - Cut.  A VM that comes back from idle, having had no more than its share,
 *     need not wait for the rest of a long turn: the holder's turn ends at the
 *     next job, once it has used an eighth of the quantum; half of it, if that VM
 *     comes back all the time.
 *   - Anticipation.  A guest with one job at a time is never backlogged: each
 *     time its job ends the others would take the GPU for a quantum, and its
 *     weight would mean nothing.  So when the holder runs dry while it is still
 *     owed time and its next job usually comes soon, the GPU is kept for it for
 *     a moment.  The wait is charged to it.  It is only done when waiting is no
 *     dearer than the two switches that it saves, or than the VM's own jobs.
 *
 * Accounts (virtual_time.h): a job is charged to its VM at dispatch with the
 * VM's average, and corrected at completion, when V moves on, too.  In between
 * V lags behind by what is in flight (pending_ns), which choosing adds back.
 *
 * A job that overruns is set aside (wfq_aside.c): its VM keeps no turn, and the
 * next VM is chosen.  A VM that pauses while it is owed keeps that for a moment
 * (wfq_pause.c), and the GPU may be kept for it.
 */
#include "core/sched/scheduler_wfq.h"

#include <math.h>

#include "core/sched/wfq_internal.h"

/* The time from one look to the next: is somebody owed time beside a job aside? */
#define OWED_CHECK_MIN_NS (10.0 * NS_PER_US)
#define OWED_CHECK_MAX_NS (100.0 * NS_PER_MS)
/* A turn may be cut after this part of the quantum. */
#define CUT_DIVISOR 8
/* ... or after this part, by one that comes back all the time: each cut costs two switches. */
#define CUT_LATE_DIVISOR 2
/* The GPU is kept for twice the usual pause, and for this, by which a wake-up may be late. */
#define LATE_NS (50 * NS_PER_US)

/* ---- anticipation ---- */

void wfq_end_anticipation(struct wfq *wfq, uint64_t now_ns)
{
    uint64_t idle_ns = now_ns - wfq->anticipation_began_ns;

    if (!wfq->anticipating) {
        return;
    }
    wfq_charge_all(wfq, wfq->holder, (double)idle_ns);
    wfq->turn_used_ns += idle_ns;
    wfq->vms[wfq->holder].kept_ns += (double)idle_ns;
    wfq->anticipating = false;
    wfq_refresh(wfq, wfq->holder, now_ns);
}

/* ---- dispatch ---- */

static void choose(const struct wfq *wfq, uint64_t now_ns, struct policy_choice *choice)
{
    const struct policy_view view = {
        .count = wfq->run_count,
        .vm = wfq->run_vm,
        .start = wfq->run_start,
        .finish = wfq->run_finish,
        .urgency0 = wfq->run_urgency0,
        .arrival_ns = wfq->run_arrival_ns,
        .sequence = wfq->run_sequence,
        .v = wfq_virtual_now(wfq),
        .now_ns = (double)now_ns,
        .params = wfq->params,
        .preferred = wfq->preferred,
        .preferred_pool =
            wfq_vm_attached(wfq, wfq->preferred) ? wfq->params[wfq->preferred].pool : 0,
        .last_pool = wfq->last_pool,
    };

    if (wfq->run_count == 1) {
        *choice = (struct policy_choice){.index = 0, .eligible = 1, .reason = WFQ_REASON_ALONE};
        return;
    }
    wfq->policy->choose(&view, choice);
}

/* Would a job of the holder that came now be chosen before what waits? */
static bool would_win(const struct wfq *wfq, uint64_t now_ns)
{
    const struct wfq_vm_params *own = &wfq->params[wfq->holder], *best;
    struct policy_choice choice;
    uint32_t rival;
    uint64_t arrival_ns;

    choose(wfq, now_ns, &choice);
    rival = wfq->run_vm[choice.index];
    best = &wfq->params[rival];
    arrival_ns = job_list_first(&wfq->vms[rival].waiting)->arrival_ns;
    return wfq_urgency(own->priority, own->weight, 1, 0) >
           wfq_urgency(best->priority, best->weight, wfq->vms[rival].waiting.count,
                       now_ns > arrival_ns ? now_ns - arrival_ns : 0);
}

/* What the turn has taken: GPU time, and at least its VM's part of the time that it lasts. */
static uint64_t turn_used_ns(const struct wfq *wfq, uint64_t now_ns)
{
    uint64_t lasted_ns = wfq_since_ns(wfq_own_clock_ns(wfq, now_ns), wfq->turn_began_ns);

    return lasted_ns > wfq->turn_used_ns ? lasted_ns : wfq->turn_used_ns;
}

/* How long the holder's turn may last while others wait. */
static uint64_t turn_limit_ns(const struct wfq *wfq)
{
    bool cut = wfq->turn_cut || wfq_virtual_now(wfq) >= wfq->cut_v;
    uint64_t limit_ns =
        wfq->cut_late ? wfq->config.quantum_ns / CUT_LATE_DIVISOR : wfq->config.quantum_ns;

    return cut ? wfq->config.quantum_ns / CUT_DIVISOR : limit_ns;
}

/* But for the price of its turn, which it may earn back. */
static bool holder_is_owed(const struct wfq *wfq)
{
    const struct vt_account *account = &wfq->vt.accounts[wfq->holder];

    return account->start - wfq->vms[wfq->holder].price_left_ns / account->phi <=
           wfq_virtual_now(wfq) + POLICY_SLACK;
}

/*
 * Is the holder one for which the GPU is kept?  It is owed; or its pauses are so short that
 * a switch away from it costs more: then it is served in its turn though it is ahead, as one
 * is that has more work waiting.
 */
static bool may_anticipate(const struct wfq *wfq, uint64_t now_ns)
{
    return holder_is_owed(wfq) || (wfq->vms[wfq->holder].think_ns <= 2 * WFQ_SWITCH_COST_NS &&
                                   turn_used_ns(wfq, now_ns) < turn_limit_ns(wfq));
}

/* The holder has no more jobs: is it worth keeping the GPU for its next one? */
static bool worth_waiting(const struct wfq *wfq, uint64_t now_ns)
{
    const struct vm_state *state = &wfq->vms[wfq->holder];

    return wfq->policy->turns && wfq->aside_count == 0 && wfq->run_count > 0 &&
           !vt_in_debt(&wfq->vt, wfq->holder) && state->think_ns != UNKNOWN &&
           state->think_ns <= wfq_soon_ns(wfq, state) && may_anticipate(wfq, now_ns) &&
           (turn_used_ns(wfq, now_ns) < wfq->config.quantum_ns || would_win(wfq, now_ns));
}

void wfq_anticipate(struct wfq *wfq, uint64_t now_ns)
{
    uint64_t limit_ns;

    if (!worth_waiting(wfq, now_ns)) {
        return;
    }
    limit_ns = 2 * wfq->vms[wfq->holder].think_ns + LATE_NS;
    if (limit_ns > wfq->config.anticipation_ns) {
        limit_ns = wfq->config.anticipation_ns;
    }
    if (!holder_is_owed(wfq)) {
        uint64_t left_ns = turn_limit_ns(wfq) - turn_used_ns(wfq, now_ns);

        limit_ns = limit_ns < left_ns ? limit_ns : left_ns;
    }
    wfq->anticipating = true;
    wfq->anticipation_began_ns = now_ns;
    wfq->anticipation_ends_ns = now_ns + limit_ns;
}

static void log_dispatch(struct wfq *wfq, const struct wfq_job *job, enum wfq_reason reason,
                         uint32_t eligible, uint64_t now_ns)
{
    wfq->log[wfq->dispatches++ % WFQ_DISPATCH_LOG] = (struct dispatch_note){
        .time_ns = now_ns,
        .job_sequence = job->sequence,
        .waited_ns = wfq_since_ns(now_ns, job->arrival_ns),
        .vm = job->vm,
        .waiting_vms = wfq->run_count,
        .eligible_vms = eligible,
        .reason = reason,
        .depth = wfq->vms[job->vm].waiting.count,
        .share = wfq->vt.accounts[job->vm].phi,
        .lag_ns = vt_lag_ns(&wfq->vt, job->vm),
    };
}

static struct wfq_job *dispatch(struct wfq *wfq, uint32_t vm, enum wfq_reason reason,
                                uint32_t eligible, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    struct wfq_job *job = job_list_first(&state->waiting);
    uint64_t cost_ns = wfq_estimate_ns(state);

    log_dispatch(wfq, job, reason, eligible, now_ns);
    job_list_take(&state->waiting);
    wfq->waiting--;
    if (state->in_flight.count == 0) {
        state->head_started_ns = now_ns;
    }
    job_list_append(&state->in_flight, job);
    wfq->in_flight++;
    job->in_flight = true;
    job->dispatched_ns = now_ns;
    job->charged_ns = cost_ns;
    job->progressed_ns = 0;
    job->first = job->guest = false;
    state->returned = false;
    job->lone = state->in_flight.count == 1 && state->waiting.count == 0;
    job->taken_mark_ns = wfq->taken_ns;
    vt_charge(&wfq->vt, vm, (double)cost_ns);
    wfq->pending_ns += cost_ns;
    wfq->turn_used_ns += cost_ns;
    wfq->last_pool = (unsigned char)wfq->params[vm].pool;
    wfq_refresh(wfq, vm, now_ns);
    return job;
}

static struct wfq_job *begin_turn(struct wfq *wfq, const struct policy_choice *choice,
                                  uint64_t now_ns)
{
    uint32_t vm = wfq->run_vm[choice->index];
    bool filled = wfq->filling;
    struct wfq_job *job;

    wfq_note_lag(wfq, vm);
    wfq->filling = wfq->policy->shares && wfq->pausing_count > 0 && !wfq_even(wfq, vm);
    if (wfq_suspended(wfq, vm)) {
        wfq_lend(wfq, vm, now_ns);
    }
    if (vm != wfq->last_holder) {
        wfq->context_switches++;
        wfq->vms[vm].context_switches++;
        wfq_charge_switch(wfq, vm, filled);
    }
    wfq->holder = wfq->last_holder = vm;
    wfq->turn_began_ns = wfq_own_clock_ns(wfq, now_ns);
    wfq->turn_used_ns = 0;
    wfq->turn_cut = wfq->cut_late = wfq->turn_over = false;
    wfq->cut_v = HUGE_VAL;
    job = dispatch(wfq, vm, choice->reason, choice->eligible, now_ns);
    job->first = true;
    return job;
}

static struct wfq_job *dispatch_guest(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct wfq_job *job;

    wfq_note_lag(wfq, vm);
    job = dispatch(wfq, vm, WFQ_REASON_BESIDE, 1, now_ns);
    wfq_guest_begin(wfq, job, now_ns);
    return job;
}

/* Is one of its jobs in flight beside another one's turn? */
static bool is_guest(const struct wfq *wfq, uint32_t vm)
{
    return wfq->guest_count > 0 && wfq->vms[vm].in_flight.count > 0 &&
           job_list_first(&wfq->vms[vm].in_flight)->guest;
}

/* Guests wait for a slice, and for one more while somebody's turn goes on: not for one who is ahead
 * so far.  Others are owed that, and who could run would be chosen. */
static bool slows_guests(const struct wfq *wfq, uint32_t vm)
{
    return wfq->guest_count > 0 && wfq->policy->shares && wfq_turn_ahead(wfq, vm);
}

/*
 * Beside a job aside nobody runs who has such a debt himself; and while one of those who are not
 * aside has a job in flight, only who is owed is let in beside it.
 */
static bool may_run(const struct wfq *wfq, uint32_t vm)
{
    return wfq->aside_count == 0 || !wfq->policy->shares ||
           (!vt_in_debt(&wfq->vt, vm) && !is_guest(wfq, vm) && !slows_guests(wfq, vm) &&
            (wfq->in_flight == 0 || vm == wfq->holder || wfq_even(wfq, vm)));
}

/*
 * Beside jobs aside a turn that is over stays so, also when the jobs in flight turn out to be
 * shorter than estimated.  Or else one more is handed out for every other one that ends, until the
 * worker runs dry and the last one waits for a slice.
 */
static bool turn_goes_on(struct wfq *wfq, uint64_t now_ns)
{
    if (vt_in_debt(&wfq->vt, wfq->holder) || slows_guests(wfq, wfq->holder)) {
        return false; /* only while nobody else can run: that is asked for each job */
    }
    if (wfq->filling && wfq->policy->shares) {
        return !wfq->turn_cut && !wfq->cut_late && turn_used_ns(wfq, now_ns) < turn_limit_ns(wfq) &&
               !wfq_must_hold(wfq, wfq->holder, now_ns);
    }
    if (wfq->run_count == 1 && wfq->pausing_count == 0) {
        return true; /* the holder is the one, and nobody is expected */
    }
    if (wfq->turn_over || turn_used_ns(wfq, now_ns) >= turn_limit_ns(wfq)) {
        wfq->turn_over = wfq->aside_count > 0;
        return false;
    }
    return wfq->policy->turns;
}

/*
 * The last job of an earlier turn is still in flight.  It was expected to be
 * short; if it is not, one job of the next VM beside it is all that it costs.
 */
static bool handed_over(const struct wfq *wfq)
{
    return wfq->in_flight > (wfq->holder == NOBODY ? 0 : wfq->vms[wfq->holder].in_flight.count);
}

/*
 * A turn is over but for one job of a VM whose jobs are short, which has begun (it was behind
 * another that has ended): the next VM's first job may go to its worker now.  The driver begins it
 * when that one ends, so the GPU need not idle while the news of the end makes its way to us and
 * back.  Not when the holder has just run dry: its next job may be on its way, and it may be owed
 * the GPU.  Beside a job aside both wait for that one's time slice to end, and only those who are
 * owed are let in; also when the VM sends one job at a time.  But where the VMs aside have the
 * larger share the driver's slices are not divided further.
 */
static bool may_hand_over(const struct wfq *wfq)
{
    const struct vm_state *state;

    if (!wfq->policy->turns || wfq->in_flight != 1 || wfq->holder == NOBODY ||
        wfq->vms[wfq->holder].recent_longest_ns > wfq->config.handover_ns) {
        return false;
    }
    state = &wfq->vms[wfq->holder];
    if (wfq->aside_count > 0) {
        return wfq->vt.phi_sum >= wfq->aside_phi &&
               (state->waiting.count > 0 || job_list_first(&state->in_flight)->lone);
    }
    return state->waiting.count > 0 &&
           job_list_first(&state->in_flight)->dispatched_ns < state->head_started_ns;
}

/*
 * Enough is handed out.  Tiny jobs go further ahead than `depth`: their hand-over
 * costs more than they do, and together they delay nobody.  Long jobs don't even go
 * as far: one hides the next one's hand-over by its length, and two can't be taken back.
 * And as long as no job of the VM has ended, its jobs may be long.
 */
static bool enough_ahead(const struct wfq *wfq)
{
    uint64_t average_ns, longest_ns, next_ns;

    if (wfq->in_flight == 0 || wfq->holder == NOBODY) {
        return wfq->in_flight >= wfq->config.depth;
    }
    if (wfq->pending_ns >= wfq->config.quantum_ns || wfq->vms[wfq->holder].average_ns == UNKNOWN) {
        return true;
    }
    if (wfq->in_flight < wfq->config.depth) {
        return false;
    }
    average_ns = wfq_estimate_ns(&wfq->vms[wfq->holder]);
    longest_ns = wfq_longest_ns(&wfq->vms[wfq->holder]);
    /* Those in flight stand in pending_ns with their average: half of them may be the longest. */
    next_ns = longest_ns > average_ns ? longest_ns * (wfq->in_flight + 1) / 2 : average_ns;
    return wfq->config.ahead_ns == 0 || wfq->in_flight >= WFQ_DEPTH_MAX ||
           wfq->pending_ns + next_ns > wfq->config.ahead_ns;
}

uint32_t wfq_in_flight_max(const struct wfq_config *config)
{
    return config->ahead_ns ? WFQ_DEPTH_MAX : config->depth;
}

struct wfq_job *wfq_dequeue(struct wfq *wfq, uint64_t now_ns)
{
    struct policy_choice choice;
    bool holder_can_run, drained;
    uint32_t guest;

    wfq_account_aside(wfq, now_ns);
    if (wfq->pausing_count > 0 || wfq->suspended_count > 0) {
        wfq_settle(wfq, now_ns);
    }
    wfq->holding = wfq->idling = false; /* until it is found again to be right */
    if (wfq->paused) {
        return NULL;
    }
    if (wfq->anticipating && now_ns >= wfq->anticipation_ends_ns) {
        wfq_end_anticipation(wfq, now_ns);
    }
    if (wfq->run_count == 0) {
        wfq_idle(wfq, now_ns);
        return NULL;
    }
    if (wfq->aside_count > 0) {
        guest = wfq_choose_guest(wfq);
        if (guest != NOBODY) {
            return dispatch_guest(wfq, guest, now_ns);
        }
    }
    if (enough_ahead(wfq) || wfq->anticipating || handed_over(wfq)) {
        return NULL;
    }
    holder_can_run = wfq->holder != NOBODY && wfq->vms[wfq->holder].run_index != NOBODY;
    if (holder_can_run && turn_goes_on(wfq, now_ns)) {
        return dispatch(wfq, wfq->holder, wfq->run_count == 1 ? WFQ_REASON_ALONE : WFQ_REASON_TURN,
                        0, now_ns);
    }
    drained = (wfq->in_flight == 0 && (wfq->guest_count == 0 || wfq->aside_count > 0)) ||
              may_hand_over(wfq);
    if (!drained && !holder_can_run) {
        return NULL;
    }
    choose(wfq, now_ns, &choice);
    if (!drained && wfq->run_vm[choice.index] != wfq->holder) {
        return NULL;
    }
    if (!may_run(wfq, wfq->run_vm[choice.index]) ||
        (wfq->pausing_count > 0 && wfq_must_hold(wfq, wfq->run_vm[choice.index], now_ns))) {
        return NULL;
    }
    return begin_turn(wfq, &choice, now_ns);
}

/* Jobs aside have the GPU alone: when will V have reached the next VM that waits? */
static uint64_t next_even_ns(const struct wfq *wfq)
{
    double phi_sum = wfq->vt.phi_sum > 0 ? wfq->vt.phi_sum : wfq->aside_phi;
    double start = HUGE_VAL, wait_ns;

    for (uint32_t i = 0; i < wfq->run_count; i++) {
        start = wfq_least(start, wfq->vt.accounts[wfq->run_vm[i]].start);
    }
    wait_ns = (start - wfq_virtual_now(wfq)) * phi_sum;
    wait_ns = wait_ns > OWED_CHECK_MIN_NS ? wait_ns : OWED_CHECK_MIN_NS;
    return wfq->aside_marked_ns + (uint64_t)wfq_least(wait_ns, OWED_CHECK_MAX_NS);
}

uint64_t wfq_next_wakeup_ns(const struct wfq *wfq)
{
    if (wfq->paused) {
        return WFQ_NEVER;
    }
    if (wfq->anticipating) {
        return wfq->anticipation_ends_ns;
    }
    if (wfq->holding && wfq->run_count > 0) {
        return wfq->hold_until_ns;
    }
    return wfq->aside_count > 0 && wfq->policy->shares && wfq->in_flight == 0 && wfq->run_count > 0
               ? next_even_ns(wfq)
               : WFQ_NEVER;
}

uint64_t wfq_turn_ends_ns(const struct wfq *wfq, uint64_t now_ns, uint32_t *vm)
{
    uint64_t used_ns, limit_ns;
    uint32_t rivals;

    /* What is in flight may all be guests beside a job aside: nobody's turn. */
    if (wfq->in_flight == 0 || !wfq->policy->turns || wfq->holder == NOBODY) {
        return UINT64_MAX;
    }
    rivals = wfq->run_count - (wfq->vms[wfq->holder].waiting.count > 0);
    if (rivals == 0) {
        return UINT64_MAX;
    }
    *vm = wfq->holder;
    used_ns = turn_used_ns(wfq, now_ns);
    limit_ns = turn_limit_ns(wfq);
    return now_ns + (limit_ns > used_ns ? limit_ns - used_ns : 0);
}
