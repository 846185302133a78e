/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program on cuFFT.  It runs unchanged natively and through us; with the stand-in, which copies
 * in a transform's place, the values of longer ones are the input's.  Exit status: 0 all well, 1
 * something is wrong.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/fft.h"
#include "cudart_prototypes.h"
#include "cufft_prototypes.h"

#define N 64
#define C2C 0x29
#define R2C 0x2a
#define IS_NATIVE (getenv("TRY_NATIVE") != NULL)

static unsigned wrong;

static void expect(const char *what, int got, int wanted)
{
    if (got != wanted) {
        printf("%s: %d in place of %d\n", what, got, wanted);
        wrong++;
    }
}

#define OK(call) expect(#call, call, 0)
#define GIVES(status, call) expect(#call, call, status)

static bool is_stand_in(void)
{
    struct cudaDeviceProp about;

    OK(cudaGetDeviceProperties(&about, 0));
    return strncmp(about.name, "Stand-in", 8) == 0;
}

/* Real part i of what lies there. */
static float value(const float *device, unsigned i)
{
    float back[2 * N] = {0};

    OK(cudaMemcpy(back, device, sizeof(back), cudaMemcpyDeviceToHost));
    return back[2 * i];
}

/* There and back again: each value as often as the transform is long. */
static void there_and_back(int plan, float *x, float *y, unsigned length)
{
    const float times = is_stand_in() ? 1 : (float)length;

    OK(cudaMemset(y, 0, 2 * N * sizeof(float)));
    OK(cufftExecC2C(plan, x, y, -1));
    OK(cufftXtExec(plan, y, y, 1));
    OK(cufftXtExec(plan, y, y, 1)); /* sent and forgotten from now on */
    OK(cufftExecC2C(plan, y, y, -1));
    for (unsigned i = 0; i < N; i++) {
        float wanted = times * times * (float)(i + 1);

        expect("a value", (int)(value(y, i) / wanted * 1000 + 0.5f), 1000);
    }
}

static void try_plans(float *x, float *y)
{
    int plan = 0, other = 0, type = 0, lengths[] = {4, 8};
    long long rows[] = {8}, embed[] = {8};
    size_t bytes = 0, again = 0;
    cudaStream_t stream = NULL;
    void *work = NULL;

    OK(cufftPlan1d(&plan, 8, C2C, N / 8));
    there_and_back(plan, x, y, 8);
    OK(cufftGetSize(plan, &again));
    OK(cufftDestroy(plan));
    GIVES(FFT_INVALID_PLAN, cufftDestroy(plan));
    GIVES(FFT_INVALID_PLAN, cufftXtExec(plan, x, y, 1));
    /* By numbers of 64 bits, in a stream, with a work area of the program's. */
    OK(cufftCreate(&plan));
    OK(cufftSetAutoAllocation(plan, 0));
    OK(cufftXtMakePlanMany(plan, 1, rows, embed, 1, 8, 4, embed, 1, 8, 4, N / 8, &bytes, 4));
    OK(cudaStreamCreate(&stream));
    OK(cudaMalloc(&work, bytes + 256));
    OK(cufftSetWorkArea(plan, work));
    OK(cufftSetStream(plan, stream));
    OK(cudaDeviceSynchronize());
    OK(cufftXtExec(plan, x, y, -1));
    OK(cufftXtExec(plan, y, y, 1));
    OK(cudaStreamSynchronize(stream));
    /* Two of them live, of two dimensions. */
    OK(cufftPlanMany(&other, 2, lengths, NULL, 1, 0, NULL, 1, 0, C2C, 2));
    there_and_back(other, x, y, 32);
    OK(cufftDestroy(other));
    OK(cufftDestroy(plan));
    OK(cudaStreamDestroy(stream));
    OK(cudaFree(work));
    GIVES(FFT_INVALID_TYPE, cufftPlan1d(&plan, 8, type, 1));
    GIVES(FFT_INVALID_SIZE, cufftPlan1d(&plan, -1, C2C, 1));
}

/* What the library itself would write to other memory for. */
static void try_bounds(float *x, float *y)
{
    long long rows[] = {8}, embed[] = {8}, wide[] = {1ll << 39, 1ll << 39};
    int plan = 0;

    OK(cufftPlan1d(&plan, 8, R2C, N / 4)); /* 16 results of 5 numbers */
    GIVES(FFT_INVALID_VALUE, cufftExecR2C(plan, x, y));
    GIVES(FFT_INVALID_PLAN, cufftExecC2C(plan, x, y, 1));
    GIVES(FFT_INVALID_VALUE, cufftXtExec(plan, &plan, y, -1));
    OK(cufftDestroy(plan));
    OK(cufftCreate(&plan));
    OK(cufftXtMakePlanMany(plan, 1, rows, embed, 1, 8, 4, embed, 1, 8, 4, N / 8 + 1, NULL, 4));
    GIVES(FFT_INVALID_VALUE, cufftXtExec(plan, x, y, -1));
    GIVES(FFT_INVALID_VALUE, cufftXtExec(plan, x, y, 0));
    OK(cufftDestroy(plan));
    OK(cufftCreate(&plan));
    GIVES(FFT_INVALID_SIZE,
          cufftXtMakePlanMany(plan, 2, wide, NULL, 1, 1, 4, NULL, 1, 1, 4, 1, NULL, 4));
    GIVES(FFT_INVALID_SIZE,
          cufftXtMakePlanMany(plan, 1, rows, embed, 1ll << 62, 8, 4, embed, 1, 8, 4, 8, NULL, 4));
    OK(cufftDestroy(plan));
}

int main(void)
{
    float host[2 * N] = {0}, *x = NULL, *y = NULL;

    for (unsigned i = 0; i < N; i++) {
        host[2 * i] = (float)(i + 1);
    }
    OK(cudaMalloc((void **)&x, sizeof(host)));
    OK(cudaMalloc((void **)&y, sizeof(host)));
    OK(cudaMemcpy(x, host, sizeof(host), cudaMemcpyHostToDevice));
    try_plans(x, y);
    if (!IS_NATIVE) {
        try_bounds(x, y);
    }
    OK(cudaFree(x));
    OK(cudaFree(y));
    printf("cufft: %u wrong\n", wrong);
    return wrong != 0;
}
