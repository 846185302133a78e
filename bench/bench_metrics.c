/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What counting costs, and what looking costs the others.
 *
 * Recording is timed for one VM, whose memory stays in the caches, and for a
 * thousand in turn, which is what a busy host does.  An export of a thousand
 * busy VMs is made step by step as the HTTP server does it; between two steps
 * the event loop serves everybody else, so the longest step is what a scrape
 * can delay a dispatch by.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "common/clock.h"
#include "core/metrics/metrics_export.h"
#include "core/no_effects.h"

#define VMS 1000u
#define STEPS_MAX 4096u
#define NOW 100000000000ull

static struct core *make_core(void)
{
    struct core_vm_config *vms = bench_must(calloc(VMS, sizeof(*vms)));
    struct core_apply_result *result = bench_must(malloc(sizeof(*result)));
    struct core_config config;
    struct core *core;

    core_config_defaults(&config);
    core = bench_must(core_new(&config, &no_effects));
    core_gpu_add(core, "GPU-0");
    core_pool_set_gpus(core, 'A', 1, NOW);
    for (uint32_t i = 0; i < VMS; i++) {
        vms[i] = (struct core_vm_config){.vm_id = i + 1, .pool = 'A', .priority = 1, .weight = 50};
        snprintf(vms[i].name, sizeof(vms[i].name), "production-web-%04u", i);
    }
    if (core_apply_vms(core, vms, VMS, NOW, result, NULL) < 0) {
        fprintf(stderr, "bench_metrics: the core refused its VMs\n");
        exit(1);
    }
    free(result);
    free(vms);
    return core;
}

/* Times from 10 us to a second, as they come. */
static void make_jobs(struct metrics_job *jobs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t gpu_ns = 10000 + (bench_random() % 1000) * (1000ull << (bench_random() % 10));
        uint64_t queue_ns = bench_random() % (gpu_ns * 3);

        jobs[i] = (struct metrics_job){
            .accepted_ns = NOW - queue_ns - gpu_ns - 30000,
            .turn_ns = NOW - gpu_ns - 30000,
            .ended_ns = NOW,
            .gpu_ns = gpu_ns,
            .charged_ns = gpu_ns,
        };
    }
}

/* ns for one job, median of runs of 1000. */
static double recording(struct metrics *metrics, const struct metrics_job *jobs, uint32_t vms,
                        uint32_t runs)
{
    double *samples = bench_must(calloc(runs, sizeof(*samples))), median;
    uint32_t at = 0;

    for (uint32_t run = 0; run < runs; run++) {
        uint64_t start_ns = clock_now_ns();

        for (uint32_t i = 0; i < 1000; i++) {
            metrics_record_job(metrics, at++ % vms, 0, &jobs[i]);
        }
        samples[run] = (double)(clock_now_ns() - start_ns) / 1000;
    }
    median = bench_quantile(samples, runs, 0.5);
    free(samples);
    return median;
}

struct export_figures {
    double begin_us, longest_us, p99_us, total_ms, megabytes;
};

static struct export_figures export_once(const struct core *core, enum metrics_format format)
{
    static char buffer[METRICS_EXPORT_STEP_BYTES];
    static double steps[STEPS_MAX];
    struct metrics_external external;
    struct metrics_export *export;
    struct export_figures figures = {0};
    uint64_t start_ns;
    size_t bytes, count = 0;

    metrics_external_init(&external);
    start_ns = clock_now_ns();
    export = bench_must(metrics_export_begin(core, format, &external, NOW));
    figures.begin_us = (double)(clock_now_ns() - start_ns) / 1e3;
    figures.total_ms = figures.begin_us / 1e3;
    do {
        start_ns = clock_now_ns();
        bytes = metrics_export_step(export, buffer, sizeof(buffer));
        steps[count] = (double)(clock_now_ns() - start_ns) / 1e3;
        figures.total_ms += steps[count] / 1e3;
        figures.megabytes += (double)bytes / 1e6;
        count += count < STEPS_MAX - 1;
    } while (bytes > 0);
    metrics_export_end(export);
    figures.longest_us = bench_quantile(steps, count, 1);
    figures.p99_us = bench_quantile(steps, count, 0.99);
    return figures;
}

/* The run with the least disturbance of each kind. */
static struct export_figures export_best(const struct core *core, enum metrics_format format,
                                         uint32_t runs)
{
    struct export_figures best = export_once(core, format);

    for (uint32_t run = 1; run < runs; run++) {
        struct export_figures next = export_once(core, format);

        best.begin_us = next.begin_us < best.begin_us ? next.begin_us : best.begin_us;
        best.longest_us = next.longest_us < best.longest_us ? next.longest_us : best.longest_us;
        best.p99_us = next.p99_us < best.p99_us ? next.p99_us : best.p99_us;
        best.total_ms = next.total_ms < best.total_ms ? next.total_ms : best.total_ms;
    }
    return best;
}

static double quantiles(struct metrics *metrics, uint32_t runs)
{
    double *samples = bench_must(calloc(runs, sizeof(*samples))), median;
    struct metrics_quantiles out;

    for (uint32_t run = 0; run < runs; run++) {
        uint64_t start_ns = clock_now_ns();

        metrics_quantiles_of(metrics, run % VMS, METRICS_TOTAL, &out);
        BENCH_KEEP(out.p99_ns);
        samples[run] = (double)(clock_now_ns() - start_ns) / 1e3;
    }
    median = bench_quantile(samples, runs, 0.5);
    free(samples);
    return median;
}

int main(int argc, char **argv)
{
    struct metrics_job jobs[1000];
    struct bench_options options;
    struct export_figures text, summary;
    struct metrics *metrics;
    struct core *core;
    uint32_t runs;
    int ret = bench_parse(&options, "bench_metrics",
                          "What recording a job costs, and what a scrape costs the dispatch.", argc,
                          argv);

    if (ret >= 0) {
        return ret;
    }
    runs = options.quick ? 500 : 5000;
    core = make_core();
    metrics = core_metrics(core);
    make_jobs(jobs, 1000);
    recording(metrics, jobs, VMS, 4200); /* fills the windows */

    bench_figure_at_most("record one job, one VM", "ns", recording(metrics, jobs, 1, runs), 100);
    bench_figure_at_most("record one job, 1,000 VMs in turn", "ns",
                         recording(metrics, jobs, VMS, runs), 100);
    bench_figure("exact p50, p95, p99 of one part of one VM", "us", quantiles(metrics, runs));
    text = export_best(core, METRICS_FORMAT_PROMETHEUS, 5);
    summary = export_best(core, METRICS_FORMAT_SUMMARY, 3);
    bench_figure("scrape of 1,000 busy VMs: size", "MB", text.megabytes);
    bench_figure("scrape of 1,000 busy VMs: all steps", "ms", text.total_ms);
    bench_figure_at_most("scrape of 1,000 busy VMs: snapshot", "us", text.begin_us, 1000);
    bench_figure_at_most("scrape of 1,000 busy VMs: longest step", "us", text.longest_us, 1000);
    bench_figure("scrape of 1,000 busy VMs: p99 of the steps", "us", text.p99_us);
    bench_figure("summary of 1,000 busy VMs: all steps", "ms", summary.total_ms);
    bench_figure_at_most("summary of 1,000 busy VMs: longest step", "us", summary.longest_us, 2000);
    bench_print(&options, "bench_metrics");
    core_free(core);
    return 0;
}
