/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module reads what a QEMU's command line says about its VM and its vgpu-stub devices. */
#ifndef MEDIATOR_IDENTITY_QEMU_CMDLINE_H
#define MEDIATOR_IDENTITY_QEMU_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/uuid.h"

#define QEMU_DEVICE_NAME "vgpu-stub"
#define QEMU_STUBS_MAX 8u
#define QEMU_NAME_BYTES 64u
#define QEMU_PATH_BYTES 108u
#define QEMU_ID_BYTES 64u

struct qemu_stub {
    bool has_vm_id;
    uint32_t vm_id;
    char chardev[QEMU_ID_BYTES]; /* "" = the device's own default */
    char path[QEMU_PATH_BYTES];  /* of that chardev's socket; "" = unknown */
};

struct qemu_cmdline {
    bool has_uuid;
    uint8_t uuid[UUID_BYTES];
    char name[QEMU_NAME_BYTES]; /* "" = none */
    bool has_xen_domid;         /* it says that it is a Xen domain's device model */
    uint32_t xen_domid;
    uint32_t stub_count; /* 0: not a QEMU of ours */
    struct qemu_stub stubs[QEMU_STUBS_MAX];
};

/*
 * `bytes` are the arguments, each ended by a NUL, as /proc/PID/cmdline has
 * them.  Whatever they are, the result is well-formed; what does not fit or
 * makes no sense is left out.
 */
void qemu_cmdline_parse(struct qemu_cmdline *cmdline, const char *bytes, size_t length);

#endif /* MEDIATOR_IDENTITY_QEMU_CMDLINE_H */
