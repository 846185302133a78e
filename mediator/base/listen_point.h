/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A listen point is a socket that is listened on: its file, its descriptor, and the loop's
 * watch on it.  Somebody may remove the file (rm, a cleaner of /tmp); nobody can connect then,
 * although the descriptor still listens.  So its owner looks now and then whether the file is
 * there, and has it made again.
 */
#ifndef MEDIATOR_BASE_LISTEN_POINT_H
#define MEDIATOR_BASE_LISTEN_POINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/socket_file.h"

struct listen_point {
    struct socket_file file;
    struct socket_file_owner owner;
    int fd;               /* -1: closed */
    uint32_t times_again; /* that the file was made again */

    /* its own */
    uv_loop_t *loop;
    uv_poll_t *poll; /* on the heap: it closes later than it is replaced */
    uv_poll_cb on_connection;
    void *opaque;
    bool resting;
    bool closed; /* for good */
};

/*
 * Listens on `file`, which it owns from now on, also when it fails.  on_connection() is called
 * with poll->data == opaque.  0, or -errno and an `error`; then nothing is open.
 */
int listen_point_open(struct listen_point *point, uv_loop_t *loop, struct socket_file *file,
                      const struct socket_file_owner *owner, uv_poll_cb on_connection, void *opaque,
                      char *error, size_t error_bytes);
/*
 * For a socket that can't be made yet: nothing is open, listen_point_look() tries.  The rest is as
 * with listen_point_open().
 */
void listen_point_prepare(struct listen_point *point, uv_loop_t *loop,
                          const struct socket_file_owner *owner, uv_poll_cb on_connection,
                          void *opaque);
/* Removes the file.  After that the loop must run once more. */
void listen_point_close(struct listen_point *point);

/* While it rests, connections wait in the kernel. */
void listen_point_rest(struct listen_point *point, bool rest);

/* Has its file a name in its folder, and that folder one? */
bool listen_point_has_name(const struct listen_point *point);
/*
 * Listens on `file` instead, which it owns from now on, also when it fails: then it is as it was.
 * Connections stay.  -errno with an `error`.
 */
int listen_point_move(struct listen_point *point, struct socket_file *file, char *error,
                      size_t error_bytes);
/*
 * For a path of our own host: does it still lead to our file?  0: it does.  1: it did not, or there
 * was none yet, and the file was made, its last folder too.  -errno with an `error`: it does not,
 * and that failed.
 */
int listen_point_look(struct listen_point *point, const char *path, char *error,
                      size_t error_bytes);

/* Gives the file to another owner, as of now and whenever it is made again.  -errno. */
int listen_point_give(struct listen_point *point, const struct socket_file_owner *owner);

#endif /* MEDIATOR_BASE_LISTEN_POINT_H */
