/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Without a VM: speak to the mediator as the device does, over its Unix
 * socket (vgpu_protocol.h, "Frames").
 *
 * One request is in flight at a time.  Between requests nobody reads the
 * socket, so each request first takes what came meanwhile: it answers PINGs,
 * follows CONFIG, and when the mediator has closed the connection makes a new
 * one, which is safe then because nothing was asked yet.  A connection lost
 * after the request left is an error to the caller (the job may have run);
 * the next request connects again.  After a timeout or a frame that makes no
 * sense the connection is closed: what still comes on it can't be trusted to
 * belong to anything.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "internal.h"

#define CONNECT_RETRY_NS (5 * NS_PER_MS)
/* How long a mediator may take to answer HELLO and to send the first CONFIG. */
#define HELLO_TIMEOUT_NS (5 * NS_PER_S)

struct sock_link {
    int fd; /* -1: not connected */
    uint32_t next_id;
    uint32_t vm_id;
    uint8_t pool_id;
    uint8_t priority;
    bool was_connected;
    bool configured; /* CONFIG came on this connection */
    uint64_t reconnects;
    struct sockaddr_un address;
    uint32_t filled; /* bytes of `frame` that have arrived */
    _Alignas(8) uint8_t frame[VGPU_SOCKET_FRAME_MAX];
};

/* One received frame; `payload` leads into the link and holds until the next one is read. */
struct sock_frame {
    VGPUSocketHeader header;
    const uint8_t *payload;
};

static void sock_disconnect(struct sock_link *link)
{
    if (link->fd >= 0) {
        close(link->fd);
    }
    link->fd = -1;
    link->filled = 0;
    link->configured = false;
}

static uint32_t connection_lost(struct vgpu *v, const char *why)
{
    sock_disconnect(v->link);
    return vgpu_set_error(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                          "%s: the mediator closed the connection (%s); it was stopped, or it "
                          "refuses this client: its log says which",
                          v->description, why);
}

static uint32_t bad_frame(struct vgpu *v, const char *what, uint32_t value)
{
    sock_disconnect(v->link);
    return vgpu_set_error(
        v, VGPU_ERR_BAD_RESPONSE,
        "%s: the mediator sent %s (0x%X); is it vgpu-mediator that listens there?", v->description,
        what, (unsigned)value);
}

static uint32_t timed_out(struct vgpu *v)
{
    sock_disconnect(v->link);
    return vgpu_set_error(v, VGPU_ERR_TIMEOUT,
                          "%s: no answer within %u ms, so the connection was closed; give more "
                          "time (timeout), or see in the mediator's log what it is doing",
                          v->description, (unsigned)v->options.timeout_ms);
}

/* Wait for the socket; 1 ready, 0 deadline passed. */
static int wait_for(struct vgpu *v, short events, uint64_t deadline_ns)
{
    struct sock_link *link = v->link;
    struct pollfd poll_fd = {.fd = link->fd, .events = events};

    for (;;) {
        int rest_ms = vgpu_rest_ms(vgpu_now_ns(v), deadline_ns);
        int ready = poll(&poll_fd, 1, rest_ms);

        if (ready > 0) {
            return 1;
        }
        if (ready == 0 && rest_ms == 0) {
            return 0;
        }
    }
}

/* ---- Frames ------------------------------------------------------------- */

static uint32_t send_frame(struct vgpu *v, uint32_t type, uint32_t request_id, const void *payload,
                           uint32_t payload_bytes, uint64_t deadline_ns)
{
    struct sock_link *link = v->link;
    uint8_t frame[VGPU_SOCKET_FRAME_MAX];
    size_t length = sizeof(VGPUSocketHeader) + payload_bytes, sent = 0;
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = type,
        .vm_id = link->vm_id,
        .request_id = request_id,
        .pool_id = link->pool_id,
        .priority = link->priority,
        .payload_len = payload_bytes,
    };

    memcpy(frame, &header, sizeof(header));
    if (payload_bytes) {
        memcpy(frame + sizeof(header), payload, payload_bytes);
    }
    while (sent < length) {
        ssize_t n = send(link->fd, frame + sent, length - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n >= 0) {
            sent += (size_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!wait_for(v, POLLOUT, deadline_ns)) {
                return timed_out(v);
            }
        } else if (errno != EINTR) {
            return connection_lost(v, strerror(errno));
        }
    }
    return VGPU_ERR_NONE;
}

