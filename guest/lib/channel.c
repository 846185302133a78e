/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel (vgpu_channel.h, docs/channels.md) as its process has it, however it came about:
 * transport_host.c and transport_dev.c open it, this file uses it.
 *
 * Requests are records in the command ring.  Who waits looks at the memory for a bounded time,
 * then says that it sleeps, looks once more, and sleeps until the transport has a signal.  A
 * channel that has ended stays so, and every later call fails with what ended it; but a request
 * of 1.0 opens a new one where no buffers were lost with the old one.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"

#define OPEN_TIMEOUT_NS 30000000000ull /* a worker may have to be started */
#define SPINS 20000u
#define LOOKS_FOR_YIELD 128u
#define COMMAND_BYTES (1u << 20)
#define NOTICE_BYTES (64u << 10)

struct channel_link *vgpu_channel_of(struct vgpu *v)
{
    v->error_code = VGPU_ERR_NONE;
    if (!v->has_channel) {
        vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                       "%s has no channel, and buffers need one: open \"dev\" in a guest, "
                       "\"host:/path\" on the host",
                       v->description);
        return NULL;
    }
    return v->link;
}

/* ---- the end of a channel ---- */

uint32_t vgpu_channel_dead(struct vgpu *v, uint32_t code, const char *why)
{
    struct channel_link *link = v->link;

    if (!link->dead) {
        link->dead = code;
    }
    return vgpu_set_error(v, code, "%s: the channel has ended: %s", v->description, why);
}

static const char *reason_text(uint32_t reason)
{
    switch (reason) {
#define REASON_CASE(name, number, text)                                                            \
    case number: return text;
        VGPU_CHANNEL_REASONS(REASON_CASE)
#undef REASON_CASE
    default: return "for a reason that this library does not know";
    }
}

static uint32_t code_of_reason(uint32_t reason)
{
    switch (reason) {
    case VGPU_CLOSED_BAD_POSITION:
    case VGPU_CLOSED_BAD_RECORD:
    case VGPU_CLOSED_BAD_CHUNK: return VGPU_ERR_INVALID_REQUEST;
    case VGPU_CLOSED_TIMEOUT: return VGPU_ERR_TIMEOUT;
    case VGPU_CLOSED_QUARANTINED: return VGPU_ERR_VM_QUARANTINED;
    case VGPU_CLOSED_REMOVED: return VGPU_ERR_VM_NOT_REGISTERED;
    case VGPU_CLOSED_WORKER_LOST: return VGPU_ERR_CUDA_ERROR;
    case VGPU_CLOSED_GPU_LOST: return VGPU_ERR_GPU_UNAVAILABLE;
    default: return VGPU_ERR_MEDIATOR_UNAVAILABLE;
    }
}

uint32_t vgpu_channel_closed(struct vgpu *v, uint32_t reason)
{
    return vgpu_channel_dead(v, code_of_reason(reason), reason_text(reason));
}

/* ---- waiting ---- */

static void take_notices(struct channel_link *link)
{
    VGPUNotice notice;
    uint8_t rest[VGPU_NOTICE_MAX];

    while (vgpu_ring_look(&link->notices) == VGPU_RING_OK &&
           link->notices.tail - link->notices.head >= sizeof(notice)) {
        uint64_t there = link->notices.tail - link->notices.head;
        uint64_t bytes;

        vgpu_ring_get(&link->notices, &notice, sizeof(notice));
        bytes = (notice.bytes + 7u) / 8u * 8u;
        if (bytes < sizeof(notice) || bytes > VGPU_NOTICE_MAX || bytes > there) {
            return; /* nonsense: what follows has no meaning either */
        }
        vgpu_ring_get(&link->notices, rest, bytes - sizeof(notice));
        if (notice.kind == VGPU_NOTICE_ERROR && link->failed_record == 0) {
            link->failed_record = notice.seq;
            link->failed_status = (uint32_t)notice.value;
        }
    }
    vgpu_ring_release(&link->notices);
}

/* Has what is waited for come?  1, 0, or -1: the shared memory makes no sense. */
struct condition {
    int (*holds)(struct channel_link *link, uint64_t number);
    uint64_t number;
};

/* The longest that a signal which got lost can cost. */
#define LOOK_AGAIN_MS 1000

