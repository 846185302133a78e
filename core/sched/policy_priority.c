/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * priority: what Phase 2 did.  Pools take turns job by job; within the pool the
 * highest priority goes first, then the earliest arrival.  A preferred VM wins
 * among those of equal priority.
 */
#include "core/sched/policy.h"

/* Pools in turn: the next letter after the last one served, around the alphabet. */
static int pool_distance(int pool, int last_pool)
{
    return last_pool == 0 ? pool - 'A' : (pool - last_pool - 1 + 26) % 26;
}

static bool goes_before(const struct policy_view *view, uint32_t a, uint32_t b)
{
    const struct wfq_vm_params *pa = &view->params[view->vm[a]];
    const struct wfq_vm_params *pb = &view->params[view->vm[b]];
    int da = pool_distance(pa->pool, view->last_pool);
    int db = pool_distance(pb->pool, view->last_pool);

    if (da != db) {
        return da < db;
    }
    if (pa->priority != pb->priority) {
        return pa->priority > pb->priority;
    }
    if (view->vm[a] == view->preferred || view->vm[b] == view->preferred) {
        return view->vm[a] == view->preferred;
    }
    return view->sequence[a] < view->sequence[b];
}

static void choose(const struct policy_view *view, struct policy_choice *choice)
{
    choice->index = 0;
    for (uint32_t i = 1; i < view->count; i++) {
        if (goes_before(view, i, choice->index)) {
            choice->index = i;
        }
    }
    choice->eligible = view->count;
    choice->reason =
        view->vm[choice->index] == view->preferred ? WFQ_REASON_PREFERRED : WFQ_REASON_PRIORITY;
}

const struct policy policy_priority = {.name = "priority", .turns = false, .choose = choose};
