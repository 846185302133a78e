/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

struct figure {
    const char *name, *unit;
    double value, target;
    int relation; /* -1: at most the target, 1: at least, 0: it has none */
};

static struct figure figures[BENCH_FIGURES_MAX];
static size_t figure_count;

int bench_parse(struct bench_options *options, const char *name, const char *help, int argc,
                char **argv)
{
    memset(options, 0, sizeof(*options));
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            options->json = true;
        } else if (strcmp(argv[i], "--quick") == 0) {
            options->quick = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            printf("Usage: %s [--json] [--quick]\n%s\n"
                   "  --json      figures as JSON, with targets and whether they are met\n"
                   "  --quick     a tenth of the work, for a first look\n"
                   "  --version\n\n"
                   "Exit status: 0 measured (met or not), 1 something is broken, 2 wrong usage.\n"
                   "Example: %s --json\n",
                   name, help, name);
            return 0;
        } else if (strcmp(argv[i], "--version") == 0) {
            printf("%s " VGPU_VERSION "\n", name);
            return 0;
        } else {
            fprintf(stderr, "%s: \"%s\" is not an option. See %s --help.\n", name, argv[i], name);
            return 2;
        }
    }
    return -1;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

uint64_t bench_random(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15ull;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

void *bench_must(void *memory)
{
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
}

double bench_quantile(double *values, size_t count, double fraction)
{
    size_t at = (size_t)(fraction * (double)count);

    qsort(values, count, sizeof(*values), compare);
    return values[at < count ? at : count - 1];
}

static void add(const char *name, const char *unit, double value, double target, int relation)
{
    if (figure_count == BENCH_FIGURES_MAX) {
        fprintf(stderr, "bench: more than %u figures\n", BENCH_FIGURES_MAX);
        exit(1);
    }
    figures[figure_count++] = (struct figure){name, unit, value, target, relation};
}

void bench_figure(const char *name, const char *unit, double value)
{
    add(name, unit, value, 0, 0);
}

void bench_figure_at_most(const char *name, const char *unit, double value, double target)
{
    add(name, unit, value, target, -1);
}

void bench_figure_at_least(const char *name, const char *unit, double value, double target)
{
    add(name, unit, value, target, 1);
}

static bool met(const struct figure *figure)
{
    return figure->relation < 0 ? figure->value <= figure->target : figure->value >= figure->target;
}

static void print_json(const char *name)
{
    printf("{\"bench\": \"%s\", \"figures\": [", name);
    for (size_t i = 0; i < figure_count; i++) {
        const struct figure *figure = &figures[i];

        printf("%s\n  {\"name\": \"%s\", \"unit\": \"%s\", \"value\": %.3f", i ? "," : "",
               figure->name, figure->unit, figure->value);
        if (figure->relation) {
            printf(", \"relation\": \"%s\", \"target\": %.3f, \"met\": %s",
                   figure->relation < 0 ? "at most" : "at least", figure->target,
                   met(figure) ? "true" : "false");
        }
        fputs("}", stdout);
    }
    puts("]}");
}

void bench_print(const struct bench_options *options, const char *name)
{
    if (options->json) {
        print_json(name);
        return;
    }
    for (size_t i = 0; i < figure_count; i++) {
        const struct figure *figure = &figures[i];

        printf("%-58s %12.2f %-7s", figure->name, figure->value, figure->unit);
        if (figure->relation) {
            printf(" %s %.2f: %s", figure->relation < 0 ? "at most" : "at least", figure->target,
                   met(figure) ? "met" : "NOT MET");
        }
        fputs("\n", stdout);
    }
}
