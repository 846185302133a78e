/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What kernels print, among what the program prints itself.
 *
 *     print_driver IMAGE
 *
 * IMAGE has the kernel print(n).
 */
#include "tests/cuda/client.h"

#define TIMES 3u

int main(int argc, char **argv)
{
    char *image = argc == 2 ? read_image(argv[1]) : NULL;
    CUcontext context;
    CUmodule module;
    CUfunction print;
    CUevent event;
    CUdeviceptr memory;
    unsigned number = 0;
    void *params[] = {&number};

    if (!image || !find_functions() || cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) ||
        cuCtxSetCurrent(context) || cuModuleLoadData(&module, image) ||
        cuModuleGetFunction(&print, module, "print") || cuEventCreate(&event, 0) ||
        cuMemAlloc(&memory, 64)) {
        printf("it did not come so far\n");
        return 1;
    }
    for (number = 0; number < TIMES; number++) {
        printf("before %u\n", number);
        if (cuLaunchKernel(print, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL) ||
            cuEventRecord(event, NULL) ||
            (number == 0   ? cuCtxSynchronize()
             : number == 1 ? cuStreamSynchronize(NULL)
                           : cuEventSynchronize(event))) {
            printf("a call failed\n");
            return 1;
        }
        printf("after %u\n", number);
    }
    return 0;
}
