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
static uint32_t pool_distance(const struct policy_view *view, int pool)
{
    int distance = pool - (view->last_pool == 0 ? 'A' - 1 : view->last_pool);

    if (pool == view->preferred_pool) {
        return 0;
    }
    return (uint32_t)(distance > 0 ? distance : distance + 26);
}

/* The smallest goes first, the earliest arrival of several. */
static uint32_t rank_of(const struct policy_view *view, uint32_t i, bool pool_by_pool)
{
    uint32_t vm = view->vm[i];
    const struct wfq_vm_params *params = &view->params[vm];
    uint32_t distance = pool_by_pool ? pool_distance(view, params->pool) : 0;

    return ((distance + 1) << 8) - (params->priority << 1) + (vm != view->preferred);
}

static void choose_first(const struct policy_view *view, bool pool_by_pool,
                         struct policy_choice *choice)
{
    uint32_t best = rank_of(view, 0, pool_by_pool);

    choice->index = 0;
    for (uint32_t i = 1; i < view->count; i++) {
        uint32_t rank = rank_of(view, i, pool_by_pool);

        if (rank < best || (rank == best && view->sequence[i] < view->sequence[choice->index])) {
            best = rank;
            choice->index = i;
        }
    }
    choice->eligible = view->count;
    choice->reason =
        view->vm[choice->index] == view->preferred ? WFQ_REASON_PREFERRED : WFQ_REASON_PRIORITY;
}

static void choose(const struct policy_view *view, struct policy_choice *choice)
{
    choose_first(view, true, choice);
}

static void choose_all(const struct policy_view *view, struct policy_choice *choice)
{
    choose_first(view, false, choice);
}

const struct policy policy_priority = {.name = "priority", .turns = false, .choose = choose};
const struct policy policy_priority_all = {
    .name = "priority-all", .turns = false, .choose = choose_all};
