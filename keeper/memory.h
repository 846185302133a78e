/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host memory of workers: a control group for each that has a limit.
 *
 * What descriptors, graphs and modules of a CUDA program take of the host no call of it shows, so
 * the kernel counts: memory.max of a group below the keeper's own (cgroup v2), or
 * memory.limit_in_bytes (v1, as on CentOS 7 and XCP-ng's Dom0).  v2 allows that only where the
 * keeper's group has nobody else in it and may be divided (Delegate= in its unit).
 */
#ifndef KEEPER_MEMORY_H
#define KEEPER_MEMORY_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum memory_kind { MEMORY_NONE, MEMORY_V2, MEMORY_V1 };

struct memory {
    enum memory_kind kind;
    bool divided;          /* v2: the keeper has moved below, and memory is counted by group */
    char folder[PATH_MAX]; /* the keeper's own group */
};

/* Looks, and changes nothing. */
void memory_init(struct memory *memory);
/* Can it be limited here? */
bool memory_possible(const struct memory *memory);
/*
 * The process may have so much from now on, 0: no limit; `place` is its own, below
 * VGPU_KEEPER_WORKERS_MAX.  Below what it has already: as much as it has, for nothing that runs is
 * ended by a change.  -errno.
 */
int memory_limit(struct memory *memory, unsigned place, pid_t pid, uint64_t bytes);
/* Has the kernel killed something of it for this limit?  Then its group goes. */
bool memory_end(struct memory *memory, unsigned place);

#endif /* KEEPER_MEMORY_H */