enum receive_result { RECEIVED, NOTHING_YET, RECEIVE_FAILED };

/* Move a frame on by what has arrived, never past its end. */
static enum receive_result receive_some(struct vgpu *v, struct sock_frame *frame, uint32_t *code)
{
    struct sock_link *link = v->link;

    for (;;) {
        uint32_t wanted = sizeof(VGPUSocketHeader);
        ssize_t n;

        if (link->filled >= sizeof(VGPUSocketHeader)) {
            memcpy(&frame->header, link->frame, sizeof(frame->header));
            if (frame->header.magic != VGPU_SOCKET_MAGIC) {
                *code = bad_frame(v, "a frame with the wrong magic", frame->header.magic);
                return RECEIVE_FAILED;
            }
            if (frame->header.payload_len > VGPU_SOCKET_PAYLOAD_MAX) {
                *code = bad_frame(v, "a frame that is too long", frame->header.payload_len);
                return RECEIVE_FAILED;
            }
            wanted += frame->header.payload_len;
            if (link->filled == wanted) {
                frame->payload = link->frame + sizeof(VGPUSocketHeader);
                link->filled = 0;
                return RECEIVED;
            }
        }
        n = recv(link->fd, link->frame + link->filled, wanted - link->filled, MSG_DONTWAIT);
        if (n > 0) {
            link->filled += (uint32_t)n;
        } else if (n == 0) {
            *code = connection_lost(v, link->filled ? "in the middle of a frame" : "end of stream");
            return RECEIVE_FAILED;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return NOTHING_YET;
        } else if (errno != EINTR) {
            *code = connection_lost(v, strerror(errno));
            return RECEIVE_FAILED;
        }
    }
}

static uint32_t follow_config(struct vgpu *v, const struct sock_frame *frame, uint64_t deadline_ns)
{
    struct sock_link *link = v->link;
    VGPUConfig config;

    if (!v->options.hello || frame->header.payload_len != sizeof(config)) {
        return bad_frame(v, "a CONFIG that was not asked for or has the wrong length",
                         frame->header.payload_len);
    }
    memcpy(&config, frame->payload, sizeof(config));
    if (config.pool_id < VGPU_POOL_FIRST || config.pool_id > VGPU_POOL_LAST ||
        config.priority > VGPU_PRIORITY_HIGH) {
        return bad_frame(v, "a CONFIG with an impossible pool or priority", config.pool_id);
    }
    link->vm_id = config.vm_id;
    link->pool_id = config.pool_id;
    link->priority = config.priority;
    link->configured = true;
    return send_frame(v, VGPU_MSG_CONFIG, frame->header.request_id, &config, sizeof(config),
                      deadline_ns);
}

/* Deal with a frame that is no answer to a request.  *handled: it was one of those. */
static uint32_t handle_aside(struct vgpu *v, const struct sock_frame *frame, uint64_t deadline_ns,
                             bool *handled)
{
    *handled = true;
    switch (frame->header.msg_type) {
    case VGPU_MSG_PING:
        if (frame->header.payload_len > VGPU_PING_BYTES_MAX) {
            return bad_frame(v, "a PING that is too long", frame->header.payload_len);
        }
        return send_frame(v, VGPU_MSG_PONG, frame->header.request_id, frame->payload,
                          frame->header.payload_len, deadline_ns);
    case VGPU_MSG_PONG: return VGPU_ERR_NONE;
    case VGPU_MSG_CONFIG: return follow_config(v, frame, deadline_ns);
    default: *handled = false; return VGPU_ERR_NONE;
    }
}

/* The next frame that is not dealt with aside; TIMEOUT after the deadline. */
static uint32_t receive_frame(struct vgpu *v, struct sock_frame *frame, uint64_t deadline_ns)
{
    uint32_t code = VGPU_ERR_NONE;
    bool handled;

    for (;;) {
        switch (receive_some(v, frame, &code)) {
        case RECEIVE_FAILED: return code;
        case NOTHING_YET:
            if (!wait_for(v, POLLIN, deadline_ns)) {
                return timed_out(v);
            }
            break;
        case RECEIVED:
            code = handle_aside(v, frame, deadline_ns, &handled);
            if (code != VGPU_ERR_NONE || !handled) {
                return code;
            }
            break;
        }
        /* A peer that floods us with frames aside must not hold us for ever. */
        if (vgpu_now_ns(v) >= deadline_ns) {
            return timed_out(v);
        }
    }
}

