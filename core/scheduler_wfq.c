/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Theory of operation.
 *
 * Each attached VM has a FIFO of waiting jobs and one of jobs in flight.  Those
 * that could run (ready, a job waiting, not aside) stand in the dense arrays of
 * `run`, which the policy scans.  One VM, the holder, has the GPU:
 *
 *   no holder ──choose──► turn of VM h ──quantum used, others wait──► drain ──► choose
 *
 * During its turn the holder's jobs are handed out up to `depth` ahead, so the
 * GPU does not idle between them; when the turn ends its jobs in flight are
 * waited for, because two VMs' jobs at once would share the GPU in ways that
 * nobody can account for.  While nobody else waits a turn does not end.
 *
 * Two things bend that rule for the sake of latency and of shares:
 *   - Cut.  A VM that comes back from idle, having had no more than its share,
 *     need not wait for the rest of a long turn: the holder's turn ends at the
 *     next job, once it has used an eighth of the quantum.
 *   - Anticipation.  A guest with one job at a time is never backlogged: each
 *     time its job ends the others would take the GPU for a quantum, and its
 *     weight would mean nothing.  So when the holder runs dry while it is still
 *     owed time and its next job usually comes soon, the GPU is kept for it for
 *     a moment.  The wait is charged to it.  It is only done when waiting is no
 *     dearer than the two switches that it saves, or than the VM's own jobs.
 *
 * Accounts (virtual_time.h): a job is charged to its VM at dispatch with the
 * VM's average, and corrected at completion, when V moves on, too.  In between
 * V lags behind by what is in flight (pending_ns), which choosing adds back.
 *
 * A job that overruns is set aside: its VM keeps no turn, it is charged by the
 * clock (less what others turn out to have used beside it, for the driver
 * divides the time between them), and the next VM is chosen.  Under wfq only
 * VMs that are owed time are let in beside it.
 */
#include "core/scheduler_wfq.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/policy.h"
#include "core/virtual_time.h"

#define NOBODY UINT32_MAX
#define UNKNOWN UINT64_MAX

/* The driver's time slice between two busy workers, as measured. */
#define DRIVER_SLICE_NS 2000000ull
/* What a VM's first job is taken to last; corrected when it is known. */
#define FIRST_ESTIMATE_NS 1000000ull
/*
 * A tiny job holds the GPU for longer than it computes, for the hand-over costs
 * more than the work.  It is charged what it held, up to this; or else a VM that
 * floods with empty jobs would owe nothing and keep the GPU for ever.
 */
#define HELD_MAX_NS 50000ull
/* How often it is looked whether somebody is owed time beside a job aside. */
#define OWED_CHECK_MIN_NS 10e3
#define OWED_CHECK_MAX_NS 100e6
/* A turn may be cut after this part of the quantum. */
#define CUT_DIVISOR 8
/* Gaps longer than this say nothing about how fast the next job follows. */
#define THINK_MAX_NS 1000000000ull

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
    uint64_t turn_used_ns;
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

static const struct policy *const policies[WFQ_POLICY_COUNT] = {
    [WFQ_POLICY_WFQ] = &policy_wfq,
    [WFQ_POLICY_URGENCY] = &policy_urgency,
    [WFQ_POLICY_PRIORITY] = &policy_priority,
    [WFQ_POLICY_FIFO] = &policy_fifo,
};

const char *wfq_policy_name(enum wfq_policy_id policy)
{
    return policy < WFQ_POLICY_COUNT ? policies[policy]->name : NULL;
}

int wfq_policy_from_name(const char *name)
{
    for (int i = 0; i < WFQ_POLICY_COUNT; i++) {
        if (strcmp(name, policies[i]->name) == 0) {
            return i;
        }
    }
    return -EINVAL;
}

const char *wfq_reason_name(enum wfq_reason reason)
{
    static const char *const names[] = {
        [WFQ_REASON_ALONE] = "alone",         [WFQ_REASON_TURN] = "turn",
        [WFQ_REASON_URGENT] = "urgent",       [WFQ_REASON_PRIORITY] = "priority",
        [WFQ_REASON_PREFERRED] = "preferred", [WFQ_REASON_FIRST] = "first",
    };

    return names[reason];
}

/* ---- lists ---- */

static void list_append(struct job_list *list, struct wfq_job *job)
{
    job->next = NULL;
    if (list->tail) {
        list->tail->next = job;
    } else {
        list->head = job;
    }
    list->tail = job;
    list->count++;
}

