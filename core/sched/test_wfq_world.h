/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has a scheduler, its VMs and a clock, for tests that say step by step what comes in
 * and what must be handed out.  There is one at a time: begin_vms() makes it, end() frees it.
 */
#ifndef CORE_SCHED_TEST_WFQ_WORLD_H
#define CORE_SCHED_TEST_WFQ_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/sched/scheduler_wfq.h"

extern struct wfq *wfq;
extern uint64_t now_ns; /* tests move it */

/* config->max_vms VMs, each with its `params` and ready; the clock stands at `begin_ns`. */
void begin_vms(const struct wfq_config *config, const struct wfq_vm_params *params,
               uint64_t begin_ns);
/* Frees it; whatever is queued is dropped before. */
void end(void);

/* So many jobs of `vm` come now.  At most 64 are in the scheduler at a time. */
void submit(uint32_t vm, uint32_t count);
/* The next job is `vm`'s. */
struct wfq_job *take(uint32_t vm);
struct wfq_vm_stats stats_of(uint32_t vm);

#endif /* CORE_SCHED_TEST_WFQ_WORLD_H */
