/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the scheduler share.  Private to them:
 *
 *   scheduler_wfq.c  turns, anticipation, dispatch and completion: the decisions
 *   wfq_members.c    VMs coming and going, the arrays that policies scan, accounts
 *   wfq_aside.c      the job that overran and runs beside others
 *   wfq_view.c       settings and figures
 */
#ifndef CORE_SCHED_WFQ_INTERNAL_H
#define CORE_SCHED_WFQ_INTERNAL_H

#include "core/sched/policy.h"
#include "core/sched/scheduler_wfq.h"
#include "core/sched/virtual_time.h"

#define NOBODY UINT32_MAX
#define UNKNOWN UINT64_MAX

struct job_list {
    struct wfq_job *head, *tail;
    uint32_t count;
};

struct vm_state {
    bool attached;
    bool ready;
    uint32_t run_index; /* in struct wfq's arrays, NOBODY = can't run now */
    struct job_list waiting;
    struct job_list in_flight;
    uint64_t head_started_ns; /* when the oldest job in flight became that */
    uint64_t average_ns;      /* UNKNOWN = none completed yet */
    uint64_t think_ns;        /* from a job's end to the next one's arrival, average */
    uint64_t last_completed_ns;
    uint64_t last_submit_ns;
    double submit_gap_ns; /* average, 0 = unknown */
    uint64_t submitted, completed, gpu_time_ns, context_switches;
    uint64_t max_job_ns;
    uint64_t recent_longest_ns; /* forgets slowly: 1/256 a job; UNKNOWN = none completed yet */
    double max_lag_ns;
};

struct wfq {
    struct wfq_config config;
    const struct policy *policy;
    bool paused;
    uint32_t preferred;
    int last_pool;

    struct vm_state *vms;
    struct wfq_vm_params *params;
    struct virtual_time vt;

    /* VMs that could run now; dense, padded for policy.h. */
    uint32_t run_count;
    uint32_t *run_vm;
    double *run_start, *run_urgency0, *run_arrival_ns;
    uint64_t *run_sequence;

    uint32_t holder, last_holder;
    uint64_t turn_began_ns, turn_used_ns;
    bool turn_cut;
    bool anticipating; /* for the holder */
    uint64_t anticipation_began_ns, anticipation_ends_ns;

    uint32_t aside;
    uint64_t aside_marked_ns; /* up to when the VM aside is charged */
    uint64_t aside_clock_ns;  /* time, in all, that something was aside */
    uint64_t aside_began_ns;  /* that clock, when the one aside became it */

    uint32_t waiting;    /* jobs, all VMs */
    uint32_t in_flight;  /* jobs, the VM aside not counted */
    uint64_t pending_ns; /* charged, but V has not moved for it yet */
    uint64_t next_sequence, busy_ns, context_switches;

    uint64_t dispatches;
    struct wfq_dispatch log[WFQ_DISPATCH_LOG];
};

extern const struct policy *const wfq_policies[WFQ_POLICY_COUNT];

/* wfq_members.c */

/* After anything that may have changed whether `vm` has work or can run. */
void wfq_refresh(struct wfq *wfq, uint32_t vm);
void wfq_charge(struct wfq *wfq, uint32_t vm, double ns);
void wfq_note_lag(struct wfq *wfq, uint32_t vm);
void wfq_rebase(struct wfq *wfq);

/* wfq_aside.c */

/* Brings the account of the VM aside up to now; first thing in any event. */
void wfq_account_aside(struct wfq *wfq, uint64_t now_ns);
void wfq_credit_aside(struct wfq *wfq, const struct wfq_job *beside, uint64_t used_ns);
uint64_t wfq_own_part_ns(uint64_t elapsed_ns, uint64_t beside_ns);
void wfq_leave_aside(struct wfq *wfq);

/* scheduler_wfq.c */

void wfq_end_anticipation(struct wfq *wfq, uint64_t now_ns);

#endif /* CORE_SCHED_WFQ_INTERNAL_H */