static struct wfq_job *list_take(struct job_list *list)
{
    struct wfq_job *job = list->head;

    list->head = job->next;
    if (!list->head) {
        list->tail = NULL;
    }
    list->count--;
    job->next = NULL;
    return job;
}

/* ---- the dense arrays ---- */

static void run_pad(struct wfq *wfq, uint32_t at)
{
    wfq->run_vm[at] = NOBODY;
    wfq->run_start[at] = HUGE_VAL;
    wfq->run_urgency0[at] = -1;
    wfq->run_arrival_ns[at] = 0;
    wfq->run_sequence[at] = UINT64_MAX;
}

static void run_write(struct wfq *wfq, uint32_t vm)
{
    const struct vm_state *state = &wfq->vms[vm];
    uint32_t at = state->run_index;

    wfq->run_vm[at] = vm;
    wfq->run_start[at] = wfq->vt.accounts[vm].start;
    wfq->run_urgency0[at] =
        wfq_urgency(wfq->params[vm].priority, wfq->params[vm].weight, state->waiting.count, 0);
    wfq->run_arrival_ns[at] = (double)state->waiting.head->arrival_ns;
    wfq->run_sequence[at] = state->waiting.head->sequence;
}

static void run_remove(struct wfq *wfq, uint32_t vm)
{
    uint32_t at = wfq->vms[vm].run_index;
    uint32_t last = --wfq->run_count;

    wfq->vms[vm].run_index = NOBODY;
    if (at != last) {
        wfq->run_vm[at] = wfq->run_vm[last];
        wfq->run_start[at] = wfq->run_start[last];
        wfq->run_urgency0[at] = wfq->run_urgency0[last];
        wfq->run_arrival_ns[at] = wfq->run_arrival_ns[last];
        wfq->run_sequence[at] = wfq->run_sequence[last];
        wfq->vms[wfq->run_vm[at]].run_index = at;
    }
    run_pad(wfq, last);
}

/* ---- membership: called after anything that may have changed it ---- */

static void note_lag(struct wfq *wfq, uint32_t vm)
{
    double lag_ns = vt_lag_ns(&wfq->vt, vm);

    if (lag_ns > wfq->vms[vm].max_lag_ns) {
        wfq->vms[vm].max_lag_ns = lag_ns;
    }
}

static void refresh(struct wfq *wfq, uint32_t vm)
{
    struct vm_state *state = &wfq->vms[vm];
    bool can_run = state->ready && state->waiting.count > 0 && wfq->aside != vm;
    bool working = state->in_flight.count > 0 || (state->ready && state->waiting.count > 0) ||
                   (wfq->anticipating && wfq->holder == vm);

    if (working) {
        bool was_even = vt_join(&wfq->vt, vm);

        if (was_even && wfq->holder != vm) {
            wfq->turn_cut = true;
        }
    } else if (wfq->vt.accounts[vm].working) {
        note_lag(wfq, vm);
        vt_leave(&wfq->vt, vm);
    }

    if (can_run) {
        if (state->run_index == NOBODY) {
            state->run_index = wfq->run_count++;
        }
        run_write(wfq, vm);
    } else if (state->run_index != NOBODY) {
        run_remove(wfq, vm);
    }
}

static void charge(struct wfq *wfq, uint32_t vm, double ns)
{
    struct vm_state *state = &wfq->vms[vm];

    vt_charge(&wfq->vt, vm, ns);
    if (state->run_index != NOBODY) {
        wfq->run_start[state->run_index] = wfq->vt.accounts[vm].start;
    }
}

static void rebase(struct wfq *wfq)
{
    if (vt_rebase(&wfq->vt) == 0) {
        return;
    }
    for (uint32_t i = 0; i < wfq->run_count; i++) {
        wfq->run_start[i] = wfq->vt.accounts[wfq->run_vm[i]].start;
    }
}

/* ---- what runs aside ---- */

/*
 * The VM aside is charged for all the time that passes.  What others use beside
 * it is known when their jobs end, and is taken off its account then.
 */
static void account_aside(struct wfq *wfq, uint64_t now_ns)
{
    uint64_t passed_ns;

    if (wfq->aside == NOBODY || now_ns <= wfq->aside_marked_ns) {
        return;
    }
    passed_ns = now_ns - wfq->aside_marked_ns;
    wfq->vms[wfq->aside].in_flight.head->charged_ns += passed_ns;
    charge(wfq, wfq->aside, (double)passed_ns);
    vt_advance(&wfq->vt, (double)passed_ns);
    wfq->aside_clock_ns += passed_ns;
    wfq->aside_marked_ns = now_ns;
}

