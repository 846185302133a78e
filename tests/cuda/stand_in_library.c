/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stand-in's libraries: images of no context, whose modules are made as contexts use them. */
#include "tests/cuda/stand_in.h"

#include <stdlib.h>
#include <string.h>

EXPORT CUresult cuLibraryLoadData(CUlibrary *out, const void *image, unsigned *options,
                                  void **values, unsigned count, unsigned *library_options,
                                  void **library_values, unsigned library_count)
{
    struct library *library;
    CUresult result;
    char *text;

    (void)options;
    (void)values;
    (void)count;
    (void)library_options;
    (void)library_values;
    (void)library_count;
    text = stand_in_text(image, &result);
    if (!text) {
        return result;
    }
    library = calloc(1, sizeof(*library));
    library->image = text;
    stand_in_born(&library->object, LIBRARY, NULL);
    *out = (CUlibrary)library;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLibraryUnload(CUlibrary handle)
{
    struct library *library = CHECK(handle, LIBRARY);

    for (unsigned i = 0; i < library->module_count; i++) {
        if (library->modules[i].module->object.kind == MODULE) {
            stand_in_never_wait(__func__, library->modules[i].context);
            stand_in_module_dies(library->modules[i].module);
        }
    }
    for (unsigned i = 0; i < library->kernel_count; i++) {
        library->kernels[i].object.kind = DEAD;
    }
    free(library->image);
    stand_in_dies(&library->object);
    return CUDA_SUCCESS;
}

/* The library's module in the current context. */
static struct module *module_of(struct library *library)
{
    struct module *module = NULL;

    for (unsigned i = 0; i < library->module_count; i++) {
        if (library->modules[i].context == stand_in_current &&
            library->modules[i].module->object.kind == MODULE) {
            return library->modules[i].module;
        }
    }
    if (library->module_count == sizeof(library->modules) / sizeof(library->modules[0])) {
        stand_in_abort(__func__, "too many contexts for this stand-in");
    }
    stand_in_load(&module, library->image);
    library->modules[library->module_count].context = stand_in_current;
    library->modules[library->module_count++].module = module;
    return module;
}

EXPORT CUresult cuLibraryGetModule(CUmodule *out, CUlibrary handle)
{
    struct library *library = CHECK(handle, LIBRARY);

    NEED_CONTEXT;
    *out = (CUmodule)module_of(library);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLibraryGetKernel(CUkernel *out, CUlibrary handle, const char *name)
{
    struct library *library = CHECK(handle, LIBRARY);
    struct kernel *kernel = &library->kernels[library->kernel_count];
    char line[64] = "kernel ";

    strncat(line, name, sizeof(kernel->name) - 1);
    if (library->kernel_count == sizeof(library->kernels) / sizeof(library->kernels[0]) ||
        strlen(name) >= sizeof(kernel->name) || !strstr(library->image, line)) {
        return CUDA_ERROR_NOT_FOUND;
    }
    library->kernel_count++;
    kernel->object.kind = KERNEL;
    kernel->library = library;
    strcpy(kernel->name, name);
    kernel->max_shared = 49152;
    *out = (CUkernel)kernel;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuKernelGetFunction(CUfunction *out, CUkernel handle)
{
    struct kernel *kernel = CHECK(handle, KERNEL);

    NEED_CONTEXT;
    *out = (CUfunction)stand_in_find(module_of(kernel->library), kernel->name);
    return *out ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

struct function *stand_in_function(const char *caller, CUfunction handle)
{
    const struct object *object = (const struct object *)handle;
    CUfunction function = handle;

    if (handle && object->kind == KERNEL && stand_in_current) {
        cuKernelGetFunction(&function, (CUkernel)handle);
    }
    return stand_in_check(caller, function, FUNCTION);
}

EXPORT CUresult cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes, CUlibrary handle,
                                   const char *name)
{
    struct library *library = CHECK(handle, LIBRARY);
    struct module *module;

    NEED_CONTEXT;
    module = module_of(library);
    for (unsigned i = 0; i < module->global_count; i++) {
        if (strcmp(module->globals[i].name, name) == 0) {
            *address = module->globals[i].address;
            *bytes = module->globals[i].bytes;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_NOT_FOUND;
}

EXPORT CUresult cuLibraryGetKernelCount(unsigned *count, CUlibrary handle)
{
    const struct library *library = CHECK(handle, LIBRARY);

    *count = 0;
    for (const char *at = library->image; (at = strstr(at, "\nkernel ")); at++) {
        ++*count;
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuKernelGetAttribute(int *value, int attribute, CUkernel handle, CUdevice device)
{
    const struct kernel *kernel = CHECK(handle, KERNEL);

    *value = attribute == 0                     ? 1024
             : attribute == 4                   ? 32
             : attribute == 5 || attribute == 6 ? 90
             : attribute == 8                   ? kernel->max_shared
                                                : 0;
    return device != 0                         ? CUDA_ERROR_INVALID_DEVICE
           : attribute >= 0 && attribute <= 15 ? CUDA_SUCCESS
                                               : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuKernelSetAttribute(int attribute, int value, CUkernel handle, CUdevice device)
{
    struct kernel *kernel = CHECK(handle, KERNEL);

    if (device != 0) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    if (attribute == 8 && value >= 0 && value <= 232448) {
        kernel->max_shared = value;
        return CUDA_SUCCESS;
    }
    return attribute == 9 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuKernelSetCacheConfig(CUkernel handle, int config, CUdevice device)
{
    CHECK(handle, KERNEL);
    return device == 0 && config >= 0 && config <= 3 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
