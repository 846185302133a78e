/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How channels work
 * -----------------
 * A driver names guest memory in a setup and writes COMMAND.  The device checks the setup,
 * finds out how the host can reach the memory, and asks the mediator in frames.
 *
 *          COMMAND OPEN            OPENED              CLOSE, CLOSED, a reset
 *   FREE ---------------> OPENING --------> OPEN -----------------------------> CLOSING
 *     ^                      | OPENED with an error, a reset                       |
 *     +--------------------- CLOSING <---------------------------------------------+
 *         when the host has let go and its last word on the channel has come
 *
 * Two things end CLOSING.  The *lease* is a pipe: the end for writing goes along with OPEN, and
 * whoever on the host may touch the channel's memory has it open.  When the other end, ours,
 * hangs up, the memory is the guest's again, also when a process of the host has died, and
 * without that anybody's frames are read: so a reset can wait for it.  The *last word* is
 * CLOSED, OPENED with an error, or the end of the connection: before it the number can't be
 * used anew, as frames about the old channel may be under way.  A channel with a life outlives
 * its connection (vgpu-channel-resume.c); the last word on that one may be our own.
 *
 * The doorbell page of an open channel is an ioeventfd of the worker's descriptor, so a ring
 * under KVM never reaches this file.  Interrupts come as a descriptor that becomes readable.
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "vgpu-channel-internal.h"

static const char *set_name(VgpuChannels *set)
{
    return vgpu_device_name(DEVICE(set->uses.dev));
}

/* ---- Telling the guest -------------------------------------------------------------- */

void vgpu_channel_tell_changed(VgpuChannel *channel)
{
    set_bit(channel->number, channel->set->changed);
    vgpu_channels_notify(channel->set, VGPU_VECTOR_CONFIG);
}

static void on_run_state(void *opaque, VgpuRunning running, RunState state)
{
    VgpuChannels *set = opaque;
    uint32_t i;

    set->running = running;
    for (i = 0; i < set->uses.count; i++) {
        vgpu_channel_events_watch(&set->all[i]);
    }
}

/* ---- The end of a channel ----------------------------------------------------------- */

static bool all_free(VgpuChannels *set)
{
    uint32_t i;

    for (i = 0; i < set->uses.count; i++) {
        if (set->all[i].state != VGPU_REGISTER_FREE) {
            return false;
        }
    }
    return true;
}

static void reset_finish(VgpuChannels *set)
{
    if (set->resetting && all_free(set)) {
        set->resetting = false;
        set->generation++;
        vgpu_channels_notify(set, VGPU_VECTOR_CONFIG);
    }
}

/* Is it over?  Then its memory and its number are free again. */
static void channel_finish(VgpuChannel *channel)
{
    if (channel->state != VGPU_REGISTER_CLOSING || channel->lease >= 0 || !channel->last_word) {
        return;
    }
    vgpu_chunk_release(&channel->chunk0, channel->set->pieces);
    vgpu_channel_chunks_release(channel);
    vgpu_channel_life_end(channel);
    channel->state = VGPU_REGISTER_FREE;
    if (channel->result == VGPU_RESULT_PENDING) {
        channel->result = VGPU_ERR_NONE; /* of CLOSE */
    }
    vgpu_channel_tell_changed(channel);
    reset_finish(channel->set);
}

/*
 * Neither doorbell nor interrupt from here on; the host may still have the memory.  A guest that
 * was reset is told nothing: its memory is another's, and nobody may wait for a mediator to say so.
 */
static void channel_leave(VgpuChannel *channel)
{
    bool silent = channel->reason == VGPU_CLOSED_RESET || channel->reason == VGPU_CLOSED_BUS_MASTER;

    /* An ADD or REMOVE has no answer any more. */
    if (channel->awaited_chunk != 0) {
        channel->awaited_chunk = 0;
        channel->result = VGPU_ERR_MEDIATOR_UNAVAILABLE;
    }
    vgpu_channel_events_end(channel,
                            silent ? VGPU_CLOSED_NONE : (enum vgpu_channel_reason)channel->reason);
    if (silent || !vgpu_link_is_up(channel->set->uses.link)) {
        vgpu_channel_life_end(channel);
    }
    channel->state = VGPU_REGISTER_CLOSING;
}

static void lease_end(VgpuChannel *channel)
{
    qemu_set_fd_handler(channel->lease, NULL, NULL, NULL);
    close(channel->lease);
    channel->lease = -1;
}

