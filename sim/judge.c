/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The judge: did each VM get what is promised?
 *
 * Promised over a window T is (1 - slack - lost) * s * d * T: what the VM would
 * have if the GPU were its own for a part s of the time, less what is said to
 * be lost.  While k others run aside, d is what it would have beside them: the
 * driver gives slices to all that run.  At the window's
 * edges may be missing: one own job, one quantum, a turn (it may be ahead by one at
 * the begin, and goes first when it is owed one), and s times the sum over the
 * others of (quantum + longest job); a neighbour's job is no longer than
 * `overrun` there, for then it is aside, and lasts from when it was handed out where
 * its worker is slow.  A neighbour that is moved to another GPU is forgiven what it
 * had ahead, so that its part of the sum counts once more.  A pause beyond patience, a lost
 * connection or a move to another GPU ends a stretch:
 * each stretch is promised by itself, so that its edges count once more.
 *
 * A neighbour's job has the GPU alone until it is set aside.  What it had ahead then is made
 * good beside it, where a ms is worth less to those whose jobs are short for the driver's
 * slices: that may be missing for each such job.
 *
 * d is not estimated.  Each VM runs once more, alone (and once more beside k jobs
 * that never end), with the same jobs and
 * the same pauses (streams of random numbers of their own), and
 *   - a closed loop is followed by its own progress: it has had x at the
 *     window's begin; how far would it be, alone, from x on, in the time that
 *     is its part of the window?
 *   - whatever goes by the clock (open loops, phases, lost connections, rate
 *     limits) is compared at the same moments: its part of what it had alone.
 *
 * Where d is small the terms are more than all that is promised, and a VM
 * could wait for ever.  So each wait is judged, too: while a VM has work all
 * the time its d is what it is alone with work, and it may never be owed more
 * than the terms, with as many jobs of each other VM as are handed out ahead.
 */
#include <errno.h>
#include <stdlib.h>

#include "sim/internal.h"
#include "sim/record.h"

#define STEP_NS (50 * NS_PER_MS)
#define ALONE_STEP_NS (10 * NS_PER_MS)

void sim_promise_defaults(struct sim_promise *promise)
{
    *promise = (struct sim_promise){
        .window_ns = {10 * NS_PER_S, 30 * NS_PER_S},
        .window_count = 2,
        .warmup_ns = 3 * NS_PER_S,
        .patience_ns = NS_PER_S / 10,
        .slack = 0.08,
        .lost = 0.05,
    };
}

/* ---- alone ---- */

static bool by_the_clock(const struct sim_group *group)
{
    return group->rate_hz > 0 || group->on_ns > 0 || group->start_ns > 0 || group->stop_ns > 0 ||
           group->disconnect_ns > 0 || group->limit_hz > 0;
}

/* Who breaks its own worker, or is refused, has itself to blame; a liar, too. */
static bool is_judged(const struct sim_group *group)
{
    return group->crash + group->hang + group->fail + group->invalid == 0 && group->slow_ns == 0 &&
           group->gap_ns == 0 && !sim_group_lies(group);
}

/* Are all VMs of the group the same when they are alone? */
static bool nothing_random(const struct sim_group *group)
{
    return group->job.kind == SIM_LENGTH_FIXED && group->think_ns == 0 && !by_the_clock(group);
}

/* VMs whose only job never ends: they are aside before anything is judged. */
static void add_asides(struct sim_config *config, uint32_t count)
{
    struct sim_group *group = &config->groups[1];

    sim_group_defaults(group);
    group->n = count;
    group->hang = 1;
    group->depth = 1;
    config->group_count = 2;
    config->core.job_timeout_ns = 2 * config->duration_ns;
}

/* ... but for `asides` others, which run aside all the time. */
static void run_alone(const struct sim_config *config, const struct sim_promise *promise,
                      const struct sim_vm_result *vm, uint32_t asides, uint64_t enough_ns,
                      struct sim_record *record)
{
    struct sim_config *alone = sim_allocate(1, sizeof(*alone));
    struct sim_result *ignored = sim_allocate(1, sizeof(*ignored));
    struct sim_group *group = &alone->groups[0];

