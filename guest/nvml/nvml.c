/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVML for guests, read-only: what the VM has, not what the GPU's other tenants do.
 *
 * It has a channel of its own, small, and never a context: a program may ask before it decides
 * whether it uses CUDA at all, and fork afterwards.  The code of libcuda.so.1 that speaks to the
 * channel is linked in a second time, so neither knows of the other.  The channel ends with the
 * VM's worker, which another program's fault may end; then, and in a child, the next question
 * opens another one.
 *
 * Memory is the VM's limit and what its programs have of it; utilisation is the time of its turns
 * between two questions.  All else is NVML_ERROR_NOT_SUPPORTED, and to change anything is
 * NVML_ERROR_NO_PERMISSION.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest/cuda/internal.h"
#include "guest/nvml/names.h"

#define EXPORT __attribute__((visibility("default")))
#define UUID_BYTES 41 /* "GPU-" and 36 more, and the NUL */
#define MEMORY_V2 0x02000028u
#define NVML_VERSION "13.0"
#define ATTRIBUTE_PCI_BUS 33
#define ATTRIBUTE_PCI_DEVICE 34
#define ATTRIBUTE_PCI_DOMAIN 50
#define ATTRIBUTE_MAJOR 75
#define ATTRIBUTE_MINOR 76
#define ATTRIBUTE_PCI_ID 139
#define ATTRIBUTE_PCI_SUBSYSTEM 140
#define INTERVAL_NS 50000000ull /* shorter ones say nothing */

enum {
    NVML_SUCCESS = 0,
    NVML_UNINITIALIZED = 1,
    NVML_INVALID_ARGUMENT = 2,
    NVML_NOT_SUPPORTED = 3,
    NVML_NO_PERMISSION = 4,
    NVML_NOT_FOUND = 6,
    NVML_INSUFFICIENT_SIZE = 7,
    NVML_DRIVER_NOT_LOADED = 9,
    NVML_GPU_IS_LOST = 15,
    NVML_UNKNOWN = 999,
};

struct memory {
    unsigned long long total, free, used;
};

struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

struct process {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance, compute_instance; /* from the second version on */
};

struct utilization {
    unsigned gpu, memory;
};

struct pci_info {
    char short_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char id[32];
};

_Static_assert(sizeof(struct memory_v2) == (MEMORY_V2 & 0xffff), "as its version says");
_Static_assert(sizeof(struct pci_info) == 68, "as NVIDIA's header has it");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t channel_lock = PTHREAD_MUTEX_INITIALIZER; /* inside lock, if both */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static unsigned users;        /* nvmlInit without nvmlShutdown */
static CUDAAccount last;      /* the beginning of the interval for the utilisation */
static unsigned percent;      /* of the last interval that was long enough */
static const char the_device; /* its address is the handle */

#define DEVICE ((void *)&the_device)

/* ---- the channel ---- */

static int status_of(CUresult result)
{
    switch (result) {
    case CUDA_SUCCESS: return NVML_SUCCESS;
    case CUDA_ERROR_NO_DEVICE: return NVML_DRIVER_NOT_LOADED;
    case CUDA_ERROR_NOT_SUPPORTED: return NVML_NOT_SUPPORTED;
    case CUDA_ERROR_NOT_INITIALIZED: return NVML_UNINITIALIZED;
    default: return NVML_GPU_IS_LOST;
    }
}

/* A child gets the locks as they are, and only the thread that forks: so no other has them. */
static void before_fork(void)
{
    pthread_mutex_lock(&lock);
    pthread_mutex_lock(&channel_lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&channel_lock);
    pthread_mutex_unlock(&lock);
}

static void set_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

static CUresult open_channel(void)
{
    CUresult result;

    pthread_once(&fork_once, set_fork_handlers);
    pthread_mutex_lock(&channel_lock);
    cuda_process_is_small = true;
    result = cuda_open();
    pthread_mutex_unlock(&channel_lock);
    return result;
}

