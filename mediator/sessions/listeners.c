/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/sessions/listeners.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/unused.h"
#include "mediator/base/listen_point.h"
#include "mediator/events.h"
#include "mediator/identity/identity.h"
#include "mediator/sessions/session_io.h"

struct listener {
    struct listen_point point; /* it rests while too many are being identified */
    struct listeners *listeners;
    LIST_ENTRY(listener) link;
    char *path;
    bool of_host; /* `path` leads to it: it is looked after here */
    bool shared;
    struct core_identity identity;    /* unless shared */
    char trouble[SOCKET_ERROR_BYTES]; /* why it is not there, "": it is */
};

/* A connection whose process is being looked at. */
struct pending {
    struct listeners *listeners;
    struct listener *listener; /* NULL: that has gone meanwhile */
    LIST_ENTRY(pending) link;
    struct session_peer peer;
    int fd;
};

struct listeners {
    struct listeners_uses uses;
    LIST_HEAD(, listener) all;
    uint32_t count;
    LIST_HEAD(, pending) pending;
    uint32_t pending_count;
    int spare_fd; /* given up for a moment to refuse a connection when there are no more */
};

struct listeners *listeners_new(const struct listeners_uses *uses)
{
    struct listeners *listeners = calloc(1, sizeof(*listeners));

    if (listeners) {
        listeners->uses = *uses;
        listeners->spare_fd = socket_spare();
    }
    return listeners;
}

void listeners_free(struct listeners *listeners)
{
    if (!listeners) {
        return;
    }
    assert(LIST_EMPTY(&listeners->all));
    close(listeners->spare_fd);
    free(listeners);
}

const char *listener_path(const struct listener *listener)
{
    return listener->path;
}

bool listener_is_shared(const struct listener *listener)
{
    return listener->shared;
}

void listener_make_shared(struct listener *listener)
{
    listener->shared = true;
}

/* ---- accepting ---- */

static void unlink_pending(struct pending *pending)
{
    struct listeners *listeners = pending->listeners;

    LIST_REMOVE(pending, link);
    listeners->pending_count--;
}

static void refuse(struct listeners *listeners, const struct session_peer *peer,
                   enum identity_result result)
{
    struct events *events = listeners->uses.events;

    switch (result) {
    case IDENTITY_NOT_QEMU:
        events_session_note(events, peer->pid,
                            "connection refused: it is no QEMU with a vgpu-stub device, by its "
                            "program and its command line; a VM whose QEMU has another name needs "
                            "a socket of its own (--vm UUID=PATH); in a laboratory, "
                            "--trust-claims believes any peer");
        break;
    case IDENTITY_FOREIGN:
        events_session_note(events, peer->pid,
                            "connection refused: it runs in a container or a user namespace, where "
                            "its command line may be made up; give that VM a socket of its own "
                            "(--vm UUID=PATH) and that to the container");
        break;
    case IDENTITY_NO_VM:
        events_session_note(events, peer->pid,
                            "connection refused: its QEMU command line has neither -uuid nor "
                            "vm_id=N on its vgpu-stub, so nobody knows which VM it is");
        break;
    case IDENTITY_BUSY:
        events_session_note(events, peer->pid, "connection refused: out of memory");
        break;
    default: break; /* it has gone: nobody is there to refuse */
    }
}

static void wake_resting(struct listeners *listeners)
{
    struct listener *listener;

    if (listeners->pending_count > LISTENER_PENDING_MAX / 2) {
        return;
    }
    LIST_FOREACH (listener, &listeners->all, link) {
        listen_point_rest(&listener->point, false);
    }
}

static void on_identified(void *opaque, enum identity_result result,
                          const struct core_identity *identity)
{
    struct pending *pending = opaque;
    struct listeners *listeners = pending->listeners;
    struct core_identity claim = {.kind = CORE_IDENTITY_CLAIM};

    unlink_pending(pending);
    wake_resting(listeners);
    if (listeners->uses.trust_claims &&
        (result == IDENTITY_NOT_QEMU || result == IDENTITY_FOREIGN || result == IDENTITY_NO_VM)) {
        identity = &claim;
        result = IDENTITY_OK;
    }
    if (result != IDENTITY_OK || !pending->listener) {
        refuse(listeners, &pending->peer, result);
        close(pending->fd);
    } else {
        session_io_accept(listeners->uses.sessions, pending->listener, pending->listener->path,
                          pending->fd, &pending->peer, identity);
    }
    free(pending);
}

