/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of the scheduler share these declarations.  They are private to them:
 *
 *   scheduler_wfq.c  turns, anticipation and dispatch: the decisions
 *   wfq_jobs.c       jobs coming and ending, and what is learnt from them
 *   wfq_members.c    VMs coming and going, the arrays that policies scan, accounts
 *   wfq_pause.c      VMs that are owed and pause: what it costs them, and when the GPU is kept
 *   wfq_charge.c     what a job costs: estimates, the bounds on reports, switches
 *   wfq_aside.c      jobs that overran and run beside others; VMs suspended with a debt
 *   wfq_restore.c    accounts over a restart
 *   wfq_view.c       settings and figures
 */
#ifndef CORE_SCHED_WFQ_INTERNAL_H
#define CORE_SCHED_WFQ_INTERNAL_H

#include <math.h>
#include <stddef.h>

#include "core/sched/policy.h"
#include "core/sched/scheduler_wfq.h"
#include "core/sched/virtual_time.h"

/* The driver's time slice between two busy workers, as measured. */
#define WFQ_DRIVER_SLICE_NS (2 * NS_PER_MS)

/* VMs that may have a job beside another one's turn.  wfq_aside.c */
#define WFQ_GUESTS_MAX 4u

#define NOBODY UINT32_MAX
#define UNKNOWN UINT64_MAX

struct job_list {
    struct wfq_jobs jobs;
    uint32_t count;
};

/* NULL: there is none. */
static inline struct wfq_job *job_list_first(const struct job_list *list)
{
    return STAILQ_FIRST(&list->jobs);
}

static inline void job_list_append(struct job_list *list, struct wfq_job *job)
{
    STAILQ_INSERT_TAIL(&list->jobs, job, link);
    list->count++;
}

static inline struct wfq_job *job_list_take(struct job_list *list)
{
    struct wfq_job *job = job_list_first(list);

    STAILQ_REMOVE_HEAD(&list->jobs, link);
    list->count--;
    return job;
}

/* From a VM's last job to its next one.  wfq_pause.c */
struct pause {
    uint32_t index;    /* in struct wfq's `pausing`, NOBODY = does not pause */
    uint64_t usual_ns; /* average, a quarter is the last one; UNKNOWN = none yet */
    uint64_t began_ns, until_ns;
    uint64_t mark_ns;  /* up to when it has paid for it, by wfq_own_clock_ns() */
    double paid_ns;    /* so much; taken off the price of the switch when it is back */
    double tokens_ns;  /* what neighbours may still have of its lag by filling its pauses */
    uint64_t cycle_ns; /* up to when they have been counted */
};

/*
 * In the order of use: what each event looks at, what each job changes, what each turn changes, and
 * the rest; a cache line each.  With hundreds of VMs it is the lines that cost time.
 */
#define WFQ_CACHE_LINE 64
struct vm_state {
    _Alignas(WFQ_CACHE_LINE) bool attached;
    bool ready;
    bool aside;
    bool returned;          /* it came back from idle, and has had no job since */
    bool interrupted;       /* of its latest job the end of a slice was reported */
    bool paid_back;         /* it has paid for the way back of one that paused */
    uint32_t run_index;     /* in struct wfq's arrays, NOBODY = can't run now */
    uint32_t suspend_index; /* in struct wfq's `suspended`, NOBODY = is not */
    struct job_list waiting;
    struct job_list in_flight;

    uint64_t head_started_ns; /* when the oldest job in flight became that */
    uint64_t last_completed_ns;
    uint64_t average_ns;        /* UNKNOWN = none completed yet */
    uint64_t recent_longest_ns; /* forgets slowly: 1/256 a job; UNKNOWN = none completed yet */
    uint64_t max_job_ns;
    uint32_t max_handed;    /* long jobs in flight at a time that were taken for tiny ones */
    uint64_t line_ns;       /* the time line of its worker is used up to here */
    double price_left_ns;   /* of its turn's switch: what it may still earn back */
    uint64_t excused_ns;    /* the host has kept its oldest job waiting for so long */
    double unexplained_ns;  /* what its worker may still leave out of its reports */
    bool fresh;             /* its worker has done nothing yet */
    double start_ns;        /* so long may the first job of a worker take for nothing, ... */
    uint64_t start_mark_ns; /* ... counted up to then */
    double gap_ns;          /* never above 0: its jobs have used more than they seemed to hold */

