/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module finds the folders vm<id> under the root, serves each as long as it is there, and
 * looks at it whenever something in it changes.
 *
 * inotify says so at once for what this host writes, and for what its NFS server writes for
 * guests, but not always, and never for a root that is itself mounted from elsewhere.  So each
 * folder is also looked at every poll_ms.  An event is a hint, never the reason to run a job.
 */
#ifndef BRIDGE_WATCH_H
#define BRIDGE_WATCH_H

#include <stdint.h>

#define WATCH_VMS_MAX 1024u

struct session_settings;
struct watch;

/*
 * Watches `root` (kept, as `settings` are), which no other process may watch: -EBUSY then.
 * Returns 0 and *watch, or -errno, which is logged.
 */
int watch_new(const char *root, const struct session_settings *settings, struct watch **watch);
/* Ends each session, which may wait for the job at work. */
void watch_free(struct watch *watch);

/* A descriptor that is readable when watch_events() has work; -1: this host has no inotify. */
int watch_fd(const struct watch *watch);
/* Takes the events that have come, and lets the sessions look. */
void watch_events(struct watch *watch);
/* Finds new and gone folders, and looks at each: at the start and every poll_ms. */
void watch_scan(struct watch *watch);

/* The VM of a folder's name, "vm7", "vm200"; 0: it is none. */
uint32_t watch_vm_of(const char *name);

#endif /* BRIDGE_WATCH_H */
