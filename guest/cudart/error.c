/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The last error of each thread.  What is sticky lies in the driver: a fault on the GPU comes
 * again from the next call that needs a context.
 */
#include "cudart_errors.h"
#include "cudart_hand.h"
#include "guest/cudart/internal.h"

#define UNKNOWN "unrecognized error code"

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = rt_thread.last;

    rt_thread.last = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return rt_thread.last;
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
#define ROW(number, name, text)                                                                    \
    case number: return name;
        RT_ERRORS(ROW)
#undef ROW
    default: return UNKNOWN;
    }
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
#define ROW(number, name, text)                                                                    \
    case number: return text;
        RT_ERRORS(ROW)
#undef ROW
    default: return UNKNOWN;
    }
}

struct cudaChannelFormatDesc cudaCreateChannelDesc(int x, int y, int z, int w,
                                                   enum cudaChannelFormatKind f)
{
    return (struct cudaChannelFormatDesc){.x = x, .y = y, .z = z, .w = w, .f = f};
}
