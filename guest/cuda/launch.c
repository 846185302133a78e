/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Launches.  A configuration that the driver has not accepted yet is asked for, so that its
 * refusal comes from this very call; after that launches are sent and not waited for.
 */
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

/* Entries of `extra`. */
#define EXTRA_END ((uintptr_t)0)
#define EXTRA_POINTER ((uintptr_t)1)
#define EXTRA_SIZE ((uintptr_t)2)

#define ATTRIBUTE_COOPERATIVE 2u

struct packed {
    const void *bytes;
    uint32_t count;
    bool extra;
};

/* A buffer that is too small or too large for the kernel is the driver's to judge. */
static CUresult pack_extra(void **extra, struct packed *packed)
{
    size_t bytes = 0;

    packed->extra = true;
    for (unsigned i = 0; (uintptr_t)extra[i] != EXTRA_END; i += 2) {
        if ((uintptr_t)extra[i] == EXTRA_POINTER) {
            packed->bytes = extra[i + 1];
        } else if ((uintptr_t)extra[i] == EXTRA_SIZE) {
            memcpy(&bytes, extra[i + 1], sizeof(bytes));
        } else {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    if (bytes > CUDA_PARAM_BYTES_MAX) {
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    }
    if (bytes && !packed->bytes) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    packed->count = (uint32_t)bytes;
    return CUDA_SUCCESS;
}

/* `buffer` holds CUDA_PARAM_BYTES_MAX. */
static CUresult pack(const struct cuda_function *function, void **kernelParams, void **extra,
                     uint8_t *buffer, struct packed *packed)
{
    *packed = (struct packed){.bytes = buffer};
    if (kernelParams && extra) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (extra) {
        return pack_extra(extra, packed);
    }
    if (function->facts.param_count == 0) {
        return CUDA_SUCCESS; /* whatever is given is ignored */
    }
    if (!kernelParams) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memset(buffer, 0, function->param_bytes);
    for (uint32_t i = 0; i < function->facts.param_count; i++) {
        uint32_t offset = function->facts.params[i].offset;

        if (!kernelParams[i] || offset + function->facts.params[i].bytes > CUDA_PARAM_BYTES_MAX) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        memcpy(buffer + offset, kernelParams[i], function->facts.params[i].bytes);
    }
    packed->count = function->param_bytes;
    return CUDA_SUCCESS;
}

CUresult cuda_pack(uint64_t handle, void **kernelParams, void **extra, uint8_t *buffer,
                   uint32_t *bytes)
{
    struct packed packed;
    CUresult result;
    const struct cuda_function *function = cuda_function_of(handle, &result);

    if (!function) {
        return result;
    }
    result = pack(function, kernelParams, extra, buffer, &packed);
    if (result) {
        return result;
    }
    if (packed.count > function->param_bytes) {
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    }
    if (packed.bytes != buffer) {
        memset(buffer, 0, function->param_bytes);
        memcpy(buffer, packed.bytes, packed.count);
    }
    *bytes = function->param_bytes;
    return CUDA_SUCCESS;
}

/* ---- which configurations were accepted ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 29;
}

static uint64_t configuration(const CUlaunchConfig *config, const struct packed *packed)
{
    uint64_t hash = mix(config->blockDimX, (uint64_t)config->blockDimY << 32 | config->blockDimZ);

    hash = mix(hash, config->sharedMemBytes);
    hash = mix(hash, packed->extra ? (uint64_t)packed->count + 1 : 0);
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const uint8_t *bytes = (const uint8_t *)&config->attrs[i];

        for (unsigned at = 0; at < sizeof(CUlaunchAttribute); at += 8) {
            uint64_t word;

            memcpy(&word, bytes + at, sizeof(word));
            hash = mix(hash, word);
        }
    }
    if (config->numAttrs) {
        /* Clusters and cooperative launches depend on the grid too. */
        hash = mix(hash, (uint64_t)config->gridDimX << 32 | config->gridDimY);
        hash = mix(hash, config->gridDimZ);
    }
    return hash | 1;
}

static bool grid_is_plain(const CUlaunchConfig *config)
{
    return config->gridDimX && config->gridDimY && config->gridDimZ &&
           config->gridDimX <= INT32_MAX && config->gridDimY <= UINT16_MAX &&
           config->gridDimZ <= UINT16_MAX;
}

static bool was_seen(const struct cuda_function *function, uint64_t configuration_hash)
{
    for (unsigned i = 0; i < sizeof(function->seen) / sizeof(function->seen[0]); i++) {
        if (__atomic_load_n(&function->seen[i], __ATOMIC_RELAXED) == configuration_hash) {
            return true;
        }
    }
    return false;
}

static void remember(struct cuda_function *function, uint64_t configuration_hash)
{
    unsigned places = sizeof(function->seen) / sizeof(function->seen[0]);
    unsigned place = __atomic_fetch_add(&function->next_seen, 1, __ATOMIC_RELAXED) % places;

    __atomic_store_n(&function->seen[place], configuration_hash, __ATOMIC_RELAXED);
}

