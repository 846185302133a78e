/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMs that pause while they are owed GPU time.
 *
 * Theory of operation.  A guest that sends a job, looks at the result and sends the
 * next one has no work for a moment, again and again.  If what it is owed were gone
 * with each of these moments, a neighbour with long jobs would have the GPU: each
 * of its jobs runs while the other one pauses, and is never made good.  So:
 *
 *   - It stays in the fluid set, with what it is owed, for as long as `patience`.
 *   - It pays for its pause: for each nanosecond one of what it is owed goes to those
 *     who don't pause, for it could not have used that time either.  What it is owed is then
 *     what the GPU alone, for a part s of the time, would have given it, less what it
 *     has had.  It never gains by pausing.
 *   - Time in which nothing runs and nothing waits is charged to those who pause, and V moves by
 *     it: an idle GPU is no loss to them, or a VM of 90 % that comes and goes all the time would
 *     never be owed anything when it is back.
 *   - While somebody who is owed pauses, nobody who is ahead gets in where that would
 *     hurt (rule H): then the GPU is kept for it.  That time, too, is charged to those
 *     who pause, and V moves by it.
 *
 * Rule H.  c is ahead and would be next; p pauses and is owed.  c's job is expected to take
 * W with the switch to it, the rest of p's pause r; b is the switch back, if the GPU is p's now.
 *   (H1) phi_p (W + b - r) > phi_c r: what p would have to wait weighs more than what c has
 *        of p's pause.  The GPU is kept.
 *   (H2) Else c may fill the pause, if p can afford what it is expected to lose by that:
 *        W * W / (W + r) + b, for nobody knows when it really comes back.  It has so many
 *        tokens less, and gives up the first part; b it waits for, and V does not see it.
 *        Tokens grow with `slack` times its part of the time, so p never loses more than
 *        that part of its due.  Else the GPU is kept.
 *   (H3) c is not let in when it is ahead by a quantum and what may go ahead already: so it
 *        never gets further ahead than a VM that takes its turn (wfq_lag_bound_ns()).
 * That is asked for each job that fills a pause.
 *
 * In the terms of channels: a job is a turn's unit, and a VM pauses when none of its
 * workers wants a turn.
 */
#include "core/sched/wfq_internal.h"

/* A pause counts for so many times the patience at most. */
#define USUAL_MAX_PATIENCES 4
/* Tokens are saved up for no longer than this part of the time: its due of that. */
#define TOKENS_MAX_NS 70e6
/* The GPU is kept for at least so long before it is looked again. */
#define HOLD_MIN_NS 10e3
/* A pause that has lasted as long as usual is taken to go on for this part of that. */
#define REST_PART 4
/* Less than this is nothing. */
#define OWED_MIN_NS 1.0

bool wfq_pause_begin(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct pause *pause = &wfq->vms[vm].pause;

    if (!wfq->policy->shares || !wfq->vms[vm].ready || pause->usual_ns == UNKNOWN ||
        pause->usual_ns > wfq->config.patience_ns || !vt_pause(&wfq->vt, vm)) {
        return false;
    }
    pause->began_ns = now_ns;
    pause->mark_ns = wfq_own_clock_ns(wfq, now_ns);
    pause->until_ns = now_ns + wfq->config.patience_ns;
    pause->index = wfq->pausing_count;
    wfq->pausing[wfq->pausing_count++] = vm;
    return true;
}

void wfq_pause_end(struct wfq *wfq, uint32_t vm)
{
    struct pause *pause = &wfq->vms[vm].pause;
    uint32_t last;

    if (pause->index == NOBODY) {
        return;
    }
    last = wfq->pausing[--wfq->pausing_count];
    wfq->pausing[pause->index] = last;
    wfq->vms[last].pause.index = pause->index;
    pause->index = NOBODY;
}

void wfq_pause_learn(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct pause *pause = &wfq->vms[vm].pause;
    uint64_t max_ns = USUAL_MAX_PATIENCES * wfq->config.patience_ns;
    uint64_t pause_ns = wfq_since_ns(now_ns, wfq->vms[vm].last_completed_ns);

    pause_ns = pause_ns < max_ns ? pause_ns : max_ns;
    pause->usual_ns = wfq_average_ns(pause->usual_ns, pause_ns, WFQ_NEWEST_PAUSE);
}

void wfq_pause_tokens(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct pause *pause = &wfq->vms[vm].pause;
    double share = wfq->vt.accounts[vm].phi / (wfq->vt.phi_sum + 1);
    double cycle_ns = (double)wfq_since_ns(now_ns, pause->cycle_ns);

    pause->tokens_ns =
        wfq_least(pause->tokens_ns + (double)wfq->config.slack_permille * 1e-3 * share * cycle_ns,
                  TOKENS_MAX_NS * share);
    pause->cycle_ns = now_ns;
}

