/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program as nvcc makes them, for libcudart.so.13: kernels are launched with <<<>>>, and the
 * headers' own inline functions are used.  It prints what every runtime and driver has to answer
 * alike, so its output natively and through us must be the same.
 */
#include <cstdio>
#include <cstdlib>
#include <vector>

#define SAY(call) printf("%s %d\n", #call, (int)(call))

__device__ unsigned counter = 11;
__constant__ unsigned factor = 3;

extern "C" __global__ void add(const unsigned *a, const unsigned *b, unsigned *c, unsigned count)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;

    if (i < count) {
        c[i] = a[i] + b[i];
    }
}

extern "C" __global__ void increment(unsigned *value)
{
    ++*value;
}

static unsigned sum(unsigned count, cudaStream_t stream)
{
    std::vector<unsigned> host(count);
    unsigned *a, *b, *c, wrong = 0;

    for (unsigned i = 0; i < count; i++) {
        host[i] = i;
    }
    SAY(cudaMallocAsync(&a, count * sizeof(*a), stream));
    SAY(cudaMallocAsync(&b, count * sizeof(*b), stream));
    SAY(cudaMallocAsync(&c, count * sizeof(*c), stream));
    SAY(cudaMemcpyAsync(a, host.data(), count * 4, cudaMemcpyHostToDevice, stream));
    SAY(cudaMemcpyAsync(b, a, count * 4, cudaMemcpyDefault, stream));
    add<<<(count + 255) / 256, 256, 0, stream>>>(a, b, c, count);
    SAY(cudaGetLastError());
    SAY(cudaMemcpyAsync(host.data(), c, count * 4, cudaMemcpyDeviceToHost, stream));
    SAY(cudaStreamSynchronize(stream));
    for (unsigned i = 0; i < count; i++) {
        wrong += host[i] != 2 * i;
    }
    SAY(cudaFreeAsync(a, stream));
    SAY(cudaFreeAsync(b, stream));
    SAY(cudaFreeAsync(c, stream));
    return wrong;
}

int main()
{
    unsigned value = 7, back = 0;
    int block = 0, grid = 0, blocks = 0;
    cudaFuncAttributes attributes = {};
    cudaDeviceProp properties = {};
    cudaStream_t stream;
    cudaEvent_t event;

    SAY(cudaGetDeviceProperties(&properties, 0));
    printf("warp %d, threads %d\n", properties.warpSize, properties.maxThreadsPerBlock);
    SAY(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    printf("wrong %u\n", sum(10000, nullptr));
    printf("wrong %u\n", sum(333, stream));
    SAY(cudaMemcpyFromSymbol(&back, counter, sizeof(back)));
    SAY(cudaMemcpyToSymbol(counter, &value, sizeof(value)));
    SAY(cudaMemcpyFromSymbol(&back, counter, sizeof(back)));
    printf("counter %u\n", back);
    SAY(cudaMemcpyToSymbol(factor, &value, sizeof(value)));
    SAY(cudaMemcpyFromSymbol(&back, factor, sizeof(back)));
    printf("factor %u\n", back);
    SAY(cudaFuncGetAttributes(&attributes, add));
    printf("threads %d\n", attributes.maxThreadsPerBlock);
    SAY(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add, 256, 0));
    SAY(cudaOccupancyMaxPotentialBlockSize(&grid, &block, add, 0, 0));
    printf("blocks %d\n", blocks > 0 && grid > 0 && block > 0);
    SAY(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    SAY(cudaEventRecord(event, stream));
    SAY(cudaEventSynchronize(event));
    increment<<<0, 1>>>(nullptr);
    SAY(cudaPeekAtLastError());
    SAY(cudaGetLastError());
    SAY(cudaEventDestroy(event));
    SAY(cudaStreamDestroy(stream));
    SAY(cudaDeviceSynchronize());
    return 0;
}