static uint32_t sleep_until_signal(struct vgpu *v, uint64_t deadline_ns)
{
    struct channel_link *link = v->link;
    uint64_t now = vgpu_now_ns(v);
    uint32_t code;
    int rest_ms;

    if (now >= deadline_ns) {
        return vgpu_channel_dead(v, VGPU_ERR_TIMEOUT, "no answer within the time limit (timeout)");
    }
    rest_ms = vgpu_rest_ms(now, deadline_ns);
    code = link->way->sleep(v, rest_ms < LOOK_AGAIN_MS ? rest_ms : LOOK_AGAIN_MS);
    if (code == VGPU_ERR_NONE && vgpu_now_ns(v) - now >= LOOK_AGAIN_MS * NS_PER_MS) {
        link->way->ring(v); /* a doorbell for nothing is allowed; one that got lost is made good */
    }
    return code;
}

static uint32_t wait_for(struct vgpu *v, const struct condition *condition, uint64_t deadline_ns)
{
    struct channel_link *link = v->link;
    uint32_t code;

    for (unsigned looks = 0;; looks++) {
        int holds = condition->holds(link, condition->number);

        if (holds > 0) {
            return VGPU_ERR_NONE;
        }
        /* First: the memory of a device that was pulled out is no more what it was. */
        if (VGPU_LOAD_ACQUIRE(&link->control->state) != VGPU_CHANNEL_OPEN) {
            return vgpu_channel_closed(v, VGPU_LOAD_RELAXED(&link->control->reason));
        }
        if (holds < 0) {
            return vgpu_channel_dead(v, VGPU_ERR_BAD_RESPONSE,
                                     "the worker's positions make no sense");
        }
        if (looks < link->spins) {
            /* The worker may wait for this very processor. */
            if (looks % LOOKS_FOR_YIELD == LOOKS_FOR_YIELD - 1) {
                sched_yield();
            }
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#endif
            continue;
        }
        looks = 0;
        vgpu_park(&link->control->process_parked);
        code = VGPU_ERR_NONE;
        if (condition->holds(link, condition->number) == 0 &&
            VGPU_LOAD_ACQUIRE(&link->control->state) == VGPU_CHANNEL_OPEN) {
            code = sleep_until_signal(v, deadline_ns);
        }
        vgpu_unpark(&link->control->process_parked);
        if (code != VGPU_ERR_NONE) {
            return code;
        }
    }
}

static int has_room(struct channel_link *link, uint64_t bytes)
{
    int room = vgpu_ring_room(&link->commands, bytes);

    return room == VGPU_RING_OK ? 1 : room == VGPU_RING_FULL ? 0 : -1;
}

static int is_over(struct channel_link *link, uint64_t records)
{
    uint64_t retired = VGPU_LOAD_ACQUIRE(&link->control->retired);

    return retired > link->posted ? -1 : retired >= records;
}

static VGPUMailbox *mailbox_of(struct channel_link *link)
{
    return (VGPUMailbox *)(link->chunk0 + link->layout.mailboxes) + CHANNEL_LANE_CALL;
}

static int is_answered(struct channel_link *link, uint64_t seq)
{
    return vgpu_mailbox_has(mailbox_of(link), (uint32_t)seq);
}

uint32_t vgpu_channel_wait_over(struct vgpu *v, uint64_t records, uint64_t deadline_ns)
{
    struct condition condition = {is_over, records};
    struct channel_link *link = v->link;
    uint32_t code = link->dead;

    if (code) {
        return vgpu_channel_dead(v, code, "see the first error");
    }
    code = wait_for(v, &condition, deadline_ns);
    take_notices(link);
    return code;
}

uint32_t vgpu_channel_wait_answer(struct vgpu *v, VGPUMailbox **mailbox, uint64_t deadline_ns)
{
    struct channel_link *link = v->link;
    struct condition condition = {is_answered, link->posted};

    *mailbox = mailbox_of(link);
    return wait_for(v, &condition, deadline_ns);
}

uint32_t vgpu_channel_post(struct vgpu *v, VGPURecord *record, const void *body, uint32_t bytes,
                           uint64_t deadline_ns)
{
    static const uint8_t zeros[VGPU_RECORD_ALIGN];
    struct channel_link *link = v->link;
    uint32_t fill = (VGPU_RECORD_ALIGN - bytes % VGPU_RECORD_ALIGN) % VGPU_RECORD_ALIGN;
    struct condition room = {has_room, sizeof(*record) + bytes + fill};
    uint32_t code = link->dead;

    if (code) {
        return vgpu_channel_dead(v, code, "see the first error");
    }
    code = wait_for(v, &room, deadline_ns);
    if (code != VGPU_ERR_NONE) {
        return code;
    }
    record->bytes = (uint32_t)room.number;
    record->seq = (uint32_t)++link->posted;
    vgpu_ring_put(&link->commands, record, sizeof(*record));
    vgpu_ring_put(&link->commands, body, bytes);
    vgpu_ring_put(&link->commands, zeros, fill);
    if (vgpu_ring_publish(&link->commands)) {
        link->way->ring(v);
    }
    return VGPU_ERR_NONE;
}

