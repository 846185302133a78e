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
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/notes_mixes.h"
#include "common/ns.h"
#include "common/parse.h"
#include "sim/attack.h"

#define MIXES_MAX 1000000u
#define LINE_BYTES 256u
#define SPEC_BYTES 4096u
#define JOBS_MAX 256u

static const char help[] =
    "Usage: bench_promise [OPTION]...\n"
    "\n"
    "Judges random mixes (see vgpu-sim --judge) and says how many VMs are below the promise.\n"
    "\n"
    "  --notes         the 300 mixes by which earlier schedulers were compared\n"
    "  --mixes N       that many random mixes of all kinds of attack (10000)\n"
    "  --jobs N        at a time (1)\n"
    "  --out FILE      a line for each mix; one that is there is not done again (promise.txt)\n"
    "  --summary       only sum up what is in FILE\n"
    "  --policy NAME   of the scheduler (wfq)\n"
    "  --print INDEX   the mix as vgpu-sim's options\n"
    "  --help\n"
    "\n"
    "Exit status: 0 done, 1 a mix could not be simulated, 2 usage.\n";

struct options {
    bool notes, summary;
    uint32_t mixes, jobs;
    const char *out;
    enum wfq_policy_id policy;
    long print;
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
            strcmp(set, set_name(options)) == 0 && line->index < options->mixes) {
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
        done[line.index] = 1;
    }
    if (file) {
        fclose(file);
    }
}

static void summary(const struct options *options)
{
    FILE *file = fopen(options->out, "r");
    struct line line, worst = {.worst = SIM_UNJUDGED + 1}, plain = {.plain = SIM_UNJUDGED + 1};
    uint32_t mixes = 0, vms = 0, below_10 = 0, below_30 = 0, broken = 0, unfair = 0, violated = 0;
    double busy = 0, kept = 0;

    while (file && read_line(options, file, &line)) {
        mixes++;
        vms += line.vms;
        below_10 += line.below_10;
        below_30 += line.below_30;
        broken += line.worst < 1;
        unfair += line.plain < 0.9;
        violated += line.violations > 0;
        busy += line.busy;
        kept += line.kept;
        worst = line.worst < worst.worst ? line : worst;
        plain = line.plain < plain.plain ? line : plain;
    }
    if (file) {
        fclose(file);
    }
    if (mixes == 0) {
        printf("%s: no mixes in %s\n", set_name(options), options->out);
        return;
    }
    printf(
        "%s: %u mixes, %u VMs\n"
        "VMs below the promise over 10 s: %u, over 30 s: %u; mixes with one, or with a wait: %u\n"
        "worst ratio %.4f (mix %u)\n"
        "mixes with a VM below 0.9 of plain s x d over 30 s: %u, worst %.4f (mix %u)\n"
        "GPU busy, mean %.2f %%; kept idle for somebody %.2f %%\n"
        "mixes with violated invariants: %u\n",
        set_name(options), mixes, vms, below_10, below_30, broken, worst.worst, worst.index, unfair,
        plain.plain, plain.index, 100 * busy / mixes, 100 * kept / mixes, violated);
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
        if (!done[i]) {
            do_mix(options, i, out);
        }
    }
    close(out);
    return 0;
}

static int run_all(const struct options *options)
{
    uint8_t *done = calloc(options->mixes, 1);
    int failed = 0, status;

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
    while (wait(&status) > 0) {
        failed += status != 0;
    }
    free(done);
    return failed > 0;
}

static uint32_t number(const char *text, uint32_t most)
{
    uint32_t value;

    if (!parse_u32(text, 0, most, &value)) {
        fprintf(stderr, "bench_promise: %s: must be a number up to %u\n", text, most);
        exit(2);
    }
    return value;
}

static void parse(struct options *options, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"notes", no_argument, NULL, 'n'},
        {"mixes", required_argument, NULL, 'm'},
        {"jobs", required_argument, NULL, 'j'},
        {"out", required_argument, NULL, 'o'},
        {"summary", no_argument, NULL, 's'},
        {"policy", required_argument, NULL, 'p'},
        {"print", required_argument, NULL, 'P'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int id, policy;

    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (id) {
        case 'n': options->notes = true; break;
        case 'm': options->mixes = number(optarg, MIXES_MAX); break;
        case 'j': options->jobs = number(optarg, JOBS_MAX); break;
        case 'o': options->out = optarg; break;
        case 's': options->summary = true; break;
        case 'P': options->print = number(optarg, MIXES_MAX); break;
        case 'p':
            policy = wfq_policy_from_name(optarg);
            if (policy < 0) {
                fprintf(stderr, "bench_promise: --policy %s: there is no such policy\n", optarg);
                exit(2);
            }
            options->policy = (enum wfq_policy_id)policy;
            break;
        case 'h': fputs(help, stdout); exit(0);
        default: fprintf(stderr, "Try 'bench_promise --help'.\n"); exit(2);
        }
    }
    if (options->notes && options->mixes > NOTES_MIXES) {
        options->mixes = NOTES_MIXES;
    }
    options->jobs = options->jobs ? options->jobs : 1;
}

int main(int argc, char **argv)
{
    struct options options = {.mixes = 10000, .jobs = 1, .out = "promise.txt", .print = -1};
    static struct sim_config config;
    int failed = 0;

    parse(&options, argc, argv);
    if (options.print >= 0) {
        configure(&options, (uint32_t)options.print, &config);
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
