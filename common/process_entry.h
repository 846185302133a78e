/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module reads what /proc tells about a process, but for its command line.  `proc_path` is
 * /proc or, in tests, another folder with such entries.  These calls may block, so no loop may make
 * them.
 */
#ifndef COMMON_PROCESS_ENTRY_H
#define COMMON_PROCESS_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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

/* Bytes read of its file `name`, at most `size`; the rest of a longer file is left.  -errno. */
ssize_t process_read_file(const char *proc_path, pid_t pid, const char *name, char *bytes,
                          size_t size);
/* -ESRCH: no such process.  Fast: reads nothing of the process's own memory. */
int process_read_stamp(const char *proc_path, pid_t pid, struct process_stamp *stamp);
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
/* Does it live in another user namespace?  What can't be seen counts as ours here. */
bool process_is_foreign(const char *proc_path, pid_t pid);

#endif /* COMMON_PROCESS_ENTRY_H */
