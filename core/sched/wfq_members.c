/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who takes part: VMs attached and detached, ready or not, with work or without;
 * the dense arrays of those that could run now; and their accounts.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/sched/wfq_internal.h"

/* ---- the dense arrays ---- */

static void run_pad(struct wfq *wfq, uint32_t at)
{
    wfq->run_vm[at] = NOBODY;
    wfq->run_start[at] = HUGE_VAL;
    wfq->run_finish[at] = HUGE_VAL;
    wfq->run_turn[at] = 0;
    wfq->run_urgency0[at] = -1;
    wfq->run_arrival_ns[at] = 0;
    wfq->run_sequence[at] = UINT64_MAX;
}

/* A turn, or what waits of it if that is less.  Not more for one job longer than that: or else a VM
 * would have to be owed two of them before it is late. */
static double turn_ns(const struct wfq *wfq, const struct vm_state *state)
{
    uint64_t average_ns = wfq_estimate_ns(state), turn_ns = average_ns * state->waiting.count;

    return (double)(turn_ns < wfq->config.quantum_ns ? turn_ns : wfq->config.quantum_ns);
}

void wfq_write_account(struct wfq *wfq, uint32_t vm)
{
    const struct vm_state *state = &wfq->vms[vm];

    wfq->run_turn[state->run_index] = turn_ns(wfq, state) / wfq->vt.accounts[vm].phi;
    wfq_write_start(wfq, vm);
}

/* The oldest is the same, and what it is owed: with long queues that is less to look up. */
void wfq_write_depth(struct wfq *wfq, uint32_t vm)
{
    const struct vm_state *state = &wfq->vms[vm];

    wfq->run_urgency0[state->run_index] =
        policy_urgency0(wfq->vt.accounts[vm].phi, state->waiting.count);
    if (wfq_estimate_ns(state) * (state->waiting.count - 1) < wfq->config.quantum_ns) {
        wfq_write_account(wfq, vm);
    }
}

static void run_write(struct wfq *wfq, uint32_t vm)
{
    const struct vm_state *state = &wfq->vms[vm];
    const struct wfq_job *oldest = job_list_first(&state->waiting);
    uint32_t at = state->run_index;

    wfq->run_vm[at] = vm;
    wfq_write_account(wfq, vm);
    wfq->run_urgency0[at] = policy_urgency0(wfq->vt.accounts[vm].phi, state->waiting.count);
    wfq->run_arrival_ns[at] = (double)oldest->arrival_ns;
    wfq->run_sequence[at] = oldest->sequence;
}

static void run_remove(struct wfq *wfq, uint32_t vm)
{
    uint32_t at = wfq->vms[vm].run_index;
    uint32_t last = --wfq->run_count;

    wfq->vms[vm].run_index = NOBODY;
    if (at != last) {
        wfq->run_vm[at] = wfq->run_vm[last];
        wfq->run_start[at] = wfq->run_start[last];
        wfq->run_finish[at] = wfq->run_finish[last];
        wfq->run_turn[at] = wfq->run_turn[last];
        wfq->run_urgency0[at] = wfq->run_urgency0[last];
        wfq->run_arrival_ns[at] = wfq->run_arrival_ns[last];
        wfq->run_sequence[at] = wfq->run_sequence[last];
        wfq->vms[wfq->run_vm[at]].run_index = at;
    }
    run_pad(wfq, last);
}

/* ---- membership: called after anything that may have changed it ---- */

void wfq_account_due(struct wfq *wfq, uint64_t now_ns)
{
    if (now_ns > wfq->due_clock_ns) {
        if (wfq->vt.phi_sum > 0 && !wfq->paused) {
            wfq->due_clock += (double)(now_ns - wfq->due_clock_ns) / wfq->vt.phi_sum;
        }
        wfq->due_clock_ns = now_ns;
    }
}

void wfq_note_due(struct wfq *wfq, uint32_t vm)
{
    const struct vt_account *account = &wfq->vt.accounts[vm];
    struct vm_state *state = &wfq->vms[vm];

    if (account->standing == VT_WORKING) {
        state->entitled_ns += (wfq->due_clock - state->due_mark) * account->phi;
        state->due_mark = wfq->due_clock;
    }
}

