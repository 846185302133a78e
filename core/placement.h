/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module says which GPUs a pool has, and which of them a VM gets.
 *
 * A pool is a set of GPUs, a GPU may be in several.  A VM is put on the GPU of
 * its pool with the least load, which is the sum of the shares (base_mult *
 * weight) placed there over all pools; ties go to the lowest number.  It stays
 * there: a worker holds its memory on one GPU.
 */
#ifndef CORE_PLACEMENT_H
#define CORE_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#define PLACEMENT_GPUS_MAX 16u
#define PLACEMENT_POOLS_MAX 26u
#define PLACEMENT_NONE UINT32_MAX

struct placement {
    uint32_t gpu_count;
    uint32_t available;                  /* bit per GPU */
    uint32_t pools[PLACEMENT_POOLS_MAX]; /* bit per GPU */
    double load[PLACEMENT_GPUS_MAX];     /* shares placed; exact, as virtual_time.h says */
};

/* Number of the pool that a letter names, or -EINVAL. */
int placement_pool_index(char pool);
/* -EINVAL: no such pool, or a bit beyond the GPUs that exist. */
int placement_set_pool(struct placement *placement, char pool, uint32_t gpu_mask);

/* The GPU for a VM of `share` in `pool`; its load is counted.  PLACEMENT_NONE:
 * the pool is empty, or none of its GPUs is available. */
uint32_t placement_choose(struct placement *placement, char pool, double share);
/* Is this still a GPU where a VM of this pool may be? */
bool placement_allows(const struct placement *placement, char pool, uint32_t gpu);
void placement_release(struct placement *placement, uint32_t gpu, double share);

#endif /* CORE_PLACEMENT_H */
