/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is the promise of shares kept, over thousands of random mixes?
 *
 * Two sets: "notes", 300 mixes that earlier schedulers were compared by, and
 * "random", as many as one wants of all kinds that the attacker knows, each
 * simulated for 33 seconds and judged as `vgpu-sim --judge` does.  A line for
 * each mix goes to a file; what is there already is not done again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/notes_mixes.h"
#include "common/args.h"
#include "common/clock.h"
#include "common/names.h"
#include "common/ns.h"
#include "sim/attack.h"

#define MIXES_MAX 1000000u
#define LINE_BYTES 256u
#define SPEC_BYTES 4096u
#define JOBS_MAX 256u
#define SECONDS_MAX 1000000u
#define PROGRESS_S 30

struct options {
    bool notes, summary, json;
    uint32_t first, mixes, jobs, seconds, print;
    uint64_t end_ns; /* by the clock; 0 = none */
    const char *out;
    enum wfq_policy_id policy;
    const char *print_text; /* NULL: judge, don't print */
};

/* What is kept of a mix. */
struct line {
    uint32_t index, vms, below_10, below_30;
    double worst, plain, busy, kept;
    uint32_t violations;
};

static const char *set_name(const struct options *options)
{
    return options->notes ? "notes" : "random";
}

static void configure(const struct options *options, uint32_t index, struct sim_config *config)
{
    struct rng rng = rng_stream(index, 7000);
    char spec[SPEC_BYTES], error[256];

    sim_config_defaults(config);
    config->log = NULL;
    config->duration_ns = 33 * NS_PER_S;
    config->core.scheduler.policy = options->policy;
    if (options->notes) {
        notes_mix(index, spec, sizeof(spec));
        if (sim_spec_parse(spec, config, error, sizeof(error)) < 0) {
            fprintf(stderr, "bench_promise: %s: %s\n", spec, error);
            exit(1);
        }
    } else {
        attack_draw(config, (enum attack_kind)(index % ATTACK_KINDS), &rng);
    }
}

static void sum_up_mix(const struct sim_config *config, const struct sim_result *result,
                       const struct sim_verdict *verdicts, struct line *line)
{
    double all_ns = (double)result->duration_ns * config->gpus;
    uint32_t vm;

    line->vms = result->vm_count;
    line->worst = sim_worst(verdicts, result->vm_count, &vm);
    line->plain = SIM_UNJUDGED;
    line->busy = (double)result->busy_ns / all_ns;
    line->kept = (double)result->anticipated_ns / all_ns;
    line->violations = (uint32_t)result->violations;
    for (uint32_t i = 0; i < result->vm_count; i++) {
        const struct sim_window_verdict *windows = verdicts[i].windows;

        if (!verdicts[i].judged) {
            continue;
        }
        line->below_10 += windows[0].judged && windows[0].ratio < 1;
        line->below_30 += windows[1].judged && windows[1].ratio < 1;
        if (windows[1].judged && windows[1].plain < line->plain) {
            line->plain = windows[1].plain;
        }
    }
}

static void do_mix(const struct options *options, uint32_t index, int out)
{
    static struct sim_config config;
    static struct sim_result result;
    static struct sim_verdict verdicts[SIM_VMS_MAX];
    struct sim_promise promise;
    struct line line = {.index = index};
    char text[LINE_BYTES];
    int length;

    configure(options, index, &config);
    sim_promise_defaults(&promise);
    if (sim_judge(&config, &promise, &result, verdicts) < 0) {
        fprintf(stderr, "bench_promise: mix %u can't be simulated\n", index);
        exit(1);
    }
    sum_up_mix(&config, &result, verdicts, &line);
    length =
        snprintf(text, sizeof(text),
                 "%s %u vms %u below10 %u below30 %u worst %.4f plain %.4f busy %.5f kept %.5f "
                 "violations %u\n",
                 set_name(options), index, line.vms, line.below_10, line.below_30, line.worst,
                 line.plain, line.busy, line.kept, line.violations);
    if (write(out, text, (size_t)length) != length) {
        fprintf(stderr, "bench_promise: %s: %s\n", options->out, strerror(errno));
        exit(1);
    }
}

/* ---- what is there ---- */

