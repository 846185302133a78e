/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest/cuda/frontend.h"

CUDA_EXPORT extern const struct cuda_frontend vgpu_libcuda_of_a_guest_calls;

const struct cuda_frontend vgpu_libcuda_of_a_guest_calls = {
    .bytes = sizeof(struct cuda_frontend),
    .call_bytes = sizeof(struct cuda_call),
    .begin = cuda_begin,
    .add_stream = cuda_add_stream,
    .add_bytes = cuda_add_bytes,
    .ask = cuda_ask,
    .forget = cuda_forget,
    .object_new = cuda_object_new,
    .object_made = cuda_object_made,
    .object_end = cuda_object_end,
    .object = cuda_object,
};
