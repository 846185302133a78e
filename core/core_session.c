/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions: one per connection.
 *
 *   OPEN ──HELLO or REQUEST──► BOUND         the VM is known, free and served
 *                         └──► UNREGISTERED  known, but nobody registered it
 *                         └──► closed        not who it says, or a second session
 *
 * A peer that nobody knows must say something in time.  One that the host has
 * identified may be silent: a 1.0 device speaks with its guest's first request.
 *
 * An UNREGISTERED session stays, so that registering the VM takes effect at
 * once; until then its requests are answered with VM_NOT_REGISTERED.
 */
#include "core/core_internal.h"

#include <errno.h>
#include <string.h>

#define FEATURES_GRANTED (VGPU_FEATURE_CONFIG | VGPU_FEATURE_MULTI_REQUEST)
/* Of a process of the host.  A device gets CHANNELS beside those above. */
#define FEATURES_HOST (VGPU_FEATURE_CHANNELS | VGPU_FEATURE_HOST)
/* Frames of unknown type are skipped, for newer devices' sake, up to so many. */
#define UNKNOWN_FRAMES_MAX 64u

static void release(struct core *core, uint32_t session)
{
    core_session_enter(&core->sessions[session], CORE_SESSION_FREE);
    timers_set(&core->timers, CORE_VMS_MAX + session, TIMERS_NEVER);
}

/* The VM has lost a session: what waits is dropped, what runs may end. */
static void abandon_vm(struct core *core, uint32_t slot, bool host, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];

    if (host) {
        vm->host_sessions--;
        core_vm_after(core, slot, now_ns);
        return;
    }
    vm->session = CORE_NONE;
    vm->has_old_id = false;
    core_jobs_refuse_waiting(core, slot, VGPU_ERR_MEDIATOR_UNAVAILABLE, now_ns);
    core_vm_after(core, slot, now_ns);
}

static void close_session(struct core *core, uint32_t session, enum core_close_reason reason,
                          const char *text, uint64_t now_ns)
{
    uint32_t slot = core->sessions[session].vm;

    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_SESSION_REFUSED,
                          .session = session,
                          .vm = slot,
                          .vm_id = core->sessions[session].claimed_id,
                          .gpu = CORE_NONE,
                          .code = reason,
                          .text = text,
                      });
    core_channels_leave(core, session);
    release(core, session);
    core->effects.close_session(core->effects.opaque, session, reason);
    if (slot != CORE_NONE) {
        abandon_vm(core, slot, core->sessions[session].host, now_ns);
    }
}

int core_session_open(struct core *core, const struct core_identity *identity, uint64_t now_ns,
                      uint32_t *session)
{
    for (uint32_t i = 0; i < CORE_SESSIONS_MAX; i++) {
        if (core->sessions[i].state != CORE_SESSION_FREE) {
            continue;
        }
        core->sessions[i] = (struct core_session){
            .serial = ++core->next_serial,
            .identity = *identity,
            .vm = CORE_NONE,
            .opened_ns = now_ns,
        };
        core_session_enter(&core->sessions[i], CORE_SESSION_OPEN);
        if (identity->kind == CORE_IDENTITY_CLAIM) {
            timers_set(&core->timers, CORE_VMS_MAX + i, now_ns + core->config.first_frame_ns);
        }
        *session = i;
        return 0;
    }
    return -ENOSPC;
}

void core_session_tick(struct core *core, uint32_t session, uint64_t now_ns)
{
    if (core->sessions[session].state == CORE_SESSION_OPEN) {
        close_session(core, session, CORE_CLOSE_SILENT, "said nothing in time", now_ns);
    }
}

void core_sessions_unbind(struct core *core, uint32_t slot)
{
    struct core_vm *vm = &core->vms[slot];

    for (uint32_t i = 0;
         i < CORE_SESSIONS_MAX && (vm->session != CORE_NONE || vm->host_sessions > 0); i++) {
        struct core_session *state = &core->sessions[i];

        if (state->state != CORE_SESSION_BOUND || state->vm != slot) {
            continue;
        }
        if (state->host) {
            vm->host_sessions--;
        } else {
            vm->session = CORE_NONE;
        }
        state->vm = CORE_NONE;
        core_session_enter(state, CORE_SESSION_UNREGISTERED);
    }
}

