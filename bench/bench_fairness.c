/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a weight a share of the GPU's time?  Simulated, so the same everywhere.
 *
 * 320 random mixes of 2 to 12 saturated VMs (weights 1 to 100, all priorities,
 * jobs of 50 us to 50 ms whose length the scheduler does not know) run for 60
 * simulated seconds each.  Of every VM: how far its share of the GPU time was
 * from its due share, and the most it was ever owed, once by the scheduler's
 * account and once counted from the GPU's work alone, against the published
 * bound.  Then real guests, which have one request in flight, with weights 80
 * and 20, and what an endless job does to its neighbours.
 *
 * A seed is replayed by: vgpu-sim --random-mix SEED
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "common/ns.h"
#include "sim/sim.h"

#define MIXES 320u
#define FIRST_SEED 1u

static const char help[] =
    "Simulates 320 random mixes of saturated VMs for 60 seconds each and compares\n"
    "shares and lags with what is due; then VMs with one request in flight.\n"
    "A mix is replayed by: vgpu-sim --random-mix SEED\n";

struct worst {
    double value;
    uint64_t seed;
};

static void note(struct worst *worst, double value, uint64_t seed)
{
    if (value > worst->value) {
        *worst = (struct worst){value, seed};
    }
}

struct summary {
    struct worst share_error, lag, fluid_lag;
    double error_sum, lost_percent_sum;
    uint64_t vms, violations, unsaturated;
};

static void look_at(struct summary *summary, const struct sim_result *result, uint64_t seed)
{
    for (uint32_t i = 0; i < result->vm_count; i++) {
        const struct sim_vm_result *vm = &result->vms[i];
        double error = 100 * fabs(vm->share - vm->due_share);

        note(&summary->share_error, error, seed);
        note(&summary->lag, 100 * (double)vm->max_lag_ns / (double)vm->lag_bound_ns, seed);
        note(&summary->fluid_lag, 100 * (double)vm->fluid_lag_ns / (double)vm->lag_bound_ns, seed);
        summary->error_sum += error;
        summary->vms++;
        summary->unsaturated += !vm->saturated;
    }
    summary->lost_percent_sum += 100 * (double)result->switching_ns / (double)result->duration_ns;
    summary->violations += result->violations;
}

static void must_run(const struct sim_config *config, struct sim_result *result)
{
    if (sim_run(config, result) < 0) {
        fprintf(stderr, "bench_fairness: a simulation does not start\n");
        exit(1);
    }
}

static void random_mixes(const struct bench_options *options, struct sim_result *result,
                         struct summary *summary)
{
    uint32_t mixes = options->quick ? MIXES / 10 : MIXES;

    for (uint64_t seed = FIRST_SEED; seed < FIRST_SEED + mixes; seed++) {
        struct sim_config config;

        sim_config_defaults(&config);
        sim_random_mix(&config, seed);
        must_run(&config, result);
        look_at(summary, result, seed);
    }
    bench_figure("random mixes", "", mixes);
    bench_figure("VMs in them", "", (double)summary->vms);
    bench_figure_at_most("worst share error", "points", summary->share_error.value, 0.5);
    bench_figure("  in the mix with seed", "", (double)summary->share_error.seed);
    bench_figure("mean share error", "points", summary->error_sum / (double)summary->vms);
    bench_figure_at_most("most owed to a VM, of its bound", "%", summary->lag.value, 100);
    bench_figure("  in the mix with seed", "", (double)summary->lag.seed);
    bench_figure_at_most("the same, counted from the GPU's work", "%", summary->fluid_lag.value,
                         100);
    bench_figure("  in the mix with seed", "", (double)summary->fluid_lag.seed);
    bench_figure("GPU time lost to context switches, mean", "%", summary->lost_percent_sum / mixes);
    bench_figure_at_most("VMs that were not saturated after all", "", (double)summary->unsaturated,
                         0);
}

static void run_spec(const char *spec, const struct bench_options *options,
                     struct sim_result *result, struct summary *summary)
{
    struct sim_config config;
    char error[128];

    sim_config_defaults(&config);
    config.duration_ns = options->quick ? 6 * NS_PER_S : 60 * NS_PER_S;
    if (sim_spec_parse(spec, &config, error, sizeof(error)) < 0) {
        fprintf(stderr, "bench_fairness: %s\n", error);
        exit(1);
    }
    must_run(&config, result);
    summary->violations += result->violations;
}

/* One request in flight: between its jobs such a VM has none waiting. */
static void one_in_flight(const struct bench_options *options, struct sim_result *result,
                          struct summary *summary)
{
    static const struct {
        const char *name, *spec;
    } cases[] = {
        {"1 in flight, thinks 20 us, against saturated", "weight=80,depth=1,think_us=20;weight=20"},
        {"1 in flight, thinks 100 us, against saturated",
         "weight=80,depth=1,think_us=100;weight=20"},
        {"1 in flight, thinks 500 us, against saturated",
         "weight=80,depth=1,think_us=500;weight=20"},
        {"1 in flight each, think 20 us",
         "weight=80,depth=1,think_us=20;weight=20,depth=1,think_us=20"},
        {"1 in flight each, think 500 us",
         "weight=80,depth=1,think_us=500;weight=20,depth=1,think_us=500"},
    };
    static char names[2 * sizeof(cases) / sizeof(cases[0])][80];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_spec(cases[i].spec, options, result, summary);
        snprintf(names[2 * i], sizeof(names[0]), "%s: share of weight 80", cases[i].name);
        snprintf(names[2 * i + 1], sizeof(names[0]), "  GPU time used by jobs");
        bench_figure(names[2 * i], "%", 100 * result->vms[0].share);
        bench_figure(names[2 * i + 1], "%",
                     100 * (double)result->busy_ns / (double)result->duration_ns);
    }
}

static void endless_jobs(const struct bench_options *options, struct sim_result *result,
                         struct summary *summary)
{
    run_spec("depth=2,job_us=10000000;rate=200,job_us=1000", options, result, summary);
    bench_figure("wait p99 beside a VM with jobs of 10 s, equal weights", "ms",
                 (double)result->vms[1].wait_p99_ns / NS_PER_MS);
    bench_figure("  longest wait", "ms", (double)result->vms[1].wait_max_ns / NS_PER_MS);
}

int main(int argc, char **argv)
{
    static struct sim_result result; /* large */
    struct bench_options options;
    struct summary summary = {0};
    int status = bench_parse(&options, "bench_fairness", help, argc, argv);

    if (status >= 0) {
        return status;
    }
    random_mixes(&options, &result, &summary);
    one_in_flight(&options, &result, &summary);
    endless_jobs(&options, &result, &summary);
    bench_figure_at_most("violated invariants", "", (double)summary.violations, 0);
    bench_print(&options, "fairness");
    return summary.violations > 0;
}
