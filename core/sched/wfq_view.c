/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The scheduler's settings and figures: nothing here decides anything. */
#include <errno.h>
#include <string.h>

#include "core/sched/wfq_internal.h"

const struct policy *const wfq_policies[WFQ_POLICY_COUNT] = {
    [WFQ_POLICY_WFQ] = &policy_wfq,           [WFQ_POLICY_URGENCY] = &policy_urgency,
    [WFQ_POLICY_PRIORITY] = &policy_priority, [WFQ_POLICY_FIFO] = &policy_fifo,
    [WFQ_POLICY_WF2Q] = &policy_wf2q,         [WFQ_POLICY_PRIORITY_ALL] = &policy_priority_all,
};

const char *wfq_policy_name(enum wfq_policy_id policy)
{
    return policy < WFQ_POLICY_COUNT ? wfq_policies[policy]->name : NULL;
}

int wfq_policy_from_name(const char *name)
{
    for (int i = 0; i < WFQ_POLICY_COUNT; i++) {
        if (strcmp(name, wfq_policies[i]->name) == 0) {
            return i;
        }
    }
    return -EINVAL;
}

const char *wfq_reason_name(enum wfq_reason reason)
{
    static const char *const names[] = {
        [WFQ_REASON_ALONE] = "alone",         [WFQ_REASON_TURN] = "turn",
        [WFQ_REASON_URGENT] = "urgent",       [WFQ_REASON_PRIORITY] = "priority",
        [WFQ_REASON_PREFERRED] = "preferred", [WFQ_REASON_FIRST] = "first",
        [WFQ_REASON_LATE] = "late",           [WFQ_REASON_FINISH] = "finish",
        [WFQ_REASON_BESIDE] = "beside",
    };

    return names[reason];
}

/* ---- settings ---- */

void wfq_set_policy(struct wfq *wfq, enum wfq_policy_id policy)
{
    wfq->config.policy = policy;
    wfq->policy = wfq_policies[policy];
}

void wfq_set_paused(struct wfq *wfq, bool paused, uint64_t now_ns)
{
    wfq_account_due(wfq, now_ns);
    wfq->paused = paused;
}

bool wfq_paused(const struct wfq *wfq)
{
    return wfq->paused;
}

void wfq_set_preferred(struct wfq *wfq, uint32_t vm)
{
    wfq->preferred = vm;
}

/* ---- looking at it ---- */

uint32_t wfq_vm_queue_depth(const struct wfq *wfq, uint32_t vm)
{
    return wfq->vms[vm].waiting.count;
}

uint32_t wfq_queue_len(const struct wfq *wfq)
{
    return wfq->waiting;
}

uint32_t wfq_in_flight(const struct wfq *wfq)
{
    uint32_t count = wfq->in_flight + wfq->guest_count;

    for (uint32_t i = 0; i < wfq->suspended_count; i++) {
        const struct vm_state *state = &wfq->vms[wfq->suspended[i]];

        count += state->aside ? state->in_flight.count : 0;
    }
    return count;
}

uint32_t wfq_backlogged(const struct wfq *wfq)
{
    return wfq->run_count;
}

uint64_t wfq_context_switches(const struct wfq *wfq)
{
    return wfq->context_switches;
}

uint64_t wfq_busy_ns(const struct wfq *wfq)
{
    return wfq->busy_ns;
}

int64_t wfq_holder(const struct wfq *wfq)
{
    return wfq->holder == NOBODY ? -1 : (int64_t)wfq->holder;
}

static double entitled_ns(const struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    const struct vm_state *state = &wfq->vms[vm];
    double clock = wfq->due_clock;

    if (wfq->vt.accounts[vm].standing != VT_WORKING) {
        return state->entitled_ns;
    }
    if (!wfq->paused) {
        clock += (double)wfq_since_ns(now_ns, wfq->due_clock_ns) / wfq->vt.phi_sum;
    }
    return state->entitled_ns + (clock - state->due_mark) * wfq->vt.accounts[vm].phi;
}

