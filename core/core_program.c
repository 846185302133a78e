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

/* ---- figures ---- */

static void count(struct core *core, uint32_t slot, enum metrics_counter counter, uint64_t before,
                  uint64_t now)
{
    if (now > before) {
        metrics_record_count(core->metrics, slot, counter, now - before);
    }
}

void core_worker_adopted(struct core *core, uint64_t worker)
{
    uint32_t slot = core_worker_slot(core, worker);

    if (slot != CORE_NONE) {
        core->vms[slot].worker.adopted = true;
    }
}

void core_worker_figures(struct core *core, uint64_t worker, const vgpu_worker_figures *figures)
{
    uint32_t slot = core_worker_slot(core, worker);
    vgpu_worker_figures *seen;

    if (slot == CORE_NONE) {
        return;
    }
    seen = &core->vms[slot].worker.figures;
    if (!core->vms[slot].worker.adopted) {
        count(core, slot, METRICS_CUDA_UNITS, seen->units, figures->units);
        count(core, slot, METRICS_CUDA_COPIES, seen->copies, figures->copies);
        count(core, slot, METRICS_CUDA_TURNS, seen->turns, figures->turns);
        count(core, slot, METRICS_CUDA_REFUSED, seen->refused, figures->refused);
    }
    core->vms[slot].worker.adopted = false;
    *seen = *figures;
}

void core_program_figures(struct core *core, uint64_t worker, uint64_t handle,
                          const vgpu_worker_program *program, uint64_t now_ns)
{
    struct core_channel *channel = core_channel_find(core, worker, handle);
    struct core_program_seen *seen;

    if (!channel || channel->open.profile != VGPU_PROFILE_CUDA) {
        return;
    }
    seen = &channel->program;
    for (uint32_t i = seen->figures.name_count; !seen->adopted && i < program->name_count; i++) {
        metrics_record_refused(core->metrics, channel->vm, program->names[i]);
    }
    if (seen->told_ns != 0 && now_ns > seen->told_ns && program->units >= seen->figures.units) {
        seen->units_per_s = (double)(program->units - seen->figures.units) * NS_PER_S /
                            (double)(now_ns - seen->told_ns);
    }
    seen->adopted = false;
    seen->told_ns = now_ns;
    seen->figures = *program;
}

/* Figures come each second while something changes: later than this nothing did. */
#define QUIET_NS (3 * NS_PER_S)

bool core_program_stats(const struct core *core, uint32_t index, uint64_t now_ns,
                        struct core_program_stats *stats)
{
    const struct core_channel *channel = &core->channels[index];
    const struct core_program_seen *seen = &channel->program;

    if (channel->open.profile != VGPU_PROFILE_CUDA ||
        (channel->state != CORE_CHANNEL_OPEN && channel->state != CORE_CHANNEL_CLOSING)) {
        return false;
    }
    *stats = (struct core_program_stats){
        .vm = channel->vm,
        .session = core_channel_has_session(core, channel) ? channel->session : CORE_NONE,
        .number = channel->open.channel,
        .transport = channel->transport,
        .age_ns = now_ns > seen->opened_ns ? now_ns - seen->opened_ns : 0,
        .units_per_s = now_ns - seen->told_ns < QUIET_NS ? seen->units_per_s : 0,
        .figures = seen->figures,
    };
    return true;
}
