/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module moves the bytes of the devices' connections: it reads frames and writes answers.
 *
 * A connection reads at most SESSION_READ_BYTES each time the loop comes
 * round, so that a flood from one VM delays the others by no more than that.
 * A peer that doesn't take its answers isn't read any more once
 * SESSION_OUT_PAUSE_BYTES wait for it; what was accepted from it before can
 * add a bounded amount, and beyond SESSION_OUT_MAX_BYTES it is disconnected.
 */
#ifndef MEDIATOR_SESSIONS_SESSION_IO_H
#define MEDIATOR_SESSIONS_SESSION_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "core/core.h"

#define SESSION_READ_BYTES 16384u
#define SESSION_OUT_PAUSE_BYTES 65536u
#define SESSION_OUT_MAX_BYTES (1024u * 1024u)
/* Connections that have not sent a whole frame yet, of one listener and of one process. */
#define SESSION_SILENT_LISTENER_MAX 256u
#define SESSION_SILENT_PROCESS_MAX 128u
/* Connections that serve no VM (PINGs alone, unregistered, refused ones), of one identified VM. */
#define SESSION_SPARE_VM_MAX 16u

struct events;
struct listener; /* only told apart here */
struct session_io;

/* NULL when there is no memory.  What it is given outlives it. */
struct session_io *session_io_new(uv_loop_t *loop, struct core *core, struct events *events);
/* All connections are closed and the loop has run since. */
void session_io_free(struct session_io *io);

/* Who is at the other end, as the kernel says. */
struct session_peer {
    pid_t pid; /* 0: unknown */
    uid_t uid;
};

/*
 * Takes a connected, non-blocking socket.  It is closed here whatever happens.
 * `listener` and its `path` stay until session_io_listener_gone().
 */
void session_io_accept(struct session_io *io, const struct listener *listener, const char *path,
                       int fd, const struct session_peer *peer,
                       const struct core_identity *identity);
/* May this listener's next connection come in, from this process? False: said why. */
bool session_io_admit(struct session_io *io, const struct listener *listener,
                      const struct session_peer *peer);
/* Closes the connections that came through a listener. */
void session_io_listener_gone(struct session_io *io, const struct listener *listener);
/* No connection is read any more: what was accepted is answered, and nothing else comes. */
void session_io_read_no_more(struct session_io *io);
/*
 * A connection that goes on in the next mediator, as session_park.h moves it there.  Nothing here
 * is the receiver's but for the time of the call.
 */
struct session_left {
    int fd;
    uint32_t session;
    const char *path; /* of the socket that it came through */
    struct session_peer peer;
    const uint8_t *in;  /* the beginning of a frame */
    size_t in_bytes;    /* less than VGPU_SOCKET_FRAME_MAX */
    const uint8_t *out; /* what the peer has not taken yet */
    size_t out_bytes;   /* SESSION_OUT_MAX_BYTES at most */
};

/*
 * When nothing is read any more: offers each connection to `take`, but for those whose descriptors
 * are under way.  True: somebody else has it now; here it ends without a word to the peer.
 */
void session_io_hand_over(struct session_io *io,
                          bool (*take)(void *opaque, const struct session_left *left),
                          void *opaque);
/*
 * The other end of that, with a descriptor, a listener and a path as of session_io_accept().
 * -errno: it is closed.
 */
int session_io_take_over(struct session_io *io, const struct listener *listener,
                         const struct session_left *left, const struct core_identity *identity,
                         const struct core_session_kept *kept);
/* Closes all, after writing what can be written at once. */
void session_io_close_all(struct session_io *io);

/* ---- effects ---- */

void session_io_send(struct session_io *io, uint32_t session, const VGPUSocketHeader *header,
                     const void *payload);
/*
 * The same with descriptors, BYTE_QUEUE_FDS_MAX at most, which stay the caller's: copies are
 * kept until they are written.  The frame's header says how many they are.
 */
void session_io_send_fds(struct session_io *io, uint32_t session, const VGPUSocketHeader *header,
                         const void *payload, const int *fds, unsigned count);
void session_io_close(struct session_io *io, uint32_t session);

/* Writes what waits; reports broken connections to the core. True: it did report one. */
bool session_io_flush(struct session_io *io);

/* ---- looking at them ---- */

struct session_info {
    uint32_t session;
    struct session_peer peer;
    const char *path; /* of the socket it came through */
};

/* Calls `visit` for each open connection. */
void session_io_each(struct session_io *io,
                     void (*visit)(void *opaque, const struct session_info *info), void *opaque);
uint32_t session_io_count(const struct session_io *io);

const char *session_close_reason_name(enum core_close_reason reason);

#endif /* MEDIATOR_SESSIONS_SESSION_IO_H */
