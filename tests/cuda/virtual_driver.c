/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual memory management.  Prints each call's result and what it computed, the same natively and
 * on our library.
 *
 *     virtual_driver IMAGE
 *
 * IMAGE has the kernel increment(p).
 */
#include "tests/cuda/client.h"

#define MIB (1ull << 20)
#define PIECE (2 * MIB)
#define RANGE (64 * MIB)

#define VIRTUAL_FUNCTIONS(X)                                                                       \
    X(cuMemGetAllocationGranularity, size_t *, const CUmemAllocationProp *, unsigned)              \
    X(cuMemAddressReserve, CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long)         \
    X(cuMemAddressFree, CUdeviceptr, size_t)                                                       \
    X(cuMemCreate, CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *,            \
      unsigned long long)                                                                          \
    X(cuMemRelease, CUmemGenericAllocationHandle)                                                  \
    X(cuMemMap, CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long)     \
    X(cuMemUnmap, CUdeviceptr, size_t)                                                             \
    X(cuMemSetAccess, CUdeviceptr, size_t, const CUmemAccessDesc *, size_t)                        \
    X(cuMemGetAccess, unsigned long long *, const CUmemLocation *, CUdeviceptr)                    \
    X(cuMemGetAllocationPropertiesFromHandle, CUmemAllocationProp *, CUmemGenericAllocationHandle)

VIRTUAL_FUNCTIONS(F)

#define SAY(call) printf("%s %d\n", #call, (call))
#define SAY_NUMBER(name, number) printf("%s %llu\n", (name), (unsigned long long)(number))

static const CUmemAllocationProp plain = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                          .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
static const CUmemAccessDesc both = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}, .flags = 3};
static const CUmemAccessDesc none = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}, .flags = 0};

static int find_virtual_functions(void)
{
    int status;

#define FIND_TOO(name, ...)                                                                        \
    if (get_proc(#name, (void **)&name, 12050, 0, &status) != CUDA_SUCCESS || !name) {             \
        printf("no function %s\n", #name);                                                         \
        return 0;                                                                                  \
    }
    VIRTUAL_FUNCTIONS(FIND_TOO)
    return 1;
}

/* Two pieces side by side, over whose border copies and kernels work. */
static void try_two(CUfunction increment, CUdeviceptr at)
{
    CUmemGenericAllocationHandle first = 0, second = 0;
    CUmemAllocationProp prop;
    CUdeviceptr word = at + PIECE - 4;
    unsigned long long flags = 9;
    unsigned values[2] = {5, 6};
    void *params[] = {&word};

    SAY(cuMemCreate(&first, PIECE, &plain, 0));
    SAY(cuMemCreate(&second, PIECE, &plain, 0));
    SAY(cuMemGetAllocationPropertiesFromHandle(&prop, first));
    SAY_NUMBER("its location", prop.location.type);
    SAY(cuMemMap(at, PIECE, 0, first, 0));
    SAY(cuMemcpyHtoD(at, values, 4)); /* not yet */
    SAY(cuMemMap(at + PIECE, PIECE, 0, second, 0));
    SAY(cuMemMap(at + PIECE, PIECE, 0, second, 0)); /* there is one */
    SAY(cuMemSetAccess(at, 2 * PIECE, &both, 1));
    SAY(cuMemGetAccess(&flags, &both.location, at + PIECE));
    SAY_NUMBER("access", flags);
    SAY(cuMemcpyHtoD(word, values, sizeof(values)));
    SAY(cuLaunchKernel(increment, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    SAY(cuMemcpyDtoH(values, word, sizeof(values)));
    SAY_NUMBER("first", values[0]);
    SAY_NUMBER("second", values[1]);
    SAY(cuMemRelease(first)); /* while it is mapped */
    SAY(cuMemRelease(second));
    SAY(cuMemcpyDtoH(values, word, sizeof(values)));
    SAY_NUMBER("still", values[0]);
    SAY(cuMemFree(at));
    SAY(cuMemAddressFree(at, RANGE)); /* something is mapped */
    SAY(cuMemUnmap(at, PIECE));
    SAY(cuMemcpyDtoH(values, at, 4));
    SAY(cuMemcpyDtoH(values, at + PIECE, 4));
    SAY_NUMBER("the second piece's", values[0]);
    SAY(cuMemSetAccess(at + PIECE, PIECE, &none, 1));
    SAY(cuMemUnmap(at + PIECE, PIECE));
}

/* What is mapped there again is other memory. */
static void try_again(CUdeviceptr at)
{
    CUmemGenericAllocationHandle piece = 0;
    size_t before = 0, during = 0, after = 0, total;
    unsigned value = 0;

    SAY(cuMemGetInfo(&before, &total));
    SAY(cuMemCreate(&piece, 8 * PIECE, &plain, 0));
    SAY(cuMemGetInfo(&during, &total));
    SAY_NUMBER("MiB taken", (before - during) / MIB);
    SAY(cuMemMap(at + PIECE, 8 * PIECE, 0, piece, 0));
    SAY(cuMemSetAccess(at + PIECE, 8 * PIECE, &both, 1));
    SAY(cuMemsetD32(at + PIECE, 77, 4 * MIB));
    SAY(cuMemcpyDtoH(&value, at + 9 * PIECE - 4, 4));
    SAY_NUMBER("value", value);
    SAY(cuMemUnmap(at + PIECE, 8 * PIECE));
    SAY(cuMemRelease(piece));
    SAY(cuMemGetInfo(&after, &total));
    SAY_NUMBER("MiB given back", (after - during) / MIB);
}

int main(int argc, char **argv)
{
    CUmemGenericAllocationHandle piece = 0;
    CUfunction increment;
    CUcontext context;
    CUmodule module;
    CUdeviceptr at = 0;
    size_t bytes = 0;
    int supported = -1;

    if (argc != 2 || !find_functions() || !find_virtual_functions() || cuInit(0) ||
        cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context) ||
        cuModuleLoadData(&module, read_image(argv[1])) ||
        cuModuleGetFunction(&increment, module, "increment")) {
        printf("it did not come so far\n");
        return 1;
    }
    SAY(cuDeviceGetAttribute(&supported, 102, 0));
    SAY_NUMBER("supported", supported);
    SAY(cuMemGetAllocationGranularity(&bytes, &plain, 0));
    SAY_NUMBER("granularity", bytes);
    SAY(cuMemGetAllocationGranularity(&bytes, &plain, 1));
    SAY_NUMBER("recommended", bytes);
    SAY(cuMemCreate(&piece, PIECE + 1, &plain, 0));
    SAY(cuMemCreate(&piece, 0, &plain, 0));
    SAY(cuMemAddressReserve(&at, 0, 0, 0, 0));
    SAY(cuMemAddressReserve(&at, RANGE, 0, 0, 0));
    SAY(cuMemsetD32(at, 1, 1)); /* nothing is there */
    SAY(cuMemUnmap(at, PIECE));
    SAY(cuMemSetAccess(at, PIECE, &both, 1));
    try_two(increment, at);
    try_again(at);
    SAY(cuMemAddressFree(at, PIECE));
    SAY(cuMemAddressFree(at, RANGE));
    SAY(cuMemAddressFree(at, RANGE));
    return 0;
}