/* A job that used so much ended beside the one aside. */
static void credit_aside(struct wfq *wfq, const struct wfq_job *beside, uint64_t used_ns)
{
    struct wfq_job *job = wfq->vms[wfq->aside].in_flight.head;
    uint64_t since_ns =
        beside->aside_mark_ns > wfq->aside_began_ns ? beside->aside_mark_ns : wfq->aside_began_ns;
    uint64_t overlap_ns = wfq->aside_clock_ns - since_ns;
    uint64_t credit_ns = used_ns < overlap_ns ? used_ns : overlap_ns;

    credit_ns = credit_ns < job->charged_ns ? credit_ns : job->charged_ns;
    job->charged_ns -= credit_ns;
    charge(wfq, wfq->aside, -(double)credit_ns);
    vt_advance(&wfq->vt, -(double)credit_ns);
}

/*
 * What a job used of the time between its start and its end, so much of which it
 * had a neighbour: the driver gives them slices in turn, and the job's first and
 * last moments are its own.
 */
static uint64_t own_part_ns(uint64_t elapsed_ns, uint64_t beside_ns)
{
    uint64_t shared_ns = beside_ns < elapsed_ns ? beside_ns : elapsed_ns;

    return elapsed_ns - (shared_ns > DRIVER_SLICE_NS ? (shared_ns - DRIVER_SLICE_NS) / 2 : 0);
}

bool wfq_set_aside(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    uint32_t others = wfq->run_count - (state->run_index != NOBODY);
    struct wfq_job *job = state->in_flight.head;
    uint64_t ran_ns;

    if (wfq->aside != NOBODY || others == 0 || !job) {
        return false;
    }
    ran_ns = now_ns > state->head_started_ns ? now_ns - state->head_started_ns : 0;
    ran_ns = own_part_ns(ran_ns, wfq->aside_clock_ns - job->aside_mark_ns); /* an earlier one */
    charge(wfq, vm, (double)ran_ns - (double)job->charged_ns);
    vt_advance(&wfq->vt, (double)ran_ns);
    wfq->pending_ns -= job->charged_ns;
    job->charged_ns = ran_ns;

    wfq->aside = vm;
    wfq->aside_marked_ns = now_ns;
    wfq->aside_began_ns = wfq->aside_clock_ns;
    wfq->in_flight -= state->in_flight.count;
    if (wfq->holder == vm) {
        wfq->holder = NOBODY;
        wfq->anticipating = false;
    }
    refresh(wfq, vm);
    return true;
}

static void leave_aside(struct wfq *wfq)
{
    uint32_t vm = wfq->aside;

    wfq->aside = NOBODY;
    wfq->in_flight += wfq->vms[vm].in_flight.count;
    refresh(wfq, vm);
}

/* ---- anticipation ---- */

static void end_anticipation(struct wfq *wfq, uint64_t now_ns)
{
    uint64_t idle_ns = now_ns - wfq->anticipation_began_ns;

    if (!wfq->anticipating) {
        return;
    }
    charge(wfq, wfq->holder, (double)idle_ns);
    vt_advance(&wfq->vt, (double)idle_ns);
    wfq->turn_used_ns += idle_ns;
    wfq->anticipating = false;
    refresh(wfq, wfq->holder);
}

/* ---- dispatch ---- */

static uint64_t estimate_ns(const struct vm_state *state)
{
    return state->average_ns == UNKNOWN ? FIRST_ESTIMATE_NS : state->average_ns;
}

/* V, as it will be when what is in flight is done. */
static double virtual_now(const struct wfq *wfq)
{
    return wfq->vt.v + (wfq->vt.phi_sum ? (double)wfq->pending_ns / (double)wfq->vt.phi_sum : 0);
}

static void choose(const struct wfq *wfq, uint64_t now_ns, struct policy_choice *choice)
{
    const struct policy_view view = {
        .count = wfq->run_count,
        .vm = wfq->run_vm,
        .start = wfq->run_start,
        .urgency0 = wfq->run_urgency0,
        .arrival_ns = wfq->run_arrival_ns,
        .sequence = wfq->run_sequence,
        .v = virtual_now(wfq),
        .now_ns = (double)now_ns,
        .params = wfq->params,
        .preferred = wfq->preferred,
        .last_pool = wfq->last_pool,
    };

    if (wfq->run_count == 1) {
        *choice = (struct policy_choice){.index = 0, .eligible = 1, .reason = WFQ_REASON_ALONE};
        return;
    }
    wfq->policy->choose(&view, choice);
}

