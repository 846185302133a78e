/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module reads what /proc tells about a process.  These calls may block, so the loop must
 * not make them.
 */
#ifndef MEDIATOR_IDENTITY_PROCESS_H
#define MEDIATOR_IDENTITY_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/process_entry.h"
#include "mediator/identity/qemu_cmdline.h"

#define PROCESS_CMDLINE_MAX 65536u
struct process {
    pid_t pid;
    struct process_stamp stamp;
    struct process_owner owner;
    enum process_program program;
    struct qemu_cmdline cmdline;
    bool foreign; /* in a container or another user namespace: whoever rules there made it up */
    bool ours;    /* a QEMU with a vgpu-stub, as far as it says */
};

/*
 * Reads all.  A process is ours if its command line has a vgpu-stub and its program is no other
 * than a QEMU: timeout(1), a shell script or a debugger that has QEMU's arguments on its own
 * command line is none.  If it has connected to us it is also ours without a vgpu-stub there: a
 * device can be plugged in later (device_add).
 *
 * The stamp is checked again at the end, so that the parts belong to one process.  On a Xen host
 * XenStore says which VM a QEMU is.  -ESRCH; -EAGAIN: it changed while it was read; another
 * -errno: it could not be read, or XenStore does not know this QEMU or could not tell
 * (xen_identity.h, which logs that).
 */
int process_read(const char *proc_path, pid_t pid, bool connected, struct process *process);

#endif /* MEDIATOR_IDENTITY_PROCESS_H */
