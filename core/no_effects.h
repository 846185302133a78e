/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Effects that do nothing, for tests and measurements of what a core knows: its
 * VMs, GPUs and metrics.  Nothing is sent and no worker ever starts.
 */
#ifndef CORE_NO_EFFECTS_H
#define CORE_NO_EFFECTS_H

#include "core/core.h"

static inline void no_send(void *opaque, uint32_t session, const VGPUSocketHeader *header,
                           const void *payload)
{
}

static inline void no_close(void *opaque, uint32_t session, enum core_close_reason reason)
{
}

static inline void no_start(void *opaque, const struct core_worker_spec *spec)
{
}

static inline void no_run(void *opaque, uint64_t worker, uint64_t job_id,
                          const struct request_view *request)
{
}

static inline void no_stop(void *opaque, uint64_t worker, bool kill)
{
}

static inline void no_event(void *opaque, const struct core_event *event)
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
