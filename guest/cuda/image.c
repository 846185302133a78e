/* SPDX-License-Identifier: BSD-3-Clause */
#include "cuda/image.h"
#include "guest/cuda/internal.h"

struct fatbin_wrapper {
    uint32_t magic, version;
    const void *data;
    void *more;
};

const void *cuda_image(const void *image, uint64_t *bytes)
{
    if (cuda_image_begins(image, CUDA_IMAGE_MAX, CUDA_WRAPPER_MAGIC)) {
        struct fatbin_wrapper wrapper;

        memcpy(&wrapper, image, sizeof(wrapper));
        image = wrapper.data;
    }
    /* The program's own memory: what its headers say is as good as the program itself. */
    *bytes = cuda_image_bytes(image, CUDA_IMAGE_MAX);
    return image;
}
