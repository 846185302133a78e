/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wfq and wf2q: one of the VMs that are not ahead of their fair share.
 *
 *   wfq   Who has missed its virtual finish goes first: in the fluid system its turn would be
 *         over by now.  If nobody has, the most urgent.
 *   wf2q  The smallest virtual finish, as in worst-case fair weighted fair queueing.
 *
 * By the zero sum (virtual_time.h) somebody with work is always owed or even, except where
 * VMs that are owed can't run now (they pause, or their worker is starting), where all are
 * suspended, or by rounding; then it is between those that are least ahead.
 */
#include "core/sched/policy.h"

/* As far as the VM that is least ahead. */
static double least_start(const struct policy_view *view)
{
    return policy_least(view->start, view->count);
}

static void choose_wfq(const struct policy_view *view, struct policy_choice *choice)
{
    double limit = view->v + POLICY_SLACK;

    choice->index = policy_first_late(view, limit, &choice->eligible);
    if (choice->index != view->count) {
        choice->reason = WFQ_REASON_LATE;
        return;
    }
    choice->index = policy_most_urgent(view, limit, &choice->eligible);
    if (choice->index == view->count) {
        choice->index = policy_most_urgent(view, least_start(view), &choice->eligible);
    }
    choice->reason = WFQ_REASON_URGENT;
}

static void choose_wf2q(const struct policy_view *view, struct policy_choice *choice)
{
    choice->index = policy_first_finish(view, view->v + POLICY_SLACK, &choice->eligible);
    choice->reason = WFQ_REASON_FINISH;
    if (choice->index == view->count) {
        choice->index = policy_first_finish(view, least_start(view), &choice->eligible);
    }
}

const struct policy policy_wfq = {
    .name = "wfq", .turns = true, .shares = true, .choose = choose_wfq};
const struct policy policy_wf2q = {
    .name = "wf2q", .turns = true, .shares = true, .choose = choose_wf2q};
