/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/args.h"
#include "common/unused.h"
#include "vgpu/vgpu_keeper.h"

#define ALONE_S_DEFAULT 60u
#define ALONE_S_MAX 86400u

/* By enum keeper_confinement. */
static const char *const confinements[] = {"auto", "always", "never", NULL};

static int take_no_cache(void *target, UNUSED const char *name, UNUSED char *value)
{
    struct keeper_options *options = target;

    options->uids.cache_path = NULL;
    return -1;
}

static const struct args_option rows[] = {
    {"socket", "PATH", "listen here for vgpu-mediator (--keeper-socket PATH)",
     ARGS_SOCKET(struct keeper_options, socket_path)},
    {"private", NULL,
     "serve the socket that is file descriptor 3, and end with it: so vgpu-mediator starts one "
     "that has none",
     ARGS_FLAG(struct keeper_options, is_private)},
    {"mediator-user", "NAME", "this user's vgpu-mediator may connect, besides root's",
     ARGS_TEXT(struct keeper_options, mediator_user)},
    {"gpu-reset-command", "PATH",
     "a program that resets the GPU whose UUID is its argument, when the mediator finds that it "
     "needs that (default: none)",
     ARGS_TEXT(struct keeper_options, reset_command)},
    {"proc", "PATH", "for tests: another folder like /proc",
     ARGS_TEXT(struct keeper_options, proc_path)},
    {"worker", "PATH", "vgpu-worker (default: beside this program)",
     ARGS_TEXT(struct keeper_options, worker_path)},
    {"uid-base", "N", "the first uid for workers (default {default})",
     ARGS_NUMBER(struct keeper_options, uids.base, 1, INT32_MAX, 1)},
    {"uid-count", "N", "how many there are, {range} (default {default})",
     ARGS_NUMBER(struct keeper_options, uids.count, 1, UIDS_COUNT_MAX, 1)},
    {"cache-dir", "PATH", "a folder of compiled kernels for each VM (default {default})",
     ARGS_TEXT(struct keeper_options, uids.cache_path)},
    {"no-cache", NULL, "no such folders", ARGS_TAKE(take_no_cache)},
    {"confine", NULL,
     "auto: as far as this process may; always: all of it or no start; never: workers run as this "
     "process does (default {default})",
     ARGS_CHOICE(struct keeper_options, confinement, confinements)},
    {"seccomp", NULL,
     "what another system call than those of the lists does, here and in workers: it ends the "
     "process; it is logged by the kernel and made; there are no lists (default {default}; in "
     "workers with CUDA it fails, EPERM)",
     ARGS_CHOICE(struct keeper_options, seccomp, sandbox_modes),
     .text = offsetof(struct keeper_options, seccomp_text)},
    {"alone-s", "N", "how long workers are kept without a mediator (default {default})",
     ARGS_NUMBER(struct keeper_options, alone_s, 0, ALONE_S_MAX, 1), .of = "seconds"},
    {"log-level", NULL, "(default {default})", ARGS_LOG_LEVEL(struct keeper_options, log_level)},
    {"log-format", NULL, "(default {default})",
     ARGS_CHOICE(struct keeper_options, log_json, args_log_formats)},
};

static const struct args_program program = {
    .name = "vgpu-keeper",
    .intro =
        "Usage: vgpu-keeper --socket PATH [OPTION]...\n"
        "       vgpu-keeper --private [OPTION]...\n"
        "\n"
        "Starts, holds and kills vgpu-mediator's workers: each under its VM's own uid, without\n"
        "capabilities and without a network.  It outlives a restart of the mediator.\n"
        "\n",
    .outro = "\n"
             "Signals: SIGTERM ends it and all workers.\n"
             "Exit status: 0 ended by a signal or, private, with its mediator; 1 failed, 2 wrong "
             "usage.\n"
             "\n"
             "Example: vgpu-keeper --socket " VGPU_KEEPER_SOCKET_PATH "\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

static int check_together(const struct keeper_options *options)
{
    if (options->is_private == (options->socket_path != NULL)) {
        fputs("vgpu-keeper: give it either --socket PATH or --private. See vgpu-keeper --help.\n",
              stderr);
        return ARGS_EXIT_USAGE;
    }
    if (options->reset_command && options->reset_command[0] != '/') {
        fprintf(stderr, "vgpu-keeper: --gpu-reset-command %s: give its whole path.\n",
                options->reset_command);
        return ARGS_EXIT_USAGE;
    }
    if (options->uids.base > INT32_MAX - options->uids.count) {
        fprintf(stderr, "vgpu-keeper: --uid-base %u and --uid-count %u go beyond 2147483647.\n",
                options->uids.base, options->uids.count);
        return ARGS_EXIT_USAGE;
    }
    return -1;
}

/* A worker's folder is /, and what it sees below that is known by whole names. */
static int make_absolute(const char *name, const char **path, char space[PATH_MAX])
{
    size_t used, length = *path ? strlen(*path) : 0;

    if (length == 0 || (*path)[0] == '/') {
        return -1;
    }
    if (!getcwd(space, PATH_MAX - 1)) {
        fprintf(stderr, "vgpu-keeper: the folder that %s %s is in has no name: %s.\n", name, *path,
                strerror(errno));
        return EXIT_FAILURE;
    }
    used = strlen(space);
    if (used + 1 + length >= PATH_MAX) {
        fprintf(stderr, "vgpu-keeper: %s %s: the path is too long.\n", name, *path);
        return EXIT_FAILURE;
    }
    space[used] = '/';
    memcpy(space + used + 1, *path, length + 1);
    *path = space;
    return -1;
}

int keeper_options_parse(int argc, char **argv, struct keeper_options *options)
{
    int status;

    *options = (struct keeper_options){
        .uids = {UIDS_BASE_DEFAULT, UIDS_COUNT_DEFAULT, UIDS_LOCK_PATH, UIDS_CACHE_PATH},
        .proc_path = "/proc",
        .alone_s = ALONE_S_DEFAULT,
        .log_level = LOG_LEVEL_INFO,
    };
    status = args_parse(&program, argc, argv, options, NULL);
    if (status < 0) {
        status = check_together(options);
    }
    if (status < 0) {
        status = make_absolute("--worker", &options->worker_path, options->worker_space);
    }
    if (status < 0) {
        status = make_absolute("--cache-dir", &options->uids.cache_path, options->cache_space);
    }
    return status;
}
