/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header says what libcuda.so.1 gives the front ends of NVIDIA's libraries (guest/frontends):
 * their calls are records among the driver's, so they keep their place among launches and copies.
 *
 * A front end is of the same build as this library; `bytes` is how it knows.
 */
#ifndef GUEST_CUDA_FRONTEND_H
#define GUEST_CUDA_FRONTEND_H

#include "guest/cuda/internal.h"

#define CUDA_FRONTEND_SYMBOL "vgpu_libcuda_of_a_guest_calls"

struct cuda_frontend {
    unsigned bytes;      /* of this structure */
    unsigned call_bytes; /* of struct cuda_call */
    CUresult (*begin)(struct cuda_call *call, uint16_t op, unsigned needs);
    bool (*add_stream)(struct cuda_call *call, CUstream stream, int per_thread);
    void (*add_bytes)(struct cuda_call *call, const void *bytes, uint32_t count);
    CUresult (*ask)(struct cuda_call *call);
    CUresult (*forget)(struct cuda_call *call);
    uint64_t (*object_new)(struct cuda_call *call, unsigned kind);
    void (*object_made)(struct cuda_call *call, CUresult result, void *to);
    void (*object_end)(uint64_t handle, CUresult result);
    struct cuda_object *(*object)(uint64_t handle, unsigned kind);
};

#endif