/* It has work, and did not take part. */
static void begin_work(struct wfq *wfq, uint32_t vm, bool can_run, uint64_t now_ns)
{
    /* A cut costs two switches: at most once in that time it is an early one. */
    bool paused_long =
        wfq_since_ns(now_ns, wfq->vms[vm].last_completed_ns) >= wfq->config.quantum_ns;

    if (wfq_suspended(wfq, vm) && wfq->vms[vm].in_flight.count > 0) {
        wfq_lend(wfq, vm, now_ns); /* they can't be taken back */
        return;
    }
    wfq_account_due(wfq, now_ns);
    wfq_pause_end(wfq, vm);
    wfq->vms[vm].due_mark = wfq->due_clock;
    wfq->vms[vm].returned = true;
    if (wfq->holder == vm) {
        vt_join(&wfq->vt, vm);
    } else if (vt_join(&wfq->vt, vm)) {
        if (!paused_long) {
            wfq->cut_late |= !wfq_may_be_guest(wfq, vm);
        } else {
            wfq->turn_cut |= !wfq_may_be_guest(wfq, vm);
        }
    } else if (can_run && !vt_in_debt(&wfq->vt, vm) && !wfq_may_be_guest(wfq, vm) && paused_long) {
        wfq->cut_v = wfq_least(wfq->cut_v, wfq->vt.accounts[vm].start);
    }
    if (!vt_in_debt(&wfq->vt, vm)) {
        wfq_suspend_end(wfq, vm);
    }
}

static void end_work(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    wfq_account_due(wfq, now_ns);
    wfq_note_due(wfq, vm);
    wfq_note_lag(wfq, vm);
    if (!wfq_pause_begin(wfq, vm, now_ns)) {
        vt_leave(&wfq->vt, vm);
    }
}

void wfq_refresh(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    bool can_run = state->ready && state->waiting.count > 0 && !state->aside;
    bool working = can_run || (state->in_flight.count > 0 && !state->aside) ||
                   (wfq->anticipating && wfq->holder == vm);

    if (working != (wfq->vt.accounts[vm].standing == VT_WORKING)) {
        if (working) {
            begin_work(wfq, vm, can_run, now_ns);
        } else {
            end_work(wfq, vm, now_ns);
        }
    }
    if (can_run) {
        if (state->run_index == NOBODY) {
            state->run_index = wfq->run_count++;
        }
        run_write(wfq, vm);
    } else if (state->run_index != NOBODY) {
        run_remove(wfq, vm);
    }
}

/* Accounts of several VMs have changed. */
static void run_take_starts(struct wfq *wfq)
{
    for (uint32_t i = 0; i < wfq->run_count; i++) {
        wfq_write_start(wfq, wfq->run_vm[i]);
    }
}

void wfq_rebased(struct wfq *wfq, double base)
{
    wfq->cut_v -= base;
    run_take_starts(wfq);
}

/* ---- VMs ---- */

void wfq_vm_new(struct wfq *wfq, uint32_t vm)
{
    assert(vm < wfq->config.max_vms && !wfq->vms[vm].attached);
    wfq->vms[vm].start_ns = WFQ_START_MAX_NS;
    wfq->vms[vm].start_mark_ns = 0;
}

void wfq_vm_attach(struct wfq *wfq, uint32_t vm, const struct wfq_vm_params *params)
{
    struct vm_state *state = &wfq->vms[vm];

    assert(vm < wfq->config.max_vms && !state->attached);
    *state = (struct vm_state){.attached = true,
                               .start_ns = state->start_ns, /* it is not new by coming back */
                               .start_mark_ns = state->start_mark_ns,
                               .run_index = NOBODY,
                               .suspend_index = NOBODY,
                               .pause = {.index = NOBODY, .usual_ns = UNKNOWN},
                               .average_ns = UNKNOWN,
                               .think_ns = UNKNOWN,
                               .recent_longest_ns = UNKNOWN};
    STAILQ_INIT(&state->waiting.jobs);
    STAILQ_INIT(&state->in_flight.jobs);
    wfq->params[vm] = *params;
    vt_reset(&wfq->vt, vm, wfq_share(params->weight, params->priority));
}

void wfq_vm_detach(struct wfq *wfq, uint32_t vm, uint64_t now_ns, struct wfq_vm_stats *last)
{
    struct vm_state *state = &wfq->vms[vm];

    assert(state->attached && state->waiting.count == 0 && state->in_flight.count == 0);
    wfq_account_due(wfq, now_ns);
    state->switching_ns += state->price_left_ns;
    if (last) {
        wfq_get_vm_stats(wfq, vm, now_ns, last);
    }
    if (wfq->holder == vm) {
        wfq->anticipating = false;
        wfq->holder = NOBODY;
    }
    if (wfq->last_holder == vm) {
        wfq->last_holder = NOBODY;
    }
    if (wfq->preferred == vm) {
        wfq->preferred = NOBODY;
    }
    wfq_pause_end(wfq, vm);
    wfq_suspend_end(wfq, vm);
    vt_forget(&wfq->vt, vm);
    run_take_starts(wfq);
    state->attached = false;
}

bool wfq_vm_attached(const struct wfq *wfq, uint32_t vm)
{
    return vm < wfq->config.max_vms && wfq->vms[vm].attached;
}

