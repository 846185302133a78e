/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each call says after a kernel has failed, one line for each; natively and on our library
 * the same.
 *
 *     fault_driver IMAGE KERNEL
 */
#include "tests/cuda/client.h"

static void say(const char *what, CUresult result)
{
    printf("%s %d\n", what, result);
}

int main(int argc, char **argv)
{
    char *image = argc == 3 ? read_image(argv[1]) : NULL;
    CUcontext context;
    CUmodule module;
    CUfunction fault, nop;
    CUstream stream, other;
    CUevent event;
    CUdeviceptr memory, more;
    size_t free_bytes, total;
    int value = 0;

    if (!image || !find_functions() || cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) ||
        cuCtxSetCurrent(context) || cuModuleLoadData(&module, image) ||
        cuModuleGetFunction(&fault, module, argv[2]) || cuModuleGetFunction(&nop, module, "nop") ||
        cuStreamCreate(&stream, 1) || cuStreamCreate(&other, 1) || cuEventCreate(&event, 0) ||
        cuMemAlloc(&memory, 64) || cuEventRecord(event, other) || cuEventSynchronize(event)) {
        printf("it did not come so far\n");
        return 1;
    }
    say("launch", cuLaunchKernel(fault, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
    say("sync", cuStreamSynchronize(stream));
    say("sync again", cuCtxSynchronize());
    say("cuMemAlloc", cuMemAlloc(&more, 64));
    say("cuMemFree", cuMemFree(memory));
    say("cuMemGetInfo", cuMemGetInfo(&free_bytes, &total));
    say("HtoD", cuMemcpyHtoD(memory, &value, 4));
    say("StreamSync other", cuStreamSynchronize(other));
    say("EventQuery completed before", cuEventQuery(event));
    say("EventSynchronize before", cuEventSynchronize(event));
    say("EventRecord", cuEventRecord(event, other));
    say("EventCreate", cuEventCreate(&event, 0));
    say("StreamCreate", cuStreamCreate(&stream, 0));
    say("launch nop", cuLaunchKernel(nop, 1, 1, 1, 1, 1, 1, 0, other, NULL, NULL));
    say("cuCtxSetCurrent", cuCtxSetCurrent(context));
    say("cuDeviceGetAttribute", cuDeviceGetAttribute(&value, 16, 0));
    say("cuModuleLoadData", cuModuleLoadData(&module, image));
    say("cuModuleUnload", cuModuleUnload(module));
    say("EventDestroy", cuEventDestroy(event));
    say("cuInit", cuInit(0));
    return 0;
}
