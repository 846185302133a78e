/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module starts one process: a worker, or a probe. */
#ifndef KEEPER_CHILD_H
#define KEEPER_CHILD_H

#include <sys/resource.h>
#include <sys/types.h>

#include "keeper/confine.h"

struct child {
    const char *program;
    int program_fd; /* of the same file, for a child that can't reach its name; -1: none */
    char *const *argv;
    int fd, as_fd;                 /* this descriptor becomes that one */
    const struct confine *confine; /* NULL: it keeps our rights */
    const struct rlimit *files;    /* its limit of open files */
    vgpu_keeper_end *failure; /* shared with the child: written before it ends, if it can't run */
};

/* The pid or -errno.  Whether the program could be run is known only when the process has ended. */
pid_t child_start(const struct child *child);

/*
 * Memory for `count` failures, shared with children of later; NULL and errno.  All is zero, which
 * means that the process ran.
 */
vgpu_keeper_end *child_failures_new(unsigned count);

#endif /* KEEPER_CHILD_H */
