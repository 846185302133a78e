/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scans over all VMs that could run, which policies are made of.
 *
 * They are the scheduler's hot path at many VMs.  Each runs over the padded arrays
 * without a branch that depends on what it reads, with a running maximum or minimum
 * per lane, in vectors as wide as a register: the compiler makes poor code of wider
 * ones.  Then those that reach the extreme value are looked for, and the earliest
 * arrival is taken where several tie.
 *
 * On x86 there is a second copy for AVX2; the processor decides which one runs.
 * Neither contracts a multiply and an add into one rounding, so both choose the
 * same VM.
 */
#include "core/sched/policy.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define SCAN_BLOCK (4 * POLICY_LANES)

#define SCAN_LANES 2
#define SCAN_ATTRIBUTES
#define SCAN(name) scan2_##name
#ifdef __x86_64__
#define SCAN_BITS(mask) __builtin_ia32_movmskpd((scan2_lanes)(mask))
#define SCAN_MAX(a, b) __builtin_ia32_maxpd(a, b)
#define SCAN_MIN(a, b) __builtin_ia32_minpd(a, b)
#endif
#include "core/sched/policy_scan.h"

#ifdef __x86_64__
#define SCAN_LANES 4
#define SCAN_ATTRIBUTES __attribute__((target("avx2")))
#define SCAN(name) scan4_##name
#define SCAN_BITS(mask) __builtin_ia32_movmskpd256((scan4_lanes)(mask))
#define SCAN_MAX(a, b) __builtin_ia32_maxpd256(a, b)
#define SCAN_MIN(a, b) __builtin_ia32_minpd256(a, b)
#include "core/sched/policy_scan.h"
#define WIDEST(call) (__builtin_cpu_supports("avx2") ? scan4_##call : scan2_##call)
#else
#define WIDEST(call) scan2_##call
#endif

uint32_t policy_most_urgent(const struct policy_view *view, double v_limit, uint32_t *eligible)
{
    return WIDEST(most_urgent(view, v_limit, eligible));
}

uint32_t policy_first_finish(const struct policy_view *view, double v_limit, uint32_t *eligible)
{
    return WIDEST(first_finish(view, v_limit, eligible));
}

uint32_t policy_first_late(const struct policy_view *view, double v_limit, uint32_t *eligible)
{
    return WIDEST(first_late(view, v_limit, eligible));
}

double policy_least(const double *values, uint32_t count)
{
    return WIDEST(least(values, count));
}
