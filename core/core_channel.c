/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels: which process may have one, and how it ends.  core_turns.c: when it may use the GPU.
 *
 *   FREE ──OPEN frame──► WAITING ──its worker is ready──► STARTING ──the worker has it──► OPEN
 *   OPEN, STARTING ──CLOSE, bad input, the session or the VM goes──► CLOSING ──let go──► FREE
 *
 * What a channel's records mean is the worker's business.  When one of them needs the GPU, the
 * worker says WANT; a turn is queued as a job among the VM's others and is charged as one, so
 * shares, time limits and quarantine hold for channels as for requests.  The session gets one
 * OPENED for each OPEN and one CLOSED for each channel that was open.
 */
#include "core/core_internal.h"

struct core_channel *core_channel_get(struct core *core, uint64_t handle)
{
    struct core_channel *channel = &core->channels[handle % CORE_CHANNELS_MAX];

    return channel->state != CORE_CHANNEL_FREE && channel->handle == handle ? channel : NULL;
}

struct core_channel *core_channel_find(struct core *core, uint64_t worker, uint64_t handle)
{
    struct core_channel *channel = core_channel_get(core, handle);

    return channel && worker != 0 && core->vms[channel->vm].worker.handle == worker ? channel
                                                                                    : NULL;
}

bool core_channel_has_session(const struct core *core, const struct core_channel *channel)
{
    const struct core_session *session = &core->sessions[channel->session];

    return session->state != CORE_SESSION_FREE && session->serial == channel->session_serial;
}

static void send(struct core *core, uint32_t session, uint64_t handle, uint32_t type, void *payload,
                 uint32_t bytes)
{
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = type,
        .vm_id = core->sessions[session].claimed_id,
        .payload_len = bytes,
    };

    if (handle) {
        core->effects.channel_send(core->effects.opaque, session, handle, &header, payload);
    } else {
        core->effects.send(core->effects.opaque, session, &header, payload);
    }
}

/* The one OPENED.  handle 0: there is no channel. */
static void send_opened(struct core *core, uint32_t session, const VGPUChannelOpen *open,
                        enum vgpu_channel_transport transport, enum vgpu_error status,
                        uint64_t handle, uint64_t bytes)
{
    VGPUChannelOpened opened = {
        .channel = open->channel,
        .status = status,
        .transport = transport,
        .features = open->features & (VGPU_CHANNEL_BULK | VGPU_CHANNEL_LIFE),
        .geometry = open->geometry,
        .chunk0_bytes = status == VGPU_ERR_NONE ? bytes : 0,
    };

    send(core, session, handle, VGPU_MSG_CHANNEL_OPENED, &opened, sizeof(opened));
}

static bool has_channels(const struct core *core, uint32_t session)
{
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX; i++) {
        if (core->channels[i].state != CORE_CHANNEL_FREE && core->channels[i].session == session &&
            core_channel_has_session(core, &core->channels[i])) {
            return true;
        }
    }
    return false;
}

/* The answer to CHANNEL_RESET, behind the last word on each channel. */
static void answer_reset(struct core *core, uint32_t session)
{
    if (core->sessions[session].resetting && !has_channels(core, session)) {
        core->sessions[session].resetting = false;
        send(core, session, 0, VGPU_MSG_CHANNEL_RESET, NULL, 0);
    }
}

void core_channel_forget(struct core *core, struct core_channel *channel)
{
    struct core_vm *vm = &core->vms[channel->vm];

    core->effects.channel_free(core->effects.opaque, channel->handle);
    core_chunks_forget(channel);
    vm->channel_count--;
    vm->channels_waiting -= channel->state == CORE_CHANNEL_WAITING;
    vm->channels_wanting -= channel->wants;
    vm->channel_bytes -= channel->charged_bytes;
    core->channel_bytes -= channel->charged_bytes;
    channel->state = CORE_CHANNEL_FREE;
    if (core_channel_has_session(core, channel)) {
        answer_reset(core, channel->session);
    }
}

static void refuse(struct core *core, struct core_channel *channel, enum vgpu_error status)
{
    if (core_channel_has_session(core, channel)) {
        send_opened(core, channel->session, &channel->open, channel->transport, status, 0, 0);
    }
    core_channel_forget(core, channel);
}

