/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/placement.h"

#include <errno.h>

#include "vgpu/vgpu_protocol.h"

int placement_pool_index(char pool)
{
    return pool >= VGPU_POOL_FIRST && pool <= VGPU_POOL_LAST ? pool - VGPU_POOL_FIRST : -EINVAL;
}

int placement_set_pool(struct placement *placement, char pool, uint32_t gpu_mask)
{
    int index = placement_pool_index(pool);

    if (index < 0 || (uint64_t)gpu_mask >> placement->gpu_count != 0) {
        return -EINVAL;
    }
    placement->pools[index] = gpu_mask;
    return 0;
}

bool placement_allows(const struct placement *placement, char pool, uint32_t gpu)
{
    int index = placement_pool_index(pool);

    return index >= 0 && gpu < placement->gpu_count &&
           (placement->pools[index] & placement->available & (1u << gpu)) != 0;
}

uint32_t placement_choose(struct placement *placement, char pool, double share)
{
    uint32_t best = PLACEMENT_NONE;

    for (uint32_t gpu = 0; gpu < placement->gpu_count; gpu++) {
        if (placement_allows(placement, pool, gpu) &&
            (best == PLACEMENT_NONE || placement->load[gpu] < placement->load[best])) {
            best = gpu;
        }
    }
    if (best != PLACEMENT_NONE) {
        placement->load[best] += share;
    }
    return best;
}

void placement_release(struct placement *placement, uint32_t gpu, double share)
{
    placement->load[gpu] -= share;
}