    *alone = *config;
    *group = config->groups[vm->group];
    group->n = 1;
    group->change_ns = 0;
    group->pool = 'A';
    group->to_pool = 0;
    alone->group_count = alone->gpus = alone->pools = 1;
    alone->first_stream = config->first_stream + vm->vm_id - 1;
    alone->log = NULL;
    if (!by_the_clock(group)) {
        alone->duration_ns *= asides + 1; /* if it needs so much, it ends before */
    }
    if (asides > 0) {
        add_asides(alone, asides);
    }
    sim_record_init(record, promise, alone->duration_ns,
                    by_the_clock(group) ? STEP_NS : ALONE_STEP_NS, 1 + asides);
    record->enough_ns = by_the_clock(group) ? 0 : enough_ns;
    if (sim_run_recorded(alone, ignored, record) < 0) {
        abort(); /* less than what has just been simulated */
    }
    free(ignored);
    free(alone);
}

/* A VM's runs alone, by the number of those aside; steps 0 = not needed. */
struct alone {
    struct sim_record runs[SIM_ASIDES];
    uint64_t enough_ns;
};

static void alone_destroy(struct alone *alone)
{
    for (uint32_t k = 0; k < SIM_ASIDES; k++) {
        if (alone->runs[k].steps > 0) {
            sim_record_destroy(&alone->runs[k]);
            alone->runs[k].steps = 0;
        }
    }
}

/* ---- its progress alone, as a curve ---- */

struct curve {
    const uint64_t *got_ns;
    uint32_t steps;
    double step_ns;
};

static double had_at(const struct curve *curve, double time_ns)
{
    double at = time_ns / curve->step_ns;
    uint32_t i = at < curve->steps ? (uint32_t)at : curve->steps;

    if (i + 1 >= curve->steps) {
        return (double)curve->got_ns[curve->steps - 1];
    }
    return (double)curve->got_ns[i] + (at - i) * (double)(curve->got_ns[i + 1] - curve->got_ns[i]);
}

/* The first moment at which it had so much; of nothing, the last one. */
static double when_had(const struct curve *curve, double got_ns)
{
    uint32_t lo = 0, hi = curve->steps - 1;

    if (got_ns > (double)curve->got_ns[hi]) {
        return hi * curve->step_ns;
    }
    while (hi - lo > 1) {
        uint32_t middle = (lo + hi) / 2;

        if ((double)curve->got_ns[middle] < got_ns || curve->got_ns[middle] == 0) {
            lo = middle;
        } else {
            hi = middle;
        }
    }
    return (lo + (got_ns - (double)curve->got_ns[lo]) /
                     (double)(curve->got_ns[hi] - curve->got_ns[lo])) *
           curve->step_ns;
}

/* ---- windows ---- */

struct examined {
    const struct sim_promise *promise;
    const struct sim_track *track;
    struct curve curves[SIM_ASIDES]; /* by the number of those aside */
    bool by_the_clock;
    double pace[SIM_ASIDES]; /* part of the time with work in which it keeps the GPU busy */
    double overrun_ns;       /* what it may lose by a job of another that is set aside; without s */
    double *clock_due_ns;    /* so far, at each step; by the clock only */
    double turn_ns;
    double own_ns, others_ns, others_wait_ns; /* terms; the others' without s */
};

/* Does it have a budget in these steps beside others that run aside? */
static bool besides(const struct sim_track *track, uint32_t from, uint32_t to)
{
    for (uint32_t k = 1; k < SIM_ASIDES; k++) {
        if (track->budget_ns[k][to] > track->budget_ns[k][from]) {
            return true;
        }
    }
    return false;
}

/* It has had so much; how much will it have had when its budget has been used? */
static double progress(const struct examined *examined, double had_ns, uint32_t from, uint32_t to)
{
    for (uint32_t k = 0; k < SIM_ASIDES; k++) {
        const double *budget_ns = examined->track->budget_ns[k];
        const struct curve *curve = &examined->curves[k];

        if (budget_ns[to] > budget_ns[from]) {
            had_ns = had_at(curve, when_had(curve, had_ns) + budget_ns[to] - budget_ns[from]);
        }
    }
    return had_ns;
}

static double due_between(const struct examined *examined, uint32_t from, uint32_t to)
{
    const struct sim_track *track = examined->track;
    double began_ns = (double)track->got_ns[from], had_ns = began_ns;
    uint32_t since = from;

    if (examined->by_the_clock) {
        return examined->clock_due_ns[to] - examined->clock_due_ns[from];
    }
    for (uint32_t i = from; i < to; i++) {
        if (besides(track, i, i + 1)) { /* in the order in which it happened */
            had_ns = progress(examined, had_ns, since, i);
            had_ns = progress(examined, had_ns, i, i + 1);
            since = i + 1;
        }
    }
    return progress(examined, had_ns, since, to) - began_ns;
}

