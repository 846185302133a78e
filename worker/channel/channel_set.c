/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/channel/channel_set.h"

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

/* Records of one channel before the next one has its turn, and the time of one look. */
#define SERVE_RECORDS 64u
#define SERVE_NS NS_PER_MS

struct channel {
    uint64_t handle; /* 0: free */
    int doorbell, interrupt;
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
    bool answered; /* since the process was last looked after */
    struct bulk_op op;
    _Alignas(8) uint8_t record[VGPU_RECORD_BYTES_MAX];
};

struct channel_set {
    struct channel_set_uses uses;
    struct bulk_account account;
    struct channel *all[CHANNEL_SET_MAX];
    unsigned count;
    struct backend_result result;
};

struct channel_set *channel_set_new(const struct channel_set_uses *uses)
{
    struct channel_set *set = calloc(1, sizeof(*set));

    if (set) {
        set->uses = *uses;
        set->account.limit_bytes = uses->memory_bytes;
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

static void signal_event(int fd)
{
    const uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof(one));

    (void)n; /* full: then it is signalled enough */
}

/* ---- coming and going ---- */

static void release(struct channel *channel)
{
    if (channel->chunk0) {
        munmap(channel->chunk0, channel->layout.bytes);
    }
    close(channel->doorbell);
    close(channel->interrupt);
    bulk_free(channel->bulk);
    free(channel);
}

/* The process learns the reason from the control page, and wakes up. */
static void end(struct channel_set *set, struct channel *channel, enum vgpu_channel_reason reason)
{
    VGPU_STORE_RELAXED(&channel->control->reason, (uint32_t)reason);
    VGPU_STORE_RELEASE(&channel->control->state, (uint32_t)VGPU_CHANNEL_CLOSED);
    signal_event(channel->interrupt);
    for (unsigned i = 0; i < set->count; i++) {
        if (set->all[i] == channel) {
            set->all[i] = set->all[--set->count];
            break;
        }
    }
    release(channel);
}

static void end_and_tell(struct channel_set *set, struct channel *channel,
                         enum vgpu_channel_reason reason)
{
    uint64_t handle = channel->handle;

