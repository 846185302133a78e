/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process of the host, or in a container: a channel (channel.c) on the mediator's socket of
 * its VM.  The socket opens the channel and brings its memory and doorbells; after that only its
 * end, or CLOSED, comes on it.
 *
 * The channel may have a life of its own: then the end of the socket only says that the mediator is
 * gone.  The worker goes on, and so do we, with what needs no mediator; meanwhile the next one is
 * looked for, and is shown the pipe's end that proves whose channel it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel.h"
#include "host_frames.h"

#define HOST_PREFIX "host " /* in the description, before the path */
#define HOST_PREFIX_BYTES (sizeof(HOST_PREFIX) - 1)
#define CHUNK_TIMEOUT_NS (60 * NS_PER_S)
#define NUMBER 0u                     /* of the channel: a connection has one */
#define AWAY_MAX_NS (60 * NS_PER_S)   /* the mediator, before the channel is given up */
#define RESUME_TRY_NS (10 * NS_PER_S) /* one try's patience */
#define RESUME_AGAIN_MS 50            /* between two of them */

/*
 * A mediator that ends is looked for by steps that never wait: what the worker has to say is heard
 * meanwhile, however long the next mediator takes.
 */
enum mediator_step {
    PRESENT, /* or never connected yet */
    AWAY,    /* no connection; the next try begins at try_ends_ns */
    GREETED, /* HELLO is sent */
    ASKED,   /* RESUME is sent */
};

struct host_link {
    struct channel_link channel;
    struct host_frames frames;
    int doorbell, interrupt; /* -1: not there */
    int life;                /* -1: the channel ends with the connection */
    enum mediator_step step;
    uint64_t away_since_ns;    /* the mediator, while it is not PRESENT; by time that was looked */
    uint64_t looked_ns;        /* for it, last */
    uint64_t try_ends_ns;      /* AWAY: the next one begins; GREETED, ASKED: this one is given up */
    struct host_received next; /* GREETED, ASKED: the frame that is coming */
};

static uint32_t send_frame(struct vgpu *v, uint32_t type, const void *payload, uint32_t bytes)
{
    struct host_link *link = v->link;

    return host_put_frame(&link->frames, v, type, payload, bytes, -1)
               ? VGPU_ERR_NONE
               : vgpu_channel_dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                                   "the mediator's socket takes nothing");
}

/* Waits for a frame of this type and at least so many bytes; others are skipped. */
static uint32_t wait_frame(struct vgpu *v, uint32_t type, void *payload, uint32_t bytes,
                           struct host_received *frame, uint64_t deadline_ns)
{
    struct host_link *link = v->link;
    VGPUChannelClose closing;

    for (;;) {
        struct pollfd poll_fd = {.fd = link->frames.socket, .events = POLLIN};
        uint64_t now = vgpu_now_ns(v);
        int got = host_receive(&link->frames, frame);

        if (got > 0 && frame->header.msg_type == type && frame->header.payload_len >= bytes) {
            memcpy(payload, link->frames.frame + sizeof(VGPUSocketHeader), bytes);
            return VGPU_ERR_NONE;
        }
        if (got < 0) {
            host_close_fds(frame);
            return vgpu_channel_dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                                     "the mediator closed the connection; its log says why");
        }
        if (got > 0) {
            host_close_fds(frame);
            if (frame->header.msg_type == VGPU_MSG_CHANNEL_CLOSED &&
                frame->header.payload_len == sizeof(closing)) {
                memcpy(&closing, link->frames.frame + sizeof(VGPUSocketHeader), sizeof(closing));
                return vgpu_channel_closed(v, closing.reason);
            }
            continue;
        }
        if (now >= deadline_ns) {
            host_close_fds(frame);
            return vgpu_channel_dead(v, VGPU_ERR_TIMEOUT, "the mediator did not answer in time");
        }
        poll(&poll_fd, 1, vgpu_rest_ms(now, deadline_ns));
    }
}

/* ---- connections ---- */

