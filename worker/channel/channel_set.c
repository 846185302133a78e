/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * A record is taken from the ring, checked, and executed in units.  With an engine that does a
 * unit while it is asked to (the CPU), it is over then.  An engine that only starts units (a GPU)
 * has many records in flight: each is a flight, in the ring's order, and they end in that order
 * too, whatever the engine finishes first; the process sees one ordered stream.  An operation of
 * 1.0 is a flight with a slot of the backend.
 *
 * A record that needs the GPU waits for a turn, and what stands behind it waits with it.  In a
 * turn, units are started until the time that has passed, and what is in flight will still
 * take, make up the budget; the turn is over when that has ended, or will have by the time that
 * another worker needs to begin.  Copies need no turn.
 *
 * A channel that ends while units of it are in flight is told to its process at once, and takes
 * nothing more; its memory is let go of, and the mediator told, when the last of them is over.
 */
#include "worker/channel/channel_internal.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

/* Records of one channel before the next one has its turn. */
#define SERVE_RECORDS 64u
/* Sleep between two looks at units in flight, when looking has been in vain for long. */
#define LOOK_NS (50 * NS_PER_US)

struct channel_set *channel_set_new(const struct channel_set_uses *uses)
{
    struct channel_set *set = calloc(1, sizeof(*set));

    if (set) {
        set->uses = *uses;
        set->free_slots = (1u << BACKEND_CHANNEL_JOBS) - 1;
    }
    return set;
}

bool channel_set_empty(const struct channel_set *set)
{
    return set->count == 0;
}

struct channel *channel_find(struct channel_set *set, uint64_t handle)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (set->all[i]->handle == handle) {
            return set->all[i];
        }
    }
    return NULL;
}

bool channel_set_lost(const struct channel_set *set)
{
    return set->lost;
}

static void signal_event(int fd)
{
    const uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof(one));

    (void)n; /* full: then it is signalled enough */
}

/* ---- coming and going ---- */

static void release(struct channel *channel)
{
    bulk_free(channel->bulk);
    channel_free_chunks(channel);
    mapping_free(channel->mapping);
    free(channel);
}

/* The process learns the reason from the control page, and wakes up. */
static void tell_process(struct channel *channel, enum vgpu_channel_reason reason)
{
    VGPU_STORE_RELAXED(&channel->control->reason, (uint32_t)reason);
    VGPU_STORE_RELEASE(&channel->control->state, (uint32_t)VGPU_CHANNEL_CLOSED);
    signal_event(channel->interrupt);
}

static void forget(struct channel_set *set, struct channel *channel)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (set->all[i] == channel) {
            set->all[i] = set->all[--set->count];
            break;
        }
    }
    release(channel);
}

bool channel_has_flown(struct channel_set *set, struct channel *channel)
{
    const struct bulk_engine *engine = set->uses.engine;

    return channel->in_flight > 0 ||
           (channel->begun && engine->poll(engine->opaque, channel->op.last) == BULK_STARTED);
}

void channel_end(struct channel_set *set, struct channel *channel)
{
    uint64_t handle = channel->handle;
    enum vgpu_channel_reason reason = channel->reason;

    forget(set, channel);
    set->uses.tell(set->uses.opaque, VGPU_WORKER_CHANNEL_CLOSED, handle, reason);
}

void channel_end_and_tell(struct channel_set *set, struct channel *channel,
                          enum vgpu_channel_reason reason)
{
    if (channel->closing) {
        return;
    }
    channel->closing = true;
    channel->reason = reason;
    tell_process(channel, reason);
    if (!channel_has_flown(set, channel)) {
        channel_end(set, channel);
    }
}

void channel_set_free(struct channel_set *set)
{
    while (set && set->count > 0) {
        struct channel *channel = set->all[0];

        if (!channel->closing) {
            tell_process(channel, VGPU_CLOSED_SHUTDOWN);
        }
        if (channel_has_flown(set, channel)) {
            /* The GPU has its memory still, and lets go of it with this process. */
            set->all[0] = set->all[--set->count];
        } else {
            forget(set, channel);
        }
    }
    free(set);
}

