/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module measures the part of its GPU's time that each VM really had, over the last
 * seconds.
 */
#ifndef MEDIATOR_METRICS_SHARES_H
#define MEDIATOR_METRICS_SHARES_H

#include <stdint.h>
#include <uv.h>

#define SHARES_INTERVAL_MS 2000u
#define SHARES_SAMPLES 6u /* so the last 10 to 12 seconds */

struct core;
struct shares;

/* NULL when there is no memory. */
struct shares *shares_new(uv_loop_t *loop, const struct core *core);
int shares_start(struct shares *shares);
void shares_stop(struct shares *shares);
/* After the loop has run since. */
void shares_free(struct shares *shares);

/*
 * 0 to 1: of the GPU time that was used on the VM's GPU, what this VM (slot)
 * used.  0 when the GPU was idle.
 */
double shares_of_vm(const struct shares *shares, uint32_t vm);

#endif /* MEDIATOR_METRICS_SHARES_H */
