/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module gives an XCP-ng VM its vgpu-stub device, changes it, and takes it away. */
#ifndef ADMIN_TOOLSTACK_TOOLSTACK_XE_H
#define ADMIN_TOOLSTACK_TOOLSTACK_XE_H

#include "admin/toolstack/toolstack.h"

/*
 * Both change what the VM's next start gives it: 1 changed, 0 was so already,
 * -errno after toolstack_fail(), with nothing written.  Afterwards the VM has one
 * device, or none.  *devices: how many it had.
 */
int toolstack_xe_attach(struct toolstack *toolstack, const char *uuid,
                        const struct toolstack_device *device, unsigned *devices);
int toolstack_xe_detach(struct toolstack *toolstack, const char *uuid);
/* toolstack_ops' set_device. */
int toolstack_xe_set_device(struct toolstack *toolstack, const char *uuid,
                            const struct toolstack_device *device);

#endif /* ADMIN_TOOLSTACK_TOOLSTACK_XE_H */
