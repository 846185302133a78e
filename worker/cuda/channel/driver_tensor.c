/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tensor maps, whose 128 bytes only the driver can write.  They are values: nothing is looked up
 * here, as a kernel might make one of its own.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <string.h>

static CUresult answer(struct driver_call *call, const CUtensorMap *map, CUresult result)
{
    memcpy(call->channel->tensor_map.opaque, map->opaque, sizeof(map->opaque));
    call->reply = &call->channel->tensor_map;
    call->reply_bytes = sizeof(call->channel->tensor_map);
    return result;
}

CUresult driver_run_tensor_tiled(struct driver_call *call)
{
    CUDATensorTiled tiled;
    CUtensorMap map = {{0}};
    CUresult result;

    if (call->payload_bytes < sizeof(tiled)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(&tiled, call->payload, sizeof(tiled));
    if (tiled.rank < 1 || tiled.rank > CUDA_TENSOR_RANKS) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    /* NOLINTBEGIN(performance-no-int-to-ptr): an address of the GPU's, for kernels */
    result = call->api->cuTensorMapEncodeTiled(
        &map, tiled.type, tiled.rank, (void *)(uintptr_t)tiled.address, tiled.dims, tiled.strides,
        tiled.box, tiled.element_strides, tiled.interleave, tiled.swizzle, tiled.l2_promotion,
        tiled.fill);
    /* NOLINTEND(performance-no-int-to-ptr) */
    return answer(call, &map, result);
}

CUresult driver_run_tensor_replace(struct driver_call *call)
{
    CUtensorMap map;
    CUresult result;

    if (call->arg_count < 1 || call->payload_bytes < sizeof(map)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(&map, call->payload, sizeof(map));
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): as above */
    result = call->api->cuTensorMapReplaceAddress(&map, (void *)(uintptr_t)call->args[0]);
    return answer(call, &map, result);
}
