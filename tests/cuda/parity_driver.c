/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the driver interface answers where it is easily guessed wrong: one line for each call,
 * natively and on our library the same (tests/gpu/cuda_check.py compares them).
 * tests/cuda/images/parity.txt has the answers, for tests without a GPU.
 *
 *     parity_driver IMAGE
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cuda/client.h"

#define MORE(X)                                                                                    \
    X(cuGetErrorName, CUresult, const char **)                                                     \
    X(cuGetErrorString, CUresult, const char **)                                                   \
    X(cuDriverGetVersion, int *)                                                                   \
    X(cuDeviceGetCount, int *)                                                                     \
    X(cuCtxGetCurrent, CUcontext *)                                                                \
    X(cuCtxPopCurrent, CUcontext *)                                                                \
    X(cuCtxGetDevice, CUdevice *)                                                                  \
    X(cuCtxGetApiVersion, CUcontext, unsigned *)                                                   \
    X(cuCtxDestroy, CUcontext)                                                                     \
    X(cuCtxGetLimit, size_t *, unsigned)                                                           \
    X(cuCtxSetLimit, unsigned, size_t)                                                             \
    X(cuDevicePrimaryCtxGetState, CUdevice, unsigned *, int *)                                     \
    X(cuStreamQuery, CUstream)                                                                     \
    X(cuStreamGetCtx, CUstream, CUcontext *)                                                       \
    X(cuMemGetAddressRange, CUdeviceptr *, size_t *, CUdeviceptr)                                  \
    X(cuPointerGetAttribute, void *, int, CUdeviceptr)                                             \
    X(cuPointerGetAttributes, unsigned, int *, void **, CUdeviceptr)                               \
    X(cuMemsetD8, CUdeviceptr, unsigned char, size_t)                                              \
    X(cuMemcpy, CUdeviceptr, CUdeviceptr, size_t)                                                  \
    X(cuMemHostGetDevicePointer, CUdeviceptr *, void *, unsigned)                                  \
    X(cuMemHostGetFlags, unsigned *, void *)                                                       \
    X(cuMemAllocAsync, CUdeviceptr *, size_t, CUstream)                                            \
    X(cuMemFreeAsync, CUdeviceptr, CUstream)                                                       \
    X(cuModuleLoad, CUmodule *, const char *)                                                      \
    X(cuModuleGetGlobal, CUdeviceptr *, size_t *, CUmodule, const char *)                          \
    X(cuModuleGetLoadingMode, int *)                                                               \
    X(cuFuncGetAttribute, int *, int, CUfunction)                                                  \
    X(cuFuncGetParamInfo, CUfunction, size_t, size_t *, size_t *)                                  \
    X(cuLaunchKernelEx, const CUlaunchConfig *, CUfunction, void **, void **)                      \
    X(cuGetExportTable, const void **, const CUuuid *)

MORE(F)

static void say(const char *what, long long value)
{
    printf("%s %lld\n", what, value);
}

#define SAY(call) say(#call, (call))

static CUcontext context;
static CUmodule module;
static CUfunction mix, nop, spin;
static CUstream stream;

static void before_init(void)
{
    const char *text = "x";
    void *any = NULL;
    int number;
    size_t size;
    CUuuid uuid = {{1, 2, 3}};
    const void *exported = &uuid;

    SAY(cuDriverGetVersion(&number));
    SAY(cuGetErrorName(1, &text));
    SAY(cuGetErrorString(99999, &text));
    say("its text is NULL", text == NULL);
    SAY(cuDeviceGetCount(&number));
    SAY(cuCtxGetCurrent((CUcontext *)&any));
    SAY(cuCtxSetCurrent(NULL));
    SAY(cuMemAlloc((CUdeviceptr *)&any, 4));
    SAY(cuStreamSynchronize(NULL));
    SAY(cuCtxPopCurrent((CUcontext *)&any));
    SAY(cuMemHostAlloc(&any, 4, 0));
    SAY(cuMemGetInfo(&size, &size));
    SAY(cuGetExportTable(&exported, &uuid));
    say("no table", exported == NULL);
    SAY(cuInit(1));
    SAY(cuInit(0));
}