static void report(struct core *core, const struct core_channel *channel, enum core_event_kind kind,
                   uint32_t code)
{
    core_report(
        core, &(struct core_event){
                  .kind = kind,
                  .session = core_channel_has_session(core, channel) ? channel->session : CORE_NONE,
                  .vm = channel->vm,
                  .gpu = core->vms[channel->vm].gpu,
                  .code = code,
                  .value = channel->open.channel,
              });
}

/* Nobody on the host has it any more. */
static void gone(struct core *core, struct core_channel *channel, uint32_t reason)
{
    VGPUChannelClose closed = {.channel = channel->open.channel, .reason = reason};

    if (!channel->opened) {
        /* A worker that another program of the VM has ended meanwhile: the next one comes. */
        refuse(core, channel,
               reason == VGPU_CLOSED_WORKER_LOST ? VGPU_ERR_QUEUE_FULL : VGPU_ERR_GPU_UNAVAILABLE);
        return;
    }
    report(core, channel, CORE_EVENT_CHANNEL_CLOSED, reason);
    if (core_channel_has_session(core, channel)) {
        send(core, channel->session, 0, VGPU_MSG_CHANNEL_CLOSED, &closed, sizeof(closed));
    }
    core_channel_forget(core, channel);
}

void core_channel_stop(struct core *core, struct core_channel *channel, uint32_t reason)
{
    switch (channel->state) {
    case CORE_CHANNEL_WAITING: gone(core, channel, reason); break;
    case CORE_CHANNEL_STARTING:
    case CORE_CHANNEL_OPEN:
        core->vms[channel->vm].channels_wanting -= channel->wants;
        channel->wants = false;
        channel->state = CORE_CHANNEL_CLOSING;
        channel->reason = reason;
        core->effects.channel_stop(core->effects.opaque, core->vms[channel->vm].worker.handle,
                                   channel->handle, reason);
        break;
    default: break;
    }
}

uint64_t core_channel_charge(uint32_t transport, uint64_t bytes)
{
    return transport == VGPU_TRANSPORT_SHARED ? 0 : bytes;
}

uint64_t core_channel_room(const struct core *core, uint32_t slot)
{
    uint64_t of_vm = core->config.channel_memory_vm_bytes - core->vms[slot].channel_bytes;
    uint64_t of_all = core->config.channel_memory_bytes - core->channel_bytes;

    return of_vm < of_all ? of_vm : of_all;
}

/* ---- opening ---- */

/* The one that the session may have and offers.  False: there is none. */
static bool choose_transport(const struct core_session *session, const VGPUChannelOpen *open,
                             enum vgpu_channel_transport *transport)
{
    *transport = session->host                                      ? VGPU_TRANSPORT_HOST
                 : open->transports & (1u << VGPU_TRANSPORT_SHARED) ? VGPU_TRANSPORT_SHARED
                                                                    : VGPU_TRANSPORT_COPIED;
    /* CUDA's calls touch memory at any time: not where a copy has to be asked for. */
    return (open->transports & (1u << *transport)) != 0 &&
           (*transport != VGPU_TRANSPORT_COPIED || open->profile == VGPU_PROFILE_OPS);
}

/* Fills in the channel's transport and sizes. */
static enum vgpu_error examine(struct core *core, uint32_t session, const VGPUChannelOpen *open,
                               struct core_channel *channel)
{
    const struct core_session *state = &core->sessions[session];
    const struct core_vm *vm = &core->vms[state->vm];
    struct vgpu_channel_layout layout;