/* ---- requests of 1.0 ---- */

/* The body of a record, from a request that may be the caller's own; 0: it is malformed. */
static uint32_t record_body(const void *request, uint32_t request_bytes, uint8_t *body,
                            VGPURequest *header)
{
    uint32_t counts[2], words;

    if (request_bytes < sizeof(*header)) {
        return 0;
    }
    memcpy(header, request, sizeof(*header));
    words = header->param_count;
    if (VGPU_PROTOCOL_MAJOR(header->version) != VGPU_PROTOCOL_MAJOR(VGPU_PROTOCOL_VERSION) ||
        words > VGPU_PARAMS_MAX || sizeof(*header) + words * 4 > request_bytes ||
        header->opcode >= VGPU_OP_BULK ||
        (header->data_length && (header->data_offset < sizeof(*header) + words * 4 ||
                                 header->data_offset > request_bytes ||
                                 header->data_length > request_bytes - header->data_offset))) {
        return 0;
    }
    counts[0] = words;
    counts[1] = header->data_length;
    memcpy(body, counts, sizeof(counts));
    memcpy(body + sizeof(counts), (const uint8_t *)request + sizeof(*header), words * 4);
    if (header->data_length) {
        memcpy(body + sizeof(counts) + words * 4, (const uint8_t *)request + header->data_offset,
               header->data_length);
    }
    return sizeof(counts) + words * 4 + header->data_length;
}

/* The answer in the mailbox as a response of 1.0; each word of it is read once. */
static uint32_t take_answer(struct vgpu *v, VGPUMailbox *mailbox, void *response,
                            uint32_t *response_bytes)
{
    VGPUMailbox *from = mailbox;
    uint64_t gpu_time_us = (VGPU_LOAD_RELAXED(&from->gpu_time_ns) + 500) / 1000;
    VGPUResponse answer = {
        .version = VGPU_PROTOCOL_VERSION,
        .status = VGPU_LOAD_RELAXED(&from->status),
        .result_count = VGPU_LOAD_RELAXED(&from->result_count),
        .data_length = VGPU_LOAD_RELAXED(&from->data_bytes),
        .exec_time_us = gpu_time_us > UINT32_MAX ? UINT32_MAX : (uint32_t)gpu_time_us,
    };

    if (answer.result_count > VGPU_RESPONSE_BODY_BYTES / 4 ||
        answer.data_length > VGPU_RESPONSE_BODY_BYTES - answer.result_count * 4) {
        return vgpu_channel_dead(v, VGPU_ERR_BAD_RESPONSE, "the worker's answer is too long");
    }
    answer.data_offset = (uint32_t)sizeof(answer) + answer.result_count * 4;
    memcpy(response, &answer, sizeof(answer));
    memcpy((uint8_t *)response + sizeof(answer), from->body,
           answer.result_count * 4 + answer.data_length);
    *response_bytes = answer.data_offset + answer.data_length;
    return VGPU_ERR_NONE;
}

/* ---- opening and closing ---- */

static void forget(struct channel_link *link)
{
    link->chunk0 = NULL;
    link->posted = link->failed_record = 0;
    link->dead = VGPU_ERR_NONE;
    link->next_piece = 0;
    memset(link->piece_posted, 0, sizeof(link->piece_posted));
    vgpu_pinned_lost(link);
}

static uint32_t open_channel(struct vgpu *v)
{
    struct channel_link *link = v->link;
    uint32_t code;

    forget(link);
    code = link->way->open(v, vgpu_now_ns(v) + OPEN_TIMEOUT_NS);
    if (code != VGPU_ERR_NONE) {
        link->way->close(v);
        link->chunk0 = NULL;
        link->dead = code;
        return code;
    }
    link->control = (VGPUControl *)(link->chunk0 + link->layout.control);
    vgpu_command_ring(&link->commands, link->chunk0, &link->layout, &link->geometry);
    vgpu_notice_ring(&link->notices, link->chunk0, &link->layout, &link->geometry);
    return VGPU_ERR_NONE;
}