/* Would a job of the holder that came now be chosen before what waits? */
static bool would_win(const struct wfq *wfq, uint64_t now_ns)
{
    const struct wfq_vm_params *own = &wfq->params[wfq->holder], *best;
    struct policy_choice choice;
    uint32_t rival;
    uint64_t arrival_ns;

    choose(wfq, now_ns, &choice);
    rival = wfq->run_vm[choice.index];
    best = &wfq->params[rival];
    arrival_ns = wfq->vms[rival].waiting.head->arrival_ns;
    return wfq_urgency(own->priority, own->weight, 1, 0) >
           wfq_urgency(best->priority, best->weight, wfq->vms[rival].waiting.count,
                       now_ns > arrival_ns ? now_ns - arrival_ns : 0);
}

/* The holder ran dry: is it worth keeping the GPU for its next job? */
static void anticipate(struct wfq *wfq, uint64_t now_ns)
{
    const struct vm_state *state = &wfq->vms[wfq->holder];
    uint64_t worth_ns = 2 * WFQ_SWITCH_COST_NS;
    uint64_t limit_ns;

    if (state->average_ns != UNKNOWN && state->average_ns > worth_ns) {
        worth_ns = state->average_ns;
    }
    if (!wfq->policy->turns || wfq->run_count == 0 || state->think_ns == UNKNOWN ||
        state->think_ns > worth_ns || state->think_ns > wfq->config.anticipation_ns ||
        vt_lag_ns(&wfq->vt, wfq->holder) < 0) {
        return;
    }
    if (wfq->turn_used_ns >= wfq->config.quantum_ns && !would_win(wfq, now_ns)) {
        return;
    }
    limit_ns = 2 * state->think_ns + 50000;
    if (limit_ns > wfq->config.anticipation_ns) {
        limit_ns = wfq->config.anticipation_ns;
    }
    wfq->anticipating = true;
    wfq->anticipation_began_ns = now_ns;
    wfq->anticipation_ends_ns = now_ns + limit_ns;
}

static void log_dispatch(struct wfq *wfq, const struct wfq_job *job, enum wfq_reason reason,
                         uint32_t eligible, uint64_t now_ns)
{
    struct wfq_dispatch *entry = &wfq->log[wfq->dispatches % WFQ_DISPATCH_LOG];
    const struct wfq_vm_params *params = &wfq->params[job->vm];
    uint64_t waited_ns = now_ns > job->arrival_ns ? now_ns - job->arrival_ns : 0;

    *entry = (struct wfq_dispatch){
        .sequence = ++wfq->dispatches,
        .time_ns = now_ns,
        .job_sequence = job->sequence,
        .waited_ns = waited_ns,
        .vm = job->vm,
        .waiting_vms = wfq->run_count,
        .eligible_vms = eligible,
        .reason = reason,
        .urgency = wfq_urgency(params->priority, params->weight, wfq->vms[job->vm].waiting.count,
                               waited_ns),
        .lag_ns = (int64_t)vt_lag_ns(&wfq->vt, job->vm),
    };
}

static struct wfq_job *dispatch(struct wfq *wfq, uint32_t vm, enum wfq_reason reason,
                                uint32_t eligible, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    struct wfq_job *job = state->waiting.head;
    uint64_t cost_ns = estimate_ns(state);

    log_dispatch(wfq, job, reason, eligible, now_ns);
    list_take(&state->waiting);
    wfq->waiting--;
    if (state->in_flight.count == 0) {
        state->head_started_ns = now_ns;
    }
    list_append(&state->in_flight, job);
    wfq->in_flight++;
    job->in_flight = true;
    job->dispatched_ns = now_ns;
    job->charged_ns = cost_ns;
    job->aside_mark_ns = wfq->aside_clock_ns;
    vt_charge(&wfq->vt, vm, (double)cost_ns);
    wfq->pending_ns += cost_ns;
    wfq->turn_used_ns += cost_ns;
    wfq->last_pool = wfq->params[vm].pool;
    refresh(wfq, vm);
    return job;
}

static struct wfq_job *begin_turn(struct wfq *wfq, const struct policy_choice *choice,
                                  uint64_t now_ns)
{
    uint32_t vm = wfq->run_vm[choice->index];

    note_lag(wfq, vm);
    if (vm != wfq->last_holder) {
        wfq->context_switches++;
        wfq->vms[vm].context_switches++;
    }
    wfq->holder = wfq->last_holder = vm;
    wfq->turn_used_ns = 0;
    wfq->turn_cut = false;
    return dispatch(wfq, vm, choice->reason, choice->eligible, now_ns);
}