static void on_lease(void *opaque)
{
    VgpuChannel *channel = opaque;
    char bytes[64];
    ssize_t n = read(channel->lease, bytes, sizeof(bytes));

    /* Bytes have no meaning. */
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) {
        return;
    }
    lease_end(channel);
    if (channel->resume == VGPU_RESUME_AWAY) {
        vgpu_channel_closed(channel, VGPU_CLOSED_SESSION); /* its worker has ended, too */
        return;
    }
    channel_finish(channel);
}

void vgpu_channel_closed(VgpuChannel *channel, uint32_t reason)
{
    vgpu_channel_life_end(channel); /* nobody else will tell a worker that still has it */
    channel->opened = false;
    channel->resume = VGPU_RESUME_NONE;
    channel->last_word = true;
    if (channel->state == VGPU_REGISTER_OPEN) {
        channel->reason = reason; /* else it had one before */
    }
    channel_leave(channel);
    channel_finish(channel);
}

/* The mediator's last word: there is no such channel. */
static void channel_refused(VgpuChannel *channel, uint32_t error)
{
    channel->last_word = true;
    if (channel->state == VGPU_REGISTER_OPENING) {
        channel->result = error;
    }
    channel_leave(channel);
    channel_finish(channel);
}

void vgpu_channels_link_lost(VgpuChannels *set)
{
    uint32_t i;

    for (i = 0; i < set->uses.count; i++) {
        VgpuChannel *channel = &set->all[i];

        if (channel->state == VGPU_REGISTER_FREE || channel->last_word) {
            continue;
        }
        if (vgpu_channel_resume_later(channel)) {
            continue;
        }
        if (channel->opened) {
            vgpu_channel_closed(channel, channel->state == VGPU_REGISTER_OPEN ? VGPU_CLOSED_SESSION
                                                                              : channel->reason);
        } else {
            channel_refused(channel, VGPU_ERR_MEDIATOR_UNAVAILABLE);
        }
    }
}

/* ---- Resets ------------------------------------------------------------------------- */

static void link_tell_reset(VgpuChannels *set)
{
    if (vgpu_link_has_channels(set->uses.link)) {
        vgpu_link_channel(set->uses.link, VGPU_MSG_CHANNEL_RESET, NULL, 0, NULL, 0);
    }
}

/* Ends what is open; does not wait. */
static void reset_begin(VgpuChannels *set, enum vgpu_channel_reason reason)
{
    bool any = false;
    uint32_t i;

    for (i = 0; i < set->uses.count; i++) {
        VgpuChannel *channel = &set->all[i];

        if (channel->state != VGPU_REGISTER_OPENING && channel->state != VGPU_REGISTER_OPEN) {
            continue;
        }
        if (channel->result == VGPU_RESULT_PENDING) {
            channel->result = VGPU_ERR_MEDIATOR_UNAVAILABLE;
        }
        channel->reason = reason;
        if (channel->resume == VGPU_RESUME_AWAY) {
            vgpu_channel_closed(channel, reason);
        } else {
            channel_leave(channel);
        }
        any = true;
    }
    set->resetting = true;
    if (any) {
        link_tell_reset(set);
    }
    reset_finish(set);
}

/* Waits for the host to let go, until that time.  Returns whether it has. */
static bool wait_for_lease(VgpuChannel *channel, int64_t end_ms)
{
    struct pollfd lease = {.fd = channel->lease};
    int64_t left_ms;

    do {
        left_ms = MAX(end_ms - qemu_clock_get_ms(QEMU_CLOCK_REALTIME), 0);
        if (poll(&lease, 1, left_ms) > 0 && (lease.revents & POLLHUP)) {
            lease_end(channel);
            return true;
        }
    } while (left_ms > 0);
    return false;
}

/*
 * Returns whether anybody of the host still holds a lease, at the latest after the bound.  Each
 * channel is waited for once: a worker that hangs holds the big lock up for one reset, not for
 * each.
 */
static bool wait_for_leases(VgpuChannels *set)
{
    int64_t end_ms = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + VGPU_LET_GO_MS;
    bool late = false;
    uint32_t i;

    for (i = 0; i < set->uses.count; i++) {
        VgpuChannel *channel = &set->all[i];

        /* What is copied nobody else has: it ended with the engine. */
        if (channel->lease >= 0 && channel->transport == VGPU_TRANSPORT_SHARED &&
            !wait_for_lease(channel, channel->waited ? 0 : end_ms)) {
            late |= !channel->waited;
            channel->waited = true;
        }
    }
    return late;
}

