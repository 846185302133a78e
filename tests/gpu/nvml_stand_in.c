/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stand-in for libnvidia-ml.so.1, for tests on machines without a GPU.
 *
 * What a test wants of it stands in the file that NVML_STAND_IN names, which is
 * read at every call: words NAME=NUMBER, separated by white space.  Without the
 * file all is well.
 *
 *   gpus=N           GPUs there are (default 1), with the UUIDs that worker/cuda/test_libcuda.c
 *                    gives them: GPU-abababab-abab-abab-abab-ababababab0N
 *   init=CODE        nvmlInit_v2 answers this
 *   error=CODE       every call on a device answers this, or only
 *   only=N           ... those on device N
 *   slow_ms=N        every call on a device takes so long
 *   hang=1           calls on a device wait until it is 0 again
 *   temperature=C gpu=PERCENT memory=PERCENT used=MIB power=MW ecc=N clocks=BITS
 *   pending=1 failed=1 pages=1     rows and pages of memory
 *   recovery=N       the driver's recovery action; 99: not supported, as in old drivers
 *   field_result=CODE   what reading that action ends in
 *   xid=N            an Xid event, each time that ...
 *   serial=N         ... this number changes
 *   pid=N pid_mib=M  a process that uses so much of each GPU; 500 MiB
 *   ecc_unsupported=1
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/unused.h"
#include "mediator/gpu/nvml_api.h"

#define GPUS_MAX 16

struct nvml_device_s {
    unsigned index;
};

struct nvml_event_set_s {
    nvml_device devices[GPUS_MAX];
    unsigned count;
    unsigned long serial; /* of the last event told */
};

static struct nvml_device_s devices[GPUS_MAX];
static unsigned initialised;

/* The values of some settings in one look; the file may be another one at the next. */
static void look(unsigned count, const char *const *names, unsigned long *values)
{
    const char *path = getenv("NVML_STAND_IN");
    FILE *file = path ? fopen(path, "r") : NULL;
    char word[128];

    while (file && fscanf(file, "%127s", word) == 1) {
        char *equals = strchr(word, '=');

        for (unsigned i = 0; equals && i < count; i++) {
            if ((size_t)(equals - word) == strlen(names[i]) &&
                strncmp(word, names[i], strlen(names[i])) == 0) {
                values[i] = strtoul(equals + 1, NULL, 0);
            }
        }
    }
    if (file) {
        fclose(file);
    }
}

static unsigned long setting(const char *name, unsigned long fallback)
{
    look(1, &name, &fallback);
    return fallback;
}

/* What every call on a device does first. */
static nvml_result enter(nvml_device device)
{
    static const char *const names[] = {"only", "error"};
    unsigned long values[] = {device->index, NVML_OK};
    unsigned long slow_ms = setting("slow_ms", 0);

    if (!initialised) {
        return NVML_UNINITIALIZED;
    }
    if (slow_ms) {
        usleep((useconds_t)slow_ms * 1000);
    }
    while (setting("hang", 0)) {
        usleep(5000);
    }
    look(2, names, values);
    return values[0] == device->index ? (nvml_result)values[1] : NVML_OK;
}

nvml_result nvmlInit_v2(void);
nvml_result nvmlShutdown(void);
const char *nvmlErrorString(nvml_result result);
nvml_result nvmlDeviceGetHandleByUUID(const char *uuid, nvml_device *device);
nvml_result nvmlDeviceGetTemperature(nvml_device device, unsigned sensor, unsigned *celsius);
nvml_result nvmlDeviceGetTemperatureThreshold(nvml_device device, unsigned kind, unsigned *celsius);
nvml_result nvmlDeviceGetUtilizationRates(nvml_device device, struct nvml_utilization *rates);
nvml_result nvmlDeviceGetMemoryInfo(nvml_device device, struct nvml_memory *memory);
nvml_result nvmlDeviceGetMemoryInfo_v2(nvml_device device, struct nvml_memory_v2 *memory);
nvml_result nvmlDeviceGetPowerUsage(nvml_device device, unsigned *milliwatts);
nvml_result nvmlDeviceGetClockInfo(nvml_device device, unsigned clock, unsigned *mhz);
nvml_result nvmlDeviceGetEnforcedPowerLimit(nvml_device device, unsigned *milliwatts);
nvml_result nvmlDeviceGetTotalEccErrors(nvml_device device, unsigned kind, unsigned counter,
                                        unsigned long long *count);
