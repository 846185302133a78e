/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/probe.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"

/* Names and reasons are printable ASCII already. */
static void print_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            putchar('\\');
        }
        putchar(*text);
    }
    putchar('"');
}

static int print_report(const struct backend_ops *ops, const struct backend_gpu *gpus, int count,
                        const char *driver, const char *reason)
{
    printf("{\"backend\": \"%s\"", ops->name);
    if (driver[0]) {
        printf(", \"driver\": ");
        print_string(driver);
    }
    if (reason[0]) {
        printf(", \"reason\": ");
        print_string(reason);
    }
    printf(", \"gpus\": [");
    for (int i = 0; i < count; i++) {
        const struct backend_gpu *gpu = &gpus[i];

        printf("%s{\"index\": %u, \"uuid\": \"%s\", \"name\": ", i ? ", " : "", gpu->index,
               gpu->uuid);
        print_string(gpu->name);
        printf(", \"memory_bytes\": %" PRIu64 ", \"compute\": \"%u.%u\", \"multiprocessors\": %u}",
               gpu->memory_bytes, gpu->compute_major, gpu->compute_minor, gpu->multiprocessors);
    }
    printf("]}\n");
    return fflush(stdout) == 0 ? VGPU_WORKER_EXIT_OK : VGPU_WORKER_EXIT_BACKEND;
}

int probe_run(const struct backend_ops *ops)
{
    struct backend_gpu gpus[BACKEND_GPUS_MAX];
    char driver[32] = "";
    char reason[BACKEND_REASON_BYTES] = "";
    char unused[BACKEND_REASON_BYTES];
    const struct backend_ops *first = ops ? ops : &backend_cuda;
    int count = first->list(gpus, BACKEND_GPUS_MAX, driver, reason);

    if (count >= 0) {
        return print_report(first, gpus, count, driver, "");
    }
    if (ops) {
        log_error("%s", reason);
        return VGPU_WORKER_EXIT_BACKEND;
    }
    count = backend_cpu.list(gpus, BACKEND_GPUS_MAX, driver, unused);
    return print_report(&backend_cpu, gpus, count, "", reason);
}
