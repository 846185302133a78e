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
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel.h"
#include "vgpu/vgpu_channel_frames.h"

#define HOST_PREFIX "host " /* in the description, before the path */
#define HOST_PREFIX_BYTES (sizeof(HOST_PREFIX) - 1)
#define CHUNK_TIMEOUT_NS (60 * NS_PER_S)
#define NUMBER 0u                    /* of the channel: a connection has one */
#define AWAY_MAX_NS (60 * NS_PER_S)  /* the mediator, before the channel is given up */
#define RESUME_TRY_NS (2 * NS_PER_S) /* one try's patience */
#define RESUME_AGAIN_MS 50           /* between two of them */

struct host_link {
    struct channel_link channel;
    int socket, doorbell, interrupt; /* -1: not there */
    int life;                        /* -1: the channel ends with the connection */
    uint64_t away_since_ns;          /* the mediator: socket is -1 */
    uint32_t filled;                 /* bytes of `frame` that have arrived */
    _Alignas(8) uint8_t frame[VGPU_SOCKET_FRAME_MAX];
};

/* ---- frames ---- */

/* False: the socket takes nothing.  `fd` goes with it, and stays ours; -1: none. */
static bool put_frame(struct vgpu *v, uint32_t type, const void *payload, uint32_t bytes, int fd)
{
    struct host_link *link = v->link;
    uint8_t frame[VGPU_SOCKET_FRAME_MAX];
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = type,
        .vm_id = v->options.vm_id,
        .pool_id = v->options.pool_id,
        .priority = v->options.priority,
        .pad = fd >= 0,
        .payload_len = bytes,
    };
    union {
        struct cmsghdr header; /* for its alignment */
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {frame, sizeof(header) + bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    memcpy(frame, &header, sizeof(header));
    memcpy(frame + sizeof(header), payload, bytes);
    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
    }
    /* A new connection takes a few small frames at once, whatever the other side does. */
    return sendmsg(link->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)part.iov_len;
}

static uint32_t send_frame(struct vgpu *v, uint32_t type, const void *payload, uint32_t bytes)
{
    return put_frame(v, type, payload, bytes, -1)
               ? VGPU_ERR_NONE
               : vgpu_channel_dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                                   "the mediator's socket takes nothing");
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
    VGPUChannelClose closing;

    for (;;) {
        struct pollfd poll_fd = {.fd = link->socket, .events = POLLIN};
        uint64_t now = vgpu_now_ns(v);
        int got = receive_some(link, frame);

        if (got > 0 && frame->header.msg_type == type && frame->header.payload_len >= bytes) {
            memcpy(payload, link->frame + sizeof(VGPUSocketHeader), bytes);
            return VGPU_ERR_NONE;
        }
        if (got < 0) {
            close_fds(frame);
            return vgpu_channel_dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                                     "the mediator closed the connection; its log says why");
        }
        if (got > 0) {
            close_fds(frame);
            if (frame->header.msg_type == VGPU_MSG_CHANNEL_CLOSED &&
                frame->header.payload_len == sizeof(closing)) {
                memcpy(&closing, link->frame + sizeof(VGPUSocketHeader), sizeof(closing));
                return vgpu_channel_closed(v, closing.reason);
            }
            continue;
        }
        if (now >= deadline_ns) {
            close_fds(frame);
            return vgpu_channel_dead(v, VGPU_ERR_TIMEOUT, "the mediator did not answer in time");
        }
        poll(&poll_fd, 1, vgpu_rest_ms(now, deadline_ns));
    }
}

/* ---- signals ---- */

/* 0, or errno. */
static int open_socket(struct vgpu *v)
{
    struct host_link *link = v->link;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error;

    /* Checked to fit when it was put there. */
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", v->description + HOST_PREFIX_BYTES);
    link->filled = 0;
    link->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->socket >= 0 &&
        connect(link->socket, (struct sockaddr *)&address, sizeof(address)) == 0) {
        return 0;
    }
    error = errno;
    if (link->socket >= 0) {
        close(link->socket);
        link->socket = -1;
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
    close(link->socket);
    link->socket = -1;
    link->filled = 0;
    link->away_since_ns = vgpu_now_ns(v);
    return VGPU_ERR_NONE;
}

/* A whole frame, within the time: 1; 0: none came, or the socket has ended. */
static int await_frame(struct vgpu *v, struct received *frame, uint64_t deadline_ns)
{
    struct host_link *link = v->link;

    for (;;) {
        struct pollfd look = {.fd = link->socket, .events = POLLIN};
        int got = receive_some(link, frame);
        uint64_t now = vgpu_now_ns(v);

        if (got != 0 || now >= deadline_ns) {
            close_fds(frame); /* none of what is waited for has any */
            return got > 0;
        }
        poll(&look, 1, vgpu_rest_ms(now, deadline_ns));
    }
}

/* RESUME's status; UINT32_MAX: it did not come. */
static uint32_t ask_to_resume(struct vgpu *v)
{
    const uint32_t wanted = VGPU_FEATURE_CHANNELS | VGPU_FEATURE_HOST;
    const VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION, .features = wanted};
    VGPUChannelResume resume = {.channel = NUMBER};
    uint64_t deadline_ns = vgpu_now_ns(v) + RESUME_TRY_NS;
    struct host_link *link = v->link;
    struct received frame = {.fd_count = 0};

    if (!put_frame(v, VGPU_MSG_HELLO, &hello, sizeof(hello), -1) ||
        !await_frame(v, &frame, deadline_ns) || frame.header.msg_type != VGPU_MSG_HELLO ||
        !put_frame(v, VGPU_MSG_CHANNEL_RESUME, &resume, sizeof(resume), link->life)) {
        return UINT32_MAX;
    }
    while (await_frame(v, &frame, deadline_ns)) {
        if (frame.header.msg_type == VGPU_MSG_CHANNEL_RESUME &&
            frame.header.payload_len == sizeof(resume)) {
            memcpy(&resume, link->frame + sizeof(VGPUSocketHeader), sizeof(resume));
            return resume.status;
        }
    }
    return UINT32_MAX;
}

