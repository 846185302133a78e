/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/gpu/nvml_api.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct symbol {
    const char *name;
    const char *older; /* its name in older drivers, same signature; NULL: none */
    size_t offset;
    bool optional;
} symbols[] = {
#define NEEDED(member, suffix)                                                                     \
    {                                                                                              \
        "nvml" #member suffix, NULL, offsetof(struct nvml_api, member), false                      \
    }
#define OPTIONAL(member, suffix, older)                                                            \
    {                                                                                              \
        "nvml" #member suffix, older, offsetof(struct nvml_api, member), true                      \
    }
    NEEDED(Init, "_v2"),
    NEEDED(Shutdown, ""),
    NEEDED(ErrorString, ""),
    NEEDED(DeviceGetHandleByUUID, ""),
    NEEDED(DeviceGetTemperature, ""),
    NEEDED(DeviceGetUtilizationRates, ""),
    NEEDED(DeviceGetMemoryInfo, ""),
    NEEDED(DeviceGetPowerUsage, ""),
    NEEDED(DeviceGetTotalEccErrors, ""),
    OPTIONAL(DeviceGetMemoryInfo_v2, "", NULL),
    OPTIONAL(DeviceGetTemperatureThreshold, "", NULL),
    OPTIONAL(DeviceGetClockInfo, "", NULL),
    OPTIONAL(DeviceGetEnforcedPowerLimit, "", NULL),
    OPTIONAL(DeviceGetCurrentClocksEventReasons, "", "nvmlDeviceGetCurrentClocksThrottleReasons"),
    OPTIONAL(DeviceGetComputeRunningProcesses, "_v3", "nvmlDeviceGetComputeRunningProcesses_v2"),
    OPTIONAL(DeviceGetRemappedRows, "", NULL),
    OPTIONAL(DeviceGetRetiredPagesPendingStatus, "", NULL),
    OPTIONAL(DeviceGetFieldValues, "", NULL),
    OPTIONAL(EventSetCreate, "", NULL),
    OPTIONAL(EventSetFree, "", NULL),
    OPTIONAL(DeviceRegisterEvents, "", NULL),
    OPTIONAL(EventSetWait, "_v2", NULL),
#undef NEEDED
#undef OPTIONAL
};

_Static_assert(sizeof(symbols) / sizeof(symbols[0]) ==
                   sizeof(struct nvml_api) / sizeof(void (*)(void)),
               "each member of struct nvml_api has its symbol");

int nvml_api_open(struct nvml_api *api, const char *path, char reason[NVML_REASON_BYTES])
{
    void *library = dlopen(path ? path : NVML_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    memset(api, 0, sizeof(*api));
    if (!library) {
        snprintf(reason, NVML_REASON_BYTES, "no NVML: %s", dlerror());
        return -ENOENT;
    }
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *function = dlsym(library, symbols[i].name);

        if (!function && symbols[i].older) {
            function = dlsym(library, symbols[i].older);
        }
        if (!function && !symbols[i].optional) {
            snprintf(reason, NVML_REASON_BYTES, "NVML has no function %s", symbols[i].name);
            dlclose(library);
            memset(api, 0, sizeof(*api));
            return -ENOSYS;
        }
        memcpy((char *)api + symbols[i].offset, &function, sizeof(function));
    }
    return 0;
}
