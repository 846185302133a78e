/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module reads the command line of the worker. */
#ifndef WORKER_OPTIONS_H
#define WORKER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/log.h"
#include "common/sandbox.h"
#include "worker/backend.h"

struct worker_options {
    const struct backend_ops *ops; /* NULL: auto, with --probe only */
    struct backend_config backend; /* strings point into argv */
    uint32_t vm_id;
    bool has_vm_id;
    bool has_driver; /* of CUDA, for guests' programs */
    enum sandbox_mode seccomp;
    bool test_ops;
    bool probe;
    bool compile; /* kernels, to standard output */
    enum log_level log_level;
};

/*
 * Fills *options.  Returns -1 to go on, or the status to exit with: after
 * --help and --version, or after saying on stderr what is wrong.
 */
int options_parse(int argc, char **argv, struct worker_options *options);

#endif /* WORKER_OPTIONS_H */