/* One that has ended, with nothing in it that a program would miss, is opened anew. */
static uint32_t be_open(struct vgpu *v)
{
    struct channel_link *link = v->link;

    if (!link->dead || link->buffer_count > 0) {
        return VGPU_ERR_NONE;
    }
    if (link->chunk0) {
        link->way->close(v);
    }
    link->reconnects++;
    return open_channel(v);
}

static uint32_t channel_exchange(struct vgpu *v, const void *request, uint32_t request_bytes,
                                 void *response, uint32_t *response_bytes, uint64_t deadline_ns)
{
    uint8_t body[VGPU_REQUEST_BUFFER_BYTES + 8];
    VGPURequest header;
    uint32_t bytes = record_body(request, request_bytes, body, &header), code;
    VGPURecord record = {.flags = VGPU_RECORD_ANSWER, .lane = CHANNEL_LANE_CALL};
    VGPUMailbox *mailbox;

    if (bytes == 0) {
        return vgpu_set_device_error(v, VGPU_ERR_INVALID_REQUEST);
    }
    record.op = (uint16_t)header.opcode;
    code = be_open(v);
    if (code == VGPU_ERR_NONE) {
        code = vgpu_channel_post(v, &record, body, bytes, deadline_ns);
    }
    if (code == VGPU_ERR_NONE) {
        code = vgpu_channel_wait_answer(v, &mailbox, deadline_ns);
    }
    return code == VGPU_ERR_NONE ? take_answer(v, mailbox, response, response_bytes) : code;
}

static void channel_get_stats(const struct vgpu *v, struct vgpu_stats *stats)
{
    const struct channel_link *link = v->link;

    stats->reconnects = link->reconnects;
    stats->mmio_writes = link->mmio_writes;
}

static void channel_close(struct vgpu *v)
{
    struct channel_link *link = v->link;

    if (link->chunk0) {
        link->way->close(v);
    }
    vgpu_pinned_unmap(link);
    free(link);
}

static const struct vgpu_transport channel_transport = {
    .exchange = channel_exchange,
    .get_stats = channel_get_stats,
    .close = channel_close,
};

uint32_t vgpu_channel_new(struct vgpu *v, const struct channel_way *way, size_t link_bytes)
{
    struct channel_link *link = calloc(1, link_bytes);
    uint32_t code;

    if (!link) {
        return vgpu_set_error(v, VGPU_ERR_SYSTEM, "out of memory");
    }
    link->way = way;
    link->spins = sysconf(_SC_NPROCESSORS_ONLN) > 1 && !v->options.sleep_at_once ? SPINS : 1;
    link->geometry = (VGPUGeometry){
        .lanes = CHANNEL_LANES,
        .notice_bytes = NOTICE_BYTES,
        .command_bytes = COMMAND_BYTES,
        .arena_bytes = (uint64_t)CHANNEL_PIECES * CHANNEL_PIECE_BYTES,
    };
    if (v->wish) {
        link->geometry = v->wish->geometry;
    }
    vgpu_channel_layout(&link->geometry, &link->layout);
    v->link = link;
    code = open_channel(v);
    if (code != VGPU_ERR_NONE) {
        free(link);
        v->link = NULL;
        return code;
    }
    v->transport = &channel_transport;
    v->has_channel = true;
    return VGPU_ERR_NONE;
}

uint32_t vgpu_channel_refused(struct vgpu *v, uint32_t status)
{
    if (status != VGPU_ERR_UNSUPPORTED_OP) {
        return vgpu_set_device_error(v, status);
    }
    return vgpu_set_error(v, VGPU_ERR_UNSUPPORTED_OP,
                          "%s: the host gives this VM no channel of this kind; use pci: or sock: "
                          "instead",
                          v->description);
}

int vgpu_get_channel(struct vgpu *v, struct vgpu_channel_info *info)
{
    static const char *const names[] = {
        [VGPU_TRANSPORT_HOST] = "host",
        [VGPU_TRANSPORT_SHARED] = "shared",
        [VGPU_TRANSPORT_COPIED] = "copied",
        [VGPU_TRANSPORT_GRANTED] = "granted",
    };
    const struct channel_link *link = vgpu_channel_of(v);

    if (!link) {
        return VGPU_FAILED;
    }
    *info = (struct vgpu_channel_info){
        .transport =
            link->transport < sizeof(names) / sizeof(names[0]) ? names[link->transport] : "unknown",
        .bytes = link->layout.bytes,
        .arena_bytes = link->geometry.arena_bytes,
        .command_bytes = link->geometry.command_bytes,
        .lanes = link->geometry.lanes,
    };
    return VGPU_OK;
}
