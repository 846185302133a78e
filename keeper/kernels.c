/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/kernels.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"
#include "keeper/child.h"

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1u /* Linux 3.17; glibc 2.17 has no name for it */
#define MFD_ALLOW_SEALING 2u
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#define F_SEAL_WRITE 8
#endif

/* Above all that a child's descriptors become. */
#define FD_FIRST 16

/* -errno. */
static int new_image(void)
{
    int fd = (int)syscall(SYS_memfd_create, "vgpu-kernels", MFD_CLOEXEC | MFD_ALLOW_SEALING), high;

    if (fd < 0) {
        return -errno;
    }
    high = fcntl(fd, F_DUPFD_CLOEXEC, FD_FIRST);
    high = high < 0 ? -errno : high;
    close(fd);
    return high;
}

static void begin(struct kernels *kernels, struct kernels_of_gpu *of)
{
    char *argv[] = {
        (char *)kernels->program, "--compile-kernels", "--backend", "cuda", "--gpu", of->gpu, NULL};
    struct child child = {
        .program = kernels->program,
        .program_fd = kernels->program_fd,
        .argv = argv,
        .as_fd = STDOUT_FILENO,
        .log_fd = -1,
        .kernels_fd = -1,
        .pins = true,
        .failure = of->failure,
    };

    of->fd = child.fd = new_image();
    if (of->fd < 0) {
        return;
    }
    of->compiler = child_start(&child);
    if (of->compiler < 0) {
        of->compiler = 0;
        close(of->fd);
        of->fd = -1;
    }
}

int kernels_for(struct kernels *kernels, const char *gpu)
{
    for (unsigned i = 0; i < KERNELS_GPUS_MAX; i++) {
        struct kernels_of_gpu *of = &kernels->gpus[i];

        if (strcmp(of->gpu, gpu) == 0) {
            return of->ready ? of->fd : -1;
        }
        if (!of->gpu[0]) {
            strcpy(of->gpu, gpu);
            of->failure = child_failures_new(1);
            of->fd = -1;
            if (of->failure) {
                begin(kernels, of);
            }
            return -1;
        }
    }
    return -1;
}

/* Nobody can change it from now on. */
static bool seal(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_size > 0 &&
           fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0;
}

bool kernels_note_end(struct kernels *kernels, pid_t pid, int status)
{
    for (unsigned i = 0; i < KERNELS_GPUS_MAX && kernels->gpus[i].gpu[0]; i++) {
        struct kernels_of_gpu *of = &kernels->gpus[i];

        if (of->compiler != pid) {
            continue;
        }
        of->compiler = 0;
        of->ready = status == 0 && seal(of->fd);
        if (!of->ready) {
            log_info("the kernels are not compiled ahead for GPU %s: each worker does it", of->gpu);
            close(of->fd);
            of->fd = -1;
        }
        return true;
    }
    return false;
}

void kernels_close(struct kernels *kernels)
{
    for (unsigned i = 0; i < KERNELS_GPUS_MAX && kernels->gpus[i].gpu[0]; i++) {
        struct kernels_of_gpu *of = &kernels->gpus[i];

        if (of->compiler) {
            kill(of->compiler, SIGKILL);
        }
        if (of->fd >= 0) {
            close(of->fd);
        }
        if (of->failure) {
            munmap(of->failure, sizeof(*of->failure));
        }
    }
}
