/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which VM is a Xen domain?  XenStore knows: the toolstack writes
 * /local/domain/DOMID/vm ("/vm/UUID") and .../name when it makes the domain, and
 * the domain can't change them.
 *
 * Speaks xenstored's own protocol, on its socket or else on the kernel's device
 * for it, so that nothing of Xen is needed to build or to run this program.
 * Blocks, for XEN_IDENTITY_DEADLINE_MS at most: not for the loop.
 */
#ifndef MEDIATOR_XEN_IDENTITY_H
#define MEDIATOR_XEN_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#include "mediator/qemu_cmdline.h"

#define XEN_IDENTITY_DEADLINE_MS 1000u
#define XEN_DOMID_LAST 0x7FEFu /* the numbers beyond are Xen's own */

/*
 * The UUID of a domain's VM, and its name ("" when XenStore has none or one that
 * does not fit), of `name_bytes` bytes with the NUL.
 *
 * 0; -ENODEV: there is no XenStore here (no Xen, or not its Dom0); -ENOENT: it
 * knows no such domain; -ETIMEDOUT; -EACCES; -EPROTO: an answer that makes no
 * sense; another -errno.  Without 0 nothing is written.
 */
int xen_identity_read(uint32_t domid, uint8_t uuid[UUID_BYTES], char *name, size_t name_bytes);

/*
 * Replaces what the command line of a Xen domain's QEMU says about its VM by what
 * XenStore says.  Without XenStore on this host, or for a QEMU that is no domain's
 * or has no vgpu-stub, nothing is changed.  0, or -errno: it is not known which VM
 * that is, which is logged, once a minute at most.
 */
int xen_identity_apply(struct qemu_cmdline *cmdline);

#endif /* MEDIATOR_XEN_IDENTITY_H */
