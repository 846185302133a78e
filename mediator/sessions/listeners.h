/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The listeners are the sockets that devices connect to.  A listener either belongs to one VM,
 * so that everyone who can connect is that VM, or it is shared, and each connection is
 * identified by the process at its other end (identity.h).
 */
#ifndef MEDIATOR_SESSIONS_LISTENERS_H
#define MEDIATOR_SESSIONS_LISTENERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "core/core.h"
#include "common/socket_file.h"

#define LISTENERS_MAX 1024u
#define LISTENER_ACCEPTS_MAX 16u /* each time the loop comes round */
/*
 * Connections whose process is being looked at; the next ones wait in the kernel.  Fewer than
 * the pool has threads: a process whose files are slow to read leaves threads for other work.
 */
#define LISTENER_PENDING_MAX 2u

struct events;
struct identity_cache;
struct listener;
struct listeners;
struct process_owner;
struct session_io;

/* What it works with.  All of it outlives listeners_free(). */
struct listeners_uses {
    uv_loop_t *loop;
    struct events *events;
    struct session_io *sessions;       /* takes the connections */
    struct identity_cache *identities; /* says who connects to a shared socket */
    bool trust_claims;                 /* peers that are no QEMU may say who they are */
    const uid_t *qemu_users;           /* that QEMUs run as, and nobody else does */
    uint32_t qemu_user_count;
};

/* NULL when there is no memory. */
struct listeners *listeners_new(const struct listeners_uses *uses);
/* All listeners are removed and the loop has run since. */
void listeners_free(struct listeners *listeners);

/*
 * Listens on `file`, which it owns from now on, also when it fails.
 * `identity` NULL: shared.  of_host: `path` leads to it, so listeners_look()
 * looks after it; else it is for people.  Returns 0, or -errno and an `error`.
 */
int listeners_add(struct listeners *listeners, struct socket_file *file,
                  const struct socket_file_owner *owner, const char *path, bool of_host,
                  const struct core_identity *identity, struct listener **listener, char *error,
                  size_t error_bytes);
/*
 * A shared socket at a path of our own host that can't be made now, for `trouble`: listeners_look()
 * tries again.  -errno.
 */
int listeners_add_later(struct listeners *listeners, const struct socket_file_owner *owner,
                        const char *path, const char *trouble);
/* Closes it and its connections, removes its file. */
void listeners_remove(struct listener *listener);
void listeners_remove_all(struct listeners *listeners);

const char *listener_path(const struct listener *listener);
bool listener_is_shared(const struct listener *listener);
/* From now on its connections are identified by their processes. */
void listener_make_shared(struct listener *listener);
/* The listener whose socket is in this folder under this name, or NULL. */
struct listener *listeners_find(struct listeners *listeners, const struct socket_file *file);

/*
 * A connection goes on that another mediator accepted at this path, and knew as `identity`.  0 with
 * the listener that stands for it now; -ENOENT: nobody listens there yet; -EPERM: who connects
 * there is somebody else now.
 */
int listeners_readmit(struct listeners *listeners, const char *path,
                      const struct core_identity *identity, struct listener **listener);

/*
 * A QEMU was found that may not open the socket.  If the socket is this VM's own (--vm), and the
 * QEMU runs as one of qemu_users, its file is given to that user.  False: it was not.
 */
bool listener_give(struct listener *listener, const struct core_identity *to,
                   const struct process_owner *owner);

/*
 * Are the files of our own host's paths still there?  One that is gone is made again, with a word
 * in the log; where that fails, listeners_troubles() tells why.
 */
void listeners_look(struct listeners *listeners);
typedef void (*listeners_trouble)(void *opaque, const char *path, const char *trouble);
void listeners_troubles(const struct listeners *listeners, listeners_trouble visit, void *opaque);

/* For who looks after the others: is the file still in its folder? */
bool listener_has_name(const struct listener *listener);
/* Listens on `file` instead, which it owns from now on; connections stay.  -errno, `error`. */
int listener_move(struct listener *listener, struct socket_file *file, char *error,
                  size_t error_bytes);

#endif /* MEDIATOR_SESSIONS_LISTENERS_H */
