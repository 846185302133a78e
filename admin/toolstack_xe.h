/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vgpu-stub device of an XCP-ng VM: giving it, changing it, taking it away. */
#ifndef ADMIN_TOOLSTACK_XE_H
#define ADMIN_TOOLSTACK_XE_H

#include "admin/toolstack.h"

/*
 * Both change what the VM's next start gives it: 1 changed, 0 was so already,
 * -errno after toolstack_fail().  A device that is there already gets the new
 * properties.
 */
int toolstack_xe_attach(struct toolstack *toolstack, const char *uuid,
                        const struct toolstack_device *device);
int toolstack_xe_detach(struct toolstack *toolstack, const char *uuid);
/* toolstack_ops' set_device. */
int toolstack_xe_set_device(struct toolstack *toolstack, const char *uuid,
                            const struct toolstack_device *device);

/*
 * Copies QEMU arguments without those that make a vgpu-stub.  `text` is shorter
 * than TOOLSTACK_ARGS_BYTES.  Returns whether there was one.
 */
bool toolstack_xe_remove_devices(const char *text, char out[TOOLSTACK_ARGS_BYTES]);

#endif /* ADMIN_TOOLSTACK_XE_H */
