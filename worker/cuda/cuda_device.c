/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/parse.h"
#include "worker/cuda/cuda_device.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

_Static_assert(CUDA_REASON_BYTES == BACKEND_REASON_BYTES, "reasons are handed through");

static void format_uuid(const cuda_uuid *uuid, const char *prefix,
                        char text[VGPU_WORKER_UUID_BYTES])
{
    const uint8_t *b = uuid->bytes;

    snprintf(text, VGPU_WORKER_UUID_BYTES,
             "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", prefix, b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}

static bool is_uuid(const char *wanted)
{
    return strncmp(wanted, "GPU-", 4) == 0 || strncmp(wanted, "MIG-", 4) == 0;
}

int cuda_device_describe(const struct cuda_api *api, int index, struct backend_gpu *gpu,
                         char reason[CUDA_REASON_BYTES])
{
    char name[256] = "";
    int multiprocessors = 0, major = 0, minor = 0;
    size_t memory_bytes = 0;
    cuda_device device;
    cuda_uuid uuid;
    cuda_result error;

    memset(gpu, 0, sizeof(*gpu));
    error = api->DeviceGet(&device, index);
    error = error ? error : api->DeviceGetName(name, sizeof(name), device);
    error = error ? error : api->DeviceGetUuid(&uuid, device);
    error = error ? error : api->DeviceTotalMem(&memory_bytes, device);
    error = error
                ? error
                : api->DeviceGetAttribute(&multiprocessors, CUDA_ATTRIBUTE_MULTIPROCESSORS, device);
    error = error ? error : api->DeviceGetAttribute(&major, CUDA_ATTRIBUTE_COMPUTE_MAJOR, device);
    error = error ? error : api->DeviceGetAttribute(&minor, CUDA_ATTRIBUTE_COMPUTE_MINOR, device);
    if (error) {
        char text[CUDA_REASON_BYTES];

        cuda_error_text(api, error, text);
        snprintf(reason, CUDA_REASON_BYTES, "GPU %d does not answer: %.200s", index, text);
        return -EIO;
    }
    name[sizeof(name) - 1] = '\0';
    gpu->index = (unsigned)index;
    backend_copy_name(gpu->name, sizeof(gpu->name), name);
    format_uuid(&uuid, "GPU-", gpu->uuid);
    gpu->memory_bytes = memory_bytes;
    gpu->multiprocessors = (unsigned)multiprocessors;
    gpu->compute_major = (unsigned)major;
    gpu->compute_minor = (unsigned)minor;
    return 0;
}

static int count_devices(const struct cuda_api *api, char reason[CUDA_REASON_BYTES])
{
    int count = 0;
    cuda_result error = api->DeviceGetCount(&count);

    if (error) {
        char text[CUDA_REASON_BYTES];

        cuda_error_text(api, error, text);
        snprintf(reason, CUDA_REASON_BYTES, "the NVIDIA driver lists no GPUs: %.200s", text);
        return -EIO;
    }
    if (count <= 0) {
        snprintf(reason, CUDA_REASON_BYTES, "there is an NVIDIA driver, but no GPU");
        return -ENODEV;
    }
    return count > (int)BACKEND_GPUS_MAX ? (int)BACKEND_GPUS_MAX : count;
}

/* With one GPU made visible by its UUID, it is number 0 or nothing is there. */
static int find_uuid(const struct cuda_api *api, int count, const char *wanted,
                     struct backend_gpu *gpu, char reason[CUDA_REASON_BYTES])
{
    for (int i = 0; i < count; i++) {
        int status = cuda_device_describe(api, i, gpu, reason);

        if (status < 0) {
            return status;
        }
        memcpy(gpu->uuid, wanted,
               4); /* the driver's UUID of a MIG slice has no prefix of its own */
        if (strcasecmp(gpu->uuid, wanted) == 0) {
            return 0;
        }
    }
    snprintf(reason, CUDA_REASON_BYTES, "there is no GPU %.60s", wanted);
    return -ENODEV;
}

int cuda_device_open(struct cuda_api *api, const char *wanted, struct backend_gpu *gpu,
                     char reason[CUDA_REASON_BYTES])
{
    uint32_t index = 0;
    int status, count;

    if (wanted && is_uuid(wanted)) {
        /* The driver then leaves the host's other GPUs alone, and starts sooner. */
        setenv("CUDA_VISIBLE_DEVICES", wanted, 1);
    } else if (wanted && !parse_u32(wanted, 0, BACKEND_GPUS_MAX - 1, &index)) {
        snprintf(reason, CUDA_REASON_BYTES,
                 "there is no GPU '%.60s': give an index or a UUID as 'nvidia-smi -L' shows",
                 wanted);
        return -EINVAL;
    }
    status = cuda_api_open(api, reason);
    if (status == -ENODEV && wanted && is_uuid(wanted)) {
        snprintf(reason, CUDA_REASON_BYTES, "there is no GPU %.60s", wanted);
    }
    if (status < 0) {
        return status;
    }
    count = count_devices(api, reason);
    if (count < 0) {
        return count;
    }
    if (wanted && is_uuid(wanted)) {
        return find_uuid(api, count, wanted, gpu, reason);
    }
    if (index >= (unsigned long)count) {
        snprintf(reason, CUDA_REASON_BYTES, "there is no GPU %u: this host has %d", index, count);
        return -ENODEV;
    }
    return cuda_device_describe(api, (int)index, gpu, reason);
}

int cuda_device_list(struct backend_gpu *gpus, unsigned max, char driver[32],
                     char reason[BACKEND_REASON_BYTES])
{
    struct cuda_api api;
    int version = 0;
    int status = cuda_api_open(&api, reason);
    int count;

    if (status < 0) {
        return status;
    }
    count = count_devices(&api, reason);
    if (count < 0) {
        return count;
    }
    if ((unsigned)count > max) {
        count = (int)max;
    }
    for (int i = 0; i < count; i++) {
        status = cuda_device_describe(&api, i, &gpus[i], reason);
        if (status < 0) {
            return status;
        }
    }
    if (api.DriverGetVersion(&version) == CUDA_OK) {
        snprintf(driver, 32, "CUDA %d.%d", version / 1000, version % 1000 / 10);
    }
    return count;
}
