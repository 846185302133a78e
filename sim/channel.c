/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMs whose jobs are records of a channel (protocol 2); each is one process of the host.
 *
 * The mediator sees no record.  The guest writes it into the ring of its channel; the worker says
 * WANT when there is something to do, is given a turn, and takes records one after the other until
 * the turn's budget is used, others wait (turn_yield), or the ring is empty.  The core queues turns
 * as jobs, so the invariants of jobs hold for turns; and each record is answered once, in order.
 *
 * A turn is a job of the worker's queue: what remains of it is what remains of its record.
 */
#include "sim/internal.h"

#include <string.h>

#define REOPEN_NS (200 * NS_PER_MS)

/* ---- the guest's side ---- */

void sim_channel_open(struct sim *sim, struct sim_vm *vm)
{
    const VGPUChannelOpen open = {
        .profile = VGPU_PROFILE_OPS,
        .transports = 1u << VGPU_TRANSPORT_HOST,
        .geometry = {.lanes = 1,
                     .notice_bytes = VGPU_NOTICE_BYTES_MIN,
                     .command_bytes = VGPU_COMMAND_BYTES_MIN},
    };
    const struct frame frame = {
        .header = {.magic = VGPU_SOCKET_MAGIC,
                   .msg_type = VGPU_MSG_CHANNEL_OPEN,
                   .vm_id = vm->vm_id,
                   .pool_id = (uint8_t)vm->config.pool,
                   .priority = (uint8_t)vm->config.priority,
                   .payload_len = sizeof(open)},
        .payload = (const uint8_t *)&open,
    };

    core_session_frame(sim->core, vm->session, &frame, sim->now_ns);
}

static void on_opened(struct sim *sim, struct sim_vm *vm, const VGPUChannelOpened *opened)
{
    if (opened->status == VGPU_ERR_NONE) {
        sim_guest_channel(sim, vm, 0);
    } else {
        vm->refusals++;
        sim_guest_channel(sim, vm, REOPEN_NS);
    }
}

bool sim_channel_frame(struct sim *sim, struct sim_vm *vm, const VGPUSocketHeader *header,
                       const void *payload)
{
    VGPUChannelOpened opened;

    switch (header->msg_type) {
    case VGPU_MSG_CHANNEL_OPENED:
        memcpy(&opened, payload, sizeof(opened));
        on_opened(sim, vm, &opened);
        return true;
    case VGPU_MSG_CHANNEL_CLOSED: sim_guest_channel(sim, vm, REOPEN_NS); return true;
    default: return false;
    }
}

/* ---- between worker and core ---- */

static struct sim_worker *worker_of(struct sim *sim, const struct sim_vm *vm)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct sim_worker *worker = sim->workers[i];

        if (&sim->vms[worker->vm] == vm && worker->ready && !worker->dying && !worker->quit) {
            return worker;
        }
    }
    return NULL;
}

static void tell_core(struct sim *sim, const struct sim_worker *worker, enum sim_event_kind kind,
                      uint64_t channel)
{
    sim_worker_tell(sim, worker, sim->now_ns + sim->config->link_ns, kind, channel);
}

int sim_channel_start(struct sim *sim, uint64_t handle, uint64_t channel)
{
    struct sim_worker *worker = sim_worker_find(sim, handle);

    if (!worker || sim->vms[worker->vm].channel.handle != 0) {
        sim_violation(sim, "channel %llu begins in worker %llu, which is gone or has one",
                      (unsigned long long)channel, (unsigned long long)handle);
        return -1;
    }
    sim->vms[worker->vm].channel = (struct sim_channel){.handle = channel};
    tell_core(sim, worker, SIM_EVENT_CHANNEL_OPENED, channel);
    return 0;
}

void sim_channel_stop(struct sim *sim, uint64_t handle, uint64_t channel)
{
    struct sim_worker *worker = sim_worker_find(sim, handle);

    if (!worker) {
        return; /* the core hears of its end */
    }
    if (sim->vms[worker->vm].channel.handle == channel) {
        sim->vms[worker->vm].channel.handle = 0; /* what is in its ring is not looked at */
    }
    tell_core(sim, worker, SIM_EVENT_CHANNEL_CLOSED, channel);
}