static CUresult ask_once(CUDAAccount *account)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_ACCOUNT, CUDA_ANY_STATE);

    if (result == CUDA_SUCCESS) {
        call.reply = account;
        call.reply_bytes = sizeof(*account);
        result = cuda_ask(&call);
    }
    return result;
}

static int ask(CUDAAccount *account)
{
    CUresult result;

    pthread_mutex_lock(&channel_lock);
    result = cuda_open();
    result = result ? result : ask_once(account);
    if (cuda_state() == CUDA_LOST) {
        result = cuda_open();
        result = result ? result : ask_once(account);
    }
    pthread_mutex_unlock(&channel_lock);
    return status_of(result);
}

EXPORT int nvmlInitWithFlags(unsigned flags)
{
    CUresult result;

    (void)flags; /* what to do without a GPU: it is the same here */
    pthread_mutex_lock(&lock);
    result = open_channel();
    if (result == CUDA_SUCCESS && users++ == 0) {
        ask(&last);
    }
    pthread_mutex_unlock(&lock);
    return result == CUDA_SUCCESS ? NVML_SUCCESS : NVML_DRIVER_NOT_LOADED;
}

EXPORT int nvmlInit(void)
{
    return nvmlInitWithFlags(0);
}

EXPORT int nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

/* The channel stays: a program that asks again needs no new one. */
EXPORT int nvmlShutdown(void)
{
    int status = NVML_UNINITIALIZED;

    pthread_mutex_lock(&lock);
    if (users) {
        users--;
        status = NVML_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* 0, or why a question with this place for the answer has none. */
static int needs(const void *to)
{
    unsigned used;

    pthread_mutex_lock(&lock);
    used = users;
    pthread_mutex_unlock(&lock);
    return !used ? NVML_UNINITIALIZED : to ? NVML_SUCCESS : NVML_INVALID_ARGUMENT;
}

static int needs_device(const void *device, const void *to)
{
    int status = needs(to);

    return status == NVML_SUCCESS && device != DEVICE ? NVML_INVALID_ARGUMENT : status;
}

static int put_text(const char *text, char *to, unsigned room)
{
    size_t bytes = strlen(text) + 1;

    if (bytes > room) {
        return NVML_INSUFFICIENT_SIZE;
    }
    memcpy(to, text, bytes);
    return NVML_SUCCESS;
}

/* ---- the system ---- */

EXPORT int nvmlSystemGetCudaDriverVersion(int *version)
{
    int status = needs(version);

    if (status == NVML_SUCCESS) {
        *version = cuda_process.snapshot.version;
    }
    return status;
}

EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    return nvmlSystemGetCudaDriverVersion(version);
}

EXPORT int nvmlSystemGetNVMLVersion(char *version, unsigned length)
{
    int status = needs(version);

    return status ? status : put_text(NVML_VERSION, version, length);
}

EXPORT const char *nvmlErrorString(int result)
{
    switch (result) {
    case NVML_SUCCESS: return "The operation was successful";
    case NVML_UNINITIALIZED: return "NVML was not initialized";
    case NVML_INVALID_ARGUMENT: return "An argument is invalid";
    case NVML_NOT_SUPPORTED: return "The operation is not supported in a guest";
    case NVML_NO_PERMISSION: return "A guest may not change the GPU";
    case NVML_NOT_FOUND: return "There is no such device";
    case NVML_INSUFFICIENT_SIZE: return "The place for the answer is too small";
    case NVML_DRIVER_NOT_LOADED: return "The host gives this VM no GPU";
    case NVML_GPU_IS_LOST: return "The connection to the host has ended";
    default: return "Unknown error";
    }
}

/* ---- the device ---- */

EXPORT int nvmlDeviceGetCount(unsigned *count)
{
    int status = needs(count);

    if (status == NVML_SUCCESS) {
        *count = 1; /* a VM has one */
    }
    return status;
}

EXPORT int nvmlDeviceGetCount_v2(unsigned *count)
{
    return nvmlDeviceGetCount(count);
}

EXPORT int nvmlDeviceGetHandleByIndex(unsigned index, void **device)
{
    int status = needs(device);

    if (status == NVML_SUCCESS && index != 0) {
        return NVML_INVALID_ARGUMENT;
    }
    if (status == NVML_SUCCESS) {
        *device = DEVICE;
    }
    return status;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    return nvmlDeviceGetHandleByIndex(index, device);
}

EXPORT int nvmlDeviceGetName(void *device, char *name, unsigned length)
{
    int status = needs_device(device, name);

    return status ? status : put_text(cuda_process.snapshot.name, name, length);
}

static void uuid_text(char text[UUID_BYTES])
{
    unsigned at = (unsigned)snprintf(text, UUID_BYTES, "GPU-");

    for (unsigned i = 0; i < 16; i++) {
        at += (unsigned)snprintf(text + at, UUID_BYTES - at, "%s%02x",
                                 i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                                 cuda_process.snapshot.uuid[i]);
    }
}

EXPORT int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length)
{
    char text[UUID_BYTES];
    int status = needs_device(device, uuid);

    if (status) {
        return status;
    }
    uuid_text(text);
    return put_text(text, uuid, length);
}

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    char text[UUID_BYTES];
    int status = needs(device);

    if (status || !uuid) {
        return status ? status : NVML_INVALID_ARGUMENT;
    }
    uuid_text(text);
    if (strcmp(text, uuid) != 0) {
        return NVML_NOT_FOUND;
    }
    *device = DEVICE;
    return NVML_SUCCESS;
}

