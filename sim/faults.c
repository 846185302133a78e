/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fault mix: what administrators, drivers and power cuts do to a mediator. */
#include "sim/internal.h"

static struct sim_vm *any_vm(struct sim *sim)
{
    return &sim->vms[rng_range(&sim->fault_rng, 0, sim->vm_count - 1)];
}

static void lose_mediator(struct sim *sim)
{
    sim->result->mediators_lost++;
    sim_core_down(sim);
    sim_events_add(&sim->events, sim->now_ns + rng_range(&sim->fault_rng, 20 * NS_PER_MS, NS_PER_S),
                   SIM_EVENT_MEDIATOR_UP, 0, 0);
}

static void toggle_gpu(struct sim *sim)
{
    uint32_t gpu = (uint32_t)rng_range(&sim->fault_rng, 0, sim->config->gpus - 1);
    struct sim_gpu *state = &sim->gpus[gpu];

    state->available = !state->available;
    if (!state->available) {
        sim->result->gpus_lost++;
        if (rng_chance(&sim->fault_rng, 0.5)) {
            sim_gpu_break(sim, gpu);
        }
    }
    core_gpu_set_available(sim->core, gpu, state->available, sim->now_ns);
}

static void reconfigure(struct sim *sim)
{
    struct sim_vm *vm = any_vm(sim);
    struct rng *rng = &sim->fault_rng;

    switch (rng_range(rng, 0, 5)) {
    case 0: vm->config.weight = (uint32_t)rng_range(rng, 1, 100); break;
    case 1: vm->config.priority = (uint32_t)rng_range(rng, 0, 2); break;
    case 2: vm->config.max_jobs_per_sec = (uint32_t)rng_range(rng, 0, 1) * 200; break;
    case 3: vm->config.max_queue_depth = (uint32_t)rng_range(rng, 1, 20); break;
    case 4: vm->config.memory_limit_bytes = rng_range(rng, 0, 4) << 30; break;
    default: vm->config.pool = (char)('A' + rng_range(rng, 0, sim->config->pools - 1)); break;
    }
    sim_check_rate_init(sim, vm, true);
    if (sim_apply_vms(sim) < 0) {
        sim_violation(sim, "the core refuses a change of VM %u", vm->vm_id);
    }
}

static void quarantine(struct sim *sim)
{
    struct sim_vm *vm = any_vm(sim);

    if (core_quarantine_vm(sim->core, vm->vm_id, sim->now_ns) < 0) {
        sim_violation(sim, "VM %u can't be quarantined", vm->vm_id);
    }
}

static void clear_quarantines(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        if (sim->vms[i].config.quarantined && rng_chance(&sim->fault_rng, 0.5)) {
            core_unquarantine_vm(sim->core, sim->vms[i].vm_id, sim->now_ns);
        }
    }
}

static void toggle_pause(struct sim *sim)
{
    sim->paused = !sim->paused;
    if (sim->paused) {
        core_pause(sim->core, CORE_NONE, sim->now_ns);
    } else {
        core_resume(sim->core, CORE_NONE, sim->now_ns);
    }
}

static void change_policy(struct sim *sim)
{
    sim->policy = (enum wfq_policy_id)rng_range(&sim->fault_rng, 0, WFQ_POLICY_COUNT - 1);
    sim->policy_changed = true;
    core_set_policy(sim->core, sim->policy, sim->now_ns);
}

/* Nothing stays broken for long. */
static void repair(struct sim *sim)
{
    clear_quarantines(sim);
    if (sim->paused) {
        toggle_pause(sim);
    }
    for (uint32_t gpu = 0; gpu < sim->config->gpus; gpu++) {
        if (!sim->gpus[gpu].available && rng_chance(&sim->fault_rng, 0.5)) {
            sim->gpus[gpu].available = true;
            core_gpu_set_available(sim->core, gpu, true, sim->now_ns);
        }
    }
}

void sim_disturb(struct sim *sim)
{
    if (sim->draining) {
        return;
    }
    if (sim->core) {
        repair(sim);
        switch (rng_range(&sim->fault_rng, 0, 10)) {
        case 0: lose_mediator(sim); break;
        case 1:
        case 2: toggle_gpu(sim); break;
        case 3:
        case 4:
        case 5: reconfigure(sim); break;
        case 6: quarantine(sim); break;
        case 7: toggle_pause(sim); break;
        case 8:
            sim_gpu_break(sim, (uint32_t)rng_range(&sim->fault_rng, 0, sim->config->gpus - 1));
            break;
        case 9: sim_worker_host_kill(sim, rng_range(&sim->fault_rng, 0, UINT32_MAX)); break;
        default:
            if (rng_chance(&sim->fault_rng, 0.3)) {
                change_policy(sim);
            }
            break;
        }
    }
    sim_events_add(
        &sim->events,
        sim->now_ns + 1 +
            (uint64_t)rng_exponential(&sim->fault_rng, (double)sim->config->fault_every_ns),
        SIM_EVENT_DISTURB, 0, 0);
}
