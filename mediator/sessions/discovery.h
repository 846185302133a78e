/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discovery finds the QEMUs of this host that carry a vgpu-stub, and makes a socket for each
 * that would look for it in a folder of its own (a chroot, a mount namespace).  It looks again
 * every DISCOVERY_INTERVAL_MS; what it made for a QEMU goes when that QEMU goes.
 */
#ifndef MEDIATOR_SESSIONS_DISCOVERY_H
#define MEDIATOR_SESSIONS_DISCOVERY_H

#include <stdint.h>
#include <uv.h>

#include "mediator/sessions/discovery_scan.h"
#include "mediator/identity/process.h"

#define DISCOVERY_INTERVAL_MS 2000u
#define DISCOVERY_QEMUS_MAX 1024u /* there are no more VMs or listeners either */

struct discovery;
struct identity_cache;
struct listeners;

/* What it works with.  All of it outlives discovery_free(). */
struct discovery_uses {
    uv_loop_t *loop;
    struct listeners *listeners;       /* gets a socket for each QEMU that needs one */
    struct identity_cache *identities; /* asks here first who a process is */
    const char *proc_path;
    const uid_t *qemu_users; /* that QEMUs run as, and nobody else does */
    uint32_t qemu_user_count;
};

/* NULL when there is no memory. */
struct discovery *discovery_new(const struct discovery_uses *uses);
/* Looks as soon as the loop runs, then again and again. */
int discovery_start(struct discovery *discovery);
/* Sockets stay until the listeners are removed. */
void discovery_stop(struct discovery *discovery);
/* After the loop has run since. */
void discovery_free(struct discovery *discovery);

uint32_t discovery_count(const struct discovery *discovery);

/* Those for which the latest scan found no place, of all or of their user's. */
struct discovery_left_out discovery_left_out(const struct discovery *discovery);

/* QEMUs that can't reach us, as far as that is known, and why. */
typedef void (*discovery_trouble)(void *opaque, const struct process *process, const char *text);
void discovery_troubles(const struct discovery *discovery, discovery_trouble visit, void *opaque);

#endif /* MEDIATOR_SESSIONS_DISCOVERY_H */