/* There is work, and nobody has been asked for the next turn. */
static void want(struct sim *sim, struct sim_vm *vm)
{
    struct sim_worker *worker = worker_of(sim, vm);

    if (worker && vm->channel.handle != 0 && !vm->channel.wants) {
        vm->channel.wants = true;
        tell_core(sim, worker, SIM_EVENT_CHANNEL_WANT, vm->channel.handle);
    }
}

void sim_channel_record(struct sim *sim, struct sim_vm *vm)
{
    if (vm->channel.turns == 0) {
        want(sim, vm);
    }
}

void sim_channel_turn(struct sim *sim, uint64_t handle, uint64_t job_id, uint64_t channel,
                      uint64_t budget_ns)
{
    struct sim_worker *worker = sim_worker_find(sim, handle);
    struct sim_job job = {.id = job_id, .channel = channel, .budget_ns = budget_ns};
    struct sim_vm *vm;

    if (!worker) {
        sim_violation(sim, "a turn is given to worker %llu, which is gone",
                      (unsigned long long)handle);
        return;
    }
    vm = &sim->vms[worker->vm];
    if (channel == vm->channel.handle) {
        if (!vm->channel.wants) {
            sim_violation(sim, "VM %u is given a turn that it did not ask for", vm->vm_id);
        }
        vm->channel.wants = false;
        vm->channel.turns++;
    }
    if (sim_check_turn(sim, worker)) {
        worker->yield_ns = UINT64_MAX; /* it was about the turn before */
        sim_worker_take(sim, worker, &job);
    }
}

void sim_channel_event(struct sim *sim, struct sim_worker *worker, const struct sim_event *event)
{
    struct sim_vm *vm = &sim->vms[worker->vm];

    switch (event->kind) {
    case SIM_EVENT_CHANNEL_OPENED:
        core_channel_opened(sim->core, worker->handle, event->serial, VGPU_ERR_NONE, sim->now_ns);
        break;
    case SIM_EVENT_CHANNEL_CLOSED:
        core_channel_closed(sim->core, worker->handle, event->serial, VGPU_CLOSED_ASKED,
                            sim->now_ns);
        break;
    default:
        if (vm->channel.handle == event->serial) {
            core_turn_want(sim->core, worker->handle, event->serial, sim->now_ns);
        }
        break;
    }
}

/* ---- a turn on the GPU ---- */

static struct sim_request *next_record(struct sim_vm *vm)
{
    struct sim_request *record = TAILQ_FIRST(&vm->requests.all);

    return record && !record->dispatched ? record : NULL;
}

bool sim_channel_next(struct sim *sim, struct sim_worker *worker, struct sim_job *job)
{
    struct sim_vm *vm = &sim->vms[worker->vm];
    struct sim_request *record = vm->channel.handle == job->channel ? next_record(vm) : NULL;
    bool begun = job->began_ns != 0;

    if (!record || worker->quit ||
        (begun && (job->used_ns >= job->budget_ns || sim->now_ns >= worker->yield_ns))) {
        return false;
    }
    sim_check_record(sim, vm, record);
    job->record = record->id;
    job->remaining_ns = record->spin_us * NS_PER_US;
    if (job->used_ns + job->remaining_ns >= job->budget_ns / 2 && TAILQ_NEXT(record, link)) {
        want(sim, vm);
    }
    return true;
}

void sim_channel_answer(struct sim *sim, struct sim_worker *worker, struct sim_job *job)
{
    struct sim_vm *vm = &sim->vms[worker->vm];
    struct sim_request *record = TAILQ_FIRST(&vm->requests.all);

    if (vm->channel.handle != job->channel || job->record == 0) {
        return; /* the channel is gone, and its ring */
    }
    if (!record || record->id != job->record || !record->dispatched) {
        sim_violation(sim, "VM %u: record %u ends, which is not its oldest", vm->vm_id,
                      job->record);
        return;
    }
    job->record = 0;
    TAILQ_REMOVE(&vm->requests.all, record, link);
    vm->requests.count--;
    sim_guest_answered(sim, vm, record, true);
}

void sim_channel_turn_ends(struct sim *sim, struct sim_worker *worker, const struct sim_job *job)
{
    struct sim_vm *vm = &sim->vms[worker->vm];

    if (vm->channel.handle == job->channel) {
        vm->channel.turns--;
        if (vm->channel.turns == 0 && next_record(vm)) {
            want(sim, vm);
        }
    }
}
