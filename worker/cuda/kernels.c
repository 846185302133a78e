/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/cuda/kernels.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/write_all.h"
#include "worker/cuda/cuda_device.h"
#include "worker/kernels_ptx.h"

#define INPUT_PTX 1
#define IMAGE_BYTES_MAX (64u << 20)

/* The driver's linker, which compiles what it links.  Only for that is it looked up. */
struct linker {
    cuda_result (*create)(unsigned options, unsigned *names, void **values, void **state);
    cuda_result (*add)(void *state, int type, void *data, size_t bytes, const char *name,
                       unsigned options, unsigned *names, void **values);
    cuda_result (*complete)(void *state, void **image, size_t *bytes);
    cuda_result (*destroy)(void *state);
};

/* NULL: it is not there, or no image. */
static void *map_image(int fd, size_t *bytes)
{
    struct stat st;
    void *image;

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 4 || st.st_size > (off_t)IMAGE_BYTES_MAX) {
        return NULL;
    }
    *bytes = (size_t)st.st_size;
    image = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (image == MAP_FAILED) {
        return NULL;
    }
    if (memcmp(image, "\177ELF", 4) != 0) {
        munmap(image, *bytes);
        return NULL;
    }
    return image;
}

cuda_result kernels_load(const struct cuda_api *api, int fd, cuda_module *module, char *log,
                         size_t log_bytes)
{
    unsigned names[] = {CUDA_JIT_ERROR_LOG, CUDA_JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)log_bytes};
    size_t bytes;
    void *image = map_image(fd, &bytes);
    cuda_result error = -1;

    if (image) {
        /* Stays mapped: a driver may look into it again. */
        error = api->ModuleLoadDataEx(module, image, 0, NULL, NULL);
        if (error != CUDA_OK) {
            log_debug("the kernels are compiled anew: error %d", error);
            munmap(image, bytes);
        }
    }
    return error == CUDA_OK ? error : api->ModuleLoadDataEx(module, kernels_ptx, 2, names, values);
}

/* ---- compiling them ---- */

static void *symbol(void *library, const char *name, bool *all)
{
    void *found = dlsym(library, name);

    *all &= found != NULL;
    return found;
}

static bool find_linker(struct linker *linker)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    bool all = library != NULL;

    if (library) {
        *(void **)&linker->create = symbol(library, "cuLinkCreate_v2", &all);
        *(void **)&linker->add = symbol(library, "cuLinkAddData_v2", &all);
        *(void **)&linker->complete = symbol(library, "cuLinkComplete", &all);
        *(void **)&linker->destroy = symbol(library, "cuLinkDestroy", &all);
    }
    return all;
}

static cuda_result link_to(const struct linker *linker, int fd, int *write_error)
{
    void *state, *image;
    size_t bytes;
    cuda_result error = linker->create(0, NULL, NULL, &state);

    if (error != CUDA_OK) {
        return error;
    }
    error = linker->add(state, INPUT_PTX, (void *)kernels_ptx, sizeof(kernels_ptx), "kernels", 0,
                        NULL, NULL);
    error = error ? error : linker->complete(state, &image, &bytes);
    if (error == CUDA_OK) {
        *write_error = write_all(fd, image, bytes);
    }
    linker->destroy(state);
    return error;
}

int kernels_compile(const char *gpu, int fd)
{
    char reason[CUDA_REASON_BYTES] = "";
    struct backend_gpu found;
    struct linker linker;
    struct cuda_api api;
    cuda_context context;
    cuda_result error;
    int status = cuda_device_open(&api, gpu, &found, reason);

    if (status < 0) {
        log_error("%s", reason);
        return status;
    }
    if (!find_linker(&linker)) {
        log_info("this driver can't compile kernels ahead: each worker does it");
        return -ENOSYS;
    }
    error = api.DevicePrimaryCtxRetain(&context, (cuda_device)found.index);
    error = error ? error : api.CtxSetCurrent(context);
    error = error ? error : link_to(&linker, fd, &status);
    if (error) {
        log_info("the kernels can't be compiled ahead (error %d): each worker does it", error);
        return -EIO;
    }
    return status;
}
