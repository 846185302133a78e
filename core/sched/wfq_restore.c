/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accounts that come from a program that was before this one.
 *
 * They are put back as they were: the fluid set is what it was, with nobody who has work.  Who is
 * ahead is as one who has left while being ahead.  Who is owed is as one who pauses, but pays
 * nothing for it: that it has no work yet is not its doing.  So a VM that owes its neighbours can't
 * get rid of that by a restart, and they can't lose it.  What is missing, because a VM is no longer
 * there, is made good as if that VM had left: the sum stays 0.
 */
#include "core/sched/wfq_internal.h"

/* Of one VM.  More than an hour of the GPU ahead or behind is nonsense. */
#define ACCOUNT_MAX_NS (3600.0 * NS_PER_S)

static double sane_ns(double ns)
{
    return isfinite(ns) && fabs(ns) <= ACCOUNT_MAX_NS ? ns : 0;
}

void wfq_export_account(const struct wfq *wfq, uint32_t vm, struct wfq_account *account)
{
    const struct vt_account *from = &wfq->vt.accounts[vm];
    const struct vm_state *state = &wfq->vms[vm];
    double behind_ns = (wfq_virtual_now(wfq) - from->start) * from->phi;

    *account = (struct wfq_account){0};
    if (vt_member(&wfq->vt, vm)) {
        account->lag_ns = behind_ns;
        account->debt_ns = from->debt_ns;
    } else if (from->standing == VT_SUSPENDED && behind_ns < 0) {
        account->debt_ns = -behind_ns;
    }
    if (state->aside) {
        account->debt_ns += wfq_real(job_list_first(&state->in_flight)->charged_ns);
    }
}

void wfq_import_account(struct wfq *wfq, uint32_t vm, const struct wfq_account *account,
                        uint64_t now_ns)
{
    struct vt_account *to = &wfq->vt.accounts[vm];
    double lag_ns = sane_ns(account->lag_ns), debt_ns = sane_ns(account->debt_ns);

    wfq_account_due(wfq, now_ns);
    wfq->last_completed_ns = now_ns; /* the GPU has not been idle since the world began */
    if (lag_ns != 0) {
        to->start = wfq->vt.v - lag_ns / to->phi;
        to->standing = lag_ns > 0 ? VT_PAUSING : VT_WORKING;
        wfq->vt.phi_sum += to->phi;
    }
    if (to->standing == VT_WORKING) {
        vt_leave(&wfq->vt, vm);
    }
    if (debt_ns > 0 && lag_ns <= 0) {
        wfq_suspend(wfq, vm, now_ns);
        vt_owe(&wfq->vt, vm, debt_ns);
    }
}

void wfq_import_end(struct wfq *wfq)
{
    double owed_ns = 0, had_ns = 0;

    for (uint32_t vm = 0; vm < wfq->config.max_vms; vm++) {
        double lag_ns = vt_member(&wfq->vt, vm) ? vt_lag_ns(&wfq->vt, vm) : 0;

        owed_ns += lag_ns > 0 ? lag_ns : 0;
        had_ns += lag_ns < 0 ? -lag_ns : 0;
    }
    for (uint32_t vm = 0; owed_ns > had_ns && vm < wfq->config.max_vms; vm++) {
        struct vt_account *account = &wfq->vt.accounts[vm];

        if (account->standing == VT_PAUSING) {
            account->start += (wfq->vt.v - account->start) * (1 - had_ns / owed_ns);
        }
    }
    if (had_ns > owed_ns) {
        vt_advance(&wfq->vt, had_ns - owed_ns);
    }
}

void wfq_return_over(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    if (wfq->vt.accounts[vm].standing == VT_PAUSING && wfq->vms[vm].pause.index == NOBODY) {
        wfq_settle(wfq, now_ns);
        wfq_account_due(wfq, now_ns);
        vt_leave(&wfq->vt, vm);
    }
}
