/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What to simulate: from the command line, or at random. */
#include "common/parse.h"
#include "sim/sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/rng.h"

#define VALUE_BYTES 64u

enum key_type { U32, NS_FROM_US, NS_FROM_MS, REAL, LENGTH, POOL };

static const struct key {
    const char *name;
    enum key_type type;
    size_t offset;
    double min, max;
} keys[] = {
    {"n", U32, offsetof(struct sim_group, n), 1, SIM_VMS_MAX},
    {"weight", REAL, offsetof(struct sim_group, weight), VGPU_WEIGHT_MIN, VGPU_WEIGHT_MAX},
    {"prio", U32, offsetof(struct sim_group, priority), 0, VGPU_PRIORITY_HIGH},
    {"pool", POOL, offsetof(struct sim_group, pool), 0, 0},
    {"job_us", LENGTH, offsetof(struct sim_group, job), 1, VGPU_TEST_SPIN_MAX_US},
    {"depth", U32, offsetof(struct sim_group, depth), 1, 10000},
    {"think_us", NS_FROM_US, offsetof(struct sim_group, think_ns), 0, 1e9},
    {"rate", REAL, offsetof(struct sim_group, rate_hz), 0, 1e7},
    {"burst", U32, offsetof(struct sim_group, burst), 1, 10000},
    {"on_ms", NS_FROM_MS, offsetof(struct sim_group, on_ns), 0, 1e7},
    {"off_ms", NS_FROM_MS, offsetof(struct sim_group, off_ns), 0, 1e7},
    {"start_ms", NS_FROM_MS, offsetof(struct sim_group, start_ns), 0, 1e9},
    {"stop_ms", NS_FROM_MS, offsetof(struct sim_group, stop_ns), 0, 1e9},
    {"limit", U32, offsetof(struct sim_group, limit_hz), 0, 1e6},
    {"limit_burst", U32, offsetof(struct sim_group, limit_burst), 0, 1e6},
    {"qdepth", U32, offsetof(struct sim_group, queue_depth), 0, CORE_VM_JOBS_MAX},
    {"crash", REAL, offsetof(struct sim_group, crash), 0, 1},
    {"hang", REAL, offsetof(struct sim_group, hang), 0, 1},
    {"fail", REAL, offsetof(struct sim_group, fail), 0, 1},
    {"invalid", REAL, offsetof(struct sim_group, invalid), 0, 1},
    {"disconnect_ms", NS_FROM_MS, offsetof(struct sim_group, disconnect_ns), 0, 1e9},
    {"away_ms", NS_FROM_MS, offsetof(struct sim_group, away_ns), 0, 1e9},
    {"slow_us", NS_FROM_US, offsetof(struct sim_group, slow_ns), 0, 1e8},
    {"gap_us", NS_FROM_US, offsetof(struct sim_group, gap_ns), 0, 1e8},
    {"batch", U32, offsetof(struct sim_group, batch), 0, 1},
    {"tiny", U32, offsetof(struct sim_group, tiny), 0, 1e6},
    {"tiny_us", U32, offsetof(struct sim_group, tiny_us), 1, VGPU_TEST_SPIN_MAX_US},
    {"huge", U32, offsetof(struct sim_group, huge), 1, 1e6},
    {"lie_factor", REAL, offsetof(struct sim_group, lie_factor), 0, 1e6},
    {"lie_step", REAL, offsetof(struct sim_group, lie_step), 0.001, 1000},
    {"lie_us", NS_FROM_US, offsetof(struct sim_group, lie_ns), 0, 1e12},
    {"lie_every", U32, offsetof(struct sim_group, lie_every), 1, 1e9},
    {"change_ms", NS_FROM_MS, offsetof(struct sim_group, change_ns), 0, 1e9},
    {"to_weight", REAL, offsetof(struct sim_group, to_weight), VGPU_WEIGHT_MIN, VGPU_WEIGHT_MAX},
    {"to_prio", U32, offsetof(struct sim_group, to_priority), 0, VGPU_PRIORITY_HIGH},
    {"to_pool", POOL, offsetof(struct sim_group, to_pool), 0, 0},
    {"channel", U32, offsetof(struct sim_group, channel), 0, 1},
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

/* "1000", "50-50000" (log-uniform), "uniform:50-50000", "exp:1000" */
static bool parse_length(const char *text, double min, double max, struct sim_length *length)
{
    char low[VALUE_BYTES];
    const char *dash;
    double lo, hi;

    length->kind = SIM_LENGTH_FIXED;
    if (strncmp(text, "exp:", 4) == 0) {
        length->kind = SIM_LENGTH_EXPONENTIAL;
        text += 4;
    } else if (strncmp(text, "uniform:", 8) == 0) {
        length->kind = SIM_LENGTH_UNIFORM;
        text += 8;
    }
    dash = strchr(text, '-');
    snprintf(low, sizeof(low), "%.*s", dash ? (int)(dash - text) : (int)strlen(text), text);
    if (!parse_real(low, min, max, &lo)) {
        return false;
    }
    hi = lo;
    if (dash) {
        if (length->kind == SIM_LENGTH_EXPONENTIAL || !parse_real(dash + 1, lo, max, &hi)) {
            return false;
        }
        length->kind = length->kind == SIM_LENGTH_FIXED ? SIM_LENGTH_LOG_UNIFORM : length->kind;
    }
    length->lo_us = (uint32_t)lo;
    length->hi_us = (uint32_t)hi;
    return true;
}

static bool set_key(struct sim_group *group, const struct key *key, const char *value)
{
    void *field = (char *)group + key->offset;
    double number = 0;

    if (key->type == LENGTH) {
        return parse_length(value, key->min, key->max, field);
    }
    if (key->type == POOL) {
        *(char *)field = value[0];
        return value[0] >= VGPU_POOL_FIRST && value[0] <= VGPU_POOL_LAST && value[1] == '\0';
    }
    if (!parse_real(value, key->min, key->max, &number)) {
        return false;
    }
    switch (key->type) {
    case U32: *(uint32_t *)field = (uint32_t)number; break;
    case NS_FROM_US: *(uint64_t *)field = (uint64_t)(number * NS_PER_US); break;
    case NS_FROM_MS: *(uint64_t *)field = (uint64_t)(number * NS_PER_MS); break;
    default: *(double *)field = number; break;
    }
    return true;
}

/* "key=value" */
static int parse_pair(struct sim_group *group, const char *text, size_t length, char *error,
                      size_t error_bytes)
{
    const char *equals = memchr(text, '=', length);
    size_t name_length = equals ? (size_t)(equals - text) : length;
    char value[VALUE_BYTES];

    for (size_t i = 0; equals && i < KEY_COUNT; i++) {
        if (strlen(keys[i].name) != name_length || memcmp(keys[i].name, text, name_length) != 0) {
            continue;
        }
        snprintf(value, sizeof(value), "%.*s", (int)(length - name_length - 1), equals + 1);
        if (set_key(group, &keys[i], value)) {
            return 0;
        }
        snprintf(error, error_bytes, "\"%.*s\": not a value for %s", (int)length, text,
                 keys[i].name);
        return -EINVAL;
    }
    snprintf(error, error_bytes,
             "\"%.*s\": no such key; known are n, weight, prio, job_us, ... "
             "(see --help)",
             (int)length, text);
    return -EINVAL;
}

static int parse_group(struct sim_group *group, const char *text, size_t length, char *error,
                       size_t error_bytes)
{
    sim_group_defaults(group);
    while (length > 0) {
        const char *comma = memchr(text, ',', length);
        size_t pair = comma ? (size_t)(comma - text) : length;
        int ret = parse_pair(group, text, pair, error, error_bytes);

        if (ret < 0) {
            return ret;
        }
        text += pair + (comma != NULL);
        length -= pair + (comma != NULL);
    }
    if ((group->on_ns == 0) != (group->off_ns == 0)) {
        snprintf(error, error_bytes, "on_ms and off_ms go together");
        return -EINVAL;
    }
    if (group->channel && (group->crash + group->hang + group->fail + group->invalid > 0 ||
                           group->limit_hz > 0 || group->queue_depth > 0)) {
        snprintf(error, error_bytes,
                 "channel does not go with crash, hang, fail, invalid, limit or qdepth");
        return -EINVAL;
    }
    if (group->crash + group->hang + group->fail > 1) {
        snprintf(error, error_bytes, "crash, hang and fail add up to more than 1");
        return -EINVAL;
    }
    return 0;
}

int sim_spec_parse(const char *text, struct sim_config *config, char *error, size_t error_bytes)
{
    config->group_count = 0;
    while (*text != '\0') {
        const char *semicolon = strchr(text, ';');
        size_t length = semicolon ? (size_t)(semicolon - text) : strlen(text);
        int ret;

        if (config->group_count == SIM_GROUPS_MAX) {
            snprintf(error, error_bytes, "more than %u groups", SIM_GROUPS_MAX);
            return -EINVAL;
        }
        if (length > 0) {
            ret = parse_group(&config->groups[config->group_count++], text, length, error,
                              error_bytes);
            if (ret < 0) {
                return ret;
            }
        }
        text += length + (semicolon != NULL);
    }
    if (config->group_count == 0) {
        snprintf(error, error_bytes, "no VMs");
        return -EINVAL;
    }
    return 0;
}

static void print_value(const struct sim_group *group, const struct key *key, FILE *out)
{
    const void *field = (const char *)group + key->offset;
    const struct sim_length *length = (const struct sim_length *)field;

    switch (key->type) {
    case U32: fprintf(out, "%s=%u", key->name, *(const uint32_t *)field); break;
    case NS_FROM_US:
        fprintf(out, "%s=%g", key->name, (double)*(const uint64_t *)field / 1e3);
        break;
    case NS_FROM_MS:
        fprintf(out, "%s=%g", key->name, (double)*(const uint64_t *)field / NS_PER_MS);
        break;
    case REAL: fprintf(out, "%s=%g", key->name, *(const double *)field); break;
    case POOL: fprintf(out, "%s=%c", key->name, *(const char *)field); break;
    case LENGTH:
        fprintf(out, "%s=%s%u", key->name,
                length->kind == SIM_LENGTH_EXPONENTIAL ? "exp:"
                : length->kind == SIM_LENGTH_UNIFORM   ? "uniform:"
                                                       : "",
                length->lo_us);
        if (length->kind == SIM_LENGTH_UNIFORM || length->kind == SIM_LENGTH_LOG_UNIFORM) {
            fprintf(out, "-%u", length->hi_us);
        }
        break;
    }
}

static size_t value_bytes(const struct key *key)
{
    switch (key->type) {
    case U32: return sizeof(uint32_t);
    case POOL: return 1;
    case LENGTH: return sizeof(struct sim_length);
    default: return sizeof(uint64_t);
    }
}

void sim_spec_print(const struct sim_config *config, FILE *out)
{
    struct sim_group defaults;

    sim_group_defaults(&defaults);
    for (uint32_t i = 0; i < config->group_count; i++) {
        const struct sim_group *group = &config->groups[i];

        fprintf(out, "%sn=%u", i > 0 ? ";" : "", group->n);
        for (size_t k = 1; k < KEY_COUNT; k++) {
            if (memcmp((const char *)group + keys[k].offset,
                       (const char *)&defaults + keys[k].offset, value_bytes(&keys[k])) != 0) {
                fputc(',', out);
                print_value(group, &keys[k], out);
            }
        }
    }
}

/* ---- at random ---- */

void sim_random_mix(struct sim_config *config, uint64_t seed)
{
    struct rng rng = rng_stream(seed, 3);
    uint32_t n = (uint32_t)rng_range(&rng, 2, 12);

    config->seed = seed;
    config->group_count = n;
    for (uint32_t i = 0; i < n; i++) {
        struct sim_group *group = &config->groups[i];

        sim_group_defaults(group);
        group->weight = (uint32_t)rng_range(&rng, VGPU_WEIGHT_MIN, VGPU_WEIGHT_MAX);
        group->priority = (uint32_t)rng_range(&rng, 0, 2);
        group->job.lo_us = group->job.hi_us = (uint32_t)rng_log_uniform(&rng, 50, 50000);
        if (rng_chance(&rng, 0.4)) {
            group->job.kind = SIM_LENGTH_LOG_UNIFORM;
            group->job.hi_us = (uint32_t)rng_log_uniform(&rng, group->job.lo_us, 50000);
        }
        group->depth = (uint32_t)rng_range(&rng, WFQ_DEPTH_MAX + 4, 40);
    }
}

static void random_group(struct sim_group *group, struct rng *rng, uint32_t pools)
{
    sim_group_defaults(group);
    group->n = (uint32_t)rng_range(rng, 1, 3);
    group->weight = (uint32_t)rng_range(rng, 1, 100);
    group->priority = (uint32_t)rng_range(rng, 0, 2);
    group->pool = (char)('A' + rng_range(rng, 0, pools - 1));
    group->job.lo_us = group->job.hi_us = (uint32_t)rng_log_uniform(rng, 20, 20000);
    if (rng_chance(rng, 0.5)) {
        group->job.kind = SIM_LENGTH_LOG_UNIFORM;
        group->job.hi_us =
            (uint32_t)rng_log_uniform(rng, group->job.lo_us, rng_chance(rng, 0.1) ? 600e3 : 40e3);
    }
    group->depth = rng_chance(rng, 0.3) ? 1 : (uint32_t)rng_range(rng, 1, 40);
    group->think_ns = rng_chance(rng, 0.5) ? (uint64_t)rng_log_uniform(rng, 10e3, 10e6) : 0;
    if (rng_chance(rng, 0.35)) {
        group->rate_hz = rng_log_uniform(rng, 5, 3000);
        group->burst = rng_chance(rng, 0.3) ? (uint32_t)rng_range(rng, 2, 50) : 1;
    }
    if (rng_chance(rng, 0.25)) {
        group->on_ns = (uint64_t)rng_log_uniform(rng, 1e6, 500e6);
        group->off_ns = (uint64_t)rng_log_uniform(rng, 1e6, 500e6);
    }
    if (rng_chance(rng, 0.3)) {
        group->limit_hz = (uint32_t)rng_log_uniform(rng, 1, 2000);
        group->limit_burst = rng_chance(rng, 0.5) ? (uint32_t)rng_range(rng, 1, 100) : 0;
    }
    group->queue_depth = rng_chance(rng, 0.4) ? (uint32_t)rng_range(rng, 1, 30) : 0;
    group->crash = rng_chance(rng, 0.2) ? rng_log_uniform(rng, 1e-4, 0.05) : 0;
    group->hang = rng_chance(rng, 0.1) ? rng_log_uniform(rng, 1e-4, 0.01) : 0;
    group->fail = rng_chance(rng, 0.2) ? rng_log_uniform(rng, 1e-4, 0.05) : 0;
    group->invalid = rng_chance(rng, 0.2) ? rng_log_uniform(rng, 1e-3, 0.3) : 0;
    group->disconnect_ns = rng_chance(rng, 0.25) ? (uint64_t)rng_log_uniform(rng, 20e6, 5000e6) : 0;
    group->slow_ns = rng_chance(rng, 0.15) ? (uint64_t)rng_log_uniform(rng, 10e3, 5e6) : 0;
}

void sim_random_faults(struct sim_config *config, uint64_t seed, bool keep_groups)
{
    struct rng rng = rng_stream(seed, 4);

    config->fault_seed = seed;
    config->fault_every_ns = (uint64_t)rng_log_uniform(&rng, 50e6, 2000e6);
    if (keep_groups) {
        return;
    }
    config->seed = seed;
    config->gpus = rng_chance(&rng, 0.5) ? 1 : (uint32_t)rng_range(&rng, 1, 4);
    config->pools = (uint32_t)rng_range(&rng, 1, config->gpus);
    config->elapsed = rng_chance(&rng, 0.5);
    config->switch_ns = rng_chance(&rng, 0.8) ? config->switch_ns : 0;
    config->core.scheduler.depth = (uint32_t)rng_range(&rng, 1, rng_chance(&rng, 0.2) ? 16 : 4);
    config->core.scheduler.ahead_ns =
        rng_chance(&rng, 0.7) ? (uint64_t)rng_log_uniform(&rng, 20e3, 1e6) : 0;
    config->core.scheduler.quantum_ns = (uint64_t)rng_log_uniform(&rng, 0.2e6, 20e6);
    config->core.scheduler.anticipation_ns =
        rng_chance(&rng, 0.7) ? (uint64_t)rng_log_uniform(&rng, 50e3, 5e6) : 0;
    if (rng_chance(&rng, 0.25)) {
        config->core.scheduler.policy =
            (enum wfq_policy_id)rng_range(&rng, 0, WFQ_POLICY_COUNT - 1);
    }
    config->core.overrun_ns =
        rng_chance(&rng, 0.8) ? (uint64_t)rng_log_uniform(&rng, 5e6, 200e6) : 0;
    config->core.job_timeout_ns = (uint64_t)rng_log_uniform(&rng, 200e6, 5000e6);
    config->core.linger_ns = (uint64_t)rng_log_uniform(&rng, 10e6, 10000e6);
    config->core.fault_threshold = (uint32_t)rng_range(&rng, 0, 8);
    config->group_count = (uint32_t)rng_range(&rng, 1, 8);
    for (uint32_t i = 0; i < config->group_count; i++) {
        random_group(&config->groups[i], &rng, config->pools);
    }
}
