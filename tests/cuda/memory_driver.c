/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program's own pools, and host memory that it registers.  Prints each call's result and what it
 * copied, the same natively and on our library.
 *
 *     memory_driver
 */
#include "tests/cuda/client.h"

#define BYTES (1u << 20)
#define RESERVED 5
#define USED 7
#define THRESHOLD 4

#define MEMORY_FUNCTIONS(X)                                                                        \
    X(cuMemPoolCreate, CUmemoryPool *, const CUmemPoolProps *)                                     \
    X(cuMemPoolDestroy, CUmemoryPool)                                                              \
    X(cuMemPoolSetAccess, CUmemoryPool, const CUmemAccessDesc *, size_t)                           \
    X(cuMemPoolGetAccess, int *, CUmemoryPool, CUmemLocation *)                                    \
    X(cuMemPoolTrimTo, CUmemoryPool, size_t)                                                       \
    X(cuMemAllocAsync, CUdeviceptr *, size_t, CUstream)                                            \
    X(cuMemAllocFromPoolAsync, CUdeviceptr *, size_t, CUmemoryPool, CUstream)                      \
    X(cuMemFreeAsync, CUdeviceptr, CUstream)                                                       \
    X(cuDeviceGetMemPool, CUmemoryPool *, CUdevice)                                                \
    X(cuDeviceSetMemPool, CUdevice, CUmemoryPool)                                                  \
    X(cuMemHostRegister, void *, size_t, unsigned)                                                 \
    X(cuMemHostUnregister, void *)                                                                 \
    X(cuMemHostGetFlags, unsigned *, void *)                                                       \
    X(cuPointerGetAttribute, void *, int, CUdeviceptr)

MEMORY_FUNCTIONS(F)

#define SAY(call) printf("%s %d\n", #call, (call))
#define SAY_NUMBER(name, number) printf("%s %llu\n", (name), (unsigned long long)(number))

