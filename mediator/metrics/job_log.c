/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/metrics/job_log.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"
#include "common/names.h"
#include "common/ns.h"
#include "common/request.h"
#include "core/core.h"

#define WHO_BYTES (CORE_NAME_BYTES + 64)

static void say_whose(const struct core_vm_config *vm, char *out, size_t bytes)
{
    snprintf(out, bytes, "VM %" PRIu32 " (%s), pool %c, priority %s", vm->vm_id, vm->name, vm->pool,
             priority_name(vm->priority));
}

void job_log_step(const struct core *core, const struct core_job_step *step)
{
    struct core_vm_stats stats;
    char who[WHO_BYTES];

    if (!log_enabled(LOG_LEVEL_DEBUG) || !core_vm_stats(core, step->vm, step->now_ns, &stats)) {
        return;
    }
    say_whose(&stats.config, who, sizeof(who));
    switch (step->kind) {
    case CORE_JOB_ACCEPTED:
        log_debug(
            "[ENQUEUE] %s: job %" PRIu64 ", request %" PRIu32 ", %s, %" PRIu32 " wait before it",
            who, step->job_id, step->request_id, request_op_name(step->opcode), step->queue_depth);
        break;
    case CORE_JOB_DISPATCHED:
        log_debug("[PROCESS] %s: job %" PRIu64 " on GPU %" PRIu32 ", after %.3f ms, chosen: %s",
                  who, step->job_id, step->gpu,
                  (double)step->decision->waited_ns / (double)NS_PER_MS,
                  wfq_reason_name(step->decision->reason));
        break;
    case CORE_JOB_ENDED:
        log_debug("[RESPONSE] %s: job %" PRIu64 ", %s, %.3f ms of GPU time", who, step->job_id,
                  step->answered ? request_error_name(step->status) : "nobody waits for it",
                  (double)step->gpu_time_ns / (double)NS_PER_MS);
        break;
    }
}
