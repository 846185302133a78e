/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * priority: what Phase 2 did.  Pools take turns job by job; within the pool the
 * highest priority goes first, then the earliest arrival.  A preferred VM wins
 * among those of equal priority, and its pool goes before the other pools.
 *
 * priority-all: one queue over all pools.  High goes before low, whatever the pool.
 */
#include "core/sched/policy.h"

/* Pools in turn: the next letter after the last one served, around the alphabet. */
static int pool_distance(const struct policy_view *view, int pool)
{
    if (pool == view->preferred_pool) {
        return -1;
    }
    return view->last_pool == 0 ? pool - 'A' : (pool - view->last_pool - 1 + 26) % 26;
}

/* Of the same pool, or where pools don't count. */
static bool wins(const struct policy_view *view, uint32_t a, uint32_t b)
{
    uint32_t priority_a = view->params[view->vm[a]].priority;
    uint32_t priority_b = view->params[view->vm[b]].priority;

    if (priority_a != priority_b) {
        return priority_a > priority_b;
    }
    if (view->vm[a] == view->preferred || view->vm[b] == view->preferred) {
        return view->vm[a] == view->preferred;
    }
    return view->sequence[a] < view->sequence[b];
}

static bool wins_pool_by_pool(const struct policy_view *view, uint32_t a, uint32_t b)
{
    int distance_a = pool_distance(view, view->params[view->vm[a]].pool);
    int distance_b = pool_distance(view, view->params[view->vm[b]].pool);

    return distance_a != distance_b ? distance_a < distance_b : wins(view, a, b);
}

static void choose_first(const struct policy_view *view,
                         bool (*goes_before)(const struct policy_view *, uint32_t, uint32_t),
                         struct policy_choice *choice)
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

static void choose(const struct policy_view *view, struct policy_choice *choice)
{
    choose_first(view, wins_pool_by_pool, choice);
}

static void choose_all(const struct policy_view *view, struct policy_choice *choice)
{
    choose_first(view, wins, choice);
}

const struct policy policy_priority = {.name = "priority", .turns = false, .choose = choose};
const struct policy policy_priority_all = {
    .name = "priority-all", .turns = false, .choose = choose_all};