static int find_memory_functions(void)
{
    int status;

#define FIND_TOO(name, ...)                                                                        \
    if (get_proc(#name, (void **)&name, 12050, 0, &status) != CUDA_SUCCESS || !name) {             \
        printf("no function %s\n", #name);                                                         \
        return 0;                                                                                  \
    }
    MEMORY_FUNCTIONS(FIND_TOO)
    return 1;
}

static unsigned long long attribute(CUmemoryPool pool, int number)
{
    unsigned long long value = 0;

    cuMemPoolGetAttribute(pool, number, &value);
    return value;
}

static int right_bytes(const unsigned char *bytes, unsigned char value)
{
    for (unsigned i = 0; i < BYTES; i++) {
        if (bytes[i] != value) {
            return 0;
        }
    }
    return 1;
}

static void try_pools(CUstream stream)
{
    CUmemPoolProps props = {.allocType = 1, .location = {1, 0}};
    CUmemAccessDesc access = {.location = {1, 0}, .flags = 3};
    CUmemLocation location = {1, 0};
    CUmemoryPool pool = NULL, other = NULL, standard = NULL, now = NULL;
    CUdeviceptr a = 0, b = 0, c = 0;
    unsigned long long most = 64ull << 20;
    int flags = 0;

    SAY(cuMemPoolCreate(&pool, NULL));
    SAY(cuMemPoolCreate(NULL, &props));
    props.allocType = 7;
    SAY(cuMemPoolCreate(&pool, &props));
    props.allocType = 1;
    props.location.id = 9;
    SAY(cuMemPoolCreate(&pool, &props));
    props.location.id = 0;
    SAY(cuMemPoolCreate(&pool, &props));
    SAY(cuMemPoolCreate(&other, &props));
    SAY_NUMBER("two", pool && other && pool != other);
    SAY(cuMemPoolGetAccess(&flags, pool, &location));
    SAY_NUMBER("access", flags);
    SAY(cuMemPoolSetAccess(pool, &access, 1));
    SAY_NUMBER("threshold", attribute(pool, THRESHOLD));
    SAY(cuMemPoolSetAttribute(pool, THRESHOLD, &most));
    SAY_NUMBER("threshold", attribute(pool, THRESHOLD));
    SAY(cuMemAllocFromPoolAsync(&a, BYTES, pool, stream));
    SAY(cuMemAllocFromPoolAsync(&b, BYTES, other, stream));
    SAY_NUMBER("used", attribute(pool, USED));
    SAY_NUMBER("reserved", attribute(pool, RESERVED) > 0);
    SAY(cuStreamSynchronize(stream));
    SAY(cuMemsetD32(a, 5, BYTES / 4));

    SAY(cuDeviceGetDefaultMemPool(&standard, 0));
    SAY(cuDeviceGetMemPool(&now, 0));
    SAY_NUMBER("the default one", now == standard);
    SAY(cuDeviceSetMemPool(0, other));
    SAY(cuDeviceGetMemPool(&now, 0));
    SAY_NUMBER("the other one", now == other);
    SAY(cuMemAllocAsync(&c, BYTES, stream));
    SAY_NUMBER("used of the other", attribute(other, USED));
    SAY(cuMemFreeAsync(c, stream));
    SAY(cuStreamSynchronize(stream));
    SAY(cuMemPoolDestroy(other)); /* with an allocation */
    SAY(cuDeviceGetMemPool(&now, 0));
    SAY_NUMBER("the default one", now == standard);
    SAY(cuMemcpyDtoD(b, a, BYTES));
    SAY(cuCtxSynchronize());
    SAY(cuMemFreeAsync(b, stream));
    SAY(cuStreamSynchronize(stream));
    SAY(cuMemFreeAsync(a, stream));
    SAY(cuStreamSynchronize(stream));
    SAY_NUMBER("used", attribute(pool, USED));
    SAY_NUMBER("kept", attribute(pool, RESERVED) > 0);
    SAY(cuMemPoolTrimTo(pool, 0));
    SAY_NUMBER("reserved", attribute(pool, RESERVED));
    SAY(cuMemPoolDestroy(pool));
}

static void try_registered(CUstream stream)
{
    unsigned char *host = malloc(2 * BYTES);
    CUdeviceptr memory = 0;
    unsigned flags = 0, type = 0;

    memset(host, 7, 2 * BYTES);
    SAY(cuMemAlloc(&memory, BYTES));
    SAY(cuMemHostRegister(NULL, BYTES, 0));
    SAY(cuMemHostRegister(host, 0, 0));
    SAY(cuMemHostRegister(host, BYTES, 1u << 9));
    SAY(cuMemHostGetFlags(&flags, host));
    SAY(cuMemHostRegister(host, BYTES, 1));
    SAY(cuMemHostRegister(host, BYTES, 1));
    SAY(cuMemHostGetFlags(&flags, host));
    SAY_NUMBER("flags", flags);
    SAY(cuPointerGetAttribute(&type, 2, (CUdeviceptr)(uintptr_t)host));
    SAY_NUMBER("type", type);
    SAY(cuMemcpyHtoDAsync(memory, host, BYTES, stream));
    SAY(cuStreamSynchronize(stream));
    SAY(cuMemsetD32(memory, 0x09090909, BYTES / 8));
    SAY(cuCtxSynchronize());
    SAY(cuMemcpyDtoHAsync(host, memory, BYTES / 2, stream));
    SAY(cuStreamSynchronize(stream));
    memmove(host + BYTES / 2, host, BYTES / 2);
    SAY_NUMBER("right", right_bytes(host, 9));
    SAY_NUMBER("the rest", right_bytes(host + BYTES, 7));
    SAY(cuMemHostUnregister(host + 64));
    SAY(cuMemHostUnregister(host));
    SAY(cuMemHostUnregister(host));
    SAY(cuPointerGetAttribute(&type, 2, (CUdeviceptr)(uintptr_t)host));
    SAY(cuMemFree(memory));
    free(host);
}

/* A memset of pinned memory is over when it returns. */
static void try_pinned(void)
{
    unsigned char *host = NULL;
    unsigned right = 0;

    SAY(cuMemHostAlloc((void **)&host, BYTES, 0));
    for (unsigned i = 0; i < 20; i++) {
        unsigned value = i * 0x01010101u;

        if (cuMemsetD32((CUdeviceptr)(uintptr_t)host, value, BYTES / 4) == CUDA_SUCCESS) {
            right += (unsigned)right_bytes(host, (unsigned char)i);
        }
    }
    SAY_NUMBER("at once", right);
    SAY(cuMemFreeHost(host));
}

int main(void)
{
    CUcontext context;
    CUstream stream;

    if (!find_functions() || !find_memory_functions() || cuInit(0) ||
        cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context) ||
        cuStreamCreate(&stream, 1)) {
        printf("it did not come so far\n");
        return 1;
    }
    try_pools(stream);
    try_registered(stream);
    try_pinned();
    return 0;
}