void channel_set_close(struct channel_set *set, uint64_t handle, enum vgpu_channel_reason reason)
{
    struct channel *channel = channel_find(set, handle);

    if (channel) {
        channel_end_and_tell(set, channel, reason);
    }
}

enum vgpu_error channel_set_add(struct channel_set *set, struct channel_mapping *mapping)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (!channel) {
        mapping_free(mapping);
        return VGPU_ERR_MEMORY_LIMIT;
    }
    if (set->count == CHANNEL_SET_MAX || mapping->what.profile != VGPU_PROFILE_OPS) {
        free(channel);
        mapping_free(mapping);
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    channel->handle = mapping->handle;
    channel->mapping = mapping;
    channel->geometry = mapping->what.geometry;
    channel->layout = mapping->layout;
    channel->doorbell = mapping->doorbell;
    channel->interrupt = mapping->interrupt;
    channel->chunk0 = mapping->chunk0;
    channel->bulk = bulk_new(set->uses.engine);
    if (!channel->bulk) {
        release(channel);
        return VGPU_ERR_MEMORY_LIMIT;
    }
    outbox_init(&channel->outbox, &channel->layout, channel->geometry.notice_bytes,
                (VGPUControl *)channel->chunk0, mapping->copy_page, channel->interrupt);
    bulk_add_chunk(channel->bulk, 0, channel->chunk0, channel->layout.arena, channel->layout.bytes);
    channel->control = (VGPUControl *)channel->chunk0;
    vgpu_command_ring(&channel->commands, channel->chunk0, &channel->layout, &channel->geometry);
    vgpu_notice_ring(&channel->notices, channel->chunk0, &channel->layout, &channel->geometry);
    set->all[set->count++] = channel;
    return VGPU_ERR_NONE;
}

/* ---- work ---- */

void channel_push(struct channel *channel)
{
    outbox_send(&channel->outbox, channel->notices.tail, channel->retired);
    /* Of these the process may say that it has read them. */
    channel->notices.published = channel->outbox.notices_pushed;
}

/* Gives room back, and wakes the process if it waits for that or for an answer. */
static void look_after_process(struct channel *channel)
{
    bool wake;

    if (outbox_is_on(&channel->outbox)) {
        if (channel->answered || channel->commands.published != channel->commands.head) {
            outbox_add_positions(&channel->outbox);
        }
        channel->answered = false;
        vgpu_ring_release(&channel->commands);
        channel_push(channel);
        return; /* the engine looks whether the process sleeps */
    }
    wake = vgpu_ring_release(&channel->commands) != 0 || channel->woken;
    channel->woken = false;
    if (channel->answered && !wake) {
        wake = vgpu_must_wake(&channel->control->process_parked) != 0;
    }
    channel->answered = false;
    if (wake) {
        signal_event(channel->interrupt);
    }
}

bool channel_serve(struct channel_set *set, struct channel *channel, bool in_turn,
                   uint64_t budget_ns)
{
    uint64_t end_ns = 0;
    bool did = channel_land(set, channel);

    if (channel->closing) {
        if (!channel_has_flown(set, channel)) {
            channel_end(set, channel);
        }
        return did;
    }
    if (channel->outbox.copier.broken) {
        log_warning("a channel is closed: its copy engine says what can't be");
        channel_end_and_tell(set, channel, VGPU_CLOSED_FRAMES);
        return true;
    }
    for (unsigned i = 0; i < SERVE_RECORDS && !set->lost; i++) {
        if (!channel->has_record) {
            int result = channel_take(set, channel);

            if (result == VGPU_RING_BROKEN) {
                return true;
            }
            if (result == VGPU_RING_EMPTY) {
                break;
            }
        }
        if (channel->needs_turn && !in_turn) {
            if (!channel->in_turn) {
                channel_want(set, channel);
            }
            break;
        }
        if (channel->needs_turn && !channel_has_room_in_turn(set, channel)) {
            break;
        }
        if (!channel_run_unit(set, channel)) {
            break;
        }
        did = true;
        /* Bulk operations take time; the clock is not for each NOP. */
        if (channel->has_record || ((const VGPURecord *)channel->record)->op != VGPU_OP_NOP) {
            uint64_t now_ns = clock_now_ns();

            end_ns = end_ns ? end_ns : now_ns + budget_ns;
            if (now_ns >= end_ns) {
                break;
            }
        }
    }
    channel_remove_chunks(set, channel);
    look_after_process(channel);
    return did;
}