static bool read_line(const struct options *options, FILE *file, struct line *line)
{
    char text[LINE_BYTES], set[16];

    while (fgets(text, sizeof(text), file)) {
        if (sscanf(text,
                   "%15s %u vms %u below10 %u below30 %u worst %lf plain %lf busy %lf kept %lf "
                   "violations %u",
                   set, &line->index, &line->vms, &line->below_10, &line->below_30, &line->worst,
                   &line->plain, &line->busy, &line->kept, &line->violations) == 10 &&
            strcmp(set, set_name(options)) == 0 && line->index >= options->first &&
            line->index - options->first < options->mixes) {
            return true;
        }
    }
    return false;
}

static void mark_done(const struct options *options, uint8_t *done)
{
    FILE *file = fopen(options->out, "r");
    struct line line;

    while (file && read_line(options, file, &line)) {
        done[line.index - options->first] = 1;
    }
    if (file) {
        fclose(file);
    }
}

struct sum {
    uint32_t mixes, vms, below_10, below_30, broken, unfair, violated;
    struct line worst, plain; /* the mixes with the least of each */
    double busy, kept;
};

static bool sum_up(const struct options *options, struct sum *sum)
{
    FILE *file = fopen(options->out, "r");
    struct line line;

    /* cppcheck-suppress unknownEvaluationOrder; these are designators */
    *sum = (struct sum){.worst = {.worst = SIM_UNJUDGED + 1}, .plain = {.plain = SIM_UNJUDGED + 1}};
    while (file && read_line(options, file, &line)) {
        sum->mixes++;
        sum->vms += line.vms;
        sum->below_10 += line.below_10;
        sum->below_30 += line.below_30;
        sum->broken += line.worst < 1;
        sum->unfair += line.plain < 0.9;
        sum->violated += line.violations > 0;
        sum->busy += line.busy;
        sum->kept += line.kept;
        sum->worst = line.worst < sum->worst.worst ? line : sum->worst;
        sum->plain = line.plain < sum->plain.plain ? line : sum->plain;
    }
    if (file) {
        fclose(file);
    }
    return sum->mixes > 0;
}

static void print_sum_json(const struct options *options, const struct sum *sum)
{
    struct sim_promise promise;

    sim_promise_defaults(&promise);
    printf("{\"set\": \"%s\", \"first\": %u, \"mixes\": %u, \"vms\": %u, \"seconds\": 33, "
           "\"slack\": %.3f, \"lost\": %.3f,\n"
           " \"vms_below_10s\": %u, \"vms_below_30s\": %u, \"mixes_below\": %u,\n"
           " \"worst\": {\"ratio\": %.4f, \"mix\": %u},\n"
           " \"plain\": {\"mixes_below_0.9\": %u, \"worst\": %.4f, \"mix\": %u},\n"
           " \"busy\": %.4f, \"kept\": %.4f, \"mixes_violated\": %u}\n",
           set_name(options), options->first, sum->mixes, sum->vms, promise.slack, promise.lost,
           sum->below_10, sum->below_30, sum->broken, sum->worst.worst, sum->worst.index,
           sum->unfair, sum->plain.plain, sum->plain.index, sum->busy / sum->mixes,
           sum->kept / sum->mixes, sum->violated);
}

static void summary(const struct options *options)
{
    struct sum sum;

    if (!sum_up(options, &sum)) {
        printf("%s: no mixes in %s\n", set_name(options), options->out);
    } else if (options->json) {
        print_sum_json(options, &sum);
    } else {
        printf("%s: %u mixes, %u VMs\n"
               "VMs below the promise over 10 s: %u, over 30 s: %u; mixes with one, or with a "
               "wait: %u\n"
               "worst ratio %.4f (mix %u)\n"
               "mixes with a VM below 0.9 of plain s x d over 30 s: %u, worst %.4f (mix %u)\n"
               "GPU busy, mean %.2f %%; kept idle for somebody %.2f %%\n"
               "mixes with violated invariants: %u\n",
               set_name(options), sum.mixes, sum.vms, sum.below_10, sum.below_30, sum.broken,
               sum.worst.worst, sum.worst.index, sum.unfair, sum.plain.plain, sum.plain.index,
               100 * sum.busy / sum.mixes, 100 * sum.kept / sum.mixes, sum.violated);
    }
}

/* ---- all of them ---- */