nvml_result nvmlDeviceGetCurrentClocksThrottleReasons(nvml_device device,
                                                      unsigned long long *reasons);
nvml_result nvmlDeviceGetComputeRunningProcesses_v3(nvml_device device, unsigned *count,
                                                    struct nvml_process_info *infos);
nvml_result nvmlDeviceGetRemappedRows(nvml_device device, unsigned *corrected,
                                      unsigned *uncorrected, unsigned *pending, unsigned *failed);
nvml_result nvmlDeviceGetRetiredPagesPendingStatus(nvml_device device, unsigned *pending);
nvml_result nvmlDeviceGetFieldValues(nvml_device device, int count,
                                     struct nvml_field_value *values);
nvml_result nvmlEventSetCreate(nvml_event_set *set);
nvml_result nvmlEventSetFree(nvml_event_set set);
nvml_result nvmlDeviceRegisterEvents(nvml_device device, unsigned long long types,
                                     nvml_event_set set);
nvml_result nvmlEventSetWait_v2(nvml_event_set set, struct nvml_event_data *data,
                                unsigned timeout_ms);

nvml_result nvmlInit_v2(void)
{
    nvml_result result = (nvml_result)setting("init", NVML_OK);

    if (result == NVML_OK) {
        initialised++;
    }
    return result;
}

nvml_result nvmlShutdown(void)
{
    const char *path = getenv("NVML_STAND_IN_SHUTDOWN");

    if (!initialised) {
        return NVML_UNINITIALIZED;
    }
    initialised--;
    if (path) {
        FILE *file = fopen(path, "a");

        if (file) {
            fputs("shutdown\n", file);
            fclose(file);
        }
    }
    return NVML_OK;
}

const char *nvmlErrorString(UNUSED nvml_result result)
{
    return "said by the stand-in";
}

nvml_result nvmlDeviceGetHandleByUUID(const char *uuid, nvml_device *device)
{
    unsigned index;
    nvml_result result;

    if (sscanf(uuid, "GPU-abababab-abab-abab-abab-ababababab%2x", &index) != 1 ||
        index >= GPUS_MAX || index >= setting("gpus", 1)) {
        return NVML_NOT_FOUND;
    }
    devices[index].index = index;
    *device = &devices[index];
    result = enter(*device);
    return result == NVML_GPU_IS_LOST ? NVML_NOT_FOUND : result;
}

nvml_result nvmlDeviceGetTemperature(nvml_device device, UNUSED unsigned sensor, unsigned *celsius)
{
    *celsius = (unsigned)setting("temperature", 40) + device->index;
    return enter(device);
}

nvml_result nvmlDeviceGetTemperatureThreshold(nvml_device device, unsigned kind, unsigned *celsius)
{
    *celsius = kind == NVML_THRESHOLD_SLOWDOWN ? 90 : 95;
    return enter(device);
}

nvml_result nvmlDeviceGetUtilizationRates(nvml_device device, struct nvml_utilization *rates)
{
    rates->gpu = (unsigned)setting("gpu", 50);
    rates->memory = (unsigned)setting("memory", 20);
    return enter(device);
}

nvml_result nvmlDeviceGetMemoryInfo(nvml_device device, struct nvml_memory *memory)
{
    memory->total = 80ull << 30;
    memory->used = ((unsigned long long)setting("used", 1024) + 600) << 20;
    memory->free = memory->total - memory->used;
    return enter(device);
}

nvml_result nvmlDeviceGetMemoryInfo_v2(nvml_device device, struct nvml_memory_v2 *memory)
{
    if (memory->version != NVML_MEMORY_V2) {
        return NVML_UNKNOWN;
    }
    memory->total = 80ull << 30;
    memory->reserved = 600ull << 20;
    memory->used = (unsigned long long)setting("used", 1024) << 20;
    memory->free = memory->total - memory->reserved - memory->used;
    return enter(device);
}

nvml_result nvmlDeviceGetPowerUsage(nvml_device device, unsigned *milliwatts)
{
    *milliwatts = (unsigned)setting("power", 120000);
    return enter(device);
}

