/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/listen_point.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle);
}

/* A watch on `fd`, or -errno. */
static int watch(const struct listen_point *point, int fd, uv_poll_t **result)
{
    uv_poll_t *poll = malloc(sizeof(*poll));
    int ret = poll ? uv_poll_init(point->loop, poll, fd) : -ENOMEM;

    if (ret < 0) {
        free(poll);
        return ret;
    }
    poll->data = point->opaque;
    if (!point->resting) {
        uv_poll_start(poll, UV_READABLE, point->on_connection);
    }
    *result = poll;
    return 0;
}

/* Makes the file, listens and watches.  An fd, or -errno with an `error`. */
static int begin(const struct listen_point *point, struct socket_file *file, uv_poll_t **poll,
                 char *error, size_t error_bytes)
{
    int fd = socket_file_listen(file, &point->owner, error, error_bytes);
    int ret;

    if (fd < 0) {
        return fd;
    }
    ret = watch(point, fd, poll);
    if (ret < 0) {
        snprintf(error, error_bytes, "watching the socket: %s", uv_strerror(ret));
        close(fd);
        return ret;
    }
    return fd;
}

static void end(struct listen_point *point)
{
    uv_poll_stop(point->poll);
    close(point->fd);
    uv_close((uv_handle_t *)point->poll, on_poll_closed);
    point->poll = NULL;
    point->fd = -1;
}

void listen_point_prepare(struct listen_point *point, uv_loop_t *loop,
                          const struct socket_file_owner *owner, uv_poll_cb on_connection,
                          void *opaque)
{
    memset(point, 0, sizeof(*point));
    point->owner = *owner;
    point->loop = loop;
    point->on_connection = on_connection;
    point->opaque = opaque;
    point->fd = -1;
    socket_file_none(&point->file);
}

int listen_point_open(struct listen_point *point, uv_loop_t *loop, struct socket_file *file,
                      const struct socket_file_owner *owner, uv_poll_cb on_connection, void *opaque,
                      char *error, size_t error_bytes)
{
    listen_point_prepare(point, loop, owner, on_connection, opaque);
    point->fd = begin(point, file, &point->poll, error, error_bytes);
    if (point->fd < 0) {
        int ret = point->fd;

        socket_file_remove(file);
        point->fd = -1;
        return ret;
    }
    point->file = *file;
    return 0;
}

void listen_point_close(struct listen_point *point)
{
    point->closed = true;
    if (point->fd < 0) {
        return;
    }
    end(point);
    socket_file_remove(&point->file);
}

void listen_point_rest(struct listen_point *point, bool rest)
{
    if (rest == point->resting || point->fd < 0) {
        return;
    }
    point->resting = rest;
    if (rest) {
        uv_poll_stop(point->poll);
    } else {
        uv_poll_start(point->poll, UV_READABLE, point->on_connection);
    }
}

bool listen_point_has_name(const struct listen_point *point)
{
    return socket_file_is_there(&point->file);
}

/* That the folder was made for this socket is remembered for its removal. */
static void inherit_folder(struct socket_file *to, struct socket_file *from)
{
    if (to->made_folder || !socket_file_same_folder(to, from)) {
        return;
    }
    to->made_folder = from->made_folder;
    to->parent_fd = from->parent_fd;
    memcpy(to->folder_name, from->folder_name, sizeof(to->folder_name));
    from->made_folder = false;
    from->parent_fd = -1;
}

int listen_point_move(struct listen_point *point, struct socket_file *file, char *error,
                      size_t error_bytes)
{
    uv_poll_t *poll;
    int fd = begin(point, file, &poll, error, error_bytes);

    if (fd < 0) {
        socket_file_remove(file);
        return fd;
    }
    if (point->fd >= 0) {
        end(point);
        inherit_folder(file, &point->file);
        socket_file_remove(&point->file);
        point->times_again++;
    }
    point->file = *file;
    point->poll = poll;
    point->fd = fd;
    return 0;
}

static bool leads_to(const char *path, const struct socket_file *file)
{
    struct stat st;

    return lstat(path, &st) == 0 && st.st_dev == file->device && st.st_ino == file->inode;
}

int listen_point_look(struct listen_point *point, const char *path, char *error, size_t error_bytes)
{
    struct socket_file file;
    int ret;

    if (point->closed || (point->fd >= 0 && leads_to(path, &point->file))) {
        return 0;
    }
    ret = socket_file_open(&file, path, true, error, error_bytes);
    if (ret == 0) {
        ret = listen_point_move(point, &file, error, error_bytes);
    }
    return ret < 0 ? ret : 1;
}

int listen_point_give(struct listen_point *point, const struct socket_file_owner *owner)
{
    int ret = socket_file_give(&point->file, point->owner.uid, owner);

    if (ret == 0) {
        point->owner = *owner;
    }
    return ret;
}