/* ---- sending ---- */

static CUresult check_attributes(const CUlaunchConfig *config)
{
    if (config->numAttrs > CUDA_ATTRIBUTES_MAX || (config->numAttrs && !config->attrs)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (unsigned i = 0; i < config->numAttrs; i++) {
        CUresult result = cuda_check_attribute(config->attrs[i].id);

        if (result) {
            return result;
        }
    }
    return CUDA_SUCCESS;
}

static void add_configuration(struct cuda_call *call, const CUlaunchConfig *config,
                              uint64_t function)
{
    cuda_add(call, function);
    cuda_add(call, config->gridDimX | (uint64_t)config->gridDimY << 32);
    cuda_add(call, config->gridDimZ | (uint64_t)config->sharedMemBytes << 32);
    cuda_add(call, config->blockDimX | (uint64_t)config->blockDimY << 32);
    cuda_add(call, config->blockDimZ | (uint64_t)config->numAttrs << 32);
}

static CUresult launch(const CUlaunchConfig *config, CUfunction f, void **kernelParams,
                       void **extra, int mode)
{
    uint8_t buffer[CUDA_PARAM_BYTES_MAX + 4];
    uint64_t handle = (uint64_t)(uintptr_t)f, hash;
    struct cuda_function *function;
    struct packed packed;
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_LAUNCH, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    function = cuda_function_of(handle, &result);
    if (!function) {
        return result;
    }
    if (!cuda_fits(&call, cuda_object(handle, CUDA_KIND_FUNCTION))) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    result = check_attributes(config);
    if (result == CUDA_SUCCESS) {
        result = pack(function, kernelParams, extra, buffer, &packed);
    }
    if (result) {
        return result;
    }
    add_configuration(&call, config, handle);
    if (!cuda_add_stream(&call, config->hStream, mode)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    cuda_add(&call, packed.count | (packed.extra ? CUDA_LAUNCH_EXTRA : 0));
    if (config->numAttrs) {
        cuda_add_bytes(&call, config->attrs,
                       config->numAttrs * (uint32_t)sizeof(CUlaunchAttribute));
    }
    if (packed.count) {
        cuda_add_bytes(&call, packed.bytes, packed.count);
    }
    hash = configuration(config, &packed);
    if (grid_is_plain(config) && was_seen(function, hash)) {
        return cuda_forget(&call);
    }
    result = cuda_process.blocking ? cuda_wait(&call) : cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        remember(function, hash);
    }
    return result;
}

CUresult hand_cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                             unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                             unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                             void **kernelParams, void **extra, int mode)
{
    CUlaunchConfig config = {gridDimX,  gridDimY,       gridDimZ, blockDimX, blockDimY,
                             blockDimZ, sharedMemBytes, hStream,  NULL,      0};

    return launch(&config, f, kernelParams, extra, mode);
}

CUresult hand_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams,
                               void **extra, int mode)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_LAUNCH, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    return config ? launch(config, f, kernelParams, extra, mode) : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                        unsigned int gridDimZ, unsigned int blockDimX,
                                        unsigned int blockDimY, unsigned int blockDimZ,
                                        unsigned int sharedMemBytes, CUstream hStream,
                                        void **kernelParams, int mode)
{
    CUlaunchAttribute cooperative = {.id = ATTRIBUTE_COOPERATIVE, .value = {.number = 1}};
    CUlaunchConfig config = {gridDimX,  gridDimY,       gridDimZ, blockDimX,    blockDimY,
                             blockDimZ, sharedMemBytes, hStream,  &cooperative, 1};

    return launch(&config, f, kernelParams, NULL, mode);
}

/* ---- clusters ---- */

static CUresult ask_clusters(int *answer, CUfunction func, const CUlaunchConfig *config,
                             uint64_t question)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_CLUSTERS, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!answer || !config) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!cuda_fits(&call, cuda_object((uint64_t)(uintptr_t)func, CUDA_KIND_FUNCTION))) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    result = check_attributes(config);
    if (result) {
        return result;
    }
    add_configuration(&call, config, (uint64_t)(uintptr_t)func);
    if (!cuda_add_stream(&call, config->hStream, 0)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    cuda_add(&call, 0); /* no parameters */
    cuda_add(&call, question);
    if (config->numAttrs) {
        cuda_add_bytes(&call, config->attrs,
                       config->numAttrs * (uint32_t)sizeof(CUlaunchAttribute));
    }
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        *answer = (int)call.out[0];
    }
    return result;
}

CUresult hand_cuOccupancyMaxActiveClusters(int *numClusters, CUfunction func,
                                           const CUlaunchConfig *config)
{
    return ask_clusters(numClusters, func, config, CUDA_CLUSTERS_ACTIVE);
}

CUresult hand_cuOccupancyMaxPotentialClusterSize(int *clusterSize, CUfunction func,
                                                 const CUlaunchConfig *config)
{
    return ask_clusters(clusterSize, func, config, CUDA_CLUSTERS_SIZE);
}
