/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of modules with a loop share these functions: they wait for conditions, and leave
 * nothing behind.
 */
#ifndef MEDIATOR_TEST_LOOP_H
#define MEDIATOR_TEST_LOOP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>

#include "common/unused.h"

/* A condition that never comes true ends the test program. */
#define TEST_LOOP_PATIENCE_S 60u

/* Runs the loop until `condition`, which is looked at after each turn. */
#define run_until(loop, condition)                                                                 \
    do {                                                                                           \
        alarm(TEST_LOOP_PATIENCE_S);                                                               \
        while (!(condition)) {                                                                     \
            uv_run(loop, UV_RUN_ONCE);                                                             \
        }                                                                                          \
        alarm(0);                                                                                  \
    } while (0)

/* Takes what is there already. */
static inline void run_ready(uv_loop_t *loop)
{
    for (int turn = 0; turn < 8; turn++) {
        uv_run(loop, UV_RUN_NOWAIT);
    }
}

/* Everything on it is closed: callbacks of that run, and nothing is left. */
static inline void end_loop(uv_loop_t *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
}

#endif /* MEDIATOR_TEST_LOOP_H */
