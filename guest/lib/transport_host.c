/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process of the host, or in a container: a channel (vgpu_channel.h, docs/channels.md) on the
 * mediator's socket of its VM.
 *
 * The socket opens the channel and brings its memory and doorbells; after that only its end, or
 * CLOSED, comes on it.  Requests are records in the command ring.  Who waits looks at the memory
 * for a bounded time, then says that it sleeps, looks once more, and sleeps on the interrupt and
 * the socket.  A channel that has ended stays so: every later call fails with what ended it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel.h"

#define OPEN_TIMEOUT_NS (30 * NS_PER_S) /* a worker may have to be started */
#define SPINS 20000u
#define LOOKS_FOR_YIELD 128u
#define COMMAND_BYTES (1u << 20)
#define NOTICE_BYTES (64u << 10)
#define NUMBER 0u /* of the channel: a connection has one */

static uint64_t now_ns(struct vgpu *v)
{
    return v->clock.now_ns(v->clock.opaque);
}

struct host_link *vgpu_channel_of(struct vgpu *v)
{
    v->error_code = VGPU_ERR_NONE;
    if (!v->has_channel) {
        vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                       "%s has no channel, and buffers need one: open \"host:/path\"",
                       v->description);
        return NULL;
    }
    return v->link;
}

/* ---- the end of a channel ---- */

static uint32_t dead(struct vgpu *v, uint32_t code, const char *why)
{
    struct host_link *link = v->link;

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

static uint32_t closed(struct vgpu *v, uint32_t reason)
{
    return dead(v, code_of_reason(reason), reason_text(reason));
}

/* ---- frames ---- */

static uint32_t send_frame(struct vgpu *v, uint32_t type, const void *payload, uint32_t bytes)
{
    struct host_link *link = v->link;
    uint8_t frame[VGPU_SOCKET_FRAME_MAX];
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = type,
        .vm_id = v->options.vm_id,
        .pool_id = v->options.pool_id,
        .priority = v->options.priority,
        .payload_len = bytes,
    };

    memcpy(frame, &header, sizeof(header));
    memcpy(frame + sizeof(header), payload, bytes);
    /* A new connection takes a few small frames at once, whatever the other side does. */
    if (send(link->socket, frame, sizeof(header) + bytes, MSG_NOSIGNAL | MSG_DONTWAIT) !=
        (ssize_t)(sizeof(header) + bytes)) {
        return dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE, "the mediator's socket takes nothing");
    }
    return VGPU_ERR_NONE;
}

struct received {
    VGPUSocketHeader header;
    int fds[VGPU_FD_COUNT];
    unsigned fd_count;
};

static void close_fds(struct received *frame)
{
    while (frame->fd_count > 0) {
        close(frame->fds[--frame->fd_count]);
    }
}

/* Descriptors of one message; more than fit make the count wrong, which the caller sees. */
static void keep_fds(struct msghdr *message, struct received *frame)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (frame->fd_count < VGPU_FD_COUNT) {
                frame->fds[frame->fd_count++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

/* Bytes for the frame that is coming, never past its end.  1 whole, 0 not yet, -1 lost. */
static int receive_some(struct host_link *link, struct received *frame)
{
    for (;;) {
        union {
            struct cmsghdr header; /* for its alignment */
            uint8_t bytes[CMSG_SPACE(sizeof(int) * VGPU_FRAME_FDS_MAX)];
        } control;
        uint32_t wanted = sizeof(VGPUSocketHeader);
        struct iovec part;
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        ssize_t n;

        if (link->filled >= sizeof(VGPUSocketHeader)) {
            memcpy(&frame->header, link->frame, sizeof(frame->header));
            if (frame->header.magic != VGPU_SOCKET_MAGIC ||
                frame->header.payload_len > VGPU_SOCKET_PAYLOAD_MAX) {
                return -1;
            }
            wanted += frame->header.payload_len;
            if (link->filled == wanted) {
                link->filled = 0;
                return frame->header.pad == frame->fd_count ? 1 : -1;
            }
        }
        part = (struct iovec){link->frame + link->filled, wanted - link->filled};
        n = recvmsg(link->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return 0;
        }
        if (n <= 0) {
            return -1;
        }
        keep_fds(&message, frame);
        link->filled += (uint32_t)n;
    }
}

/* Waits for a frame of this type and at least so many bytes; others are skipped. */
static uint32_t wait_frame(struct vgpu *v, uint32_t type, void *payload, uint32_t bytes,
                           struct received *frame, uint64_t deadline_ns)
{
    struct host_link *link = v->link;

    for (;;) {
        struct pollfd poll_fd = {.fd = link->socket, .events = POLLIN};
        uint64_t now = now_ns(v);
        int got = receive_some(link, frame);

        if (got > 0 && frame->header.msg_type == type && frame->header.payload_len >= bytes) {
            memcpy(payload, link->frame + sizeof(VGPUSocketHeader), bytes);
            return VGPU_ERR_NONE;
        }
        if (got < 0) {
            close_fds(frame);
            return dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                        "the mediator closed the connection; its log says why");
        }
        if (got > 0) {
            close_fds(frame);
            continue;
        }
        if (now >= deadline_ns) {
            close_fds(frame);
            return dead(v, VGPU_ERR_TIMEOUT, "the mediator did not open it in time");
        }
        poll(&poll_fd, 1, vgpu_rest_ms(now, deadline_ns));
    }
}

/* ---- waiting ---- */

static void take_notices(struct host_link *link)
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

/* What the socket has to say.  0: nothing that ends the channel. */
static uint32_t look_at_socket(struct vgpu *v)
{
    struct host_link *link = v->link;
    struct received frame = {.fd_count = 0};
    VGPUChannelClose closing;
    int got;

    while ((got = receive_some(link, &frame)) > 0) {
        close_fds(&frame);
        if (frame.header.msg_type == VGPU_MSG_CHANNEL_CLOSED &&
            frame.header.payload_len == sizeof(closing)) {
            memcpy(&closing, link->frame + sizeof(VGPUSocketHeader), sizeof(closing));
            return closed(v, closing.reason);
        }
    }
    close_fds(&frame);
    return got < 0 ? dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                          "the mediator closed the connection; it was stopped, or its log says why")
                   : VGPU_ERR_NONE;
}

