/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/notes_mixes.h"

#include <math.h>
#include <stdio.h>

#define WORDS 624
#define SHIFT 397
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct twister {
    uint32_t word[WORDS];
    uint32_t next;
};

/* As CPython seeds it with a small whole number. */
static void seed(struct twister *twister, uint32_t key)
{
    uint32_t *word = twister->word;
    uint32_t i = 1;

    word[0] = 19650218u;
    for (uint32_t k = 1; k < WORDS; k++) {
        word[k] = 1812433253u * (word[k - 1] ^ (word[k - 1] >> 30)) + k;
    }
    for (uint32_t k = 0; k < WORDS; k++) {
        word[i] = (word[i] ^ ((word[i - 1] ^ (word[i - 1] >> 30)) * 1664525u)) + key;
        if (++i >= WORDS) {
            word[0] = word[WORDS - 1];
            i = 1;
        }
    }
    for (uint32_t k = 0; k < WORDS - 1; k++) {
        word[i] = (word[i] ^ ((word[i - 1] ^ (word[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i >= WORDS) {
            word[0] = word[WORDS - 1];
            i = 1;
        }
    }
    word[0] = 0x80000000u;
    twister->next = WORDS;
}

static void refill(struct twister *twister)
{
    uint32_t *word = twister->word;

    for (uint32_t k = 0; k < WORDS; k++) {
        uint32_t y = (word[k] & 0x80000000u) | (word[(k + 1) % WORDS] & 0x7FFFFFFFu);

        word[k] = word[(k + SHIFT) % WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908B0DFu : 0);
    }
    twister->next = 0;
}

static uint32_t draw(struct twister *twister)
{
    uint32_t y;

    if (twister->next == WORDS) {
        refill(twister);
    }
    y = twister->word[twister->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9D2C5680u;
    y ^= (y << 15) & 0xEFC60000u;
    return y ^ (y >> 18);
}

/* random.random() */
static double unit(struct twister *twister)
{
    uint32_t a = draw(twister) >> 5, b = draw(twister) >> 6;

    return (a * 67108864.0 + b) / 9007199254740992.0;
}

/* random.randrange(n) */
static uint32_t below(struct twister *twister, uint32_t n)
{
    uint32_t bits = 32 - (uint32_t)__builtin_clz(n), value;

    do {
        value = draw(twister) >> (32 - bits);
    } while (value >= n);
    return value;
}

static double log_uniform(struct twister *twister, double lo, double hi)
{
    double a = log(lo), b = log(hi);

    return exp(a + (b - a) * unit(twister));
}

static int choose(struct twister *twister, const int *values, size_t count)
{
    return values[below(twister, (uint32_t)count)];
}

static int group(struct twister *twister, char *out, size_t bytes)
{
    static const int depths[] = {1, 1, 1, 2, 4, 8, 16, 64};
    static const int pauses_us[] = {0, 0, 20, 200, 1000, 3000, 5000, 10000, 20000, 50000};
    static const int weights[] = {1, 1, 2, 5, 10, 25, 50, 50, 75, 100};
    static const int priorities[] = {0, 1, 1, 1, 2}, numbers[] = {1, 1, 1, 2, 3, 8};
    int job_us = (int)log_uniform(twister, 10, 100000), depth, pause_us, weight, priority, n;
    double kind = unit(twister);
    char job[40], many[16] = "";

    if (kind < .5) {
        snprintf(job, sizeof(job), "%d", job_us);
    } else if (kind < .75) {
        snprintf(job, sizeof(job), "%d-%d", job_us / 10 > 10 ? job_us / 10 : 10, job_us);
    } else {
        snprintf(job, sizeof(job), "exp:%d", job_us < 16000 ? job_us : 16000);
    }
    depth = choose(twister, depths, COUNT(depths));
    pause_us = unit(twister) < .8 ? choose(twister, pauses_us, COUNT(pauses_us))
                                  : (int)log_uniform(twister, 10, 50000);
    weight = choose(twister, weights, COUNT(weights));
    priority = choose(twister, priorities, COUNT(priorities));
    n = choose(twister, numbers, COUNT(numbers));
    if (n > 1) {
        snprintf(many, sizeof(many), "n=%d,", n);
    }
    return snprintf(out, bytes, "%sweight=%d,prio=%d,job_us=%s,depth=%d,think_us=%d", many, weight,
                    priority, job, depth, pause_us);
}

void notes_mix(uint32_t index, char *spec, size_t bytes)
{
    struct twister twister;
    uint32_t groups;
    size_t used = 0;

    seed(&twister, index);
    groups = 2 + below(&twister, 5);
    unit(&twister);
    for (uint32_t i = 0; i < groups && used + 2 < bytes; i++) {
        if (i > 0) {
            spec[used++] = ';';
        }
        used += (size_t)group(&twister, spec + used, bytes - used);
    }
}
