/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Theory of operation.  A scan is incremental: of a process that was looked at
 * before, only /proc/PID/stat is read.  If start time and name are the same it
 * is neither a new process nor has it exec'd, and its command line was judged
 * already.
 *
 * There are `limit` places for QEMUs, of which one user may take
 * DISCOVERY_OF_USER_MAX: else any local user could take them all, with programs
 * that only look like QEMUs.  One that is known keeps its own, whoever
 * else comes; one that finds none is remembered with the judged, so that it
 * costs no more than they do, and is read again when there is a place.
 */
#include "common/parse.h"
#include "mediator/sessions/discovery_scan.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A process that was looked at. */
struct discovery_judged {
    pid_t pid;
    struct process_stamp stamp;
    bool seen; /* in this scan */
    bool qemu; /* one of ours, for which there was no place */
    uid_t uid; /* then */
};

int discovery_scan_init(struct discovery_scan *scan, const char *proc_path, uint32_t limit)
{
    memset(scan, 0, sizeof(*scan));
    scan->proc_path = proc_path;
    scan->limit = limit;
    scan->known = calloc(limit, sizeof(*scan->known));
    scan->found = calloc(limit, sizeof(*scan->found));
    return scan->known && scan->found ? 0 : -ENOMEM;
}

void discovery_scan_destroy(struct discovery_scan *scan)
{
    free(scan->judged);
    free(scan->found);
    free(scan->known);
}

