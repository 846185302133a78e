/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernels of the programs in tests/cuda, for a GPU; kernels.ptx is made from it by build-ptx. */
extern "C" {

__device__ unsigned counter;

__global__ void add(const unsigned *a, const unsigned *b, unsigned *c, unsigned count)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;

    if (i < count) {
        c[i] = a[i] + b[i];
    }
}

__global__ void increment(unsigned *value)
{
    ++*value;
}

struct __align__(16) aligned_large {
    char bytes[48];
};

__global__ void mix(unsigned char u8, unsigned *out, unsigned short u16, struct aligned_large data,
                    float f)
{
    out[0] = u8;
    out[1] = u16;
    out[2] = (unsigned)data.bytes[47];
    out[3] = (unsigned)f;
}

__global__ void nop(void)
{
}

__global__ void spin(unsigned ns)
{
    unsigned long long start, now;

    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < ns);
}

__global__ void hang(void)
{
    for (volatile unsigned i = 0; true; i++) {
    }
}

__global__ void bad(void)
{
    *(volatile unsigned *)16 = 1;
}

__global__ void trap(void)
{
    asm volatile("trap;");
}
}