static void device(void)
{
    CUdevice dev;
    int number, valid = 0;

    SAY(cuDeviceGetCount(&number));
    say("count", number);
    SAY(cuDeviceGet(&dev, 0));
    SAY(cuDeviceGet(&dev, 7));
    SAY(cuDeviceGet(&dev, -1));
    for (int i = 1; i < 200; i++) {
        valid += cuDeviceGetAttribute(&number, i, 0) == CUDA_SUCCESS;
    }
    say("attributes", valid);
    SAY(cuDeviceGetAttribute(&number, 9999, 0));
    SAY(cuDeviceGetAttribute(&number, 16, 5));
}

static void no_context(void)
{
    CUdeviceptr memory;
    CUcontext current = (CUcontext)1;
    CUdevice dev;
    CUevent event;
    unsigned number;
    size_t size;

    SAY(cuMemAlloc(&memory, 4));
    SAY(cuCtxGetDevice(&dev));
    SAY(cuCtxGetCurrent(&current));
    say("none", current == NULL);
    SAY(cuCtxSynchronize());
    SAY(cuMemGetInfo(&size, &size));
    SAY(cuMemFree(0));
    SAY(cuStreamSynchronize(NULL));
    SAY(cuStreamQuery(NULL));
    SAY(cuCtxPopCurrent(&current));
    SAY(cuStreamCreate(&stream, 0));
    SAY(cuEventCreate(&event, 0));
    SAY(cuModuleLoadData(&module, "x"));
    SAY(cuCtxGetApiVersion(NULL, &number));
    SAY(cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    SAY(cuDevicePrimaryCtxRelease(0));
    SAY(cuDevicePrimaryCtxRetain(&context, 0));
    SAY(cuMemAlloc(&memory, 4));
    SAY(cuCtxSetCurrent(context));
    SAY(cuCtxDestroy(context));
    SAY(cuCtxGetApiVersion(context, &number));
    say("version", number);
}

static void memory(void)
{
    CUdeviceptr a, base;
    size_t size;
    char host[64] = "host", other[64];
    int attributes[] = {2, 9}, type = 5, ordinal = 5;
    void *places[] = {&type, &ordinal};
    unsigned number = 0;

    SAY(cuMemAlloc(&a, 0));
    SAY(cuMemAlloc(&a, 1ull << 50));
    SAY(cuMemAlloc(&a, 1u << 20));
    SAY(cuMemFree(0));
    SAY(cuMemFree(a + 512));
    SAY(cuMemFree((CUdeviceptr)(uintptr_t)host));
    SAY(cuMemcpyHtoD(a, NULL, 0));
    SAY(cuMemcpyHtoD(a, NULL, 16));
    SAY(cuMemcpyHtoD(0, host, 16));
    SAY(cuMemcpyHtoD(a + (1u << 20) - 8, host, 16));
    SAY(cuMemcpyHtoD((CUdeviceptr)(uintptr_t)other, host, 16));
    SAY(cuMemcpyDtoH(host, 0x1234560000, 16));
    SAY(cuMemcpy((CUdeviceptr)(uintptr_t)other, (CUdeviceptr)(uintptr_t)host, 16));
    say("it was copied", memcmp(other, host, 16) == 0);
    SAY(cuMemsetD8(0x1234560000, 1, 16));
    SAY(cuMemsetD32(a + 1, 1, 4));
    SAY(cuMemGetAddressRange(&base, &size, a + 100));
    say("base", base == a);
    say("size", (long long)size);
    SAY(cuMemGetAddressRange(&base, &size, 0x1234560000));
    SAY(cuPointerGetAttribute(&number, 2, (CUdeviceptr)(uintptr_t)host));
    SAY(cuPointerGetAttribute(&number, 2, a));
    say("type", number);
    SAY(cuPointerGetAttribute(&number, 2, a + 77));
    SAY(cuPointerGetAttributes(2, attributes, places, (CUdeviceptr)(uintptr_t)host));
    say("its type", type);
    say("its device", ordinal);
    SAY(cuMemFree(a));
    SAY(cuMemFree(a));
    SAY(cuMemAllocAsync(&a, 1, NULL));
    SAY(cuMemFree(a));
    SAY(cuMemAllocAsync(&a, 0, NULL));
    SAY(cuMemAlloc(&a, 64));
    SAY(cuMemFreeAsync(a, NULL));
    SAY(cuStreamSynchronize(NULL));
}

static void pinned(void)
{
    unsigned flags = 9;
    CUdeviceptr mapped;
    void *a, *none = &a;

    SAY(cuMemHostAlloc(&a, 4096, 0));
    SAY(cuMemHostGetDevicePointer(&mapped, a, 0));
    say("equal", mapped == (CUdeviceptr)(uintptr_t)a);
    SAY(cuMemHostGetFlags(&flags, a));
    say("flags", flags);
    SAY(cuMemHostAlloc(&none, 0, 0));
    SAY(cuMemFreeHost(a));
    SAY(cuMemHostGetFlags(&flags, &flags));
}

static void code(const char *image)
{
    CUdeviceptr address;
    CUfunction again;
    CUmodule other;
    size_t size, offset;
    int mode = 9;
    static const char *const params[] = {"0", "1", "2", "3", "4", "5"};

    SAY(cuModuleLoadData(&other, "this is no image"));
    SAY(cuModuleLoadData(&other, NULL));
    SAY(cuModuleLoad(&other, "/nonexistent"));
    SAY(cuModuleLoadData(&module, image));
    SAY(cuModuleGetLoadingMode(&mode));
    say("mode", mode);
    SAY(cuModuleGetFunction(&mix, module, "missing"));
    SAY(cuModuleGetGlobal(&address, &size, module, "missing"));
    SAY(cuModuleGetGlobal(&address, &size, module, "counter"));
    say("its size", (long long)size);
    SAY(cuModuleGetFunction(&mix, module, "mix"));
    SAY(cuModuleGetFunction(&again, module, "mix"));
    say("the same", mix == again);
    SAY(cuModuleGetFunction(&nop, module, "nop"));
    SAY(cuModuleGetFunction(&spin, module, "spin"));
    for (unsigned i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
        say("parameter", cuFuncGetParamInfo(mix, i, &offset, &size));
        say("offset", (long long)offset);
        say("bytes", (long long)size);
    }
    SAY(cuFuncGetAttribute(&mode, 0, nop));
    say("threads", mode);
    SAY(cuFuncGetAttribute(&mode, 99, nop));
}

static void launches(void)
{
    unsigned char u8 = 1;
    unsigned short u16 = 2;
    char large[48] = {0}, buffer[256] = {0};
    float f = 1;
    CUdeviceptr out;
    void *params[] = {&u8, &out, &u16, large, &f};
    size_t bytes = 84;
    void *extra[] = {(void *)1, buffer, (void *)2, &bytes, NULL};
    CUlaunchAttribute attribute = {.id = 9999};
    CUlaunchConfig config = {1, 1, 1, 1, 1, 1, 0, NULL, NULL, 0};

    SAY(cuMemAlloc(&out, 64));
    SAY(cuLaunchKernel(nop, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    SAY(cuLaunchKernel(nop, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    SAY(cuLaunchKernel(nop, 1, 1, 1, 2048, 1, 1, 0, NULL, NULL, NULL));
    SAY(cuLaunchKernel(nop, 1, 1, 1, 1, 1, 1, 1u << 20, NULL, NULL, NULL));
    SAY(cuLaunchKernel(nop, 1, 1, 1, 1, 1, 1, 64u << 10, NULL, NULL, NULL));
    SAY(cuLaunchKernel(nop, 1, 65536, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    SAY(cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    SAY(cuLaunchKernel(mix, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    SAY(cuLaunchKernel(mix, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    SAY(cuLaunchKernel(nop, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    memcpy(buffer + 8, &out, sizeof(out));
    SAY(cuLaunchKernel(mix, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    SAY(cuLaunchKernel(mix, 1, 1, 1, 1, 1, 1, 0, NULL, params, extra));
    bytes = 256;
    SAY(cuLaunchKernel(mix, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    SAY(cuLaunchKernelEx(&config, nop, NULL, NULL));
    config.attrs = &attribute;
    config.numAttrs = 1;
    SAY(cuLaunchKernelEx(&config, nop, NULL, NULL));
    SAY(cuCtxSynchronize());
    SAY(cuMemFree(out));
}

static void *on_thread(void *unused)
{
    CUcontext current = (CUcontext)1;
    CUdeviceptr a;

    (void)unused;
    SAY(cuCtxGetCurrent(&current));
    say("a thread has none", current == NULL);
    SAY(cuMemAlloc(&a, 4));
    return NULL;
}

static void streams(void)
{
    unsigned long_ns = 500000000; /* ns: still running at the next three calls of a busy host */
    void *params[] = {&long_ns};
    CUcontext of;
    CUevent a, b, plain;
    CUstream other;
    pthread_t thread;
    float ms;

    SAY(cuStreamCreate(&stream, 99));
    SAY(cuStreamCreate(&stream, 1));
    SAY(cuStreamQuery(stream));
    SAY(cuStreamDestroy(NULL));
    SAY(cuStreamDestroy((CUstream)1));
    SAY(cuStreamGetCtx(NULL, &of));
    say("of this one", of == context);
    SAY(cuEventCreate(&a, 0));
    SAY(cuEventCreate(&b, 0));
    SAY(cuEventCreate(&plain, 2));
    SAY(cuEventQuery(a));
    SAY(cuEventSynchronize(a));
    SAY(cuEventElapsedTime(&ms, a, b));
    SAY(cuEventRecord(plain, stream));
    SAY(cuEventRecord(a, stream));
    SAY(cuStreamSynchronize(stream));
    SAY(cuEventElapsedTime(&ms, plain, a));
    SAY(cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
    SAY(cuEventRecord(b, stream));
    SAY(cuStreamQuery(stream));
    SAY(cuEventQuery(b));
    SAY(cuEventElapsedTime(&ms, a, b));
    SAY(cuEventSynchronize(b));
    SAY(cuEventElapsedTime(&ms, a, b));
    say("half a second", ms > 400 && ms < 20000);
    SAY(cuStreamCreate(&other, 0));
    SAY(cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, other, params, NULL));
    SAY(cuStreamDestroy(other));
    SAY(cuEventDestroy(a));
    SAY(cuCtxSynchronize());
    pthread_create(&thread, NULL, on_thread, NULL);
    pthread_join(thread, NULL);
}

static void in_child(void)
{
    int number, status;
    CUdeviceptr a;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        say("child", cuInit(0));
        say("child", cuDeviceGetCount(&number));
        say("child", cuMemAlloc(&a, 4));
        say("child", cuCtxSynchronize());
        say("child", cuDriverGetVersion(&number));
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, &status, 0);
    say("child's status", status);
}

static void limits(void)
{
    size_t value;

    for (unsigned i = 0; i < 7; i++) {
        value = 0;
        say("limit", cuCtxGetLimit(&value, i));
    }
    SAY(cuCtxSetLimit(0, 1u << 20));
    SAY(cuCtxSetLimit(77, 1));
}

static void released(void)
{
    CUcontext current = NULL;
    CUdeviceptr a;
    CUdevice dev;
    unsigned flags = 9;
    int active = 9;

    SAY(cuDevicePrimaryCtxGetState(0, &flags, &active));
    say("active", active);
    SAY(cuDevicePrimaryCtxRelease(0));
    SAY(cuMemAlloc(&a, 4));
    SAY(cuCtxGetCurrent(&current));
    say("the same one", current == context);
    SAY(cuCtxGetDevice(&dev));
    SAY(cuDevicePrimaryCtxGetState(0, &flags, &active));
    say("active", active);
}

int main(int argc, char **argv)
{
    char *image = argc > 1 ? read_image(argv[1]) : NULL;
    int status;

    if (!image || !find_functions()) {
        return 1;
    }
    MORE(FIND)
    before_init();
    device();
    no_context();
    memory();
    pinned();
    code(image);
    launches();
    streams();
    limits();
    in_child();
    released();
    return 0;
}
