/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/test_channel_world.h"

VGPUChannelOpen open_frame(uint32_t number)
{
    return (VGPUChannelOpen){
        .channel = number,
        .profile = VGPU_PROFILE_OPS,
        .transports = 1u << VGPU_TRANSPORT_HOST,
        .geometry = {.lanes = 1, .notice_bytes = 4096, .command_bytes = 131072},
    };
}

void ask(uint32_t session, uint32_t vm_id, const VGPUChannelOpen *open)
{
    frame_in(session, VGPU_MSG_CHANNEL_OPEN, vm_id, 0, open, sizeof(*open));
}

void closed_by_worker(uint32_t reason)
{
    core_channel_closed(w.core, w.channel.worker, w.channel.handle, reason, w.now_ns);
}

void small_memory(struct core_config *config)
{
    config->channel_memory_vm_bytes = 200000;
}

void remove_chunk(uint32_t session, uint32_t chunk)
{
    const VGPUChunkRemove remove = {.chunk = chunk};

    frame_in(session, VGPU_MSG_CHUNK_REMOVE, 7, 0, &remove, sizeof(remove));
}

void chunk_added(uint32_t chunk, uint32_t status)
{
    core_chunk_added(w.core, w.channel.worker, w.channel.handle, chunk, status);
}
