/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which state may follow which.  The core alone chooses the steps, whatever
 * peers and workers send: a step that is not here is a bug of the core.
 */
#include "core/core_internal.h"

#include <assert.h>

#define TO(state) (1u << (state))

static const uint8_t session_steps[] = {
    [CORE_SESSION_FREE] = TO(CORE_SESSION_OPEN),
    [CORE_SESSION_OPEN] =
        TO(CORE_SESSION_BOUND) | TO(CORE_SESSION_UNREGISTERED) | TO(CORE_SESSION_FREE),
    [CORE_SESSION_BOUND] = TO(CORE_SESSION_UNREGISTERED) | TO(CORE_SESSION_FREE),
    [CORE_SESSION_UNREGISTERED] = TO(CORE_SESSION_BOUND) | TO(CORE_SESSION_FREE),
};

static const uint8_t job_steps[] = {
    [CORE_JOB_FREE] = TO(CORE_JOB_QUEUED),
    [CORE_JOB_QUEUED] = TO(CORE_JOB_IN_FLIGHT) | TO(CORE_JOB_FREE),
    [CORE_JOB_IN_FLIGHT] = TO(CORE_JOB_FREE),
};

/* STOPPING again: it is killed, or has ended. */
static const uint8_t worker_steps[] = {
    [CORE_WORKER_NONE] = TO(CORE_WORKER_STARTING),
    [CORE_WORKER_STARTING] = TO(CORE_WORKER_READY) | TO(CORE_WORKER_STOPPING),
    [CORE_WORKER_READY] = TO(CORE_WORKER_STOPPING),
    [CORE_WORKER_STOPPING] =
        TO(CORE_WORKER_STOPPING) | TO(CORE_WORKER_NONE) | TO(CORE_WORKER_BACKOFF),
    [CORE_WORKER_BACKOFF] = TO(CORE_WORKER_NONE),
};

void core_session_enter(struct core_session *session, enum core_session_state state)
{
    assert(session_steps[session->state] & TO(state));
    session->state = state;
}

void core_job_enter(struct core_job *job, enum core_job_state state)
{
    assert(job_steps[job->state] & TO(state));
    job->state = state;
}

void core_worker_enter(struct core_worker *worker, enum core_worker_state state, uint64_t now_ns)
{
    assert(worker_steps[worker->state] & TO(state));
    worker->state = state;
    worker->since_ns = now_ns;
    if (state == CORE_WORKER_NONE || state == CORE_WORKER_BACKOFF) {
        worker->handle = 0;
        worker->flags = 0;
    }
}