void wfq_get_vm_stats(const struct wfq *wfq, uint32_t vm, uint64_t now_ns,
                      struct wfq_vm_stats *stats)
{
    const struct vm_state *state = &wfq->vms[vm];
    double gap_ns = state->submit_gap_ns, debt_ns = vt_debt_ns(&wfq->vt, vm);
    double put_by_ns = wfq->vt.accounts[vm].debt_ns;

    if (state->submitted > 0 && now_ns > state->last_submit_ns &&
        (double)(now_ns - state->last_submit_ns) > gap_ns) {
        gap_ns = (double)(now_ns - state->last_submit_ns); /* it went quiet */
    }
    *stats = (struct wfq_vm_stats){
        .queue_depth = state->waiting.count,
        .in_flight = state->in_flight.count,
        .submitted = state->submitted,
        .completed = state->completed,
        .gpu_time_ns = state->gpu_time_ns,
        .average_execution_ns = state->average_ns == UNKNOWN ? 0 : state->average_ns,
        .submit_rate_hz = state->submitted > 1 && gap_ns > 0 ? NS_PER_S / gap_ns : 0,
        .context_switches = state->context_switches,
        .lag_ns = (int64_t)(vt_lag_ns(&wfq->vt, vm) - put_by_ns),
        .max_lag_ns = (int64_t)state->max_lag_ns,
        .max_job_ns = state->max_job_ns,
        .suspended = vt_in_debt(&wfq->vt, vm),
        .debt_ns = (int64_t)debt_ns,
        .pausing = state->pause.index != NOBODY,
        .entitled_ns = (uint64_t)entitled_ns(wfq, vm, now_ns),
        .kept_ns = (uint64_t)state->kept_ns,
        .switching_ns = (uint64_t)state->switching_ns,
    };
    if (stats->lag_ns > stats->max_lag_ns) {
        stats->max_lag_ns = stats->lag_ns;
    }
}

uint64_t wfq_lag_bound_ns(const struct wfq *wfq, uint32_t vm)
{
    uint64_t bound_ns = 0;

    for (uint32_t other = 0; other < wfq->config.max_vms; other++) {
        const struct vm_state *state = &wfq->vms[other];
        const struct wfq_job *oldest = job_list_first(&state->in_flight);

        if (other != vm && state->attached && state->submitted > 0) {
            uint64_t longest_ns = state->max_job_ns;
            uint32_t depth = wfq->config.depth;
            uint32_t jobs = state->max_handed > depth ? state->max_handed : depth;

            if (oldest && oldest->progressed_ns > longest_ns) {
                longest_ns = oldest->progressed_ns; /* and growing */
            }
            bound_ns += wfq->config.quantum_ns + wfq->config.ahead_ns + jobs * longest_ns +
                        (state->paid_back ? WFQ_SWITCH_COST_NS : 0);
        }
    }
    return bound_ns;
}

uint32_t wfq_dispatch_log(const struct wfq *wfq, struct wfq_dispatch *out, uint32_t max)
{
    uint64_t have = wfq->dispatches < WFQ_DISPATCH_LOG ? wfq->dispatches : WFQ_DISPATCH_LOG;
    uint32_t n = have < max ? (uint32_t)have : max;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t sequence = wfq->dispatches - n + i;
        const struct dispatch_note *note = &wfq->log[sequence % WFQ_DISPATCH_LOG];

        out[i] = (struct wfq_dispatch){
            .sequence = sequence + 1,
            .time_ns = note->time_ns,
            .job_sequence = note->job_sequence,
            .waited_ns = note->waited_ns,
            .vm = note->vm,
            .waiting_vms = note->waiting_vms,
            .eligible_vms = note->eligible_vms,
            .reason = note->reason,
            .urgency = policy_urgency_after(note->share, note->depth, note->waited_ns),
            .lag_ns = (int64_t)note->lag_ns,
        };
    }
    return n;
}
