/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/sessions/listeners.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/unused.h"
#include "mediator/events.h"
#include "mediator/identity/identity.h"
#include "mediator/sessions/session_io.h"

struct listener {
    uv_poll_t poll;
    struct listeners *listeners;
    LIST_ENTRY(listener) link;
    int fd;
    char *path;
    struct socket_file file;
    bool shared;
    struct core_identity identity; /* unless shared */
    bool resting; /* too many are being identified: the next ones wait in the kernel */
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
                            "connection refused: it is no QEMU with a vgpu-stub device; "
                            "in a laboratory, --trust-claims believes any peer");
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

static void on_connection(uv_poll_t *poll, int status, int events);

static void wake_resting(struct listeners *listeners)
{
    struct listener *listener;

    if (listeners->pending_count > LISTENER_PENDING_MAX / 2) {
        return;
    }
    LIST_FOREACH (listener, &listeners->all, link) {
        if (listener->resting) {
            listener->resting = false;
            uv_poll_start(&listener->poll, UV_READABLE, on_connection);
        }
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
    if (listeners->uses.trust_claims && (result == IDENTITY_NOT_QEMU || result == IDENTITY_NO_VM)) {
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
    close(socket_spare_accept(listeners->spare_fd, listener->fd));
    listeners->spare_fd = socket_spare();
}

static void on_connection(uv_poll_t *poll, int status, UNUSED int events)
{
    struct listener *listener = poll->data;
    int fd;

    if (status < 0 || listener->fd < 0) {
        return;
    }
    for (unsigned i = 0; i < LISTENER_ACCEPTS_MAX; i++) {
        if (listener->shared && listener->listeners->pending_count >= LISTENER_PENDING_MAX) {
            listener->resting = true;
            uv_poll_stop(poll);
            return;
        }
        fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
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

static void on_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;

    free(listener->path);
    free(listener);
}

int listeners_add(struct listeners *listeners, struct socket_file *file,
                  const struct socket_file_owner *owner, const char *path,
                  const struct core_identity *identity, struct listener **result, char *error,
                  size_t error_bytes)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int fd, ret = -ENOMEM;

    snprintf(error, error_bytes, "out of memory");
    if (!listener || !(listener->path = strdup(path))) {
        goto fail;
    }
    if (listeners->count >= LISTENERS_MAX) {
        snprintf(error, error_bytes, "there are %u sockets already", LISTENERS_MAX);
        ret = -ENOSPC;
        goto fail;
    }
    fd = socket_file_listen(file, owner, error, error_bytes);
    if (fd < 0) {
        ret = fd;
        goto fail;
    }
    ret = uv_poll_init(listeners->uses.loop, &listener->poll, fd);
    if (ret < 0) {
        snprintf(error, error_bytes, "watching the socket: %s", uv_strerror(ret));
        close(fd);
        goto fail;
    }
    listener->poll.data = listener;
    listener->listeners = listeners;
    listener->fd = fd;
    listener->file = *file;
    listener->shared = !identity;
    if (identity) {
        listener->identity = *identity;
    }
    LIST_INSERT_HEAD(&listeners->all, listener, link);
    listeners->count++;
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    if (result) {
        *result = listener;
    }
    return 0;

fail:
    if (listener) {
        free(listener->path);
        free(listener);
    }
    socket_file_remove(file);
    return ret;
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
    uv_poll_stop(&listener->poll);
    close(listener->fd);
    listener->fd = -1;
    socket_file_remove(&listener->file);
    uv_close((uv_handle_t *)&listener->poll, on_closed);
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
    struct stat want, have;

    if (fstat(file->folder_fd, &want) < 0) {
        return NULL;
    }
    LIST_FOREACH (listener, &listeners->all, link) {
        if (strcmp(listener->file.name, file->name) == 0 &&
            fstat(listener->file.folder_fd, &have) == 0 && have.st_dev == want.st_dev &&
            have.st_ino == want.st_ino) {
            return listener;
        }
    }
    return NULL;
}
