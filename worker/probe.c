/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/probe.h"

#include <errno.h>
#include <stdio.h>

#include "common/json_out.h"
#include "common/log.h"

#define REPORT_BYTES_MAX (1u << 20)

static int print_report(const struct backend_ops *ops, const struct backend_gpu *gpus, int count,
                        const char *driver, const char *reason)
{
    struct json_out out;
    char compute[24];
    bool written;

    jout_init(&out, REPORT_BYTES_MAX);
    jout_object(&out, NULL);
    jout_string(&out, "backend", ops->name);
    if (driver[0]) {
        jout_string(&out, "driver", driver);
    }
    if (reason[0]) {
        jout_string(&out, "reason", reason);
    }
    jout_array(&out, "gpus");
    for (int i = 0; i < count; i++) {
        const struct backend_gpu *gpu = &gpus[i];

        snprintf(compute, sizeof(compute), "%u.%u", gpu->compute_major, gpu->compute_minor);
        jout_object(&out, NULL);
        jout_uint(&out, "index", gpu->index);
        jout_string(&out, "uuid", gpu->uuid);
        jout_string(&out, "name", gpu->name);
        jout_uint(&out, "memory_bytes", gpu->memory_bytes);
        jout_string(&out, "compute", compute);
        jout_uint(&out, "multiprocessors", gpu->multiprocessors);
        jout_object_end(&out);
    }
    jout_array_end(&out);
    jout_object_end(&out);
    written = !out.failed && puts(out.text) >= 0 && fflush(stdout) == 0;
    jout_destroy(&out);
    return written ? VGPU_WORKER_EXIT_OK : VGPU_WORKER_EXIT_BACKEND;
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
    if (count != -ENOENT) {
        /* There is a driver, and it fails: the CPU would hide that. */
        return print_report(&backend_cuda, gpus, 0, driver, reason);
    }
    count = backend_cpu.list(gpus, BACKEND_GPUS_MAX, driver, unused);
    return print_report(&backend_cpu, gpus, count, "", reason);
}