static void identify(struct listener *listener, int fd, const struct session_peer *peer)
{
    struct listeners *listeners = listener->listeners;
    struct pending *pending;

    pending = calloc(1, sizeof(*pending));
    if (!pending) {
        close(fd);
        return;
    }
    pending->listeners = listeners;
    pending->listener = listener;
    pending->peer = *peer;
    pending->fd = fd;
    LIST_INSERT_HEAD(&listeners->pending, pending, link);
    listeners->pending_count++;
    identity_find(listeners->uses.identities, fd, peer->pid, on_identified, pending);
}

static void take_connection(struct listener *listener, int fd)
{
    struct session_io *sessions = listener->listeners->uses.sessions;
    struct session_peer peer = {0};
    struct ucred credentials;
    socklen_t length = sizeof(credentials);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
        peer.pid = credentials.pid;
        peer.uid = credentials.uid;
    }
    if (!session_io_admit(sessions, listener, &peer)) {
        close(fd);
    } else if (listener->shared) {
        identify(listener, fd, &peer);
    } else {
        session_io_accept(sessions, listener, listener->path, fd, &peer, &listener->identity);
    }
}

/* No descriptor is left: take the connection with the spare one, to refuse it. */
static void refuse_one(struct listener *listener)
{
    struct listeners *listeners = listener->listeners;

    events_session_note(listeners->uses.events, 0,
                        "out of file descriptors: connection refused; raise the limit "
                        "(LimitNOFILE= in the unit)");
    close(socket_spare_accept(listeners->spare_fd, listener->point.fd));
    listeners->spare_fd = socket_spare();
}

static void on_connection(uv_poll_t *poll, int status, UNUSED int events)
{
    struct listener *listener = poll->data;
    int fd;

    if (status < 0 || listener->point.fd < 0) {
        return;
    }
    for (unsigned i = 0; i < LISTENER_ACCEPTS_MAX; i++) {
        if (listener->shared && listener->listeners->pending_count >= LISTENER_PENDING_MAX) {
            listen_point_rest(&listener->point, true);
            return;
        }
        fd = accept4(listener->point.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
            refuse_one(listener);
            continue;
        }
        if (fd < 0) {
            return;
        }
        take_connection(listener, fd);
    }
}

/* ---- coming and going ---- */

static struct listener *new_listener(struct listeners *listeners, const char *path,
                                     const struct core_identity *identity)
{
    struct listener *listener = calloc(1, sizeof(*listener));

    if (!listener || !(listener->path = strdup(path))) {
        free(listener);
        return NULL;
    }
    listener->listeners = listeners;
    listener->shared = !identity;
    if (identity) {
        listener->identity = *identity;
    }
    return listener;
}

static void free_listener(struct listener *listener)
{
    free(listener->path);
    free(listener);
}

int listeners_add(struct listeners *listeners, struct socket_file *file,
                  const struct socket_file_owner *owner, const char *path, bool of_host,
                  const struct core_identity *identity, struct listener **result, char *error,
                  size_t error_bytes)
{
    struct listener *listener = NULL;
    int ret = -ENOSPC;

    if (listeners->count >= LISTENERS_MAX) {
        snprintf(error, error_bytes, "there are %u sockets already", LISTENERS_MAX);
    } else if (!(listener = new_listener(listeners, path, identity))) {
        snprintf(error, error_bytes, "out of memory");
        ret = -ENOMEM;
    }
    if (!listener) {
        socket_file_remove(file);
        return ret;
    }
    ret = listen_point_open(&listener->point, listeners->uses.loop, file, owner, on_connection,
                            listener, error, error_bytes);
    if (ret < 0) {
        free_listener(listener);
        return ret;
    }
    listener->of_host = of_host;
    LIST_INSERT_HEAD(&listeners->all, listener, link);
    listeners->count++;
    if (result) {
        *result = listener;
    }
    return 0;
}

int listeners_add_later(struct listeners *listeners, const struct socket_file_owner *owner,
                        const char *path, const char *trouble)
{
    struct listener *listener = new_listener(listeners, path, NULL);

    if (!listener) {
        return -ENOMEM;
    }
    listen_point_prepare(&listener->point, listeners->uses.loop, owner, on_connection, listener);
    snprintf(listener->trouble, sizeof(listener->trouble), "%s", trouble);
    listener->of_host = true;
    LIST_INSERT_HEAD(&listeners->all, listener, link);
    listeners->count++;
    return 0;
}

