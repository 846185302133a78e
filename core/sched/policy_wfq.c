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

uint32_t policy_first_finish(const struct policy_view *view, double v_limit, uint32_t *eligible)
{
    uint32_t first = view->count;

    *eligible = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        if (view->start[i] > v_limit) {
            continue;
        }
        ++*eligible;
        if (first == view->count || view->finish[i] < view->finish[first] ||
            (view->finish[i] == view->finish[first] && view->sequence[i] < view->sequence[first])) {
            first = i;
        }
    }
    return first;
}

double policy_least_start(const struct policy_view *view)
{
    double least = view->start[0];

    for (uint32_t i = 1; i < view->count; i++) {
        least = view->start[i] < least ? view->start[i] : least;
    }
    return least;
}

static void choose_wfq(const struct policy_view *view, struct policy_choice *choice)
{
    double limit = view->v + POLICY_SLACK;

    choice->index = policy_first_finish(view, limit, &choice->eligible);
    choice->reason = WFQ_REASON_LATE;
    if (choice->index == view->count) {
        limit = policy_least_start(view);
    } else if (view->finish[choice->index] <= view->v) {
        return;
    }
    choice->index = policy_most_urgent(view, limit, &choice->eligible);
    choice->reason = WFQ_REASON_URGENT;
}

static void choose_wf2q(const struct policy_view *view, struct policy_choice *choice)
{
    choice->index = policy_first_finish(view, view->v + POLICY_SLACK, &choice->eligible);
    choice->reason = WFQ_REASON_FINISH;
    if (choice->index == view->count) {
        choice->index = policy_first_finish(view, policy_least_start(view), &choice->eligible);
    }
}

const struct policy policy_wfq = {
    .name = "wfq", .turns = true, .shares = true, .choose = choose_wfq};
const struct policy policy_wf2q = {
    .name = "wf2q", .turns = true, .shares = true, .choose = choose_wf2q};
