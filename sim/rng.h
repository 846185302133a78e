/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulator draws its random numbers here.  They come from splitmix64 with a seed, and are
 * the same on every machine.
 *
 * Each simulated thing draws from a stream of its own, so that giving one VM
 * another workload does not change what the others do.
 */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t z = (rng->state += 0x9E3779B97F4A7C15ull);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* Stream number `stream` of a seed. */
static inline struct rng rng_stream(uint64_t seed, uint64_t stream)
{
    struct rng rng = {seed * 0xD1342543DE82EF95ull + stream};

    rng.state = rng_next(&rng);
    return rng;
}

/* 0 <= result < 1 */
static inline double rng_unit(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

/* lo <= result <= hi */
static inline uint64_t rng_range(struct rng *rng, uint64_t lo, uint64_t hi)
{
    return lo + (uint64_t)(rng_unit(rng) * (double)(hi - lo + 1));
}

static inline bool rng_chance(struct rng *rng, double probability)
{
    return probability > 0 && rng_unit(rng) < probability;
}

static inline double rng_exponential(struct rng *rng, double mean)
{
    return -mean * log(1 - rng_unit(rng));
}

/* Each factor of ten is as likely as any other. */
static inline double rng_log_uniform(struct rng *rng, double lo, double hi)
{
    return lo * exp(rng_unit(rng) * log(hi / lo));
}

#endif /* SIM_RNG_H */
