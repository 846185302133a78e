/* SPDX-License-Identifier: BSD-3-Clause */
/* Tensor maps: only the driver knows what stands in them. */
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

static CUresult ask(struct cuda_call *call, const void *bytes, uint32_t count, CUtensorMap *map)
{
    CUtensorMap answer;
    CUresult result;

    cuda_add_bytes(call, bytes, count);
    /* cppcheck-suppress autoVariables; the call ends here */
    call->reply = &answer;
    call->reply_bytes = sizeof(answer);
    result = cuda_ask(call);
    if (result == CUDA_SUCCESS) {
        /* cppcheck-suppress uninitvar; cuda_ask() fills it */
        *map = answer;
    }
    return result;
}

CUresult hand_cuTensorMapEncodeTiled(CUtensorMap *tensorMap, unsigned int tensorDataType,
                                     unsigned int tensorRank, void *globalAddress,
                                     const uint64_t *globalDim, const uint64_t *globalStrides,
                                     const unsigned int *boxDim, const unsigned int *elementStrides,
                                     unsigned int interleave, unsigned int swizzle,
                                     unsigned int l2Promotion, unsigned int oobFill)
{
    CUDATensorTiled tiled = {.type = tensorDataType,
                             .rank = tensorRank,
                             .address = (uint64_t)(uintptr_t)globalAddress,
                             .interleave = interleave,
                             .swizzle = swizzle,
                             .l2_promotion = l2Promotion,
                             .fill = oobFill};
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_TENSOR_TILED, 0);

    if (result) {
        return result;
    }
    if (!tensorMap || !globalDim || !boxDim || !elementStrides || tensorRank < 1 ||
        tensorRank > CUDA_TENSOR_RANKS || (tensorRank > 1 && !globalStrides)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(tiled.dims, globalDim, tensorRank * sizeof(*globalDim));
    if (tensorRank > 1) {
        memcpy(tiled.strides, globalStrides, (tensorRank - 1) * sizeof(*globalStrides));
    }
    memcpy(tiled.box, boxDim, tensorRank * sizeof(*boxDim));
    memcpy(tiled.element_strides, elementStrides, tensorRank * sizeof(*elementStrides));
    return ask(&call, &tiled, sizeof(tiled), tensorMap);
}

CUresult hand_cuTensorMapReplaceAddress(CUtensorMap *tensorMap, void *globalAddress)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_TENSOR_REPLACE, 0);

    if (result) {
        return result;
    }
    if (!tensorMap) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, (uint64_t)(uintptr_t)globalAddress);
    return ask(&call, tensorMap, sizeof(*tensorMap), tensorMap);
}