void listeners_remove(struct listener *listener)
{
    struct listeners *listeners = listener->listeners;
    struct pending *pending;

    session_io_listener_gone(listeners->uses.sessions, listener);
    LIST_FOREACH (pending, &listeners->pending, link) {
        if (pending->listener == listener) {
            pending->listener = NULL;
        }
    }
    LIST_REMOVE(listener, link);
    listeners->count--;
    listen_point_close(&listener->point);
    free_listener(listener);
}

void listeners_remove_all(struct listeners *listeners)
{
    while (!LIST_EMPTY(&listeners->all)) {
        listeners_remove(LIST_FIRST(&listeners->all));
    }
}

struct listener *listeners_find(struct listeners *listeners, const struct socket_file *file)
{
    struct listener *listener;

    LIST_FOREACH (listener, &listeners->all, link) {
        if (strcmp(listener->point.file.name, file->name) == 0 &&
            socket_file_same_folder(&listener->point.file, file)) {
            return listener;
        }
    }
    return NULL;
}

/* Is the listener, as it is now, one that would have made this identity? */
static bool still_knows(const struct listener *listener, const struct core_identity *identity)
{
    const struct core_identity *own = &listener->identity;

    if (listener->shared) {
        return identity->kind != CORE_IDENTITY_CLAIM || listener->listeners->uses.trust_claims;
    }
    return own->kind == identity->kind &&
           memcmp(own->uuid, identity->uuid, sizeof(own->uuid)) == 0 &&
           own->vm_id_count == identity->vm_id_count &&
           memcmp(own->vm_ids, identity->vm_ids, own->vm_id_count * sizeof(own->vm_ids[0])) == 0;
}

int listeners_readmit(struct listeners *listeners, const char *path,
                      const struct core_identity *identity, struct listener **result)
{
    struct listener *listener;

    LIST_FOREACH (listener, &listeners->all, link) {
        if (strcmp(listener->path, path) == 0) {
            *result = listener;
            return still_knows(listener, identity) ? 0 : -EPERM;
        }
    }
    return -ENOENT;
}

/* ---- may they be opened? ---- */

static bool is_qemu_user(const struct listeners *listeners, uid_t uid)
{
    for (uint32_t i = 0; i < listeners->uses.qemu_user_count; i++) {
        if (listeners->uses.qemu_users[i] == uid) {
            return true;
        }
    }
    return false;
}

bool listener_give(struct listener *listener, const struct core_identity *to,
                   const struct process_owner *owner)
{
    struct socket_file_owner given = listener->point.owner;

    given.uid = owner->uid;
    return listener->of_host && !listener->shared && to->kind == CORE_IDENTITY_UUID &&
           memcmp(listener->identity.uuid, to->uuid, CORE_UUID_BYTES) == 0 &&
           is_qemu_user(listener->listeners, owner->uid) &&
           listen_point_give(&listener->point, &given) == 0;
}

/* ---- are they still there? ---- */

/* Whoever removes it again and again makes few lines. */
static void tell_again(const struct listener *listener)
{
    uint32_t times = listener->point.times_again;

    if (times == 0) {
        log_notice("listening on %s now", listener->path);
    } else if ((times & (times - 1)) == 0) {
        log_warning("socket %s was removed, and is made again (%" PRIu32 ". time); devices find it "
                    "by themselves. Keep what cleans that folder from it",
                    listener->path, times);
    }
}

void listeners_look(struct listeners *listeners)
{
    struct listener *listener;

    LIST_FOREACH (listener, &listeners->all, link) {
        int ret;

        if (!listener->of_host) {
            continue;
        }
        ret = listen_point_look(&listener->point, listener->path, listener->trouble,
                                sizeof(listener->trouble));
        if (ret >= 0) {
            listener->trouble[0] = '\0';
        }
        if (ret > 0) {
            tell_again(listener);
        }
    }
}

void listeners_troubles(const struct listeners *listeners, listeners_trouble visit, void *opaque)
{
    const struct listener *listener;

    LIST_FOREACH (listener, &listeners->all, link) {
        if (listener->trouble[0]) {
            visit(opaque, listener->path, listener->trouble);
        }
    }
}

bool listener_has_name(const struct listener *listener)
{
    return listen_point_has_name(&listener->point);
}

int listener_move(struct listener *listener, struct socket_file *file, char *error,
                  size_t error_bytes)
{
    int ret = listen_point_move(&listener->point, file, error, error_bytes);

    if (ret == 0) {
        tell_again(listener);
    }
    return ret;
}