    if (vm->config.quarantined) {
        return VGPU_ERR_VM_QUARANTINED;
    }
    if ((open->profile != VGPU_PROFILE_OPS && open->profile != VGPU_PROFILE_CUDA) ||
        !choose_transport(state, open, &channel->transport)) {
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    if (!vgpu_channel_layout(&open->geometry, &layout)) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (vm->channel_count >= CORE_CHANNELS_VM_MAX) {
        return VGPU_ERR_QUEUE_FULL;
    }
    if (open->profile == VGPU_PROFILE_CUDA) {
        enum vgpu_error status = core_program_admit(core, session);

        if (status != VGPU_ERR_NONE) {
            return status;
        }
    }
    channel->bytes = layout.bytes;
    channel->charged_bytes = core_channel_charge(channel->transport, layout.bytes);
    if (channel->charged_bytes > core_channel_room(core, state->vm)) {
        return VGPU_ERR_MEMORY_LIMIT;
    }
    return VGPU_ERR_NONE;
}

struct core_channel *core_channel_allocate(struct core *core)
{
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX; i++) {
        if (core->channels[i].state == CORE_CHANNEL_FREE) {
            core->channels[i] = (struct core_channel){
                .handle = ++core->next_channel * CORE_CHANNELS_MAX + i,
            };
            return &core->channels[i];
        }
    }
    return NULL;
}

struct core_channel *core_channel_numbered(struct core *core, uint32_t session, uint32_t number)
{
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX; i++) {
        struct core_channel *channel = &core->channels[i];

        if (channel->state != CORE_CHANNEL_FREE && channel->session == session &&
            core_channel_has_session(core, channel) && channel->open.channel == number) {
            return channel;
        }
    }
    return NULL;
}

static enum vgpu_error admit(struct core *core, uint32_t session, const VGPUChannelOpen *open,
                             int lease, uint64_t now_ns)
{
    uint32_t slot = core->sessions[session].vm;
    struct core_vm *vm = &core->vms[slot];
    struct core_channel *channel, wanted = {.session = session, .vm = slot, .open = *open};
    enum vgpu_error status = examine(core, session, open, &wanted);

    if (!core_session_resumes(core, session)) {
        wanted.open.features &= ~VGPU_CHANNEL_LIFE;
    }
    if (status != VGPU_ERR_NONE) {
        return status;
    }
    if (!core_vm_place(core, slot, now_ns)) {
        return core_pool_gpus(core, vm->config.pool) || core_gpu_count(core) == 0
                   ? VGPU_ERR_GPU_UNAVAILABLE
                   : VGPU_ERR_INVALID_POOL;
    }
    if (vm->worker.state == CORE_WORKER_BACKOFF &&
        vm->worker.start_failures >= CORE_START_FAILURES_MAX) {
        return VGPU_ERR_GPU_UNAVAILABLE;
    }
    channel = core_channel_allocate(core);
    if (!channel || (lease >= 0 && core->effects.channel_lease(core->effects.opaque,
                                                               channel->handle, lease) < 0)) {
        return VGPU_ERR_QUEUE_FULL;
    }
    wanted.handle = channel->handle;
    wanted.state = CORE_CHANNEL_WAITING;
    wanted.session_serial = core->sessions[session].serial;
    wanted.named = wanted.transport != VGPU_TRANSPORT_SHARED;
    *channel = wanted;
    vm->channel_count++;
    vm->channels_waiting++;
    vm->channel_bytes += channel->charged_bytes;
    core->channel_bytes += channel->charged_bytes;
    core_channels_start(core, slot);
    core_vm_after(core, slot, now_ns);
    return VGPU_ERR_NONE;
}

bool core_channel_open(struct core *core, uint32_t session, const VGPUChannelOpen *open, int lease,
                       uint64_t now_ns)
{
    enum vgpu_error status = VGPU_ERR_VM_NOT_REGISTERED;

    if (open->channel >= VGPU_CHANNELS_MAX || core_channel_numbered(core, session, open->channel) ||
        core->sessions[session].host != (lease < 0)) {
        return false;
    }
    if (core->sessions[session].state == CORE_SESSION_BOUND) {
        status = admit(core, session, open, lease, now_ns);
    }
    if (status != VGPU_ERR_NONE) {
        send_opened(core, session, open, VGPU_TRANSPORT_HOST, status, 0, 0);
    }
    return true;
}

