/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This library loads vgpu-stub.so into a distribution's QEMU: LD_PRELOAD=vgpu-preload.so.
 *
 * The device itself can't be preloaded: it needs hundreds of QEMU's symbols,
 * so it would break every other program that inherits the variable.  This shim
 * needs nothing.  It looks whether the process is a QEMU that exports its
 * symbols, opens the device beside itself if so, and takes itself out of the
 * environment, so that QEMU's children start without it.
 *
 * A folder whose path LD_PRELOAD can't carry is handed over as a descriptor,
 * LD_PRELOAD=/proc/self/fd/N/vgpu-preload.so, and that is closed once the
 * device is there: a QEMU that goes into a chroot must not hold a way out.
 *
 * It runs as a constructor, before main(): type_init() in the device registers
 * it in time for QEMU's own start.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICE_FILE "vgpu-stub.so"

__attribute__((constructor)) static void vgpu_preload(void)
{
    char path[PATH_MAX];
    const char *slash;
    Dl_info self;
    int n, folder_fd;

    if (!dlsym(RTLD_DEFAULT, "register_module_init") ||
        !dlsym(RTLD_DEFAULT, "type_register_static")) {
        return; /* another program on the way to QEMU, such as a shell: pass it on */
    }
    unsetenv("LD_PRELOAD");

    if (!dladdr((void *)vgpu_preload, &self) || !self.dli_fname) {
        fprintf(stderr, "vgpu-preload: can't find out where it was loaded from\n");
        exit(EXIT_FAILURE);
    }
    slash = strrchr(self.dli_fname, '/');
    n = snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash - self.dli_fname + 1) : 0,
                 self.dli_fname, DEVICE_FILE);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        fprintf(stderr, "vgpu-preload: the path of %s is too long\n", DEVICE_FILE);
        exit(EXIT_FAILURE);
    }
    if (!dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
        fprintf(stderr,
                "vgpu-preload: can't load the device into this QEMU: %s\n"
                "Build it again with qemu/build-module.sh for the QEMU that is installed now.\n",
                dlerror());
        exit(EXIT_FAILURE);
    }
    if (sscanf(path, "/proc/self/fd/%d/", &folder_fd) == 1) {
        close(folder_fd);
    }
}