static void look_at_window(const struct examined *examined, uint32_t from, uint32_t to,
                           struct sim_window_verdict *verdict)
{
    const struct sim_track *track = examined->track;
    double length_ns = (double)(to - from) * (double)STEP_NS;
    double due_ns = due_between(examined, from, to);
    double got_ns = (double)(track->got_ns[to] - track->got_ns[from]);
    double part = (track->share_ns[to] - track->share_ns[from]) / length_ns;
    double terms_ns = (examined->own_ns + examined->turn_ns + part * examined->others_ns) *
                          (1 + track->stretches[to] - track->stretches[from]) +
                      part * examined->overrun_ns * (track->overruns[to] - track->overruns[from]) +
                      part * (double)(track->forgotten_ns[to] - track->forgotten_ns[from]);
    double keep = 1 - examined->promise->slack - examined->promise->lost;
    double ratio, plain;

    if (due_ns <= 1) {
        return;
    }
    ratio = (got_ns + terms_ns) / (keep * due_ns);
    plain = (got_ns + examined->own_ns) / due_ns;
    verdict->plain = plain < verdict->plain ? plain : verdict->plain;
    verdict->judged = true;
    if (ratio < verdict->ratio || verdict->due_ns == 0) {
        verdict->ratio = ratio < SIM_UNJUDGED ? ratio : SIM_UNJUDGED;
        verdict->at_ns = from * STEP_NS;
        verdict->got_ns = (uint64_t)got_ns;
        verdict->due_ns = (uint64_t)due_ns;
        verdict->terms_ns = (uint64_t)terms_ns;
    }
}

static void look_at_windows(const struct examined *examined, uint32_t steps,
                            struct sim_verdict *verdict)
{
    const struct sim_promise *promise = examined->promise;

    for (uint32_t w = 0; w < promise->window_count; w++) {
        struct sim_window_verdict *window = &verdict->windows[w];
        uint32_t length = (uint32_t)(promise->window_ns[w] / STEP_NS);

        *window = (struct sim_window_verdict){.ratio = SIM_UNJUDGED, .plain = SIM_UNJUDGED};
        for (uint32_t from = (uint32_t)(promise->warmup_ns / STEP_NS);
             length > 0 && from + length < steps; from++) {
            look_at_window(examined, from, from + length, window);
        }
        if (verdict->judged && window->judged && window->ratio < verdict->worst) {
            verdict->worst = window->ratio;
        }
    }
}

/* The most that it was owed while it had work all the time, from one step to another. */
static double most_owed_ns(const struct examined *examined, uint32_t steps, uint64_t *at_ns)
{
    const struct sim_promise *promise = examined->promise;
    const struct sim_track *track = examined->track;
    double keep = 1 - promise->slack - promise->lost, low_ns = 0, most_ns = 0;
    uint32_t first = (uint32_t)(promise->warmup_ns / STEP_NS);

    for (uint32_t i = first; i < steps; i++) {
        double forgiven_ns =
            examined->overrun_ns * track->overruns[i] + (double)track->forgotten_ns[i];
        double owed_ns = -(double)track->got_ns[i] - track->part_max * forgiven_ns;

        for (uint32_t k = 0; k < SIM_ASIDES; k++) {
            owed_ns += keep * examined->pace[k] * track->budget_ns[k][i];
        }
        if (i == first || track->waits[i] != track->waits[i - 1] || owed_ns < low_ns) {
            low_ns = owed_ns;
        }
        if (owed_ns - low_ns > most_ns) {
            most_ns = owed_ns - low_ns;
            *at_ns = i * STEP_NS;
        }
    }
    return most_ns;
}

static void look_at_waits(const struct examined *examined, uint32_t steps,
                          struct sim_verdict *verdict)
{
    double allowed_ns =
        examined->own_ns + examined->turn_ns + examined->track->part_max * examined->others_wait_ns;
    double owed_ns = most_owed_ns(examined, steps, &verdict->wait_at_ns);

