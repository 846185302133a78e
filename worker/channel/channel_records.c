/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a record in the ring to a unit that is started or done. */
#include "worker/channel/channel_internal.h"

#include <string.h>

#include "common/clock.h"
#include "common/log.h"

/* A job of 1.0 of which nothing is known takes about so long on a GPU. */
#define JOB_NS (10 * NS_PER_US)
/* One that may never end: no turn ends before it. */
#define ENDLESS_NS (3600 * NS_PER_S)

/* A record of 1.0's operations as a job; false: its lengths don't fit each other. */
static bool as_job(const struct channel *channel, struct backend_job *job)
{
    const VGPUOpRecord *record = (const VGPUOpRecord *)channel->record;
    uint64_t body = (uint64_t)record->param_count * 4 + record->data_bytes;

    if (record->record.bytes < sizeof(*record) || record->param_count > VGPU_PARAMS_MAX ||
        record->data_bytes > VGPU_REQUEST_BODY_BYTES ||
        record->record.bytes != sizeof(*record) + (body + 7) / 8 * 8) {
        return false;
    }
    *job = (struct backend_job){
        .opcode = record->record.op,
        .param_count = record->param_count,
        .data_length = record->data_bytes,
        .params = (const uint32_t *)(record + 1),
        .data = (const uint32_t *)(record + 1) + record->param_count,
        .untimed = (record->record.flags & VGPU_RECORD_ANSWER) == 0,
    };
    return true;
}

static bool takes_turn(const struct channel *channel, uint16_t opcode)
{
    if (opcode >= VGPU_OP_BULK) {
        return bulk_needs_turn(channel->bulk, opcode);
    }
    return opcode != VGPU_OP_NOP && opcode != VGPU_OP_GET_DEVICE_INFO;
}

static uint64_t expected_ns(const struct backend_job *job)
{
    switch (job->opcode) {
    case VGPU_OP_TEST_SPIN: return job->param_count == 1 ? job->params[0] * NS_PER_US : JOB_NS;
    case VGPU_OP_TEST_HANG: return ENDLESS_NS;
    default: return JOB_NS;
    }
}

/* An operation of 1.0.  False: it can't be started now. */
static bool run_job(struct channel_set *set, struct channel *channel)
{
    unsigned slot = (unsigned)__builtin_ctz(set->free_slots | 1u << BACKEND_CHANNEL_JOBS);
    struct backend_job job;
    struct flight *flight;

    if (!as_job(channel, &job)) {
        channel_finish_with(set, channel, VGPU_ERR_INVALID_LENGTH);
        return true;
    }
    /* Its results would need a place while others are before it. */
    if (slot == BACKEND_CHANNEL_JOBS ||
        (job.opcode == VGPU_OP_GET_DEVICE_INFO && channel->in_flight > 0)) {
        return false;
    }
    channel_clear_result(&set->result, VGPU_ERR_NONE);
    switch (set->uses.run(set->uses.opaque, slot, &job, &set->result)) {
    case BACKEND_DONE: channel_finish_record(set, channel); return true;
    case BACKEND_LOST: set->lost = true; return false;
    default: break;
    }
    flight = channel_fly(channel);
    flight->kind = FLIGHT_JOB;
    flight->slot = slot;
    flight->expected_ns = expected_ns(&job);
    set->free_slots &= ~(1u << slot);
    if (set->jobs_ns == 0) {
        set->job_since_ns = clock_now_ns();
    }
    set->jobs_ns += flight->expected_ns;
    return true;
}

/* The checks of a bulk operation.  False: it is over, or has to wait. */
static bool begin_bulk(struct channel_set *set, struct channel *channel, bool *full)
{
    enum vgpu_error status;

    if (((const VGPURecord *)channel->record)->bytes != sizeof(channel->op.record)) {
        channel_finish_with(set, channel, VGPU_ERR_INVALID_LENGTH);
        return false;
    }
    memcpy(&channel->op.record, channel->record, sizeof(channel->op.record));
    status = bulk_begin(channel->bulk, &channel->op, full);
    if (*full) {
        return false;
    }
    if (status != VGPU_ERR_NONE) {
        channel_finish_with(set, channel, status);
        return false;
    }
    channel->begun = true;
    return true;
}

/* Are these bytes of a chunk that a record may name? */
static bool names_chunk(const struct channel *channel, const VGPUBulkRecord *record)
{
    uint64_t from = record->chunk == 0 ? channel->layout.arena : 0;
    uint64_t end =
        record->chunk == 0 ? channel->layout.bytes : channel_chunk_bytes(channel, record->chunk);

    return record->chunk_offset >= from && record->chunk_offset <= end &&
           record->count <= end - record->chunk_offset;
}