/*
 * A job that runs aside keeps the GPU busy, so whoever is let in beside it takes
 * time from it: it must be owed that, or long jobs would undo the shares.
 */
static bool may_run(const struct wfq *wfq, uint32_t vm)
{
    return wfq->aside == NOBODY || !wfq->policy->shares ||
           wfq->vt.accounts[vm].start <= virtual_now(wfq) + POLICY_SLACK;
}

static bool turn_goes_on(const struct wfq *wfq)
{
    if (wfq->run_count == 1 && wfq->aside == NOBODY) {
        return true; /* the holder is the one */
    }
    if (!wfq->policy->turns || wfq->turn_used_ns >= wfq->config.quantum_ns) {
        return false;
    }
    return !wfq->turn_cut || wfq->turn_used_ns < wfq->config.quantum_ns / CUT_DIVISOR;
}

/*
 * Enough is handed out.  Tiny jobs go further ahead than `depth`: their hand-over
 * costs more than they do, and together they delay nobody.
 */
static bool enough_ahead(const struct wfq *wfq)
{
    if (wfq->in_flight < wfq->config.depth) {
        return false;
    }
    return wfq->config.ahead_ns == 0 || wfq->in_flight >= WFQ_DEPTH_MAX || wfq->holder == NOBODY ||
           wfq->pending_ns + estimate_ns(&wfq->vms[wfq->holder]) > wfq->config.ahead_ns;
}

uint32_t wfq_in_flight_max(const struct wfq_config *config)
{
    return config->ahead_ns ? WFQ_DEPTH_MAX : config->depth;
}

struct wfq_job *wfq_dequeue(struct wfq *wfq, uint64_t now_ns)
{
    struct policy_choice choice;
    bool holder_can_run;

    account_aside(wfq, now_ns);
    if (wfq->paused) {
        return NULL;
    }
    if (wfq->anticipating && now_ns >= wfq->anticipation_ends_ns) {
        end_anticipation(wfq, now_ns);
    }
    if (wfq->run_count == 0 || enough_ahead(wfq) || wfq->anticipating) {
        return NULL;
    }
    holder_can_run = wfq->holder != NOBODY && wfq->vms[wfq->holder].run_index != NOBODY;
    if (holder_can_run && turn_goes_on(wfq)) {
        return dispatch(wfq, wfq->holder, wfq->run_count == 1 ? WFQ_REASON_ALONE : WFQ_REASON_TURN,
                        0, now_ns);
    }
    if (wfq->in_flight > 0 && !holder_can_run) {
        return NULL; /* drain first */
    }
    choose(wfq, now_ns, &choice);
    if (wfq->in_flight > 0 && wfq->run_vm[choice.index] != wfq->holder) {
        return NULL;
    }
    if (!may_run(wfq, wfq->run_vm[choice.index])) {
        return NULL;
    }
    return begin_turn(wfq, &choice, now_ns);
}

void wfq_enqueue(struct wfq *wfq, struct wfq_job *job, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[job->vm];

    assert(state->attached);
    if (state->last_completed_ns != 0 && state->waiting.count == 0 && state->in_flight.count == 0 &&
        now_ns >= state->last_completed_ns) {
        uint64_t gap_ns = now_ns - state->last_completed_ns;

        if (gap_ns > THINK_MAX_NS) {
            gap_ns = THINK_MAX_NS;
        }
        state->think_ns = state->think_ns == UNKNOWN
                              ? gap_ns
                              : state->think_ns - state->think_ns / 4 + gap_ns / 4;
    }
    if (state->submitted > 0 && now_ns >= state->last_submit_ns) {
        double gap_ns = (double)(now_ns - state->last_submit_ns);

        state->submit_gap_ns += (gap_ns - state->submit_gap_ns) / (state->submitted < 8 ? 2 : 8);
    }
    state->last_submit_ns = now_ns;
    state->submitted++;

    job->arrival_ns = now_ns;
    job->sequence = ++wfq->next_sequence;
    job->in_flight = false;
    job->charged_ns = 0;
    list_append(&state->waiting, job);
    wfq->waiting++;
    if (wfq->holder == job->vm) {
        end_anticipation(wfq, now_ns); /* now that it has work: it keeps what it is owed */
    }
    refresh(wfq, job->vm);
}

