/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/sessions/session_io.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/frame.h"
#include "common/log.h"
#include "mediator/base/byte_queue.h"
#include "mediator/base/foreign_fd.h"
#include "mediator/events.h"
#include "mediator/base/handle_map.h"

/*
 * A connection's life:
 *
 *   OPEN ──peer gone, or too much waits for it──► BROKEN ──reported to the core──► CLOSING
 *    └────the core closes it────────────────────────────────────────────────────────┘
 *   CLOSING ──what waits is written once, handle closed──► freed
 *
 * BROKEN exists because a write may fail inside an effect, where the core must
 * not be called.
 */
enum connection_state {
    CONNECTION_OPEN,
    CONNECTION_BROKEN,
    CONNECTION_CLOSING,
};

/* A frame among the bytes that wait, and its descriptors. */
struct fd_frame {
    STAILQ_ENTRY(fd_frame) link;
    uint64_t at; /* its first byte, counted from the connection's start */
    size_t bytes;
    int fds[BYTE_QUEUE_FDS_MAX];
    unsigned count;
};

struct connection {
    uv_poll_t poll;
    struct session_io *io;
    LIST_ENTRY(connection) link;
    SLIST_ENTRY(connection) dirty_link;
    const struct listener *listener; /* NULL once it is gone */
    const char *path;                /* the listener's */
    enum connection_state state;
    uint32_t session;
    int fd;
    int poll_events;
    bool dirty;
    bool spoke; /* a whole frame has come */
    struct session_peer peer;
    struct byte_queue out;
    uint64_t added;    /* bytes that were ever put into `out` */
    unsigned fd_count; /* descriptors that came and whose frame is not complete */
    int fds[VGPU_FRAME_FDS_MAX];
    STAILQ_HEAD(, fd_frame) fd_frames;
    struct frame_reader reader;
};

struct session_io {
    uv_loop_t *loop;
    struct core *core;
    struct events *events;
    struct handle_map by_session;
    LIST_HEAD(, connection) all;
    SLIST_HEAD(, connection) dirty;
    uint32_t count;
    bool deaf; /* nothing is read any more */
    uint8_t buffer[SESSION_READ_BYTES];
};

const char *session_close_reason_name(enum core_close_reason reason)
{
    switch (reason) {
    case CORE_CLOSE_PROTOCOL: return "its bytes make no sense";
    case CORE_CLOSE_IDENTITY: return "it is not who it says it is";
    case CORE_CLOSE_DUPLICATE: return "its VM is connected already";
    case CORE_CLOSE_SILENT: return "it said nothing in time";
    case CORE_CLOSE_REMOVED: return "its VM was removed";
    }
    return "unknown";
}

struct session_io *session_io_new(uv_loop_t *loop, struct core *core, struct events *events)
{
    struct session_io *io = calloc(1, sizeof(*io));

    if (!io) {
        return NULL;
    }
    io->loop = loop;
    io->core = core;
    io->events = events;
    if (handle_map_init(&io->by_session, CORE_SESSIONS_MAX) < 0) {
        free(io);
        return NULL;
    }
    return io;
}

void session_io_free(struct session_io *io)
{
    if (!io) {
        return;
    }
    assert(LIST_EMPTY(&io->all));
    handle_map_destroy(&io->by_session);
    free(io);
}

static void mark_dirty(struct connection *conn)
{
    if (!conn->dirty) {
        conn->dirty = true;
        SLIST_INSERT_HEAD(&conn->io->dirty, conn, dirty_link);
    }
}

static void mark_broken(struct connection *conn)
{
    if (conn->state == CONNECTION_OPEN) {
        conn->state = CONNECTION_BROKEN;
        mark_dirty(conn);
    }
}

static void free_fd_frame(struct connection *conn)
{
    struct fd_frame *frame = STAILQ_FIRST(&conn->fd_frames);

    STAILQ_REMOVE_HEAD(&conn->fd_frames, link);
    for (unsigned i = 0; i < frame->count; i++) {
        close(frame->fds[i]);
    }
    free(frame);
}

