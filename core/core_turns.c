/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns of channels: a channel that wants the GPU has jobs of the scheduler's in its name, at most
 * CORE_CHANNEL_TURNS_MAX at a time.  It wants on while there is no room for another one.
 */
#include "core/core_internal.h"

static bool queue_turn(struct core *core, struct core_channel *channel, uint64_t now_ns)
{
    if (!core_turn_submit(core, channel->vm, channel->handle, now_ns)) {
        return false;
    }
    channel->turns++;
    return true;
}

void core_turn_want(struct core *core, uint64_t worker, uint64_t handle, uint64_t now_ns)
{
    struct core_channel *channel = core_channel_find(core, worker, handle);
    uint32_t slot;

    if (!channel || channel->state != CORE_CHANNEL_OPEN || channel->wants) {
        return;
    }
    slot = channel->vm;
    if (channel->turns == CORE_CHANNEL_TURNS_MAX || !queue_turn(core, channel, now_ns)) {
        channel->wants = true;
        core->vms[slot].channels_wanting++;
    }
    core_vm_after(core, slot, now_ns);
}

void core_channel_turn_over(struct core *core, uint64_t handle)
{
    struct core_channel *channel = core_channel_get(core, handle);

    if (channel) {
        channel->turns--;
    }
}

void core_channel_turn_lost(struct core *core, uint64_t handle)
{
    struct core_channel *channel = core_channel_get(core, handle);

    if (channel && channel->state == CORE_CHANNEL_OPEN && !channel->wants) {
        channel->wants = true;
        core->vms[channel->vm].channels_wanting++;
    }
}

void core_channels_queue_turns(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    for (uint32_t i = 0; i < CORE_CHANNELS_MAX && vm->channels_wanting > 0; i++) {
        struct core_channel *channel = &core->channels[i];

        if (channel->state == CORE_CHANNEL_OPEN && channel->vm == slot && channel->wants &&
            channel->turns < CORE_CHANNEL_TURNS_MAX) {
            if (!queue_turn(core, channel, now_ns)) {
                return; /* no room among its jobs; asked again when one has ended */
            }
            channel->wants = false;
            vm->channels_wanting--;
        }
    }
}