void wfq_complete(struct wfq *wfq, struct wfq_job *job, uint64_t gpu_time_ns, bool elapsed,
                  uint64_t now_ns)
{
    uint32_t vm = job->vm;
    struct vm_state *state = &wfq->vms[vm];
    bool was_aside = wfq->aside == vm;
    uint64_t used_ns = gpu_time_ns;
    uint64_t held_ns = now_ns > state->head_started_ns ? now_ns - state->head_started_ns : 0;
    uint64_t cost_ns, longest_ns = 0;

    assert(job->in_flight && state->in_flight.head == job);
    account_aside(wfq, now_ns);
    if (was_aside) {
        /* The clock has been charged; an exact figure replaces it, and so does a smaller one. */
        if (elapsed && gpu_time_ns > job->charged_ns) {
            used_ns = job->charged_ns;
        }
        vt_advance(&wfq->vt, (double)used_ns - (double)job->charged_ns);
    } else {
        if (elapsed) {
            used_ns = own_part_ns(used_ns, wfq->aside_clock_ns - job->aside_mark_ns);
        }
        if (wfq->aside != NOBODY) {
            credit_aside(wfq, job, used_ns);
        }
        wfq->pending_ns -= job->charged_ns;
        wfq->in_flight--;
    }
    if (job->aside_mark_ns != wfq->aside_clock_ns) {
        longest_ns = held_ns; /* so long its neighbour's account was not final */
    }
    held_ns = held_ns < HELD_MAX_NS ? held_ns : HELD_MAX_NS;
    cost_ns = used_ns > held_ns || was_aside ? used_ns : held_ns;
    charge(wfq, vm, (double)cost_ns - (double)job->charged_ns);
    if (!was_aside) {
        vt_advance(&wfq->vt, (double)cost_ns);
        if (wfq->holder == vm) {
            wfq->turn_used_ns += cost_ns;
            wfq->turn_used_ns -=
                wfq->turn_used_ns < job->charged_ns ? wfq->turn_used_ns : job->charged_ns;
        }
    }
    list_take(&state->in_flight);
    job->in_flight = false;
    job->charged_ns = used_ns;

    state->completed++;
    state->gpu_time_ns += used_ns;
    wfq->busy_ns += used_ns;
    state->average_ns = state->average_ns == UNKNOWN
                            ? cost_ns
                            : state->average_ns - state->average_ns / 8 + cost_ns / 8;
    longest_ns = cost_ns > longest_ns ? cost_ns : longest_ns;
    if (longest_ns > state->max_job_ns) {
        state->max_job_ns = longest_ns;
    }
    state->last_completed_ns = now_ns;
    state->head_started_ns = now_ns;
    if (state->in_flight.head) {
        state->in_flight.head->aside_mark_ns = wfq->aside_clock_ns; /* it runs from now on */
    }
    rebase(wfq);

    if (was_aside) {
        leave_aside(wfq);
    } else if (wfq->holder == vm && state->in_flight.count == 0 && state->waiting.count == 0) {
        anticipate(wfq, now_ns);
    }
    refresh(wfq, vm);
    if (state->waiting.head) {
        /* Long queues fall out of the cache.  This one is looked at when the head goes. */
        __builtin_prefetch(state->waiting.head->next);
    }
}

struct wfq_job *wfq_take_queued(struct wfq *wfq, uint32_t vm, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    struct wfq_job *job;

    if (state->waiting.count == 0) {
        return NULL;
    }
    job = list_take(&state->waiting);
    wfq->waiting--;
    refresh(wfq, vm);
    return job;
}

/* The job aside has the GPU alone: when will V have reached the next VM that waits? */
static uint64_t next_owed_ns(const struct wfq *wfq)
{
    double start = HUGE_VAL, wait_ns;

    for (uint32_t i = 0; i < wfq->run_count; i++) {
        start = wfq->run_start[i] < start ? wfq->run_start[i] : start;
    }
    wait_ns = (start - virtual_now(wfq)) * (double)wfq->vt.phi_sum;
    wait_ns = wait_ns > OWED_CHECK_MIN_NS ? wait_ns : OWED_CHECK_MIN_NS;
    wait_ns = wait_ns < OWED_CHECK_MAX_NS ? wait_ns : OWED_CHECK_MAX_NS;
    return wfq->aside_marked_ns + (uint64_t)wait_ns;
}

uint64_t wfq_next_wakeup_ns(const struct wfq *wfq)
{
    if (wfq->paused) {
        return WFQ_NEVER;
    }
    if (wfq->anticipating) {
        return wfq->anticipation_ends_ns;
    }
    return wfq->aside != NOBODY && wfq->policy->shares && wfq->in_flight == 0 && wfq->run_count > 0
               ? next_owed_ns(wfq)
               : WFQ_NEVER;
}