    uint64_t submitted, completed, gpu_time_ns;
    uint64_t last_submit_ns;
    double submit_gap_ns; /* average, 0 = unknown */
    uint64_t context_switches;
    double switching_ns;
    double max_lag_ns;

    struct pause pause;

    uint64_t think_ns; /* from a job's end to the next one's arrival, average */
    double due_mark;   /* the due clock when it began to work */
    double entitled_ns, kept_ns;
};

/* struct wfq_dispatch, before it is worked out for whoever asks. */
struct dispatch_note {
    _Alignas(WFQ_CACHE_LINE) uint64_t time_ns;
    uint64_t job_sequence;
    uint64_t waited_ns;
    double lag_ns;
    uint32_t vm;
    uint32_t waiting_vms, eligible_vms;
    uint32_t depth; /* of the VM: its urgency follows from this and its share */
    double share;
    enum wfq_reason reason;
};

struct wfq {
    struct wfq_config config;
    double earned_per_ns; /* of a turn's price, by what the turn uses */
    const struct policy *policy;
    bool paused;
    uint32_t preferred;
    int last_pool;

    struct vm_state *vms;
    struct wfq_vm_params *params;
    struct virtual_time vt;
    double due_clock; /* time per unit of share of the fluid set: what one that works is due */
    uint64_t due_clock_ns;

    /* VMs that could run now; dense, padded for policy.h. */
    uint32_t run_count;
    uint32_t *run_vm;
    double *run_start, *run_finish, *run_urgency0, *run_arrival_ns;
    double *run_turn; /* what the next turn is expected to take, per unit of share */
    uint64_t *run_sequence;

    uint32_t holder, last_holder;
    uint64_t turn_began_ns; /* by the own clock */
    uint64_t turn_used_ns;
    bool turn_cut, cut_late; /* it ends after an eighth, or half, of the quantum */
    bool turn_over;          /* beside a job aside */
    bool filling;            /* the holder is ahead, and was let in while others pause */
    double cut_v;            /* the turn is cut, too, when V has reached this */
    bool anticipating;       /* for the holder */
    uint64_t anticipation_began_ns, anticipation_ends_ns;

    uint32_t *pausing, pausing_count;
    uint32_t *payers;      /* for a moment: those and guests, ... */
    double *gives_ns;      /* ... and what each of them gives up */
    bool holding;          /* nothing is handed out, for the sake of those who pause */
    bool idling;           /* nobody else has work while they do */
    uint64_t hold_mark_ns; /* by the own clock */
    uint64_t hold_until_ns;

    uint32_t *suspended, suspended_count;
    uint32_t aside_count;
    double aside_phi;         /* sum over the VMs aside */
    uint64_t aside_marked_ns; /* up to when they are charged */
    uint64_t taken_ns;        /* what jobs aside are taken to have had, in all */
    uint64_t own_done_ns;     /* own clock, when the last job that was not aside ended */

    uint32_t waiting;                /* jobs, all VMs */
    uint32_t in_flight;              /* jobs, those of VMs aside and of guests not counted */
    uint32_t guests[WFQ_GUESTS_MAX]; /* VMs with a job beside another one's turn */
    uint32_t guest_count;
    uint64_t pending_ns; /* charged, but V has not moved for it yet */
    uint64_t last_completed_ns;
    uint64_t next_sequence, busy_ns, context_switches;

    uint64_t dispatches;
    struct dispatch_note *log; /* WFQ_DISPATCH_LOG of them */
};

extern const struct policy *const wfq_policies[WFQ_POLICY_COUNT];

/* Time from `then` to `now`; callers' clocks may lie behind by a moment. */
static inline uint64_t wfq_since_ns(uint64_t now_ns, uint64_t then_ns)
{
    return now_ns > then_ns ? now_ns - then_ns : 0;
}

