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
 *   - It pays for its pause: for each nanosecond one of what it is owed goes to the
 *     others, for it could not have used that time either.  What it is owed is then
 *     what the GPU alone, for a part s of the time, would have given it, less what it
 *     has had.  It never gains by pausing.
 *   - While somebody who is owed pauses, nobody who is ahead gets in where that would
 *     hurt (rule H): then the GPU is kept for it.  That time, too, is charged to those
 *     who pause, and V moves by it.
 *
 * Rule H.  c is ahead and would be next; p pauses and is owed.  c's job is expected to take
 * L, the rest of p's pause r.
 *   (H1) phi_p (L - r) > phi_c r: what p would have to wait weighs more than what c has
 *        of p's pause.  The GPU is kept.
 *   (H2) Else c may have that time at p's cost: p gives up what it is owed, as far as its
 *        tokens go.  They grow with `slack` times its part of the time, so p never loses
 *        more than that part of its due.  If it is still owed then, the GPU is kept.
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
/* Less than this is nothing. */
#define OWED_MIN_NS 1.0

bool wfq_pause_begin(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct pause *pause = &wfq->vms[vm].pause;

    if (!wfq->policy->shares || !wfq->vms[vm].ready || pause->usual_ns == UNKNOWN ||
        pause->usual_ns > wfq->config.patience_ns || !vt_pause(&wfq->vt, vm)) {
        return false;
    }
    pause->began_ns = pause->mark_ns = now_ns;
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
    pause->usual_ns = pause->usual_ns == UNKNOWN
                          ? pause_ns
                          : pause->usual_ns - pause->usual_ns / 4 + pause_ns / 4;
}

void wfq_pause_tokens(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct pause *pause = &wfq->vms[vm].pause;
    double share = (double)wfq->vt.accounts[vm].phi / (double)(wfq->vt.phi_sum + 1);
    double cycle_ns = (double)wfq_since_ns(now_ns, pause->cycle_ns);

    pause->tokens_ns =
        wfq_least(pause->tokens_ns + (double)wfq->config.slack_permille * 1e-3 * share * cycle_ns,
                  TOKENS_MAX_NS * share);
    pause->cycle_ns = now_ns;
}

/* ---- time passes ---- */

/* The GPU was kept until now.  Returns each pausing VM's part of that. */
static double charge_hold(struct wfq *wfq, uint64_t now_ns)
{
    double held_ns, part_ns;

    if (!wfq->holding) {
        return 0;
    }
    held_ns = (double)wfq_since_ns(now_ns < wfq->hold_until_ns ? now_ns : wfq->hold_until_ns,
                                   wfq->hold_mark_ns);
    wfq->hold_mark_ns = now_ns;
    if (wfq->pausing_count == 0) {
        return 0;
    }
    part_ns = held_ns / wfq->pausing_count;
    for (uint32_t i = 0; i < wfq->pausing_count; i++) {
        vt_charge(&wfq->vt, wfq->pausing[i], part_ns);
        wfq->vms[wfq->pausing[i]].kept_ns += part_ns;
    }
    vt_advance(&wfq->vt, held_ns);
    return part_ns;
}

/* It has been charged `charged_ns` of its pause; it gives up the rest. */
static void pay_for_pause(struct wfq *wfq, uint32_t vm, double charged_ns, uint64_t now_ns)
{
    struct pause *pause = &wfq->vms[vm].pause;
    double passed_ns = (double)wfq_since_ns(now_ns, pause->mark_ns);

    pause->mark_ns = now_ns;
    pause->paid_ns += charged_ns + vt_give_up(&wfq->vt, vm, passed_ns - charged_ns);
}

void wfq_settle(struct wfq *wfq, uint64_t now_ns)
{
    double charged_ns;

    wfq_account_idlers(wfq, now_ns);
    wfq_progress(wfq, now_ns);
    charged_ns = charge_hold(wfq, now_ns);
    for (uint32_t i = 0; i < wfq->pausing_count;) {
        uint32_t vm = wfq->pausing[i];

        pay_for_pause(wfq, vm, charged_ns, now_ns);
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

/* Is the GPU kept for p, rather than given to c, which is ahead? */
static bool holds_for(struct wfq *wfq, uint32_t p, uint32_t c, uint64_t now_ns)
{
    struct pause *pause = &wfq->vms[p].pause;
    double length_ns = (double)wfq_longest_ns(&wfq->vms[c]), usual_ns = (double)pause->usual_ns;
    double rest_ns = usual_ns - (double)wfq_since_ns(now_ns, pause->began_ns);
    double phi_p = wfq->vt.accounts[p].phi, phi_c = wfq->vt.accounts[c].phi;

    if (vt_lag_ns(&wfq->vt, p) <= OWED_MIN_NS) {
        return false;
    }
    rest_ns = rest_ns > usual_ns / 4 ? rest_ns : usual_ns / 4;
    if (phi_p * (length_ns - rest_ns) > phi_c * rest_ns) {
        return true;
    }
    pause->tokens_ns -= vt_give_up(&wfq->vt, p, pause->tokens_ns);
    return vt_lag_ns(&wfq->vt, p) > OWED_MIN_NS;
}

/* How long at most the GPU is kept for p. */
static double hold_for_ns(const struct wfq *wfq, uint32_t p, uint64_t now_ns)
{
    const struct vt_account *account = &wfq->vt.accounts[p];
    double others = (double)(wfq->vt.phi_sum - account->phi);
    double rest_ns = (double)wfq_since_ns(wfq->vms[p].pause.until_ns, now_ns);

    return others > 0
               ? wfq_least(rest_ns, vt_lag_ns(&wfq->vt, p) * (double)wfq->vt.phi_sum / others)
               : rest_ns;
}

bool wfq_must_hold(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    double even_ns, for_ns = HUGE_VAL;

    if (wfq->pausing_count == 0 || !wfq->policy->shares ||
        wfq->vt.accounts[vm].start <= wfq_virtual_now(wfq) + POLICY_SLACK) {
        return false;
    }
    for (uint32_t i = 0; i < wfq->pausing_count; i++) {
        if (holds_for(wfq, wfq->pausing[i], vm, now_ns)) {
            for_ns = wfq_least(for_ns, hold_for_ns(wfq, wfq->pausing[i], now_ns));
        }
    }
    /* What was given up may have made it even. */
    even_ns = (wfq->vt.accounts[vm].start - wfq_virtual_now(wfq)) * (double)wfq->vt.phi_sum;
    if (for_ns == HUGE_VAL || even_ns <= 0) {
        return false;
    }
    for_ns = wfq_least(for_ns, even_ns);
    wfq->hold_until_ns = now_ns + (uint64_t)(for_ns > HOLD_MIN_NS ? for_ns : HOLD_MIN_NS);
    if (wfq->in_flight == 0) {
        wfq->holding = true;
        wfq->hold_mark_ns = now_ns;
    }
    return true;
}