void core_session_send_config(struct core *core, uint32_t session)
{
    const struct core_session *state = &core->sessions[session];
    const struct core_vm_config *config = &core->vms[state->vm].config;
    VGPUConfig payload = {
        .vm_id = config->vm_id,
        .pool_id = (uint8_t)config->pool,
        .priority = (uint8_t)config->priority,
    };
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = VGPU_MSG_CONFIG,
        .vm_id = config->vm_id,
        .pool_id = payload.pool_id,
        .priority = payload.priority,
        .payload_len = sizeof(payload),
    };

    core->effects.send(core->effects.opaque, session, &header, &payload);
}

/* ---- identity ---- */

static bool lists_id(const struct core_identity *identity, uint32_t vm_id)
{
    for (uint32_t i = 0; i < identity->vm_id_count; i++) {
        if (identity->vm_ids[i] == vm_id) {
            return true;
        }
    }
    return false;
}

/* The VM that this session is, CORE_NONE if it is not configured. */
static uint32_t identify(const struct core *core, const struct core_session *state)
{
    return state->identity.kind == CORE_IDENTITY_UUID
               ? core_vm_find_uuid(core, state->identity.uuid)
               : core_vm_find(core, state->claimed_id);
}

static uint32_t create_vm(struct core *core, const struct core_session *state,
                          const VGPUSocketHeader *header, uint64_t now_ns)
{
    struct core_vm_config config = {
        .vm_id = state->claimed_id,
        .pool = placement_pool_index((char)header->pool_id) >= 0 ? (char)header->pool_id
                                                                 : VGPU_POOL_FIRST,
        .priority = header->priority <= VGPU_PRIORITY_HIGH ? header->priority
                                                           : (uint32_t)VGPU_PRIORITY_MEDIUM,
        .weight = VGPU_WEIGHT_DEFAULT,
        .max_queue_depth = CORE_QUEUE_DEPTH_UNREGISTERED,
    };

    if (state->claimed_id == CORE_NONE) {
        return CORE_NONE;
    }
    if (state->identity.kind == CORE_IDENTITY_UUID) {
        config.has_uuid = true;
        memcpy(config.uuid, state->identity.uuid, sizeof(config.uuid));
    }
    memcpy(config.name, state->identity.name, sizeof(config.name));
    config.name[sizeof(config.name) - 1] = '\0';
    return core_vm_create_unregistered(core, &config, now_ns);
}

/* Makes the session its VM's.  False: it was closed. */
static bool bind_to(struct core *core, uint32_t session, uint32_t slot, uint64_t now_ns)
{
    struct core_session *state = &core->sessions[session];
    struct core_vm *vm = &core->vms[slot];

    if (vm->session != CORE_NONE && !state->host) {
        close_session(core, session, CORE_CLOSE_DUPLICATE,
                      "its VM has a connection already; one vgpu-stub per vm_id", now_ns);
        return false;
    }
    if (core_vm_allocate_jobs(vm) < 0) {
        close_session(core, session, CORE_CLOSE_REMOVED, "no memory for its jobs", now_ns);
        return false;
    }
    state->vm = slot;
    core_session_enter(state, CORE_SESSION_BOUND);
    if (state->host) {
        vm->host_sessions++;
    } else {
        vm->session = session;
    }
    vm->idle = false;
    vm->owes = false; /* it goes on with its account */
    if (state->features & VGPU_FEATURE_CONFIG) {
        vm->old_vm_id = state->claimed_id;
        vm->has_old_id = state->claimed_id != vm->config.vm_id;
    }
    timers_set(&core->timers, CORE_VMS_MAX + session, TIMERS_NEVER);
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_SESSION_BOUND,
                          .session = session,
                          .vm = slot,
                          .gpu = vm->gpu,
                      });
    return true;
}

