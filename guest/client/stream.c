/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Many jobs: every result checked, progress each second, a summary at the end. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "common/clock.h"
#include "common/histogram.h"

#define WARM_UP_JOBS 20u
#define PROGRESS_NS NS_PER_S
#define PAUSE_AFTER_ERROR_NS (100 * NS_PER_MS)
#define MISTAKES_SHOWN 5u

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

struct stream {
    const struct client_options *options;
    struct vgpu *v;
    uint64_t random;
    uint64_t jobs; /* answered, right or wrong */
    uint64_t wrong;
    uint64_t errors; /* not answered with a result */
    uint64_t start_ns;
    uint64_t stop_ns; /* 0: no limit */
    uint64_t progress_ns;
    uint64_t progress_jobs;
    uint32_t last_code;
    uint32_t failing_code; /* of the failures since the last answer; 0: none */
    int last_status;
    struct vgpu_stats stats_before;
    struct histogram all;
    struct histogram recent; /* since the last progress line */
};

static double us(uint64_t ns)
{
    return (double)ns / 1e3;
}

/* The first job takes the operands of the command line, the others make their own. */
static void prepare(struct stream *s, struct client_job *job)
{
    uint64_t r = client_random(&s->random);
    bool given = s->options->have_operands && s->jobs + s->errors == 0;

    job->op = s->options->op;
    job->a = given ? s->options->a : (uint32_t)r;
    job->b = given ? s->options->b : (uint32_t)(r >> 32);
    job->elements = s->options->elements;
    job->spin_us = s->options->spin_us;
}

static void print_progress(struct stream *s, uint64_t now_ns)
{
    struct vgpu_stats stats;
    double seconds = (double)(now_ns - s->progress_ns) / NS_PER_S;
    double rate = (double)(s->jobs - s->progress_jobs) / seconds;

    vgpu_get_stats(s->v, &stats);
    stats.retries -= s->stats_before.retries;
    if (s->options->json) {
        printf("{\"event\":\"progress\",\"t_s\":%.1f,\"jobs\":%" PRIu64 ",\"wrong\":%" PRIu64
               ",\"errors\":%" PRIu64 ",\"retries\":%" PRIu64 ",\"jobs_per_s\":%.1f,"
               "\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
               (double)(now_ns - s->start_ns) / NS_PER_S, s->jobs, s->wrong, s->errors,
               stats.retries, rate, us(histogram_quantile_ns(&s->recent, 0.5)),
               us(histogram_quantile_ns(&s->recent, 0.99)));
    } else {
        printf("%6.1f s  %" PRIu64 " jobs  %.0f/s  %" PRIu64 " wrong  %" PRIu64 " errors  %" PRIu64
               " retries  p50 %.1f us  p99 %.1f us\n",
               (double)(now_ns - s->start_ns) / NS_PER_S, s->jobs, rate, s->wrong, s->errors,
               stats.retries, us(histogram_quantile_ns(&s->recent, 0.5)),
               us(histogram_quantile_ns(&s->recent, 0.99)));
    }
    fflush(stdout);
    histogram_reset(&s->recent);
    s->progress_jobs = s->jobs;
    s->progress_ns = now_ns;
}

static void print_summary(struct stream *s, uint64_t end_ns, int status)
{
    double seconds = (double)(end_ns - s->start_ns) / NS_PER_S;
    double asked = s->jobs + s->errors ? (double)(s->jobs + s->errors) : 1;
    double rate = seconds > 0 ? (double)s->jobs / seconds : 0;
    const struct vgpu_stats *before = &s->stats_before;
    struct vgpu_stats after;
    double writes, reads, polls;

    vgpu_get_stats(s->v, &after);
    writes = (double)(after.mmio_writes - before->mmio_writes) / asked;
    reads = (double)(after.mmio_reads - before->mmio_reads) / asked;
    polls = (double)(after.status_polls - before->status_polls) / asked;
    if (s->options->json) {
        printf("{\"event\":\"summary\",\"op\":\"%s\",\"device\":", s->options->op->name);
        client_print_json_string(vgpu_describe(s->v));
        printf(",\"jobs\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"errors\":%" PRIu64
               ",\"retries\":%" PRIu64 ",\"reconnects\":%" PRIu64,
               s->jobs, s->wrong, s->errors, after.retries - before->retries,
               after.reconnects - before->reconnects);
        printf(",\"seconds\":%.3f,\"jobs_per_s\":%.1f,\"min_us\":%.1f,\"mean_us\":%.1f,"
               "\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f",
               seconds, rate, us(s->all.min_ns), histogram_mean_ns(&s->all) / 1e3,
               us(histogram_quantile_ns(&s->all, 0.5)), us(histogram_quantile_ns(&s->all, 0.95)),
               us(histogram_quantile_ns(&s->all, 0.99)), us(s->all.max_ns));
        if (after.mmio_writes) {
            printf(",\"mmio_writes_per_job\":%.2f,\"mmio_reads_per_job\":%.2f,"
                   "\"status_polls_per_job\":%.2f",
                   writes, reads, polls);
        }
        printf(",\"last_error\":\"%s\",\"exit\":%d}\n", vgpu_error_name(s->last_code), status);
        return;
    }
    printf("%" PRIu64 " jobs (%s) in %.3f s, %.1f jobs/s: %" PRIu64 " wrong, %" PRIu64
           " errors, %" PRIu64 " retries\n",
           s->jobs, s->options->op->name, seconds, rate, s->wrong, s->errors,
           after.retries - before->retries);
    printf("latency in us: min %.1f  p50 %.1f  p95 %.1f  p99 %.1f  max %.1f\n", us(s->all.min_ns),
           us(histogram_quantile_ns(&s->all, 0.5)), us(histogram_quantile_ns(&s->all, 0.95)),
           us(histogram_quantile_ns(&s->all, 0.99)), us(s->all.max_ns));
    if (after.mmio_writes) {
        printf("device accesses per job: %.2f writes, %.2f reads (%.2f of them STATUS)\n", writes,
               reads, polls);
    }
}

