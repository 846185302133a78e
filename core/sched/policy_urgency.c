/* SPDX-License-Identifier: GPL-2.0-or-later */
/* urgency: the formula alone.  Says who is most urgent, promises no shares. */
#include "core/sched/policy.h"

#include <float.h>

double wfq_urgency(uint32_t priority, double weight, uint32_t queue_depth, uint64_t waited_ns)
{
    return policy_urgency_after(wfq_share(weight, priority), queue_depth, waited_ns);
}

static void choose(const struct policy_view *view, struct policy_choice *choice)
{
    /* The padding's S is infinite: the largest finite number leaves it out. */
    choice->index = policy_most_urgent(view, DBL_MAX, &choice->eligible);
    choice->reason = WFQ_REASON_URGENT;
}

const struct policy policy_urgency = {.name = "urgency", .turns = true, .choose = choose};
