/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels of a mediator that was before this one.
 *
 * A worker that lives on has them, and each goes on at once: what it may do depends on its VM
 * alone.  It has no session, until its process connects and shows the end of the pipe that the old
 * mediator gave it.  A process that never needs to say anything never has to come.
 */
#include "core/core_internal.h"

void core_leave(struct core *core)
{
    core->leaving = true;
}

void core_worker_offer(struct core *core, bool has_uuid, const uint8_t *uuid, uint32_t vm_id,
                       uint32_t gpu, uint64_t now_ns)
{
    uint32_t slot = has_uuid ? core_vm_find_uuid(core, uuid) : core_vm_find(core, vm_id);
    struct core_vm *vm;

    if (slot == CORE_NONE || core->vms[slot].config.quarantined ||
        core->vms[slot].worker.state != CORE_WORKER_NONE) {
        return;
    }
    vm = &core->vms[slot];
    if (vm->gpu == CORE_NONE && gpu < core->placement.gpu_count &&
        placement_allows(&core->placement, vm->config.pool, gpu)) {
        core_vm_attach(core, slot, gpu, now_ns);
    }
    if (core_vm_place(core, slot, now_ns)) {
        core_vm_used_again(core, slot);
        core_worker_want(core, slot, now_ns);
        core_vm_after(core, slot, now_ns);
    }
}

uint64_t core_channel_adopt(struct core *core, uint64_t worker,
                            const struct core_channel_held *held, uint64_t now_ns)
{
    uint32_t slot = core_worker_slot(core, worker);
    struct core_channel *channel;
    struct core_vm *vm;
    struct vgpu_channel_layout layout;
    uint64_t charged_bytes;

    if (slot == CORE_NONE || core->vms[slot].worker.state != CORE_WORKER_READY ||
        !(held->features & VGPU_CHANNEL_LIFE) ||
        (held->profile != VGPU_PROFILE_OPS && held->profile != VGPU_PROFILE_CUDA) ||
        held->transport > VGPU_TRANSPORT_COPIED || !vgpu_channel_layout(&held->geometry, &layout) ||
        core->vms[slot].channel_count >= CORE_CHANNELS_VM_MAX) {
        return 0;
    }
    charged_bytes = core_channel_charge(held->transport, layout.bytes);
    if (charged_bytes > core_channel_room(core, slot)) {
        return 0;
    }
    vm = &core->vms[slot];
    channel = core_vm_allocate_jobs(vm) == 0 ? core_channel_allocate(core) : NULL;
    if (!channel) {
        return 0;
    }
    *channel = (struct core_channel){
        .state = CORE_CHANNEL_OPEN,
        .handle = channel->handle,
        .vm = slot,
        .open = {.profile = held->profile, .features = held->features, .geometry = held->geometry},
        .transport = (enum vgpu_channel_transport)held->transport,
        .bytes = layout.bytes,
        .charged_bytes = charged_bytes,
        .named = true,
        .opened = true,
        .program = {.opened_ns = now_ns, .adopted = true},
    };

    vm->channel_count++;
    vm->channel_bytes += charged_bytes;
    core->channel_bytes += charged_bytes;
    if (!core_chunks_adopt(core, channel, held)) {
        core_channel_forget(core, channel);
        return 0;
    }
    core_vm_used_again(core, slot);
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_CHANNEL_OPENED,
                          .session = CORE_NONE,
                          .vm = slot,
                          .gpu = vm->gpu,
                          .code = held->transport,
                          .text = "it goes on from the mediator before",
                      });
    core_vm_after(core, slot, now_ns);
    return channel->handle;
}

/* Whose it is from now on.  enum vgpu_error. */
static enum vgpu_error claim(struct core *core, uint32_t session, uint32_t number, int life)
{
    uint32_t slot = core->sessions[session].vm;
    uint64_t handle;
    struct core_channel *channel;

    if (core->sessions[session].state != CORE_SESSION_BOUND) {
        return VGPU_ERR_VM_NOT_REGISTERED;
    }
    handle = core->effects.channel_match
                 ? core->effects.channel_match(core->effects.opaque, &core->vms[slot].config, life)
                 : CORE_NO_CHANNEL;
    if (handle == 0) {
        return VGPU_ERR_QUEUE_FULL;
    }
    channel = handle == CORE_NO_CHANNEL ? NULL : core_channel_get(core, handle);
    if (!channel || channel->state != CORE_CHANNEL_OPEN || channel->vm != slot ||
        (channel->transport == VGPU_TRANSPORT_HOST) != core->sessions[session].host ||
        core_channel_has_session(core, channel)) {
        return VGPU_ERR_CUDA_ERROR;
    }
    channel->session = session;
    channel->session_serial = core->sessions[session].serial;
    channel->open.channel = number;
    return VGPU_ERR_NONE;
}

bool core_channel_resume(struct core *core, uint32_t session, const VGPUChannelResume *resume,
                         int life, uint64_t now_ns)
{
    VGPUChannelResume answer = {.channel = resume->channel};
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = VGPU_MSG_CHANNEL_RESUME,
        .vm_id = core->sessions[session].claimed_id,
        .payload_len = sizeof(answer),
    };

    if (!core_session_resumes(core, session) || life < 0 || resume->channel >= VGPU_CHANNELS_MAX ||
        core_channel_numbered(core, session, resume->channel)) {
        return false;
    }
    answer.status = claim(core, session, resume->channel, life);
    core->effects.send(core->effects.opaque, session, &header, &answer);
    if (core->sessions[session].vm != CORE_NONE) {
        core_vm_after(core, core->sessions[session].vm, now_ns);
    }
    return true;
}

void core_channel_left(struct core *core, uint64_t handle, uint64_t now_ns)
{
    struct core_channel *channel = core_channel_get(core, handle);

    if (channel && !core_channel_has_session(core, channel)) {
        core_channel_stop(core, channel, VGPU_CLOSED_SESSION);
        core_vm_after(core, channel->vm, now_ns);
    }
}