/* 0, or errno.  EAGAIN, with SOCK_NONBLOCK: more than the mediator has taken wait already. */
static int open_socket(struct vgpu *v, int flags)
{
    struct host_link *link = v->link;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error;

    /* Checked to fit when it was put there. */
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", v->description + HOST_PREFIX_BYTES);
    link->frames.filled = 0;
    link->frames.socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (link->frames.socket >= 0 &&
        connect(link->frames.socket, (struct sockaddr *)&address, sizeof(address)) == 0) {
        return 0;
    }
    error = errno;
    if (link->frames.socket >= 0) {
        close(link->frames.socket);
        link->frames.socket = -1;
    }
    return error;
}

/* ---- a mediator that is gone ---- */

static uint32_t lose_mediator(struct vgpu *v)
{
    struct host_link *link = v->link;

    if (link->life < 0) {
        return vgpu_channel_dead(
            v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
            "the mediator closed the connection; it was stopped, or its log says why");
    }
    close(link->frames.socket);
    link->frames.socket = -1;
    link->step = AWAY;
    link->away_since_ns = link->try_ends_ns = link->looked_ns = vgpu_now_ns(v);
    return VGPU_ERR_NONE;
}

static void end_try(struct vgpu *v)
{
    struct host_link *link = v->link;

    host_close_fds(&link->next);
    if (link->frames.socket >= 0) {
        close(link->frames.socket);
        link->frames.socket = -1;
    }
    link->step = AWAY;
    link->try_ends_ns = vgpu_now_ns(v) + RESUME_AGAIN_MS * NS_PER_MS;
}

/* A new connection, with HELLO. */
static void begin_try(struct vgpu *v)
{
    const uint32_t wanted = VGPU_FEATURE_CHANNELS | VGPU_FEATURE_HOST;
    const VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION, .features = wanted};
    struct host_link *link = v->link;

    link->next.fd_count = 0;
    if (open_socket(v, SOCK_NONBLOCK) != 0 ||
        !host_put_frame(&link->frames, v, VGPU_MSG_HELLO, &hello, sizeof(hello), -1)) {
        end_try(v);
        return;
    }
    link->step = GREETED;
    link->try_ends_ns = vgpu_now_ns(v) + RESUME_TRY_NS;
}

/* RESUME's answer.  Not 0: the channel has ended. */
static uint32_t take_answer(struct vgpu *v, uint32_t status)
{
    struct host_link *link = v->link;

    if (status == VGPU_ERR_NONE) {
        link->step = PRESENT;
        return VGPU_ERR_NONE;
    }
    end_try(v);
    return status == VGPU_ERR_QUEUE_FULL || status == VGPU_ERR_VM_NOT_REGISTERED
               ? VGPU_ERR_NONE
               : vgpu_channel_dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                                   "the mediator was restarted, and the channel's worker is gone");
}

/* A frame that came before the mediator was PRESENT.  Not 0: the channel has ended. */
static uint32_t take_step(struct vgpu *v)
{
    VGPUChannelResume resume = {.channel = NUMBER};
    struct host_link *link = v->link;
    const VGPUSocketHeader *header = &link->next.header;

    host_close_fds(&link->next); /* none of what is waited for has any */
    if (link->step == GREETED) {
        if (header->msg_type != VGPU_MSG_HELLO ||
            !host_put_frame(&link->frames, v, VGPU_MSG_CHANNEL_RESUME, &resume, sizeof(resume),
                            link->life)) {
            end_try(v);
        } else {
            link->step = ASKED;
            /* Broken off now, the channel would end: the mediator may have given it already. */
            link->try_ends_ns = vgpu_now_ns(v) + RESUME_TRY_NS;
        }
    } else if (header->msg_type == VGPU_MSG_CHANNEL_RESUME &&
               header->payload_len == sizeof(resume)) {
        memcpy(&resume, link->frames.frame + sizeof(*header), sizeof(resume));
        return take_answer(v, resume.status);
    }
    return VGPU_ERR_NONE;
}

