/* SPDX-License-Identifier: BSD-3-Clause */
/* What the library knows of an address (cuPointerGetAttribute and the like). */
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

/* Numbers of CUpointer_attribute. */
enum {
    ATTRIBUTE_CONTEXT = 1,
    ATTRIBUTE_MEMORY_TYPE = 2,
    ATTRIBUTE_DEVICE_POINTER = 3,
    ATTRIBUTE_HOST_POINTER = 4,
    ATTRIBUTE_SYNC_MEMOPS = 6,
    ATTRIBUTE_BUFFER_ID = 7,
    ATTRIBUTE_IS_MANAGED = 8,
    ATTRIBUTE_DEVICE_ORDINAL = 9,
    ATTRIBUTE_IPC_CAPABLE = 10,
    ATTRIBUTE_RANGE_START = 11,
    ATTRIBUTE_RANGE_SIZE = 12,
    ATTRIBUTE_MAPPED = 13,
    ATTRIBUTE_HANDLE_TYPES = 14,
    ATTRIBUTE_GPUDIRECT = 15,
    ATTRIBUTE_ACCESS = 16,
};

#define MEMORY_HOST 1u
#define MEMORY_DEVICE 2u
#define ACCESS_READ_WRITE 3u
#define ORDINAL_NONE (-2)

static void put32(void *to, uint32_t value)
{
    memcpy(to, &value, sizeof(value));
}

static void put64(void *to, uint64_t value)
{
    memcpy(to, &value, sizeof(value));
}

static void put_byte(void *to, bool value)
{
    *(uint8_t *)to = value;
}

/* What is said of an address that is none of ours, by cuPointerGetAttributes. */
static bool put_nothing(void *to, int attribute)
{
    switch (attribute) {
    case ATTRIBUTE_MEMORY_TYPE:
    case ATTRIBUTE_HANDLE_TYPES:
    case ATTRIBUTE_ACCESS: put32(to, 0); return true;
    case ATTRIBUTE_DEVICE_ORDINAL: put32(to, (uint32_t)ORDINAL_NONE); return true;
    case ATTRIBUTE_CONTEXT:
    case ATTRIBUTE_DEVICE_POINTER:
    case ATTRIBUTE_HOST_POINTER:
    case ATTRIBUTE_BUFFER_ID:
    case ATTRIBUTE_RANGE_START:
    case ATTRIBUTE_RANGE_SIZE: put64(to, 0); return true;
    case ATTRIBUTE_SYNC_MEMOPS:
    case ATTRIBUTE_IS_MANAGED:
    case ATTRIBUTE_IPC_CAPABLE:
    case ATTRIBUTE_MAPPED:
    case ATTRIBUTE_GPUDIRECT: put_byte(to, false); return true;
    default: return false;
    }
}

/* Of registered memory the GPU has no address. */
static bool put_registered(void *to, int attribute, const struct cuda_range *range, CUdeviceptr ptr)
{
    const struct cuda_context *context = range->context;

    switch (attribute) {
    case ATTRIBUTE_CONTEXT: put64(to, context ? context->handle : 0); return true;
    case ATTRIBUTE_MEMORY_TYPE: put32(to, MEMORY_HOST); return true;
    case ATTRIBUTE_HOST_POINTER: put64(to, ptr); return true;
    case ATTRIBUTE_DEVICE_ORDINAL: put32(to, 0); return true;
    case ATTRIBUTE_RANGE_START: put64(to, range->start); return true;
    case ATTRIBUTE_RANGE_SIZE: put64(to, range->bytes); return true;
    case ATTRIBUTE_DEVICE_POINTER: return false;
    default: return put_nothing(to, attribute);
    }
}

static bool put_known(void *to, int attribute, const struct cuda_range *range, CUdeviceptr ptr)
{
    const struct cuda_context *context = range->context;
    bool pinned = range->kind == CUDA_RANGE_PINNED;

    switch (attribute) {
    case ATTRIBUTE_CONTEXT: put64(to, context ? context->handle : 0); return true;
    case ATTRIBUTE_MEMORY_TYPE: put32(to, pinned ? MEMORY_HOST : MEMORY_DEVICE); return true;
    case ATTRIBUTE_DEVICE_POINTER: put64(to, ptr); return true;
    case ATTRIBUTE_HOST_POINTER: put64(to, pinned ? ptr : 0); return pinned;
    case ATTRIBUTE_BUFFER_ID: put64(to, range->serial); return true;
    case ATTRIBUTE_DEVICE_ORDINAL: put32(to, 0); return true;
    case ATTRIBUTE_RANGE_START: put64(to, range->start); return true;
    case ATTRIBUTE_RANGE_SIZE: put64(to, range->bytes); return true;
    case ATTRIBUTE_MAPPED: put_byte(to, true); return true;
    case ATTRIBUTE_ACCESS: put32(to, ACCESS_READ_WRITE); return true;
    default: return put_nothing(to, attribute);
    }
}

CUresult hand_cuPointerGetAttribute(void *data, int attribute, CUdeviceptr ptr)
{
    struct cuda_range range;

    if (cuda_state() != CUDA_READY) {
        return cuda_state_result();
    }
    if (!data) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (cuda_range_find(ptr, &range)) {
        return put_known(data, attribute, &range, ptr) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    return cuda_registered_find(ptr, &range) && put_registered(data, attribute, &range, ptr)
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuPointerGetAttributes(unsigned int numAttributes, int *attributes, void **data,
                                     CUdeviceptr ptr)
{
    struct cuda_range range;
    bool found, registered;

    if (cuda_state() != CUDA_READY) {
        return cuda_state_result();
    }
    if (!attributes || !data || numAttributes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    found = cuda_range_find(ptr, &range);
    registered = !found && cuda_registered_find(ptr, &range);
    for (unsigned i = 0; i < numAttributes; i++) {
        if (!put_nothing(data[i], attributes[i])) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (found) {
            put_known(data[i], attributes[i], &range, ptr);
        } else if (registered) {
            put_registered(data[i], attributes[i], &range, ptr);
        }
    }
    return CUDA_SUCCESS;
}
