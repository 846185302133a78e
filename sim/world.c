/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loop: take what comes first, an event or the core's own deadline, let it
 * happen, check.  When the measured time is over the guests stop sending and
 * the world runs on until everything is answered.
 */
#include "sim/internal.h"
#include "common/weight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_MAX_NS (3600 * NS_PER_S)
#define TICKS_MAX 1000 /* at one moment */

/* ---- the mediator comes and goes ---- */

int sim_apply_vms(struct sim *sim)
{
    static struct core_apply_result ignored; /* large, and of no interest here */
    struct core_vm_config *configs = sim_allocate(sim->vm_count, sizeof(*configs));
    uint32_t bad = 0;
    int ret;

    for (uint32_t i = 0; i < sim->vm_count; i++) {
        configs[i] = sim->vms[i].config;
    }
    ret = core_apply_vms(sim->core, configs, sim->vm_count, sim->now_ns, &ignored, &bad);
    free(configs);
    return ret;
}

static uint32_t pool_mask(const struct sim_config *config, uint32_t pool)
{
    uint32_t mask = 0;

    for (uint32_t gpu = 0; gpu < config->gpus; gpu++) {
        mask |= gpu % config->pools == pool % config->gpus ? 1u << gpu : 0;
    }
    return mask;
}

void sim_core_up(struct sim *sim)
{
    struct core_effects effects;
    struct core_config config = sim->config->core;

    sim_effects_table(sim, &effects);
    config.scheduler.policy = sim->policy;
    config.test_ops = true;
    config.channel_memory_bytes = (uint64_t)SIM_VMS_MAX << 30;
    config.channel_memory_vm_bytes = 1u << 30;
    sim->core = core_new(&config, &effects);
    sim->core_number++;
    if (!sim->core) {
        fprintf(stderr, "vgpu-sim: out of memory\n");
        exit(2);
    }
    for (uint32_t gpu = 0; gpu < sim->config->gpus; gpu++) {
        core_gpu_add(sim->core, "GPU-simulated");
    }
    for (uint32_t pool = 0; pool < sim->config->pools; pool++) {
        core_pool_set_gpus(sim->core, (char)('A' + pool), pool_mask(sim->config, pool),
                           sim->now_ns);
    }
    for (uint32_t gpu = 0; gpu < sim->config->gpus; gpu++) {
        core_gpu_set_available(sim->core, gpu, sim->gpus[gpu].available, sim->now_ns);
    }
    if (sim->paused) {
        core_pause(sim->core, CORE_NONE, sim->now_ns);
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        sim_check_rate_init(sim, &sim->vms[i], false);
    }
    if (sim_apply_vms(sim) < 0) {
        sim_violation(sim, "the core refuses the configuration");
    }
}

void sim_core_down(struct sim *sim)
{
    for (uint32_t gpu = 0; gpu < sim->config->gpus; gpu++) {
        sim_gpu_advance(sim, gpu);
        sim->result->turns += wfq_context_switches(core_gpu_scheduler(sim->core, gpu));
        sim->gpus[gpu].idle_since_ns = 0;
    }
    sim_workers_settle(sim);
    sim_workers_drop(sim);
    sim_check_collect(sim);
    core_free(sim->core);
    sim->core = NULL;
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        sim->vms[i].aside = false;
        sim_guest_lost(sim, &sim->vms[i], 300 * NS_PER_MS);
    }
    for (uint32_t i = 0; i < CORE_SESSIONS_MAX; i++) {
        sim->session_vm[i] = SIM_NONE;
    }
}

/* ---- the loop ---- */