/* A time or a difference of two, far below 2^63: the processor converts signed ones in one step. */
static inline double wfq_real(uint64_t ns)
{
    return (double)(int64_t)ns;
}

static inline double wfq_least(double a, double b)
{
    return a < b ? a : b;
}

/* What `job`, which is in flight, is charged without that V has moved for it yet. */
static inline uint64_t wfq_pending_ns(const struct wfq_job *job)
{
    return wfq_since_ns(job->charged_ns, job->progressed_ns);
}

static inline bool wfq_suspended(const struct wfq *wfq, uint32_t vm)
{
    return wfq->vt.accounts[vm].standing == VT_SUSPENDED;
}

/* The first job of a worker may take so long for nothing. */
#define WFQ_START_MAX_NS 100e6

/* An average over the last few: the newest is this part of it. */
#define WFQ_NEWEST_PAUSE 4u
#define WFQ_NEWEST_JOB 8u

static inline uint64_t wfq_average_ns(uint64_t average_ns, uint64_t newest_ns, unsigned part)
{
    return average_ns == UNKNOWN ? newest_ns : average_ns - average_ns / part + newest_ns / part;
}

/* What a VM's first job is taken to last; corrected when it is known. */
#define WFQ_FIRST_ESTIMATE_NS NS_PER_MS

static inline uint64_t wfq_estimate_ns(const struct vm_state *state)
{
    return state->average_ns == UNKNOWN ? WFQ_FIRST_ESTIMATE_NS : state->average_ns;
}

/* The length of its next job, rather too long than too short. */
static inline uint64_t wfq_longest_ns(const struct vm_state *state)
{
    uint64_t average_ns = wfq_estimate_ns(state);

    return state->recent_longest_ns != UNKNOWN && state->recent_longest_ns > average_ns
               ? state->recent_longest_ns
               : average_ns;
}

/*
 * Added to the S of those in debt, where policies see it: all others come first.  Far beyond any V,
 * and still exact to a nanosecond.  Among themselves they go by all that they owe: one that was
 * lent its place owes no less than one that is suspended.
 */
#define WFQ_DEBT_START 1125899906842624.0

/* The S of a VM that could run has changed. */
static inline void wfq_write_start(struct wfq *wfq, uint32_t vm)
{
    const struct vt_account *account = &wfq->vt.accounts[vm];
    uint32_t at = wfq->vms[vm].run_index;

    wfq->run_start[at] = account->start;
    if (vt_in_debt(&wfq->vt, vm)) {
        wfq->run_start[at] += account->debt_ns / account->phi + WFQ_DEBT_START;
    }
    wfq->run_finish[at] = wfq->run_start[at] + wfq->run_turn[at];
}

/* The S of a VM has changed. */
static inline void wfq_note_start(struct wfq *wfq, uint32_t vm)
{
    if (wfq->vms[vm].run_index != NOBODY) {
        wfq_write_start(wfq, vm);
    }
}

static inline void wfq_charge(struct wfq *wfq, uint32_t vm, double ns)
{
    vt_charge(&wfq->vt, vm, ns);
    wfq_note_start(wfq, vm);
}

/* ... and V moves for it. */
static inline void wfq_charge_all(struct wfq *wfq, uint32_t vm, double ns)
{
    vt_charge_all(&wfq->vt, vm, ns);
    wfq_note_start(wfq, vm);
}

static inline void wfq_note_lag(struct wfq *wfq, uint32_t vm)
{
    double lag_ns = vt_lag_ns(&wfq->vt, vm);

    if (lag_ns > wfq->vms[vm].max_lag_ns) {
        wfq->vms[vm].max_lag_ns = lag_ns;
    }
}

/* V, as it will be when what is in flight is done. */
static inline double wfq_virtual_now(const struct wfq *wfq)
{
    return wfq->vt.v + (wfq->vt.phi_sum > 0 ? wfq_real(wfq->pending_ns) / wfq->vt.phi_sum : 0);
}