/* ---- VMs ---- */

static uint32_t share_of(const struct wfq_vm_params *params)
{
    return params->weight << params->priority; /* base_mult is 1, 2, 4 */
}

void wfq_vm_attach(struct wfq *wfq, uint32_t vm, const struct wfq_vm_params *params)
{
    struct vm_state *state = &wfq->vms[vm];

    assert(vm < wfq->config.max_vms && !state->attached);
    *state = (struct vm_state){
        .attached = true, .run_index = NOBODY, .average_ns = UNKNOWN, .think_ns = UNKNOWN};
    wfq->params[vm] = *params;
    vt_reset(&wfq->vt, vm, share_of(params));
}

void wfq_vm_detach(struct wfq *wfq, uint32_t vm)
{
    struct vm_state *state = &wfq->vms[vm];

    assert(state->attached && state->waiting.count == 0 && state->in_flight.count == 0);
    if (wfq->holder == vm) {
        wfq->anticipating = false;
        wfq->holder = NOBODY;
    }
    if (wfq->last_holder == vm) {
        wfq->last_holder = NOBODY;
    }
    if (wfq->preferred == vm) {
        wfq->preferred = NOBODY;
    }
    vt_forget(&wfq->vt, vm);
    state->attached = false;
}

bool wfq_vm_attached(const struct wfq *wfq, uint32_t vm)
{
    return vm < wfq->config.max_vms && wfq->vms[vm].attached;
}

void wfq_vm_update(struct wfq *wfq, uint32_t vm, const struct wfq_vm_params *params,
                   uint64_t now_ns)
{
    assert(wfq->vms[vm].attached);
    account_aside(wfq, now_ns);
    wfq->params[vm] = *params;
    vt_set_share(&wfq->vt, vm, share_of(params));
    refresh(wfq, vm);
}

void wfq_vm_set_ready(struct wfq *wfq, uint32_t vm, bool ready, uint64_t now_ns)
{
    assert(wfq->vms[vm].attached);
    if (!ready && wfq->holder == vm) {
        end_anticipation(wfq, now_ns);
    }
    wfq->vms[vm].ready = ready;
    refresh(wfq, vm);
}

/* ---- settings ---- */

void wfq_set_policy(struct wfq *wfq, enum wfq_policy_id policy)
{
    wfq->config.policy = policy;
    wfq->policy = policies[policy];
}

enum wfq_policy_id wfq_policy(const struct wfq *wfq)
{
    return wfq->config.policy;
}

void wfq_set_paused(struct wfq *wfq, bool paused)
{
    wfq->paused = paused;
}

bool wfq_paused(const struct wfq *wfq)
{
    return wfq->paused;
}

void wfq_set_preferred(struct wfq *wfq, uint32_t vm)
{
    wfq->preferred = vm;
}

/* ---- looking at it ---- */

uint32_t wfq_vm_queue_depth(const struct wfq *wfq, uint32_t vm)
{
    return wfq->vms[vm].waiting.count;
}

uint32_t wfq_vm_in_flight(const struct wfq *wfq, uint32_t vm)
{
    return wfq->vms[vm].in_flight.count;
}

uint32_t wfq_queue_len(const struct wfq *wfq)
{
    return wfq->waiting;
}

uint32_t wfq_in_flight(const struct wfq *wfq)
{
    return wfq->in_flight + (wfq->aside != NOBODY ? wfq->vms[wfq->aside].in_flight.count : 0);
}

uint32_t wfq_backlogged(const struct wfq *wfq)
{
    return wfq->run_count;
}

uint64_t wfq_context_switches(const struct wfq *wfq)
{
    return wfq->context_switches;
}

uint64_t wfq_busy_ns(const struct wfq *wfq)
{
    return wfq->busy_ns;
}

int64_t wfq_holder(const struct wfq *wfq)
{
    return wfq->holder == NOBODY ? -1 : (int64_t)wfq->holder;
}

uint64_t wfq_share_sum(const struct wfq *wfq)
{
    uint64_t sum = 0;

    for (uint32_t vm = 0; vm < wfq->config.max_vms; vm++) {
        sum += wfq->vms[vm].attached ? share_of(&wfq->params[vm]) : 0;
    }
    return sum;
}

