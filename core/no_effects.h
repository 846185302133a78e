/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * These effects do nothing.  They are for tests and measurements of what a core knows: its
 * VMs, GPUs and metrics.  Nothing is sent and no worker ever starts.
 */
#ifndef CORE_NO_EFFECTS_H
#define CORE_NO_EFFECTS_H

#include "common/unused.h"
#include "core/core.h"

static inline void no_send(UNUSED void *opaque, UNUSED uint32_t session,
                           UNUSED const VGPUSocketHeader *header, UNUSED const void *payload)
{
}

static inline void no_close(UNUSED void *opaque, UNUSED uint32_t session,
                            UNUSED enum core_close_reason reason)
{
}

static inline void no_start(UNUSED void *opaque, UNUSED const struct core_worker_spec *spec)
{
}

static inline void no_run(UNUSED void *opaque, UNUSED uint64_t worker, UNUSED uint64_t job_id,
                          UNUSED const struct request_view *request)
{
}

static inline void no_stop(UNUSED void *opaque, UNUSED uint64_t worker, UNUSED bool kill)
{
}

static inline void no_event(UNUSED void *opaque, UNUSED const struct core_event *event)
{
}

static const struct core_effects no_effects = {
    .send = no_send,
    .close_session = no_close,
    .worker_start = no_start,
    .worker_run = no_run,
    .worker_stop = no_stop,
    .event = no_event,
};

#endif /* CORE_NO_EFFECTS_H */
