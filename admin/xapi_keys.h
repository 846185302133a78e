/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In a pool of XCP-ng hosts a VM's settings may be keys that xapi keeps.  vgpu-xapi-sync writes
 * them into this host's database, and lists such VMs in a file beside it.
 */
#ifndef ADMIN_XAPI_KEYS_H
#define ADMIN_XAPI_KEYS_H

#include "store/vgpu_config.h"

struct admin;

/* After this VM was changed or removed: a note, if vgpu-xapi-sync will put it back. */
void admin_note_xapi_keys(struct admin *admin, const vgpu_vm_config_t *vm);

#endif /* ADMIN_XAPI_KEYS_H */
