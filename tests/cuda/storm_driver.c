/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Takes all memory that there is, again and again, and is refused again and again; nothing else
 * fails because of that.  For what others beside it notice.
 *
 *     storm_driver IMAGE ROUNDS
 *
 * IMAGE has the kernel increment(p).  Prints how often it was refused.
 */
#include "tests/cuda/client.h"

#define PIECES_MAX 4096u
#define LARGEST (1ull << 30)
#define SMALLEST (2ull << 20)

static CUdeviceptr pieces[PIECES_MAX];

/* Ever smaller pieces until nothing more fits.  How many; *refused: how often there was no room. */
static unsigned take_all(unsigned *refused, unsigned *wrong)
{
    unsigned count = 0;

    for (uint64_t bytes = LARGEST; bytes >= SMALLEST && count < PIECES_MAX;) {
        CUresult result = cuMemAlloc(&pieces[count], bytes);

        if (result == CUDA_SUCCESS) {
            count++;
            continue;
        }
        *wrong += result != CUDA_ERROR_OUT_OF_MEMORY;
        ++*refused;
        bytes /= 2;
    }
    return count;
}

int main(int argc, char **argv)
{
    unsigned refused = 0, wrong = 0, value = 0, rounds = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
    CUcontext context;
    CUmodule module;
    CUfunction increment;
    CUdeviceptr word;
    void *params[] = {&word};

    if (rounds == 0 || !find_functions() || cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) ||
        cuCtxSetCurrent(context) || cuModuleLoadData(&module, read_image(argv[1])) ||
        cuModuleGetFunction(&increment, module, "increment") || cuMemAlloc(&word, 4) ||
        cuMemcpyHtoD(word, &value, 4)) {
        printf("it did not come so far\n");
        return 1;
    }
    for (unsigned round = 0; round < rounds; round++) {
        unsigned count = take_all(&refused, &wrong);

        wrong += cuLaunchKernel(increment, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL) != 0;
        while (count > 0) {
            wrong += cuMemFree(pieces[--count]) != 0;
        }
    }
    wrong += cuMemcpyDtoH(&value, word, 4) != 0 || value != rounds;
    printf("%u refused, %u wrong\n", refused, wrong);
    return wrong != 0 || refused == 0;
}
