/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a VM that floods the mediator does to one that behaves.  Simulated.
 *
 * Two VMs of equal weight.  The well-behaved one sends requests at Poisson
 * times that keep the GPU busy for 25 % of the time.  The other one has a rate
 * limit that lets it use another 40 %; it sends at exactly that rate in the
 * first run, and ten times as much in the second.  What is compared is the
 * 99th percentile of the time that the well-behaved VM's jobs wait for the GPU.
 * It may move by the length of one of its own jobs and 5 %.  For several job
 * lengths of the two.
 *
 * The rate limiter cuts a flood down to the same number of jobs; what remains
 * is that the flood's jobs come as soon as there is a token, in a steady stream
 * behind a full bucket, instead of when they like.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "common/ns.h"
#include "sim/sim.h"

static const char help[] = "Simulates a VM that sends ten times its rate limit, and what that\n"
                           "does to how long the jobs of a well-behaved VM wait.\n";

static const struct {
    uint32_t good_us, flood_us; /* job lengths */
} cases[] = {
    {1000, 1000}, {1000, 100}, {1000, 10000}, {200, 200}, {5000, 1000}, {10000, 10000},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static struct sim_result result; /* large */
static uint64_t violations;

static double wait_p99_us(size_t i, double factor, const struct bench_options *options)
{
    struct sim_config config;
    struct sim_group *good = &config.groups[0], *flood = &config.groups[1];

    sim_config_defaults(&config);
    /* Not less: the workers' start, at which all wait, must stay out of the last 1 %. */
    config.duration_ns = options->quick ? 60 * NS_PER_S : 200 * NS_PER_S;
    config.group_count = 2;
    sim_group_defaults(good);
    good->rate_hz = 0.25e6 / cases[i].good_us;
    good->job.lo_us = good->job.hi_us = cases[i].good_us;
    sim_group_defaults(flood);
    flood->limit_hz = (uint32_t)(0.4e6 / cases[i].flood_us);
    flood->rate_hz = factor * flood->limit_hz;
    flood->job.lo_us = flood->job.hi_us = cases[i].flood_us;
    if (sim_run(&config, &result) < 0) {
        fprintf(stderr, "bench_flood: a simulation does not start\n");
        exit(1);
    }
    violations += result.violations;
    return (double)result.vms[0].wait_p99_ns / 1e3;
}

int main(int argc, char **argv)
{
    static char names[3 * CASES][80];
    struct bench_options options;
    int status = bench_parse(&options, "bench_flood", help, argc, argv);

    if (status >= 0) {
        return status;
    }
    for (size_t i = 0; i < CASES; i++) {
        double calm_us = wait_p99_us(i, 1, &options), flood_us = wait_p99_us(i, 10, &options);

        snprintf(names[3 * i], sizeof(names[0]), "jobs of %u us beside %u us: wait p99, no flood",
                 cases[i].good_us, cases[i].flood_us);
        snprintf(names[3 * i + 1], sizeof(names[0]), "  wait p99, flood");
        snprintf(names[3 * i + 2], sizeof(names[0]), "  moved by");
        bench_figure(names[3 * i], "us", calm_us);
        bench_figure(names[3 * i + 1], "us", flood_us);
        bench_figure_at_most(names[3 * i + 2], "us", flood_us - calm_us,
                             cases[i].good_us + 0.05 * calm_us);
    }
    bench_figure_at_most("violated invariants", "", (double)violations, 0);
    bench_print(&options, "flood");
    return violations > 0;
}