/* Is it ahead by what a VM is ahead at most that takes its turn?  Then it fills no gap. */
static inline bool wfq_turn_ahead(const struct wfq *wfq, uint32_t vm)
{
    return -vt_lag_ns(&wfq->vt, vm) > wfq_real(wfq->config.quantum_ns + wfq->config.ahead_ns);
}

/* Has `vm` had no more than its share? */
static inline bool wfq_even(const struct wfq *wfq, uint32_t vm)
{
    return wfq->vt.accounts[vm].start <= wfq_virtual_now(wfq) + POLICY_SLACK;
}

/* scheduler_wfq.c */

/* The longest pause between two jobs of the VM that is worth waiting for. */
static inline uint64_t wfq_soon_ns(const struct wfq *wfq, const struct vm_state *state)
{
    uint64_t worth_ns = 2 * WFQ_SWITCH_COST_NS;

    if (state->average_ns != UNKNOWN && state->average_ns > worth_ns) {
        worth_ns = state->average_ns;
    }
    return worth_ns < wfq->config.anticipation_ns ? worth_ns : wfq->config.anticipation_ns;
}

/* The holder has no more jobs: the GPU is kept for its next one, if that is worth it. */
void wfq_anticipate(struct wfq *wfq, uint64_t now_ns);

/* wfq_members.c */

/* After anything that may have changed whether `vm` has work or can run. */
void wfq_refresh(struct wfq *wfq, uint32_t vm, uint64_t now_ns);
/* The account of a VM that could run has changed, or what its jobs are like. */
void wfq_write_account(struct wfq *wfq, uint32_t vm);
/* One job more waits behind others of `vm`, which could run. */
void wfq_write_depth(struct wfq *wfq, uint32_t vm);

/* wfq_refresh() where what waits has not changed, only that. */
static inline void wfq_refresh_account(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    if (wfq->vms[vm].run_index != NOBODY && wfq->vt.accounts[vm].standing == VT_WORKING) {
        wfq_write_account(wfq, vm);
    } else {
        wfq_refresh(wfq, vm, now_ns);
    }
}

/* V goes back by `base`, and all that is counted from it. */
void wfq_rebased(struct wfq *wfq, double base);
static inline void wfq_rebase(struct wfq *wfq)
{
    double base = vt_rebase(&wfq->vt);

    if (base != 0) {
        wfq_rebased(wfq, base);
    }
}
/* Brings the due clock up to now; before the fluid set changes. */
void wfq_account_due(struct wfq *wfq, uint64_t now_ns);
/* The same before V moves, by which VMs that are idle and ahead may leave the set. */
static inline void wfq_account_idlers(struct wfq *wfq, uint64_t now_ns)
{
    if (wfq->vt.idler_count > 0) {
        wfq_account_due(wfq, now_ns);
    }
}
/* `vm` stops working: what it was due since it began. */
void wfq_note_due(struct wfq *wfq, uint32_t vm);

/* wfq_pause.c */

/* `vm` has no work any more: it pauses, if it is owed and usually comes back soon. */
bool wfq_pause_begin(struct wfq *wfq, uint32_t vm, uint64_t now_ns);
void wfq_pause_end(struct wfq *wfq, uint32_t vm);
/* `vm` has work again: what its pauses are like. */
void wfq_pause_learn(struct wfq *wfq, uint32_t vm, uint64_t now_ns);
/* `vm` has no work any more: the tokens of the time since it last had none. */
void wfq_pause_tokens(struct wfq *wfq, uint32_t vm, uint64_t now_ns);
/* Nothing waits and nothing runs: time passes for those who pause as if the GPU were kept for them,
 * or they would pay for it and it would be nobody's. */
void wfq_idle(struct wfq *wfq, uint64_t now_ns);
/* Time has passed for those who pause and those who are suspended. */
void wfq_settle(struct wfq *wfq, uint64_t now_ns);
/* Is the GPU kept for those who pause, rather than given to `vm`? */
bool wfq_must_hold(struct wfq *wfq, uint32_t vm, uint64_t now_ns);

