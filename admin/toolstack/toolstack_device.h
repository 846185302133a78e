/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module writes the text of a vgpu-stub device in a VM's configuration. */
#ifndef ADMIN_TOOLSTACK_TOOLSTACK_DEVICE_H
#define ADMIN_TOOLSTACK_TOOLSTACK_DEVICE_H

#include "admin/toolstack/toolstack.h"

#define TOOLSTACK_DRIVER "vgpu-stub"

/* Text that is put together in a buffer; always ends with a NUL.  {buffer, its size}. */
struct toolstack_text {
    char *out;
    size_t bytes;
    size_t used;
    bool full; /* something did not fit */
};

void toolstack_text_put(struct toolstack_text *text, const char *from, size_t length);

/* Whether these bytes are "vgpu-stub" or "vgpu-stub,...". */
bool toolstack_is_device(const char *at, size_t length);

/*
 * Puts such a text with device's pool_id, priority and vm_id; other properties
 * stay, in their places.
 */
void toolstack_device_put(struct toolstack_text *text, const char *at, size_t length,
                          const struct toolstack_device *device);

/*
 * Rewrites the first device of a libvirt domain:
 * <qemu:arg value='vgpu-stub,pool_id=A,...'/>.  -ENOENT: there is none; -E2BIG:
 * no room.
 */
int toolstack_device_rewrite_xml(const char *xml, const struct toolstack_device *device, char *out,
                                 size_t out_bytes);

#endif /* ADMIN_TOOLSTACK_TOOLSTACK_DEVICE_H */
