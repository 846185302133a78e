/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wfq: the most urgent among the VMs that are not ahead of their fair share.
 *
 * By the zero sum (virtual_time.h) somebody with work is always owed or even,
 * except where VMs that are owed can't run now (their worker is starting) or
 * by rounding; then the one that is least ahead runs, so the GPU never idles
 * while there is work.
 */
#include "core/sched/policy.h"

static void choose(const struct policy_view *view, struct policy_choice *choice)
{
    choice->reason = WFQ_REASON_URGENT;
    choice->index = policy_most_urgent(view, view->v + POLICY_SLACK, &choice->eligible);
    if (choice->index == view->count) {
        double least = view->start[0];

        for (uint32_t i = 1; i < view->count; i++) {
            least = view->start[i] < least ? view->start[i] : least;
        }
        choice->index = policy_most_urgent(view, least, &choice->eligible);
    }
}

const struct policy policy_wfq = {.name = "wfq", .turns = true, .shares = true, .choose = choose};