static void take_sample(struct sim *sim)
{
    uint64_t total_ns = 0;

    for (uint32_t gpu = 0; gpu < sim->config->gpus; gpu++) {
        sim_gpu_advance(sim, gpu);
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        total_ns += sim->vms[i].gpu_ns - sim->vms[i].gpu_sampled_ns;
    }
    for (uint32_t i = 0; i < sim->vm_count && sim->sample < SIM_SAMPLES; i++) {
        struct sim_vm *vm = &sim->vms[i];

        vm->shares[sim->sample] =
            total_ns ? (float)(vm->gpu_ns - vm->gpu_sampled_ns) / (float)total_ns : 0;
        vm->got[sim->sample] = (float)(vm->gpu_ns - vm->gpu_sampled_ns) * (float)SIM_SAMPLES /
                               (float)sim->config->duration_ns;
        vm->gpu_sampled_ns = vm->gpu_ns;
    }
    sim->sample++;
    sim_check_core(sim);
    if (sim->sample < SIM_SAMPLES) {
        sim_events_add(&sim->events,
                       SIM_START_NS + sim->config->duration_ns / SIM_SAMPLES * (sim->sample + 1),
                       SIM_EVENT_SAMPLE, 0, 0);
    }
}

static void happen(struct sim *sim, const struct sim_event *event)
{
    switch (event->kind) {
    case SIM_EVENT_GUEST_SUBMIT:
    case SIM_EVENT_GUEST_TOGGLE:
    case SIM_EVENT_GUEST_CONNECT:
    case SIM_EVENT_GUEST_CHANNEL:
    case SIM_EVENT_GUEST_CHANGE:
    case SIM_EVENT_GUEST_LEAVE: sim_guest_event(sim, event); break;
    case SIM_EVENT_JUDGE: sim_judge_step(sim); break;
    case SIM_EVENT_WORKER_READY:
    case SIM_EVENT_WORKER_EXIT:
    case SIM_EVENT_WORKER_JOB:
    case SIM_EVENT_WORKER_DONE:
    case SIM_EVENT_CHANNEL_OPENED:
    case SIM_EVENT_CHANNEL_CLOSED:
    case SIM_EVENT_CHANNEL_WANT:
    case SIM_EVENT_GPU: sim_worker_event(sim, event); break;
    case SIM_EVENT_MEDIATOR_UP: sim_core_up(sim); break;
    case SIM_EVENT_DISTURB: sim_disturb(sim); break;
    case SIM_EVENT_SAMPLE: take_sample(sim); break;
    }
}

static void fill_result(struct sim *sim);

static void begin_draining(struct sim *sim)
{
    sim->now_ns = sim->end_ns;
    for (uint32_t gpu = 0; gpu < sim->config->gpus; gpu++) {
        sim_gpu_advance(sim, gpu);
        sim_check_fluid(sim, gpu);
    }
    fill_result(sim);
    sim->draining = true;
    sim->paused = false;
    for (uint32_t gpu = 0; gpu < sim->config->gpus; gpu++) {
        sim->gpus[gpu].available = true;
        if (sim->core) {
            core_gpu_set_available(sim->core, gpu, true, sim->now_ns);
        }
    }
    if (sim->core) {
        core_resume(sim->core, CORE_NONE, sim->now_ns);
    }
}

static bool all_answered(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        if (sim->vms[i].requests.count > 0) {
            return false;
        }
    }
    return sim->core != NULL;
}

/* Whatever the core wants to do at this moment. False: it never has enough. */
static bool tick(struct sim *sim)
{
    for (int i = 0; i < TICKS_MAX; i++) {
        if (core_next_deadline_ns(sim->core) > sim->now_ns) {
            return true;
        }
        core_tick(sim->core, sim->now_ns);
    }
    sim_violation(sim, "after core_tick() its deadline is still in the past");
    return false;
}

static void run(struct sim *sim)
{
    for (;;) {
        uint64_t event_ns = sim_events_next_ns(&sim->events);
        uint64_t core_ns = sim->core ? core_next_deadline_ns(sim->core) : UINT64_MAX;
        uint64_t next_ns = event_ns < core_ns ? event_ns : core_ns;
        struct sim_event event;

        if (!sim->draining && next_ns > sim->end_ns) {
            begin_draining(sim);
            continue;
        }
        if (sim->draining && (all_answered(sim) || next_ns > sim->end_ns + DRAIN_MAX_NS)) {
            return;
        }
        if (next_ns > sim->now_ns) {
            sim->now_ns = next_ns;
        }
        if (core_ns <= sim->now_ns) {
            if (!tick(sim)) {
                return;
            }
        } else {
            sim_events_take(&sim->events, &event);
            happen(sim, &event);
        }
        sim_check_moment(sim);
    }
}

