/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who takes part: VMs attached and detached, ready or not, with work or without;
 * the dense arrays of those that could run now; and their accounts.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "core/sched/wfq_internal.h"

/* ---- the dense arrays ---- */

static void run_pad(struct wfq *wfq, uint32_t at)
{
    wfq->run_vm[at] = NOBODY;
    wfq->run_start[at] = HUGE_VAL;
    wfq->run_urgency0[at] = -1;
    wfq->run_arrival_ns[at] = 0;
    wfq->run_sequence[at] = UINT64_MAX;
}

static void run_write(struct wfq *wfq, uint32_t vm)
{
    const struct vm_state *state = &wfq->vms[vm];
    uint32_t at = state->run_index;

    wfq->run_vm[at] = vm;
    wfq->run_start[at] = wfq->vt.accounts[vm].start;
    wfq->run_urgency0[at] =
        wfq_urgency(wfq->params[vm].priority, wfq->params[vm].weight, state->waiting.count, 0);
    wfq->run_arrival_ns[at] = (double)state->waiting.head->arrival_ns;
    wfq->run_sequence[at] = state->waiting.head->sequence;
}

static void run_remove(struct wfq *wfq, uint32_t vm)
{
    uint32_t at = wfq->vms[vm].run_index;
    uint32_t last = --wfq->run_count;

    wfq->vms[vm].run_index = NOBODY;
    if (at != last) {
        wfq->run_vm[at] = wfq->run_vm[last];
        wfq->run_start[at] = wfq->run_start[last];
        wfq->run_urgency0[at] = wfq->run_urgency0[last];
        wfq->run_arrival_ns[at] = wfq->run_arrival_ns[last];
        wfq->run_sequence[at] = wfq->run_sequence[last];
        wfq->vms[wfq->run_vm[at]].run_index = at;
    }
    run_pad(wfq, last);
}

/* ---- membership: called after anything that may have changed it ---- */

void wfq_note_lag(struct wfq *wfq, uint32_t vm)
{
    double lag_ns = vt_lag_ns(&wfq->vt, vm);

    if (lag_ns > wfq->vms[vm].max_lag_ns) {
        wfq->vms[vm].max_lag_ns = lag_ns;
    }
}

void wfq_refresh(struct wfq *wfq, uint32_t vm)
{
    struct vm_state *state = &wfq->vms[vm];
    bool can_run = state->ready && state->waiting.count > 0 && wfq->aside != vm;
    bool working = state->in_flight.count > 0 || (state->ready && state->waiting.count > 0) ||
                   (wfq->anticipating && wfq->holder == vm);

    if (working) {
        bool was_even = vt_join(&wfq->vt, vm);

        if (was_even && wfq->holder != vm) {
            wfq->turn_cut = true;
        }
    } else if (wfq->vt.accounts[vm].working) {
        wfq_note_lag(wfq, vm);
        vt_leave(&wfq->vt, vm);
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

void wfq_charge(struct wfq *wfq, uint32_t vm, double ns)
{
    struct vm_state *state = &wfq->vms[vm];

    vt_charge(&wfq->vt, vm, ns);
    if (state->run_index != NOBODY) {
        wfq->run_start[state->run_index] = wfq->vt.accounts[vm].start;
    }
}

/* Accounts of several VMs have changed. */
static void run_take_starts(struct wfq *wfq)
{
    for (uint32_t i = 0; i < wfq->run_count; i++) {
        wfq->run_start[i] = wfq->vt.accounts[wfq->run_vm[i]].start;
    }
}

void wfq_rebase(struct wfq *wfq)
{
    if (vt_rebase(&wfq->vt) != 0) {
        run_take_starts(wfq);
    }
}

/* ---- VMs ---- */

void wfq_vm_attach(struct wfq *wfq, uint32_t vm, const struct wfq_vm_params *params)
{
    struct vm_state *state = &wfq->vms[vm];

    assert(vm < wfq->config.max_vms && !state->attached);
    *state = (struct vm_state){.attached = true,
                               .run_index = NOBODY,
                               .average_ns = UNKNOWN,
                               .think_ns = UNKNOWN,
                               .recent_longest_ns = UNKNOWN};
    wfq->params[vm] = *params;
    vt_reset(&wfq->vt, vm, wfq_share(params->weight, params->priority));
}

void wfq_vm_detach(struct wfq *wfq, uint32_t vm)
{
    struct vm_state *state = &wfq->vms[vm];

    assert(state->attached && state->waiting.count == 0 && state->in_flight.count == 0);
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
    wfq->params[vm] = *params;
    vt_set_share(&wfq->vt, vm, wfq_share(params->weight, params->priority));
    wfq_refresh(wfq, vm);
}

void wfq_vm_set_ready(struct wfq *wfq, uint32_t vm, bool ready, uint64_t now_ns)
{
    assert(wfq->vms[vm].attached);
    if (!ready && wfq->holder == vm) {
        wfq_end_anticipation(wfq, now_ns);
    }
    wfq->vms[vm].ready = ready;
    wfq_refresh(wfq, vm);
}

/* ---- life ---- */

struct wfq *wfq_init(const struct wfq_config *config)
{
    uint32_t padded = (config->max_vms + 2 * POLICY_LANES - 1) / POLICY_LANES * POLICY_LANES;
    struct wfq *wfq = calloc(1, sizeof(*wfq));

    if (!wfq) {
        return NULL;
    }
    wfq->config = *config;
    wfq->policy = wfq_policies[config->policy];
    wfq->preferred = wfq->holder = wfq->last_holder = wfq->aside = NOBODY;
    wfq->vms = calloc(config->max_vms, sizeof(*wfq->vms));
    wfq->params = calloc(config->max_vms, sizeof(*wfq->params));
    wfq->run_vm = calloc(padded, sizeof(*wfq->run_vm));
    wfq->run_start = calloc(padded, sizeof(*wfq->run_start));
    wfq->run_urgency0 = calloc(padded, sizeof(*wfq->run_urgency0));
    wfq->run_arrival_ns = calloc(padded, sizeof(*wfq->run_arrival_ns));
    wfq->run_sequence = calloc(padded, sizeof(*wfq->run_sequence));
    if (vt_init(&wfq->vt, config->max_vms) < 0 || !wfq->vms || !wfq->params || !wfq->run_vm ||
        !wfq->run_start || !wfq->run_urgency0 || !wfq->run_arrival_ns || !wfq->run_sequence) {
        wfq_destroy(wfq);
        return NULL;
    }
    for (uint32_t i = 0; i < padded; i++) {
        run_pad(wfq, i);
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
    free(wfq->params);
    free(wfq->run_vm);
    free(wfq->run_start);
    free(wfq->run_urgency0);
    free(wfq->run_arrival_ns);
    free(wfq->run_sequence);
    free(wfq);
}