/* First frame of an OPEN session.  False: it was closed. */
static bool bind_first(struct core *core, uint32_t session, const VGPUSocketHeader *header,
                       uint64_t now_ns)
{
    struct core_session *state = &core->sessions[session];
    uint32_t slot;

    state->claimed_id = header->vm_id;
    state->claimed_pool = header->pool_id;
    state->claimed_priority = header->priority;
    if (state->identity.kind == CORE_IDENTITY_IDS && !lists_id(&state->identity, header->vm_id)) {
        close_session(core, session, CORE_CLOSE_IDENTITY,
                      "its frame names a vm_id that its command line does not have", now_ns);
        return false;
    }
    slot = identify(core, state);
    if (slot == CORE_NONE && core->config.allow_unregistered) {
        slot = create_vm(core, state, header, now_ns);
        if (slot == CORE_NONE) {
            close_session(core, session, CORE_CLOSE_DUPLICATE,
                          "its vm_id belongs to another VM, or the table of VMs is full", now_ns);
            return false;
        }
    }
    if (slot == CORE_NONE) {
        core_session_enter(state, CORE_SESSION_UNREGISTERED);
        timers_set(&core->timers, CORE_VMS_MAX + session, TIMERS_NEVER);
        core_report(core, &(struct core_event){
                              .kind = CORE_EVENT_UNREGISTERED,
                              .session = session,
                              .vm = CORE_NONE,
                              .vm_id = header->vm_id,
                              .gpu = CORE_NONE,
                          });
        return true;
    }
    return bind_to(core, session, slot, now_ns);
}

void core_session_bind_waiting(struct core *core, uint64_t now_ns)
{
    for (uint32_t session = 0; session < CORE_SESSIONS_MAX; session++) {
        struct core_session *state = &core->sessions[session];
        uint32_t slot;

        if (state->state != CORE_SESSION_UNREGISTERED) {
            continue;
        }
        slot = identify(core, state);
        if (slot != CORE_NONE && (state->host || core->vms[slot].session == CORE_NONE) &&
            bind_to(core, session, slot, now_ns) && (state->features & VGPU_FEATURE_CONFIG)) {
            core_session_send_config(core, session);
        }
    }
}

/* ---- over a restart ---- */

bool core_session_export(const struct core *core, uint32_t session, struct core_session_kept *kept)
{
    const struct core_session *state;
    bool known;

    if (session >= CORE_SESSIONS_MAX || core->sessions[session].state == CORE_SESSION_FREE) {
        return false;
    }
    state = &core->sessions[session];
    known = state->state != CORE_SESSION_OPEN || state->identity.kind != CORE_IDENTITY_CLAIM;
    if (!known || state->host || state->resetting || core_session_channels(core, session) > 0 ||
        (state->vm != CORE_NONE && core_vm_requests_left(&core->vms[state->vm]) > 0)) {
        return false;
    }
    memset(kept, 0, sizeof(*kept));
    kept->features = state->features;
    kept->claimed_id = state->claimed_id;
    kept->claimed_pool = state->claimed_pool;
    kept->claimed_priority = state->claimed_priority;
    kept->spoke = state->state != CORE_SESSION_OPEN;
    kept->hello = state->hello;
    kept->opened_ns = state->opened_ns;
    kept->requests = state->requests;
    kept->protocol_errors = state->protocol_errors;
    return true;
}

void core_session_import(struct core *core, uint32_t session, const struct core_session_kept *kept,
                         uint64_t now_ns)
{
    struct core_session *state = &core->sessions[session];
    const VGPUSocketHeader first = {
        .vm_id = kept->claimed_id,
        .pool_id = kept->claimed_pool,
        .priority = kept->claimed_priority,
    };

    state->hello = kept->hello;
    state->features = kept->features & (FEATURES_GRANTED | VGPU_FEATURE_RESUME |
                                        (core->effects.channel_start ? VGPU_FEATURE_CHANNELS : 0));
    state->opened_ns = kept->opened_ns;
    state->requests = kept->requests;
    state->protocol_errors = kept->protocol_errors;
    /* What it is called now may have changed meanwhile. */
    if (kept->spoke && bind_first(core, session, &first, now_ns) &&
        state->state == CORE_SESSION_BOUND && (state->features & VGPU_FEATURE_CONFIG)) {
        core_session_send_config(core, session);
    }
}

/* ---- frames ---- */

static void protocol_error(struct core *core, uint32_t session, const char *text, uint64_t now_ns)
{
    core->sessions[session].protocol_errors++;
    close_session(core, session, CORE_CLOSE_PROTOCOL, text, now_ns);
}

