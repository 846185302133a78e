/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What property tests share: seeds, and failing with the seed in the message.
 *
 * A test runs a function for many seeds.  VGPU_SEED=N in the environment runs
 * that one alone, VGPU_ROUNDS=N so many from there.
 */
#ifndef TESTS_PROPERTY_H
#define TESTS_PROPERTY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/rng.h"

struct property_seeds {
    uint64_t first, count;
};

static inline struct property_seeds property_seeds(uint64_t count)
{
    const char *seed = getenv("VGPU_SEED"), *rounds = getenv("VGPU_ROUNDS");
    struct property_seeds seeds = {1, count};

    if (seed) {
        seeds = (struct property_seeds){strtoull(seed, NULL, 0), 1};
    }
    if (rounds) {
        seeds.count = strtoull(rounds, NULL, 0);
    }
    return seeds;
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
