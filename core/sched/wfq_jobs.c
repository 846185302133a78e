/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs that come and jobs that end: the queues, and what is learnt of a VM from them (how long its
 * jobs are, how long it pauses between them, how often it submits).
 */
#include <assert.h>

#include "common/unused.h"
#include "core/sched/wfq_internal.h"

/* Pauses beyond this multiple of the longest that is waited for all say the same: not soon. */
#define THINK_MAX_SOON 4u
/* With each job so much of its longest recent one is forgotten. */
#define FORGET_LONGEST 256u
/* The most that the host is taken to have kept one job waiting. */
#define EXCUSED_MAX_NS (100 * NS_PER_MS)
/* The gap between two submissions: the newest is this part of the average, more at the start. */
#define NEWEST_GAP (1.0 / WFQ_NEWEST_JOB)
#define NEWEST_GAP_EARLY (1.0 / 2)

void wfq_enqueue(struct wfq *wfq, struct wfq_job *job, uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[job->vm];

    assert(state->attached);
    wfq_account_aside(wfq, now_ns);
    if (state->waiting.count == 0 && state->in_flight.count == 0) {
        wfq_settle(wfq, now_ns);
        if (state->last_completed_ns != 0) {
            wfq_pause_learn(wfq, job->vm, now_ns);
        }
    }
    if (state->last_completed_ns != 0 && state->waiting.count == 0 && state->in_flight.count == 0 &&
        now_ns >= state->last_completed_ns) {
        uint64_t gap_ns = now_ns - state->last_completed_ns;
        uint64_t gap_max_ns = THINK_MAX_SOON * wfq_soon_ns(wfq, state);

        /* Or else a VM that was away for a second would be taken for slow for twenty jobs. */
        if (gap_ns > gap_max_ns) {
            gap_ns = gap_max_ns;
        }
        state->think_ns = wfq_average_ns(state->think_ns, gap_ns, WFQ_NEWEST_PAUSE);
    }
    if (state->submitted > 0 && now_ns >= state->last_submit_ns) {
        double gap_ns = (double)(now_ns - state->last_submit_ns);

        state->submit_gap_ns += (gap_ns - state->submit_gap_ns) *
                                (state->submitted < WFQ_NEWEST_JOB ? NEWEST_GAP_EARLY : NEWEST_GAP);
    }
    state->last_submit_ns = now_ns;
    state->submitted++;

    job->arrival_ns = now_ns;
    job->sequence = ++wfq->next_sequence;
    job->in_flight = false;
    job->charged_ns = 0;
    job_list_append(&state->waiting, job);
    wfq->waiting++;
    if (wfq->anticipating && wfq->holder == job->vm) {
        wfq_end_anticipation(wfq, now_ns); /* now that it has work: it keeps what it is owed */
    }
    if (state->run_index != NOBODY && wfq->vt.accounts[job->vm].standing == VT_WORKING) {
        wfq_write_depth(wfq, job->vm);
    } else {
        wfq_refresh(wfq, job->vm, now_ns);
    }
}

/* How many jobs were handed out as tiny ones that are not. */
static void note_handed(struct vm_state *state, uint64_t cost_ns, uint64_t ahead_ns)
{
    if (cost_ns > ahead_ns && state->in_flight.count > state->max_handed) {
        state->max_handed = state->in_flight.count;
    }
}

/*
 * The worker of a VM with short jobs reports the time from the start of this one to its end, and
 * the slices of those aside may be in that: what is left of it is not known.  Of two such reports
 * in a row the second one is believed: a slice interrupts one job of many.
 */
static bool was_interrupted(const struct wfq *wfq, const struct wfq_job *job, uint64_t elapsed_ns)
{
    struct vm_state *state = &wfq->vms[job->vm];
    bool before = state->interrupted;

    state->interrupted = wfq_was_beside(wfq, job) && state->average_ns < WFQ_DRIVER_SLICE_NS / 2 &&
                         elapsed_ns > 4 * state->average_ns &&
                         elapsed_ns <= WFQ_DRIVER_SLICE_NS * (wfq->aside_count + 2);
    return state->interrupted && !before;
}

/*
 * What the job itself was like, or the scheduler would make short what it takes for long: where few
 * are handed out ahead there is a gap behind each.  What goes beyond the report may be that the
 * host was late, and is remembered as long as a longest job is only if it is more than what goes
 * ahead anyway.
 */
static uint64_t seemed_ns(const struct wfq *wfq, uint64_t length_ns, uint64_t reported_ns)
{
    return length_ns > reported_ns + wfq->config.ahead_ns ? length_ns : reported_ns;
}

