/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A scan looks through /proc for QEMUs that carry a vgpu-stub.  This may block, for a process
 * can make it slow to read of: it is for a thread.  One scan at a time, and between two of
 * them its fields are the caller's.
 */
#ifndef MEDIATOR_SESSIONS_DISCOVERY_SCAN_H
#define MEDIATOR_SESSIONS_DISCOVERY_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "mediator/base/host_help.h"
#include "mediator/identity/process.h"

/* Places that one user may take who is neither root nor known to run QEMUs only. */
#define DISCOVERY_OF_USER_MAX 256u
#define DISCOVERY_PROCESSES_MAX 65536u /* others, remembered so as not to look at them again */

/* A QEMU that is there. */
struct discovery_found {
    struct process process;
    bool fresh; /* `process` was read now; else only pid, stamp and owner */
    int error;  /* of its root: -errno as of host_help_root() */
    struct host_root root;
};

/* A QEMU that the caller knows already. */
struct discovery_known {
    pid_t pid;
    uint64_t start_ticks;
    uid_t uid; /* when it was found */
};

struct discovery_left_out {
    uint32_t count;
    pid_t pid; /* of the first of them */
};

struct discovery_judged;

struct discovery_scan {
    const char *proc_path;
    uint32_t limit;          /* of QEMUs */
    const uid_t *qemu_users; /* that QEMUs run as, and nobody else does: as many as there is room */
    uint32_t qemu_user_count;

    /* set before a scan */
    struct discovery_known *known; /* room for `limit` */
    uint32_t known_count;

    /* what it found */
    int error; /* -errno: nothing could be read */
    struct discovery_found *found;
    uint32_t found_count;
    struct discovery_left_out left_out; /* QEMUs for which there is no place */

    /* its own */
    struct discovery_judged *judged; /* sorted by pid */
    uint32_t judged_count, judged_capacity;
    uint32_t fresh_count;
};

/* `proc_path` is kept, not copied.  0 or -ENOMEM; destroy in both cases. */
int discovery_scan_init(struct discovery_scan *scan, const char *proc_path, uint32_t limit);
void discovery_scan_destroy(struct discovery_scan *scan);
void discovery_scan_run(struct discovery_scan *scan);

#endif /* MEDIATOR_SESSIONS_DISCOVERY_SCAN_H */
