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

/* Product and sum are rounded apart, as the CPU's are. */
extern "C" __global__ void vgpu_saxpy(float *target, const float *a, float alpha, uint32_t count)
{
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;

    if (i < count) {
        target[i] = __fadd_rn(target[i], __fmul_rn(alpha, a[i]));
    }
}

/*
 * c[m][n] = alpha * a[m][k] * b[k][n] + beta * c, where there is no cuBLAS.  A block of 256 threads
 * makes a square of c, a thread 8 x 8 of it; pieces of a and b that are 8 deep go through shared
 * memory, the next one is loaded while the present one is multiplied.  A thread's rows and columns
 * come in two groups of four, so that neighbours read neighbouring words.  Rows of b and c are
 * `stride` apart: a call may make some of their columns only.
 */
#define SIDE 128
#define DEPTH 8
#define SGEMM_THREADS 256
#define LOADS (SIDE * DEPTH / SGEMM_THREADS)

struct sgemm_piece {
    float a[LOADS], b[LOADS];
};

static __device__ __forceinline__ void sgemm_load(struct sgemm_piece *piece, const float *a,
                                                  const float *b, uint32_t m, uint32_t n,
                                                  uint32_t k, uint32_t stride, uint32_t row0,
                                                  uint32_t column0, uint32_t depth0)
{
#pragma unroll
    for (uint32_t i = 0; i < LOADS; i++) {
        uint32_t at = threadIdx.x + i * SGEMM_THREADS;
        uint32_t row = row0 + at / DEPTH, depth = depth0 + at % DEPTH;
        uint32_t b_depth = depth0 + at / SIDE, column = column0 + at % SIDE;

        piece->a[i] = row < m && depth < k ? a[(uint64_t)row * k + depth] : 0;
        piece->b[i] = b_depth < k && column < n ? b[(uint64_t)b_depth * stride + column] : 0;
    }
}

static __device__ __forceinline__ void sgemm_store(const struct sgemm_piece *piece,
                                                   float a[DEPTH][SIDE + 4], float b[DEPTH][SIDE])
{
#pragma unroll
    for (uint32_t i = 0; i < LOADS; i++) {
        uint32_t at = threadIdx.x + i * SGEMM_THREADS;

        a[at % DEPTH][at / DEPTH] = piece->a[i];
        b[at / SIDE][at % SIDE] = piece->b[i];
    }
}

static __device__ __forceinline__ uint32_t sgemm_place(uint32_t thread, uint32_t i)
{
    return (i / 4) * (SIDE / 2) + thread * 4 + i % 4;
}

extern "C" __global__ void __launch_bounds__(SGEMM_THREADS)
    vgpu_sgemm(const float *a, const float *b, float *c, uint32_t m, uint32_t n, uint32_t k,
               uint32_t stride, float alpha, float beta)
{
    __shared__ float a_part[2][DEPTH][SIDE + 4], b_part[2][DEPTH][SIDE];
    const uint32_t row0 = blockIdx.y * SIDE, column0 = blockIdx.x * SIDE;
    const uint32_t ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    float sums[8][8] = {{0}};
    struct sgemm_piece piece;
    uint32_t now = 0;

    sgemm_load(&piece, a, b, m, n, k, stride, row0, column0, 0);
    sgemm_store(&piece, a_part[0], b_part[0]);
    __syncthreads();
    for (uint32_t depth0 = 0; depth0 < k; depth0 += DEPTH) {
        bool more = depth0 + DEPTH < k;

        if (more) {
            sgemm_load(&piece, a, b, m, n, k, stride, row0, column0, depth0 + DEPTH);
        }
#pragma unroll
        for (uint32_t depth = 0; depth < DEPTH; depth++) {
            float x[8], y[8];

#pragma unroll
            for (uint32_t i = 0; i < 8; i++) {
                x[i] = a_part[now][depth][sgemm_place(ty, i)];
                y[i] = b_part[now][depth][sgemm_place(tx, i)];
            }
#pragma unroll
            for (uint32_t i = 0; i < 8; i++) {
#pragma unroll
                for (uint32_t j = 0; j < 8; j++) {
                    sums[i][j] += x[i] * y[j];
                }
            }
        }
        if (more) {
            sgemm_store(&piece, a_part[now ^ 1], b_part[now ^ 1]);
        }
        now ^= 1;
        __syncthreads();
    }
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
#pragma unroll
        for (uint32_t j = 0; j < 8; j++) {
            uint32_t row = row0 + sgemm_place(ty, i), column = column0 + sgemm_place(tx, j);

            if (row < m && column < n) {
                float *to = &c[(uint64_t)row * stride + column];

                /* beta 0: whatever was there */
                *to = alpha * sums[i][j] + (beta == 0 ? 0 : beta * *to);
            }
        }
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