static void on_hello(struct core *core, uint32_t session, const struct frame *frame,
                     uint64_t now_ns)
{
    struct core_session *state = &core->sessions[session];
    VGPUHello hello;
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = VGPU_MSG_HELLO,
        .vm_id = frame->header.vm_id,
        .request_id = frame->header.request_id,
        .payload_len = sizeof(hello),
    };

    if (state->state != CORE_SESSION_OPEN || state->hello ||
        frame->header.payload_len != sizeof(hello)) {
        protocol_error(core, session, "HELLO out of place or of the wrong length", now_ns);
        return;
    }
    memcpy(&hello, frame->payload, sizeof(hello));
    state->hello = true;
    state->host = (hello.features & FEATURES_HOST) == FEATURES_HOST &&
                  core->effects.channel_start && state->identity.kind != CORE_IDENTITY_IDS;
    state->features = hello.features & (state->host ? FEATURES_HOST : FEATURES_GRANTED);
    if (!state->host && core->effects.channel_start) {
        state->features |= hello.features & VGPU_FEATURE_CHANNELS;
        if (state->features & VGPU_FEATURE_CHANNELS) {
            state->features |= hello.features & VGPU_FEATURE_RESUME;
        }
    }
    if (!bind_first(core, session, &frame->header, now_ns)) {
        return;
    }
    hello = (VGPUHello){.version = VGPU_PROTOCOL_VERSION, .features = state->features};
    core->effects.send(core->effects.opaque, session, &header, &hello);
    if (state->state == CORE_SESSION_BOUND && (state->features & VGPU_FEATURE_CONFIG)) {
        core_session_send_config(core, session);
    }
}

static void on_request(struct core *core, uint32_t session, const struct frame *frame,
                       uint64_t now_ns)
{
    struct core_session *state = &core->sessions[session];
    const VGPUSocketHeader *header = &frame->header;
    const struct core_vm *vm;

    if (state->host) {
        protocol_error(core, session, "REQUEST of a process that said that it has channels",
                       now_ns);
        return;
    }
    if (state->state == CORE_SESSION_OPEN && !bind_first(core, session, header, now_ns)) {
        return;
    }
    state->requests++;
    if (state->state == CORE_SESSION_UNREGISTERED) {
        metrics_record_rejection(core->metrics, METRICS_NO_VM, VGPU_ERR_VM_NOT_REGISTERED);
        core_session_answer(core, session, header->request_id, VGPU_ERR_VM_NOT_REGISTERED);
        return;
    }
    vm = &core->vms[state->vm];
    if (header->vm_id != vm->config.vm_id && !(vm->has_old_id && header->vm_id == vm->old_vm_id)) {
        state->protocol_errors++;
        metrics_record_rejection(core->metrics, state->vm, VGPU_ERR_INVALID_REQUEST);
        core_session_answer(core, session, header->request_id, VGPU_ERR_INVALID_REQUEST);
        core_report(core, &(struct core_event){
                              .kind = CORE_EVENT_REQUEST_INVALID,
                              .session = session,
                              .vm = state->vm,
                              .gpu = CORE_NONE,
                              .code = VGPU_ERR_INVALID_REQUEST,
                              .value = header->vm_id,
                              .text = "the frame's vm_id is not this VM's",
                          });
        return;
    }
    core_job_submit(core, session, header->request_id, frame->payload, header->payload_len, now_ns);
}

static void on_ping(struct core *core, uint32_t session, const struct frame *frame, uint64_t now_ns)
{
    VGPUSocketHeader header = frame->header;

    if (header.payload_len > VGPU_PING_BYTES_MAX) {
        protocol_error(core, session, "PING with too long a payload", now_ns);
        return;
    }
    header.msg_type = VGPU_MSG_PONG;
    core->effects.send(core->effects.opaque, session, &header, frame->payload);
}