/* Has what is waited for come?  1, 0, or -1: the shared memory makes no sense. */
struct condition {
    int (*holds)(struct host_link *link, uint64_t number);
    uint64_t number;
};

static uint32_t sleep_until_signal(struct vgpu *v, uint64_t deadline_ns)
{
    struct host_link *link = v->link;
    struct pollfd fds[] = {{.fd = link->interrupt, .events = POLLIN},
                           {.fd = link->socket, .events = POLLIN}};
    uint64_t now = now_ns(v), count;

    if (now >= deadline_ns) {
        return dead(v, VGPU_ERR_TIMEOUT, "no answer within the time limit (timeout)");
    }
    if (poll(fds, 2, vgpu_rest_ms(now, deadline_ns)) > 0) {
        if (fds[0].revents & POLLIN) {
            ssize_t n = read(link->interrupt, &count, sizeof(count));

            (void)n; /* a signal for nothing is allowed */
        }
        if (fds[1].revents) {
            return look_at_socket(v);
        }
    }
    return VGPU_ERR_NONE;
}

static uint32_t wait_for(struct vgpu *v, const struct condition *condition, uint64_t deadline_ns)
{
    struct host_link *link = v->link;
    uint32_t code;

    for (unsigned looks = 0;; looks++) {
        int holds = condition->holds(link, condition->number);

        if (holds > 0) {
            return VGPU_ERR_NONE;
        }
        if (holds < 0) {
            return dead(v, VGPU_ERR_BAD_RESPONSE, "the worker's positions make no sense");
        }
        if (VGPU_LOAD_ACQUIRE(&link->control->state) != VGPU_CHANNEL_OPEN) {
            return closed(v, VGPU_LOAD_RELAXED(&link->control->reason));
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

static int has_room(struct host_link *link, uint64_t bytes)
{
    int room = vgpu_ring_room(&link->commands, bytes);

    return room == VGPU_RING_OK ? 1 : room == VGPU_RING_FULL ? 0 : -1;
}

static int is_over(struct host_link *link, uint64_t records)
{
    uint64_t retired = VGPU_LOAD_ACQUIRE(&link->control->retired);

    return retired > link->posted ? -1 : retired >= records;
}

static VGPUMailbox *mailbox_of(struct host_link *link)
{
    return (VGPUMailbox *)(link->chunk0 + link->layout.mailboxes) + CHANNEL_LANE_CALL;
}

static int is_answered(struct host_link *link, uint64_t seq)
{
    return vgpu_mailbox_has(mailbox_of(link), (uint32_t)seq);
}

uint32_t vgpu_channel_wait_over(struct vgpu *v, uint64_t records, uint64_t deadline_ns)
{
    struct condition condition = {is_over, records};
    struct host_link *link = v->link;
    uint32_t code = link->dead;

    if (code) {
        return dead(v, code, "see the first error");
    }
    code = wait_for(v, &condition, deadline_ns);
    take_notices(link);
    return code;
}

uint32_t vgpu_channel_wait_answer(struct vgpu *v, VGPUMailbox **mailbox, uint64_t deadline_ns)
{
    struct host_link *link = v->link;
    struct condition condition = {is_answered, link->posted};

    *mailbox = mailbox_of(link);
    return wait_for(v, &condition, deadline_ns);
}

uint32_t vgpu_channel_post(struct vgpu *v, VGPURecord *record, const void *body, uint32_t bytes,
                           uint64_t deadline_ns)
{
    static const uint8_t zeros[VGPU_RECORD_ALIGN];
    struct host_link *link = v->link;
    uint32_t fill = (VGPU_RECORD_ALIGN - bytes % VGPU_RECORD_ALIGN) % VGPU_RECORD_ALIGN;
    struct condition room = {has_room, sizeof(*record) + bytes + fill};
    uint32_t code = link->dead;

    if (code) {
        return dead(v, code, "see the first error");
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
        const uint64_t one = 1;
        ssize_t n = write(link->doorbell, &one, sizeof(one));

        (void)n; /* full: it has been rung enough */
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
        return dead(v, VGPU_ERR_BAD_RESPONSE, "the worker's answer is too long");
    }
    answer.data_offset = (uint32_t)sizeof(answer) + answer.result_count * 4;
    memcpy(response, &answer, sizeof(answer));
    memcpy((uint8_t *)response + sizeof(answer), from->body,
           answer.result_count * 4 + answer.data_length);
    *response_bytes = answer.data_offset + answer.data_length;
    return VGPU_ERR_NONE;
}

static uint32_t host_exchange(struct vgpu *v, const void *request, uint32_t request_bytes,
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
    code = vgpu_channel_post(v, &record, body, bytes, deadline_ns);
    if (code == VGPU_ERR_NONE) {
        code = vgpu_channel_wait_answer(v, &mailbox, deadline_ns);
    }
    return code == VGPU_ERR_NONE ? take_answer(v, mailbox, response, response_bytes) : code;
}

static void host_get_stats(const struct vgpu *v, struct vgpu_stats *stats)
{
    (void)v;
    (void)stats; /* nothing that the others have */
}

/* ---- opening and closing ---- */

static void host_close(struct vgpu *v)
{
    struct host_link *link = v->link;

    if (link->chunk0) {
        munmap(link->chunk0, link->layout.bytes);
    }
    if (link->doorbell >= 0) {
        close(link->doorbell);
        close(link->interrupt);
    }
    if (link->socket >= 0) {
        close(link->socket); /* the host closes the channel then */
    }
    free(link);
}

static const struct vgpu_transport host_transport = {
    .exchange = host_exchange,
    .get_stats = host_get_stats,
    .close = host_close,
};

static uint32_t connect_to(struct vgpu *v, const char *path)
{
    struct host_link *link = v->link;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);

    if (length == 0 || length >= sizeof(address.sun_path)) {
        return vgpu_set_error(v, VGPU_ERR_ARGUMENT, "a socket's path has 1 to %zu bytes",
                              sizeof(address.sun_path) - 1);
    }
    memcpy(address.sun_path, path, length + 1);
    link->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->socket < 0 ||
        connect(link->socket, (struct sockaddr *)&address, sizeof(address)) < 0) {
        return vgpu_set_error(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                              "%s: cannot connect to the mediator: %s; is it running, with "
                              "--vm UUID=PATH for this socket?",
                              v->description, strerror(errno));
    }
    return VGPU_ERR_NONE;
}

static uint32_t say_hello(struct vgpu *v, uint64_t deadline_ns)
{
    const uint32_t wanted = VGPU_FEATURE_CHANNELS | VGPU_FEATURE_HOST;
    VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION, .features = wanted};
    struct received frame = {.fd_count = 0};
    uint32_t code = send_frame(v, VGPU_MSG_HELLO, &hello, sizeof(hello));

    if (code == VGPU_ERR_NONE) {
        code = wait_frame(v, VGPU_MSG_HELLO, &hello, sizeof(hello), &frame, deadline_ns);
    }
    if (code == VGPU_ERR_NONE && (hello.features & wanted) != wanted) {
        code = vgpu_set_error(v, VGPU_ERR_VERSION,
                              "%s: this mediator grants no channels here; use sock: instead, or a "
                              "socket of --vm UUID=PATH of a newer mediator",
                              v->description);
    }
    return code;
}

