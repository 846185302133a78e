/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The attacker: searches for workloads that break the promise of shares.
 *
 * For each kind of attack it draws mixes at random, goes on from the worst one
 * by hill climbing on the judge's worst ratio, and begins anew when nothing
 * gets worse any more.  The kinds take turns.  Everything follows from the seed:
 * the time budget only says how far it comes.
 *
 * The corpus is a folder with a file KIND.attack for each kind.  What is there
 * is tried first; with --write it is replaced by what breaks more, by today's
 * scheduler, and by nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/args.h"
#include "common/clock.h"
#include "common/names.h"
#include "common/ns.h"

#include "sim/attack.h"

#define FIRST_DRAWS 6u
#define STALE_MOST 25u
#define SPEC_BYTES 4096u
#define DURATION_NS (14 * NS_PER_S)

struct candidate {
    struct sim_config config;
    double ratio;
    uint64_t violations;
};

/* The search of one kind. */
struct search {
    bool on;
    struct rng rng;
    struct candidate now, worst;
    uint32_t draws, stale, evaluations;
};

struct options {
    double seconds;
    uint64_t evaluations, seed;
    const char *seed_text; /* NULL: by the clock */
    bool write, chosen;
    const char *corpus;
    enum wfq_policy_id policy;
};

static struct search searches[ATTACK_KINDS]; /* large */
static struct sim_result result;
static struct sim_verdict verdicts[SIM_VMS_MAX];

static void __attribute__((noreturn)) die(const char *what, const char *why)
{
    fprintf(stderr, "attack: %s: %s\n", what, why);
    exit(2);
}

/* ---- one mix ---- */

static void defaults(const struct options *options, struct sim_config *config)
{
    sim_config_defaults(config);
    config->core.scheduler.policy = options->policy;
    config->duration_ns = DURATION_NS;
    config->log = NULL;
}

static void spec_of(const struct sim_config *config, char spec[SPEC_BYTES])
{
    FILE *out = fmemopen(spec, SPEC_BYTES, "w");

    if (!out) {
        die("a mix", strerror(errno));
    }
    sim_spec_print(config, out);
    fclose(out);
    spec[SPEC_BYTES - 1] = '\0';
}

/* What is judged is what the printed command says, digits and all. */
static void evaluate(struct candidate *candidate)
{
    struct sim_promise promise;
    char spec[SPEC_BYTES], error[256];
    uint32_t vm;

    spec_of(&candidate->config, spec);
    if (sim_spec_parse(spec, &candidate->config, error, sizeof(error)) < 0) {
        die(spec, error);
    }
    sim_promise_defaults(&promise);
    if (sim_judge(&candidate->config, &promise, &result, verdicts) < 0) {
        die(spec, "can't be simulated");
    }
    candidate->ratio = sim_worst(verdicts, result.vm_count, &vm);
    candidate->violations = result.violations;
}

static void print_command(const struct candidate *candidate, FILE *out)
{
    const struct sim_config *config = &candidate->config;

    fprintf(out, "--seconds %g --seed %llu", (double)config->duration_ns / NS_PER_S,
            (unsigned long long)config->seed);
    if (config->gpus > 1) {
        fprintf(out, " --gpus %u --pools %u", config->gpus, config->pools);
    }
    if (config->core.scheduler.policy != WFQ_POLICY_WFQ) {
        fprintf(out, " --policy %s", wfq_policy_name(config->core.scheduler.policy));
    }
    fprintf(out, " --vms '");
    sim_spec_print(config, out);
    fprintf(out, "'");
}

/* ---- the corpus ---- */

static void corpus_path(const struct options *options, int kind, char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/%s.attack", options->corpus, attack_name((enum attack_kind)kind));
}

