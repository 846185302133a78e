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

#include "mediator/identity/qemu_cmdline.h"

#define PROCESS_CMDLINE_MAX 65536u
#define PROCESS_COMM_BYTES 16u
#define PROCESS_GROUPS_MAX 32u

/* Tells a process from a later one with the same number, and from what it was before exec. */
struct process_stamp {
    uint64_t start_ticks;
    char comm[PROCESS_COMM_BYTES];
};

/* What the kernel looks at when it opens a file. */
struct process_owner {
    uid_t uid; /* effective */
    gid_t gid;
    gid_t groups[PROCESS_GROUPS_MAX];
    uint32_t group_count; /* may be more than there is room for */
    bool contained;       /* in a pid namespace below ours: a container */
};

enum process_program {
    PROCESS_PROGRAM_UNKNOWN, /* not ours to look at */
    PROCESS_PROGRAM_QEMU,
    PROCESS_PROGRAM_OTHER,
};

struct process {
    pid_t pid;
    struct process_stamp stamp;
    struct process_owner owner;
    enum process_program program;
    struct qemu_cmdline cmdline;
    bool foreign; /* in a container or another user namespace: whoever rules there made it up */
    bool ours;    /* a QEMU with a vgpu-stub, as far as it says */
};

/* -ESRCH: no such process.  Fast: reads nothing of the process's own memory. */
int process_read_stamp(const char *proc_path, pid_t pid, struct process_stamp *stamp);
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
/* By its file's name ("qemu-system-x86_64", "qemu-kvm", "kvm"), not by what it calls itself. */
enum process_program process_read_program(const char *proc_path, pid_t pid);
/* The owner alone. */
int process_read_owner(const char *proc_path, pid_t pid, struct process_owner *owner);
/*
 * An O_PATH descriptor of its root folder, or -errno.  -EPERM: it lives in a user
 * namespace that is not ours, where anybody may go into a chroot of his own: its
 * root and its command line say nothing about who it is.
 */
int process_open_root(const char *proc_path, pid_t pid);

#endif /* MEDIATOR_IDENTITY_PROCESS_H */