/* Chunk 0 has the size that the geometry says, and can have no other. */
static uint32_t map_chunk(struct vgpu *v, int fd)
{
    struct host_link *link = v->link;
    const int needed = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat about;
    int seals = fcntl(fd, F_GET_SEALS);
    void *memory;

    if (seals < 0 || (seals & needed) != needed || fstat(fd, &about) < 0 ||
        (uint64_t)about.st_size != link->layout.bytes) {
        return vgpu_set_error(v, VGPU_ERR_BAD_RESPONSE,
                              "%s: the channel's memory has not the agreed size", v->description);
    }
    memory = mmap(NULL, link->layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return vgpu_set_error(v, VGPU_ERR_SYSTEM, "%s: cannot map the channel: %s", v->description,
                              strerror(errno));
    }
    link->chunk0 = memory;
    /* A child of fork() has no channel. */
    madvise(memory, link->layout.bytes, MADV_DONTFORK);
    return VGPU_ERR_NONE;
}

static uint32_t open_channel(struct vgpu *v, uint64_t deadline_ns)
{
    struct host_link *link = v->link;
    struct received frame = {.fd_count = 0};
    VGPUChannelOpened opened;
    VGPUChannelOpen open = {
        .channel = NUMBER,
        .profile = VGPU_PROFILE_OPS,
        .transports = 1u << VGPU_TRANSPORT_HOST,
        .features = VGPU_CHANNEL_BULK,
        .geometry = link->geometry,
        .process = (uint32_t)getpid(),
    };
    uint32_t code = send_frame(v, VGPU_MSG_CHANNEL_OPEN, &open, sizeof(open));

    if (code == VGPU_ERR_NONE) {
        code = wait_frame(v, VGPU_MSG_CHANNEL_OPENED, &opened, sizeof(opened), &frame, deadline_ns);
    }
    if (code != VGPU_ERR_NONE) {
        return code;
    }
    if (opened.status != VGPU_ERR_NONE) {
        close_fds(&frame);
        return opened.status == VGPU_ERR_UNSUPPORTED_OP
                   ? vgpu_set_error(v, VGPU_ERR_UNSUPPORTED_OP,
                                    "%s: the host gives this VM no channel: its worker is no CPU "
                                    "worker, or the VM has a rate limit; use sock: instead",
                                    v->description)
                   : vgpu_set_device_error(v, opened.status);
    }
    if (frame.fd_count != VGPU_FD_CHUNK0 + 1u ||
        memcmp(&opened.geometry, &link->geometry, sizeof(link->geometry)) != 0 ||
        opened.chunk0_bytes != link->layout.bytes) {
        close_fds(&frame);
        return dead(v, VGPU_ERR_BAD_RESPONSE, "the mediator opened another one than was asked for");
    }
    link->doorbell = frame.fds[VGPU_FD_DOORBELL];
    link->interrupt = frame.fds[VGPU_FD_INTERRUPT];
    code = map_chunk(v, frame.fds[VGPU_FD_CHUNK0]);
    close(frame.fds[VGPU_FD_CHUNK0]);
    return code;
}