/* Writes what the socket takes.  A frame with descriptors begins a write of its own. */
static int flush(struct connection *conn)
{
    while (!STAILQ_EMPTY(&conn->fd_frames) && conn->out.length > 0) {
        struct fd_frame *frame = STAILQ_FIRST(&conn->fd_frames);
        uint64_t before = frame->at - (conn->added - conn->out.length);
        ssize_t n = byte_queue_send(&conn->out, conn->fd, before ? before : frame->bytes,
                                    frame->fds, before ? 0 : frame->count);

        if (n < 0) {
            return (int)n;
        }
        if (before == 0) {
            free_fd_frame(conn);
        }
    }
    return byte_queue_flush(&conn->out, conn->fd);
}

/* Closes the descriptors that a frame had, or that no frame will have. */
static void close_received(struct connection *conn)
{
    while (conn->fd_count > 0) {
        foreign_fd_close(conn->fds[--conn->fd_count]);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *conn = handle->data;

    close_received(conn);
    while (!STAILQ_EMPTY(&conn->fd_frames)) {
        free_fd_frame(conn);
    }
    byte_queue_destroy(&conn->out);
    free(conn);
}

/* Closes a connection that the core has forgotten. */
static void finish(struct connection *conn)
{
    struct session_io *io = conn->io;

    /* An error answer that explains the end is worth one try. */
    flush(conn);
    LIST_REMOVE(conn, link);
    io->count--;
    uv_poll_stop(&conn->poll);
    close(conn->fd);
    conn->fd = -1;
    uv_close((uv_handle_t *)&conn->poll, on_closed);
}

/* ---- reading ---- */

static void on_ready(uv_poll_t *poll, int status, int events);

/* What to wait for: answers first, then more requests. */
static void update_poll(struct connection *conn)
{
    int events = 0;

    if (conn->out.length) {
        events |= UV_WRITABLE;
    }
    if (conn->out.length < SESSION_OUT_PAUSE_BYTES && !conn->io->deaf) {
        events |= UV_READABLE;
    }
    if (events != conn->poll_events) {
        conn->poll_events = events;
        if (uv_poll_start(&conn->poll, events, on_ready) < 0) {
            mark_broken(conn);
        }
    }
}

/*
 * Gives a frame the descriptors that it says it has: those that came, since each read brings
 * those of one frame at most.  False: it has others.
 */
static bool give_descriptors(struct connection *conn, struct frame *frame)
{
    if (!core_session_has_channels(conn->io->core, conn->session) || frame->header.pad == 0) {
        return true;
    }
    frame->fds = conn->fds;
    frame->fd_count = frame->header.pad;
    return frame->fd_count == conn->fd_count;
}

static void take_bytes(struct connection *conn, const uint8_t *bytes, size_t length)
{
    struct core *core = conn->io->core;
    uint64_t now_ns = clock_now_ns();
    struct frame frame;
    int ret;

    while (conn->state == CONNECTION_OPEN) {
        ret = frame_reader_next(&conn->reader, &bytes, &length, &frame);
        if (ret == 0 && conn->reader.used == 0 && conn->fd_count > 0) {
            ret = -EBADMSG; /* descriptors that no frame has */
        }
        if (ret < 0 || (ret > 0 && !give_descriptors(conn, &frame))) {
            core_session_garbage(core, conn->session, now_ns);
            /* It has closed the session; hold on to that even if it should not have. */
            mark_broken(conn);
            return;
        }
        if (ret == 0) {
            return;
        }
        conn->spoke = true;
        core_session_frame(core, conn->session, &frame, now_ns);
        if (frame.fd_count > 0) {
            close_received(conn);
        }
    }
}

/* Keeps what came beside the bytes.  False: there were descriptors out of place. */
static bool take_descriptors(struct connection *conn, struct msghdr *message)
{
    unsigned before = conn->fd_count, room = VGPU_FRAME_FDS_MAX - before;
    unsigned came = foreign_fds_take(message, conn->fds + before, room);

    conn->fd_count += came < room ? came : room;
    return !(message->msg_flags & MSG_CTRUNC) &&
           (came == 0 || (before == 0 && came <= VGPU_FRAME_FDS_MAX));
}

/* As recv(2); -1 with EBADMSG: descriptors that are too many or out of place. */
static ssize_t receive(struct connection *conn, uint8_t *bytes, size_t length)
{
    union {
        struct cmsghdr header; /* for its alignment */
        uint8_t bytes[CMSG_SPACE(sizeof(int) * FOREIGN_FDS_MAX)];
    } control;
    struct iovec part = {bytes, length};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t n;

    n = recvmsg(conn->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0) {
        return n;
    }
    if (!core_session_has_channels(conn->io->core, conn->session)) {
        take_descriptors(conn, &message); /* nobody asked for any */
        close_received(conn);
    } else if (!take_descriptors(conn, &message)) {
        errno = EBADMSG;
        return -1;
    }
    return n;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct connection *conn = poll->data;
    struct session_io *io = conn->io;
    ssize_t n;

    if (conn->state != CONNECTION_OPEN) {
        return;
    }
    if (status < 0) {
        mark_broken(conn);
        return;
    }
    if (events & UV_WRITABLE) {
        mark_dirty(conn);
    }
    if (!(events & UV_READABLE)) {
        return;
    }
    n = receive(conn, io->buffer, sizeof(io->buffer));
    if (n > 0) {
        take_bytes(conn, io->buffer, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        mark_broken(conn);
    }
}

/* ---- writing ---- */

void session_io_send(struct session_io *io, uint32_t session, const VGPUSocketHeader *header,
                     const void *payload)
{
    struct connection *conn = handle_map_get(&io->by_session, session);

    if (!conn || conn->state != CONNECTION_OPEN) {
        return;
    }
    /* Half a frame would desynchronise the stream, but then the connection ends anyway. */
    if (byte_queue_add(&conn->out, header, sizeof(*header), SESSION_OUT_MAX_BYTES) < 0 ||
        byte_queue_add(&conn->out, payload, header->payload_len, SESSION_OUT_MAX_BYTES) < 0) {
        events_session_note(io->events, conn->peer.pid,
                            "it does not take its answers and is disconnected");
        mark_broken(conn);
        return;
    }
    conn->added += sizeof(*header) + header->payload_len;
    mark_dirty(conn);
}

/* Copies of the descriptors, or NULL. */
static struct fd_frame *new_fd_frame(const int *fds, unsigned count)
{
    struct fd_frame *frame = calloc(1, sizeof(*frame));

    for (; frame && frame->count < count; frame->count++) {
        frame->fds[frame->count] = fcntl(fds[frame->count], F_DUPFD_CLOEXEC, 0);
        if (frame->fds[frame->count] < 0) {
            while (frame->count > 0) {
                close(frame->fds[--frame->count]);
            }
            free(frame);
            return NULL;
        }
    }
    return frame;
}

void session_io_send_fds(struct session_io *io, uint32_t session, const VGPUSocketHeader *header,
                         const void *payload, const int *fds, unsigned count)
{
    struct connection *conn = handle_map_get(&io->by_session, session);
    struct fd_frame *frame;
    VGPUSocketHeader with_count = *header;

    if (!conn || conn->state != CONNECTION_OPEN) {
        return;
    }
    frame = new_fd_frame(fds, count);
    if (!frame) {
        events_session_note(io->events, conn->peer.pid,
                            "no file descriptors are left for its channel: disconnected; raise "
                            "the mediator's LimitNOFILE");
        mark_broken(conn);
        return;
    }
    with_count.pad = (uint16_t)count;
    frame->at = conn->added;
    frame->bytes = sizeof(*header) + header->payload_len;
    STAILQ_INSERT_TAIL(&conn->fd_frames, frame, link);
    session_io_send(io, session, &with_count, payload);
}

void session_io_close(struct session_io *io, uint32_t session)
{
    struct connection *conn = handle_map_get(&io->by_session, session);

    if (!conn) {
        return;
    }
    handle_map_remove(&io->by_session, session);
    conn->state = CONNECTION_CLOSING;
    mark_dirty(conn);
}

bool session_io_flush(struct session_io *io)
{
    bool reported = false;

    while (!SLIST_EMPTY(&io->dirty)) {
        struct connection *conn = SLIST_FIRST(&io->dirty);
        int ret;

        SLIST_REMOVE_HEAD(&io->dirty, dirty_link);
        conn->dirty = false;
        if (conn->state == CONNECTION_OPEN) {
            ret = flush(conn);
            if (ret < 0 && ret != -EAGAIN) {
                conn->state = CONNECTION_BROKEN;
            } else {
                update_poll(conn);
                continue;
            }
        }
        if (conn->state == CONNECTION_BROKEN) {
            handle_map_remove(&io->by_session, conn->session);
            conn->state = CONNECTION_CLOSING;
            core_session_closed(io->core, conn->session, clock_now_ns());
            reported = true;
        }
        finish(conn);
    }
    return reported;
}

/* ---- coming and going ---- */

bool session_io_admit(struct session_io *io, const struct listener *listener,
                      const struct session_peer *peer)
{
    const struct connection *conn;
    uint32_t of_listener = 0, of_process = 0;

    LIST_FOREACH (conn, &io->all, link) {
        if (conn->spoke || conn->listener != listener) {
            continue;
        }
        of_listener++;
        of_process += peer->pid && conn->peer.pid == peer->pid;
    }
    if (io->count >= CORE_SESSIONS_MAX || of_listener >= SESSION_SILENT_LISTENER_MAX ||
        of_process >= SESSION_SILENT_PROCESS_MAX) {
        events_session_note(io->events, peer->pid,
                            io->count >= CORE_SESSIONS_MAX
                                ? "all sessions are taken: connection refused"
                                : "too many connections that say nothing: connection refused");
        return false;
    }
    return true;
}

static bool same_vm(const struct core_identity *a, const struct core_identity *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case CORE_IDENTITY_UUID: return memcmp(a->uuid, b->uuid, sizeof(a->uuid)) == 0;
    case CORE_IDENTITY_IDS:
        return a->vm_id_count == b->vm_id_count &&
               memcmp(a->vm_ids, b->vm_ids, a->vm_id_count * sizeof(a->vm_ids[0])) == 0;
    default: return false; /* who only claims may be many */
    }
}

/* A QEMU that was taken over must not take all sessions: has this VM enough that serve nothing? */
static bool too_many_spare(const struct session_io *io, const struct core_identity *identity)
{
    const struct connection *conn;
    struct core_session_stats stats;
    uint32_t spare = 0;

    LIST_FOREACH (conn, &io->all, link) {
        const struct core_identity *other = core_session_identity(io->core, conn->session);

        if (conn->state == CONNECTION_OPEN && other && same_vm(other, identity)) {
            spare += !core_session_stats(io->core, conn->session, &stats) || stats.vm == CORE_NONE;
        }
    }
    return spare >= SESSION_SPARE_VM_MAX;
}

/* A connection whose session is open.  NULL: it ends, or has ended. */
static struct connection *add_connection(struct session_io *io, const struct listener *listener,
                                         const char *path, int fd, const struct session_peer *peer,
                                         const struct core_identity *identity)
{
    struct connection *conn = calloc(1, sizeof(*conn));

    if (!conn || uv_poll_init(io->loop, &conn->poll, fd) < 0) {
        free(conn);
        close(fd);
        return NULL;
    }
    conn->poll.data = conn;
    conn->io = io;
    conn->fd = fd;
    conn->peer = *peer;
    conn->listener = listener;
    conn->path = path;
    frame_reader_init(&conn->reader);
    STAILQ_INIT(&conn->fd_frames);
    LIST_INSERT_HEAD(&io->all, conn, link);
    io->count++;

    if (core_session_open(io->core, identity, clock_now_ns(), &conn->session) < 0) {
        events_session_note(io->events, peer->pid, "all sessions are taken: connection refused");
        conn->state = CONNECTION_CLOSING;
        mark_dirty(conn);
        return NULL;
    }
    if (handle_map_put(&io->by_session, conn->session, conn) < 0) {
        mark_broken(conn);
        return NULL;
    }
    return conn;
}

void session_io_accept(struct session_io *io, const struct listener *listener, const char *path,
                       int fd, const struct session_peer *peer,
                       const struct core_identity *identity)
{
    struct connection *conn;

    if (too_many_spare(io, identity)) {
        events_session_note(io->events, peer->pid,
                            "its VM has too many connections that serve nothing: connection "
                            "refused; one vgpu-stub needs one");
        close(fd);
        return;
    }
    conn = add_connection(io, listener, path, fd, peer, identity);
    if (conn) {
        update_poll(conn);
    }
}

/* ---- over a restart ---- */

void session_io_hand_over(struct session_io *io,
                          bool (*take)(void *opaque, const struct session_left *left), void *opaque)
{
    struct connection *conn;

    assert(io->deaf);
    LIST_FOREACH (conn, &io->all, link) {
        int ret = conn->state == CONNECTION_OPEN ? flush(conn) : -EPIPE;
        struct session_left left = {
            .fd = conn->fd,
            .session = conn->session,
            .path = conn->path,
            .peer = conn->peer,
            .in = conn->reader.bytes,
            .in_bytes = conn->reader.used,
            .out = conn->out.bytes + conn->out.head,
            .out_bytes = conn->out.length,
        };

        if ((ret < 0 && ret != -EAGAIN) || !conn->listener || conn->fd_count > 0 ||
            !STAILQ_EMPTY(&conn->fd_frames)) {
            continue;
        }
        if (take(opaque, &left)) {
            byte_queue_destroy(&conn->out);
            mark_broken(conn);
        }
    }
}

int session_io_take_over(struct session_io *io, const struct listener *listener,
                         const struct session_left *left, const struct core_identity *identity,
                         const struct core_session_kept *kept)
{
    struct connection *conn;

    conn = add_connection(io, listener, left->path, left->fd, &left->peer, identity);
    if (!conn) {
        return -ENOSPC;
    }
    if (left->in_bytes >= sizeof(conn->reader.bytes) ||
        byte_queue_add(&conn->out, left->out, left->out_bytes, SESSION_OUT_MAX_BYTES) < 0) {
        mark_broken(conn);
        return -EINVAL;
    }
    memcpy(conn->reader.bytes, left->in, left->in_bytes);
    conn->reader.used = (uint32_t)left->in_bytes;
    conn->added = left->out_bytes;
    conn->spoke = kept->spoke;
    core_session_import(io->core, conn->session, kept, clock_now_ns());
    if (conn->state == CONNECTION_OPEN) {
        mark_dirty(conn); /* writes what waits, then it is read again */
    }
    return 0;
}

void session_io_listener_gone(struct session_io *io, const struct listener *listener)
{
    struct connection *conn;

    LIST_FOREACH (conn, &io->all, link) {
        if (conn->listener == listener) {
            conn->listener = NULL;
            conn->path = "";
            mark_broken(conn);
        }
    }
}

void session_io_read_no_more(struct session_io *io)
{
    struct connection *conn;

    io->deaf = true;
    LIST_FOREACH (conn, &io->all, link) {
        update_poll(conn);
    }
}

void session_io_close_all(struct session_io *io)
{
    struct connection *conn;

    LIST_FOREACH (conn, &io->all, link) {
        mark_broken(conn);
    }
}

void session_io_each(struct session_io *io,
                     void (*visit)(void *opaque, const struct session_info *info), void *opaque)
{
    const struct connection *conn;

    LIST_FOREACH (conn, &io->all, link) {
        struct session_info info = {
            .session = conn->session,
            .peer = conn->peer,
            .path = conn->path,
        };

        if (conn->state == CONNECTION_OPEN) {
            visit(opaque, &info);
        }
    }
}

uint32_t session_io_count(const struct session_io *io)
{
    return io->count;
}