static bool same_stamp(const struct process_stamp *a, const struct process_stamp *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static int compare_judged(const void *a, const void *b)
{
    const struct discovery_judged *left = a, *right = b;

    return (left->pid > right->pid) - (left->pid < right->pid);
}

/* `sorted`: how many of the judged were there, and sorted, before this scan. */
static struct discovery_judged *find_judged(struct discovery_scan *scan, uint32_t sorted, pid_t pid)
{
    struct discovery_judged key = {.pid = pid};

    return sorted ? bsearch(&key, scan->judged, sorted, sizeof(key), compare_judged) : NULL;
}

static void remember_judged(struct discovery_scan *scan, const struct process *process, bool qemu)
{
    if (scan->judged_count == scan->judged_capacity) {
        uint32_t capacity = scan->judged_capacity ? scan->judged_capacity * 2 : 1024;
        struct discovery_judged *more;

        if (capacity > DISCOVERY_PROCESSES_MAX) {
            return; /* then it is looked at again each time */
        }
        more = realloc(scan->judged, capacity * sizeof(*more));
        if (!more) {
            return;
        }
        scan->judged = more;
        scan->judged_capacity = capacity;
    }
    scan->judged[scan->judged_count++] = (struct discovery_judged){.pid = process->pid,
                                                                   .stamp = process->stamp,
                                                                   .seen = true,
                                                                   .qemu = qemu,
                                                                   .uid = process->owner.uid};
}

static bool is_trusted(const struct discovery_scan *scan, uid_t uid)
{
    for (uint32_t i = 0; i < scan->qemu_user_count; i++) {
        if (scan->qemu_users[i] == uid) {
            return true;
        }
    }
    return uid == 0;
}

/* Those that are known may all still be there. */
static bool has_place(const struct discovery_scan *scan, uid_t uid)
{
    uint32_t of_user = 0;

    if (scan->known_count + scan->fresh_count >= scan->limit) {
        return false;
    }
    if (is_trusted(scan, uid)) {
        return true;
    }
    for (uint32_t i = 0; i < scan->known_count; i++) {
        of_user += scan->known[i].uid == uid;
    }
    for (uint32_t i = 0; i < scan->found_count; i++) {
        of_user += scan->found[i].fresh && scan->found[i].process.owner.uid == uid;
    }
    return of_user < DISCOVERY_OF_USER_MAX;
}

static void leave_out(struct discovery_scan *scan, pid_t pid)
{
    if (scan->left_out.count++ == 0) {
        scan->left_out.pid = pid;
    }
}

static void add_found(struct discovery_scan *scan, const struct process *process, bool fresh)
{
    struct discovery_found *found = &scan->found[scan->found_count];
    const char *proc_path = scan->proc_path;
    struct process_stamp after;

    if (scan->found_count == scan->limit) {
        return;
    }
    found->process = *process;
    found->fresh = fresh;
    if (!fresh && process_read_owner(proc_path, process->pid, &found->process.owner) < 0) {
        return;
    }
    found->root.fd = -1;
    found->error = process->foreign ? -EPERM
                                    : host_help_root(proc_path, process->pid,
                                                     process->stamp.start_ticks, &found->root);
    /* Its number may have become another's on the way here. */
    if (found->error == 0 && (process_read_stamp(proc_path, process->pid, &after) < 0 ||
                              after.start_ticks != process->stamp.start_ticks)) {
        if (found->root.fd >= 0) {
            close(found->root.fd);
        }
        return;
    }
    scan->found_count++;
    scan->fresh_count += fresh;
}

static bool scan_known(struct discovery_scan *scan, pid_t pid, const struct process_stamp *stamp)
{
    struct process process = {.pid = pid, .stamp = *stamp};

    for (uint32_t i = 0; i < scan->known_count; i++) {
        /* Its name may change (threads' names do): the start time is what counts. */
        if (scan->known[i].pid == pid && scan->known[i].start_ticks == stamp->start_ticks) {
            add_found(scan, &process, false);
            return true;
        }
    }
    return false;
}

static void scan_one(struct discovery_scan *scan, uint32_t sorted, pid_t pid)
{
    const char *proc_path = scan->proc_path;
    struct process_stamp stamp;
    struct process process;
    struct discovery_judged *judged;
    bool qemu;

    if (process_read_stamp(proc_path, pid, &stamp) < 0 || scan_known(scan, pid, &stamp)) {
        return;
    }
    judged = find_judged(scan, sorted, pid);
    if (judged && same_stamp(&judged->stamp, &stamp) &&
        !(judged->qemu && has_place(scan, judged->uid))) {
        judged->seen = true;
        if (judged->qemu) {
            leave_out(scan, pid);
        }
        return;
    }
    if (process_read(proc_path, pid, false, &process) < 0) {
        return; /* looked at again in the next scan: XenStore may know it by then */
    }
    qemu = process.ours;
    if (qemu && has_place(scan, process.owner.uid)) {
        add_found(scan, &process, true);
        return;
    }
    if (qemu) {
        leave_out(scan, pid);
    }
    if (judged) {
        judged->stamp = process.stamp;
        judged->qemu = qemu;
        judged->uid = process.owner.uid;
        judged->seen = true;
    } else {
        remember_judged(scan, &process, qemu);
    }
}

void discovery_scan_run(struct discovery_scan *scan)
{
    uint32_t sorted = scan->judged_count, kept = 0;
    struct dirent *entry;
    DIR *dir = opendir(scan->proc_path);

    scan->found_count = 0;
    scan->fresh_count = 0;
    scan->left_out = (struct discovery_left_out){0};
    scan->error = dir ? 0 : -errno;
    if (!dir) {
        return;
    }
    for (uint32_t i = 0; i < sorted; i++) {
        scan->judged[i].seen = false;
    }
    while ((entry = readdir(dir))) {
        uint32_t pid;

        if (parse_u32(entry->d_name, 1, INT32_MAX, &pid)) {
            scan_one(scan, sorted, (pid_t)pid);
        }
    }
    closedir(dir);
    for (uint32_t i = 0; i < scan->judged_count; i++) {
        if (scan->judged[i].seen) {
            scan->judged[kept++] = scan->judged[i];
        }
    }
    scan->judged_count = kept;
    if (kept) {
        qsort(scan->judged, kept, sizeof(*scan->judged), compare_judged);
    }
}
