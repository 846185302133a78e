/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * urgency: the formula alone.  Says who is most urgent, promises no shares.
 *
 * The scan (policy_scan.h) is the scheduler's hot path at many VMs.  It runs
 * over the padded arrays in blocks, with a running maximum per lane and no
 * branch, in vectors as wide as a register: the compiler makes poor code of
 * wider ones.  Only the blocks that reach the greatest urgency are looked at
 * again, for the index, and the earliest arrival where several tie.
 *
 * On x86 there is a second copy for AVX2; the processor decides which one runs.
 * Neither contracts a multiply and an add into one rounding, so both choose the
 * same VM.
 */
#include "core/sched/policy.h"

#include <float.h>
#include <string.h>

double wfq_urgency(uint32_t priority, uint32_t weight, uint32_t queue_depth, uint64_t waited_ns)
{
    static const double base_mult[] = {1.0, 2.0, 4.0};
    double weight_mult = weight / 50.0;
    double pressure = queue_depth / 10.0;
    double wait_bonus = (double)waited_ns * POLICY_WAIT_PER_NS;

    return base_mult[priority] * weight_mult * (1 + pressure) * (1 + wait_bonus);
}

#define SCAN_BLOCK (8 * POLICY_LANES)

#define SCAN_LANES 2
#define SCAN_ATTRIBUTES
#define SCAN(name) scan2_##name
#include "core/sched/policy_scan.h"

#ifdef __x86_64__
#define SCAN_LANES 4
#define SCAN_ATTRIBUTES __attribute__((target("avx2")))
#define SCAN(name) scan4_##name
#include "core/sched/policy_scan.h"
#endif

uint32_t policy_most_urgent(const struct policy_view *view, double v_limit, uint32_t *eligible)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        return scan4_most_urgent(view, v_limit, eligible);
    }
#endif
    return scan2_most_urgent(view, v_limit, eligible);
}

static void choose(const struct policy_view *view, struct policy_choice *choice)
{
    /* The padding's S is infinite: the largest finite number leaves it out. */
    choice->index = policy_most_urgent(view, DBL_MAX, &choice->eligible);
    choice->reason = WFQ_REASON_URGENT;
}

const struct policy policy_urgency = {.name = "urgency", .turns = true, .choose = choose};
