/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module keeps the loop awake for a moment after a job's step, so that the next step
 * needs no wake-up.
 *
 * Theory of operation.  A tiny job's way through the mediator is two short
 * steps: the request comes in and goes to the worker, the result comes in and
 * goes to the device.  Before each the loop sleeps in epoll_wait(), and waking
 * a thread on an idle processor takes longer than the step itself.  While steps
 * follow each other quickly, an idle handle makes epoll_wait() return at once,
 * for at most `limit_ns` after the last step.
 *
 * "Quickly" is an average of the gaps between steps, in which the latest one
 * counts for a quarter; no gap counts for more than four times the limit, so
 * that a few quick jobs after a long pause are enough.  Where the average gap
 * is longer than the limit nothing is gained by looking, and the loop sleeps.
 * So the price is bounded: at most `limit_ns` of one processor for each step,
 * and only while steps come more often than that.
 *
 * A processor that somebody else needs is no price to pay: busy_poll_default_ns()
 * is 0 where this process may not use at least BUSY_POLL_PROCESSORS_MIN of them
 * (the client, the mediator and the worker, and one to spare).
 */
#ifndef MEDIATOR_BASE_BUSY_POLL_H
#define MEDIATOR_BASE_BUSY_POLL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/ns.h"

#define BUSY_POLL_NS (50 * NS_PER_US)
#define BUSY_POLL_LIMIT_MAX_NS NS_PER_MS
#define BUSY_POLL_PROCESSORS_MIN 4

struct busy_poll {
    uint64_t limit_ns; /* 0 = never */
    uint64_t last_ns;  /* of the last step; 0 = none yet */
    uint64_t gap_ns;   /* average between steps */
    uv_idle_t idle;
    bool awake;
};

/* What this host can afford: BUSY_POLL_NS or 0. */
uint64_t busy_poll_default_ns(void);

/* No error is possible.  The loop's memory stays until busy_poll_close() has been heard of. */
void busy_poll_init(struct busy_poll *poll, uv_loop_t *loop, uint64_t limit_ns);
/* A job made a step.  Those at the same `now_ns` are one. */
void busy_poll_step(struct busy_poll *poll, uint64_t now_ns);
/* Is looking for the next step worth while at this time? */
bool busy_poll_wanted(const struct busy_poll *poll, uint64_t now_ns);
/* Before the loop sleeps: sees to it that it does, or does not. */
void busy_poll_prepare(struct busy_poll *poll, uint64_t now_ns);
void busy_poll_close(struct busy_poll *poll, uv_close_cb closed);

#endif /* MEDIATOR_BASE_BUSY_POLL_H */
