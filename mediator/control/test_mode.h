/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module is --test-mode, as Phase 2 had it: at the start a person on a terminal is asked how
 * many requests are to wait before the first is served, and which VM is preferred.  So long all
 * GPUs are paused; then they are let go, once, and the log's [PROCESS] lines show the order.
 * `vgpu-admin test-mode` does the same on a mediator that runs; `vgpu-admin resume` ends the wait.
 */
#ifndef MEDIATOR_CONTROL_TEST_MODE_H
#define MEDIATOR_CONTROL_TEST_MODE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TEST_MODE_REQUESTS_MAX 100000u
#define TEST_MODE_REQUESTS_DEFAULT 8u

struct mediator;
struct test_mode;

struct test_mode_plan {
    uint32_t requests; /* that wait before the first is served, 1 to TEST_MODE_REQUESTS_MAX */
    uint32_t prefer;   /* a vm_id, CORE_NONE: none */
};

/* Asks until each answer makes sense; an empty one is the default.  False: `in` has ended. */
bool test_mode_ask(FILE *in, FILE *out, struct test_mode_plan *plan);

/* Pauses all GPUs, and looks until the plan is done.  NULL: no memory, or no timer. */
struct test_mode *test_mode_start(struct mediator *mediator, const struct test_mode_plan *plan);
/* NULL is nothing. */
void test_mode_stop(struct test_mode *test);
/* After the loop has run since. */
void test_mode_free(struct test_mode *test);

#endif /* MEDIATOR_CONTROL_TEST_MODE_H */
