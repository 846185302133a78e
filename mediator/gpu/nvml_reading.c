/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/gpu/nvml_reading.h"

bool nvml_call_worked(const struct nvml_api *api, nvml_health_t *health, const char *reading,
                      nvml_result result)
{
    switch (result) {
    case NVML_OK: return true;
    case NVML_GPU_IS_LOST: health->lost = true; break;
    case NVML_RESET_REQUIRED: health->reset_required = true; break;
    case NVML_NOT_SUPPORTED: break;
    default:
        health->error = result;
        health->error_reading = reading;
        health->error_text = api->ErrorString(result);
        break;
    }
    return false;
}

/*
 * Of a reading that not all drivers have: an older one refuses the number of a
 * field, a kind or a version that it does not know as a wrong argument.
 */
static nvml_result unless_unknown(nvml_result result)
{
    switch (result) {
    case NVML_INVALID_ARGUMENT:
    case NVML_FUNCTION_NOT_FOUND:
    case NVML_ARGUMENT_VERSION_MISMATCH: return NVML_NOT_SUPPORTED;
    default: return result;
    }
}

static void read_memory(const struct nvml_api *api, nvml_device device, nvml_health_t *health)
{
    struct nvml_memory_v2 newer = {.version = NVML_MEMORY_V2};
    struct nvml_memory older;

    if (api->DeviceGetMemoryInfo_v2 && api->DeviceGetMemoryInfo_v2(device, &newer) == NVML_OK) {
        health->memory_total_bytes = newer.total;
        health->memory_used_bytes = newer.used;
    } else if (nvml_call_worked(api, health, "the memory",
                                api->DeviceGetMemoryInfo(device, &older))) {
        health->memory_total_bytes = older.total;
        health->memory_used_bytes = older.used;
    } else {
        return;
    }
    health->has |= NVML_HAS_MEMORY;
}

static void read_load(const struct nvml_api *api, nvml_device device, nvml_health_t *health)
{
    struct nvml_utilization rates;

    if (nvml_call_worked(
            api, health, "the temperature",
            api->DeviceGetTemperature(device, NVML_TEMPERATURE_GPU, &health->temperature_c))) {
        health->has |= NVML_HAS_TEMPERATURE;
    }
    if (api->DeviceGetTemperatureThreshold &&
        nvml_call_worked(api, health, "the slowdown temperature",
                         unless_unknown(api->DeviceGetTemperatureThreshold(
                             device, NVML_THRESHOLD_SLOWDOWN, &health->slowdown_c)))) {
        health->has |= NVML_HAS_SLOWDOWN;
    }
    if (nvml_call_worked(api, health, "the load", api->DeviceGetUtilizationRates(device, &rates))) {
        health->has |= NVML_HAS_UTILIZATION;
        health->gpu_percent = rates.gpu;
        health->memory_percent = rates.memory;
    }
    read_memory(api, device, health);
    if (nvml_call_worked(api, health, "the power",
                         api->DeviceGetPowerUsage(device, &health->power_mw))) {
        health->has |= NVML_HAS_POWER;
    }
    if (api->DeviceGetClockInfo &&
        nvml_call_worked(api, health, "the clock",
                         unless_unknown(api->DeviceGetClockInfo(device, NVML_CLOCK_SM,
                                                                &health->sm_clock_mhz)))) {
        health->has |= NVML_HAS_SM_CLOCK;
    }
    if (api->DeviceGetEnforcedPowerLimit &&
        nvml_call_worked(
            api, health, "the power limit",
            unless_unknown(api->DeviceGetEnforcedPowerLimit(device, &health->power_limit_mw)))) {
        health->has |= NVML_HAS_POWER_LIMIT;
    }
}

static void read_errors(const struct nvml_api *api, nvml_device device, nvml_health_t *health)
{
    unsigned long long corrected = 0, uncorrected = 0, reasons = 0;
    unsigned rows_corrected = 0, rows_uncorrected = 0, pending = 0, failed = 0;
    struct nvml_field_value recovery = {.field = NVML_FIELD_RECOVERY_ACTION};

    if (nvml_call_worked(api, health, "the ECC errors",
                         api->DeviceGetTotalEccErrors(device, NVML_ERROR_CORRECTED,
                                                      NVML_VOLATILE_ECC, &corrected)) &&
        nvml_call_worked(api, health, "the ECC errors",
                         api->DeviceGetTotalEccErrors(device, NVML_ERROR_UNCORRECTED,
                                                      NVML_VOLATILE_ECC, &uncorrected))) {
        health->has |= NVML_HAS_ECC;
        health->ecc_corrected = corrected;
        health->ecc_uncorrected = uncorrected;
    }
    if (api->DeviceGetCurrentClocksEventReasons &&
        nvml_call_worked(
            api, health, "the clock events",
            unless_unknown(api->DeviceGetCurrentClocksEventReasons(device, &reasons)))) {
        health->has |= NVML_HAS_CLOCKS_EVENTS;
        health->clocks_events = reasons;
    }
    if (api->DeviceGetRemappedRows &&
        nvml_call_worked(api, health, "the remapped rows",
                         unless_unknown(api->DeviceGetRemappedRows(
                             device, &rows_corrected, &rows_uncorrected, &pending, &failed)))) {
        health->has |= NVML_HAS_ROWS;
        health->rows_remapped = rows_corrected + rows_uncorrected;
        health->rows_pending = pending != 0;
        health->rows_failed = failed != 0;
    }
    if (api->DeviceGetRetiredPagesPendingStatus &&
        nvml_call_worked(
            api, health, "the retired pages",
            unless_unknown(api->DeviceGetRetiredPagesPendingStatus(device, &pending)))) {
        health->has |= NVML_HAS_PAGES;
        health->pages_pending = pending != 0;
    }
    if (api->DeviceGetFieldValues &&
        nvml_call_worked(api, health, "the recovery action",
                         unless_unknown(api->DeviceGetFieldValues(device, 1, &recovery))) &&
        nvml_call_worked(api, health, "the recovery action", unless_unknown(recovery.result))) {
        health->has |= NVML_HAS_RECOVERY;
        health->recovery_action = recovery.value.number;
    }
}

static void read_processes(const struct nvml_api *api, nvml_device device, nvml_health_t *health)
{
    struct nvml_process_info infos[NVML_PROCESSES_MAX];
    unsigned count = NVML_PROCESSES_MAX;
    nvml_result result;

    if (!api->DeviceGetComputeRunningProcesses) {
        return;
    }
    result = api->DeviceGetComputeRunningProcesses(device, &count, infos);
    if (result == NVML_INSUFFICIENT_SIZE) {
        /* There are more than we list: say how many. */
        health->process_count = count;
        health->processes_unlisted = true;
        health->has |= NVML_HAS_PROCESSES;
        return;
    }
    if (!nvml_call_worked(api, health, "the processes", unless_unknown(result))) {
        return;
    }
    health->has |= NVML_HAS_PROCESSES;
    health->process_count = count < NVML_PROCESSES_MAX ? count : NVML_PROCESSES_MAX;
    for (unsigned i = 0; i < health->process_count; i++) {
        health->processes[i].pid = infos[i].pid;
        health->processes[i].used_bytes = infos[i].used_bytes == ~0ull ? 0 : infos[i].used_bytes;
    }
}

void nvml_read_device(const struct nvml_api *api, nvml_device device, nvml_health_t *health)
{
    read_load(api, device, health);
    read_errors(api, device, health);
    read_processes(api, device, health);
}
