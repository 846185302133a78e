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
#include "worker/channel/channel_set.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/request.h"
#include "vgpu/vgpu_ring.h"
#include "worker/channel/bulk.h"
#include "worker/channel/outbox.h"

/* Records of one channel before the next one has its turn, and the time of one look. */
#define SERVE_RECORDS 64u
#define SERVE_NS NS_PER_MS
/* Records of one channel that are in flight. */
#define FLIGHTS_MAX 64u
/* A job of 1.0 of which nothing is known takes about so long on a GPU. */
#define JOB_NS (10 * NS_PER_US)
/* One that may never end: no turn ends before it. */
#define ENDLESS_NS (3600 * NS_PER_S)
/*
 * A worker that is given its turn needs about so long until its first kernel is there, because it
 * sleeps deeply.  On an H200 with kernels of 1 ms and 100 us, hand-overs of 100 us kept the GPU
 * busy for 96.9 and 95.9 % of the time, of 200 us for 97.6 and 97.3 %.
 */
#define HAND_OVER_NS (200 * NS_PER_US)
/* Sleep between two looks at units in flight, when looking has been in vain for long. */
#define LOOK_NS (50 * NS_PER_US)

/* A record that is on its way. */
struct flight {
    enum { FLIGHT_OVER, FLIGHT_JOB, FLIGHT_BULK } kind;
    uint32_t seq, status; /* OVER */
    uint16_t flags, lane;
    unsigned slot;                  /* JOB */
    uint64_t expected_ns;           /* JOB */
    uint64_t last[BULK_QUEUES];     /* BULK */
    uint64_t out_offset, out_bytes; /* what it writes into the arena */
};

/* One beyond chunk 0. */
struct chunk {
    uint8_t *memory; /* NULL: free */
    uint64_t bytes;
    bool removing;
    uint64_t gone_at; /* removing: when so many records are over */
};

struct channel {
    uint64_t handle; /* 0: free */
    struct channel_mapping *mapping;
    int doorbell, interrupt; /* the mapping's, as what follows */
    uint8_t *chunk0;
    VGPUGeometry geometry;
    struct vgpu_channel_layout layout;
    VGPUControl *control; /* shared: read each word once */
    struct vgpu_ring commands, notices;
    struct bulk *bulk;
    uint32_t seq;
    uint64_t retired;
    bool has_record; /* taken from the ring and not over */
    bool begun;      /* a bulk operation that has passed its checks */
    bool needs_turn; /* the record does */
    bool wants;      /* WANT was sent, its turn has not begun */
    bool in_turn;
    bool stopping; /* its turn starts nothing more */
    bool closing;  /* told to the process; `reason` goes to the mediator at the end */
    bool answered; /* since the process was last looked after */
    bool pulling;  /* COPIED: the arena's part of the record was asked for */
    uint64_t pull_tail;
    struct outbox outbox;
    enum vgpu_channel_reason reason;
    uint64_t turn_start_ns, turn_budget_ns;
    struct bulk_op op;
    struct chunk *chunks; /* VGPU_CHUNKS_MAX; NULL: there were none */
    unsigned removing;    /* of them */
    struct flight flights[FLIGHTS_MAX];
    unsigned first, in_flight;
    _Alignas(8) uint8_t record[VGPU_RECORD_BYTES_MAX];
};

struct channel_set {
    struct channel_set_uses uses;
    uint32_t free_slots;   /* of the backend, a bit each */
    uint64_t jobs_ns;      /* what jobs in flight will take together, as expected */
    uint64_t job_since_ns; /* when the oldest of them had the GPU */
    bool lost;
    bool counted, asked; /* records need credit; it was asked for */
    uint32_t credit;
    const VGPUTurnPage *turn_page; /* shared: read each word once */
    struct channel *all[CHANNEL_SET_MAX];
    unsigned count;
    struct backend_result result;
};

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

