/* SPDX-License-Identifier: BSD-3-Clause */
/* Questions about the device and the driver, answered from the snapshot that cuInit took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_errors.h"
#include "cuda_hand.h"
#include "guest/cuda/internal.h"
#include "guest/cuda/names.h"

#define ATTRIBUTE_PCI_BUS 33
#define ATTRIBUTE_PCI_DEVICE 34
#define ATTRIBUTE_PCI_DOMAIN 50
#define VERSION_MAX 13000 /* of the table */
#define P2P_ATTRIBUTE_MAX 4

static CUresult need_device(CUdevice dev)
{
    if (cuda_state() != CUDA_READY && cuda_state() != CUDA_LOST) {
        return cuda_state_result();
    }
    return dev == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

#define RETURN_IF(result, code)                                                                    \
    do {                                                                                           \
        if (result) {                                                                              \
            return code;                                                                           \
        }                                                                                          \
    } while (0)

/* An answer that needs a device and a place to write to. */
static CUresult need(const void *to, CUdevice dev)
{
    CUresult result = need_device(dev);

    return result || to ? result : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuInit(unsigned int Flags)
{
    if (cuda_state() == CUDA_FORKED) {
        return CUDA_ERROR_NOT_INITIALIZED;
    }
    return Flags ? CUDA_ERROR_INVALID_VALUE : cuda_open();
}

CUresult hand_cuDriverGetVersion(int *driverVersion)
{
    RETURN_IF(!driverVersion, CUDA_ERROR_INVALID_VALUE);
    *driverVersion = VERSION_MAX;
    if (cuda_process.snapshot.version && cuda_process.snapshot.version < VERSION_MAX) {
        *driverVersion = cuda_process.snapshot.version;
    }
    return CUDA_SUCCESS;
}

static const struct error {
    CUresult number;
    const char *name, *text;
} errors[] = {
#define ERROR_ROW(number, name, text) {number, name, text},
    CUDA_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

static const struct error *find_error(CUresult number)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (errors[i].number == number) {
            return &errors[i];
        }
    }
    return NULL;
}

CUresult hand_cuGetErrorName(CUresult error, const char **pStr)
{
    const struct error *found = find_error(error);

    RETURN_IF(!pStr, CUDA_ERROR_INVALID_VALUE);
    *pStr = found ? found->name : NULL;
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuGetErrorString(CUresult error, const char **pStr)
{
    const struct error *found = find_error(error);

    RETURN_IF(!pStr, CUDA_ERROR_INVALID_VALUE);
    *pStr = found ? found->text : NULL;
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuGetExportTable(const void **ppExportTable, const CUuuid *pExportTableId)
{
    static int said;

    RETURN_IF(!ppExportTable || !pExportTableId, CUDA_ERROR_INVALID_VALUE);
    *ppExportTable = NULL;
    if (!__atomic_exchange_n(&said, 1, __ATOMIC_RELAXED)) {
        const uint8_t *b = (const uint8_t *)pExportTableId->bytes;

        cuda_say("a hidden table (%02x%02x%02x%02x-%02x%02x-...) is asked for, which only NVIDIA's "
                 "own driver has: a program that is linked with NVIDIA's CUDA runtime does not run "
                 "here yet",
                 b[0], b[1], b[2], b[3], b[4], b[5]);
    }
    return CUDA_ERROR_INVALID_VALUE;
}

/* ---- cuGetProcAddress ---- */

enum { FOUND = 0, UNKNOWN = 1, TOO_OLD = 2 };

/* The first row of this name; cuda_name_count: there is none. */
static unsigned first_of(const char *name)
{
    unsigned low = 0, high = cuda_name_count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (strcmp(cuda_names[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < cuda_name_count && strcmp(cuda_names[low].name, name) == 0 ? low : cuda_name_count;
}

static int look_up(const char *name, int version, bool per_thread, cuda_function **found)
{
    unsigned first = first_of(name), end = first;
    bool has = false;

    *found = NULL;
    for (; end < cuda_name_count && strcmp(cuda_names[end].name, name) == 0; end++) {
        has = has || cuda_names[end].per_thread;
    }
    for (unsigned i = first; i < end; i++) {
        if (cuda_names[i].since <= version &&
            (cuda_names[i].per_thread != 0) == (per_thread && has)) {
            *found = cuda_names[i].function;
            return FOUND;
        }
    }
    return first == end ? UNKNOWN : TOO_OLD;
}

CUresult hand_cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, uint64_t flags,
                                  int *symbolStatus)
{
    cuda_function *function;
    int version, status;

    hand_cuDriverGetVersion(&version);
    RETURN_IF(!pfn, CUDA_ERROR_INVALID_VALUE);
    RETURN_IF(!symbol || cudaVersion > version || flags > 3, CUDA_ERROR_INVALID_VALUE);
    status = look_up(symbol, cudaVersion, (flags & 2) != 0, &function);
    memcpy(pfn, &function, sizeof(function));
    if (symbolStatus) {
        *symbolStatus = status;
    }
    return CUDA_SUCCESS;
}

CUresult hand_cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, uint64_t flags)
{
    void *found = NULL;
    int status = FOUND;
    CUresult result;

    RETURN_IF(!pfn, CUDA_ERROR_INVALID_VALUE);
    result = hand_cuGetProcAddress_v2(symbol, &found, cudaVersion, flags, &status);
    RETURN_IF(result, result);
    RETURN_IF(status != FOUND, CUDA_ERROR_NOT_FOUND);
    *pfn = found;
    return CUDA_SUCCESS;
}

/* ---- the device ---- */

CUresult hand_cuDeviceGet(CUdevice *device, int ordinal)
{
    CUresult result = need(device, 0);

    RETURN_IF(result, result);
    RETURN_IF(ordinal != 0, CUDA_ERROR_INVALID_DEVICE);
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult hand_cuDeviceGetCount(int *count)
{
    CUresult result = need(count, 0);

    RETURN_IF(result, result);
    *count = 1;
    return CUDA_SUCCESS;
}

static CUresult copy_text(char *to, int len, const char *text)
{
    RETURN_IF(len <= 0, CUDA_ERROR_INVALID_VALUE);
    snprintf(to, (size_t)len, "%s", text);
    return CUDA_SUCCESS;
}

CUresult hand_cuDeviceGetName(char *name, int len, CUdevice dev)
{
    CUresult result = need(name, dev);

    RETURN_IF(result, result);
    return copy_text(name, len, cuda_process.snapshot.name);
}

CUresult hand_cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
    CUresult result = need(uuid, dev);

    RETURN_IF(result, result);
    memcpy(uuid, cuda_process.snapshot.uuid, sizeof(*uuid));
    return CUDA_SUCCESS;
}

CUresult hand_cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
    CUresult result = need(bytes, dev);

    RETURN_IF(result, result);
    *bytes = cuda_process.snapshot.total_bytes;
    return CUDA_SUCCESS;
}

CUresult hand_cuDeviceGetAttribute(int *pi, int attrib, CUdevice dev)
{
    CUresult result = need_device(0);

    RETURN_IF(result, result);
    RETURN_IF(!pi || attrib < 1 || attrib > CU_DEVICE_ATTRIBUTES, CUDA_ERROR_INVALID_VALUE);
    RETURN_IF(dev != 0, CUDA_ERROR_INVALID_DEVICE);
    RETURN_IF(cuda_process.snapshot.results[attrib], CUDA_ERROR_INVALID_VALUE);
    *pi = cuda_process.snapshot.values[attrib];
    return CUDA_SUCCESS;
}

CUresult hand_cuDeviceGetProperties(CUdevprop *prop, CUdevice dev)
{
    const int32_t *a = cuda_process.snapshot.values;
    CUresult result = need(prop, dev);

    RETURN_IF(result, result);
    *prop = (CUdevprop){
        .maxThreadsPerBlock = a[1],
        .maxThreadsDim = {a[2], a[3], a[4]},
        .maxGridSize = {a[5], a[6], a[7]},
        .sharedMemPerBlock = a[8],
        .totalConstantMemory = a[9],
        .SIMDWidth = a[10],
        .memPitch = a[11],
        .regsPerBlock = a[12],
        .clockRate = a[13],
        .textureAlign = a[14],
    };
    return CUDA_SUCCESS;
}

CUresult hand_cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
    CUresult result = need(major, dev);

    RETURN_IF(result, result);
    RETURN_IF(!minor, CUDA_ERROR_INVALID_VALUE);
    *major = cuda_process.snapshot.values[75];
    *minor = cuda_process.snapshot.values[76];
    return CUDA_SUCCESS;
}

static void bus_id(char text[32])
{
    const int32_t *a = cuda_process.snapshot.values;

    snprintf(text, 32, "%04X:%02X:%02X.0", (unsigned)a[ATTRIBUTE_PCI_DOMAIN],
             (unsigned)a[ATTRIBUTE_PCI_BUS], (unsigned)a[ATTRIBUTE_PCI_DEVICE]);
}

CUresult hand_cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev)
{
    CUresult result = need(pciBusId, dev);
    char text[32];

    RETURN_IF(result, result);
    bus_id(text);
    return copy_text(pciBusId, len, text);
}

CUresult hand_cuDeviceGetByPCIBusId(CUdevice *dev, const char *pciBusId)
{
    CUresult result = need(dev, 0);
    unsigned domain = 0, bus = 0, device = 0;
    const int32_t *a = cuda_process.snapshot.values;

    RETURN_IF(result, result);
    RETURN_IF(!pciBusId, CUDA_ERROR_INVALID_VALUE);
    if (sscanf(pciBusId, "%x:%x:%x", &domain, &bus, &device) != 3) {
        domain = 0;
        RETURN_IF(sscanf(pciBusId, "%x:%x", &bus, &device) != 2, CUDA_ERROR_INVALID_VALUE);
    }
    RETURN_IF(domain != (unsigned)a[ATTRIBUTE_PCI_DOMAIN] ||
                  bus != (unsigned)a[ATTRIBUTE_PCI_BUS] ||
                  device != (unsigned)a[ATTRIBUTE_PCI_DEVICE],
              CUDA_ERROR_INVALID_DEVICE);
    *dev = 0;
    return CUDA_SUCCESS;
}

CUresult hand_cuDeviceGetLuid(char *luid, unsigned int *deviceNodeMask, CUdevice dev)
{
    CUresult result = need(luid && deviceNodeMask ? luid : NULL, dev);

    RETURN_IF(result, result);
    return CUDA_ERROR_NOT_SUPPORTED; /* Windows has them */
}

CUresult hand_cuDeviceCanAccessPeer(int *canAccessPeer, CUdevice dev, CUdevice peerDev)
{
    CUresult result = need(canAccessPeer, dev ? dev : peerDev);

    RETURN_IF(result, result);
    *canAccessPeer = 0;
    return CUDA_SUCCESS;
}

CUresult hand_cuDeviceGetP2PAttribute(int *value, int attrib, CUdevice srcDevice,
                                      CUdevice dstDevice)
{
    CUresult result = need(value, srcDevice ? srcDevice : dstDevice);

    RETURN_IF(result, result);
    RETURN_IF(attrib < 1 || attrib > P2P_ATTRIBUTE_MAX, CUDA_ERROR_INVALID_VALUE);
    return CUDA_ERROR_INVALID_DEVICE; /* a device is no peer of its own */
}

CUresult hand_cuDeviceGetP2PAtomicCapabilities(unsigned int *capabilities, const int *operations,
                                               unsigned int count, CUdevice srcDevice,
                                               CUdevice dstDevice)
{
    CUresult result = need(capabilities, srcDevice ? srcDevice : dstDevice);

    RETURN_IF(result, result);
    RETURN_IF(!operations || count == 0, CUDA_ERROR_INVALID_VALUE);
    return CUDA_ERROR_INVALID_DEVICE; /* a device is no peer of its own */
}

/* ---- accepted without effect ---- */

CUresult hand_cuProfilerInitialize(const char *configFile, const char *outputFile, int outputMode)
{
    (void)configFile;
    (void)outputFile;
    (void)outputMode;
    return need_device(0);
}

CUresult hand_cuProfilerStart(void)
{
    return need_device(0);
}

CUresult hand_cuProfilerStop(void)
{
    return need_device(0);
}

CUresult hand_cuModuleGetLoadingMode(int *mode)
{
    const char *wanted = getenv("CUDA_MODULE_LOADING");
    CUresult result = need(mode, 0);

    RETURN_IF(result, result);
    *mode = wanted && strcmp(wanted, "EAGER") == 0 ? 1 : 2;
    return CUDA_SUCCESS;
}

CUresult hand_cuThreadExchangeStreamCaptureMode(int *mode)
{
    struct cuda_thread *thread = cuda_thread();
    CUresult result = need(mode, 0);
    int before = thread->capture_mode;

    RETURN_IF(result, result);
    RETURN_IF(*mode < 0 || *mode > 2, CUDA_ERROR_INVALID_VALUE);
    thread->capture_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}
