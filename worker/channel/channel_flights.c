/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records that are on their way, and the answers of those that are over.  They end in the ring's
 * order, whatever the engine finishes first.
 */
#include "worker/channel/channel_internal.h"

#include <assert.h>
#include <string.h>

#include "common/clock.h"

static void put_notice(struct channel *channel, uint32_t seq, uint32_t status)
{
    VGPUNotice notice = {
        .kind = VGPU_NOTICE_ERROR, .bytes = sizeof(notice), .seq = seq, .value = status};
    uint64_t lost;

    /* A broken head of it is the process's own loss. */
    if (vgpu_ring_room(&channel->notices, sizeof(notice)) == VGPU_RING_OK) {
        vgpu_ring_put(&channel->notices, &notice, sizeof(notice));
        if (!outbox_is_on(&channel->outbox)) {
            channel->woken |= vgpu_ring_publish(&channel->notices) != 0;
        }
        return;
    }
    lost = VGPU_LOAD_RELAXED(&channel->control->notices_lost);
    VGPU_STORE_RELAXED(&channel->control->notices_lost, lost + 1);
}

/* A record is over: all before it are, too. */
static void finish(struct channel *channel, uint32_t seq, uint16_t flags, uint16_t lane,
                   const struct backend_result *result)
{
    VGPUMailbox *mailbox = (VGPUMailbox *)(channel->chunk0 + channel->layout.mailboxes) + lane;

    channel->retired++;
    if (!outbox_is_on(&channel->outbox)) {
        VGPU_STORE_RELEASE(&channel->control->retired, channel->retired);
    }
    if (flags & VGPU_RECORD_ANSWER) {
        mailbox->status = result->status;
        mailbox->result_count = result->result_count;
        mailbox->data_bytes = result->data_length;
        mailbox->gpu_time_ns = result->gpu_time_ns;
        mailbox->retired = channel->retired;
        memcpy(mailbox->body, result->body, result->result_count * 4ull + result->data_length);
        vgpu_mailbox_answer(mailbox, seq);
        outbox_add_answer(&channel->outbox, lane,
                          (unsigned)offsetof(VGPUMailbox, body) + result->result_count * 4 +
                              result->data_length);
    } else if (result->status != VGPU_ERR_NONE) {
        put_notice(channel, seq, result->status);
    }
    channel->answered = true;
}

void channel_clear_result(struct backend_result *result, uint32_t status)
{
    result->status = status;
    result->result_count = 0;
    result->data_length = 0;
    result->gpu_time_ns = 0;
}

/* What the operation under way has written into the arena. */
static struct outbox_range output_of(const struct channel *channel)
{
    const VGPUBulkRecord *record = &channel->op.record;
    bool writes = channel->begun && record->record.op == VGPU_BULK_DOWNLOAD;

    return (struct outbox_range){record->chunk, record->chunk_offset, writes ? record->count : 0};
}

struct flight *channel_fly(struct channel *channel)
{
    const VGPURecord *record = (const VGPURecord *)channel->record;
    struct flight *flight =
        &channel->flights[(channel->first + channel->in_flight++) % FLIGHTS_MAX];

    assert(channel->in_flight <= FLIGHTS_MAX);
    flight->seq = record->seq;
    flight->flags = record->flags;
    flight->lane = record->lane;
    flight->out = output_of(channel);
    channel->has_record = channel->pulling = false;
    channel->begun = false;
    return flight;
}

void channel_finish_record(struct channel_set *set, struct channel *channel)
{
    const VGPURecord *record = (const VGPURecord *)channel->record;
    struct outbox_range output;

    if (channel->in_flight > 0) {
        /* It has its turn behind them; what has results waits before it is run. */
        struct flight *flight = channel_fly(channel);

        assert(set->result.result_count == 0 && set->result.data_length == 0);
        flight->kind = FLIGHT_OVER;
        flight->status = set->result.status;
        return;
    }
    output = output_of(channel);
    outbox_add_range(&channel->outbox, &output);
    finish(channel, record->seq, record->flags, record->lane, &set->result);
    channel->has_record = channel->pulling = false;
    channel->begun = false;
}

void channel_finish_with(struct channel_set *set, struct channel *channel, enum vgpu_error status)
{
    channel_clear_result(&set->result, status);
    channel_finish_record(set, channel);
}

/* Looks at the oldest flight.  True: it is over, and set->result says how. */
static bool has_landed(struct channel_set *set, struct channel *channel)
{
    struct flight *flight = &channel->flights[channel->first];
    enum backend_state job;
    enum bulk_state bulk;

    channel_clear_result(&set->result, VGPU_ERR_NONE);
    switch (flight->kind) {
    case FLIGHT_JOB:
        job = set->uses.poll(set->uses.opaque, flight->slot, &set->result);
        set->lost |= job == BACKEND_LOST;
        if (job != BACKEND_DONE) {
            return false;
        }
        set->free_slots |= 1u << flight->slot;
        set->jobs_ns -= flight->expected_ns;
        set->job_since_ns = clock_now_ns();
        return true;
    case FLIGHT_BULK:
        bulk = set->uses.engine->poll(set->uses.engine->opaque, flight->last);
        set->lost |= bulk == BULK_LOST;
        return bulk == BULK_DONE;
    default: set->result.status = flight->status; return true;
    }
}

bool channel_land(struct channel_set *set, struct channel *channel)
{
    bool did = false;

    while (channel->in_flight > 0 && !set->lost && has_landed(set, channel)) {
        struct flight *flight = &channel->flights[channel->first];

        channel->first = (channel->first + 1) % FLIGHTS_MAX;
        channel->in_flight--;
        outbox_add_range(&channel->outbox, &flight->out);
        finish(channel, flight->seq, flight->flags, flight->lane, &set->result);
        did = true;
    }
    return did;
}