bool channel_set_serve(struct channel_set *set)
{
    bool did = false;

    for (unsigned i = set->count; i-- > 0 && !set->lost;) {
        struct channel *channel = set->all[i];

        if (channel->closing || (!channel->in_turn && !(channel->has_record && channel->wants &&
                                                        channel->in_flight == 0))) {
            did |= channel_serve(set, channel, false, SERVE_NS);
        }
    }
    return did;
}

/* ---- sleeping ---- */

static bool has_work(const struct channel_set *set, struct channel *channel, bool flown)
{
    if (channel->closing) {
        return !flown;
    }
    if (outbox_can_send(&channel->outbox)) {
        return true;
    }
    if (channel_has_gone_chunk(channel)) {
        return true;
    }
    if (channel->pulling) {
        return copier_is_done(&channel->outbox.copier, channel->pull_tail);
    }
    if (channel->has_record) {
        return !channel->wants && channel->in_flight == 0;
    }
    if (set->counted && set->credit == 0 && set->asked) {
        return false; /* the answer comes by the socket */
    }
    return vgpu_ring_look(&channel->commands) != VGPU_RING_EMPTY;
}

static void drain(int fd)
{
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof(count));

    (void)n; /* none: another look found the work */
}

/* A device that closed its end wants its memory back.  Channels may go: from the last one on. */
static void end_abandoned(struct channel_set *set, const struct pollfd *lives)
{
    for (unsigned i = set->count; i-- > 0;) {
        if (lives[i].revents & (POLLHUP | POLLERR)) {
            channel_end_and_tell(set, set->all[i], VGPU_CLOSED_SESSION);
        }
    }
}

void channel_set_sleep(struct channel_set *set, int socket, int other)
{
    struct pollfd fds[2 * CHANNEL_SET_MAX + 2] = {{.fd = socket, .events = POLLIN}};
    struct pollfd *lives = fds + 1 + set->count;
    const struct timespec look = {.tv_nsec = LOOK_NS};
    bool work = false, flying = false;

    for (unsigned i = 0; i < set->count; i++) {
        bool flown = channel_has_flown(set, set->all[i]);

        flying |= flown;
        vgpu_park(&set->all[i]->control->worker_parked);
        copier_park(&set->all[i]->outbox.copier);
        fds[i + 1] = (struct pollfd){.fd = set->all[i]->doorbell, .events = POLLIN};
        /* Whoever is closing lets go as soon as it can. */
        lives[i].fd = set->all[i]->closing ? -1 : mapping_watched_life(set->all[i]->mapping);
        work |= has_work(set, set->all[i], flown);
    }
    if (!work) {
        fds[2 * set->count + 1] = (struct pollfd){.fd = other, .events = POLLIN};
        ppoll(fds, 2 * set->count + 2, flying ? &look : NULL, NULL);
    }
    if (fds[2 * set->count + 1].revents & POLLIN) {
        drain(other);
    }
    for (unsigned i = 0; i < set->count; i++) {
        vgpu_unpark(&set->all[i]->control->worker_parked);
        copier_unpark(&set->all[i]->outbox.copier);
        if (fds[i + 1].revents & POLLIN) {
            drain(set->all[i]->doorbell);
        }
    }
    end_abandoned(set, lives);
}
