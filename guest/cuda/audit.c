/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes a program find our libraries where it would load NVIDIA's.  vgpu-run names this file in
 * LD_AUDIT: the dynamic loader asks it about each library that it is going to look for.
 *
 * LD_LIBRARY_PATH alone does not do: a program's RPATH comes before it (PyTorch's has the folder
 * of NVIDIA's runtime), and a path with folders in it is searched for nowhere.  LD_PRELOAD would
 * load all of our libraries into each program that the first one starts.
 *
 * VGPU_CUDA_FOLDERS is where our libraries are.  What has none of the same name there is loaded
 * as ever.
 */
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static char found[PATH_MAX]; /* the loader holds its lock, and copies what it keeps */

EXPORT unsigned la_version(unsigned version);
EXPORT char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag);

unsigned la_version(unsigned version)
{
    return version;
}

/* The driver's library has its version in the name where it is not a link. */
static const char *plain_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    return strncmp(name, "libcuda.so", strlen("libcuda.so")) == 0             ? "libcuda.so.1"
           : strncmp(name, "libnvidia-ml.so", strlen("libnvidia-ml.so")) == 0 ? "libnvidia-ml.so.1"
                                                                              : name;
}

static char *look_for(const char *name)
{
    const char *folder = getenv("VGPU_CUDA_FOLDERS");

    while (folder && *folder) {
        size_t bytes = strcspn(folder, ":");
        int length = snprintf(found, sizeof(found), "%.*s/%s", (int)bytes, folder, name);

        if (bytes && length > 0 && (size_t)length < sizeof(found) && access(found, R_OK) == 0) {
            return found;
        }
        folder += bytes + (folder[bytes] == ':');
    }
    return NULL;
}

char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag)
{
    char *ours = NULL;

    (void)cookie;
    if (flag == LA_SER_ORIG) {
        const char *plain = plain_name(name);

        /* All others have no business here: their names begin otherwise. */
        if (strncmp(plain, "libcu", 5) == 0 || strncmp(plain, "libnv", 5) == 0) {
            ours = look_for(plain);
        }
    }
    return ours ? ours : (char *)name;
}