static void wait_let_go(VgpuChannels *set)
{
    uint32_t i;

    if (wait_for_leases(set)) {
        warn_report("vgpu-stub %s: a worker has not let go of the guest's memory within %u ms",
                    set_name(set), VGPU_LET_GO_MS);
    }
    for (i = 0; i < set->uses.count; i++) {
        channel_finish(&set->all[i]);
    }
}

void vgpu_channels_reset(VgpuChannels *set, enum vgpu_channel_reason reason)
{
    reset_begin(set, reason);
    wait_let_go(set);
}

void vgpu_channels_reset_registers(VgpuChannels *set)
{
    uint32_t i;

    set->select = 0;
    set->setup = 0;
    set->driver_features = 0;
    bitmap_zero(set->changed, VGPU_CHANNELS_MAX);
    for (i = 0; i < set->uses.count; i++) {
        set->all[i].vector = VGPU_VECTOR_NONE;
        set->all[i].result = VGPU_ERR_NONE;
        if (set->all[i].state == VGPU_REGISTER_FREE) {
            set->all[i].reason = VGPU_CLOSED_NONE;
        }
    }
}

/* ---- Closing from here ------------------------------------------------------------ */

void vgpu_channel_send_close(VgpuChannel *channel)
{
    VGPUChannelClose closing = {.channel = cpu_to_le32(channel->number)};

    vgpu_link_channel(channel->set->uses.link, VGPU_MSG_CHANNEL_CLOSE, &closing, sizeof(closing),
                      NULL, 0);
}

/* Ends an open channel from here, and asks the host to let go. */
static void end_channel(VgpuChannel *channel, enum vgpu_channel_reason reason)
{
    if (channel->resume == VGPU_RESUME_AWAY) {
        vgpu_channel_closed(channel, reason); /* nobody is there to ask */
        return;
    }
    channel->reason = reason;
    channel_leave(channel);
    if (channel->resume == VGPU_RESUME_NONE) {
        vgpu_channel_send_close(channel); /* else with the answer */
    }
}

static void command_close(VgpuChannel *channel)
{
    channel->result = VGPU_RESULT_PENDING;
    if (channel->state == VGPU_REGISTER_OPEN) {
        end_channel(channel, VGPU_CLOSED_ASKED);
    }
}

/* The engine can't reach the guest's memory, or the worker lies to it. */
void vgpu_channel_copy_failed(VgpuChannel *channel)
{
    if (channel->awaited_chunk == 0) {
        channel->result = VGPU_ERR_NONE;
    }
    end_channel(channel, VGPU_CLOSED_COPY_FAILED);
}

/* ---- Frames ------------------------------------------------------------------------- */

static VgpuChannel *channel_of(VgpuChannels *set, uint32_t number)
{
    return number < set->uses.count ? &set->all[number] : NULL;
}

/* OPENED with status 0: is it what was asked for? */
static bool opened_is_right(const VgpuChannel *channel, const VGPUChannelOpened *opened,
                            unsigned fd_count)
{
    uint32_t features = le32_to_cpu(opened->features);
    bool unasked = features & ~le32_to_cpu(channel->open.features) & VGPU_CHANNEL_LIFE;

    return !unasked && fd_count == vgpu_opened_fd_count(channel->transport, features) &&
           le32_to_cpu(opened->transport) == channel->transport &&
           memcmp(&opened->geometry, &channel->open.geometry, sizeof(opened->geometry)) == 0 &&
           le64_to_cpu(opened->chunk0_bytes) == channel->chunk0.bytes;
}

/* Returns how many of the descriptors it has taken; -1: it makes no sense. */
static int frame_opened(VgpuChannels *set, const VGPUChannelOpened *opened, const int *fds,
                        unsigned fd_count)
{
    VgpuChannel *channel = channel_of(set, le32_to_cpu(opened->channel));

    if (!channel || channel->state == VGPU_REGISTER_FREE || channel->opened || channel->last_word) {
        return -1;
    }
    if (le32_to_cpu(opened->status) != VGPU_ERR_NONE) {
        channel_refused(channel, le32_to_cpu(opened->status));
        return 0;
    }
    if (!opened_is_right(channel, opened, fd_count)) {
        return -1;
    }
    channel->opened = true;
    if (channel->state != VGPU_REGISTER_OPENING) {
        return 0; /* a reset has overtaken it: CLOSED will come */
    }
    channel->state = VGPU_REGISTER_OPEN;
    channel->result = VGPU_ERR_NONE;
    channel->granted = le32_to_cpu(opened->features) & ~VGPU_CHANNEL_LIFE;
    if (!vgpu_channel_events_begin(channel, fds)) {
        return -1;
    }
    if (le32_to_cpu(opened->features) & VGPU_CHANNEL_LIFE) {
        channel->life = fds[fd_count - 1];
    }
    vgpu_channel_tell_changed(channel);
    return fd_count;
}

