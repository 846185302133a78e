/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/option_list.h"
#include "common/parse.h"
#include "common/usage.h"
#include "worker/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: vgpu-worker --backend cpu|cuda [OPTION]...\n"
    "       vgpu-worker --probe [--backend auto|cpu|cuda]\n"
    "\n"
    "Executes the jobs of one VM on one GPU.  vgpu-mediator starts it, with a socket\n"
    "as file descriptor 3; the only use by hand is --probe.\n"
    "\n"
    "  --backend NAME         cpu or cuda\n"
    "  --gpu UUID|INDEX       which GPU (default: the first)\n"
    "  --vm-id N              the VM, for messages\n"
    "  --memory-limit BYTES   GPU memory that the VM may use (default: all)\n"
    "  --depth N              jobs taken ahead of completion, 1 to 16 (default 2)\n"
    "  --enable-test-ops      take the test operations: spin, hang, crash, fail\n"
    "  --probe                print the backend and the GPUs found as JSON, and exit\n"
    "  --log-level LEVEL      " LOG_LEVEL_WORDS " (default info)\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 asked to leave, 1 no such GPU, no driver or no memory, 2 wrong\n"
    "arguments or malformed frame, 3 the GPU's context is lost.\n"
    "\n"
    "Example: vgpu-worker --probe\n";

#define OPTIONS(X)                                                                                 \
    X(BACKEND, "backend", required_argument)                                                       \
    X(GPU, "gpu", required_argument)                                                               \
    X(VM_ID, "vm-id", required_argument)                                                           \
    X(MEMORY_LIMIT, "memory-limit", required_argument)                                             \
    X(DEPTH, "depth", required_argument)                                                           \
    X(TEST_OPS, "enable-test-ops", no_argument)                                                    \
    X(PROBE, "probe", no_argument)                                                                 \
    X(LOG_LEVEL, "log-level", required_argument)                                                   \
    X(HELP, "help", no_argument)                                                                   \
    X(VERSION, "version", no_argument)

enum option_id { OPT_BEFORE_FIRST = 255, OPTIONS(OPTION_ID) };

static const struct option long_options[] = {OPTIONS(OPTION_ROW){0}};

static int take_backend(struct worker_options *options, const char *value, bool *any)
{
    *any = strcmp(value, "auto") == 0;
    options->ops = NULL;
    if (strcmp(value, backend_cpu.name) == 0) {
        options->ops = &backend_cpu;
    } else if (strcmp(value, backend_cuda.name) == 0) {
        options->ops = &backend_cuda;
    } else if (!*any) {
        return usage_refused("vgpu-worker", "--backend", value, "cpu or cuda");
    }
    return -1;
}

static int take_option(struct worker_options *options, int option, const char *refused,
                       bool *any_backend)
{
    int level;

    switch (option) {
    case OPT_BACKEND: return take_backend(options, optarg, any_backend);
    case OPT_GPU: options->backend.gpu = optarg; return -1;
    case OPT_TEST_OPS: options->test_ops = true; return -1;
    case OPT_PROBE: options->probe = true; return -1;
    case OPT_VM_ID:
        if (!parse_u32(optarg, 0, UINT32_MAX, &options->vm_id)) {
            return usage_refused("vgpu-worker", "--vm-id", optarg, "a number from 0 to 4294967295");
        }
        options->has_vm_id = true;
        return -1;
    case OPT_MEMORY_LIMIT:
        if (!parse_uint(optarg, 1, UINT64_MAX, &options->backend.memory_limit_bytes)) {
            return usage_refused("vgpu-worker", "--memory-limit", optarg,
                                 "a number of bytes, at least 1");
        }
        return -1;
    case OPT_DEPTH:
        if (!parse_u32(optarg, 1, WORKER_DEPTH_MAX, &options->backend.depth)) {
            return usage_refused("vgpu-worker", "--depth", optarg, "a number from 1 to 16");
        }
        return -1;
    case OPT_LOG_LEVEL:
        level = log_level_from_name(optarg);
        if (level < 0) {
            return usage_refused("vgpu-worker", "--log-level", optarg, "one of " LOG_LEVEL_WORDS);
        }
        options->log_level = (enum log_level)level;
        return -1;
    case OPT_HELP: fputs(help_text, stdout); return VGPU_WORKER_EXIT_OK;
    case OPT_VERSION: puts("vgpu-worker " VGPU_VERSION); return VGPU_WORKER_EXIT_OK;
    default: return usage_unknown("vgpu-worker", long_options, refused);
    }
}

int options_parse(int argc, char **argv, struct worker_options *options)
{
    bool any_backend = false;
    int option;

    *options = (struct worker_options){
        .backend = {.depth = WORKER_DEPTH_DEFAULT},
        .log_level = LOG_LEVEL_INFO,
    };
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        int status = take_option(options, option, argv[optind - 1], &any_backend);

        if (status >= 0) {
            return status;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "vgpu-worker: unexpected argument '%s'\n", argv[optind]);
        return VGPU_WORKER_EXIT_PROTOCOL;
    }
    if (!options->probe && any_backend) {
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
