/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests draw numbers at random here, which are the same in every run (xorshift64). */
#ifndef CORE_TEST_RANDOM_H
#define CORE_TEST_RANDOM_H

#include <stdint.h>

static uint64_t random_state = 88172645463325252ull;

/* From here on the numbers are those of this seed, which is not 0. */
static inline void seed_random(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15ull;
}

static inline uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

#endif /* CORE_TEST_RANDOM_H */