/* ---- results ---- */

static void fill_vm(struct sim *sim, const struct sim_vm *vm, struct sim_vm_result *out)
{
    uint64_t total_ns = 0;
    double shares = 0;
    bool saturated = true;

    for (uint32_t i = 0; i < sim->vm_count; i++) {
        const struct sim_vm *other = &sim->vms[i];

        if (other->gpu == vm->gpu) {
            shares += wfq_share(other->config.weight, other->config.priority);
            total_ns += other->gpu_ns;
            saturated = saturated && !other->starved;
        }
    }
    *out = (struct sim_vm_result){
        .vm_id = vm->vm_id,
        .weight = vm->config.weight,
        .priority = vm->config.priority,
        .gpu = vm->gpu,
        .group = vm->group_index,
        .gpus_seen = vm->gpus_seen,
        .due_share = wfq_share(vm->config.weight, vm->config.priority) / shares,
        .share = total_ns ? (double)vm->gpu_ns / (double)total_ns : 0,
        .gpu_time_ns = vm->gpu_ns,
        .jobs = vm->jobs,
        .submitted = vm->submitted,
        .refused = vm->refusals,
        .errors = vm->errors,
        .fluid_lag_ns = vm->fluid_lag_ns,
        .saturated = saturated,
        .wait_p50_ns = histogram_quantile_ns(&vm->wait, 0.5),
        .wait_p99_ns = histogram_quantile_ns(&vm->wait, 0.99),
        .wait_max_ns = vm->wait.max_ns,
        .wait_mean_ns = vm->wait.count ? vm->wait_sum_ns / vm->wait.count : 0,
        .latency_p50_ns = histogram_quantile_ns(&vm->latency, 0.5),
        .latency_p99_ns = histogram_quantile_ns(&vm->latency, 0.99),
    };
    memcpy(out->shares, vm->shares, sizeof(out->shares));
    memcpy(out->got, vm->got, sizeof(out->got));
}

/* What is measured; it ends with the measured time. */
static void fill_result(struct sim *sim)
{
    struct sim_result *result = sim->result;

    result->vm_count = sim->vm_count;
    result->duration_ns = sim->config->duration_ns;
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        fill_vm(sim, &sim->vms[i], &result->vms[i]);
    }
    for (uint32_t gpu = 0; gpu < sim->config->gpus; gpu++) {
        const struct sim_gpu *state = &sim->gpus[gpu];

        result->switches += state->switches;
        result->switching_ns += state->switching_ns;
        result->busy_ns += state->busy_ns;
        result->anticipated_ns += state->idle_waiting_ns;
        if (sim->core) {
            result->turns += wfq_context_switches(core_gpu_scheduler(sim->core, gpu));
        }
    }
}

static void fill_lags(struct sim *sim)
{
    struct sim_result *result = sim->result;

    for (uint32_t i = 0; i < sim->vm_count; i++) {
        result->vms[i].max_lag_ns = sim->vms[i].max_lag_ns;
        result->vms[i].lag_bound_ns = sim->vms[i].lag_bound_ns;
        if (sim->vms[i].lag_bound_ns > result->lag_bound_ns) {
            result->lag_bound_ns = sim->vms[i].lag_bound_ns;
        }
    }
    result->shares_promised = sim_check_shares_promised(sim);
    result->trace_hash = sim->hash;
}

/* ---- life ---- */

static bool config_valid(const struct sim_config *config)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < config->group_count; i++) {
        const struct sim_group *group = &config->groups[i];

        n += group->n;
        if (!weight_valid(group->weight) || group->priority > VGPU_PRIORITY_HIGH ||
            group->n > SIM_VMS_MAX || group->burst == 0 || group->pool < 'A' ||
            group->pool >= 'A' + (int)config->pools || group->to_pool >= 'A' + (int)config->pools ||
            group->huge == 0 || group->lie_every == 0) {
            return false;
        }
    }
    return n > 0 && n <= SIM_VMS_MAX && config->gpus > 0 && config->gpus <= CORE_GPUS_MAX &&
           config->pools > 0 && config->pools <= config->gpus && config->duration_ns > 0 &&
           config->core.scheduler.depth > 0 && config->core.scheduler.depth <= WFQ_DEPTH_MAX;
}

