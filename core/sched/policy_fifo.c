/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fifo: the earliest arrival, whoever sent it. */
#include "core/sched/policy.h"

static void choose(const struct policy_view *view, struct policy_choice *choice)
{
    choice->index = 0;
    for (uint32_t i = 1; i < view->count; i++) {
        if (view->sequence[i] < view->sequence[choice->index]) {
            choice->index = i;
        }
    }
    choice->eligible = view->count;
    choice->reason = WFQ_REASON_FIRST;
}

const struct policy policy_fifo = {.name = "fifo", .turns = false, .choose = choose};