/* The device says that it has taken the new identity over. */
static void on_config(struct core *core, uint32_t session, const struct frame *frame,
                      uint64_t now_ns)
{
    struct core_session *state = &core->sessions[session];
    VGPUConfig config;

    if (!(state->features & VGPU_FEATURE_CONFIG) || frame->header.payload_len != sizeof(config)) {
        protocol_error(core, session, "CONFIG out of place or of the wrong length", now_ns);
        return;
    }
    memcpy(&config, frame->payload, sizeof(config));
    if (state->state == CORE_SESSION_BOUND && config.vm_id == core->vms[state->vm].config.vm_id) {
        core->vms[state->vm].has_old_id = false;
        state->claimed_id = config.vm_id;
    }
}

static void on_channel(struct core *core, uint32_t session, const struct frame *frame,
                       uint64_t now_ns)
{
    VGPUChannelOpen open;
    VGPUChannelClose closing;
    VGPUChannelResume resume;
    bool well = false;

    if (frame->header.msg_type == VGPU_MSG_CHANNEL_OPEN &&
        frame->header.payload_len == sizeof(open)) {
        memcpy(&open, frame->payload, sizeof(open));
        well =
            frame->fd_count <= 1 &&
            core_channel_open(core, session, &open, frame->fd_count ? frame->fds[0] : -1, now_ns);
    } else if (frame->header.msg_type == VGPU_MSG_CHANNEL_CLOSE &&
               frame->header.payload_len == sizeof(closing)) {
        memcpy(&closing, frame->payload, sizeof(closing));
        core_channel_close(core, session, closing.channel, now_ns);
        well = true;
    } else if (frame->header.msg_type == VGPU_MSG_CHANNEL_RESUME &&
               frame->header.payload_len == sizeof(resume)) {
        memcpy(&resume, frame->payload, sizeof(resume));
        well = core_channel_resume(core, session, &resume,
                                   frame->fd_count == 1 ? frame->fds[0] : -1, now_ns);
    } else if (frame->header.msg_type == VGPU_MSG_CHANNEL_RESET && frame->header.payload_len == 0) {
        core_channels_reset(core, session, now_ns);
        well = true;
    }
    if (!well) {
        protocol_error(core, session, "a frame about channels that makes no sense", now_ns);
    }
}

/* A part of a guest's memory. */
static bool on_part(struct core *core, uint32_t session, const VGPUChunkAdd *add,
                    const struct frame *frame, uint64_t now_ns)
{
    VGPUPiece pieces[VGPU_CHUNK_PIECES_FRAME_MAX];

    if (add->piece_count > VGPU_CHUNK_PIECES_FRAME_MAX || frame->fd_count != 1 ||
        frame->header.payload_len != sizeof(*add) + add->piece_count * sizeof(pieces[0])) {
        return false;
    }
    memcpy(pieces, frame->payload + sizeof(*add), add->piece_count * sizeof(pieces[0]));
    return add->chunk == 0 ? core_channel_part(core, session, add, pieces, frame->fds[0], now_ns)
                           : core_chunk_part(core, session, add, pieces, frame->fds[0]);
}

static void on_device_chunk(struct core *core, uint32_t session, const struct frame *frame,
                            uint64_t now_ns)
{
    VGPUChunkAdd add;
    bool well;

    if (frame->header.payload_len < sizeof(add)) {
        protocol_error(core, session, "a frame about chunks that is too short", now_ns);
        return;
    }
    memcpy(&add, frame->payload, sizeof(add));
    /* COPIED: a chunk of the mediator's, but for chunk 0, which comes with its channel. */
    well = add.chunk != 0 && frame->fd_count == 0 && frame->header.payload_len == sizeof(add)
               ? core_chunk_add(core, session, &add)
               : on_part(core, session, &add, frame, now_ns);
    if (!well) {
        protocol_error(core, session, "pieces of a channel's memory that make no sense", now_ns);
    }
}

static void on_chunk(struct core *core, uint32_t session, const struct frame *frame,
                     uint64_t now_ns)
{
    VGPUChunkAdd add;
    VGPUChunkRemove remove;
    bool well = false;

    if (frame->header.msg_type == VGPU_MSG_CHUNK_ADD && frame->header.payload_len == sizeof(add)) {
        memcpy(&add, frame->payload, sizeof(add));
        well = core_chunk_add(core, session, &add);
    } else if (frame->header.msg_type == VGPU_MSG_CHUNK_REMOVE &&
               frame->header.payload_len == sizeof(remove)) {
        memcpy(&remove, frame->payload, sizeof(remove));
        well = core_chunk_remove(core, session, &remove);
    }
    if (!well) {
        protocol_error(core, session, "a frame about chunks that makes no sense", now_ns);
    }
}

