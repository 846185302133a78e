/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module runs another program without a shell, with LC_ALL=C, for a limited time, and
 * keeps a limited amount of what it prints.
 */
#ifndef ADMIN_TOOLSTACK_RUN_PROGRAM_H
#define ADMIN_TOOLSTACK_RUN_PROGRAM_H

#include <stddef.h>

#define RUN_OUTPUT_MAX (4u * 1048576)

struct run_result {
    int status; /* exit status; 128 + N if signal N ended it */
    char *out;  /* what it printed on stdout, NUL-terminated */
    size_t out_bytes;
    char error[1024]; /* the beginning of what it printed on stderr */
};

/*
 * argv[0] is looked up in PATH.  0 if it ran to its end, whatever its status:
 * then run_result_free() is due.  -ENOENT: no such program; -ETIMEDOUT: killed
 * after timeout_ms, with its children; -E2BIG: killed, it printed more than
 * RUN_OUTPUT_MAX; other -errno.
 */
int run_program(const char *const argv[], int timeout_ms, struct run_result *result);
void run_result_free(struct run_result *result);

#endif /* ADMIN_TOOLSTACK_RUN_PROGRAM_H */
