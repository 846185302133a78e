/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/trace.h"

#include <errno.h>
#include <inttypes.h>

#include "common/clock.h"
#include "common/request.h"
#include "common/utc.h"
#include "core/job_trace.h"
#include "mediator/control/commands.h"
#include "common/json_out.h"
#include "mediator/mediator.h"

#define LAST_DEFAULT 20u

static const char *state_name(uint8_t state)
{
    static const char *const names[] = {
        [JOB_TRACE_QUEUED] = "queued",
        [JOB_TRACE_RUNNING] = "running",
        [JOB_TRACE_DONE] = "done",
        [JOB_TRACE_DROPPED] = "dropped",
    };

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

/* The wall clock's time of something that happened at `then_ns`. */
static void put_wall_clock(struct json_out *json, const char *key, uint64_t then_ns,
                           uint64_t now_ns)
{
    uint64_t wall_ns = clock_read_ns(CLOCK_REALTIME) - (now_ns - then_ns);
    char text[UTC_BYTES];

    jout_string(json, key, utc_text(wall_ns, 6, text));
}

static void put_decision(struct json_out *json, const struct job_record *record)
{
    if (!record->dispatched_ns) {
        jout_null(json, "decision");
        return;
    }
    jout_object(json, "decision");
    jout_string(json, "reason", wfq_reason_name((enum wfq_reason)record->reason));
    jout_double(json, "urgency", record->urgency);
    jout_int(json, "lag_ns", record->lag_ns);
    jout_uint(json, "waiting_vms", record->waiting_vms);
    jout_uint(json, "eligible_vms", record->eligible_vms);
    jout_object_end(json);
}

static void put_job(struct json_out *json, const struct job_record *record, uint64_t now_ns)
{
    jout_object(json, NULL);
    jout_uint(json, "job_id", record->job_id);
    jout_uint(json, "vm_id", record->vm_id);
    jout_uint(json, "session", record->session);
    jout_uint(json, "request_id", record->request_id);
    jout_uint(json, "opcode", record->opcode);
    jout_string(json, "operation", request_op_name(record->opcode));
    jout_uint(json, "gpu", record->gpu);
    jout_string(json, "state", state_name(record->state));
    put_wall_clock(json, "accepted", record->accepted_ns, now_ns);
    jout_uint(json, "accepted_ns", record->accepted_ns);
    jout_uint(json, "waiting_before", record->queue_depth);
    jout_bool(json, "worker_ready", record->worker_ready);
    jout_uint_if(json, "dispatched_ns", record->dispatched_ns != 0, record->dispatched_ns);
    put_decision(json, record);
    jout_uint_if(json, "started_ns", record->started_ns != 0, record->started_ns);
    jout_uint_if(json, "finished_ns", record->finished_ns != 0, record->finished_ns);
    jout_uint_if(json, "ended_ns", record->ended_ns != 0, record->ended_ns);
    jout_uint(json, "gpu_time_ns", record->gpu_time_ns);
    jout_string(json, "status",
                record->state == JOB_TRACE_DONE ? request_error_name(record->status) : NULL);
    jout_object_end(json);
}

/* A whole number from 0 to `max` or absent; false when it is something else. */
static bool number_of(const json_t *body, const char *key, json_int_t max, json_int_t *value)
{
    const json_t *item = json_object_get(body, key);

    if (!item) {
        return true;
    }
    *value = json_integer_value(item);
    return json_is_integer(item) && *value >= 0 && *value <= max;
}

static int one_job(struct mediator *mediator, uint64_t job_id, const struct job_record **found,
                   struct json_out *out)
{
    *found = job_trace_find(mediator->trace, job_id);
    if (*found) {
        return 0;
    }
    if (job_id > job_trace_latest_id(mediator->trace)) {
        admin_command_error(out, "there was no job %" PRIu64 " yet: the latest is %" PRIu64, job_id,
                            job_trace_latest_id(mediator->trace));
    } else {
        admin_command_error(out,
                            "job %" PRIu64 " is not known any more: the last %u jobs of each VM "
                            "are kept",
                            job_id, JOB_TRACE_PER_VM);
    }
    return ENOENT;
}

int admin_trace_jobs(struct mediator *mediator, const json_t *body, struct json_out *out)
{
    const struct job_record *found[JOB_TRACE_LIST_MAX];
    json_int_t job_id = 0, vm_id = CORE_NONE, request_id = CORE_NONE, last = LAST_DEFAULT;
    uint64_t now_ns = clock_now_ns();
    struct job_trace_query query;
    uint32_t count = 1;
    int ret = 0;

    if (!number_of(body, "job_id", INT64_MAX, &job_id) ||
        !number_of(body, "vm_id", UINT32_MAX, &vm_id) ||
        !number_of(body, "request_id", UINT32_MAX, &request_id) ||
        !number_of(body, "last", JOB_TRACE_LIST_MAX, &last)) {
        admin_command_error(out,
                            "job_id, vm_id and request_id must be whole numbers, last one from 0 "
                            "to %u",
                            JOB_TRACE_LIST_MAX);
        return EINVAL;
    }
    if (job_id) {
        ret = one_job(mediator, (uint64_t)job_id, &found[0], out);
    } else {
        query = (struct job_trace_query){(uint32_t)vm_id, (uint32_t)request_id};
        count = job_trace_recent(mediator->trace, &query, found, (uint32_t)last);
    }
    if (ret) {
        return ret;
    }
    jout_object(out, NULL);
    jout_uint(out, "now_ns", now_ns);
    jout_uint(out, "latest_job_id", job_trace_latest_id(mediator->trace));
    jout_uint(out, "kept_per_vm", JOB_TRACE_PER_VM);
    jout_array(out, "jobs");
    while (count > 0) {
        put_job(out, found[--count], now_ns);
    }
    jout_array_end(out);
    jout_object_end(out);
    return 0;
}