/* Goes on looking for the next mediator, without waiting.  Not 0: the channel has ended. */
static uint32_t find_mediator(struct vgpu *v)
{
    struct host_link *link = v->link;
    uint64_t now = vgpu_now_ns(v);
    uint32_t code = VGPU_ERR_NONE;
    int got = 1;

    /* Who works on does not come here; the mediator can't be late for somebody who doesn't look. */
    if (now - link->looked_ns > NS_PER_S) {
        link->away_since_ns += now - link->looked_ns;
        link->try_ends_ns += link->step == AWAY ? 0 : now - link->looked_ns;
    }
    link->looked_ns = now;
    if (link->step == AWAY && now >= link->try_ends_ns) {
        begin_try(v);
    }
    while (code == VGPU_ERR_NONE && got > 0 && (link->step == GREETED || link->step == ASKED)) {
        got = host_receive(&link->frames, &link->next);
        if (got > 0) {
            code = take_step(v);
        } else if (got < 0 || now >= link->try_ends_ns) {
            end_try(v);
        }
    }
    if (code != VGPU_ERR_NONE || link->step == PRESENT || now - link->away_since_ns < AWAY_MAX_NS) {
        return code;
    }
    return vgpu_channel_dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                             "the mediator is gone, and no other one has come");
}

/* What the socket has to say.  0: nothing that ends the channel. */
static uint32_t look_at_socket(struct vgpu *v)
{
    struct host_link *link = v->link;
    struct host_received frame = {.fd_count = 0};
    VGPUChannelClose closing;
    int got;

    while ((got = host_receive(&link->frames, &frame)) > 0) {
        host_close_fds(&frame);
        if (frame.header.msg_type == VGPU_MSG_CHANNEL_CLOSED &&
            frame.header.payload_len == sizeof(closing)) {
            memcpy(&closing, link->frames.frame + sizeof(VGPUSocketHeader), sizeof(closing));
            return vgpu_channel_closed(v, closing.reason);
        }
    }
    host_close_fds(&frame);
    return got < 0 ? lose_mediator(v) : VGPU_ERR_NONE;
}

/* For what can't be done without: until it is there, or the channel has ended. */
static uint32_t need_mediator(struct vgpu *v)
{
    struct host_link *link = v->link;
    uint32_t code = link->step == PRESENT ? look_at_socket(v) : VGPU_ERR_NONE;

    while (code == VGPU_ERR_NONE && link->step != PRESENT) {
        code = find_mediator(v);
        if (code == VGPU_ERR_NONE && link->step != PRESENT) {
            struct pollfd look = {.fd = link->frames.socket, .events = POLLIN};

            poll(&look, 1, RESUME_AGAIN_MS);
        }
    }
    return code;
}

/* ---- signals ---- */

static void host_ring(struct vgpu *v)
{
    struct host_link *link = v->link;
    const uint64_t one = 1;
    ssize_t n = write(link->doorbell, &one, sizeof(one));

    (void)n; /* full: it has been rung enough */
}

static uint32_t host_sleep(struct vgpu *v, int rest_ms)
{
    struct host_link *link = v->link;
    struct pollfd fds[2] = {{.fd = link->interrupt, .events = POLLIN}, {.events = POLLIN}};
    uint64_t count;

    if (link->step != PRESENT) {
        uint32_t code = find_mediator(v);

        if (code != VGPU_ERR_NONE) {
            return code;
        }
        if (link->step != PRESENT && rest_ms > RESUME_AGAIN_MS) {
            rest_ms = RESUME_AGAIN_MS;
        }
    }
    fds[1].fd = link->frames.socket;
    if (poll(fds, 2, rest_ms) <= 0) {
        return VGPU_ERR_NONE;
    }
    if (fds[0].revents & POLLIN) {
        ssize_t n = read(link->interrupt, &count, sizeof(count));

        (void)n; /* a signal for nothing is allowed */
    }
    return fds[1].revents && link->step == PRESENT ? look_at_socket(v) : VGPU_ERR_NONE;
}

/* ---- opening and closing ---- */