/* ---- time passes ---- */

void wfq_idle(struct wfq *wfq, uint64_t now_ns)
{
    if (wfq->pausing_count > 0 && wfq->in_flight + wfq->guest_count + wfq->aside_count == 0 &&
        !wfq->anticipating && wfq->policy->shares) {
        wfq->idling = true;
        wfq->hold_mark_ns = wfq_own_clock_ns(wfq, now_ns);
        wfq->hold_until_ns = UINT64_MAX;
    }
}

/* The GPU was kept, or idle, until now.  Returns each pausing VM's part of that. */
static double charge_hold(struct wfq *wfq, uint64_t now_ns)
{
    double held_ns, part_ns;

    if (!wfq->holding && !wfq->idling) {
        return 0;
    }
    held_ns = (double)wfq_since_ns(
        wfq_own_clock_ns(wfq, now_ns < wfq->hold_until_ns ? now_ns : wfq->hold_until_ns),
        wfq->hold_mark_ns);
    wfq->hold_mark_ns = wfq_own_clock_ns(wfq, now_ns);
    if (wfq->pausing_count == 0) {
        return 0;
    }
    part_ns = held_ns / wfq->pausing_count;
    for (uint32_t i = 0; i < wfq->pausing_count; i++) {
        vt_charge(&wfq->vt, wfq->pausing[i], part_ns);
        wfq->vms[wfq->pausing[i]].kept_ns += wfq->holding ? part_ns : 0;
    }
    vt_advance(&wfq->vt, held_ns);
    return part_ns;
}

/* So much of the time since it last paid has not been charged yet. */
static double unpaid_ns(struct pause *pause, double charged_ns, uint64_t own_ns)
{
    double ns = (double)wfq_since_ns(own_ns, pause->mark_ns) - charged_ns;

    pause->mark_ns = own_ns > pause->mark_ns ? own_ns : pause->mark_ns;
    return ns;
}

/*
 * Those who pause have been charged `charged_ns` each; they give up the rest.  So do guests: in
 * the time in which their job waits for its slice they can't use what they are owed either.  Who
 * is owed nothing is one of those who get it, or there might be nobody.
 */
static void pay_for_pauses(struct wfq *wfq, double charged_ns, uint64_t now_ns)
{
    uint64_t own_ns = wfq_own_clock_ns(wfq, now_ns);
    uint32_t count = 0, all = wfq->pausing_count + wfq->guest_count;

    for (uint32_t i = 0; i < all; i++) {
        bool pauses = i < wfq->pausing_count;
        uint32_t vm = pauses ? wfq->pausing[i] : wfq->guests[i - wfq->pausing_count];
        struct pause *pause = &wfq->vms[vm].pause;
        double ns = unpaid_ns(pause, pauses ? charged_ns : 0, own_ns);

        pause->paid_ns += pauses ? charged_ns : 0;
        if (vt_lag_ns(&wfq->vt, vm) > 0) {
            wfq->payers[count] = vm;
            wfq->gives_ns[count++] = ns;
        }
    }
    vt_give_up(&wfq->vt, wfq->payers, wfq->gives_ns, count);
    for (uint32_t i = 0; i < count; i++) {
        struct pause *pause = &wfq->vms[wfq->payers[i]].pause;

        pause->paid_ns += pause->index != NOBODY ? wfq->gives_ns[i] : 0;
        wfq_note_start(wfq, wfq->payers[i]);
    }
}

void wfq_settle(struct wfq *wfq, uint64_t now_ns)
{
    double charged_ns;

    wfq_account_idlers(wfq, now_ns);
    wfq_progress(wfq, now_ns);
    charged_ns = charge_hold(wfq, now_ns);
    if (wfq->pausing_count + wfq->guest_count > 0) {
        pay_for_pauses(wfq, charged_ns, now_ns);
    }
    for (uint32_t i = 0; i < wfq->pausing_count;) {
        uint32_t vm = wfq->pausing[i];

        if (now_ns >= wfq->vms[vm].pause.until_ns || vt_lag_ns(&wfq->vt, vm) <= OWED_MIN_NS) {
            wfq_account_due(wfq, now_ns);
            wfq_pause_end(wfq, vm);
            vt_leave(&wfq->vt, vm);
        } else {
            i++;
        }
    }
    wfq_return_suspended(wfq, now_ns);
}

/* ---- rule H ---- */

