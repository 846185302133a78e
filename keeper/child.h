/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module starts one process: a worker, or a probe. */
#ifndef KEEPER_CHILD_H
#define KEEPER_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "keeper/confine.h"

/* A driver opens some dozens of files for each context. */
#define CHILD_FILES_MAX 4096u
/* Of all processes and threads of one uid: a VM's, then.  A CUDA context has about ten. */
#define CHILD_TASKS_MAX 1024u
#define CHILD_LOCKED_BYTES (64u << 10)

struct child {
    const char *program;
    int program_fd; /* of the same file, for a child that can't reach its name; -1: none */
    char *const *argv;
    int fd, as_fd;                 /* this descriptor becomes that one */
    int kernels_fd;                /* becomes VGPU_WORKER_KERNELS_FD; -1: none */
    int log_fd;                    /* its stderr, and then stdout is /dev/null; -1: both are ours */
    const struct confine *confine; /* NULL: it keeps our rights */
    bool pins;                     /* it may lock memory as far as we may */
    vgpu_keeper_end *failure; /* shared with the child: written before it ends, if it can't run */
};

/* The pid or -errno.  Whether the program could be run is known only when the process has ended. */
pid_t child_start(const struct child *child);

/*
 * Memory for `count` failures, shared with children of later; NULL and errno.  All is zero, which
 * means that the process ran.
 */
vgpu_keeper_end *child_failures_new(unsigned count);

/*
 * For a child that goes on as this program: workers' sockets must end when the keeper closes them,
 * so no copy of them may stay open.  `keep` stays, and what is below 3.
 */
void child_close_others(int keep);

#endif /* KEEPER_CHILD_H */