bool core_channel_part(struct core *core, uint32_t session, const VGPUChunkAdd *add,
                       const VGPUPiece *pieces, int fd, uint64_t now_ns)
{
    struct core_channel *channel = core_channel_numbered(core, session, add->channel);
    uint64_t bytes;
    uint32_t slot;

    if (!channel || channel->state == CORE_CHANNEL_CLOSING) {
        return true; /* its end is on the way to the device */
    }
    if (channel->transport != VGPU_TRANSPORT_SHARED || channel->named ||
        !core_part_is_right(add, pieces, channel->bytes, channel->named_bytes, &bytes)) {
        return false;
    }
    slot = channel->vm;
    if (core->effects.channel_part(core->effects.opaque, channel->handle, add, pieces, fd) < 0) {
        refuse(core, channel, VGPU_ERR_INVALID_REQUEST);
    } else {
        channel->named_bytes += bytes;
        channel->named = channel->named_bytes == channel->bytes;
        core_channels_start(core, slot);
    }
    core_vm_after(core, slot, now_ns);
    return true;
}

void core_channels_start(struct core *core, uint32_t slot)
{
    struct core_vm *vm = &core->vms[slot];

    for (uint32_t i = 0; i < CORE_CHANNELS_MAX && vm->channels_waiting > 0; i++) {
        struct core_channel *channel = &core->channels[i];

        if (channel->state != CORE_CHANNEL_WAITING || channel->vm != slot || !channel->named ||
            vm->worker.state != CORE_WORKER_READY) {
            continue;
        }
        vm->channels_waiting--;
        channel->state = CORE_CHANNEL_STARTING;
        if (core->effects.channel_start(core->effects.opaque, vm->worker.handle, channel->handle,
                                        channel->transport, &channel->open, channel->bytes) < 0) {
            refuse(core, channel, VGPU_ERR_MEMORY_LIMIT);
        }
    }
}

void core_channel_opened(struct core *core, uint64_t worker, uint64_t handle, uint32_t status,
                         uint64_t now_ns)
{
    struct core_channel *channel = core_channel_find(core, worker, handle);
    uint32_t slot;

    if (!channel || channel->opened) {
        return;
    }
    slot = channel->vm;
    if (status != VGPU_ERR_NONE) {
        refuse(core, channel, status < VGPU_ERR_COUNT ? status : VGPU_ERR_GPU_UNAVAILABLE);
    } else if (channel->state == CORE_CHANNEL_STARTING) {
        channel->state = CORE_CHANNEL_OPEN;
        channel->opened = true;
        channel->program.opened_ns = now_ns;
        report(core, channel, CORE_EVENT_CHANNEL_OPENED, channel->transport);
        send_opened(core, channel->session, &channel->open, channel->transport, VGPU_ERR_NONE,
                    handle, channel->bytes);
    }
    core_vm_after(core, slot, now_ns);
}

/* ---- closing ---- */

void core_channel_close(struct core *core, uint32_t session, uint32_t number, uint64_t now_ns)
{
    struct core_channel *channel = core_channel_numbered(core, session, number);

    if (channel && channel->state == CORE_CHANNEL_OPEN) {
        core_channel_stop(core, channel, VGPU_CLOSED_ASKED);
        core_vm_after(core, channel->vm, now_ns);
    }
}

static void stop_session(struct core *core, uint32_t session, uint32_t reason)
{
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX; i++) {
        struct core_channel *channel = &core->channels[i];

        /* Its number may be another's next; the serial tells them apart. */
        if (channel->state != CORE_CHANNEL_FREE && channel->session == session &&
            channel->session_serial == core->sessions[session].serial &&
            !(core->leaving && channel->state == CORE_CHANNEL_OPEN &&
              (channel->open.features & VGPU_CHANNEL_LIFE))) {
            core_channel_stop(core, channel, reason);
        }
    }
}

void core_channels_reset(struct core *core, uint32_t session, uint64_t now_ns)
{
    uint32_t slot = core->sessions[session].vm;

    stop_session(core, session, VGPU_CLOSED_RESET);
    core->sessions[session].resetting = true;
    answer_reset(core, session);
    if (slot != CORE_NONE) {
        core_vm_after(core, slot, now_ns);
    }
}

void core_channels_leave(struct core *core, uint32_t session)
{
    stop_session(core, session, VGPU_CLOSED_SESSION);
}