void wfq_get_vm_stats(const struct wfq *wfq, uint32_t vm, uint64_t now_ns,
                      struct wfq_vm_stats *stats)
{
    const struct vm_state *state = &wfq->vms[vm];
    double gap_ns = state->submit_gap_ns;

    if (state->submitted > 0 && now_ns > state->last_submit_ns &&
        (double)(now_ns - state->last_submit_ns) > gap_ns) {
        gap_ns = (double)(now_ns - state->last_submit_ns); /* it went quiet */
    }
    *stats = (struct wfq_vm_stats){
        .queue_depth = state->waiting.count,
        .in_flight = state->in_flight.count,
        .submitted = state->submitted,
        .completed = state->completed,
        .gpu_time_ns = state->gpu_time_ns,
        .average_execution_ns = state->average_ns == UNKNOWN ? 0 : state->average_ns,
        .submit_rate_hz = state->submitted > 1 && gap_ns > 0 ? 1e9 / gap_ns : 0,
        .context_switches = state->context_switches,
        .lag_ns = (int64_t)vt_lag_ns(&wfq->vt, vm),
        .max_lag_ns = (int64_t)state->max_lag_ns,
        .max_job_ns = state->max_job_ns,
    };
    if (stats->lag_ns > stats->max_lag_ns) {
        stats->max_lag_ns = stats->lag_ns;
    }
}

uint64_t wfq_lag_bound_ns(const struct wfq *wfq, uint32_t vm)
{
    uint64_t bound_ns = 0;

    for (uint32_t other = 0; other < wfq->config.max_vms; other++) {
        const struct vm_state *state = &wfq->vms[other];

        if (other != vm && state->attached && state->submitted > 0) {
            uint64_t longest_ns = state->max_job_ns;

            if (wfq->aside == other && state->in_flight.head->charged_ns > longest_ns) {
                longest_ns = state->in_flight.head->charged_ns; /* and growing */
            }
            bound_ns +=
                wfq->config.quantum_ns + wfq->config.ahead_ns + wfq->config.depth * longest_ns;
        }
    }
    return bound_ns;
}

uint32_t wfq_dispatch_log(const struct wfq *wfq, struct wfq_dispatch *out, uint32_t max)
{
    uint64_t have = wfq->dispatches < WFQ_DISPATCH_LOG ? wfq->dispatches : WFQ_DISPATCH_LOG;
    uint32_t n = have < max ? (uint32_t)have : max;

    for (uint32_t i = 0; i < n; i++) {
        out[i] = wfq->log[(wfq->dispatches - n + i) % WFQ_DISPATCH_LOG];
    }
    return n;
}

/* ---- life ---- */

struct wfq *wfq_init(const struct wfq_config *config)
{
    uint32_t padded = (config->max_vms + 2 * POLICY_LANES - 1) / POLICY_LANES * POLICY_LANES;
    struct wfq *wfq = calloc(1, sizeof(*wfq));

    if (!wfq) {
        return NULL;
    }
    wfq->config = *config;
    wfq->policy = policies[config->policy];
    wfq->preferred = wfq->holder = wfq->last_holder = wfq->aside = NOBODY;
    wfq->vms = calloc(config->max_vms, sizeof(*wfq->vms));
    wfq->params = calloc(config->max_vms, sizeof(*wfq->params));
    wfq->run_vm = calloc(padded, sizeof(*wfq->run_vm));
    wfq->run_start = calloc(padded, sizeof(*wfq->run_start));
    wfq->run_urgency0 = calloc(padded, sizeof(*wfq->run_urgency0));
    wfq->run_arrival_ns = calloc(padded, sizeof(*wfq->run_arrival_ns));
    wfq->run_sequence = calloc(padded, sizeof(*wfq->run_sequence));
    if (vt_init(&wfq->vt, config->max_vms) < 0 || !wfq->vms || !wfq->params || !wfq->run_vm ||
        !wfq->run_start || !wfq->run_urgency0 || !wfq->run_arrival_ns || !wfq->run_sequence) {
        wfq_destroy(wfq);
        return NULL;
    }
    for (uint32_t i = 0; i < padded; i++) {
        run_pad(wfq, i);
    }
    return wfq;
}

void wfq_destroy(struct wfq *wfq)
{
    if (!wfq) {
        return;
    }
    vt_destroy(&wfq->vt);
    free(wfq->vms);
    free(wfq->params);
    free(wfq->run_vm);
    free(wfq->run_start);
    free(wfq->run_urgency0);
    free(wfq->run_arrival_ns);
    free(wfq->run_sequence);
    free(wfq);
}
