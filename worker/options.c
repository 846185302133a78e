/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/options.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/args.h"
#include "worker/cuda/channel/driver_set.h"

static const char *const backends[] = {"auto", "cpu", "cuda", NULL};
static const struct backend_ops *const backend_by_word[] = {NULL, &backend_cpu, &backend_cuda};

/* What the options say, before it is looked at together. */
struct given {
    struct worker_options options;
    bool has_kernels;
    uint32_t backend;                                     /* of `backends` */
    uint32_t seccomp;                                     /* enum sandbox_mode */
    const char *backend_text, *vm_id_text, *seccomp_text; /* NULL: not given */
};

static const struct args_option rows[] = {
    {"backend", "NAME", "cpu or cuda", ARGS_CHOICE(struct given, backend, backends),
     .text = offsetof(struct given, backend_text)},
    {"gpu", "UUID|INDEX", "which GPU (default: the first)",
     ARGS_TEXT(struct given, options.backend.gpu)},
    {"vm-id", "N", "the VM, for messages",
     ARGS_NUMBER(struct given, options.vm_id, 0, UINT32_MAX, 1),
     .text = offsetof(struct given, vm_id_text)},
    {"memory-limit", "BYTES", "GPU memory that the VM may use (default: all)",
     ARGS_NUMBER(struct given, options.backend.memory_limit_bytes, 1, UINT64_MAX, 1),
     .of = "bytes"},
    {"depth", "N", "jobs taken ahead of completion, {range} (default {default})",
     ARGS_NUMBER(struct given, options.backend.depth, 1, WORKER_DEPTH_MAX, 1)},
    {"seccomp", NULL,
     "what a system call does that is not in the program's list: it ends the worker; it is logged "
     "by the kernel and made; there is no list (default {default}; with CUDA it fails, EPERM)",
     ARGS_CHOICE(struct given, seccomp, sandbox_modes),
     .text = offsetof(struct given, seccomp_text)},
    {"enable-test-ops", NULL, "take the test operations: spin, hang, crash, fail",
     ARGS_FLAG(struct given, options.test_ops)},
    {"probe", NULL, "print the backend and the GPUs found as JSON, and exit",
     ARGS_FLAG(struct given, options.probe)},
    {"compile-kernels", NULL, "write our kernels, compiled for the GPU, to standard output",
     ARGS_FLAG(struct given, options.compile)},
    {"kernels-fd", NULL, "file descriptor 4 is what --compile-kernels has written",
     ARGS_FLAG(struct given, has_kernels)},
    {"log-level", "LEVEL", "{range} (default {default})",
     ARGS_LOG_LEVEL(struct given, options.log_level)},
};

static const struct args_program program = {
    .name = "vgpu-worker",
    .intro = "Usage: vgpu-worker --backend cpu|cuda [OPTION]...\n"
             "       vgpu-worker --probe [--backend auto|cpu|cuda]\n"
             "\n"
             "Executes the jobs of one VM on one GPU.  vgpu-mediator starts it, with a socket\n"
             "as file descriptor 3; the only use by hand is --probe.\n"
             "\n",
    .outro = "\n"
             "Exit status: 0 asked to leave, 1 no such GPU, no driver or no memory, 2 wrong\n"
             "arguments or malformed frame, 3 the GPU's context is lost.\n"
             "\n"
             "Example: vgpu-worker --probe\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

int options_parse(int argc, char **argv, struct worker_options *options)
{
    struct given given = {
        .options = {.backend = {.depth = WORKER_DEPTH_DEFAULT}, .log_level = LOG_LEVEL_INFO},
    };
    int status = args_parse(&program, argc, argv, &given, NULL);
    bool any = given.backend_text && given.backend == 0;

    given.options.backend.kernels_fd = given.has_kernels ? VGPU_WORKER_KERNELS_FD : -1;
    given.options.has_vm_id = given.vm_id_text != NULL;
    given.options.ops = backend_by_word[given.backend];
    given.options.has_driver = given.options.ops == &backend_cuda || getenv(DRIVER_PATH_VARIABLE);
    /* What a driver calls depends on its version: scripts/worker-syscalls measures it. */
    given.options.seccomp = given.seccomp_text         ? (enum sandbox_mode)given.seccomp
                            : given.options.has_driver ? SANDBOX_REFUSE
                                                       : SANDBOX_KILL;
    *options = given.options;
    if (status >= 0) {
        return status;
    }
    if (options->compile && (!options->ops || !options->ops->compile)) {
        fputs("vgpu-worker: --compile-kernels goes with --backend cuda\n", stderr);
        return VGPU_WORKER_EXIT_PROTOCOL;
    }
    if (!options->probe && any) {
        fputs("vgpu-worker: --backend auto goes with --probe only: the mediator decides once for "
              "all its workers\n",
              stderr);
        return VGPU_WORKER_EXIT_PROTOCOL;
    }
    if (!options->probe && !options->ops) {
        fputs("vgpu-worker: --backend cpu or --backend cuda is missing.\n"
              "This program is started by vgpu-mediator; see 'vgpu-worker --help'.\n",
              stderr);
        return VGPU_WORKER_EXIT_PROTOCOL;
    }
    return -1;
}
