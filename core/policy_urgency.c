/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * urgency: the formula alone.  Says who is most urgent, promises no shares.
 *
 * The scan is the scheduler's hot path at many VMs.  It runs over the padded
 * arrays in groups of POLICY_LANES with a running maximum per lane and no
 * branch, which the compiler turns into vector code; a second look at the
 * winners' lane finds the index, and the earliest arrival where several tie.
 */
#include "core/policy.h"

#include <math.h>
#include <string.h>

double wfq_urgency(uint32_t priority, uint32_t weight, uint32_t queue_depth, uint64_t waited_ns)
{
    static const double base_mult[] = {1.0, 2.0, 4.0};
    double weight_mult = weight / 50.0;
    double pressure = queue_depth / 10.0;
    double wait_bonus = (double)waited_ns * POLICY_WAIT_PER_NS;

    return base_mult[priority] * weight_mult * (1 + pressure) * (1 + wait_bonus);
}

/* The vectors are wider than a register on most machines; that is only a matter
 * of how they would be passed between functions, and these are all inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

typedef double lanes __attribute__((vector_size(POLICY_LANES * sizeof(double))));
typedef int64_t lane_mask __attribute__((vector_size(POLICY_LANES * sizeof(int64_t))));

static inline lanes load(const double *from)
{
    lanes value;

    memcpy(&value, from, sizeof(value));
    return value;
}

static inline lanes select_lanes(lane_mask mask, lanes yes, lanes no)
{
    return (lanes)((mask & (lane_mask)yes) | (~mask & (lane_mask)no));
}

/* Urgencies of one group; -1 where the VM is not eligible. */
static inline lanes group_urgency(const struct policy_view *view, uint32_t at, lanes limit,
                                  lanes now)
{
    const lanes one = {1, 1, 1, 1, 1, 1, 1, 1};
    lanes waited = now - load(view->arrival_ns + at);
    lanes urgency = load(view->urgency0 + at) * (one + waited * POLICY_WAIT_PER_NS);

    return select_lanes(load(view->start + at) <= limit, urgency, -one);
}

static inline lanes broadcast(double value)
{
    return (lanes){value, value, value, value, value, value, value, value};
}

uint32_t policy_most_urgent(const struct policy_view *view, double v_limit)
{
    const lanes limit = broadcast(v_limit);
    const lanes now = broadcast(view->now_ns);
    lanes best = broadcast(-1);
    double most = -1;
    uint32_t winner = view->count;

    for (uint32_t at = 0; at < view->count; at += POLICY_LANES) {
        lanes urgency = group_urgency(view, at, limit, now);

        best = select_lanes(urgency > best, urgency, best);
    }
    for (uint32_t lane = 0; lane < POLICY_LANES; lane++) {
        most = best[lane] > most ? best[lane] : most;
    }
    if (most < 0) {
        return view->count;
    }
    for (uint32_t at = 0; at < view->count; at += POLICY_LANES) {
        lanes urgency = group_urgency(view, at, limit, now);
        lane_mask equal = urgency == broadcast(most);
        int64_t any =
            equal[0] | equal[1] | equal[2] | equal[3] | equal[4] | equal[5] | equal[6] | equal[7];

        if (!any) {
            continue;
        }
        for (uint32_t lane = 0; lane < POLICY_LANES; lane++) {
            if (equal[lane] &&
                (winner == view->count || view->sequence[at + lane] < view->sequence[winner])) {
                winner = at + lane;
            }
        }
    }
    return winner;
}

static void choose(const struct policy_view *view, struct policy_choice *choice)
{
    choice->index = policy_most_urgent(view, HUGE_VAL);
    choice->eligible = view->count;
    choice->reason = WFQ_REASON_URGENT;
}

const struct policy policy_urgency = {.name = "urgency", .turns = true, .choose = choose};