static void host_close(struct vgpu *v)
{
    struct host_link *link = v->link;

    if (link->channel.chunk0) {
        munmap(link->channel.chunk0, link->channel.layout.bytes);
    }
    if (link->doorbell >= 0) {
        close(link->doorbell);
        close(link->interrupt);
    }
    host_close_fds(&link->next);
    if (link->frames.socket >= 0) {
        close(link->frames.socket); /* the host closes the channel then */
    }
    if (link->life >= 0) {
        close(link->life); /* ... or the next mediator by this */
    }
}

static uint32_t connect_to(struct vgpu *v)
{
    int error = open_socket(v, 0);

    return error == 0
               ? VGPU_ERR_NONE
               : vgpu_set_error(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                                "%s: cannot connect to the mediator: %s; is it running, with "
                                "--vm UUID=PATH for this socket?",
                                v->description, strerror(error));
}

static uint32_t say_hello(struct vgpu *v, uint64_t deadline_ns)
{
    const uint32_t wanted = VGPU_FEATURE_CHANNELS | VGPU_FEATURE_HOST;
    VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION, .features = wanted};
    struct host_received frame = {.fd_count = 0};
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

/* A chunk has the agreed size, and can have no other.  NULL after vgpu_set_error(). */
static uint8_t *map_chunk(struct vgpu *v, int fd, uint64_t bytes)
{
    const int needed = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat about;
    int seals = fcntl(fd, F_GET_SEALS);
    void *memory;

    if (seals < 0 || (seals & needed) != needed || fstat(fd, &about) < 0 ||
        (uint64_t)about.st_size != bytes) {
        vgpu_set_error(v, VGPU_ERR_BAD_RESPONSE, "%s: the channel's memory has not the agreed size",
                       v->description);
        return NULL;
    }
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        vgpu_set_error(v, VGPU_ERR_SYSTEM, "%s: cannot map the channel: %s", v->description,
                       strerror(errno));
        return NULL;
    }
    /* A child of fork() has no channel. */
    madvise(memory, bytes, MADV_DONTFORK);
    return memory;
}

static uint32_t open_channel(struct vgpu *v, uint64_t deadline_ns)
{
    struct host_link *link = v->link;
    struct host_received frame = {.fd_count = 0};
    VGPUChannelOpened opened = {.status = VGPU_ERR_BAD_RESPONSE};
    VGPUChannelOpen open = {
        .channel = NUMBER,
        .profile = v->wish ? v->wish->profile : VGPU_PROFILE_OPS,
        .transports = 1u << VGPU_TRANSPORT_HOST,
        .features = (v->wish ? v->wish->features : VGPU_CHANNEL_BULK) | VGPU_CHANNEL_LIFE,
        .geometry = link->channel.geometry,
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
        host_close_fds(&frame);
        return vgpu_channel_refused(v, opened.status);
    }
    if (frame.fd_count !=
            ((opened.features & VGPU_CHANNEL_LIFE) ? VGPU_FD_LIFE + 1u : VGPU_FD_CHUNK0 + 1u) ||
        memcmp(&opened.geometry, &link->channel.geometry, sizeof(opened.geometry)) != 0 ||
        opened.chunk0_bytes != link->channel.layout.bytes) {
        host_close_fds(&frame);
        return vgpu_channel_dead(v, VGPU_ERR_BAD_RESPONSE,
                                 "the mediator opened another one than was asked for");
    }
    link->doorbell = frame.fds[VGPU_FD_DOORBELL];
    link->interrupt = frame.fds[VGPU_FD_INTERRUPT];
    link->life = opened.features & VGPU_CHANNEL_LIFE ? frame.fds[VGPU_FD_LIFE] : -1;
    link->channel.chunk0 = map_chunk(v, frame.fds[VGPU_FD_CHUNK0], link->channel.layout.bytes);
    close(frame.fds[VGPU_FD_CHUNK0]);
    return link->channel.chunk0 ? VGPU_ERR_NONE : v->error_code;
}