void wfq_vm_update(struct wfq *wfq, uint32_t vm, const struct wfq_vm_params *params,
                   uint64_t now_ns)
{
    assert(wfq->vms[vm].attached);
    wfq_account_aside(wfq, now_ns);
    wfq_settle(wfq, now_ns);
    wfq_account_due(wfq, now_ns);
    wfq_note_due(wfq, vm);
    if (wfq->vms[vm].aside) {
        wfq->aside_phi -= wfq->vt.accounts[vm].phi;
        wfq->aside_phi += wfq_share(params->weight, params->priority);
    }
    wfq->params[vm] = *params;
    vt_set_share(&wfq->vt, vm, wfq_share(params->weight, params->priority));
    wfq_refresh(wfq, vm, now_ns);
}

void wfq_vm_set_ready(struct wfq *wfq, uint32_t vm, bool ready, uint64_t now_ns)
{
    assert(wfq->vms[vm].attached);
    if (!ready && wfq->holder == vm) {
        wfq_end_anticipation(wfq, now_ns);
    }
    if (!ready && wfq->vms[vm].pause.index != NOBODY) {
        wfq_settle(wfq, now_ns);
        wfq_account_due(wfq, now_ns);
        wfq_pause_end(wfq, vm);
        vt_leave(&wfq->vt, vm);
    }
    wfq->vms[vm].fresh = ready && (!wfq->vms[vm].ready || wfq->vms[vm].fresh);
    wfq->vms[vm].ready = ready;
    wfq_refresh(wfq, vm, now_ns);
}

/* ---- life ---- */

/* calloc() for what consists of whole lines. */
static void *make_lines(uint32_t count, size_t size)
{
    void *lines = aligned_alloc(WFQ_CACHE_LINE, count * size);

    if (lines) {
        memset(lines, 0, count * size);
    }
    return lines;
}

struct wfq *wfq_init(const struct wfq_config *config)
{
    uint32_t padded = (config->max_vms + 2 * POLICY_LANES - 1) / POLICY_LANES * POLICY_LANES;
    struct wfq *wfq = calloc(1, sizeof(*wfq));

    if (!wfq) {
        return NULL;
    }
    wfq->config = *config;
    wfq->earned_per_ns = 2.0 * WFQ_SWITCH_COST_NS / (double)config->quantum_ns;
    wfq->policy = wfq_policies[config->policy];
    wfq->preferred = wfq->holder = wfq->last_holder = NOBODY;
    wfq->cut_v = HUGE_VAL;
    wfq->vms = make_lines(config->max_vms, sizeof(*wfq->vms));
    wfq->log = make_lines(WFQ_DISPATCH_LOG, sizeof(*wfq->log));
    wfq->params = calloc(config->max_vms, sizeof(*wfq->params));
    wfq->run_vm = calloc(padded, sizeof(*wfq->run_vm));
    wfq->run_start = calloc(padded, sizeof(*wfq->run_start));
    wfq->run_finish = calloc(padded, sizeof(*wfq->run_finish));
    wfq->run_turn = calloc(padded, sizeof(*wfq->run_turn));
    wfq->pausing = calloc(config->max_vms, sizeof(*wfq->pausing));
    wfq->payers = calloc(config->max_vms, sizeof(*wfq->payers));
    wfq->gives_ns = calloc(config->max_vms, sizeof(*wfq->gives_ns));
    wfq->suspended = calloc(config->max_vms, sizeof(*wfq->suspended));
    wfq->run_urgency0 = calloc(padded, sizeof(*wfq->run_urgency0));
    wfq->run_arrival_ns = calloc(padded, sizeof(*wfq->run_arrival_ns));
    wfq->run_sequence = calloc(padded, sizeof(*wfq->run_sequence));
    if (vt_init(&wfq->vt, config->max_vms) < 0 || !wfq->vms || !wfq->log || !wfq->params ||
        !wfq->run_vm || !wfq->run_start || !wfq->run_finish || !wfq->run_turn || !wfq->pausing ||
        !wfq->payers || !wfq->gives_ns || !wfq->suspended || !wfq->run_urgency0 ||
        !wfq->run_arrival_ns || !wfq->run_sequence) {
        wfq_destroy(wfq);
        return NULL;
    }
    for (uint32_t i = 0; i < padded; i++) {
        run_pad(wfq, i);
    }
    for (uint32_t i = 0; i < config->max_vms; i++) {
        wfq_vm_new(wfq, i);
    }
    return wfq;
}

void wfq_destroy(struct wfq *wfq)
{
    if (!wfq) {
        return;
    }
    vt_destroy(&wfq->vt);
    free(wfq->vms);
    free(wfq->log);
    free(wfq->params);
    free(wfq->run_vm);
    free(wfq->run_start);
    free(wfq->run_finish);
    free(wfq->run_turn);
    free(wfq->pausing);
    free(wfq->payers);
    free(wfq->gives_ns);
    free(wfq->suspended);
    free(wfq->run_urgency0);
    free(wfq->run_arrival_ns);
    free(wfq->run_sequence);
    free(wfq);
}