nvml_result nvmlDeviceGetClockInfo(nvml_device device, unsigned clock, unsigned *mhz)
{
    *mhz = clock == NVML_CLOCK_SM ? 1980 : 3201;
    return enter(device);
}

nvml_result nvmlDeviceGetEnforcedPowerLimit(nvml_device device, unsigned *milliwatts)
{
    *milliwatts = 700000;
    return enter(device);
}

nvml_result nvmlDeviceGetTotalEccErrors(nvml_device device, unsigned kind, UNUSED unsigned counter,
                                        unsigned long long *count)
{
    if (setting("ecc_unsupported", 0)) {
        return NVML_NOT_SUPPORTED;
    }
    *count = kind == NVML_ERROR_UNCORRECTED ? setting("ecc", 0) : 3;
    return enter(device);
}

nvml_result nvmlDeviceGetCurrentClocksThrottleReasons(nvml_device device,
                                                      unsigned long long *reasons)
{
    *reasons = setting("clocks", NVML_CLOCKS_IDLE);
    return enter(device);
}

nvml_result nvmlDeviceGetComputeRunningProcesses_v3(nvml_device device, unsigned *count,
                                                    struct nvml_process_info *infos)
{
    unsigned pid = (unsigned)setting("pid", 0), many = (unsigned)setting("processes", 0);

    if (many > *count) {
        *count = many;
        return NVML_INSUFFICIENT_SIZE;
    }
    if (many > 0) {
        for (unsigned i = 0; i < many; i++) {
            infos[i] = (struct nvml_process_info){.pid = 1000 + i, .used_bytes = i};
        }
        *count = many;
        return enter(device);
    }
    if (pid && *count > 0) {
        infos[0].pid = pid;
        infos[0].used_bytes = (unsigned long long)setting("pid_mib", 500) << 20;
    }
    *count = pid != 0;
    return enter(device);
}

nvml_result nvmlDeviceGetRemappedRows(nvml_device device, unsigned *corrected,
                                      unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
    *corrected = 1;
    *uncorrected = 1;
    *pending = (unsigned)setting("pending", 0);
    *failed = (unsigned)setting("failed", 0);
    return enter(device);
}

nvml_result nvmlDeviceGetRetiredPagesPendingStatus(nvml_device device, unsigned *pending)
{
    *pending = (unsigned)setting("pages", 0);
    return enter(device);
}

nvml_result nvmlDeviceGetFieldValues(nvml_device device, int count, struct nvml_field_value *values)
{
    unsigned long action = setting("recovery", 0), field_result = setting("field_result", NVML_OK);

    for (int i = 0; i < count; i++) {
        values[i].result = field_result ? (nvml_result)field_result
                           : action == 99 || values[i].field != NVML_FIELD_RECOVERY_ACTION
                               ? NVML_NOT_SUPPORTED
                               : NVML_OK;
        values[i].type = 1;
        values[i].value.number = (unsigned)action;
    }
    return enter(device);
}

nvml_result nvmlEventSetCreate(nvml_event_set *set)
{
    *set = calloc(1, sizeof(**set));
    if (*set) {
        (*set)->serial = setting("serial", 0);
    }
    return *set ? NVML_OK : NVML_UNKNOWN;
}

nvml_result nvmlEventSetFree(nvml_event_set set)
{
    free(set);
    return NVML_OK;
}

nvml_result nvmlDeviceRegisterEvents(nvml_device device, UNUSED unsigned long long types,
                                     nvml_event_set set)
{
    if (set->count == GPUS_MAX) {
        return NVML_UNKNOWN;
    }
    set->devices[set->count++] = device;
    return enter(device);
}

nvml_result nvmlEventSetWait_v2(nvml_event_set set, struct nvml_event_data *data,
                                unsigned timeout_ms)
{
    for (unsigned waited_ms = 0;; waited_ms += 5) {
        unsigned long serial = setting("serial", 0);

        if (serial != set->serial && set->count > 0) {
            set->serial = serial;
            data->device = set->devices[0];
            data->type = NVML_EVENT_XID;
            data->data = setting("xid", 0);
            return NVML_OK;
        }
        if (waited_ms >= timeout_ms) {
            return NVML_TIMEOUT;
        }
        usleep(5000);
    }
}
