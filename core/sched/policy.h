/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header says what a policy of the scheduler sees and answers.  It is private to core/.
 *
 * The scheduler keeps the VMs that could run now (ready, a job waiting, not
 * aside) in dense parallel arrays, so that a policy is one linear pass whose
 * cost depends on their number only.  One policy per file, policy_*.c.
 */
#ifndef CORE_SCHED_POLICY_H
#define CORE_SCHED_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/sched/scheduler_wfq.h"

/* The arrays are padded to a multiple of this, with entries that never win. */
#define POLICY_LANES 16u

struct policy_view {
    uint32_t count; /* VMs that could run */
    const uint32_t *vm;
    const double *start;      /* S, virtual time; padded with +infinity */
    const double *finish;     /* ... when what waits, or a turn of it, is done: not before start;
                                 padded likewise */
    const double *urgency0;   /* urgency of a job that arrived right now; padded with -1 */
    const double *arrival_ns; /* of the oldest waiting job */
    const uint64_t *sequence; /* of that job */
    double v;                 /* virtual time, what is in flight included */
    double now_ns;
    const struct wfq_vm_params *params; /* by slot */
    uint32_t preferred;                 /* slot or UINT32_MAX */
    int preferred_pool;                 /* letter of its pool, while it is attached here, or 0 */
    int last_pool;                      /* pool served last, letter, or 0 */
};

struct policy_choice {
    uint32_t index; /* into the view's arrays */
    uint32_t eligible;
    enum wfq_reason reason;
};

struct policy {
    const char *name;
    /* A VM keeps the GPU for a quantum; else every job is chosen afresh. */
    bool turns;
    /* It keeps accounts straight: who is ahead waits for those who are owed, and switches are
     * charged. */
    bool shares;
    /* The view has at least one VM. */
    void (*choose)(const struct policy_view *view, struct policy_choice *choice);
};

extern const struct policy policy_wfq, policy_wf2q, policy_urgency, policy_priority,
    policy_priority_all, policy_fifo;

/* Index of the most urgent VM with start <= v_limit; ties go to the earliest
 * arrival.  view->count if there is none.  v_limit is finite.  *eligible: how
 * many have start <= v_limit. */
uint32_t policy_most_urgent(const struct policy_view *view, double v_limit, uint32_t *eligible);

/*
 * Index of the VM with the smallest finish among those with start <= v_limit; ties go to the
 * earliest arrival.  view->count if there is none.  *eligible as above.
 */
uint32_t policy_first_finish(const struct policy_view *view, double v_limit, uint32_t *eligible);
/*
 * The same among those whose finish is v or before it, which is before v_limit; *eligible is only
 * set if there is one.
 */
uint32_t policy_first_late(const struct policy_view *view, double v_limit, uint32_t *eligible);
/* The smallest of an array of the view. */
double policy_least(const double *values, uint32_t count);

/* Rounding of V and S, far below any job's length. */
#define POLICY_SLACK 1e-3

/* The formula's last factor, per nanosecond: waited_seconds / 10. */
#define POLICY_WAIT_PER_NS 1e-10

/* The urgency of a job that arrived right now: base_mult * weight / 50 * (1 + depth / 10). */
static inline double policy_urgency0(double share, uint32_t queue_depth)
{
    return share * (double)(10 + (int64_t)queue_depth) * (1 / 500.0);
}

static inline double policy_urgency_after(double share, uint32_t queue_depth, uint64_t waited_ns)
{
    return policy_urgency0(share, queue_depth) * (1 + (double)waited_ns * POLICY_WAIT_PER_NS);
}

#endif /* CORE_SCHED_POLICY_H */
