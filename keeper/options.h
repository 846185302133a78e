/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module reads the command line of vgpu-keeper. */
#ifndef KEEPER_OPTIONS_H
#define KEEPER_OPTIONS_H

#include <limits.h>
#include <stdbool.h>

#include "common/log.h"
#include "common/sandbox.h"
#include "keeper/uids.h"

enum keeper_confinement {
    KEEPER_CONFINE_AUTO,   /* as far as we may */
    KEEPER_CONFINE_ALWAYS, /* all of it, or we don't start */
    KEEPER_CONFINE_NEVER,  /* workers run as we do: for comparisons */
};

struct keeper_options {
    bool is_private;
    const char *socket_path;   /* NULL: private, the mediator's socket is VGPU_KEEPER_FD */
    const char *mediator_user; /* who may connect besides root; NULL: who we are */
    const char *reset_command; /* resets a GPU; NULL: there is none */
    const char *proc_path;
    const char *worker_path; /* absolute; NULL: beside our own executable */
    struct uids_config uids;
    enum keeper_confinement confinement;
    uint32_t seccomp;         /* enum sandbox_mode */
    const char *seccomp_text; /* NULL: not given */
    uint32_t alone_s;         /* how long workers are kept without a mediator */
    enum log_level log_level;
    bool log_json;
    char worker_space[PATH_MAX], cache_space[PATH_MAX]; /* paths that were not absolute */
};

/* The exit status when the program has nothing more to do, or -1: go on. */
int keeper_options_parse(int argc, char **argv, struct keeper_options *options);

#endif /* KEEPER_OPTIONS_H */