/* What the VM's jobs are like. */
static void learn(struct vm_state *state, uint64_t length_ns, uint64_t seemed_ns, uint64_t most_ns)
{
    state->average_ns = wfq_average_ns(state->average_ns, length_ns, WFQ_NEWEST_JOB);
    if (most_ns > state->max_job_ns) {
        state->max_job_ns = most_ns;
    }
    if (state->recent_longest_ns == UNKNOWN || seemed_ns > state->recent_longest_ns) {
        state->recent_longest_ns = seemed_ns;
    } else {
        state->recent_longest_ns -= state->recent_longest_ns / FORGET_LONGEST;
    }
}

void wfq_complete(struct wfq *wfq, struct wfq_job *job, uint64_t gpu_time_ns, bool elapsed,
                  uint64_t now_ns)
{
    uint32_t vm = job->vm;
    struct vm_state *state = &wfq->vms[vm];
    uint64_t used_ns = gpu_time_ns, reported_ns, cost_ns, length_ns, most_ns;

    assert(job->in_flight && job_list_first(&state->in_flight) == job);
    wfq_account_idlers(wfq, now_ns);
    wfq_account_aside(wfq, now_ns);
    if (job->guest) {
        wfq_settle(wfq, now_ns);
    }
    if (state->aside) {
        used_ns = cost_ns = wfq_charge_aside(wfq, job, gpu_time_ns, elapsed, now_ns);
        reported_ns = length_ns = cost_ns;
    } else {
        if (elapsed) {
            used_ns = wfq_own_part_ns(wfq, used_ns, wfq->taken_ns - job->taken_mark_ns);
        }
        reported_ns = used_ns;
        used_ns = wfq_believe_ns(wfq, job, used_ns, now_ns);
        reported_ns = reported_ns < used_ns ? reported_ns : used_ns;
        cost_ns = wfq_charge_job(wfq, job, used_ns, now_ns, &length_ns);
        if (elapsed && was_interrupted(wfq, job, gpu_time_ns)) {
            cost_ns = length_ns = reported_ns = state->average_ns;
        }
        wfq->pending_ns -= wfq_pending_ns(job);
        if (job->guest) {
            wfq_guest_end(wfq, job);
        } else {
            wfq->in_flight--;
        }
    }
    most_ns = cost_ns;
    if (wfq_was_beside(wfq, job)) {
        /* So long its neighbour's account was not final. */
        uint64_t longest_ns = wfq_since_ns(now_ns, state->head_started_ns);

        most_ns = longest_ns > most_ns ? longest_ns : most_ns;
    }
    state->excused_ns = 0;
    note_handed(state, cost_ns, wfq->config.ahead_ns);
    job_list_take(&state->in_flight);
    job->in_flight = false;
    job->charged_ns = used_ns;

    state->completed++;
    state->gpu_time_ns += used_ns;
    wfq->busy_ns += used_ns;
    learn(state, length_ns, seemed_ns(wfq, length_ns, reported_ns), most_ns);
    state->last_completed_ns = wfq->last_completed_ns = now_ns;
    state->head_started_ns = now_ns;
    if (state->in_flight.count > 0) {
        /* It runs from now on. */
        job_list_first(&state->in_flight)->taken_mark_ns = wfq->taken_ns;
    }
    wfq_rebase(wfq);

    if (state->aside) {
        wfq_leave_aside(wfq, vm);
    }
    if (state->in_flight.count == 0 && state->waiting.count == 0) {
        wfq_pause_tokens(wfq, vm, now_ns);
        if (wfq->holder == vm) {
            wfq_anticipate(wfq, now_ns);
        }
    }
    wfq_refresh_account(wfq, vm, now_ns);
    if (state->waiting.count > 0) {
        /* Long queues fall out of the cache.  This one is looked at when the head goes. */
        __builtin_prefetch(STAILQ_NEXT(job_list_first(&state->waiting), link));
    }
}

void wfq_excuse(struct wfq *wfq, uint32_t vm, uint64_t wait_ns)
{
    wfq->vms[vm].excused_ns = wait_ns < EXCUSED_MAX_NS ? wait_ns : EXCUSED_MAX_NS;
}

struct wfq_job *wfq_take_queued(struct wfq *wfq, uint32_t vm, UNUSED uint64_t now_ns)
{
    struct vm_state *state = &wfq->vms[vm];
    struct wfq_job *job;

    if (state->waiting.count == 0) {
        return NULL;
    }
    job = job_list_take(&state->waiting);
    wfq->waiting--;
    wfq_refresh(wfq, vm, now_ns);
    return job;
}