    verdict->wait_owed_ns = (uint64_t)owed_ns;
    verdict->wait_allowed_ns = (uint64_t)allowed_ns;
    verdict->wait_ratio = owed_ns > allowed_ns / SIM_UNJUDGED ? allowed_ns / owed_ns : SIM_UNJUDGED;
    if (verdict->judged && verdict->wait_ratio < verdict->worst) {
        verdict->worst = verdict->wait_ratio;
    }
}

/* ---- one VM ---- */

/* What each of the others may have more of, with `jobs` of its longest ones. */
static double others_terms_ns(const struct sim_config *config, const struct sim_result *result,
                              const struct sim_record *record, uint32_t vm, uint32_t jobs)
{
    uint64_t overrun_ns = config->core.overrun_ns;
    double sum_ns = 0;

    for (uint32_t i = 0; i < result->vm_count; i++) {
        uint64_t longest_ns = record->vms[i].longest_ns;

        if (i != vm && (result->vms[i].gpus_seen & result->vms[vm].gpus_seen) != 0) {
            longest_ns = overrun_ns && longest_ns > overrun_ns ? overrun_ns : longest_ns;
            sum_ns += (double)(config->core.scheduler.quantum_ns + jobs * longest_ns);
        }
    }
    return sum_ns;
}

/*
 * One job and a quantum it may have ahead when a window begins.  Or all that its worker had been
 * handed: of one that sent tiny jobs and suddenly sends long ones nobody can know, and it has had
 * them then.
 */
static double own_terms_ns(const struct sim_config *config, const struct sim_track *track)
{
    uint64_t usual_ns = track->longest_ns + config->core.scheduler.quantum_ns;

    return (double)(track->handed_ns > usual_ns ? track->handed_ns : usual_ns);
}

/* So much it is owed before it goes first: a turn, or what it has waiting if that is less. */
static double turn_ns(const struct sim_config *config, const struct sim_group *group,
                      const struct sim_track *track)
{
    double quantum_ns = (double)config->core.scheduler.quantum_ns;
    double waiting_ns = (double)track->longest_ns * group->depth;

    return group->rate_hz == 0 && waiting_ns < quantum_ns ? waiting_ns : quantum_ns;
}

static double *due_by_the_clock(const struct sim_track *track, const struct curve *curves,
                                uint32_t steps)
{
    double *due_ns = sim_allocate(steps, sizeof(*due_ns));

    for (uint32_t i = 1; i < steps; i++) {
        due_ns[i] = due_ns[i - 1];
        for (uint32_t k = 0; k < SIM_ASIDES; k++) {
            const uint64_t *got_ns = curves[k].got_ns;

            if (i < curves[k].steps) {
                due_ns[i] += (track->budget_ns[k][i] - track->budget_ns[k][i - 1]) /
                             (double)STEP_NS * (double)(got_ns[i] - got_ns[i - 1]);
            }
        }
    }
    return due_ns;
}

/* Hand-over takes of it where jobs are tiny: no more could be had with work all the time. */
static double pace(const struct sim_track *alone, uint32_t steps)
{
    double got_ns = (double)alone->got_ns[steps - 1], work_ns = (double)alone->work_ns;

    return got_ns < work_ns ? got_ns / work_ns : 1;
}

static void take_curves(const struct alone *alone, struct examined *examined)
{
    for (uint32_t k = 0; k < SIM_ASIDES; k++) {
        const struct sim_record *run = &alone->runs[k];

        if (run->steps > 0) {
            examined->curves[k] =
                (struct curve){run->vms[0].got_ns, run->steps, (double)run->step_ns};
            examined->pace[k] = pace(&run->vms[0], run->steps);
        }
    }
}

/* Such a part of what it may use beside one job aside is lost, compared to having the GPU alone. */
static double worth_less(const struct examined *examined)
{
    double d[2] = {1, 1};

    for (uint32_t k = 0; k < 2 && examined->curves[1].steps > 1; k++) {
        const struct curve *curve = &examined->curves[k];

        d[k] = (double)curve->got_ns[curve->steps - 1] / ((curve->steps - 1) * curve->step_ns);
    }
    return d[0] > 2 * d[1] ? 1 - 2 * d[1] / d[0] : 0;
}

