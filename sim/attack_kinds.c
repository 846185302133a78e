/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sim/attack.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define EVERY (~0u)
#define IN(kind) (1u << (kind))
#define VMS_MOST 48u

static const char *const names[] = {
    [ATTACK_PAUSES] = "pauses",       [ATTACK_BURSTS] = "bursts",
    [ATTACK_TINY_HUGE] = "tiny-huge", [ATTACK_DISCONNECTS] = "disconnects",
    [ATTACK_ASIDE] = "aside",         [ATTACK_PRIORITIES] = "priorities",
    [ATTACK_CRUMBS] = "crumbs",       [ATTACK_LIES] = "lies",
    [ATTACK_OPEN] = "open",           [ATTACK_MOVES] = "moves",
};

_Static_assert(COUNT(names) == ATTACK_KINDS, "each kind has a name");

const char *attack_name(enum attack_kind kind)
{
    return names[kind];
}

int attack_from_name(const char *name)
{
    for (int i = 0; i < ATTACK_KINDS; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

/* ---- what can be turned ---- */

enum knob_type { U32, NS, REAL, WHOLE, JOB }; /* WHOLE: whole numbers in a double */

/* Values are log-uniform from lo to hi; with `off` they are that at times. */
static const struct knob {
    uint32_t kinds;
    enum knob_type type;
    size_t offset;
    double lo, hi, off, off_chance;
} knobs[] = {
    {EVERY, U32, offsetof(struct sim_group, n), 1, 4, 1, 0.6},
    {EVERY, WHOLE, offsetof(struct sim_group, weight), 1, 100, 100, 0.2},
    {EVERY, U32, offsetof(struct sim_group, priority), 1, 2, 0, 0.2},
    {EVERY, JOB, offsetof(struct sim_group, job), 10, 95000, 0, 0},
    {EVERY, U32, offsetof(struct sim_group, depth), 1, 64, 1, 0.3},
    {EVERY, NS, offsetof(struct sim_group, think_ns), 20e3, 60e6, 0, 0.4},
    {IN(ATTACK_BURSTS), U32, offsetof(struct sim_group, batch), 1, 1, 0, 0.4},
    {IN(ATTACK_BURSTS) | IN(ATTACK_OPEN), NS, offsetof(struct sim_group, on_ns), 5e6, 2e9, 0, 0.6},
    {IN(ATTACK_BURSTS) | IN(ATTACK_OPEN), NS, offsetof(struct sim_group, off_ns), 5e6, 1e9, 0, 0.6},
    {IN(ATTACK_TINY_HUGE), U32, offsetof(struct sim_group, tiny), 1, 300, 0, 0.3},
    {IN(ATTACK_TINY_HUGE), U32, offsetof(struct sim_group, huge), 1, 20, 1, 0.3},
    {IN(ATTACK_TINY_HUGE), U32, offsetof(struct sim_group, tiny_us), 1, 500, 5, 0.2},
    {IN(ATTACK_DISCONNECTS), NS, offsetof(struct sim_group, disconnect_ns), 30e6, 5e9, 0, 0.4},
    {IN(ATTACK_DISCONNECTS), NS, offsetof(struct sim_group, away_ns), 1e6, 15e9, 200e6, 0.2},
    {IN(ATTACK_PRIORITIES), NS, offsetof(struct sim_group, change_ns), 20e6, 5e9, 0, 0.5},
    {IN(ATTACK_PRIORITIES), WHOLE, offsetof(struct sim_group, to_weight), 1, 100, 1, 0.3},
    {IN(ATTACK_PRIORITIES), U32, offsetof(struct sim_group, to_priority), 1, 2, 0, 0.4},
    {IN(ATTACK_LIES), REAL, offsetof(struct sim_group, lie_factor), 0.05, 100, 1, 0.5},
    {IN(ATTACK_LIES), REAL, offsetof(struct sim_group, lie_step), 0.9, 1.1, 1, 0.7},
    {IN(ATTACK_LIES), NS, offsetof(struct sim_group, lie_ns), 1e3, 3600e9, 0, 0.7},
    {IN(ATTACK_LIES), U32, offsetof(struct sim_group, lie_every), 1, 500, 1, 0.5},
    {IN(ATTACK_LIES), NS, offsetof(struct sim_group, slow_ns), 10e3, 20e6, 0, 0.7},
    {IN(ATTACK_OPEN), REAL, offsetof(struct sim_group, rate_hz), 2, 5000, 0, 0.4},
    {IN(ATTACK_OPEN), U32, offsetof(struct sim_group, burst), 1, 200, 1, 0.5},
    {IN(ATTACK_MOVES), NS, offsetof(struct sim_group, change_ns), 100e6, 5e9, 0, 0.4},
};

static double in_steps(double value, double low)
{
    return value < 10 && low >= 1 ? (double)(uint64_t)(value + 0.5) : value;
}

static void draw_job(struct sim_length *length, double lo, double hi, struct rng *rng)
{
    length->lo_us = length->hi_us = (uint32_t)rng_log_uniform(rng, lo, hi);
    length->kind = SIM_LENGTH_FIXED;
    if (rng_chance(rng, 0.2) && length->lo_us > 20) {
        length->kind = SIM_LENGTH_LOG_UNIFORM;
        length->lo_us /= 10;
        length->lo_us = length->lo_us < 10 ? 10 : length->lo_us;
    }
}

static void set(struct sim_group *group, const struct knob *knob, double value)
{
    void *field = (char *)group + knob->offset;

    switch (knob->type) {
    case U32: *(uint32_t *)field = (uint32_t)(value + 0.5); break;
    case NS: *(uint64_t *)field = (uint64_t)value; break;
    case REAL: *(double *)field = value; break;
    case WHOLE: *(double *)field = (double)(uint32_t)(value + 0.5); break;
    case JOB: break;
    }
}

static double get(const struct sim_group *group, const struct knob *knob)
{
    const void *field = (const char *)group + knob->offset;

    switch (knob->type) {
    case U32: return *(const uint32_t *)field;
    case NS: return (double)*(const uint64_t *)field;
    case REAL:
    case WHOLE: return *(const double *)field;
    case JOB: break;
    }
    return ((const struct sim_length *)field)->hi_us;
}

static void draw_knob(struct sim_group *group, const struct knob *knob, struct rng *rng)
{
    if (knob->type == JOB) {
        draw_job(&group->job, knob->lo, knob->hi, rng);
    } else if (rng_chance(rng, knob->off_chance)) {
        set(group, knob, knob->off);
    } else {
        set(group, knob, in_steps(rng_log_uniform(rng, knob->lo, knob->hi), knob->lo));
    }
}

/* A bit more or less; from "off", or at times, something new. */
static void turn_knob(struct sim_group *group, const struct knob *knob, struct rng *rng)
{
    static const double factors[] = {0.3, 0.7, 0.9, 1.1, 1.5, 3};
    double value = get(group, knob) * factors[rng_range(rng, 0, COUNT(factors) - 1)];

    if (get(group, knob) == knob->off || rng_chance(rng, 0.2)) {
        draw_knob(group, knob, rng);
        return;
    }
    value = value < knob->lo ? knob->lo : value > knob->hi ? knob->hi : value;
    if (knob->type == JOB) {
        double part = (double)group->job.lo_us / group->job.hi_us;

        group->job.hi_us = (uint32_t)value;
        group->job.lo_us = (uint32_t)(value * part) < 1 ? 1 : (uint32_t)(value * part);
    } else {
        set(group, knob, value);
    }
}

/* ---- what makes the kind ---- */

/* The first group is the attacker; the others may be like it. */
static void make_kind(struct sim_config *config, enum attack_kind kind, struct rng *rng)
{
    struct sim_group *first = &config->groups[0];

    switch (kind) {
    case ATTACK_ASIDE: draw_job(&first->job, 110e3, 8e6, rng); break;
    case ATTACK_CRUMBS:
        first->n = (uint32_t)rng_range(rng, 4, 24);
        draw_job(&first->job, 1, 100, rng);
        first->depth = (uint32_t)rng_range(rng, 1, 2);
        first->think_ns = (uint64_t)rng_log_uniform(rng, 0.1e6, 20e6);
        break;
    case ATTACK_PAUSES:
        if (first->think_ns == 0) {
            first->think_ns = (uint64_t)rng_log_uniform(rng, 20e3, 60e6);
        }
        break;
    case ATTACK_TINY_HUGE:
        first->tiny = first->tiny ? first->tiny : 60;
        first->huge = (uint32_t)rng_range(rng, 1, 16);
        break;
    case ATTACK_DISCONNECTS:
        if (first->disconnect_ns == 0) {
            first->disconnect_ns = (uint64_t)rng_log_uniform(rng, 30e6, 5e9);
        }
        break;
    default: break;
    }
}

/* Whatever was turned: it can be simulated, and is of the kind. */
static void mend(struct sim_config *config, enum attack_kind kind)
{
    uint32_t vms = 0;

    config->gpus = config->pools = kind == ATTACK_MOVES ? 2 : 1;
    for (uint32_t i = 0; i < config->group_count; i++) {
        struct sim_group *group = &config->groups[i];

        if ((group->on_ns == 0) != (group->off_ns == 0)) {
            group->on_ns = group->off_ns = 0;
        }
        if (kind == ATTACK_MOVES) {
            group->pool = i % 2 == 0 ? 'A' : 'B';
            group->to_pool = group->change_ns > 0 ? (i % 2 == 0 ? 'B' : 'A') : 0;
        }
        group->n = vms + group->n > VMS_MOST ? 1 : group->n;
        vms += group->n;
    }
}

void attack_draw(struct sim_config *config, enum attack_kind kind, struct rng *rng)
{
    config->group_count = (uint32_t)rng_range(rng, 2, 4);
    config->seed = rng_range(rng, 1, 999);
    for (uint32_t i = 0; i < config->group_count; i++) {
        sim_group_defaults(&config->groups[i]);
        for (size_t k = 0; k < COUNT(knobs); k++) {
            if (knobs[k].kinds & IN(kind)) {
                draw_knob(&config->groups[i], &knobs[k], rng);
            }
        }
    }
    make_kind(config, kind, rng);
    mend(config, kind);
}

void attack_mutate(struct sim_config *config, enum attack_kind kind, struct rng *rng)
{
    uint32_t times = (uint32_t)rng_range(rng, 1, 2);

    for (uint32_t i = 0; i < times; i++) {
        struct sim_group *group = &config->groups[rng_range(rng, 0, config->group_count - 1)];
        size_t k;

        do {
            k = rng_range(rng, 0, COUNT(knobs) - 1);
        } while (!(knobs[k].kinds & IN(kind)));
        /* What make_kind() gave the attacker lies outside: it stays as it is there. */
        if (get(group, &knobs[k]) <= knobs[k].hi || knobs[k].type != JOB) {
            turn_knob(group, &knobs[k], rng);
        }
    }
    mend(config, kind);
}
