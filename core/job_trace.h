/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The trace keeps the latest jobs of each VM, step by step: when a job was accepted, when it
 * was dispatched and why, when it ended and how.  vgpu-admin trace-job shows it.
 *
 * Fixed memory: JOB_TRACE_PER_VM records for each VM slot that ever had a
 * session, made when the VM connects, never on a job's way.  A VM can only push
 * out its own jobs, and since it can't have more than CORE_VM_JOBS_MAX of them
 * unanswered, a job that was not answered yet is always there.  A record
 * outlives its VM until the slot's next VM has had as many jobs.
 */
#ifndef CORE_JOB_TRACE_H
#define CORE_JOB_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"

#define JOB_TRACE_PER_VM 256u
#define JOB_TRACE_LIST_MAX 256u /* jobs in one answer */

enum job_trace_state {
    JOB_TRACE_QUEUED,
    JOB_TRACE_RUNNING,
    JOB_TRACE_DONE,    /* answered, whatever the status */
    JOB_TRACE_DROPPED, /* its session went away */
};

struct job_record {
    uint64_t job_id; /* 0 = none */
    uint64_t serial;
    uint64_t accepted_ns;
    uint64_t dispatched_ns; /* 0 = not yet, or never; so below */
    uint64_t started_ns;    /* by the worker */
    uint64_t finished_ns;
    uint64_t ended_ns;
    uint64_t gpu_time_ns;
    int64_t lag_ns; /* of its VM when it was chosen */
    float urgency;
    uint32_t vm_id;
    uint32_t session;
    uint32_t request_id;
    uint32_t opcode;
    uint16_t queue_depth; /* jobs of its VM that waited before it */
    uint16_t waiting_vms;
    uint16_t eligible_vms;
    uint8_t gpu;
    uint8_t state;  /* enum job_trace_state */
    uint8_t reason; /* enum wfq_reason */
    uint8_t status; /* enum vgpu_error */
    bool worker_ready;
};

struct job_trace;

/* NULL when there is no memory. */
struct job_trace *job_trace_new(void);
void job_trace_free(struct job_trace *trace);

/* A VM connected.  Without memory its jobs are not kept. */
void job_trace_add_vm(struct job_trace *trace, uint32_t vm);
/* The core's effect.  Constant time, no allocation. */
void job_trace_step(struct job_trace *trace, const struct core_job_step *step);

struct job_trace_query {
    uint32_t vm_id;      /* CORE_NONE: any */
    uint32_t request_id; /* CORE_NONE: any */
};

/* NULL: not kept any more, or there never was one. */
const struct job_record *job_trace_find(const struct job_trace *trace, uint64_t job_id);
/* The latest jobs that match, at most `max`, the latest first; returns how many. */
uint32_t job_trace_recent(const struct job_trace *trace, const struct job_trace_query *query,
                          const struct job_record **out, uint32_t max);
/* The highest id so far. */
uint64_t job_trace_latest_id(const struct job_trace *trace);

#endif /* CORE_JOB_TRACE_H */
