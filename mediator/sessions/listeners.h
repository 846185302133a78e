/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sockets that devices connect to.  A listener either belongs to one VM,
 * so that everyone who can connect is that VM, or it is shared, and each
 * connection is identified by the process at its other end (identity.h).
 */
#ifndef MEDIATOR_SESSIONS_LISTENERS_H
#define MEDIATOR_SESSIONS_LISTENERS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "core/core.h"
#include "mediator/base/socket_file.h"

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
struct session_io;

/* What it works with.  All of it outlives listeners_free(). */
struct listeners_uses {
    uv_loop_t *loop;
    struct events *events;
    struct session_io *sessions;       /* takes the connections */
    struct identity_cache *identities; /* says who connects to a shared socket */
    bool trust_claims;                 /* peers that are no QEMU may say who they are */
};

/* NULL when there is no memory. */
struct listeners *listeners_new(const struct listeners_uses *uses);
/* All listeners are removed and the loop has run since. */
void listeners_free(struct listeners *listeners);

/*
 * Listens on `file`, which it owns from now on, also when it fails.
 * `identity` NULL: shared.  `path` is for people.  Returns 0, or -errno and
 * an `error`.
 */
int listeners_add(struct listeners *listeners, struct socket_file *file,
                  const struct socket_file_owner *owner, const char *path,
                  const struct core_identity *identity, struct listener **listener, char *error,
                  size_t error_bytes);
/* Closes it and its connections, removes its file. */
void listeners_remove(struct listener *listener);
void listeners_remove_all(struct listeners *listeners);

const char *listener_path(const struct listener *listener);
/* From now on its connections are identified by their processes. */
void listener_make_shared(struct listener *listener);
/* The listener whose socket is in this folder under this name, or NULL. */
struct listener *listeners_find(struct listeners *listeners, const struct socket_file *file);

#endif /* MEDIATOR_SESSIONS_LISTENERS_H */
