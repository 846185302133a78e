/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding the QEMUs of this host that carry a vgpu-stub, and making a socket
 * for each that would look for it in a folder of its own (a chroot, a mount
 * namespace).  Looks again every DISCOVERY_INTERVAL_MS; what it made for a QEMU
 * goes when that QEMU goes.
 */
#ifndef MEDIATOR_SESSIONS_DISCOVERY_H
#define MEDIATOR_SESSIONS_DISCOVERY_H

#include <stdint.h>

#include "mediator/sessions/discovery_scan.h"
#include "mediator/identity/process.h"

#define DISCOVERY_INTERVAL_MS 2000u
#define DISCOVERY_QEMUS_MAX 1024u /* there are no more VMs or listeners either */

struct discovery;
struct mediator;

/* NULL when there is no memory. */
struct discovery *discovery_new(struct mediator *mediator);
/* Looks as soon as the loop runs, then again and again. */
int discovery_start(struct discovery *discovery);
/* Sockets stay until the listeners are removed. */
void discovery_stop(struct discovery *discovery);
/* After the loop has run since. */
void discovery_free(struct discovery *discovery);

/* The QEMU with this pid as it was first seen, if it still is that process; else NULL. */
const struct process *discovery_find(struct discovery *discovery, pid_t pid);
uint32_t discovery_count(const struct discovery *discovery);

/* Those for which the latest scan found no place. */
struct discovery_left_out discovery_left_out(const struct discovery *discovery);

#endif /* MEDIATOR_SESSIONS_DISCOVERY_H */
