/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Property tests share these functions: they have seeds, and fail with the seed in the
 * message.
 *
 * A test runs a function for many seeds.  VGPU_SEED=N in the environment runs
 * that one alone, VGPU_ROUNDS=N so many from there.
 */
#ifndef TESTS_PROPERTY_H
#define TESTS_PROPERTY_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/rng.h"

/* A whole test: run() for the seeds 1 to count, or those of the environment. */
static inline int property_run(const char *name, uint64_t count, void (*run)(uint64_t seed))
{
    const char *only = getenv("VGPU_SEED"), *rounds = getenv("VGPU_ROUNDS");
    uint64_t first = 1;

    if (only) {
        first = strtoull(only, NULL, 0);
        count = 1;
    }
    if (rounds) {
        count = strtoull(rounds, NULL, 0);
    }
    for (uint64_t seed = first; seed - first < count; seed++) {
        run(seed);
    }
    printf("%s: seeds %llu to %llu hold\n", name, (unsigned long long)first,
           (unsigned long long)(first + count - 1));
    return 0;
}

/* Ends the program: what was violated, and how to see it again. */
#define PROPERTY(condition, seed, ...)                                                             \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: violated: %s: ", __FILE__, __LINE__, #condition);              \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fprintf(stderr, "\nreplay with: VGPU_SEED=%llu %s\n", (unsigned long long)(seed),      \
                    program_invocation_name);                                                      \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#endif /* TESTS_PROPERTY_H */
