/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module says which uid a VM's workers have, and has the folder with its compiled kernels.
 *
 * A VM has one uid while a worker of it lives, and longer while it has a folder: the folder's
 * name is the VM, its owner the uid, and that is all that is kept.  No two VMs of this host have
 * the same uid at a time, whatever keepers serve them: each uid that is in use is a locked byte
 * of one file.
 *
 * Before a uid is used and before it is given back, all processes that have it are killed: what
 * a worker has forked outlives the worker.
 */
#ifndef KEEPER_UIDS_H
#define KEEPER_UIDS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Above what login.defs, systemd (its own, nspawn's up to 1879048191), SSSD and FreeIPA (up to
 * 2000200000), LXD, XCP-ng (65535 + domid) and Xen use, below systemd's foreign range (from
 * 2147352576) and the numbers that are negative as an int.
 */
#define UIDS_BASE_DEFAULT 2100000000u
#define UIDS_COUNT_DEFAULT 65536u
#define UIDS_COUNT_MAX 65536u
#define UIDS_LOCK_PATH "/run/vgpu-uids.lock"
#define UIDS_CACHE_PATH "/var/cache/vgpu"
#define UIDS_FOLDERS_MAX 4096u /* of VMs that may be gone; then one is removed for each new one */
#define UIDS_KEY_BYTES 40u     /* a VM as text: its UUID, or "vm-7" */

struct uids_config {
    uint32_t base, count;
    const char *lock_path;
    const char *cache_path; /* NULL: no folders */
};

struct uids;

/*
 * -EADDRINUSE: a user, a group or a range of subordinate ids lies in the range; -errno: the lock
 * file can't be had; `error` says it all.  Without its cache folder it does its work, too.
 */
int uids_new(const struct uids_config *config, struct uids **uids, char *error, size_t error_bytes);
void uids_free(struct uids *uids);

/*
 * A uid for one more process of the VM `key`.  `cache`, if not NULL: gets the VM's folder, which
 * is made if need be, or "".  -EAGAIN: all are in use, or there is no room for a process that looks
 * after them; another -errno of that, which the log tells.
 */
int uids_take(struct uids *uids, const char *key, uid_t *uid, char cache[PATH_MAX]);
/* One process of it has ended, and was awaited.  With the last one whatever has its uid ends. */
void uids_release(struct uids *uids, const char *key);
/* Some child of this process has ended: perhaps one that a worker left behind. */
void uids_settle(struct uids *uids);

#endif /* KEEPER_UIDS_H */
