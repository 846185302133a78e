/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulator runs the mediator's core in virtual time.
 *
 * sim_run() plays VMs, workers, GPUs and faults against the real core and
 * checks it all the while.  Nothing depends on the machine: the same
 * configuration and seed give the same run, to the last event (trace_hash).
 *
 * Model.  A GPU runs one worker at a time.  When several have work, the driver
 * gives each a slice in turn; changing to another worker costs switch_ns, which
 * no job is charged for.  A worker takes its jobs in order.  Frames between
 * core and worker take link_ns each way, so that a GPU which is fed one job at
 * a time idles for 2 * link_ns between jobs.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/ns.h"
#include "core/core.h"

#define SIM_VMS_MAX 256u
#define SIM_GROUPS_MAX 64u
#define SIM_SAMPLES 240u /* points of the shares over time */

enum sim_length_kind {
    SIM_LENGTH_FIXED,       /* lo */
    SIM_LENGTH_LOG_UNIFORM, /* lo..hi */
    SIM_LENGTH_UNIFORM,
    SIM_LENGTH_EXPONENTIAL, /* mean lo, cut at 20 times that */
};

struct sim_length {
    enum sim_length_kind kind;
    uint32_t lo_us, hi_us;
};

/* n VMs of one kind.  A closed loop (rate_hz 0) keeps `depth` requests going;
 * an open loop sends at Poisson times whatever happens. */
struct sim_group {
    uint32_t n;
    double weight;
    uint32_t priority;
    char pool;
    struct sim_length job;
    uint32_t depth;    /* closed loop: requests outstanding */
    uint64_t think_ns; /* closed loop: from a reply to the next request, mean */
    double rate_hz;    /* open loop: requests a second; 0 = closed loop */
    uint32_t burst;    /* open loop: requests that come at once */
    uint64_t on_ns, off_ns;
    uint64_t start_ns, stop_ns; /* active between these; stop 0 = to the end */
    uint32_t limit_hz;          /* rate limit, 0 = none */
    uint32_t limit_burst;       /* 0 = derived by the core */
    uint32_t queue_depth;       /* limit on waiting jobs, 0 = the core's maximum */
    double crash, hang, fail;   /* probability per job */
    double invalid;             /* probability per request: malformed */
    uint64_t disconnect_ns;     /* mean time between losses of the connection, 0 = never */
    uint64_t away_ns;           /* ... and how long it stays away then, mean */
    uint64_t slow_ns;           /* the worker takes so long (mean) to take up a job */
    uint64_t gap_ns;            /* ... and so long from one job to the next that is with it */
    uint32_t batch;             /* closed loop: 1 = new requests when all are answered */
    uint32_t tiny, huge;        /* after so many jobs of tiny_us come so many of `job` */
    uint32_t tiny_us;
    double lie_factor;  /* the worker reports its GPU time times this ... */
    double lie_step;    /* ... which it reaches in steps: times this with each job */
    uint64_t lie_ns;    /* ... or always this much; 0 = no such lie */
    uint32_t lie_every; /* only every so many jobs */
    uint64_t change_ns; /* each time that this has passed its settings change to ... */
    double to_weight;   /* ... these, and back; SIM_SAME = this one stays as it is */
    uint32_t to_priority;
    char to_pool;     /* 0 = stays */
    uint32_t channel; /* 1 = its jobs are records of a channel, which the mediator gives turns */
};

#define SIM_SAME UINT32_MAX

void sim_group_defaults(struct sim_group *group);
/* Do its workers report other times than they measured? */
bool sim_group_lies(const struct sim_group *group);

struct sim_config {
    struct sim_group groups[SIM_GROUPS_MAX];
    uint32_t group_count;
    uint32_t gpus;
    uint32_t pools; /* the GPUs are dealt out to this many pools, A, B, ... */
    uint64_t duration_ns;
    uint64_t seed;
    uint32_t first_stream; /* random numbers of the first VM: what it draws in another run */
    struct core_config core;
    uint64_t switch_ns;
    uint64_t slice_ns;
    uint64_t link_ns;
    uint64_t worker_start_ns;
    bool elapsed; /* workers report VGPU_WORKER_TIME_ELAPSED */
    /* Fault mix: 0 = none, else everything below happens at random times, from
     * this seed: mediator lost, GPU lost, weights, policy, quarantine, pause. */
    uint64_t fault_seed;
    uint64_t fault_every_ns; /* mean time between them */
    bool trace;              /* every effect to `log` */
    FILE *log;               /* violations; NULL = nowhere */
};

void sim_config_defaults(struct sim_config *config);

struct sim_vm_result {
    uint32_t vm_id, priority, gpu, group;
    double weight;
    uint32_t gpus_seen; /* bit per GPU that it was on */
    double due_share;   /* its part of its GPU's time if all VMs there want more */
    double share;       /* what it had, of all GPU time used on its GPU */
    uint64_t gpu_time_ns;
    uint64_t jobs; /* answered by a worker */
    uint64_t submitted, refused, errors;
    int64_t max_lag_ns;    /* most owed, by the core's account */
    uint64_t lag_bound_ns; /* what max_lag_ns is checked against */
    int64_t fluid_lag_ns;  /* most owed, from the GPU's real work; see SATURATED */
    bool saturated;        /* never without waiting work: fluid_lag_ns is meaningful */
    uint64_t wait_p50_ns, wait_p99_ns, wait_max_ns; /* accepted to handed out */
    uint64_t wait_mean_ns;
    uint64_t latency_p50_ns, latency_p99_ns; /* request to reply */
    float shares[SIM_SAMPLES];               /* of all GPU time, over time */
    float got[SIM_SAMPLES];                  /* GPU time, as a part of the time */
};

