/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has our kernels compiled, once for each GPU: a worker that is given nothing of any
 * guest does it, with the keeper's rights, when the first worker for that GPU starts.  Those that
 * start before it has ended compile for themselves.
 */
#ifndef KEEPER_KERNELS_H
#define KEEPER_KERNELS_H

#include <stdbool.h>
#include <sys/types.h>

#include "vgpu/vgpu_keeper.h"

#define KERNELS_GPUS_MAX 64u

/* What a GPU has. */
struct kernels_of_gpu {
    char gpu[VGPU_KEEPER_GPU_BYTES]; /* "": this place is free */
    int fd;                          /* sealed when it can be used */
    pid_t compiler;                  /* while it works */
    bool ready;
    vgpu_keeper_end *failure;
};

struct kernels {
    const char *program; /* vgpu-worker */
    int program_fd;
    struct kernels_of_gpu gpus[KERNELS_GPUS_MAX];
};

/* The image for this GPU, which stays ours; -1: none yet.  Begins to make one, once. */
int kernels_for(struct kernels *kernels, const char *gpu);
/* A child has ended.  False: it was none of these. */
bool kernels_note_end(struct kernels *kernels, pid_t pid, int status);
void kernels_close(struct kernels *kernels);

#endif /* KEEPER_KERNELS_H */
