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
 * Speaks xenstored's own protocol, on its socket or else on the kernel's device
 * for it, so that nothing of Xen is needed to build or to run this program.
 * Blocks, for XEN_IDENTITY_DEADLINE_MS at most: not for the loop.
 */
#ifndef MEDIATOR_IDENTITY_XEN_IDENTITY_H
#define MEDIATOR_IDENTITY_XEN_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#include "mediator/identity/process.h"

#define XEN_IDENTITY_DEADLINE_MS 1000u
#define XEN_DOMID_LAST 0x7FEFu /* the numbers beyond are Xen's own */

/* A process younger than this may be looked at before the toolstack has written its pid. */
#define XEN_IDENTITY_LATE_MS 5000u
#define XEN_IDENTITY_TELL_MS 600000u

/*
 * The UUID of the VM whose device model `pid` is in domain `domid`, and the VM's
 * name ("" when XenStore has none or one that does not fit), of `name_bytes` bytes
 * with the NUL.
 *
 * 0; -ENODEV: there is no XenStore here (no Xen, or not its Dom0); -EPERM: that
 * domain's device model is another process; -ENOENT: XenStore has no device model
 * of such a domain; -ECONNREFUSED: XenStore should be there and is not;
 * -ETIMEDOUT; -EACCES; -EPROTO: an answer that makes no sense; another -errno.
 * Without 0 nothing is written.
 */
int xen_identity_read(uint32_t domid, pid_t pid, uint8_t uuid[UUID_BYTES], char *name,
                      size_t name_bytes);

/*
 * Replaces what a QEMU's command line says about its VM by what XenStore says.
 * Where there is no XenStore, or for a process that is not ours, nothing is
 * changed.  0, or -errno as above, -EPERM also for a QEMU without -xen-domid: it
 * must not be served.  That is logged, once in XEN_IDENTITY_TELL_MS for each
 * process and error, and of a young one not before XEN_IDENTITY_LATE_MS.
 */
int xen_identity_apply(struct process *process);

#endif /* MEDIATOR_IDENTITY_XEN_IDENTITY_H */
