/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host functions of streams, and tensor maps.  Prints each call's result and what it computed, the
 * same natively and on our library.
 *
 *     host_driver IMAGE
 *
 * IMAGE has the kernels increment(p) and spin(ns).
 */
#include <unistd.h>

#include "tests/cuda/client.h"

#define ROUNDS 100u

#define HOST_FUNCTIONS(X)                                                                          \
    X(cuLaunchHostFunc, CUstream, CUhostFn, void *)                                                \
    X(cuStreamAddCallback, CUstream, CUstreamCallback, void *, unsigned)                           \
    X(cuTensorMapEncodeTiled, CUtensorMap *, unsigned, unsigned, void *, const uint64_t *,         \
      const uint64_t *, const unsigned *, const unsigned *, unsigned, unsigned, unsigned,          \
      unsigned)                                                                                    \
    X(cuTensorMapReplaceAddress, CUtensorMap *, void *)

HOST_FUNCTIONS(F)

#define SAY(call) printf("%s %d\n", #call, (call))
#define SAY_NUMBER(name, number) printf("%s %llu\n", (name), (unsigned long long)(number))

static int find_host_functions(void)
{
    int status;

#define FIND_TOO(name, ...)                                                                        \
    if (get_proc(#name, (void **)&name, 12050, 0, &status) != CUDA_SUCCESS || !name) {             \
        printf("no function %s\n", #name);                                                         \
        return 0;                                                                                  \
    }
    HOST_FUNCTIONS(FIND_TOO)
    return 1;
}

struct things {
    CUfunction increment, spin;
    CUstream stream, other;
    CUdeviceptr word;
    unsigned *pinned;
    unsigned seen[ROUNDS], count, status, forbidden, slept;
};

/* What the stream has copied so far: it waits for this function. */
static void look(void *data)
{
    struct things *t = data;

    if (t->count < ROUNDS) {
        t->seen[t->count++] = *t->pinned;
    }
}

static void ask(void *data)
{
    struct things *t = data;
    CUdeviceptr memory;

    t->forbidden = (unsigned)cuMemAlloc(&memory, 4);
}

static void sleep_a_little(void *data)
{
    usleep(50000);
    ((struct things *)data)->slept = 1;
}

static void with_status(CUstream stream, CUresult status, void *data)
{
    struct things *t = data;

    t->status = status == CUDA_SUCCESS && stream == t->stream ? 1 : 2;
}

static void try_order(struct things *t)
{
    void *params[] = {&t->word};
    unsigned right = 0, wrong = 0;

    for (unsigned i = 0; i < ROUNDS; i++) {
        wrong += cuLaunchKernel(t->increment, 1, 1, 1, 1, 1, 1, 0, t->stream, params, NULL) != 0;
        wrong += cuMemcpyDtoHAsync(t->pinned, t->word, 4, t->stream) != 0;
        wrong += cuLaunchHostFunc(t->stream, look, t) != 0;
    }
    SAY_NUMBER("failed", wrong);
    SAY(cuStreamSynchronize(t->stream));
    for (unsigned i = 0; i < t->count; i++) {
        right += t->seen[i] == i + 1;
    }
    SAY_NUMBER("right", right);
}

/* Others go on beside a stream that waits, and what would wait for all waits for it, too. */
static void try_beside(struct things *t)
{
    CUdeviceptr memory;
    void *params[] = {&t->word};

    SAY(cuMemAlloc(&memory, 4096));
    SAY(cuLaunchHostFunc(t->stream, sleep_a_little, t));
    SAY(cuLaunchKernel(t->increment, 1, 1, 1, 1, 1, 1, 0, t->other, params, NULL));
    SAY(cuStreamSynchronize(t->other));
    SAY(cuMemFree(memory));
    SAY_NUMBER("slept", t->slept);
    SAY(cuStreamAddCallback(t->stream, with_status, t, 0));
    SAY(cuStreamAddCallback(t->stream, with_status, t, 1));
    SAY(cuLaunchHostFunc(t->stream, NULL, NULL));
    SAY(cuLaunchHostFunc(t->other, ask, t));
    SAY(cuCtxSynchronize());
    SAY_NUMBER("status", t->status);
    SAY_NUMBER("a call in a host function", t->forbidden);
}

static void try_tensor(void)
{
    const uint64_t dims[] = {256, 128}, strides[] = {256 * 4};
    const unsigned box[] = {32, 16}, ones[] = {1, 1};
    CUtensorMap map, again;
    void *place = (void *)0x700000000000ull, *other = (void *)0x700000100000ull;
    unsigned long long sum = 0;

    memset(&map, 0, sizeof(map));
    /* 7: floats of 32 bits */
    SAY(cuTensorMapEncodeTiled(&map, 7, 2, place, dims, strides, box, ones, 0, 0, 0, 0));
    for (unsigned i = 0; i < 16; i++) {
        sum = sum * 31 + map.opaque[i];
    }
    SAY_NUMBER("something is in it", sum != 0);
    SAY(cuTensorMapEncodeTiled(&again, 7, 2, other, dims, strides, box, ones, 0, 0, 0, 0));
    SAY_NUMBER("it differs", memcmp(&map, &again, sizeof(map)) != 0);
    SAY(cuTensorMapReplaceAddress(&map, other));
    SAY_NUMBER("it is the same", memcmp(&map, &again, sizeof(map)) == 0);
    SAY(cuTensorMapEncodeTiled(&map, 7, 0, place, dims, strides, box, ones, 0, 0, 0, 0));
    SAY(cuTensorMapEncodeTiled(&map, 7, 6, place, dims, strides, box, ones, 0, 0, 0, 0));
    SAY(cuTensorMapEncodeTiled(NULL, 7, 2, place, dims, strides, box, ones, 0, 0, 0, 0));
}

int main(int argc, char **argv)
{
    static struct things t;
    CUcontext context;
    CUmodule module;

    if (argc != 2 || !find_functions() || !find_host_functions() || cuInit(0) ||
        cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context) ||
        cuModuleLoadData(&module, read_image(argv[1])) ||
        cuModuleGetFunction(&t.increment, module, "increment") ||
        cuModuleGetFunction(&t.spin, module, "spin") || cuStreamCreate(&t.stream, 1) ||
        cuStreamCreate(&t.other, 1) || cuMemAlloc(&t.word, 4) || cuMemsetD32(t.word, 0, 1) ||
        cuMemHostAlloc((void **)&t.pinned, 4, 0) || cuCtxSynchronize()) {
        printf("it did not come so far\n");
        return 1;
    }
    try_order(&t);
    try_beside(&t);
    try_tensor();
    return 0;
}