static int frame_closed(VgpuChannels *set, const VGPUChannelClose *closed)
{
    VgpuChannel *channel = channel_of(set, le32_to_cpu(closed->channel));

    if (!channel || !channel->opened) {
        return -1;
    }
    vgpu_channel_closed(channel, le32_to_cpu(closed->reason));
    return 0;
}

static int frame_resume(VgpuChannels *set, const VGPUChannelResume *resume)
{
    VgpuChannel *channel = channel_of(set, le32_to_cpu(resume->channel));

    return channel && vgpu_channel_resumed(channel, le32_to_cpu(resume->status)) ? 0 : -1;
}

bool vgpu_channels_frame(VgpuChannels *set, uint32_t msg_type, const uint8_t *payload,
                         uint32_t payload_bytes, const int *fds, unsigned fd_count)
{
    union {
        VGPUChannelOpened opened;
        VGPUChannelClose closed;
        VGPUChunkAdded added;
        VGPUChunkRemove removed;
        VGPUChannelResume resume;
    } frame;
    int taken = -1;
    unsigned i;

    memcpy(&frame, payload, MIN(payload_bytes, sizeof(frame)));
    if (msg_type == VGPU_MSG_CHANNEL_OPENED && payload_bytes == sizeof(frame.opened)) {
        taken = frame_opened(set, &frame.opened, fds, fd_count);
    } else if (msg_type == VGPU_MSG_CHANNEL_CLOSED && payload_bytes == sizeof(frame.closed)) {
        taken = frame_closed(set, &frame.closed);
    } else if (msg_type == VGPU_MSG_CHUNK_ADDED && payload_bytes == sizeof(frame.added)) {
        taken = vgpu_channel_chunk_added(channel_of(set, le32_to_cpu(frame.added.channel)),
                                         &frame.added, fds, fd_count);
    } else if (msg_type == VGPU_MSG_CHUNK_REMOVED && payload_bytes == sizeof(frame.removed)) {
        taken = vgpu_channel_chunk_removed(channel_of(set, le32_to_cpu(frame.removed.channel)),
                                           &frame.removed);
    } else if (msg_type == VGPU_MSG_CHANNEL_RESUME && payload_bytes == sizeof(frame.resume)) {
        taken = frame_resume(set, &frame.resume);
    } else if (msg_type == VGPU_MSG_CHANNEL_RESET && payload_bytes == 0) {
        taken = 0; /* each channel has had its CLOSED before it */
    }
    for (i = MAX(taken, 0); i < fd_count; i++) {
        close(fds[i]);
    }
    return taken >= 0;
}

/* ---- Registers ---------------------------------------------------------------------- */

/* Takes the number of a channel that has changed. */
static uint32_t take_changed(VgpuChannels *set)
{
    unsigned long number = find_first_bit(set->changed, set->uses.count);

    if (number >= set->uses.count) {
        return VGPU_CHANGED_NONE;
    }
    clear_bit(number, set->changed);
    return number;
}

static uint32_t selected_read(const VgpuChannel *channel, uint32_t reg)
{
    bool open = channel->state == VGPU_REGISTER_OPEN;

    switch (reg) {
    case VGPU_REG2_STATE: return channel->state;
    case VGPU_REG2_REASON: return channel->reason;
    case VGPU_REG2_RESULT: return channel->result;
    case VGPU_REG2_VECTOR: return channel->vector;
    case VGPU_REG2_TRANSPORT: return open ? channel->transport : 0;
    case VGPU_REG2_GRANTED: return open ? channel->granted : 0;
    default: return 0;
    }
}