static struct channel *find(struct channel_set *set, uint64_t handle)
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
    for (uint32_t i = 0; channel->chunks && i < VGPU_CHUNKS_MAX; i++) {
        if (channel->chunks[i].memory) {
            munmap(channel->chunks[i].memory, channel->chunks[i].bytes);
        }
    }
    free(channel->chunks);
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

/* Is anything of it still on its way in the engine?  The operation that it has begun is, too. */
static bool has_flown(struct channel_set *set, struct channel *channel)
{
    const struct bulk_engine *engine = set->uses.engine;

    return channel->in_flight > 0 ||
           (channel->begun && engine->poll(engine->opaque, channel->op.last) == BULK_STARTED);
}

/* Nothing of it is in flight: the memory is let go of. */
static void end(struct channel_set *set, struct channel *channel)
{
    uint64_t handle = channel->handle;
    enum vgpu_channel_reason reason = channel->reason;

    forget(set, channel);
    set->uses.tell(set->uses.opaque, VGPU_WORKER_CHANNEL_CLOSED, handle, reason);
}

static void end_and_tell(struct channel_set *set, struct channel *channel,
                         enum vgpu_channel_reason reason)
{
    if (channel->closing) {
        return;
    }
    channel->closing = true;
    channel->reason = reason;
    tell_process(channel, reason);
    if (!has_flown(set, channel)) {
        end(set, channel);
    }
}

