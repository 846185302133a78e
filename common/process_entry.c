/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/process_entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes read, at most `size`; the rest of a longer file is left. */
ssize_t process_read_file(const char *proc_path, pid_t pid, const char *name, char *bytes,
                          size_t size)
{
    char path[256];
    size_t used = 0;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%d/%s", proc_path, (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? -ESRCH : -errno;
    }
    while (used < size) {
        n = read(fd, bytes + used, size - used);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            n = -errno;
            close(fd);
            return n;
        }
        if (n == 0) {
            break;
        }
        used += (size_t)n;
    }
    close(fd);
    return (ssize_t)used;
}

int process_read_stamp(const char *proc_path, pid_t pid, struct process_stamp *stamp)
{
    char text[1024], *open_paren, *close_paren, *p;
    ssize_t n = process_read_file(proc_path, pid, "stat", text, sizeof(text) - 1);
    size_t length;

    memset(stamp, 0, sizeof(*stamp));
    if (n < 0) {
        return (int)n;
    }
    text[n] = '\0';
    /* "pid (comm) state ...": comm may hold anything, so count from the last parenthesis. */
    open_paren = strchr(text, '(');
    close_paren = strrchr(text, ')');
    if (!open_paren || !close_paren || close_paren < open_paren) {
        return -ESRCH;
    }
    length = (size_t)(close_paren - open_paren - 1);
    if (length >= sizeof(stamp->comm)) {
        length = sizeof(stamp->comm) - 1;
    }
    memcpy(stamp->comm, open_paren + 1, length);
    /* The state is field 3, the start time field 22. */
    p = close_paren + 1;
    for (int field = 3; field <= 22; field++) {
        p = strchr(p, ' ');
        if (!p) {
            return -ESRCH;
        }
        p++;
        if (field == 3 && (*p == 'Z' || *p == 'X')) {
            return -ESRCH;
        }
    }
    stamp->start_ticks = strtoull(p, NULL, 10);
    return 0;
}

/* The effective one of the line "Uid:\treal\teffective\t...". */
static bool read_id(const char *text, const char *key, unsigned *id)
{
    const char *line = strstr(text, key);

    return line && sscanf(line + strlen(key), "%*u %u", id) == 1;
}

/* Those of the line "Groups:\tID ID ..." that is in `text`, which may have been cut. */
static void read_groups(const char *text, struct process_owner *owner)
{
    static const char key[] = "\nGroups:";
    const char *at = strstr(text, key);
    char *end;

    if (!at) {
        return;
    }
    at += strlen(key);
    for (;;) {
        unsigned long id;

        at += strspn(at, " \t");
        id = strtoul(at, &end, 10);
        if (end == at || (*end != ' ' && *end != '\n')) {
            return;
        }
        if (owner->group_count < PROCESS_GROUPS_MAX) {
            owner->groups[owner->group_count] = (gid_t)id;
        }
        owner->group_count++;
        at = end;
    }
}

/* "NSpid:\tPID\tPID...": one for each pid namespace from ours down to its own. */
static bool is_contained(const char *text)
{
    const char *at = strstr(text, "\nNSpid:");
    const char *end;

    if (!at) {
        return false; /* a kernel before 4.1 */
    }
    at += strlen("\nNSpid:");
    at += strspn(at, "\t");
    end = at + strcspn(at, "\n");
    return memchr(at, '\t', (size_t)(end - at)) != NULL;
}

int process_read_owner(const char *proc_path, pid_t pid, struct process_owner *owner)
{
    char text[4096];
    ssize_t n = process_read_file(proc_path, pid, "status", text, sizeof(text) - 1);

    memset(owner, 0, sizeof(*owner));
    if (n < 0) {
        return (int)n;
    }
    text[n] = '\0';
    if (!read_id(text, "\nUid:", &owner->uid) || !read_id(text, "\nGid:", &owner->gid)) {
        return -ESRCH;
    }
    read_groups(text, owner);
    owner->contained = is_contained(text);
    return 0;
}

enum process_program process_read_program(const char *proc_path, pid_t pid)
{
    char path[256], target[4096], *name;
    ssize_t n;

    snprintf(path, sizeof(path), "%s/%d/exe", proc_path, (int)pid);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0) {
        return PROCESS_PROGRAM_UNKNOWN;
    }
    target[n] = '\0';
    name = strrchr(target, '/');
    name = name ? name + 1 : target;
    /* "qemu-kvm (deleted)" after an update is one, too. */
    return strstr(name, "qemu") || strcmp(name, "kvm") == 0 || strcmp(name, "kvm (deleted)") == 0
               ? PROCESS_PROGRAM_QEMU
               : PROCESS_PROGRAM_OTHER;
}

/* 1: ours; 0: another; -errno: it can't be seen.  `folder_fd` is the process's own entry. */
static int in_our_user_namespace(int folder_fd)
{
    struct stat ours, theirs;

    if (stat("/proc/self/ns/user", &ours) < 0) {
        return errno == ENOENT ? 1 : -errno; /* a kernel without user namespaces */
    }
    if (fstatat(folder_fd, "ns/user", &theirs, 0) < 0) {
        return -errno;
    }
    return ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

static int open_entry(const char *proc_path, pid_t pid)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/%d", proc_path, (int)pid);
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Only root sees the namespaces of others' processes: what can't be seen counts as ours here. */
bool process_is_foreign(const char *proc_path, pid_t pid)
{
    int folder_fd = open_entry(proc_path, pid);
    int ours = folder_fd < 0 ? folder_fd : in_our_user_namespace(folder_fd);

    if (folder_fd >= 0) {
        close(folder_fd);
    }
    return ours == 0;
}

int process_open_root(const char *proc_path, pid_t pid)
{
    int folder_fd = open_entry(proc_path, pid);
    int fd, ret;

    if (folder_fd < 0) {
        return folder_fd;
    }
    fd = openat(folder_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    ret = fd < 0 ? -errno : fd;
    /* Afterwards: one does not come back from another namespace. */
    if (fd >= 0 && in_our_user_namespace(folder_fd) != 1) {
        close(fd);
        ret = -EPERM;
    }
    close(folder_fd);
    return ret;
}