uint32_t vgpu_channels_read(VgpuChannels *set, uint32_t reg)
{
    VgpuChannel *channel = channel_of(set, set->select);

    switch (reg) {
    case VGPU_REG2_ID: return VGPU_CHANNEL_ID;
    case VGPU_REG2_FEATURES:
        return (set->uses.shared_possible ? VGPU_DEVICE_SHARED : 0) |
               (set->uses.copied_possible ? VGPU_DEVICE_COPIED : 0);
    case VGPU_REG2_DRIVER_FEATURES: return set->driver_features;
    case VGPU_REG2_CHANNELS: return set->uses.count;
    case VGPU_REG2_SELECT: return set->select;
    case VGPU_REG2_SETUP_LO: return (uint32_t)set->setup;
    case VGPU_REG2_SETUP_HI: return set->setup >> 32;
    case VGPU_REG2_CHANGED: return take_changed(set);
    case VGPU_REG2_GENERATION: return set->generation;
    default: return channel ? selected_read(channel, reg) : 0;
    }
}

static void command(VgpuChannel *channel, uint32_t val)
{
    enum vgpu_error error = VGPU_ERR_NONE;

    if (channel->result == VGPU_RESULT_PENDING) {
        qemu_log_mask(LOG_GUEST_ERROR,
                      "vgpu-stub %s: command %u for channel %u while one is "
                      "pending, ignored\n",
                      set_name(channel->set), val, channel->number);
        return;
    }
    switch (val) {
    case VGPU_COMMAND_OPEN: error = vgpu_channel_open(channel, on_lease); break;
    case VGPU_COMMAND_CHUNK_ADD: error = vgpu_channel_chunk_add(channel); break;
    case VGPU_COMMAND_CHUNK_REMOVE: error = vgpu_channel_chunk_remove(channel); break;
    case VGPU_COMMAND_CLOSE:
        channel->result = VGPU_ERR_NONE;
        if (channel->state != VGPU_REGISTER_FREE) {
            command_close(channel);
        }
        break;
    default: error = VGPU_ERR_UNSUPPORTED_OP; break;
    }
    if (error != VGPU_ERR_NONE) {
        channel->result = error;
    }
}

void vgpu_channels_write(VgpuChannels *set, uint32_t reg, uint32_t val)
{
    VgpuChannel *channel = channel_of(set, set->select);

    switch (reg) {
    case VGPU_REG2_DRIVER_FEATURES: set->driver_features = val; break;
    case VGPU_REG2_SELECT: set->select = val; break;
    case VGPU_REG2_SETUP_LO: set->setup = deposit64(set->setup, 0, 32, val); break;
    case VGPU_REG2_SETUP_HI: set->setup = deposit64(set->setup, 32, 32, val); break;
    case VGPU_REG2_VECTOR:
        if (channel) {
            channel->vector = val < set->uses.vectors ? val : VGPU_VECTOR_NONE;
        }
        break;
    case VGPU_REG2_COMMAND:
        if (val == VGPU_COMMAND_RESET) {
            reset_begin(set, VGPU_CLOSED_RESET);
        } else if (channel) {
            command(channel, val);
        }
        break;
    default: break;
    }
}

/* ---- Life --------------------------------------------------------------------------- */

VgpuChannels *vgpu_channels_new(const VgpuChannelsUses *uses)
{
    VgpuChannels *set = g_malloc0(sizeof(*set) + uses->count * sizeof(set->all[0]));
    uint32_t i;

    set->uses = *uses;
    set->running = runstate_is_running();
    set->pieces = vgpu_piece_tree_new();
    for (i = 0; i < uses->count; i++) {
        set->all[i] = (VgpuChannel){.set = set, .number = i, .life = -1, .lease = -1};
    }
    vgpu_channels_resume_init(set);
    vgpu_channels_reset_registers(set);
    memory_region_init_io(uses->bar2, OBJECT(uses->dev), &vgpu_doorbell_ops, set, "vgpu-stub-bar2",
                          uses->count * VGPU_DOORBELL_PAGE);
    set->state_entry = qemu_add_vm_change_state_handler(on_run_state, set);
    vgpu_link_want_channels(uses->link);
    return set;
}

void vgpu_channels_free(VgpuChannels *set)
{
    uint32_t i;

    qemu_del_vm_change_state_handler(set->state_entry);
    vgpu_channels_resume_end(set);
    wait_let_go(set);
    for (i = 0; i < set->uses.count; i++) {
        VgpuChannel *channel = &set->all[i];

        if (channel->lease >= 0) {
            lease_end(channel);
        }
        vgpu_channel_life_end(channel);
        channel->has_events = false;
        vgpu_chunk_release(&channel->chunk0, set->pieces);
        vgpu_channel_chunks_release(channel);
    }
    vgpu_piece_tree_free(set->pieces);
    vgpu_channels_resume_cleanup(set);
    if (set->copy_thread) {
        iothread_destroy(set->copy_thread);
    }
    g_free_rcu(set, rcu);
}
