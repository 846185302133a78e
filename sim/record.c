/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sim/record.h"

#include <stdlib.h>

#include "sim/internal.h"

void sim_record_init(struct sim_record *record, const struct sim_promise *promise,
                     uint64_t duration_ns, uint64_t step_ns, uint32_t vm_count)
{
    *record = (struct sim_record){
        .promise = promise,
        .step_ns = step_ns,
        .capacity = (uint32_t)(duration_ns / step_ns) + 1,
        .vm_count = vm_count,
        .vms = sim_allocate(vm_count, sizeof(*record->vms)),
    };
    for (uint32_t i = 0; i < vm_count; i++) {
        struct sim_track *track = &record->vms[i];

        track->got_ns = sim_allocate(record->capacity, sizeof(*track->got_ns));
        for (uint32_t k = 0; k < SIM_ASIDES; k++) {
            track->budget_ns[k] = sim_allocate(record->capacity, sizeof(*track->budget_ns[k]));
        }
        track->share_ns = sim_allocate(record->capacity, sizeof(*track->share_ns));
        track->overruns = sim_allocate(record->capacity, sizeof(*track->overruns));
        track->forgotten_ns = sim_allocate(record->capacity, sizeof(*track->forgotten_ns));
        track->stretches = sim_allocate(record->capacity, sizeof(*track->stretches));
        track->waits = sim_allocate(record->capacity, sizeof(*track->waits));
    }
}

void sim_record_destroy(struct sim_record *record)
{
    for (uint32_t i = 0; i < record->vm_count; i++) {
        free(record->vms[i].got_ns);
        for (uint32_t k = 0; k < SIM_ASIDES; k++) {
            free(record->vms[i].budget_ns[k]);
        }
        free(record->vms[i].share_ns);
        free(record->vms[i].overruns);
        free(record->vms[i].forgotten_ns);
        free(record->vms[i].stretches);
        free(record->vms[i].waits);
    }
    free(record->vms);
}

/* ---- whose part is what ---- */

static void count_up(const struct sim *sim, struct sim_track *track)
{
    double passed_ns = (double)(sim->now_ns - track->mark_ns);

    track->budget_now_ns[track->beside] += track->rate * passed_ns;
    track->share_now_ns += track->part * passed_ns;
    track->mark_ns = sim->now_ns;
}

static bool takes_jobs(const struct sim *sim, uint32_t vm)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        const struct sim_worker *worker = sim->workers[i];

        if (worker->vm == vm && worker->ready && !worker->dying && !worker->quit) {
            return true;
        }
    }
    return false;
}

/*
 * Its part while `others` run aside: of what these leave.  While its own job is aside, too, the
 * driver gives it a slice as any other, and somebody runs beside: it can't have more than that.
 */
static double part_beside(double part, bool aside, uint32_t others)
{
    double most = aside ? (others + 1.0) / (others + 2.0) : 1;

    return part < most ? part : most;
}

void sim_judge_shares(struct sim *sim)
{
    uint32_t asides[CORE_GPUS_MAX] = {0};
    double shares[CORE_GPUS_MAX] = {0};

    if (!sim->record) {
        return;
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        const struct sim_vm *vm = &sim->vms[i];

        count_up(sim, &sim->record->vms[i]);
        if (vm->gpu != SIM_NONE) {
            shares[vm->gpu] += wfq_share(vm->config.weight, vm->config.priority);
            asides[vm->gpu] += vm->aside;
        }
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        const struct sim_vm *vm = &sim->vms[i];
        struct sim_track *track = &sim->record->vms[i];
        uint32_t others;

        track->rate = track->part = 0;
        if (vm->gpu != SIM_NONE && takes_jobs(sim, i)) {
            track->part = wfq_share(vm->config.weight, vm->config.priority) / shares[vm->gpu];
            others = asides[vm->gpu] - vm->aside;
            track->beside = others < SIM_ASIDES ? others : SIM_ASIDES - 1;
            track->rate =
                part_beside(track->part, vm->aside, others) * (track->beside + 1) / (others + 1);
            track->part_max = track->part > track->part_max ? track->part : track->part_max;
        }
    }
}