static int work(const struct options *options, const uint8_t *done, uint32_t part)
{
    int out = open(options->out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (out < 0) {
        fprintf(stderr, "bench_promise: %s: %s\n", options->out, strerror(errno));
        return 1;
    }
    for (uint32_t i = part; i < options->mixes; i += options->jobs) {
        if (options->end_ns != 0 && clock_now_ns() >= options->end_ns) {
            break;
        }
        if (!done[i]) {
            do_mix(options, options->first + i, out);
        }
    }
    close(out);
    return 0;
}

/* So many mixes are in the file. */
static uint32_t count_done(const struct options *options)
{
    FILE *file = fopen(options->out, "r");
    struct line line;
    uint32_t count = 0;

    while (file && read_line(options, file, &line)) {
        count++;
    }
    if (file) {
        fclose(file);
    }
    return count;
}

/* Waits for the workers, and says now and then how far they are.  Returns how many failed. */
static int watch(const struct options *options)
{
    const struct timespec second = {.tv_sec = 1};
    uint32_t seconds = 0;
    int failed = 0, status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
        if (pid > 0) {
            failed += status != 0;
            continue;
        }
        nanosleep(&second, NULL);
        if (++seconds % PROGRESS_S == 0) {
            fprintf(stderr, "bench_promise: %u of %u mixes\n", count_done(options), options->mixes);
        }
    }
    return failed;
}

static int run_all(const struct options *options)
{
    uint8_t *done = calloc(options->mixes, 1);
    int failed = 0;

    if (!done) {
        fprintf(stderr, "bench_promise: out of memory\n");
        return 1;
    }
    mark_done(options, done);
    for (uint32_t part = 0; part < options->jobs; part++) {
        pid_t pid = fork();

        if (pid == 0) {
            _exit(work(options, done, part));
        }
        failed += pid < 0;
    }
    failed += watch(options);
    free(done);
    return failed > 0;
}

#define NUMBER(field, most) ARGS_NUMBER(struct options, field, 0, most, 1)
#define FLAG(field) ARGS_FLAG(struct options, field)

static const struct args_option rows[] = {
    {"notes", NULL, "the 300 mixes by which earlier schedulers were compared", FLAG(notes)},
    {"first", "N", "begin with mix N ({default})", NUMBER(first, MIXES_MAX)},
    {"mixes", "N", "so many random mixes of all kinds of attack ({default})",
     NUMBER(mixes, MIXES_MAX)},
    {"jobs", "N", "at a time ({default})", NUMBER(jobs, JOBS_MAX)},
    {"seconds", "S", "begin no mix after so many, by the clock (no limit)",
     NUMBER(seconds, SECONDS_MAX)},
    {"out", "FILE", "a line for each mix; one that is there is not done again ({default})",
     ARGS_TEXT(struct options, out)},
    {"summary", NULL, "only sum up what is in FILE", FLAG(summary)},
    {"json", NULL, "the sum as JSON; progress goes to stderr", FLAG(json)},
    {"policy", "NAME", "of the scheduler ({default})",
     ARGS_CHOICE(struct options, policy, policy_names)},
    {"print", "INDEX", "the mix as vgpu-sim's options", NUMBER(print, MIXES_MAX),
     .text = offsetof(struct options, print_text)},
};

static const struct args_program program = {
    .name = "bench_promise",
    .intro = "Usage: bench_promise [OPTION]...\n"
             "\n"
             "Judges random mixes (see vgpu-sim --judge) and says how many VMs are below the "
             "promise.\n"
             "\n",
    .outro = "\n"
             "Exit status: 0 done, 1 a mix could not be simulated, 2 usage.\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

static void parse(struct options *options, int argc, char **argv)
{
    int status = args_parse(&program, argc, argv, options, NULL);

    if (status >= 0) {
        exit(status);
    }
    if (options->notes && options->first + options->mixes > NOTES_MIXES) {
        options->first = options->first < NOTES_MIXES ? options->first : NOTES_MIXES;
        options->mixes = NOTES_MIXES - options->first;
    }
    if (options->seconds > 0) {
        options->end_ns = clock_now_ns() + options->seconds * NS_PER_S;
    }
    options->jobs = options->jobs ? options->jobs : 1;
}

int main(int argc, char **argv)
{
    struct options options = {.mixes = 10000, .jobs = 1, .out = "promise.txt"};
    static struct sim_config config;
    int failed = 0;

    parse(&options, argc, argv);
    if (options.print_text) {
        configure(&options, options.print, &config);
        printf("vgpu-sim --judge --seconds 33 --seed %llu --gpus %u --pools %u --vms '",
               (unsigned long long)config.seed, config.gpus, config.pools);
        sim_spec_print(&config, stdout);
        puts("'");
        return 0;
    }
    if (!options.summary) {
        failed = run_all(&options);
    }
    summary(&options);
    return failed;
}
