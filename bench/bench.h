/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs of bench/ have these things in common: options, clocks, medians, and a list of
 * figures that is printed as a table or as JSON.
 *
 * A figure beyond its target is reported ("met": false) and changes nothing
 * else: a busy machine must not make a test run fail.  Only what is broken
 * makes a bench program exit with another status than 0.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_FIGURES_MAX 64u

struct bench_options {
    bool json;
    bool quick; /* a tenth of the work, for a first look */
};

/*
 * --json, --quick, --help, --version.  `help` is printed behind the usage line.
 * Returns -1 to go on, or the exit status.
 */
int bench_parse(struct bench_options *options, const char *name, const char *help, int argc,
                char **argv);

/* The same numbers in each run. */
uint64_t bench_random(void);
/* What was allocated; ends the program when it is NULL. */
void *bench_must(void *memory);
/* Sorts `values`. */
double bench_quantile(double *values, size_t count, double fraction);

/* A figure without target. `name` and `unit` are kept, not copied. */
void bench_figure(const char *name, const char *unit, double value);
/* One whose value should be at most (or at least) `target`. */
void bench_figure_at_most(const char *name, const char *unit, double value, double target);
void bench_figure_at_least(const char *name, const char *unit, double value, double target);
/* Prints all figures. */
void bench_print(const struct bench_options *options, const char *name);

/* Keeps the compiler from dropping the work that made `value`. */
#define BENCH_KEEP(value) __asm__ volatile("" : : "g"(value) : "memory")

#endif /* BENCH_BENCH_H */