/* "NAME VALUE" a line; '#' begins a comment.  What vgpu-sim takes as --NAME. */
static void take_line(struct candidate *candidate, char *line, const char *path)
{
    struct sim_config *config = &candidate->config;
    char *value = strchr(line, ' '), error[256];

    line[strcspn(line, "\n")] = '\0';
    if (line[0] == '#' || line[0] == '\0' || strncmp(line, "ratio ", 6) == 0 ||
        strncmp(line, "violations ", 11) == 0) {
        return;
    }
    if (!value) {
        die(path, "a line without a value");
    }
    *value++ = '\0';
    if (strcmp(line, "seed") == 0) {
        config->seed = strtoull(value, NULL, 10);
    } else if (strcmp(line, "seconds") == 0) {
        config->duration_ns = (uint64_t)(NS_PER_S * strtod(value, NULL));
    } else if (strcmp(line, "gpus") == 0) {
        config->gpus = (uint32_t)strtoul(value, NULL, 10);
    } else if (strcmp(line, "pools") == 0) {
        config->pools = (uint32_t)strtoul(value, NULL, 10);
    } else if (strcmp(line, "vms") != 0) {
        die(path, "a name that isn't known");
    } else if (sim_spec_parse(value, config, error, sizeof(error)) < 0) {
        die(path, error);
    }
}

static bool read_entry(const struct options *options, int kind, struct candidate *candidate)
{
    char path[512], line[SPEC_BYTES];
    FILE *file;

    corpus_path(options, kind, path, sizeof(path));
    file = fopen(path, "r");
    if (!file) {
        return false;
    }
    defaults(options, &candidate->config);
    while (fgets(line, sizeof(line), file)) {
        take_line(candidate, line, path);
    }
    fclose(file);
    return candidate->config.group_count > 0;
}

static void write_entry(const struct options *options, int kind, const struct candidate *candidate)
{
    const struct sim_config *config = &candidate->config;
    char path[512];
    FILE *file;

    corpus_path(options, kind, path, sizeof(path));
    file = fopen(path, "w");
    if (!file) {
        die(path, strerror(errno));
    }
    fprintf(
        file, "# SPDX-License-Identifier: GPL-2.0-or-later\nratio %.4f\nseed %llu\nseconds %g\n",
        candidate->ratio, (unsigned long long)config->seed, (double)config->duration_ns / NS_PER_S);
    fprintf(file, "gpus %u\npools %u\nvms ", config->gpus, config->pools);
    sim_spec_print(config, file);
    fputc('\n', file);
    if (fclose(file) != 0) {
        die(path, strerror(errno));
    }
    printf("  written to %s\n", path);
}

/* ---- the search ---- */

/* One evaluation: a draw, or a step of the climb. */
static void step(const struct options *options, int kind)
{
    struct search *search = &searches[kind];
    static struct candidate next;
    bool draw = search->draws < FIRST_DRAWS;

    if (draw) {
        search->draws++;
        defaults(options, &next.config);
        attack_draw(&next.config, (enum attack_kind)kind, &search->rng);
    } else {
        next.config = search->now.config;
        attack_mutate(&next.config, (enum attack_kind)kind, &search->rng);
    }
    evaluate(&next);
    search->evaluations++;
    search->stale++;
    if (next.ratio < search->now.ratio - 1e-4) {
        search->now = next;
        search->stale = 0;
    }
    if (next.ratio < search->worst.ratio || next.violations > search->worst.violations) {
        search->worst = next;
    }
    if (!draw && search->stale >= STALE_MOST) {
        search->draws = search->stale = 0;
        search->now.ratio = SIM_UNJUDGED + 1;
    }
}

static void begin(const struct options *options, int kind)
{
    struct search *search = &searches[kind];

    search->rng = rng_stream(options->seed, 5000 + (uint64_t)kind);
    search->now.ratio = search->worst.ratio = SIM_UNJUDGED + 1;
    if (options->corpus && read_entry(options, kind, &search->worst)) {
        evaluate(&search->worst);
        search->now = search->worst;
        search->draws = FIRST_DRAWS; /* the first climb begins there */
        printf("%-12s %8.4f  as it is in the corpus\n", attack_name((enum attack_kind)kind),
               search->worst.ratio);
    }
}

static double clock_s(void)
{
    return (double)clock_now_ns() / NS_PER_S;
}