    end(set, channel, reason);
    set->uses.tell(set->uses.opaque, VGPU_WORKER_CHANNEL_CLOSED, handle, reason);
}

void channel_set_free(struct channel_set *set)
{
    while (set && set->count > 0) {
        end(set, set->all[0], VGPU_CLOSED_SHUTDOWN);
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

/* Maps chunk 0, whose size must be what the geometry says.  Closes its descriptor. */
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

enum vgpu_error channel_set_add(struct channel_set *set, uint64_t handle,
                                const vgpu_worker_channel *what, const int *fds)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (!channel || set->count == CHANNEL_SET_MAX || what->profile != VGPU_PROFILE_OPS ||
        !vgpu_channel_layout(&what->geometry, &channel->layout)) {
        free(channel);
        for (unsigned i = 0; i < CHANNEL_SET_FDS; i++) {
            close(fds[i]);
        }
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    channel->handle = handle;
    channel->geometry = what->geometry;
    channel->doorbell = fds[VGPU_FD_DOORBELL];
    channel->interrupt = fds[VGPU_FD_INTERRUPT];
    channel->chunk0 = map_chunk(fds[VGPU_FD_CHUNK0], channel->layout.bytes);
    channel->bulk = channel->chunk0 ? bulk_new(&set->account, channel->chunk0,
                                               channel->layout.bytes, channel->layout.arena)
                                    : NULL;
    if (!channel->bulk) {
        log_error("a channel of %llu bytes cannot be mapped",
                  (unsigned long long)channel->layout.bytes);
        release(channel);
        return VGPU_ERR_MEMORY_LIMIT;
    }
    channel->control = (VGPUControl *)channel->chunk0;
    vgpu_command_ring(&channel->commands, channel->chunk0, &channel->layout, &channel->geometry);
    vgpu_notice_ring(&channel->notices, channel->chunk0, &channel->layout, &channel->geometry);
    set->all[set->count++] = channel;
    return VGPU_ERR_NONE;
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

/* The record is over. */
static void finish(struct channel *channel, const struct backend_result *result)
{
    const VGPURecord *record = (const VGPURecord *)channel->record;
    VGPUMailbox *mailbox =
        (VGPUMailbox *)(channel->chunk0 + channel->layout.mailboxes) + record->lane;

    channel->retired++;
    VGPU_STORE_RELEASE(&channel->control->retired, channel->retired);
    if (record->flags & VGPU_RECORD_ANSWER) {
        mailbox->status = result->status;
        mailbox->result_count = result->result_count;
        mailbox->data_bytes = result->data_length;
        mailbox->gpu_time_ns = result->gpu_time_ns;
        mailbox->retired = channel->retired;
        memcpy(mailbox->body, result->body, result->result_count * 4ull + result->data_length);
        vgpu_mailbox_answer(mailbox, record->seq);
    } else if (result->status != VGPU_ERR_NONE) {
        put_notice(channel, record->seq, result->status);
    }
    channel->answered = true;
    channel->has_record = false;
    channel->begun = false;
}

static void finish_with(struct channel_set *set, struct channel *channel, enum vgpu_error status)
{
    set->result.status = status;
    set->result.result_count = 0;
    set->result.data_length = 0;
    set->result.gpu_time_ns = 0;
    finish(channel, &set->result);
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
    };
    return true;
}

static bool takes_turn(uint16_t opcode)
{
    if (opcode >= VGPU_OP_BULK) {
        return bulk_needs_turn(opcode);
    }
    return opcode != VGPU_OP_NOP && opcode != VGPU_OP_GET_DEVICE_INFO;
}

/* One unit of the record that the channel has. */
static void run_unit(struct channel_set *set, struct channel *channel)
{
    const VGPURecord *record = (const VGPURecord *)channel->record;
    struct backend_job job;
    enum vgpu_error status;

    if (record->op < VGPU_OP_BULK) {
        if (!as_job(channel, &job)) {
            finish_with(set, channel, VGPU_ERR_INVALID_LENGTH);
            return;
        }
        set->result.status = VGPU_ERR_NONE;
        set->result.result_count = 0;
        set->result.data_length = 0;
        set->result.gpu_time_ns = 0;
        set->uses.run(set->uses.opaque, &job, &set->result);
        finish(channel, &set->result);
        return;
    }
    if (!channel->begun) {
        if (record->bytes != sizeof(channel->op.record)) {
            finish_with(set, channel, VGPU_ERR_INVALID_LENGTH);
            return;
        }
        memcpy(&channel->op.record, record, sizeof(channel->op.record));
        status = bulk_begin(channel->bulk, &channel->op);
        if (status != VGPU_ERR_NONE) {
            finish_with(set, channel, status);
            return;
        }
        channel->begun = true;
    }
    if (bulk_step(&channel->op)) {
        finish_with(set, channel, VGPU_ERR_NONE);
    }
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
    result = vgpu_ring_take_record(&channel->commands, channel->record, channel->seq + 1,
                                   channel->geometry.lanes);
    if (result == VGPU_RING_BROKEN) {
        log_warning("a channel is closed: record %u makes no sense", channel->seq + 1);
        end_and_tell(set, channel, VGPU_CLOSED_BAD_RECORD);
        return result;
    }
    channel->seq++;
    channel->has_record = true;
    channel->needs_turn = takes_turn(((const VGPURecord *)channel->record)->op);
    return result;
}

/* Gives room back, and wakes the process if it waits for that or for an answer. */
static void look_after_process(struct channel *channel)
{
    bool wake = vgpu_ring_release(&channel->commands) != 0;

    if (channel->answered && !wake) {
        wake = vgpu_must_wake(&channel->control->process_parked) != 0;
    }
    channel->answered = false;
    if (wake) {
        signal_event(channel->interrupt);
    }
}

/* Up to `budget_ns`.  False: it had nothing to do.  The channel may be gone. */
static bool serve(struct channel_set *set, struct channel *channel, bool in_turn,
                  uint64_t budget_ns)
{
    uint64_t end_ns = 0;
    bool did = false;

    for (unsigned i = 0; i < SERVE_RECORDS; i++) {
        bool whole = true;

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
            if (!channel->wants) {
                channel->wants = true;
                set->uses.tell(set->uses.opaque, VGPU_WORKER_WANT, channel->handle, 0);
            }
            break;
        }
        run_unit(set, channel);
        did = true;
        /* Bulk operations take time; the clock is not for each NOP. */
        whole = channel->has_record || ((const VGPURecord *)channel->record)->op != VGPU_OP_NOP;
        if (whole) {
            uint64_t now_ns = clock_now_ns();

            end_ns = end_ns ? end_ns : now_ns + budget_ns;
            if (now_ns >= end_ns) {
                break;
            }
        }
    }
    look_after_process(channel);
    return did;
}

bool channel_set_serve(struct channel_set *set)
{
    bool did = false;

    for (unsigned i = set->count; i-- > 0;) {
        struct channel *channel = set->all[i];

        if (!channel->in_turn && !(channel->has_record && channel->wants)) {
            did |= serve(set, channel, false, SERVE_NS);
        }
    }
    return did;
}

bool channel_set_turn(struct channel_set *set, uint64_t handle, uint64_t budget_ns,
                      uint64_t *used_ns)
{
    struct channel *channel = find(set, handle);
    uint64_t start_ns, left_ns = budget_ns > *used_ns ? budget_ns - *used_ns : 0;
    bool did;

    if (!channel) {
        return true;
    }
    channel->wants = false;
    channel->in_turn = true;
    start_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
    did = serve(set, channel, true, left_ns < SERVE_NS ? left_ns : SERVE_NS);
    *used_ns += clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns;
    if (did && *used_ns < budget_ns) {
        return false;
    }
    channel = find(set, handle); /* serve() may have closed it */
    if (channel) {
        channel->in_turn = false;
    }
    return true;
}

/* ---- sleeping ---- */

static bool has_work(struct channel *channel)
{
    if (channel->has_record) {
        return !channel->wants;
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
    bool work = false;

    for (unsigned i = 0; i < set->count; i++) {
        vgpu_park(&set->all[i]->control->worker_parked);
        fds[i + 1] = (struct pollfd){.fd = set->all[i]->doorbell, .events = POLLIN};
        work |= has_work(set->all[i]);
    }
    if (!work) {
        poll(fds, set->count + 1, -1);
    }
    for (unsigned i = 0; i < set->count; i++) {
        vgpu_unpark(&set->all[i]->control->worker_parked);
        if (fds[i + 1].revents & POLLIN) {
            drain(set->all[i]->doorbell);
        }
    }
}