/* The same address as CUDA's, by which programs match them. */
EXPORT int nvmlDeviceGetPciInfo_v3(void *device, struct pci_info *info)
{
    const int32_t *values = cuda_process.snapshot.values;
    int status = needs_device(device, info);

    if (status) {
        return status;
    }
    *info = (struct pci_info){
        .domain = (unsigned)values[ATTRIBUTE_PCI_DOMAIN],
        .bus = (unsigned)values[ATTRIBUTE_PCI_BUS],
        .device = (unsigned)values[ATTRIBUTE_PCI_DEVICE],
        .device_id = (unsigned)values[ATTRIBUTE_PCI_ID],
        .subsystem_id = (unsigned)values[ATTRIBUTE_PCI_SUBSYSTEM],
    };
    snprintf(info->short_id, sizeof(info->short_id), "%04X:%02X:%02X.0", info->domain & 0xffff,
             info->bus & 0xff, info->device & 0xff);
    snprintf(info->id, sizeof(info->id), "%08X:%02X:%02X.0", info->domain, info->bus & 0xff,
             info->device & 0xff);
    return NVML_SUCCESS;
}

EXPORT int nvmlDeviceGetHandleByPciBusId(const char *id, void **device)
{
    unsigned domain = 0, bus, slot;
    struct pci_info info;
    int status = needs(device);

    if (status || !id) {
        return status ? status : NVML_INVALID_ARGUMENT;
    }
    if (sscanf(id, "%x:%x:%x", &domain, &bus, &slot) != 3) {
        domain = 0;
        if (sscanf(id, "%x:%x", &bus, &slot) != 2) {
            return NVML_INVALID_ARGUMENT;
        }
    }
    nvmlDeviceGetPciInfo_v3(DEVICE, &info);
    if (info.domain != domain || info.bus != bus || info.device != slot) {
        return NVML_NOT_FOUND;
    }
    *device = DEVICE;
    return NVML_SUCCESS;
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device)
{
    return nvmlDeviceGetHandleByPciBusId(id, device);
}

EXPORT int nvmlDeviceGetIndex(void *device, unsigned *index)
{
    int status = needs_device(device, index);

    if (status == NVML_SUCCESS) {
        *index = 0;
    }
    return status;
}

EXPORT int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
    int status = needs_device(device, major);

    if (status || !minor) {
        return status ? status : NVML_INVALID_ARGUMENT;
    }
    *major = cuda_process.snapshot.values[ATTRIBUTE_MAJOR];
    *minor = cuda_process.snapshot.values[ATTRIBUTE_MINOR];
    return NVML_SUCCESS;
}

