/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module reads and writes a VM's platform:device-model-args on XCP-ng, which are QEMU
 * arguments in one text.
 *
 * It is split into words at white space and nowhere else; quotes mean nothing.
 * The wrapper that starts QEMU reads it in the same way, and passes on the pairs
 * "-device" and "vgpu-stub" or "vgpu-stub,...", so these are the VM's vgpu
 * devices.  All else is somebody else's, and stays as it is to the last blank.
 */
#ifndef ADMIN_TOOLSTACK_TOOLSTACK_ARGS_H
#define ADMIN_TOOLSTACK_TOOLSTACK_ARGS_H

#include "admin/toolstack/toolstack.h"

#define TOOLSTACK_ARGS_BYTES 4096
#define TOOLSTACK_REFUSED_BYTES 96

struct toolstack_args {
    unsigned devices;
    /*
     * A vgpu device as a shell or QEMU would read it and the wrapper does not: with
     * quotes or backslashes, with driver=, as JSON, after --device.  Such a text is
     * not to be changed: the VM would get another device than was written, or one
     * more, or keep one.  Its beginning; "": there is none.
     */
    char refused[TOOLSTACK_REFUSED_BYTES];
    /* The first device, if its properties make the wrapper leave it out; else "". */
    char left_out[TOOLSTACK_REFUSED_BYTES];
};

void toolstack_args_read(const char *text, struct toolstack_args *args);

/*
 * Copies the text with one vgpu device, or with none if device is NULL.  The first
 * that it has gets the new properties and keeps its others and its place; further
 * ones are left out; without any, one is appended.  0, or -E2BIG: no room.
 */
int toolstack_args_write(const char *text, const struct toolstack_device *device, char *out,
                         size_t out_bytes);

#endif /* ADMIN_TOOLSTACK_TOOLSTACK_ARGS_H */