/* Frames of channels.  False: not one, or not of a session that may send it. */
static bool on_channel_frame(struct core *core, uint32_t session, const struct frame *frame,
                             uint64_t now_ns)
{
    if (!core_session_has_channels(core, session)) {
        return false;
    }
    switch (frame->header.msg_type) {
    case VGPU_MSG_CHANNEL_OPEN:
    case VGPU_MSG_CHANNEL_CLOSE:
    case VGPU_MSG_CHANNEL_RESUME:
    case VGPU_MSG_CHANNEL_RESET: on_channel(core, session, frame, now_ns); return true;
    case VGPU_MSG_CHUNK_ADD:
        if (core->sessions[session].host) {
            on_chunk(core, session, frame, now_ns);
        } else {
            on_device_chunk(core, session, frame, now_ns);
        }
        return true;
    case VGPU_MSG_CHUNK_REMOVE: on_chunk(core, session, frame, now_ns); return true;
    default: return false;
    }
}

bool core_session_has_channels(const struct core *core, uint32_t session)
{
    return (core->sessions[session].features & VGPU_FEATURE_CHANNELS) != 0;
}

bool core_session_resumes(const struct core *core, uint32_t session)
{
    const struct core_session *state = &core->sessions[session];

    return state->host || (state->features & VGPU_FEATURE_RESUME) != 0;
}

void core_session_frame(struct core *core, uint32_t session, const struct frame *frame,
                        uint64_t now_ns)
{
    if (session >= CORE_SESSIONS_MAX || core->sessions[session].state == CORE_SESSION_FREE) {
        return;
    }
    if (on_channel_frame(core, session, frame, now_ns)) {
        return;
    }
    switch (frame->header.msg_type) {
    case VGPU_MSG_REQUEST: on_request(core, session, frame, now_ns); break;
    case VGPU_MSG_HELLO: on_hello(core, session, frame, now_ns); break;
    case VGPU_MSG_PING: on_ping(core, session, frame, now_ns); break;
    case VGPU_MSG_PONG: break;
    case VGPU_MSG_CONFIG: on_config(core, session, frame, now_ns); break;
    case VGPU_MSG_RESPONSE:
    case VGPU_MSG_BUSY:
    case VGPU_MSG_QUARANTINED:
        protocol_error(core, session, "a frame that only the mediator sends", now_ns);
        break;
    default:
        if (++core->sessions[session].protocol_errors > UNKNOWN_FRAMES_MAX) {
            protocol_error(core, session, "too many frames of unknown type", now_ns);
        }
        break;
    }
}

void core_session_garbage(struct core *core, uint32_t session, uint64_t now_ns)
{
    if (session < CORE_SESSIONS_MAX && core->sessions[session].state != CORE_SESSION_FREE) {
        protocol_error(core, session, "not a frame: wrong magic or oversized", now_ns);
    }
}

void core_session_closed(struct core *core, uint32_t session, uint64_t now_ns)
{
    uint32_t slot;

    if (session >= CORE_SESSIONS_MAX || core->sessions[session].state == CORE_SESSION_FREE) {
        return;
    }
    slot = core->sessions[session].vm;
    release(core, session); /* before what waits is refused: nobody reads the answers */
    core_channels_leave(core, session);
    core_report(core, &(struct core_event){
                          .kind = CORE_EVENT_SESSION_CLOSED,
                          .session = session,
                          .vm = slot,
                          .vm_id = core->sessions[session].claimed_id,
                          .gpu = CORE_NONE,
                      });
    if (slot != CORE_NONE) {
        abandon_vm(core, slot, core->sessions[session].host, now_ns);
    }
}

const struct core_identity *core_session_identity(const struct core *core, uint32_t session)
{
    if (session >= CORE_SESSIONS_MAX || core->sessions[session].state == CORE_SESSION_FREE) {
        return NULL;
    }
    return &core->sessions[session].identity;
}
