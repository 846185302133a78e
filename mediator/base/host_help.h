/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module does what needs root's rights: whose process is that, whose device model, and sockets
 * in others' roots.  Where this process has them it does it itself; else it asks the helpers that
 * vgpu-keeper starts for it (vgpu_host.h), if there are any; else it does it as far as it may.
 *
 * There are two helpers: one for the threads that look at processes, one for the loop, which makes
 * sockets.  One that does not answer for HOST_HELP_DEADLINE_S is given up.
 */
#ifndef MEDIATOR_BASE_HOST_HELP_H
#define MEDIATOR_BASE_HOST_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/process_entry.h"
#include "common/socket_file.h"
#include "common/uuid.h"

#define HOST_HELP_DEADLINE_S 20
#define HOST_HELPERS 2

/* Could helpers be of use to this process? */
bool host_help_is_wanted(void);
/*
 * Makes the ends of new helpers' sockets, which replace those that were there; theirs are the
 * caller's to hand on and to close.  -errno.
 */
int host_help_new(int theirs[HOST_HELPERS]);
void host_help_stop(void);

/* ---- any thread; they may block ---- */

void host_help_look(const char *proc_path, pid_t pid, enum process_program *program, bool *foreign);

struct host_root {
    int fd; /* the caller's; -1: a helper has it */
    dev_t device;
    ino_t inode;
};

/* 0, or -errno as of process_open_root(). */
int host_help_root(const char *proc_path, pid_t pid, uint64_t start_ticks, struct host_root *root);
/* As of xenstore.h. */
int host_help_read_domain(uint32_t domid, pid_t pid, uint8_t uuid[UUID_BYTES], char *name,
                          size_t name_bytes);
bool host_help_is_xen(void);

/* ---- the loop ---- */

/*
 * As socket_file_open_below(), in the root of a process.  *is_hosts: the path leads our own host to
 * the same folder, so that nothing is to be made there.
 */
int host_help_open(struct socket_file *file, pid_t pid, uint64_t start_ticks,
                   const struct host_root *root, const char *path, bool make_last, bool *is_hosts,
                   char *error, size_t error_bytes);

#endif /* MEDIATOR_BASE_HOST_HELP_H */
