/* SPDX-License-Identifier: BSD-3-Clause */
/* Modules and libraries: their images and options on the way to the driver, and its logs back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define IMAGE_PART (48u << 10)

/* Options as the program gives them. */
struct options {
    unsigned count;
    const unsigned *names;
    void **values;
};

/* As they travel: the number and the value. */
struct wire_option {
    uint64_t name, value;
};

static pthread_mutex_t image_lock = PTHREAD_MUTEX_INITIALIZER;

/* IMAGE: where, and the bytes. */
static CUresult send_image(const uint8_t *image, uint64_t bytes)
{
    CUresult result = CUDA_SUCCESS;
    struct cuda_call call;

    for (uint64_t at = 0; at < bytes && result == CUDA_SUCCESS; at += IMAGE_PART) {
        uint64_t part = bytes - at < IMAGE_PART ? bytes - at : IMAGE_PART;

        result = cuda_begin(&call, CUDA_OP_IMAGE, 0);
        if (result == CUDA_SUCCESS) {
            cuda_add(&call, at);
            cuda_add_bytes(&call, image + at, (uint32_t)part);
            result = cuda_forget(&call);
        }
    }
    return result;
}

static unsigned wire_options(const struct options *options, struct wire_option *wire)
{
    for (unsigned i = 0; i < options->count; i++) {
        /* An option's value stands in the pointer itself. */
        wire[i] = (struct wire_option){options->names[i], (uint64_t)(uintptr_t)options->values[i]};
    }
    return options->count;
}

static void copy_log(void *to, uint64_t room, const char *text, uint32_t bytes, void **size)
{
    uint64_t most = bytes < room ? bytes : room;

    if (to && room > 0) {
        memcpy(to, text, most);
        ((char *)to)[most < room ? most : room - 1] = '\0';
    }
    if (size) {
        *size = (void *)(uintptr_t)most; /* NOLINT(performance-no-int-to-ptr): a count */
    }
}

/* The logs into the caller's buffers, and how much there is into the options' values. */
static void take_logs(const struct options *options, const CUDALogs *logs)
{
    const unsigned buffers[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER};
    const uint32_t bytes[] = {logs->error_bytes, logs->info_bytes};
    const char *text = logs->text;

    if ((uint64_t)bytes[0] + bytes[1] > sizeof(logs->text)) {
        return; /* nonsense */
    }
    for (unsigned log = 0; log < 2; log++) {
        void *to = NULL, **size = NULL;
        uint64_t room = 0;

        for (unsigned i = 0; i < options->count; i++) {
            if (options->names[i] == buffers[log]) {
                to = options->values[i];
            } else if (options->names[i] == buffers[log] + 1) {
                size = &options->values[i];
                room = (uint32_t)(uintptr_t)options->values[i];
            }
        }
        copy_log(to, room, text, bytes[log], size);
        text += bytes[log];
    }
}

static CUresult load(struct cuda_call *call, unsigned kind, const void *code,
                     const struct options *jit, const struct options *more, void *to)
{
    struct wire_option wire[2 * CUDA_JIT_OPTIONS_MAX];
    unsigned count;
    uint64_t bytes;
    const void *image = cuda_image(code, &bytes);
    CUDALogs logs;
    CUresult result;

    if (jit->count > CUDA_JIT_OPTIONS_MAX || more->count > CUDA_JIT_OPTIONS_MAX ||
        ((jit->count || more->count) && jit->count && (!jit->names || !jit->values))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (bytes == 0 || bytes > CUDA_IMAGE_MAX) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    count = wire_options(jit, wire);
    count += wire_options(more, wire + count);
    pthread_mutex_lock(&image_lock);
    result = send_image(image, bytes);
    if (result == CUDA_SUCCESS) {
        cuda_add(call, cuda_object_new(call, kind));
        cuda_add(call, bytes);
        cuda_add(call, jit->count);
        cuda_add(call, more->count);
        cuda_add_bytes(call, wire, count * (uint32_t)sizeof(*wire));
        logs.error_bytes = logs.info_bytes = 0; /* a call that fails brings none */
        /* cppcheck-suppress autoVariables; the call ends in this block */
        call->reply = &logs;
        call->reply_bytes = sizeof(logs);
        result = cuda_ask(call);
        take_logs(jit, &logs);
        cuda_object_made(call, result, to);
    }
    pthread_mutex_unlock(&image_lock);
    return result;
}

static CUresult load_module(CUmodule *module, const void *image, const struct options *options)
{
    static const struct options none;
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_MODULE_LOAD, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    return module && image ? load(&call, CUDA_KIND_MODULE, image, options, &none, module)
                           : CUDA_ERROR_INVALID_VALUE;
}

/* The whole file, with a NUL behind it; NULL: *result says why. */
static void *read_file(const char *name, CUresult *result)
{
    FILE *file = fopen(name, "re");
    char *bytes = NULL;
    long size = -1;

    *result = CUDA_ERROR_FILE_NOT_FOUND;
    if (!file) {
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0) {
        size = ftell(file);
        rewind(file);
    }
    if (size >= 0 && (uint64_t)size < CUDA_IMAGE_MAX) {
        bytes = calloc(1, (size_t)size + 64);
        *result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (bytes && fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        *result = CUDA_ERROR_FILE_NOT_FOUND;
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    return bytes;
}

CUresult hand_cuModuleLoad(CUmodule *module, const char *fname)
{
    static const struct options none;
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_MODULE_LOAD, CUDA_NEEDS_CONTEXT);
    void *image;

    if (result) {
        return result;
    }
    if (!module || !fname) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    image = read_file(fname, &result);
    if (image) {
        result = load_module(module, image, &none);
        free(image);
    }
    return result;
}

CUresult hand_cuModuleLoadData(CUmodule *module, const void *image)
{
    static const struct options none;

    return load_module(module, image, &none);
}

CUresult hand_cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions,
                                 unsigned int *options, void **optionValues)
{
    struct options given = {numOptions, options, optionValues};

    return load_module(module, image, &given);
}

CUresult hand_cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin)
{
    return hand_cuModuleLoadData(module, fatCubin);
}

/* ---- libraries: of no context ---- */

CUresult hand_cuLibraryLoadData(CUlibrary *library, const void *code, unsigned int *jitOptions,
                                void **jitOptionsValues, unsigned int numJitOptions,
                                unsigned int *libraryOptions, void **libraryOptionValues,
                                unsigned int numLibraryOptions)
{
    struct options jit = {numJitOptions, jitOptions, jitOptionsValues};
    struct options more = {numLibraryOptions, libraryOptions, libraryOptionValues};
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_LIBRARY_LOAD, 0);

    if (result) {
        return result;
    }
    if (!library || !code || (numLibraryOptions && (!libraryOptions || !libraryOptionValues))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return load(&call, CUDA_KIND_LIBRARY, code, &jit, &more, library);
}

CUresult hand_cuLibraryLoadFromFile(CUlibrary *library, const char *fileName,
                                    unsigned int *jitOptions, void **jitOptionsValues,
                                    unsigned int numJitOptions, unsigned int *libraryOptions,
                                    void **libraryOptionValues, unsigned int numLibraryOptions)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_LIBRARY_LOAD, 0);
    void *image;

    if (result) {
        return result;
    }
    if (!library || !fileName) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    image = read_file(fileName, &result);
    if (image) {
        result = hand_cuLibraryLoadData(library, image, jitOptions, jitOptionsValues, numJitOptions,
                                        libraryOptions, libraryOptionValues, numLibraryOptions);
        free(image);
    }
    return result;
}