void channel_set_free(struct channel_set *set)
{
    while (set && set->count > 0) {
        struct channel *channel = set->all[0];

        if (!channel->closing) {
            tell_process(channel, VGPU_CLOSED_SHUTDOWN);
        }
        if (has_flown(set, channel)) {
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
    struct channel *channel = find(set, handle);

    if (channel) {
        end_and_tell(set, channel, reason);
    }
}

/* Maps a chunk, which must have this size.  Closes its descriptor. */
static uint8_t *map_chunk(int fd, uint64_t bytes)
{
    struct stat about;
    void *memory = MAP_FAILED;

    if (fstat(fd, &about) == 0 && (uint64_t)about.st_size == bytes) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

enum vgpu_error channel_set_add(struct channel_set *set, struct channel_mapping *mapping)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (!channel || set->count == CHANNEL_SET_MAX || mapping->what.profile != VGPU_PROFILE_OPS) {
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
                mapping->copy_page, channel->interrupt);
    bulk_add_chunk(channel->bulk, 0, channel->chunk0, channel->layout.arena, channel->layout.bytes);
    channel->control = (VGPUControl *)channel->chunk0;
    vgpu_command_ring(&channel->commands, channel->chunk0, &channel->layout, &channel->geometry);
    vgpu_notice_ring(&channel->notices, channel->chunk0, &channel->layout, &channel->geometry);
    set->all[set->count++] = channel;
    return VGPU_ERR_NONE;
}

/* ---- more chunks ---- */

enum vgpu_error channel_set_add_chunk(struct channel_set *set, uint64_t handle, uint32_t number,
                                      uint64_t bytes, int fd)
{
    struct channel *channel = find(set, handle);
    uint8_t *memory = NULL;

    if (!channel || channel->closing || number == 0 || number >= VGPU_CHUNKS_MAX ||
        (channel->chunks && channel->chunks[number].memory)) {
        close(fd);
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (!channel->chunks) {
        channel->chunks = calloc(VGPU_CHUNKS_MAX, sizeof(*channel->chunks));
    }
    if (channel->chunks) {
        memory = map_chunk(fd, bytes);
    } else {
        close(fd);
    }
    if (!memory) {
        log_error("a chunk of %llu bytes cannot be mapped", (unsigned long long)bytes);
        return VGPU_ERR_MEMORY_LIMIT;
    }
    channel->chunks[number] = (struct chunk){.memory = memory, .bytes = bytes};
    bulk_add_chunk(channel->bulk, number, memory, 0, bytes);
    return VGPU_ERR_NONE;
}

/* Those whose records are over. */
static void remove_chunks(struct channel_set *set, struct channel *channel)
{
    for (uint32_t i = 0; channel->removing > 0 && i < VGPU_CHUNKS_MAX; i++) {
        struct chunk *chunk = &channel->chunks[i];

        if (chunk->removing && channel->retired >= chunk->gone_at) {
            bulk_remove_chunk(channel->bulk, i);
            munmap(chunk->memory, chunk->bytes);
            *chunk = (struct chunk){.memory = NULL};
            channel->removing--;
            set->uses.tell(set->uses.opaque, VGPU_WORKER_CHUNK_REMOVED, channel->handle, i);
        }
    }
}

void channel_set_remove_chunk(struct channel_set *set, uint64_t handle, uint32_t number)
{
    struct channel *channel = find(set, handle);
    struct chunk *chunk;

    if (!channel || channel->closing || !channel->chunks || number == 0 ||
        number >= VGPU_CHUNKS_MAX || !channel->chunks[number].memory ||
        channel->chunks[number].removing) {
        return;
    }
    chunk = &channel->chunks[number];
    chunk->removing = true;
    chunk->gone_at = channel->retired + channel->in_flight + (channel->begun ? 1 : 0);
    channel->removing++;
    bulk_hide_chunk(channel->bulk, number);
    remove_chunks(set, channel);
}

/* ---- answers ---- */

static void put_notice(struct channel *channel, uint32_t seq, uint32_t status)
{
    VGPUNotice notice = {
        .kind = VGPU_NOTICE_ERROR, .bytes = sizeof(notice), .seq = seq, .value = status};
    uint64_t lost;

    /* A broken head of it is the process's own loss. */
    if (vgpu_ring_room(&channel->notices, sizeof(notice)) == VGPU_RING_OK) {
        vgpu_ring_put(&channel->notices, &notice, sizeof(notice));
        vgpu_ring_publish(&channel->notices);
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
    VGPU_STORE_RELEASE(&channel->control->retired, channel->retired);
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

static void clear_result(struct backend_result *result, uint32_t status)
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

    return (struct outbox_range){record->chunk_offset, writes ? record->count : 0};
}

/* The record that was taken is on its way, behind those before it. */
static struct flight *fly(struct channel *channel)
{
    const VGPURecord *record = (const VGPURecord *)channel->record;
    struct flight *flight =
        &channel->flights[(channel->first + channel->in_flight++) % FLIGHTS_MAX];

    assert(channel->in_flight <= FLIGHTS_MAX);
    flight->seq = record->seq;
    flight->flags = record->flags;
    flight->lane = record->lane;
    flight->out_offset = output_of(channel).offset;
    flight->out_bytes = output_of(channel).bytes;
    channel->has_record = false;
    channel->begun = false;
    return flight;
}

/* The record that was taken is over, with what stands in set->result. */
static void finish_record(struct channel_set *set, struct channel *channel)
{
    const VGPURecord *record = (const VGPURecord *)channel->record;

    if (channel->in_flight > 0) {
        /* It has its turn behind them; what has results waits before it is run. */
        struct flight *flight = fly(channel);

        assert(set->result.result_count == 0 && set->result.data_length == 0);
        flight->kind = FLIGHT_OVER;
        flight->status = set->result.status;
        return;
    }
    outbox_add_range(&channel->outbox, output_of(channel).offset, output_of(channel).bytes);
    finish(channel, record->seq, record->flags, record->lane, &set->result);
    channel->has_record = false;
    channel->begun = false;
}

static void finish_with(struct channel_set *set, struct channel *channel, enum vgpu_error status)
{
    clear_result(&set->result, status);
    finish_record(set, channel);
}

/* Looks at the oldest flight.  True: it is over, and set->result says how. */
static bool has_landed(struct channel_set *set, struct channel *channel)
{
    struct flight *flight = &channel->flights[channel->first];
    enum backend_state job;
    enum bulk_state bulk;

    clear_result(&set->result, VGPU_ERR_NONE);
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

/* Ends the flights that are over, in their order.  True: there was one. */
static bool land(struct channel_set *set, struct channel *channel)
{
    bool did = false;

    while (channel->in_flight > 0 && !set->lost && has_landed(set, channel)) {
        struct flight *flight = &channel->flights[channel->first];

        channel->first = (channel->first + 1) % FLIGHTS_MAX;
        channel->in_flight--;
        outbox_add_range(&channel->outbox, flight->out_offset, flight->out_bytes);
        finish(channel, flight->seq, flight->flags, flight->lane, &set->result);
        did = true;
    }
    return did;
}

/* ---- records ---- */

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
        finish_with(set, channel, VGPU_ERR_INVALID_LENGTH);
        return true;
    }
    /* Its results would need a place while others are before it. */
    if (slot == BACKEND_CHANNEL_JOBS ||
        (job.opcode == VGPU_OP_GET_DEVICE_INFO && channel->in_flight > 0)) {
        return false;
    }
    clear_result(&set->result, VGPU_ERR_NONE);
    switch (set->uses.run(set->uses.opaque, slot, &job, &set->result)) {
    case BACKEND_DONE: finish_record(set, channel); return true;
    case BACKEND_LOST: set->lost = true; return false;
    default: break;
    }
    flight = fly(channel);
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
        finish_with(set, channel, VGPU_ERR_INVALID_LENGTH);
        return false;
    }
    memcpy(&channel->op.record, channel->record, sizeof(channel->op.record));
    status = bulk_begin(channel->bulk, &channel->op, full);
    if (*full) {
        return false;
    }
    if (status != VGPU_ERR_NONE) {
        finish_with(set, channel, status);
        return false;
    }
    channel->begun = true;
    return true;
}

/*
 * COPIED: has the guest's part of the arena come?  It is asked for behind all that was written
 * before, as the process may have named the same place twice.
 */
static bool has_input(struct channel *channel)
{
    const VGPUBulkRecord *record = (const VGPUBulkRecord *)channel->record;
    struct copier *copier = &channel->outbox.copier;

    if (!outbox_is_on(&channel->outbox) || record->record.op != VGPU_BULK_UPLOAD ||
        record->record.bytes != sizeof(*record) || record->chunk_offset < channel->layout.arena ||
        record->chunk_offset > channel->layout.bytes ||
        record->count > channel->layout.bytes - record->chunk_offset) {
        return true; /* there is none, or it will be refused */
    }
    if (!channel->pulling) {
        outbox_send(&channel->outbox, channel->notices.tail);
        if (channel->in_flight > 0 || channel->outbox.count > 0 || copier_room(copier) == 0) {
            return false;
        }
        copier_ask(copier, VGPU_COPY_PULL, record->chunk_offset, record->count);
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
    case BULK_DONE: finish_with(set, channel, VGPU_ERR_NONE); return true;
    case BULK_FAILED:
        bulk_undo(channel->bulk, &channel->op);
        finish_with(set, channel, VGPU_ERR_CUDA_ERROR);
        return true;
    case BULK_LOST: set->lost = true; return false;
    case BULK_FULL: return false;
    case BULK_STARTED: break;
    }
    flight = fly(channel);
    flight->kind = FLIGHT_BULK;
    memcpy(flight->last, channel->op.last, sizeof(flight->last));
    return true;
}

/* One unit of the record that the channel has.  False: it can't be started now. */
static bool run_unit(struct channel_set *set, struct channel *channel)
{
    const VGPURecord *record = (const VGPURecord *)channel->record;

    if (channel->in_flight == FLIGHTS_MAX || outbox_room(&channel->outbox) <= channel->in_flight) {
        return false;
    }
    return record->op < VGPU_OP_BULK ? run_job(set, channel) : run_bulk(set, channel);
}

void channel_set_turn_page(struct channel_set *set, const VGPUTurnPage *page)
{
    set->turn_page = page;
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

/* The next record into private memory.  EMPTY, or BROKEN: the channel was closed. */
static int take(struct channel_set *set, struct channel *channel)
{
    int result = vgpu_ring_look(&channel->commands);

    if (result == VGPU_RING_BROKEN) {
        log_warning("a channel is closed: its position makes no sense");
        end_and_tell(set, channel, VGPU_CLOSED_BAD_POSITION);
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
        end_and_tell(set, channel, VGPU_CLOSED_BAD_RECORD);
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
        outbox_send(&channel->outbox, channel->notices.tail);
        return; /* the engine looks whether the process sleeps */
    }
    wake = vgpu_ring_release(&channel->commands) != 0;
    if (channel->answered && !wake) {
        wake = vgpu_must_wake(&channel->control->process_parked) != 0;
    }
    channel->answered = false;
    if (wake) {
        signal_event(channel->interrupt);
    }
}

/* For how long what is in flight, and needs turns, will keep the GPU. */
static uint64_t flying_ns(const struct channel_set *set)
{
    uint64_t jobs_ns = set->jobs_ns;

    if (jobs_ns > 0) {
        uint64_t gone_ns = clock_now_ns() - set->job_since_ns;

        /* At least a little: it has not ended. */
        jobs_ns = gone_ns < jobs_ns ? jobs_ns - gone_ns : 1;
    }
    return jobs_ns + set->uses.engine->busy_ns(set->uses.engine->opaque);
}

/* Do others wait, so that a turn should have ended when this time has passed from now on? */
static bool has_to_yield(const struct channel_set *set, uint64_t in_ns)
{
    uint64_t yield_ns = set->turn_page ? VGPU_LOAD_RELAXED(&set->turn_page->yield_ns) : 0;

    return yield_ns != 0 && clock_now_ns() + in_ns >= yield_ns;
}

/* May another unit of its turn be started?  Without a GPU the units' own time decides. */
static bool has_room_in_turn(const struct channel_set *set, struct channel *channel)
{
    if (set->uses.units_fly && !channel->stopping) {
        uint64_t flying = flying_ns(set);

        channel->stopping =
            clock_now_ns() - channel->turn_start_ns + flying >= channel->turn_budget_ns ||
            has_to_yield(set, flying);
    }
    return !channel->stopping;
}

/* There will be work beyond this turn, or there is without one: says so, once. */
static void want(struct channel_set *set, struct channel *channel)
{
    if (!channel->wants) {
        channel->wants = true;
        set->uses.tell(set->uses.opaque, VGPU_WORKER_WANT, channel->handle, 0);
    }
}

/* Up to `budget_ns`.  False: it had nothing to do.  The channel may be gone. */
static bool serve(struct channel_set *set, struct channel *channel, bool in_turn,
                  uint64_t budget_ns)
{
    uint64_t end_ns = 0;
    bool did = land(set, channel);

    if (channel->closing) {
        if (!has_flown(set, channel)) {
            end(set, channel);
        }
        return did;
    }
    if (channel->outbox.copier.broken) {
        log_warning("a channel is closed: its copy engine says what can't be");
        end_and_tell(set, channel, VGPU_CLOSED_FRAMES);
        return true;
    }
    for (unsigned i = 0; i < SERVE_RECORDS && !set->lost; i++) {
        if (!channel->has_record) {
            int result = take(set, channel);

            if (result == VGPU_RING_BROKEN) {
                return true;
            }
            if (result == VGPU_RING_EMPTY) {
                break;
            }
        }
        if (channel->needs_turn && !in_turn) {
            if (!channel->in_turn) {
                want(set, channel);
            }
            break;
        }
        if (channel->needs_turn && !has_room_in_turn(set, channel)) {
            break;
        }
        if (!run_unit(set, channel)) {
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
    remove_chunks(set, channel);
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
            did |= serve(set, channel, false, SERVE_NS);
        }
    }
    return did;
}

/* In its second half, while there seems to be work for more. */
static void want_the_next(struct channel_set *set, struct channel *channel,
                          const struct channel_turn *turn, uint64_t used_ns)
{
    bool more = channel->has_record ? channel->needs_turn
                                    : vgpu_ring_look(&channel->commands) == VGPU_RING_OK;

    if (more && used_ns >= turn->budget_ns / 2) {
        want(set, channel);
    }
}

/* A piece of a turn whose units are over when they have been run. */
static bool turn_of_processor(struct channel_set *set, uint64_t handle,
                              const struct channel_turn *turn, uint64_t *used_ns)
{
    struct channel *channel = find(set, handle);
    uint64_t left_ns = turn->budget_ns > *used_ns ? turn->budget_ns - *used_ns : 0;
    uint64_t start_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
    bool did = serve(set, channel, true, left_ns < SERVE_NS ? left_ns : SERVE_NS);

    *used_ns += clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns;
    channel = find(set, handle); /* serve() may have ended it */
    if (channel) {
        want_the_next(set, channel, turn, *used_ns);
    }
    return !did || *used_ns >= turn->budget_ns || has_to_yield(set, 0);
}

/* The same of units that are started: the time that passes is charged, until the last is over. */
static bool turn_of_gpu(struct channel_set *set, uint64_t handle, const struct channel_turn *turn,
                        uint64_t *used_ns)
{
    struct channel *channel = find(set, handle);
    uint64_t start_ns = channel->turn_start_ns, flying;
    bool did;

    channel->stopping |= channel->closing;
    did = serve(set, channel, !channel->stopping, SERVE_NS);
    *used_ns = clock_now_ns() - start_ns;
    channel = find(set, handle); /* serve() may have ended it */
    if (!channel) {
        return true;
    }
    flying = flying_ns(set);
    want_the_next(set, channel, turn, *used_ns + flying);
    if (channel->stopping && !channel->closing) {
        *used_ns += flying;
        return turn->goes_on || flying <= HAND_OVER_NS;
    }
    return !did && flying == 0;
}

bool channel_set_turn(struct channel_set *set, uint64_t handle, const struct channel_turn *turn,
                      uint64_t *used_ns)
{
    struct channel *channel = find(set, handle);
    bool over;

    if (!channel) {
        return true;
    }
    if (!channel->in_turn) {
        channel->wants = false;
        channel->in_turn = true;
        channel->stopping = false;
        channel->turn_start_ns = clock_now_ns();
        channel->turn_budget_ns = turn->budget_ns;
        VGPU_STORE_RELAXED(&channel->control->turn, 1u);
    }
    over = set->uses.units_fly ? turn_of_gpu(set, handle, turn, used_ns)
                               : turn_of_processor(set, handle, turn, used_ns);
    channel = find(set, handle);
    if (channel && over) {
        channel->in_turn = false;
        VGPU_STORE_RELAXED(&channel->control->turn, 0u);
    }
    return over || !channel;
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

void channel_set_sleep(struct channel_set *set, int socket)
{
    struct pollfd fds[CHANNEL_SET_MAX + 1] = {{.fd = socket, .events = POLLIN}};
    const struct timespec look = {.tv_nsec = LOOK_NS};
    bool work = false, flying = false;

    for (unsigned i = 0; i < set->count; i++) {
        bool flown = has_flown(set, set->all[i]);

        flying |= flown;
        vgpu_park(&set->all[i]->control->worker_parked);
        copier_park(&set->all[i]->outbox.copier);
        fds[i + 1] = (struct pollfd){.fd = set->all[i]->doorbell, .events = POLLIN};
        work |= has_work(set, set->all[i], flown);
    }
    if (!work) {
        ppoll(fds, set->count + 1, flying ? &look : NULL, NULL);
    }
    for (unsigned i = 0; i < set->count; i++) {
        vgpu_unpark(&set->all[i]->control->worker_parked);
        copier_unpark(&set->all[i]->outbox.copier);
        if (fds[i + 1].revents & POLLIN) {
            drain(set->all[i]->doorbell);
        }
    }
}
