/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module is vgpu-loadgen inside a bench program.  It has the same engine, and no report. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "loadgen/engine.h"

struct load {
    struct loadgen_options options;
    struct engine_result result;
    struct vm *vms;
};

/* `args` as on vgpu-loadgen's command line (without its name), ends with NULL.
 * A wrong or missing answer, or no mediator, ends the program with status 1. */
void load_run(struct load *load, const char *const *args);
void load_free(struct load *load);
/* Jobs a second, all VMs. */
double load_jobs_per_s(const struct load *load);

#endif /* BENCH_LOAD_H */
