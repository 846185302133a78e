/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This engine does bulk operations in plain C: a buffer's address is a pointer, and a unit is done
 * when step() returns. */
#ifndef WORKER_CPU_BULK_CPU_H
#define WORKER_CPU_BULK_CPU_H

#include "worker/channel/bulk.h"
#include "worker/memory_account.h"

struct bulk_cpu {
    struct bulk_engine engine;
    struct memory_account account; /* of all buffers together */
};

void bulk_cpu_init(struct bulk_cpu *cpu, uint64_t limit_bytes);

#endif /* WORKER_CPU_BULK_CPU_H */