/* ---- The connection ----------------------------------------------------- */

static uint32_t no_hello(struct vgpu *v)
{
    sock_disconnect(v->link);
    return vgpu_set_error(v, VGPU_ERR_TIMEOUT,
                          "%s: the mediator did not answer HELLO; it hangs, or it is one of "
                          "protocol 1.0 only: leave \"hello\" out",
                          v->description);
}

static uint32_t say_hello(struct vgpu *v, uint64_t deadline_ns)
{
    struct sock_link *link = v->link;
    VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION, .features = VGPU_FEATURE_CONFIG};
    uint64_t hello_deadline_ns = vgpu_now_ns(v) + HELLO_TIMEOUT_NS;
    struct sock_frame frame;
    uint32_t code;

    if (hello_deadline_ns > deadline_ns) {
        hello_deadline_ns = deadline_ns;
    }
    code = send_frame(v, VGPU_MSG_HELLO, 0, &hello, sizeof(hello), hello_deadline_ns);
    if (code == VGPU_ERR_NONE) {
        code = receive_frame(v, &frame, hello_deadline_ns);
    }
    if (code != VGPU_ERR_NONE) {
        return code == VGPU_ERR_TIMEOUT ? no_hello(v) : code;
    }
    if (frame.header.msg_type != VGPU_MSG_HELLO || frame.header.payload_len != sizeof(hello)) {
        return bad_frame(v, "something else than a HELLO in answer to HELLO",
                         frame.header.msg_type);
    }
    memcpy(&hello, frame.payload, sizeof(hello));
    /* With CONFIG granted it comes first of all: requests must carry its values. */
    while ((hello.features & VGPU_FEATURE_CONFIG) && !link->configured) {
        bool handled;

        switch (receive_some(v, &frame, &code)) {
        case RECEIVE_FAILED: return code;
        case NOTHING_YET:
            if (!wait_for(v, POLLIN, hello_deadline_ns)) {
                return no_hello(v);
            }
            break;
        case RECEIVED:
            code = handle_aside(v, &frame, hello_deadline_ns, &handled);
            if (code == VGPU_ERR_NONE && !handled) {
                code =
                    bad_frame(v, "something else than CONFIG after HELLO", frame.header.msg_type);
            }
            if (code != VGPU_ERR_NONE) {
                return code;
            }
            break;
        }
    }
    return VGPU_ERR_NONE;
}

static uint32_t sock_connect(struct vgpu *v, uint64_t deadline_ns)
{
    struct sock_link *link = v->link;
    const char *path = link->address.sun_path;

    link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->fd < 0) {
        return vgpu_set_error(v, VGPU_ERR_SYSTEM, "can't make a socket: %s", strerror(errno));
    }
    while (connect(link->fd, (const struct sockaddr *)&link->address, sizeof(link->address)) < 0) {
        int error = errno;

        /* EAGAIN: more clients wait for the mediator than fit in its queue. */
        if ((error == EAGAIN || error == EINTR) && vgpu_now_ns(v) < deadline_ns) {
            v->clock.sleep_ns(v->clock.opaque, CONNECT_RETRY_NS);
            continue;
        }
        sock_disconnect(link);
        if (error == EACCES || error == EPERM) {
            return vgpu_set_error(v, VGPU_ERR_PERMISSION,
                                  "%s: this user may not connect to %s; run as the socket's owner "
                                  "or as root",
                                  v->description, path);
        }
        return vgpu_set_error(v, VGPU_ERR_MEDIATOR_UNAVAILABLE,
                              "%s: no mediator answers at %s (%s); start vgpu-mediator, or give "
                              "the socket that it listens on",
                              v->description, path, strerror(error));
    }
    link->reconnects += link->was_connected;
    link->was_connected = true;
    return v->options.hello ? say_hello(v, deadline_ns) : VGPU_ERR_NONE;
}