/*
 * COPIED: has the guest's part of the chunk come?  It is asked for behind all that was written
 * before, as the process may have named the same place twice.
 */
static bool has_input(struct channel *channel)
{
    const VGPUBulkRecord *record = (const VGPUBulkRecord *)channel->record;
    struct copier *copier = &channel->outbox.copier;

    if (!outbox_is_on(&channel->outbox) || record->record.op != VGPU_BULK_UPLOAD ||
        record->record.bytes != sizeof(*record) || !names_chunk(channel, record)) {
        return true; /* there is none, or it will be refused */
    }
    if (!channel->pulling) {
        channel_push(channel);
        if (channel->in_flight > 0 || channel->outbox.count > 0 || copier_room(copier) == 0) {
            return false;
        }
        copier_ask(copier, VGPU_COPY_PULL, record->chunk, record->chunk_offset, record->count);
        copier_kick(copier);
        channel->pulling = true;
        channel->pull_tail = copier->tail;
    }
    return copier_is_done(copier, channel->pull_tail);
}

/* One unit of a bulk operation.  False: it can't be started now. */
static bool run_bulk(struct channel_set *set, struct channel *channel)
{
    const struct bulk_engine *engine = set->uses.engine;
    struct flight *flight;
    bool full = false;

    if (!channel->begun && !has_input(channel)) {
        return false;
    }
    if (!channel->begun && !begin_bulk(set, channel, &full)) {
        return !full;
    }
    switch (engine->step(engine->opaque, &channel->op)) {
    case BULK_MORE: return true;
    case BULK_DONE: channel_finish_with(set, channel, VGPU_ERR_NONE); return true;
    case BULK_FAILED:
        bulk_undo(channel->bulk, &channel->op);
        channel_finish_with(set, channel, VGPU_ERR_CUDA_ERROR);
        return true;
    case BULK_LOST: set->lost = true; return false;
    case BULK_FULL: return false;
    case BULK_STARTED: break;
    }
    flight = channel_fly(channel);
    flight->kind = FLIGHT_BULK;
    memcpy(flight->last, channel->op.last, sizeof(flight->last));
    return true;
}

bool channel_run_unit(struct channel_set *set, struct channel *channel)
{
    const VGPURecord *record = (const VGPURecord *)channel->record;

    if (channel->in_flight == FLIGHTS_MAX || outbox_room(&channel->outbox) <= channel->in_flight) {
        return false;
    }
    return record->op < VGPU_OP_BULK ? run_job(set, channel) : run_bulk(set, channel);
}

void channel_set_credit(struct channel_set *set, uint32_t records)
{
    set->counted = records != VGPU_WORKER_CREDIT_ALL;
    set->asked = false;
    set->credit = records == 0 || !set->counted ? 0 : set->credit + records;
}

/* There is a record: may it be taken?  Asks, once, when not. */
static bool has_credit(struct channel_set *set)
{
    if (!set->counted || set->credit > 0) {
        return true;
    }
    if (!set->asked) {
        set->asked = true;
        set->uses.tell(set->uses.opaque, VGPU_WORKER_ASK, 0, 0);
    }
    return false;
}

int channel_take(struct channel_set *set, struct channel *channel)
{
    int result = vgpu_ring_look(&channel->commands);

    if (result == VGPU_RING_BROKEN) {
        log_warning("a channel is closed: its position makes no sense");
        channel_end_and_tell(set, channel, VGPU_CLOSED_BAD_POSITION);
        return result;
    }
    if (result != VGPU_RING_OK) {
        return result;
    }
    if (!has_credit(set)) {
        return VGPU_RING_EMPTY;
    }
    result = vgpu_ring_take_record(&channel->commands, channel->record, channel->seq + 1,
                                   channel->geometry.lanes);
    if (result == VGPU_RING_BROKEN) {
        log_warning("a channel is closed: record %u makes no sense", channel->seq + 1);
        channel_end_and_tell(set, channel, VGPU_CLOSED_BAD_RECORD);
        return result;
    }
    set->credit -= set->counted;
    channel->seq++;
    channel->has_record = true;
    channel->pulling = false;
    channel->needs_turn = takes_turn(channel, ((const VGPURecord *)channel->record)->op);
    if (((const VGPURecord *)channel->record)->op == VGPU_BULK_SGEMM) {
        set->uses.engine->prepare_products(set->uses.engine->opaque);
    }
    return result;
}
