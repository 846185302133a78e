/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process of the host, or in a container: a channel (channel.c) on the mediator's socket of
 * its VM.  The socket opens the channel and brings its memory and doorbells; after that only its
 * end, or CLOSED, comes on it.
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

#define HOST_PREFIX "host " /* in the description, before the path */
#define HOST_PREFIX_BYTES (sizeof(HOST_PREFIX) - 1)
#define CHUNK_TIMEOUT_NS (60 * NS_PER_S)
#define NUMBER 0u /* of the channel: a connection has one */

struct host_link {
    struct channel_link channel;
    int socket, doorbell, interrupt; /* -1: not there */
    uint32_t filled;                 /* bytes of `frame` that have arrived */
    _Alignas(8) uint8_t frame[VGPU_SOCKET_FRAME_MAX];
};

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
        return vgpu_channel_dead(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                                 "the mediator's socket takes nothing");
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
    return got < 0 ? vgpu_channel_dead(
                         v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                         "the mediator closed the connection; it was stopped, or its log says why")
                   : VGPU_ERR_NONE;
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
}

static uint32_t connect_to(struct vgpu *v)
{
    struct host_link *link = v->link;
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    /* Checked to fit when it was put there. */
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", v->description + HOST_PREFIX_BYTES);
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
        .features = v->wish ? v->wish->features : VGPU_CHANNEL_BULK,
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
    if (frame.fd_count != VGPU_FD_CHUNK0 + 1u ||
        memcmp(&opened.geometry, &link->channel.geometry, sizeof(opened.geometry)) != 0 ||
        opened.chunk0_bytes != link->channel.layout.bytes) {
        close_fds(&frame);
        return vgpu_channel_dead(v, VGPU_ERR_BAD_RESPONSE,
                                 "the mediator opened another one than was asked for");
    }
    link->doorbell = frame.fds[VGPU_FD_DOORBELL];
    link->interrupt = frame.fds[VGPU_FD_INTERRUPT];
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
    uint32_t code = send_frame(v, VGPU_MSG_CHUNK_ADD, &add, sizeof(add));

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
    uint32_t code = send_frame(v, VGPU_MSG_CHUNK_REMOVE, &remove, sizeof(remove));

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

    link->socket = link->doorbell = link->interrupt = -1;
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
