/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of a VM's programs on the CUDA driver interface: how many at a time, and how long a
 * kernel of theirs may run.
 *
 * Which of its channels are such programs the core knows itself.  How long a kernel runs only the
 * worker sees: it is told the limit and says which channel's kernel ran past it.  A worker that
 * says nothing, because its guest has taken it over, still has the job timeout over it.
 */
#include "core/core_internal.h"

/* Its programs that have a channel, or are about to get one; *ending: of which it is being taken.
 */
static uint32_t count_programs(const struct core *core, uint32_t slot, uint32_t *ending)
{
    uint32_t count = 0;

    *ending = 0;
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX && core->vms[slot].channel_count > 0; i++) {
        const struct core_channel *channel = &core->channels[i];

        if (channel->state != CORE_CHANNEL_FREE && channel->vm == slot &&
            channel->open.profile == VGPU_PROFILE_CUDA) {
            count++;
            *ending += channel->state == CORE_CHANNEL_CLOSING;
        }
    }
    return count;
}

enum vgpu_error core_program_admit(struct core *core, uint32_t session)
{
    uint32_t slot = core->sessions[session].vm, ending;
    const struct core_vm *vm = &core->vms[slot];
    uint32_t count = count_programs(core, slot, &ending);

    if (vm->config.max_processes == 0 || count < vm->config.max_processes) {
        return VGPU_ERR_NONE;
    }
    if (count - ending < vm->config.max_processes) {
        return VGPU_ERR_QUEUE_FULL; /* who asks again finds the place of one that ends */
    }
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_PROGRAM_REFUSED,
                          .session = session,
                          .vm = slot,
                          .gpu = vm->gpu,
                          .code = VGPU_ERR_RATE_LIMITED,
                          .value = vm->config.max_processes,
                          .text = vm->config.name,
                      });
    return VGPU_ERR_RATE_LIMITED;
}

void core_program_tell(struct core *core, uint32_t slot)
{
    struct core_vm *vm = &core->vms[slot];
    uint64_t kernel_ns = vm->config.max_kernel_ms * (uint64_t)NS_PER_MS;

    /* A worker of an earlier version would take the frame for nonsense. */
    if (vm->worker.state != CORE_WORKER_READY || !(vm->worker.flags & VGPU_WORKER_TAKES_LIMITS) ||
        vm->worker.told_kernel_ns == kernel_ns || !core->effects.worker_limits) {
        return;
    }
    vm->worker.told_kernel_ns = kernel_ns;
    core->effects.worker_limits(core->effects.opaque, vm->worker.handle, kernel_ns);
}

void core_kernel_late(struct core *core, uint64_t worker, uint64_t handle, uint32_t ran_ms,
                      uint64_t now_ns)
{
    struct core_channel *channel = core_channel_find(core, worker, handle);
    uint32_t slot;

    /* Its limit may have been taken away meanwhile, or raised. */
    if (!channel || channel->state != CORE_CHANNEL_OPEN ||
        channel->open.profile != VGPU_PROFILE_CUDA ||
        core->vms[channel->vm].config.max_kernel_ms == 0 ||
        ran_ms < core->vms[channel->vm].config.max_kernel_ms) {
        return;
    }
    slot = channel->vm;
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_KERNEL_TIMEOUT,
                          .session = CORE_NONE,
                          .vm = slot,
                          .gpu = core->vms[slot].gpu,
                          .value = ran_ms * (uint64_t)NS_PER_MS,
                          .text = core->vms[slot].config.name,
                      });
    core_worker_late(core, slot, handle, now_ns);
    core_vm_after(core, slot, now_ns);
}
