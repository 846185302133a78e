/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module logs what each VM did in the last minute: a line for each VM that had jobs, and
 * a total.  There is no line when nobody had any.  It is for hosts that nobody watches
 * otherwise.
 */
#ifndef MEDIATOR_METRICS_STATS_LOG_H
#define MEDIATOR_METRICS_STATS_LOG_H

#include <stdint.h>
#include <uv.h>

#include "common/ns.h"

#define STATS_LOG_INTERVAL_NS (60 * NS_PER_S) /* by default */

struct core;
struct stats_log;

/* NULL when there is no memory.  `core` outlives it. */
struct stats_log *stats_log_new(uv_loop_t *loop, const struct core *core);
/* Every interval_ns from now on; 0: never.  -errno of libuv. */
int stats_log_start(struct stats_log *log, uint64_t interval_ns);
void stats_log_stop(struct stats_log *log);
/* After the loop has run since. */
void stats_log_free(struct stats_log *log);

#endif /* MEDIATOR_METRICS_STATS_LOG_H */
