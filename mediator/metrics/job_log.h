/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module logs each step of each job, at debug, as Phase 2 did: [ENQUEUE] when it was
 * accepted, [PROCESS] when it was handed out, [RESPONSE] when it ended.
 */
#ifndef MEDIATOR_METRICS_JOB_LOG_H
#define MEDIATOR_METRICS_JOB_LOG_H

struct core;
struct core_job_step;

/* The core's effect.  Nothing unless the log's level is debug. */
void job_log_step(const struct core *core, const struct core_job_step *step);

#endif /* MEDIATOR_METRICS_JOB_LOG_H */