/* ---- one VM ---- */

void sim_judge_length(struct sim *sim, struct sim_vm *vm, uint64_t job_ns)
{
    if (sim->record && job_ns > sim->record->vms[vm->index].longest_ns) {
        sim->record->vms[vm->index].longest_ns = job_ns;
    }
}

void sim_judge_handed(struct sim *sim, struct sim_vm *vm, uint64_t work_ns)
{
    if (work_ns > vm->handed_ns) {
        vm->handed_ns = work_ns;
    }
    if (sim->record) {
        sim->record->vms[vm->index].handed_ns = vm->handed_ns;
    }
}

void sim_judge_busy(struct sim *sim, struct sim_vm *vm)
{
    struct sim_track *track;

    if (!sim->record) {
        return;
    }
    track = &sim->record->vms[vm->index];
    track->waits_now++;
    track->work_since_ns = sim->now_ns;
    track->stretches_now += sim->now_ns - vm->idle_since_ns > sim->record->promise->patience_ns;
}

void sim_judge_anew(struct sim *sim, struct sim_vm *vm)
{
    if (sim->record) {
        sim->record->vms[vm->index].stretches_now++;
        sim->record->vms[vm->index].waits_now++;
    }
}

void sim_judge_moved(struct sim *sim, const struct sim_vm *vm)
{
    uint64_t overrun_ns = sim->config->core.overrun_ns, longest_ns;

    if (!sim->record) {
        return;
    }
    longest_ns = sim->record->vms[vm->index].longest_ns;
    longest_ns = overrun_ns && longest_ns > overrun_ns ? overrun_ns : longest_ns;
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        if (i != vm->index && sim->vms[i].gpu == vm->gpu) {
            sim->record->vms[i].forgotten_now_ns +=
                sim->config->core.scheduler.quantum_ns + longest_ns;
        }
    }
}

void sim_judge_phase(struct sim *sim, struct sim_vm *vm)
{
    if (sim->record) {
        sim->record->vms[vm->index].stretches_now++;
    }
}

void sim_judge_answer(struct sim *sim, struct sim_vm *vm)
{
    struct sim_track *track;

    if (sim->record) {
        track = &sim->record->vms[vm->index];
        track->work_ns += sim->now_ns - track->work_since_ns;
        track->work_since_ns = sim->now_ns;
    }
}

/* ---- the steps ---- */

void sim_judge_begin(struct sim *sim)
{
    if (!sim->record) {
        return;
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        sim->record->vms[i].mark_ns = sim->now_ns;
    }
    sim_judge_step(sim);
}

void sim_judge_step(struct sim *sim)
{
    struct sim_record *record = sim->record;

    if (record->steps == record->capacity) {
        return;
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        struct sim_track *track = &record->vms[i];

        if (sim->vms[i].gpu != SIM_NONE) {
            sim_gpu_advance(sim, sim->vms[i].gpu);
        }
        track->waits_now += sim->vms[i].requests.count == 0; /* no wait goes on here */
        count_up(sim, track);
        track->got_ns[record->steps] = sim->vms[i].gpu_ns;
        for (uint32_t k = 0; k < SIM_ASIDES; k++) {
            track->budget_ns[k][record->steps] = track->budget_now_ns[k];
        }
        track->share_ns[record->steps] = track->share_now_ns;
        track->overruns[record->steps] = (uint32_t)sim->result->overruns - sim->vms[i].overruns;
        track->forgotten_ns[record->steps] = track->forgotten_now_ns;
        track->stretches[record->steps] = track->stretches_now;
        track->waits[record->steps] = track->waits_now;
    }
    record->steps++;
    if (record->enough_ns != 0 && sim->vms[0].gpu_ns >= record->enough_ns) {
        sim->end_ns = sim->now_ns;
    }
    sim_events_add(&sim->events, SIM_START_NS + record->steps * record->step_ns, SIM_EVENT_JUDGE, 0,
                   0);
}
