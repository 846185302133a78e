/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CUDA backend's kernels.
 *
 * kernels.ptx beside this is made from it by ./build-ptx and committed, so that
 * neither building nor running needs the CUDA toolkit: the driver compiles the
 * PTX for the GPU it finds.  Keep to plain C with few instructions: build-ptx
 * lowers the PTX to a version that every driver since CUDA 12.0 takes, and
 * fails if an instruction needs a newer one.
 */
#include <stdint.h>

static __device__ __forceinline__ uint64_t global_ns(void)
{
    uint64_t ns;

    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
}

extern "C" __global__ void vgpu_add(uint32_t a, uint32_t b, uint32_t *sum)
{
    *sum = a + b;
}

extern "C" __global__ void vgpu_vector_add_i32(const uint32_t *a, const uint32_t *b, uint32_t *c,
                                               uint32_t count)
{
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;

    if (i < count) {
        c[i] = a[i] + b[i];
    }
}

/* Rounded to nearest, denormals kept: the CPU's results bit for bit. */
extern "C" __global__ void vgpu_vector_add_f32(const float *a, const float *b, float *c,
                                               uint32_t count)
{
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;

    if (i < count) {
        c[i] = __fadd_rn(a[i], b[i]);
    }
}

/*
 * Uses up GPU time as real work would: a long gap between two looks at the clock
 * means that the GPU was away, serving another worker, and counts as gap_ns at
 * most.  (It counts at all so that a GPU whose clock ticks coarsely comes to an
 * end too.)
 */
extern "C" __global__ void vgpu_spin(uint64_t duration_ns, uint64_t gap_ns)
{
    uint64_t used_ns = 0;
    uint64_t last_ns = global_ns();

    while (used_ns < duration_ns) {
        uint64_t now_ns = global_ns();
        uint64_t step_ns = now_ns - last_ns;

        used_ns += step_ns < gap_ns ? step_ns : gap_ns;
        last_ns = now_ns;
    }
}

extern "C" __global__ void vgpu_hang(void)
{
    while (global_ns() != 0) {
    }
}

/* `where` is no address of this context. */
extern "C" __global__ void vgpu_crash(uint32_t *where)
{
    *(volatile uint32_t *)where = 1;
}
