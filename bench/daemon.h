/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module starts a vgpu-mediator for one program.  It has a new folder under $TMPDIR, the
 * CPU backend, test operations, and believes claims.  Everything that fails here is said on
 * stderr and ends the program with status 1; the mediator never outlives it.
 */
#ifndef BENCH_DAEMON_H
#define BENCH_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

#define DAEMON_PATH_BYTES 96u
#define DAEMON_ARGS_MAX 16u

struct daemon {
    char folder[DAEMON_PATH_BYTES - 32];
    char socket[DAEMON_PATH_BYTES];
    char admin_socket[DAEMON_PATH_BYTES];
    char db[DAEMON_PATH_BYTES];
    char log[DAEMON_PATH_BYTES];
    pid_t pid; /* 0 = not started */
};

/* Makes the folder and the names in it. */
void daemon_prepare(struct daemon *daemon);

/*
 * Runs a program of the build (name without folder) to its end; what it prints
 * goes to the log.  `args` ends with NULL.  A status other than 0 is fatal.
 */
void daemon_run(const struct daemon *daemon, const char *program, const char *const *args);

/*
 * Starts a worker (CPU backend) without a mediator, and returns the mediator's
 * end of its socket; *pid is the caller's to wait for.  READY has not come yet.
 */
int daemon_start_worker(const struct daemon *daemon, pid_t *pid);

/*
 * Starts the mediator with `extra` arguments (ends with NULL, may be NULL) and
 * waits until it takes connections.  with_db: it reads daemon->db, which exists;
 * otherwise --no-db.
 */
void daemon_start(struct daemon *daemon, bool with_db, const char *const *extra);
/* A worker that it has started; there is one. */
pid_t daemon_find_worker(const struct daemon *daemon);
void daemon_stop(struct daemon *daemon);
/* Stops it, too, and removes the folder. */
void daemon_remove(struct daemon *daemon);

#endif /* BENCH_DAEMON_H */