/* One try to find the next mediator.  Not 0: the channel has ended. */
static uint32_t find_mediator(struct vgpu *v)
{
    struct host_link *link = v->link;
    uint32_t status = UINT32_MAX;

    if (open_socket(v) == 0) {
        status = ask_to_resume(v);
    }
    if (status == VGPU_ERR_NONE) {
        link->away_since_ns = 0;
        return VGPU_ERR_NONE;
    }
    if (link->socket >= 0) {
        close(link->socket);
        link->socket = -1;
        link->filled = 0;
    }
    if (status != UINT32_MAX && status != VGPU_ERR_QUEUE_FULL &&
        status != VGPU_ERR_VM_NOT_REGISTERED) {
        return vgpu_channel_dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                                 "the mediator was restarted, and the channel's worker is gone");
    }
    return vgpu_now_ns(v) - link->away_since_ns < AWAY_MAX_NS
               ? VGPU_ERR_NONE
               : vgpu_channel_dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                                   "the mediator is gone, and no other one has come");
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
            return vgpu_channel_closed(v, closing.reason);
        }
    }
    close_fds(&frame);
    return got < 0 ? lose_mediator(v) : VGPU_ERR_NONE;
}

/* For what can't be done without: until it is there, or the channel has ended. */
static uint32_t need_mediator(struct vgpu *v)
{
    struct host_link *link = v->link;
    uint32_t code = link->socket >= 0 ? look_at_socket(v) : VGPU_ERR_NONE;

    while (code == VGPU_ERR_NONE && link->socket < 0) {
        code = find_mediator(v);
        if (code == VGPU_ERR_NONE && link->socket < 0) {
            poll(NULL, 0, RESUME_AGAIN_MS);
        }
    }
    return code;
}

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
    struct pollfd fds[] = {{.fd = link->interrupt, .events = POLLIN},
                           {.fd = link->socket, .events = POLLIN}};
    uint64_t count;
    uint32_t code;

    if (link->socket < 0) {
        code = find_mediator(v);
        fds[1].fd = link->socket;
        if (code != VGPU_ERR_NONE) {
            return code;
        }
        if (link->socket < 0 && rest_ms > RESUME_AGAIN_MS) {
            rest_ms = RESUME_AGAIN_MS;
        }
    }
    if (poll(fds, 2, rest_ms) <= 0) {
        return VGPU_ERR_NONE;
    }
    if (fds[0].revents & POLLIN) {
        ssize_t n = read(link->interrupt, &count, sizeof(count));

        (void)n; /* a signal for nothing is allowed */
    }
    return fds[1].revents ? look_at_socket(v) : VGPU_ERR_NONE;
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
    if (link->socket >= 0) {
        close(link->socket); /* the host closes the channel then */
    }
    if (link->life >= 0) {
        close(link->life); /* ... or the next mediator by this */
    }
}

static uint32_t connect_to(struct vgpu *v)
{
    int error = open_socket(v);

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
    struct received frame = {.fd_count = 0};
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
        close_fds(&frame);
        return vgpu_channel_refused(v, opened.status);
    }
    if (frame.fd_count !=
            ((opened.features & VGPU_CHANNEL_LIFE) ? VGPU_FD_LIFE + 1u : VGPU_FD_CHUNK0 + 1u) ||
        memcmp(&opened.geometry, &link->channel.geometry, sizeof(opened.geometry)) != 0 ||
        opened.chunk0_bytes != link->channel.layout.bytes) {
        close_fds(&frame);
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

static uint32_t host_add_chunk(struct vgpu *v, uint32_t number, struct channel_chunk *chunk)
{
    VGPUChunkAdd add = {.channel = NUMBER, .chunk = number, .bytes = chunk->bytes};
    uint64_t deadline_ns = vgpu_now_ns(v) + CHUNK_TIMEOUT_NS;
    struct received frame = {.fd_count = 0};
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
        close_fds(&frame);
        return vgpu_set_device_error(v, added.status);
    }
    if (frame.fd_count != 1 || added.chunk != number || added.bytes != chunk->bytes) {
        close_fds(&frame);
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
    struct received frame = {.fd_count = 0};
    uint32_t code = need_mediator(v);

    if (code == VGPU_ERR_NONE) {
        code = send_frame(v, VGPU_MSG_CHUNK_REMOVE, &remove, sizeof(remove));
    }

    if (code == VGPU_ERR_NONE) {
        code = wait_frame(v, VGPU_MSG_CHUNK_REMOVED, &removed, sizeof(removed), &frame,
                          vgpu_now_ns(v) + CHUNK_TIMEOUT_NS);
    }
    close_fds(&frame);
    return code;
}

static uint32_t host_open(struct vgpu *v, uint64_t deadline_ns)
{
    struct host_link *link = v->link;
    uint32_t code;

    link->socket = link->doorbell = link->interrupt = link->life = -1;
    link->filled = 0;
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
