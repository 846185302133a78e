/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding the driver, and which context a thread has.
 *
 * A thread that has a context of the driver interface keeps it.  One that has none gets its
 * device's primary context, which this library holds once for the whole process.
 *
 * cudaDeviceReset ends the primary context while other threads still have it as theirs.  Each
 * call looks: a primary context that was given back is made anew.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>

#include "cudart_hand.h"
#include "guest/cudart/internal.h"

struct rt_driver rt_driver;
__thread struct rt_thread rt_thread;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    bool looked, found, checks_handles; /* for the library */
    bool ready;                         /* atomic: cuInit has succeeded */
    int version, count;
    unsigned resets; /* atomic */
    struct {
        CUcontext primary;
        bool held;
    } devices[RT_DEVICES_MAX];
} process;

void rt_say(const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    fprintf(stderr, "libcudart (vgpu): %s\n", line);
}

cudaError_t rt_refuse(const char *name, unsigned number)
{
    static bool said[RT_REFUSED_COUNT];

    if (!__atomic_exchange_n(&said[number], true, __ATOMIC_RELAXED)) {
        rt_say("%s is not built: cudaErrorNotSupported", name);
    }
    return rt_end(cudaErrorNotSupported);
}

/* ---- the driver ---- */

static CUresult missing(void)
{
    return cudaErrorCallRequiresNewerDriver;
}

static void find_functions(void *library)
{
    const struct {
        void *to;
        const char *symbol;
    } rows[] = {
#define ROW(member, symbol) {&rt_driver.member, symbol},
        RT_DRIVER_FUNCTIONS(ROW)
#undef ROW
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        void *function = dlsym(library, rows[i].symbol);

        *(void **)rows[i].to = function ? function : (void *)missing;
    }
}

/* Under the lock; looks once. */
static bool find_driver(void)
{
    void *library;

    if (!process.looked) {
        process.looked = true;
        library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            rt_say("there is no driver: %s; run the program by vgpu-run, or install the driver",
                   dlerror());
            return false;
        }
        find_functions(library);
        process.checks_handles = dlsym(library, "vgpu_libcuda_of_a_guest") != NULL;
        process.found = rt_driver.cuDriverGetVersion(&process.version) == cudaSuccess;
    }
    return process.found;
}

static cudaError_t start_driver(void)
{
    cudaError_t error;

    if (!find_driver()) {
        return cudaErrorInsufficientDriver;
    }
    if (process.version < RT_VERSION) {
        rt_say("the driver is of CUDA %d.%d; this runtime needs %d.%d", process.version / 1000,
               process.version % 1000 / 10, RT_VERSION / 1000, RT_VERSION % 1000 / 10);
        return cudaErrorInsufficientDriver;
    }
    error = rt_driver.cuInit(0);
    if (error == cudaSuccess) {
        error = rt_driver.cuDeviceGetCount(&process.count);
    }
    if (error == cudaSuccess && process.count > RT_DEVICES_MAX) {
        process.count = RT_DEVICES_MAX;
    }
    return error == cudaSuccess && process.count == 0 ? cudaErrorNoDevice : error;
}

int rt_driver_version(void)
{
    int version;

    pthread_mutex_lock(&lock);
    version = find_driver() ? process.version : 0;
    pthread_mutex_unlock(&lock);
    return version;
}

bool rt_driver_checks_handles(void)
{
    return process.checks_handles;
}

int rt_device_count(void)
{
    return process.count;
}

/* ---- contexts ---- */

cudaError_t rt_primary(int device, bool current)
{
    cudaError_t error = cudaSuccess;
    CUcontext context;

    if (device < 0 || device >= process.count) {
        return cudaErrorInvalidDevice;
    }
    pthread_mutex_lock(&lock);
    if (!process.devices[device].held) {
        error = rt_driver.cuDevicePrimaryCtxRetain(&process.devices[device].primary, device);
        process.devices[device].held = error == cudaSuccess;
    }
    context = process.devices[device].primary;
    pthread_mutex_unlock(&lock);
    return error || !current ? error : rt_driver.cuCtxSetCurrent(context);
}

cudaError_t rt_primary_reset(int device)
{
    cudaError_t error;

    pthread_mutex_lock(&lock);
    error = rt_driver.cuDevicePrimaryCtxReset_v2(device);
    if (process.devices[device].held) {
        process.devices[device].held = false;
        rt_driver.cuDevicePrimaryCtxRelease_v2(device);
    }
    __atomic_add_fetch(&process.resets, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
    return error;
}

/* The device whose primary context this is, once it was given back; -1: none. */
static int given_back(CUcontext context)
{
    int device = -1;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < process.count && device < 0; i++) {
        if (process.devices[i].primary == context && !process.devices[i].held) {
            device = i;
        }
    }
    pthread_mutex_unlock(&lock);
    return device;
}

static cudaError_t need_context(void)
{
    unsigned resets = __atomic_load_n(&process.resets, __ATOMIC_ACQUIRE);
    CUcontext context = NULL;
    cudaError_t error = rt_driver.cuCtxGetCurrent(&context);
    int device = rt_thread.device ? rt_thread.device - 1 : 0;

    if (error) {
        return error;
    }
    if (context && (context != rt_thread.seen || resets != rt_thread.seen_at)) {
        device = given_back(context);
        if (device < 0) {
            rt_thread.seen = context;
            rt_thread.seen_at = resets;
        }
    } else if (context) {
        return cudaSuccess;
    }
    return device < 0 ? cudaSuccess : rt_primary(device, true);
}

cudaError_t rt_device(int *device)
{
    CUcontext context = NULL;

    /* In a child of fork() the driver answers nothing, and this one still does. */
    if (rt_driver.cuCtxGetCurrent(&context) == cudaSuccess && context &&
        rt_driver.cuCtxGetDevice(device) == cudaSuccess) {
        return cudaSuccess;
    }
    *device = rt_thread.device ? rt_thread.device - 1 : 0;
    return cudaSuccess;
}

/* ---- the beginning of a call ---- */

static cudaError_t start(enum rt_need need)
{
    cudaError_t error = cudaSuccess;

    pthread_mutex_lock(&lock);
    if (need == RT_LIBRARY) {
        error = find_driver() ? cudaSuccess : cudaErrorInsufficientDriver;
    } else if (!process.ready) {
        error = start_driver();
        __atomic_store_n(&process.ready, error == cudaSuccess, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    return error;
}

cudaError_t rt_begin(enum rt_need need)
{
    cudaError_t error = cudaSuccess;

    if (need != RT_NOTHING && !__atomic_load_n(&process.ready, __ATOMIC_ACQUIRE)) {
        error = start(need);
    }
    return error || need != RT_CONTEXT ? error : need_context();
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void prepare(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}