static void begin(struct sim *sim)
{
    const struct sim_config *config = sim->config;
    uint32_t index = 0;

    sim->hash = 0xCBF29CE484222325ull;
    sim->now_ns = SIM_START_NS;
    sim->end_ns = SIM_START_NS + config->duration_ns;
    sim->policy = config->core.scheduler.policy;
    sim->worker_rng = rng_stream(config->seed, 1);
    sim->fault_rng = rng_stream(config->fault_seed, 2);
    for (uint32_t i = 0; i < CORE_SESSIONS_MAX; i++) {
        sim->session_vm[i] = SIM_NONE;
    }
    for (uint32_t gpu = 0; gpu < config->gpus; gpu++) {
        sim->gpus[gpu].available = true;
        sim->gpus[gpu].advanced_ns = sim->now_ns;
    }
    for (uint32_t i = 0; i < config->group_count; i++) {
        sim->vm_count += config->groups[i].n;
    }
    sim->vms = sim_allocate(sim->vm_count, sizeof(*sim->vms));
    for (uint32_t i = 0; i < config->group_count; i++) {
        for (uint32_t k = 0; k < config->groups[i].n; k++) {
            sim_guest_init(sim, index++, i);
        }
    }
    sim_judge_begin(sim);
    sim_core_up(sim);
    sim_events_add(&sim->events, SIM_START_NS + config->duration_ns / SIM_SAMPLES, SIM_EVENT_SAMPLE,
                   0, 0);
    if (config->fault_seed != 0) {
        sim_events_add(&sim->events, SIM_START_NS + config->fault_every_ns, SIM_EVENT_DISTURB, 0,
                       0);
    }
}

int sim_run_recorded(const struct sim_config *config, struct sim_result *result,
                     struct sim_record *record)
{
    struct sim *sim;

    memset(result, 0, sizeof(*result));
    if (!config_valid(config)) {
        return -EINVAL;
    }
    sim = sim_allocate(1, sizeof(*sim));
    sim->config = config;
    sim->result = result;
    sim->record = record;
    begin(sim);
    run(sim);
    sim_workers_settle(sim);
    sim_check_end(sim);
    fill_lags(sim);

    core_free(sim->core);
    sim->core = NULL;
    sim_workers_drop(sim);
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        sim_guest_lost(sim, &sim->vms[i], 0);
    }
    sim_events_destroy(&sim->events);
    free(sim->vms);
    free(sim);
    return 0;
}

int sim_run(const struct sim_config *config, struct sim_result *result)
{
    return sim_run_recorded(config, result, NULL);
}

bool sim_group_lies(const struct sim_group *group)
{
    return group->lie_factor != 1 || group->lie_step != 1 || group->lie_ns > 0;
}

void sim_group_defaults(struct sim_group *group)
{
    *group = (struct sim_group){
        .n = 1,
        .weight = VGPU_WEIGHT_DEFAULT,
        .priority = VGPU_PRIORITY_MEDIUM,
        .pool = 'A',
        .job = {.kind = SIM_LENGTH_FIXED, .lo_us = 1000, .hi_us = 1000},
        .depth = 8,
        .burst = 1,
        .away_ns = 200 * NS_PER_MS,
        .tiny_us = 1,
        .huge = 1,
        .lie_factor = 1,
        .lie_step = 1,
        .lie_every = 1,
        .to_weight = SIM_SAME,
        .to_priority = SIM_SAME,
    };
}

void sim_config_defaults(struct sim_config *config)
{
    *config = (struct sim_config){
        .gpus = 1,
        .pools = 1,
        .duration_ns = 60 * NS_PER_S,
        .seed = 1,
        .switch_ns = WFQ_SWITCH_COST_NS,
        .slice_ns = 2 * NS_PER_MS,
        .link_ns = 15000,
        .worker_start_ns = 145 * NS_PER_MS,
        .elapsed = true,
        .fault_every_ns = 300 * NS_PER_MS,
        .log = stderr,
    };
    core_config_defaults(&config->core);
}
