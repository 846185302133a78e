/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This is the part of NVML (the driver's management library) that the mediator uses, and finds
 * at run time.  It has its own declarations of its documented, stable binary interface, so that
 * neither building nor running needs NVIDIA's packages.
 *
 * Members are named as NVML's functions are, without the prefix "nvml" and the
 * version at the end.  All return NVML_OK or an nvml_result.  A member marked
 * optional may be NULL: that driver doesn't have it.
 */
#ifndef MEDIATOR_GPU_NVML_API_H
#define MEDIATOR_GPU_NVML_API_H

#include <stddef.h>
#include <stdint.h>

#define NVML_LIBRARY "libnvidia-ml.so.1"
#define NVML_REASON_BYTES 384u

/* nvmlReturn_t: those that mean something to this program. */
#define NVML_OK 0u
#define NVML_UNINITIALIZED 1u
#define NVML_INVALID_ARGUMENT 2u
#define NVML_NOT_SUPPORTED 3u
#define NVML_NOT_FOUND 6u
#define NVML_INSUFFICIENT_SIZE 7u
#define NVML_DRIVER_NOT_LOADED 9u
#define NVML_TIMEOUT 10u
#define NVML_FUNCTION_NOT_FOUND 13u
#define NVML_GPU_IS_LOST 15u
#define NVML_RESET_REQUIRED 16u
#define NVML_VERSION_MISMATCH 18u /* library and kernel driver: one was updated under us */
#define NVML_ARGUMENT_VERSION_MISMATCH 25u
#define NVML_UNKNOWN 999u

#define NVML_TEMPERATURE_GPU 0u
#define NVML_CLOCK_SM 1u
#define NVML_THRESHOLD_SLOWDOWN 1u
#define NVML_ERROR_CORRECTED 0u
#define NVML_ERROR_UNCORRECTED 1u
#define NVML_VOLATILE_ECC 0u /* since the driver was loaded */
#define NVML_EVENT_XID 8ull
#define NVML_MEMORY_V2 (40u | 2u << 24) /* the structure's size and version */

/* nvmlClocksEventReasons: why the clocks are lower than they could be. */
#define NVML_CLOCKS_IDLE 0x001ull
#define NVML_CLOCKS_APPLICATION 0x002ull
#define NVML_CLOCKS_POWER_CAP 0x004ull
#define NVML_CLOCKS_HW_SLOWDOWN 0x008ull
#define NVML_CLOCKS_SYNC_BOOST 0x010ull
#define NVML_CLOCKS_SW_THERMAL 0x020ull
#define NVML_CLOCKS_HW_THERMAL 0x040ull
#define NVML_CLOCKS_POWER_BRAKE 0x080ull
#define NVML_CLOCKS_DISPLAY 0x100ull

/* NVML_FI_DEV_GET_GPU_RECOVERY_ACTION: what the driver itself wants done. */
#define NVML_FIELD_RECOVERY_ACTION 230u
#define NVML_RECOVERY_NONE 0u
#define NVML_RECOVERY_RESET 1u
#define NVML_RECOVERY_REBOOT 2u
#define NVML_RECOVERY_DRAIN_P2P 3u
#define NVML_RECOVERY_DRAIN_AND_RESET 4u
#define NVML_RECOVERY_RESET_BUS 5u

typedef unsigned nvml_result;
typedef struct nvml_device_s *nvml_device;
typedef struct nvml_event_set_s *nvml_event_set;

struct nvml_utilization {
    unsigned gpu, memory; /* percent */
};

struct nvml_memory {
    unsigned long long total, free, used; /* bytes */
};

/* As nvidia-smi counts: what the driver keeps for itself isn't "used". */
struct nvml_memory_v2 {
    unsigned version; /* NVML_MEMORY_V2 */
    unsigned long long total, reserved, free, used;
};

struct nvml_event_data {
    nvml_device device;
    unsigned long long type;
    unsigned long long data; /* the Xid */
    unsigned gpu_instance, compute_instance;
};

struct nvml_process_info {
    unsigned pid;
    unsigned long long used_bytes; /* all ones: unknown */
    unsigned gpu_instance, compute_instance;
};

struct nvml_field_value {
    unsigned field, scope;
    long long timestamp_us, latency_us;
    unsigned type;
    nvml_result result;
    union {
        double real;
        unsigned number;
        unsigned long long wide;
    } value;
};

_Static_assert(sizeof(struct nvml_memory_v2) == 40, "nvmlMemory_v2_t");
_Static_assert(sizeof(struct nvml_event_data) == 32, "nvmlEventData_t");
_Static_assert(sizeof(struct nvml_process_info) == 24, "nvmlProcessInfo_v2_t");
_Static_assert(sizeof(struct nvml_field_value) == 40, "nvmlFieldValue_t");

struct nvml_api {
    nvml_result (*Init)(void);
    nvml_result (*Shutdown)(void);
    const char *(*ErrorString)(nvml_result result);
    nvml_result (*DeviceGetHandleByUUID)(const char *uuid, nvml_device *device);
    nvml_result (*DeviceGetTemperature)(nvml_device device, unsigned sensor, unsigned *celsius);
    nvml_result (*DeviceGetUtilizationRates)(nvml_device device, struct nvml_utilization *rates);
    nvml_result (*DeviceGetMemoryInfo)(nvml_device device, struct nvml_memory *memory);
    nvml_result (*DeviceGetPowerUsage)(nvml_device device, unsigned *milliwatts);
    nvml_result (*DeviceGetTotalEccErrors)(nvml_device device, unsigned kind, unsigned counter,
                                           unsigned long long *count);
    /* Optional from here. */
    nvml_result (*DeviceGetMemoryInfo_v2)(nvml_device device, struct nvml_memory_v2 *memory);
    nvml_result (*DeviceGetTemperatureThreshold)(nvml_device device, unsigned kind,
                                                 unsigned *celsius);
    nvml_result (*DeviceGetClockInfo)(nvml_device device, unsigned clock, unsigned *mhz);
    nvml_result (*DeviceGetEnforcedPowerLimit)(nvml_device device, unsigned *milliwatts);
    nvml_result (*DeviceGetCurrentClocksEventReasons)(nvml_device device,
                                                      unsigned long long *reasons);
    nvml_result (*DeviceGetComputeRunningProcesses)(nvml_device device, unsigned *count,
                                                    struct nvml_process_info *infos);
    nvml_result (*DeviceGetRemappedRows)(nvml_device device, unsigned *corrected,
                                         unsigned *uncorrected, unsigned *pending,
                                         unsigned *failed);
    nvml_result (*DeviceGetRetiredPagesPendingStatus)(nvml_device device, unsigned *pending);
    nvml_result (*DeviceGetFieldValues)(nvml_device device, int count,
                                        struct nvml_field_value *values);
    nvml_result (*EventSetCreate)(nvml_event_set *set);
    nvml_result (*EventSetFree)(nvml_event_set set);
    nvml_result (*DeviceRegisterEvents)(nvml_device device, unsigned long long types,
                                        nvml_event_set set);
    nvml_result (*EventSetWait)(nvml_event_set set, struct nvml_event_data *data,
                                unsigned timeout_ms);
};

/*
 * Opens the library at `path` (NULL: NVML_LIBRARY, where the loader finds it).
 * Does not initialise NVML.  0, or -errno and a sentence in `reason`: no
 * library (-ENOENT), or one that lacks a function that is not optional (-ENOSYS).
 * The library stays open until the process ends.
 */
int nvml_api_open(struct nvml_api *api, const char *path, char reason[NVML_REASON_BYTES]);

#endif /* MEDIATOR_GPU_NVML_API_H */
