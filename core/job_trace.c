/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/job_trace.h"

#include <stdlib.h>

_Static_assert(JOB_TRACE_PER_VM >= CORE_VM_JOBS_MAX, "a waiting job may not be pushed out");
_Static_assert((JOB_TRACE_PER_VM & (JOB_TRACE_PER_VM - 1)) == 0, "it wraps by a mask");

struct ring {
    struct job_record *records; /* the job with serial n is at n % JOB_TRACE_PER_VM */
    uint64_t latest;            /* serial, 0 = none */
};

struct job_trace {
    uint64_t latest_id;
    struct ring rings[CORE_VMS_MAX];
};

struct job_trace *job_trace_new(void)
{
    return calloc(1, sizeof(struct job_trace));
}

void job_trace_free(struct job_trace *trace)
{
    for (uint32_t vm = 0; trace && vm < CORE_VMS_MAX; vm++) {
        free(trace->rings[vm].records);
    }
    free(trace);
}

void job_trace_add_vm(struct job_trace *trace, uint32_t vm)
{
    if (vm < CORE_VMS_MAX && !trace->rings[vm].records) {
        trace->rings[vm].records = calloc(JOB_TRACE_PER_VM, sizeof(struct job_record));
    }
}

static struct job_record *record_at(const struct ring *ring, uint64_t serial)
{
    return &ring->records[serial % JOB_TRACE_PER_VM];
}

static void accepted(struct job_trace *trace, struct ring *ring, const struct core_job_step *step)
{
    trace->latest_id = step->job_id;
    ring->latest = step->serial;
    *record_at(ring, step->serial) = (struct job_record){
        .job_id = step->job_id,
        .serial = step->serial,
        .accepted_ns = step->now_ns,
        .vm_id = step->vm_id,
        .session = step->session,
        .request_id = step->request_id,
        .opcode = step->opcode,
        .queue_depth = (uint16_t)step->queue_depth,
        .gpu = (uint8_t)step->gpu,
        .worker_ready = step->worker_ready,
        .state = JOB_TRACE_QUEUED,
    };
}

static void dispatched(struct job_record *record, const struct core_job_step *step)
{
    const struct wfq_dispatch *decision = step->decision;

    record->state = JOB_TRACE_RUNNING;
    record->dispatched_ns = step->now_ns;
    record->gpu = (uint8_t)step->gpu;
    record->reason = (uint8_t)decision->reason;
    record->urgency = (float)decision->urgency;
    record->lag_ns = decision->lag_ns;
    record->waiting_vms = (uint16_t)decision->waiting_vms;
    record->eligible_vms = (uint16_t)decision->eligible_vms;
}

static void ended(struct job_record *record, const struct core_job_step *step)
{
    record->state = step->answered ? JOB_TRACE_DONE : JOB_TRACE_DROPPED;
    record->status = (uint8_t)step->status;
    record->ended_ns = step->now_ns;
    record->gpu_time_ns = step->gpu_time_ns;
    if (step->done) {
        record->started_ns = step->done->started_ns;
        record->finished_ns = step->done->finished_ns;
    }
}

void job_trace_step(struct job_trace *trace, const struct core_job_step *step)
{
    struct ring *ring = &trace->rings[step->vm];
    struct job_record *record;

    if (!ring->records) {
        return;
    }
    if (step->kind == CORE_JOB_ACCEPTED) {
        accepted(trace, ring, step);
        return;
    }
    record = record_at(ring, step->serial);
    if (record->job_id != step->job_id) {
        return; /* it was accepted while there was no memory for the ring */
    }
    if (step->kind == CORE_JOB_DISPATCHED) {
        dispatched(record, step);
    } else {
        ended(record, step);
    }
}

/* ---- looking ---- */

uint64_t job_trace_latest_id(const struct job_trace *trace)
{
    return trace->latest_id;
}

/*
 * The n-th latest record of a ring, n from 0, or NULL.  When the slot has a new
 * VM its serials begin at 1 again, so "before the first" is the old VM's jobs.
 */
static const struct job_record *nth_latest(const struct ring *ring, uint32_t n)
{
    const struct job_record *record;

    if (!ring->records || n >= JOB_TRACE_PER_VM) {
        return NULL;
    }
    record = record_at(ring, ring->latest - n);
    return record->job_id ? record : NULL;
}

const struct job_record *job_trace_find(const struct job_trace *trace, uint64_t job_id)
{
    for (uint32_t vm = 0; job_id && vm < CORE_VMS_MAX; vm++) {
        const struct ring *ring = &trace->rings[vm];

        for (uint32_t i = 0; ring->records && i < JOB_TRACE_PER_VM; i++) {
            if (ring->records[i].job_id == job_id) {
                return &ring->records[i];
            }
        }
    }
    return NULL;
}

static bool matches(const struct job_record *record, const struct job_trace_query *query)
{
    return (query->vm_id == CORE_NONE || record->vm_id == query->vm_id) &&
           (query->request_id == CORE_NONE || record->request_id == query->request_id);
}

/* Keeps out[] sorted, the latest first; false when there is no place for it. */
static bool insert(const struct job_record **out, uint32_t *count, uint32_t max,
                   const struct job_record *record)
{
    uint32_t at = *count;

    if (at == max && (max == 0 || out[max - 1]->job_id > record->job_id)) {
        return false;
    }
    if (at == max) {
        at--;
    } else {
        (*count)++;
    }
    for (; at > 0 && out[at - 1]->job_id < record->job_id; at--) {
        out[at] = out[at - 1];
    }
    out[at] = record;
    return true;
}

uint32_t job_trace_recent(const struct job_trace *trace, const struct job_trace_query *query,
                          const struct job_record **out, uint32_t max)
{
    uint32_t count = 0;

    for (uint32_t vm = 0; vm < CORE_VMS_MAX; vm++) {
        const struct job_record *record;

        for (uint32_t n = 0; (record = nth_latest(&trace->rings[vm], n)) != NULL; n++) {
            if (matches(record, query) && !insert(out, &count, max, record) &&
                record->serial == trace->rings[vm].latest - n) {
                break; /* the rest is older, an earlier VM's jobs too */
            }
        }
    }
    return count;
}
