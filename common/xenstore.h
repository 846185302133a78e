/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asks XenStore whose device model a process is (mediator/identity/xen_identity.h tells why that is
 * believed).  Speaks xenstored's own protocol, on its socket or else on the kernel's device for it,
 * so that nothing of Xen is needed to build or to run this.  Blocks, for XENSTORE_DEADLINE_MS at
 * most.
 */
#ifndef COMMON_XENSTORE_H
#define COMMON_XENSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/uuid.h"

#define XENSTORE_DEADLINE_MS 1000u
#define XENSTORE_DOMID_LAST 0x7FEFu /* the numbers beyond are Xen's own */

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
int xenstore_read_domain(uint32_t domid, pid_t pid, uint8_t uuid[UUID_BYTES], char *name,
                         size_t name_bytes);

/* False: no Xen, or not its Dom0.  True also where it should be there and is not. */
bool xenstore_is_there(void);

#endif /* COMMON_XENSTORE_H */