static void judge_vm(const struct sim_config *config, const struct sim_result *result,
                     const struct sim_record *record, const struct alone *alone, uint32_t vm,
                     struct sim_verdict *verdict)
{
    const struct sim_group *group = &config->groups[result->vms[vm].group];
    const struct sim_track *track = &record->vms[vm];
    struct examined examined = {
        .promise = record->promise,
        .track = track,
        .by_the_clock = by_the_clock(group),
        .own_ns = own_terms_ns(config, track),
        .turn_ns = turn_ns(config, group, track),
        .others_ns = others_terms_ns(config, result, record, vm, 1),
        .others_wait_ns = others_terms_ns(config, result, record, vm, config->core.scheduler.depth),
    };
    const struct curve *curve = &examined.curves[0];

    take_curves(alone, &examined);
    examined.overrun_ns = (double)config->core.overrun_ns * worth_less(&examined);
    *verdict = (struct sim_verdict){.judged = is_judged(group), .worst = SIM_UNJUDGED};
    verdict->due_share =
        track->share_ns[record->steps - 1] / ((double)(record->steps - 1) * (double)STEP_NS);
    verdict->alone = curve->steps > 1 ? (double)curve->got_ns[curve->steps - 1] /
                                            ((double)(curve->steps - 1) * curve->step_ns)
                                      : 0;
    if (examined.by_the_clock) {
        examined.clock_due_ns = due_by_the_clock(track, examined.curves, record->steps);
    }
    look_at_windows(&examined, record->steps, verdict);
    look_at_waits(&examined, record->steps, verdict);
    free(examined.clock_due_ns);
}

/*
 * So much it must have had alone that each window can be judged: what it got, and a window's part.
 */
static uint64_t enough_ns(const struct sim_record *record, uint32_t vm)
{
    const struct sim_track *track = &record->vms[vm];
    uint64_t longest_ns = 0;

    for (uint32_t i = 0; i < record->promise->window_count; i++) {
        uint64_t window_ns = record->promise->window_ns[i];

        if (window_ns > longest_ns && window_ns < record->steps * STEP_NS) {
            longest_ns = window_ns;
        }
    }
    return 1 + track->got_ns[record->steps - 1] + (uint64_t)(track->part_max * (double)longest_ns);
}

/* The runs of `vm` alone that are needed, but for those that are there; k 0 always is. */
static void run_all_alone(const struct sim_config *config, const struct sim_result *result,
                          const struct sim_record *record, uint32_t vm, struct alone *alone)
{
    const struct sim_track *track = &record->vms[vm];

    for (uint32_t k = 0; k < SIM_ASIDES; k++) {
        if (alone->runs[k].steps == 0 && (k == 0 || track->budget_ns[k][record->steps - 1] > 0)) {
            run_alone(config, record->promise, &result->vms[vm], k, alone->enough_ns,
                      &alone->runs[k]);
        }
    }
}

int sim_judge(const struct sim_config *config, const struct sim_promise *promise,
              struct sim_result *result, struct sim_verdict *verdicts)
{
    struct sim_record record;
    struct alone alone = {0};
    uint32_t count = 0, group = SIM_NONE;
    int ret;

    for (uint32_t i = 0; i < config->group_count; i++) {
        count += config->groups[i].n;
    }
    if (config->fault_seed != 0 || count == 0 || count > SIM_VMS_MAX ||
        config->duration_ns < 2 * STEP_NS) {
        return -EINVAL;
    }
    sim_record_init(&record, promise, config->duration_ns, STEP_NS, count);
    ret = sim_run_recorded(config, result, &record);
    for (uint32_t i = 0; ret == 0 && i < result->vm_count; i++) {
        uint64_t needed_ns = enough_ns(&record, i);

        if (result->vms[i].group != group || !nothing_random(&config->groups[group]) ||
            needed_ns > alone.enough_ns) {
            alone_destroy(&alone);
            group = result->vms[i].group;
            alone.enough_ns = needed_ns;
        }
        run_all_alone(config, result, &record, i, &alone);
        judge_vm(config, result, &record, &alone, i, &verdicts[i]);
    }
    alone_destroy(&alone);
    sim_record_destroy(&record);
    return ret;
}

double sim_worst(const struct sim_verdict *verdicts, uint32_t count, uint32_t *vm)
{
    double worst = SIM_UNJUDGED;

    *vm = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (verdicts[i].worst < worst) {
            worst = verdicts[i].worst;
            *vm = i;
        }
    }
    return worst;
}
