/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtual memory management.  The GPU's addresses are the driver's own, as everywhere. */

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define HANDLE(value) ((uint64_t)(value))

static bool is_ours(CUmemLocation location)
{
    return location.type == CU_MEM_LOCATION_TYPE_DEVICE && location.id == 0;
}

/* Only memory of the GPU for this process can be had. */
static CUresult check_properties(const CUmemAllocationProp *prop)
{
    if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE && prop->location.id != 0) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    return prop->requestedHandleTypes || !is_ours(prop->location) ||
                   prop->allocFlags.compressionType || prop->allocFlags.gpuDirectRDMACapable ||
                   prop->allocFlags.usage
               ? CUDA_ERROR_NOT_SUPPORTED
               : CUDA_SUCCESS;
}

CUresult hand_cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
                                            unsigned int option)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRANULARITY, 0);

    if (result) {
        return result;
    }
    if (!granularity || option > 1) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = check_properties(prop);
    if (result) {
        return result;
    }
    cuda_add(&call, option);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        *granularity = call.out[0];
    }
    return result;
}

CUresult hand_cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr,
                                  unsigned long long flags)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_RESERVE, 0);

    if (result) {
        return result;
    }
    if (!ptr || size == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, size);
    cuda_add(&call, alignment);
    cuda_add(&call, addr);
    cuda_add(&call, flags);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        *ptr = call.out[0];
    }
    return result;
}

CUresult hand_cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_RESERVE_END, 0);

    if (result) {
        return result;
    }
    cuda_add(&call, ptr);
    cuda_add(&call, size);
    return cuda_ask(&call);
}

CUresult hand_cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
                          const CUmemAllocationProp *prop, unsigned long long flags)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_PHYSICAL, 0);

    if (result) {
        return result;
    }
    if (!handle || flags) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = check_properties(prop);
    if (result) {
        return result;
    }
    cuda_add(&call, cuda_object_new(&call, CUDA_KIND_PHYSICAL));
    cuda_add(&call, size);
    result = cuda_ask(&call);
    cuda_object_made(&call, result, handle);
    return result;
}

CUresult hand_cuMemRelease(CUmemGenericAllocationHandle handle)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_PHYSICAL_END, 0);

    if (result) {
        return result;
    }
    if (!cuda_add_handle(&call, HANDLE(handle), CUDA_KIND_PHYSICAL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = cuda_ask(&call);
    cuda_object_end(HANDLE(handle), result);
    return result;
}

CUresult hand_cuMemMap(CUdeviceptr ptr, size_t size, size_t offset,
                       CUmemGenericAllocationHandle handle, unsigned long long flags)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_MAP, 0);

    if (result) {
        return result;
    }
    if (offset || flags) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, ptr);
    cuda_add(&call, size);
    if (!cuda_add_handle(&call, HANDLE(handle), CUDA_KIND_PHYSICAL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return cuda_ask(&call);
}

CUresult hand_cuMemUnmap(CUdeviceptr ptr, size_t size)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_UNMAP, 0);

    if (result) {
        return result;
    }
    cuda_add(&call, ptr);
    cuda_add(&call, size);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        cuda_range_unmap(ptr, size);
    }
    return result;
}

CUresult hand_cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc,
                             size_t count)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_ACCESS, 0);

    if (result) {
        return result;
    }
    if (!desc || count == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < count; i++) {
        if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE) {
            return CUDA_ERROR_NOT_SUPPORTED;
        }
        if (desc[i].location.id != 0) {
            return CUDA_ERROR_INVALID_DEVICE;
        }
    }
    cuda_add(&call, ptr);
    cuda_add(&call, size);
    cuda_add(&call, (uint64_t)(unsigned)desc[count - 1].flags);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        cuda_range_unmap(ptr, size);
        if (desc[count - 1].flags) {
            cuda_range_add(ptr, size, CUDA_RANGE_MAPPED);
        }
    }
    return result;
}

CUresult hand_cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location,
                             CUdeviceptr ptr)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_ACCESS_OF, 0);

    if (result) {
        return result;
    }
    if (!flags || !location || !is_ours(*location)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, ptr);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        *flags = call.out[0];
    }
    return result;
}

CUresult hand_cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop,
                                                     CUmemGenericAllocationHandle handle)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_PHYSICAL, 0);

    if (result) {
        return result;
    }
    if (!prop || !cuda_object(HANDLE(handle), CUDA_KIND_PHYSICAL)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *prop = (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    return CUDA_SUCCESS;
}