void core_channels_stop(struct core *core, uint32_t slot, enum vgpu_channel_reason reason,
                        enum vgpu_error refusal)
{
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX && core->vms[slot].channel_count > 0; i++) {
        struct core_channel *channel = &core->channels[i];

        if (channel->state == CORE_CHANNEL_FREE || channel->vm != slot) {
            continue;
        }
        if (channel->state != CORE_CHANNEL_WAITING) {
            core_channel_stop(core, channel, reason);
        } else if (refusal != VGPU_ERR_NONE) {
            refuse(core, channel, refusal);
        }
    }
}

void core_channels_refuse_waiting(struct core *core, uint32_t slot, enum vgpu_error status)
{
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX && core->vms[slot].channels_waiting > 0; i++) {
        if (core->channels[i].state == CORE_CHANNEL_WAITING && core->channels[i].vm == slot) {
            refuse(core, &core->channels[i], status);
        }
    }
}

/* The worker is gone, and with it all that it had mapped. */
void core_channels_lost(struct core *core, uint32_t slot)
{
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX && core->vms[slot].channel_count > 0; i++) {
        struct core_channel *channel = &core->channels[i];

        if (channel->vm != slot || channel->state == CORE_CHANNEL_FREE ||
            channel->state == CORE_CHANNEL_WAITING) {
            continue;
        }
        gone(core, channel,
             channel->state == CORE_CHANNEL_CLOSING ? channel->reason : VGPU_CLOSED_WORKER_LOST);
    }
}

/* Reasons that say that the process did what it must not. */
static bool is_fault(uint32_t reason)
{
    return reason == VGPU_CLOSED_BAD_POSITION || reason == VGPU_CLOSED_BAD_RECORD ||
           reason == VGPU_CLOSED_BAD_CHUNK;
}

void core_channel_closed(struct core *core, uint64_t worker, uint64_t handle, uint32_t reason,
                         uint64_t now_ns)
{
    struct core_channel *channel = core_channel_find(core, worker, handle);
    uint32_t slot;

    if (!channel || channel->state == CORE_CHANNEL_WAITING) {
        return;
    }
    slot = channel->vm;
    reason = reason < VGPU_CLOSED_COUNT ? reason : VGPU_CLOSED_WORKER_LOST;
    if (is_fault(reason)) {
        core_vm_fault(core, slot, VGPU_ERR_INVALID_REQUEST, 0, now_ns);
        if (core_channel_get(core, handle) != channel) {
            return;
        }
    } else if (channel->state == CORE_CHANNEL_CLOSING) {
        reason = channel->reason;
    }
    gone(core, channel, reason);
    core_vm_after(core, slot, now_ns);
}

/* ---- what a session and a VM have ---- */

/* The session's next open channel from slot *i on, or NULL. */
static const struct core_channel *next_open(const struct core *core, uint32_t session, uint32_t *i)
{
    while (*i < CORE_CHANNELS_MAX) {
        const struct core_channel *channel = &core->channels[(*i)++];

        if (channel->state == CORE_CHANNEL_OPEN && channel->session == session &&
            core_channel_has_session(core, channel)) {
            return channel;
        }
    }
    return NULL;
}

uint32_t core_vm_cuda_channels(const struct core *core, uint32_t vm)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < CORE_CHANNELS_MAX; i++) {
        const struct core_channel *channel = &core->channels[i];

        count += channel->state != CORE_CHANNEL_FREE && channel->state != CORE_CHANNEL_WAITING &&
                 channel->vm == vm && channel->open.profile == VGPU_PROFILE_CUDA;
    }
    return count;
}

uint32_t core_session_channels(const struct core *core, uint32_t session)
{
    uint32_t count = 0, i = 0;

    while (next_open(core, session, &i)) {
        count++;
    }
    return count;
}

uint32_t core_session_transports(const struct core *core, uint32_t session)
{
    const struct core_channel *channel;
    uint32_t transports = 0, i = 0;

    while ((channel = next_open(core, session, &i)) != NULL) {
        transports |= 1u << channel->transport;
    }
    return transports;
}