/* After a failed job: say so, and tell whether the run goes on. */
static bool survive_error(struct stream *s, int result)
{
    const struct timespec pause = {.tv_nsec = PAUSE_AFTER_ERROR_NS};
    uint32_t code = vgpu_error_code(s->v);

    s->errors++;
    s->last_status = client_exit_status(s->v, result);
    /* A line per series of equal errors: a restarted mediator must not flood a console. */
    if (code != s->failing_code) {
        client_report_error(s->options, code, vgpu_last_error(s->v), s->last_status);
        fflush(stdout);
    }
    s->last_code = s->failing_code = code;
    if (!s->options->keep_going || result == VGPU_QUARANTINED || code == VGPU_ERR_NO_DEVICE ||
        code == VGPU_ERR_ARGUMENT) {
        return false;
    }
    nanosleep(&pause, NULL);
    return true;
}

static void count_job(struct stream *s, const struct client_job *job, uint64_t latency_ns)
{
    s->jobs++;
    s->failing_code = VGPU_ERR_NONE;
    histogram_add(&s->all, latency_ns);
    histogram_add(&s->recent, latency_ns);
    if (!job->wrong) {
        return;
    }
    s->wrong++;
    if (s->wrong <= MISTAKES_SHOWN) {
        fprintf(stderr, "vgpu-client: wrong result from %s: %s\n", vgpu_describe(s->v),
                job->mistake);
    }
}

static void run_jobs(struct stream *s)
{
    struct client_job job;
    uint64_t begin_ns = clock_now_ns(), end_ns;
    int result;

    memset(&job, 0, sizeof(job));
    while (!interrupted && (!s->options->count || s->jobs + s->errors < s->options->count) &&
           (!s->stop_ns || begin_ns < s->stop_ns)) {
        prepare(s, &job);
        begin_ns = clock_now_ns();
        result = job_run(s->v, &job, &s->random);
        end_ns = clock_now_ns();
        if (result == VGPU_OK) {
            count_job(s, &job, end_ns - begin_ns);
        } else if (!survive_error(s, result)) {
            return;
        } else {
            end_ns = clock_now_ns();
        }
        if (s->options->progress && end_ns - s->progress_ns >= PROGRESS_NS) {
            print_progress(s, end_ns);
        }
        begin_ns = end_ns;
    }
}

static void warm_up(struct stream *s)
{
    struct client_job job;
    unsigned i;

    memset(&job, 0, sizeof(job));
    for (i = 0; i < WARM_UP_JOBS && !interrupted; i++) {
        prepare(s, &job);
        /* What fails here fails again when it counts. */
        if (job_run(s->v, &job, &s->random) != VGPU_OK) {
            return;
        }
    }
}

int client_run_stream(struct vgpu *v, const struct client_options *options)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    struct stream *s = calloc(1, sizeof(*s));
    uint64_t end_ns;
    int status;

    if (!s) {
        return client_report_error(options, VGPU_ERR_SYSTEM, "out of memory", EXIT_FAILED);
    }
    /* The first signal ends the run with its summary, the second ends the program. */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    s->options = options;
    s->v = v;
    s->random = clock_now_ns() ^ ((uint64_t)getpid() << 32);
    if (options->bench) {
        warm_up(s);
    }
    vgpu_get_stats(v, &s->stats_before);
    s->start_ns = s->progress_ns = clock_now_ns();
    s->stop_ns = options->seconds_ns ? s->start_ns + options->seconds_ns : 0;
    run_jobs(s);
    end_ns = clock_now_ns();

    if (s->wrong) {
        status = EXIT_FAILED;
    } else if (s->errors &&
               (!options->keep_going || !s->jobs || s->last_status == EXIT_QUARANTINED)) {
        status = s->last_status;
    } else {
        status = EXIT_OK;
    }
    print_summary(s, end_ns, status);
    free(s);
    return status;
}
