/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine runs all VMs in one thread until their time is up and the answers are in. */
#ifndef LOADGEN_ENGINE_H
#define LOADGEN_ENGINE_H

#include <stdint.h>

#include "loadgen/vm.h"

struct engine_result {
    uint64_t measured_ns; /* how long it was measured */
    uint64_t missing;     /* answers that never came */
    uint64_t cpu_ns;      /* this process's CPU time meanwhile */
};

/* 0 or -errno.  SIGINT and SIGTERM end the run early, in good order. */
int engine_run(struct vm *vms, const struct loadgen_options *options, struct engine_result *result);

#endif /* LOADGEN_ENGINE_H */
