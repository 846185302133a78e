/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A launcher is a process that starts programs for this one.  It is made before the list of system
 * calls begins (sandbox.h), which what this process starts itself would be under, too; and it can
 * start nothing but what it was made with.
 */
#ifndef COMMON_LAUNCHER_H
#define COMMON_LAUNCHER_H

#include <stdbool.h>

#include "vgpu/vgpu_keeper.h"

struct launcher_program {
    char *const *argv;  /* argv[0] is its path; NULL behind the last */
    bool argument;      /* one more comes with each start */
    int as_fd;          /* what the first descriptor becomes; STDOUT_FILENO: standard error, too */
    bool ends_with_us;  /* killed when this process ends */
    unsigned timeout_s; /* then it and what it has started is killed: ETIMEDOUT; 0: never */
};

/* Of a start: the argument's bytes with the NUL, and its descriptors. */
#define LAUNCHER_ARGUMENT_BYTES 64u
#define LAUNCHER_FDS_PROGRAM 0 /* becomes as_fd */
#define LAUNCHER_FDS_END 1     /* gets one vgpu_keeper_end when the program has ended */
#define LAUNCHER_FDS 2

/*
 * Call it while there is one thread.  The programs must stay as they are until then only.  A
 * descriptor for launcher_ask(), with whose end the launcher ends; or -errno.
 */
int launcher_start(const struct launcher_program *programs, unsigned count);

/*
 * Starts the program with this index.  `argument` NULL: none.  The descriptors stay the caller's.
 * 0, also when the program can't be run: its end says that.  -errno: there is no launcher.
 */
int launcher_ask(int launcher, unsigned program, const char *argument, const int fds[LAUNCHER_FDS]);

#endif /* COMMON_LAUNCHER_H */