struct sim_result {
    struct sim_vm_result vms[SIM_VMS_MAX];
    uint32_t vm_count;
    uint64_t duration_ns;
    uint64_t lag_bound_ns;   /* largest of the VMs' */
    bool shares_promised;    /* wfq all the time: else the bound is not checked */
    uint64_t switches;       /* of the GPUs' contexts */
    uint64_t turns;          /* the scheduler's context switches */
    uint64_t switching_ns;   /* GPU time lost to switches */
    uint64_t busy_ns;        /* GPU time used by jobs */
    uint64_t anticipated_ns; /* GPU kept free for a VM's next job */
    uint64_t dispatches;
    uint64_t workers_started, workers_lost, mediators_lost, gpus_lost, quarantines, timeouts,
        overruns, disconnects;
    uint64_t violations;
    uint64_t trace_hash;
};

/* `result` is filled; returns 0 or -EINVAL when the configuration makes no sense. */
int sim_run(const struct sim_config *config, struct sim_result *result);

/* ---- the judge ---- */

#define SIM_WINDOWS_MAX 4u

/* What is promised, and what is looked at; see docs/scheduling.md and sim/judge.c. */
struct sim_promise {
    uint64_t window_ns[SIM_WINDOWS_MAX];
    uint32_t window_count;
    uint64_t warmup_ns;   /* nothing before is judged */
    uint64_t patience_ns; /* a longer pause ends what is promised; after it all begins anew */
    double slack;         /* part of its due that a VM may lose to those who fill its pauses */
    double lost;          /* part of all time that switches and hand-over may take */
};

/* The worst window of one length. */
struct sim_window_verdict {
    bool judged;       /* something was promised there */
    double ratio;      /* (got + terms) / promised; below 1 the promise is broken */
    double plain;      /* (got + one own job + one quantum) / (s * d * T), over all windows */
    uint64_t at_ns;    /* when the window with the least `ratio` begins */
    uint64_t got_ns;   /* GPU time in it */
    uint64_t due_ns;   /* s * d * T */
    uint64_t terms_ns; /* what may be missing at its edges */
};

struct sim_verdict {
    bool judged;      /* it is honest and sound: else only its figures are shown */
    double due_share; /* s, mean */
    double alone;     /* d */
    double worst;     /* least ratio of all windows and of its waits, SIM_UNJUDGED = none */
    struct sim_window_verdict windows[SIM_WINDOWS_MAX];
    double wait_ratio; /* what it may be owed / what it was, with work all the while */
    uint64_t wait_owed_ns, wait_allowed_ns, wait_at_ns;
};

#define SIM_UNJUDGED 9.99 /* no ratio is said to be higher */

void sim_promise_defaults(struct sim_promise *promise);
/*
 * sim_run(), and then each VM alone.  `verdicts` has room for SIM_VMS_MAX.
 * Returns 0, or -EINVAL when the configuration makes no sense or has faults.
 */
int sim_judge(const struct sim_config *config, const struct sim_promise *promise,
              struct sim_result *result, struct sim_verdict *verdicts);
/* The least ratio of those who are judged, and whose it is. */
double sim_worst(const struct sim_verdict *verdicts, uint32_t count, uint32_t *vm);
void sim_print_verdicts(const struct sim_promise *promise, const struct sim_result *result,
                        const struct sim_verdict *verdicts, FILE *out);

/* ---- what to simulate ---- */

/* Parses "n=2,weight=80,...;n=1,..." into groups.  On -EINVAL `error` says why. */
int sim_spec_parse(const char *text, struct sim_config *config, char *error, size_t error_bytes);
/* Prints the groups as sim_spec_parse() reads them. */
void sim_spec_print(const struct sim_config *config, FILE *out);
/* 2 to 12 saturated VMs, random weights, priorities and jobs of 50 us to 50 ms. */
void sim_random_mix(struct sim_config *config, uint64_t seed);
/* Any workloads and settings at all, with faults. */
void sim_random_faults(struct sim_config *config, uint64_t seed, bool keep_groups);

/* ---- what came of it ---- */

void sim_print_table(const struct sim_config *config, const struct sim_result *result, FILE *out);
/* Returns 0, or -ENOMEM / -EIO. */
/* With `promise` and `verdicts`, or without (NULL). */
int sim_print_json(const struct sim_config *config, const struct sim_result *result,
                   const struct sim_promise *promise, const struct sim_verdict *verdicts,
                   FILE *out);
int sim_print_plot(const struct sim_config *config, const struct sim_result *result,
                   const char *command, FILE *out);

static inline double sim_ms(uint64_t ns)
{
    return (double)ns / NS_PER_MS;
}

#endif /* SIM_SIM_H */