/* wfq_charge.c */

void wfq_progress(struct wfq *wfq, uint64_t now_ns);
/* A turn of `vm` begins after another VM's, which `filled` a pause or was a turn as any other:
 * accounts and V, but not yet the arrays for `vm`. */
void wfq_charge_switch(struct wfq *wfq, uint32_t vm, bool filled);
/* What is believed of a report that is not from a job aside. */
uint64_t wfq_believe_ns(struct wfq *wfq, const struct wfq_job *job, uint64_t reported_ns,
                        uint64_t now_ns);
/* `job` ended, not aside, having used so much: accounts and V, but not yet the arrays of those who
 * could run.  Returns what it is charged; *length_ns: of that without the gap to the next one. */
uint64_t wfq_charge_job(struct wfq *wfq, const struct wfq_job *job, uint64_t used_ns,
                        uint64_t now_ns, uint64_t *length_ns);

/* wfq_aside.c */

void wfq_charge_asides(struct wfq *wfq, uint64_t now_ns);

/* Brings the accounts of the VMs aside up to now; first thing in any event. */
static inline void wfq_account_aside(struct wfq *wfq, uint64_t now_ns)
{
    if (wfq->aside_count > 0 && now_ns > wfq->aside_marked_ns) {
        wfq_charge_asides(wfq, now_ns);
    }
}

/* The time that those have had who are not aside: 1 / (k + 1) of it beside k jobs. */
static inline uint64_t wfq_own_clock_ns(const struct wfq *wfq, uint64_t now_ns)
{
    return wfq_since_ns(now_ns, wfq->taken_ns);
}

/* So much of that time the oldest job in flight has had the GPU, or waited for it alone. */
static inline uint64_t wfq_held_ns(const struct wfq *wfq, const struct wfq_job *job,
                                   uint64_t now_ns)
{
    uint64_t from_ns = wfq_since_ns(wfq->vms[job->vm].head_started_ns, job->taken_mark_ns);

    from_ns = from_ns > wfq->own_done_ns ? from_ns : wfq->own_done_ns;
    return wfq_since_ns(wfq_own_clock_ns(wfq, now_ns), from_ns);
}

/* Has something run aside while it did? */
static inline bool wfq_was_beside(const struct wfq *wfq, const struct wfq_job *job)
{
    return wfq->aside_count > 0 || job->taken_mark_ns != wfq->taken_ns;
}

/* What a job used of the time from its start to its end, in which others aside had so much. */
uint64_t wfq_own_part_ns(const struct wfq *wfq, uint64_t elapsed_ns, uint64_t taken_ns);
/* Could the next job of `vm` go beside another VM's turn? */
bool wfq_may_be_guest(const struct wfq *wfq, uint32_t vm);
/* Whose job goes beside the turn now; NOBODY. */
uint32_t wfq_choose_guest(const struct wfq *wfq);
void wfq_guest_begin(struct wfq *wfq, struct wfq_job *job, uint64_t now_ns);
void wfq_guest_end(struct wfq *wfq, struct wfq_job *job);
/* A job aside ended.  Returns what it used. */
uint64_t wfq_charge_aside(struct wfq *wfq, const struct wfq_job *job, uint64_t reported_ns,
                          bool elapsed, uint64_t now_ns);
void wfq_leave_aside(struct wfq *wfq, uint32_t vm);
/* Out of the fluid set with its debt. */
void wfq_suspend(struct wfq *wfq, uint32_t vm, uint64_t now_ns);
/* Those suspended whose S has been reached are let in again. */
void wfq_return_suspended(struct wfq *wfq, uint64_t now_ns);
void wfq_suspend_end(struct wfq *wfq, uint32_t vm);
/* `vm` is suspended, and one of its jobs runs: it is a member meanwhile, its debt is put by. */
void wfq_lend(struct wfq *wfq, uint32_t vm, uint64_t now_ns);

/* scheduler_wfq.c */

void wfq_end_anticipation(struct wfq *wfq, uint64_t now_ns);

#endif /* CORE_SCHED_WFQ_INTERNAL_H */