static uint32_t host_add_chunk(struct vgpu *v, struct channel_chunk *chunk)
{
    VGPUChunkAdd add = {.channel = NUMBER, .chunk = chunk->number, .bytes = chunk->bytes};
    uint64_t deadline_ns = vgpu_now_ns(v) + CHUNK_TIMEOUT_NS;
    struct host_received frame = {.fd_count = 0};
    VGPUChunkAdded added = {.status = VGPU_ERR_BAD_RESPONSE};
    uint32_t code = need_mediator(v);

    if (code == VGPU_ERR_NONE) {
        code = send_frame(v, VGPU_MSG_CHUNK_ADD, &add, sizeof(add));
    }
    if (code == VGPU_ERR_NONE) {
        code = wait_frame(v, VGPU_MSG_CHUNK_ADDED, &added, sizeof(added), &frame, deadline_ns);
    }
    if (code != VGPU_ERR_NONE) {
        return code;
    }
    if (added.status != VGPU_ERR_NONE) {
        host_close_fds(&frame);
        return vgpu_set_device_error(v, added.status);
    }
    if (frame.fd_count != 1 || added.chunk != chunk->number || added.bytes != chunk->bytes) {
        host_close_fds(&frame);
        return vgpu_channel_dead(v, VGPU_ERR_BAD_RESPONSE,
                                 "the mediator added another chunk than was asked for");
    }
    chunk->memory = map_chunk(v, frame.fds[0], chunk->bytes);
    close(frame.fds[0]);
    return chunk->memory ? VGPU_ERR_NONE : v->error_code;
}

static uint32_t host_remove_chunk(struct vgpu *v, uint32_t number)
{
    VGPUChunkRemove remove = {.channel = NUMBER, .chunk = number}, removed;
    struct host_received frame = {.fd_count = 0};
    uint32_t code = need_mediator(v);

    if (code == VGPU_ERR_NONE) {
        code = send_frame(v, VGPU_MSG_CHUNK_REMOVE, &remove, sizeof(remove));
    }

    if (code == VGPU_ERR_NONE) {
        code = wait_frame(v, VGPU_MSG_CHUNK_REMOVED, &removed, sizeof(removed), &frame,
                          vgpu_now_ns(v) + CHUNK_TIMEOUT_NS);
    }
    host_close_fds(&frame);
    return code;
}

static bool host_map_again(struct vgpu *v, uint64_t offset, uint64_t bytes, void *place)
{
    const struct channel_link *link = v->link;

    /* Of shared memory, "moving" nothing is a second mapping. */
    return mremap(link->chunk0 + offset, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place;
}

static uint32_t host_open(struct vgpu *v, uint64_t deadline_ns)
{
    struct host_link *link = v->link;
    uint32_t code;

    link->frames.socket = link->doorbell = link->interrupt = link->life = -1;
    link->step = PRESENT; /* a handle that opens again had lost one */
    link->channel.transport = VGPU_TRANSPORT_HOST;
    code = connect_to(v);
    if (code == VGPU_ERR_NONE) {
        code = say_hello(v, deadline_ns);
    }
    return code == VGPU_ERR_NONE ? open_channel(v, deadline_ns) : code;
}

static const struct channel_way host_way = {
    .open = host_open,
    .ring = host_ring,
    .sleep = host_sleep,
    .add_chunk = host_add_chunk,
    .remove_chunk = host_remove_chunk,
    .map_again = host_map_again,
    .close = host_close,
};

uint32_t vgpu_host_open(struct vgpu *v, const char *path)
{
    const struct sockaddr_un *address;

    if (strlen(path) == 0 || strlen(path) >= sizeof(address->sun_path)) {
        return vgpu_set_error(v, VGPU_ERR_ARGUMENT, "a socket's path has 1 to %zu bytes",
                              sizeof(address->sun_path) - 1);
    }
    snprintf(v->description, sizeof(v->description), HOST_PREFIX "%s", path);
    return vgpu_channel_new(v, &host_way, sizeof(struct host_link));
}
