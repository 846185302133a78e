/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module finds the VM whose device model a process is.  On a Xen host XenStore knows
 * that, and nothing else is believed.  The process says with -xen-domid in which domain's
 * folder to look; it may lie, for its command line is its own memory.  There,
 * image/device-model-pid must name this very process: XCP-ng's qemu-wrapper and libxl write it
 * right after they have started the domain's QEMU.  Then that folder's vm ("/vm/UUID") and
 * name are its VM's.
 *
 * /local/domain/DOMID and what the toolstack makes in it belong to Dom0.  The
 * domain may read there and can neither change these three nor make them: the
 * folders that are its own (data, attr, control and so on) are others.  A QEMU
 * started with -xen-domid-restrict, as XCP-ng's are, gives up its XenStore
 * connection before its guest runs.
 *
 * Blocks (common/xenstore.h): not for the loop.
 */
#ifndef MEDIATOR_IDENTITY_XEN_IDENTITY_H
#define MEDIATOR_IDENTITY_XEN_IDENTITY_H

#include "mediator/identity/process.h"

/* A process younger than this may be looked at before the toolstack has written its pid. */
#define XEN_IDENTITY_LATE_MS 5000u
#define XEN_IDENTITY_TELL_MS 600000u

/*
 * Replaces what a QEMU's command line says about its VM by what XenStore says.
 * Where there is no XenStore, or for a process that is not ours, nothing is
 * changed.  0, or -errno as of xenstore_read_domain(), -EPERM also for a QEMU without -xen-domid:
 * it must not be served.  That is logged, once in XEN_IDENTITY_TELL_MS for each
 * process and error, and of a young one not before XEN_IDENTITY_LATE_MS.
 */
int xen_identity_apply(struct process *process);

#endif /* MEDIATOR_IDENTITY_XEN_IDENTITY_H */
