/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module says which limits of a VM are enforced, given those that are configured.
 *
 * Configured, 0 is "no limit" everywhere: in the database, in vgpu-admin and in
 * the core; for the burst alone it is "derived from the rate".  A limit can be
 * set above the mediator's own, hard one, which is enforced then: who shows a
 * limit shows what comes out here.
 */
#ifndef COMMON_VM_LIMITS_H
#define COMMON_VM_LIMITS_H

#include <stdint.h>

/* VMs that one mediator serves, and that can be registered. */
#define VM_LIMIT_VMS_MAX 1024u

/* Jobs of one VM, waiting and in flight together: the hard limit. */
#define VM_LIMIT_JOBS_MAX 256u
#define VM_LIMIT_RATE_MAX 1000000u  /* jobs a second */
#define VM_LIMIT_BURST_MAX 1000000u /* jobs */

/* Jobs that may wait. */
static inline uint32_t vm_limit_queue_depth(uint32_t configured)
{
    return configured == 0 || configured > VM_LIMIT_JOBS_MAX ? VM_LIMIT_JOBS_MAX : configured;
}

static inline uint32_t vm_limit_rate(uint32_t configured)
{
    return configured > VM_LIMIT_RATE_MAX ? VM_LIMIT_RATE_MAX : configured; /* 0: no limit */
}

/* Jobs that may come at once: as configured, or a tenth of a second's worth, at least one. */
static inline uint32_t vm_limit_burst(uint32_t rate, uint32_t configured)
{
    uint32_t derived = rate / 10 > 0 ? rate / 10 : 1;
    uint32_t burst = configured ? configured : derived;

    return burst > VM_LIMIT_BURST_MAX ? VM_LIMIT_BURST_MAX : burst;
}

#endif /* COMMON_VM_LIMITS_H */