/* ---- what changes ---- */

EXPORT int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory)
{
    CUDAAccount account = {0};
    int status = needs_device(device, memory);

    status = status ? status : ask(&account);
    if (status == NVML_SUCCESS) {
        memory->total = cuda_process.snapshot.total_bytes;
        memory->used = account.used_bytes < memory->total ? account.used_bytes : memory->total;
        memory->free = memory->total - memory->used;
    }
    return status;
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *memory)
{
    struct memory found = {0};
    int status = needs_device(device, memory);

    if (status == NVML_SUCCESS && memory->version != MEMORY_V2) {
        return NVML_INVALID_ARGUMENT;
    }
    status = status ? status : nvmlDeviceGetMemoryInfo(device, &found);
    if (status == NVML_SUCCESS) {
        memory->total = found.total;
        memory->reserved = 0;
        memory->used = found.used;
        memory->free = found.free;
    }
    return status;
}

/* Does this process use the GPU?  Then it has libcuda.so.1, and a context. */
static bool is_user(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    CUresult (*state)(CUdevice device, unsigned *flags, int *active) = NULL;
    unsigned flags = 0;
    int active = 0;

    if (library) {
        *(void **)&state = dlsym(library, "cuDevicePrimaryCtxGetState");
        dlclose(library);
    }
    return state && state(0, &flags, &active) == CUDA_SUCCESS && active;
}

/* A process knows of itself alone, and has all that the VM's programs have: the worker keeps one
 * account for them.  NVML's structures differ in their length. */
static int processes(void *device, unsigned *count, void *infos, size_t bytes)
{
    struct process info = {.pid = (unsigned)getpid(), .gpu_instance = ~0u, .compute_instance = ~0u};
    CUDAAccount account = {0};
    int status = needs_device(device, count);
    unsigned room;

    status = status ? status : ask(&account);
    if (status) {
        return status;
    }
    room = *count;
    *count = is_user() ? 1 : 0;
    if (room < *count) {
        return NVML_INSUFFICIENT_SIZE;
    }
    if (*count && !infos) {
        return NVML_INVALID_ARGUMENT;
    }
    info.used_bytes = account.used_bytes;
    if (*count) {
        memcpy(infos, &info, bytes);
    }
    return NVML_SUCCESS;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses(void *device, unsigned *count, void *infos)
{
    return processes(device, count, infos, offsetof(struct process, gpu_instance));
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned *count, void *infos)
{
    return processes(device, count, infos, sizeof(struct process));
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *infos)
{
    return processes(device, count, infos, sizeof(struct process));
}

EXPORT int nvmlDeviceGetUtilizationRates(void *device, struct utilization *rates)
{
    CUDAAccount now = {0};
    int status = needs_device(device, rates);

    status = status ? status : ask(&now);
    if (status) {
        return status;
    }
    pthread_mutex_lock(&lock);
    if (now.turns_ns < last.turns_ns) { /* of another worker, which has just begun */
        last = now;
        percent = 0;
    }
    if (now.clock_ns - last.clock_ns >= INTERVAL_NS) {
        uint64_t busy_ns = now.turns_ns - last.turns_ns, all_ns = now.clock_ns - last.clock_ns;

        percent = busy_ns >= all_ns ? 100 : (unsigned)(busy_ns * 100 / all_ns);
        last = now;
    }
    *rates = (struct utilization){.gpu = percent};
    pthread_mutex_unlock(&lock);
    return NVML_SUCCESS;
}

/* ---- what a guest can't ask or do ---- */

#define REFUSE(name)                                                                               \
    EXPORT int name(void);                                                                         \
    int name(void)                                                                                 \
    {                                                                                              \
        return NVML_NOT_SUPPORTED;                                                                 \
    }
#define FORBID(name)                                                                               \
    EXPORT int name(void);                                                                         \
    int name(void)                                                                                 \
    {                                                                                              \
        return NVML_NO_PERMISSION;                                                                 \
    }

NVML_NOT_BUILT(REFUSE)
NVML_SETTERS(FORBID)