/* How long its pause still takes, by what it usually does. */
static double rest_ns(const struct pause *pause, uint64_t now_ns)
{
    double usual_ns = (double)pause->usual_ns;
    double rest_ns = usual_ns - (double)wfq_since_ns(now_ns, pause->began_ns);

    return rest_ns > usual_ns / REST_PART ? rest_ns : usual_ns / REST_PART;
}

/* p pauses; what letting c in costs it. */
struct harm {
    double rest_ns; /* of its pause, as it usually is */
    double work_ns; /* c's next job, and the switch to it */
    double back_ns; /* the switch back, which p would not need otherwise */
    double loss_ns; /* what p is expected to lose in all; 0 when it is not owed */
};

static struct harm harm_to(const struct wfq *wfq, uint32_t p, uint32_t c, uint64_t now_ns)
{
    struct harm harm = {
        .rest_ns = rest_ns(&wfq->vms[p].pause, now_ns),
        .work_ns =
            (double)wfq_longest_ns(&wfq->vms[c]) + (c != wfq->last_holder ? WFQ_SWITCH_COST_NS : 0),
        .back_ns = p == wfq->last_holder ? WFQ_SWITCH_COST_NS : 0,
    };

    if (vt_lag_ns(&wfq->vt, p) > OWED_MIN_NS) {
        harm.loss_ns = harm.work_ns * harm.work_ns / (harm.work_ns + harm.rest_ns) + harm.back_ns;
    }
    return harm;
}

/* Is the GPU kept for p, rather than given to c, which is ahead? */
static bool holds_for(const struct wfq *wfq, uint32_t p, uint32_t c, uint64_t now_ns)
{
    struct harm harm = harm_to(wfq, p, c, now_ns);
    double phi_p = wfq->vt.accounts[p].phi, phi_c = wfq->vt.accounts[c].phi;

    return harm.loss_ns > 0 &&
           (wfq_turn_ahead(wfq, c) ||
            phi_p * (harm.work_ns + harm.back_ns - harm.rest_ns) > phi_c * harm.rest_ns ||
            wfq->vms[p].pause.tokens_ns < harm.loss_ns);
}

/*
 * c is let in: those who pause and are owed give up what they are expected to lose.  The way back
 * they lose by having it to wait for: V does not see it.
 */
static void fill_pauses(struct wfq *wfq, uint32_t c, uint64_t now_ns)
{
    for (uint32_t i = 0; i < wfq->pausing_count; i++) {
        struct harm harm = harm_to(wfq, wfq->pausing[i], c, now_ns);

        wfq->gives_ns[i] = harm.loss_ns > 0 ? harm.loss_ns - harm.back_ns : 0;
        wfq->vms[wfq->pausing[i]].pause.tokens_ns -= harm.loss_ns;
    }
    vt_give_up(&wfq->vt, wfq->pausing, wfq->gives_ns, wfq->pausing_count);
}

/* How long at most the GPU is kept for p. */
static double hold_for_ns(const struct wfq *wfq, uint32_t p, uint64_t now_ns)
{
    const struct vt_account *account = &wfq->vt.accounts[p];
    double others = wfq->vt.phi_sum - account->phi;
    double rest_ns = (double)wfq_since_ns(wfq->vms[p].pause.until_ns, now_ns);

    return others > 0 ? wfq_least(rest_ns, vt_lag_ns(&wfq->vt, p) * wfq->vt.phi_sum / others)
                      : rest_ns;
}

bool wfq_must_hold(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    double even_ns, for_ns = HUGE_VAL;

    if (wfq->pausing_count == 0 || !wfq->policy->shares || wfq_even(wfq, vm)) {
        return false;
    }
    for (uint32_t i = 0; i < wfq->pausing_count; i++) {
        if (holds_for(wfq, wfq->pausing[i], vm, now_ns)) {
            for_ns = wfq_least(for_ns, hold_for_ns(wfq, wfq->pausing[i], now_ns));
        }
    }
    if (for_ns == HUGE_VAL) {
        fill_pauses(wfq, vm, now_ns);
        return false;
    }
    even_ns = (wfq->vt.accounts[vm].start - wfq_virtual_now(wfq)) * wfq->vt.phi_sum;
    for_ns = wfq_least(for_ns, even_ns);
    wfq->hold_until_ns = now_ns + (uint64_t)(for_ns > HOLD_MIN_NS ? for_ns : HOLD_MIN_NS);
    if (wfq->in_flight + wfq->guest_count == 0) {
        wfq->holding = true;
        wfq->hold_mark_ns = wfq_own_clock_ns(wfq, now_ns);
    }
    return true;
}