int vgpu_get_channel(struct vgpu *v, struct vgpu_channel_info *info)
{
    const struct host_link *link = vgpu_channel_of(v);

    if (!link) {
        return VGPU_FAILED;
    }
    *info = (struct vgpu_channel_info){
        .transport = "host",
        .bytes = link->layout.bytes,
        .arena_bytes = link->geometry.arena_bytes,
        .command_bytes = link->geometry.command_bytes,
        .lanes = link->geometry.lanes,
    };
    return VGPU_OK;
}

uint32_t vgpu_host_open(struct vgpu *v, const char *path)
{
    struct host_link *link = calloc(1, sizeof(*link));
    uint64_t deadline_ns = now_ns(v) + OPEN_TIMEOUT_NS;
    uint32_t code;

    if (!link) {
        return vgpu_set_error(v, VGPU_ERR_SYSTEM, "out of memory");
    }
    v->link = link;
    v->transport = &host_transport;
    snprintf(v->description, sizeof(v->description), "host %s", path);
    link->socket = link->doorbell = link->interrupt = -1;
    link->spins = sysconf(_SC_NPROCESSORS_ONLN) > 1 && !v->options.sleep_at_once ? SPINS : 1;
    link->geometry = (VGPUGeometry){
        .lanes = CHANNEL_LANES,
        .notice_bytes = NOTICE_BYTES,
        .command_bytes = COMMAND_BYTES,
        .arena_bytes = (uint64_t)CHANNEL_PIECES * CHANNEL_PIECE_BYTES,
    };
    vgpu_channel_layout(&link->geometry, &link->layout);
    code = connect_to(v, path);
    if (code == VGPU_ERR_NONE) {
        code = say_hello(v, deadline_ns);
    }
    if (code == VGPU_ERR_NONE) {
        code = open_channel(v, deadline_ns);
    }
    if (code != VGPU_ERR_NONE) {
        host_close(v);
        return code;
    }
    link->control = (VGPUControl *)link->chunk0;
    vgpu_command_ring(&link->commands, link->chunk0, &link->layout, &link->geometry);
    vgpu_notice_ring(&link->notices, link->chunk0, &link->layout, &link->geometry);
    v->has_channel = true;
    return VGPU_ERR_NONE;
}