/* Have a live connection on which nothing is owed to us. */
static uint32_t sock_ready(struct vgpu *v, uint64_t deadline_ns)
{
    struct sock_link *link = v->link;
    struct sock_frame frame;
    uint32_t code = VGPU_ERR_NONE;

    while (link->fd >= 0) {
        enum receive_result result = receive_some(v, &frame, &code);
        bool handled;

        if (result == NOTHING_YET) {
            return VGPU_ERR_NONE;
        }
        if (result == RECEIVED) {
            code = handle_aside(v, &frame, deadline_ns, &handled);
            if (code == VGPU_ERR_NONE && !handled) {
                code = bad_frame(v, "an answer to nothing", frame.header.msg_type);
            }
            if (code == VGPU_ERR_NONE && vgpu_now_ns(v) >= deadline_ns) {
                return timed_out(v);
            }
        }
        if (code == VGPU_ERR_BAD_RESPONSE) {
            return code;
        }
    }
    return sock_connect(v, deadline_ns);
}

/* ---- One request -------------------------------------------------------- */

/* BUSY and QUARANTINED say why in a VGPUResponse; older mediators send them empty. */
static uint32_t refusal_code(const struct sock_frame *frame, uint32_t otherwise)
{
    VGPUResponse response;

    if (frame->header.payload_len < sizeof(response)) {
        return otherwise;
    }
    memcpy(&response, frame->payload, sizeof(response));
    return response.status == VGPU_ERR_NONE ? otherwise : response.status;
}

static uint32_t sock_exchange(struct vgpu *v, const void *request, uint32_t request_bytes,
                              void *response, uint32_t *response_bytes, uint64_t deadline_ns)
{
    struct sock_link *link = v->link;
    struct sock_frame frame;
    uint32_t id, code;

    code = sock_ready(v, deadline_ns);
    if (code != VGPU_ERR_NONE) {
        return code;
    }
    v->error_code = VGPU_ERR_NONE;
    id = link->next_id++;
    code = send_frame(v, VGPU_MSG_REQUEST, id, request, request_bytes, deadline_ns);
    if (code == VGPU_ERR_NONE) {
        code = receive_frame(v, &frame, deadline_ns);
    }
    if (code != VGPU_ERR_NONE) {
        return code;
    }
    if (frame.header.request_id != id) {
        return bad_frame(v, "the answer to another request", frame.header.request_id);
    }
    switch (frame.header.msg_type) {
    case VGPU_MSG_RESPONSE:
        memcpy(response, frame.payload, frame.header.payload_len);
        *response_bytes = frame.header.payload_len;
        return VGPU_ERR_NONE;
    case VGPU_MSG_BUSY: return vgpu_set_device_error(v, refusal_code(&frame, VGPU_ERR_QUEUE_FULL));
    case VGPU_MSG_QUARANTINED:
        return vgpu_set_device_error(v, refusal_code(&frame, VGPU_ERR_VM_QUARANTINED));
    default: return bad_frame(v, "a frame of unknown type", frame.header.msg_type);
    }
}

static void sock_get_stats(const struct vgpu *v, struct vgpu_stats *stats)
{
    const struct sock_link *link = v->link;

    stats->reconnects = link->reconnects;
}

static void sock_close(struct vgpu *v)
{
    sock_disconnect(v->link);
    free(v->link);
    v->link = NULL;
}

static const struct vgpu_transport sock_transport = {
    .exchange = sock_exchange,
    .get_stats = sock_get_stats,
    .close = sock_close,
};

uint32_t vgpu_sock_open(struct vgpu *v, const char *path)
{
    struct sock_link *link;
    size_t length = strlen(path);
    uint32_t code;

    if (length == 0 || length >= sizeof(link->address.sun_path)) {
        return vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                              "a socket's path has 1 to %zu characters, this one %zu",
                              sizeof(link->address.sun_path) - 1, length);
    }
    link = calloc(1, sizeof(*link));
    if (!link) {
        return vgpu_set_error(v, VGPU_ERR_SYSTEM, "out of memory");
    }
    snprintf(v->description, sizeof(v->description), "sock %s", path);
    link->fd = -1;
    link->next_id = 1;
    link->vm_id = v->options.vm_id;
    link->pool_id = v->options.pool_id;
    link->priority = v->options.priority;
    link->address.sun_family = AF_UNIX;
    memcpy(link->address.sun_path, path, length + 1);
    v->link = link;
    v->transport = &sock_transport;
    v->options.sysfs_root = NULL;
    code = sock_connect(v, vgpu_now_ns(v) + (uint64_t)v->options.timeout_ms * NS_PER_MS);
    if (code != VGPU_ERR_NONE) {
        sock_close(v);
    }
    return code;
}