static void search_all(const struct options *options)
{
    double end_s = clock_s() + options->seconds;
    uint64_t count = 0;
    double before[ATTACK_KINDS];

    for (int kind = 0; kind < ATTACK_KINDS; kind++) {
        if (searches[kind].on) {
            begin(options, kind);
        }
        before[kind] = searches[kind].worst.ratio;
    }
    for (int kind = 0; clock_s() < end_s && count < options->evaluations;
         kind = (kind + 1) % ATTACK_KINDS) {
        if (searches[kind].on) {
            step(options, kind);
            count++;
        }
    }
    for (int kind = 0; options->corpus && options->write && kind < ATTACK_KINDS; kind++) {
        if (searches[kind].on && searches[kind].worst.ratio < before[kind]) {
            write_entry(options, kind, &searches[kind].worst);
        }
    }
}

/* Returns how many kinds were broken. */
static int report(void)
{
    int broken = 0;

    for (int kind = 0; kind < ATTACK_KINDS; kind++) {
        const struct search *search = &searches[kind];
        bool bad = search->worst.ratio < 1 || search->worst.violations > 0;

        if (!search->on || (search->evaluations == 0 && search->worst.ratio > SIM_UNJUDGED)) {
            continue;
        }
        printf("%-12s %8.4f  %s%s, %u mixes\n    vgpu-sim --judge ",
               attack_name((enum attack_kind)kind), search->worst.ratio,
               search->worst.ratio < 1 ? "BROKEN" : "kept",
               search->worst.violations > 0 ? ", with violations" : "", search->evaluations);
        print_command(&search->worst, stdout);
        printf("\n");
        broken += bad;
    }
    return broken;
}

/* ---- options ---- */

static int take_kind(void *target, const char *name, char *value)
{
    struct options *options = target;
    int kind = attack_from_name(value);

    if (kind < 0) {
        fprintf(stderr, "attack: %s %s: there is", name, value);
        for (int i = 0; i < ATTACK_KINDS; i++) {
            fprintf(stderr, "%s%s", i ? ", " : " ", attack_name((enum attack_kind)i));
        }
        fputc('\n', stderr);
        return ARGS_EXIT_USAGE;
    }
    options->chosen = searches[kind].on = true;
    return -1;
}

static const struct args_option rows[] = {
    {"seconds", "S", "how long, by the clock ({default})",
     ARGS_REAL(struct options, seconds, 0, 1e7, 1)},
    {"evaluations", "N", "and no more than so many mixes (no limit)",
     ARGS_REAL(struct options, evaluations, 0, 1e12, 1)},
    {"seed", "N", "of everything random (by the clock; it is printed)",
     ARGS_NUMBER(struct options, seed, 0, 1000000000000000, 1),
     .text = offsetof(struct options, seed_text)},
    {"kind", "NAME", "only this kind; may be repeated", ARGS_TAKE(take_kind)},
    {"corpus", "FOLDER", "begin with its KIND.attack files", ARGS_TEXT(struct options, corpus)},
    {"write", NULL, "replace those that were beaten", ARGS_FLAG(struct options, write)},
    {"policy", "NAME", "the scheduler's policy ({default})",
     ARGS_CHOICE(struct options, policy, policy_names)},
};

static const struct args_program program = {
    .name = "attack",
    .intro = "Usage: attack [OPTION]...\n"
             "\n"
             "Searches for workloads that break the promise of shares; see vgpu-sim --judge.\n"
             "\n",
    .outro =
        "\n"
        "Prints the worst mix of each kind as a command that repeats it.\n"
        "Exit status: 0 the promise was kept, 1 it was broken, or an invariant was, 2 usage.\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

int main(int argc, char **argv)
{
    struct options options = {.seconds = 60, .evaluations = UINT64_MAX};
    int broken, status = args_parse(&program, argc, argv, &options, NULL);

    if (status >= 0) {
        return status;
    }
    options.seed = options.seed_text ? options.seed : (uint64_t)time(NULL) % 1000000;
    for (int kind = 0; !options.chosen && kind < ATTACK_KINDS; kind++) {
        searches[kind].on = true;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("attack --seed %llu --seconds %g\n", (unsigned long long)options.seed, options.seconds);
    search_all(&options);
    broken = report();
    printf("%d kinds broken\n", broken);
    return broken > 0;
}
