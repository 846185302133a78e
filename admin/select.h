/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module finds the VM that the options name, and the words by which a VM is called. */
#ifndef ADMIN_SELECT_H
#define ADMIN_SELECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/vgpu_config.h"

struct admin;

/*
 * The VM that --vm-uuid, --vm-name or --vm-id (only if use_vm_id) names, in
 * admin->config.  0 or an exit status after saying why.
 */
int admin_select_vm(struct admin *admin, bool use_vm_id, const vgpu_vm_config_t **vm);
bool admin_vm_is_named(const struct admin *admin, bool use_vm_id);
const vgpu_vm_config_t *admin_vm_by_id(const struct admin *admin, uint32_t vm_id);
/* Its name, its UUID if it has none. */
const char *admin_vm_name(const vgpu_vm_config_t *vm);
/* "web1 (vm_id 3)", for people: sanitised; the buffer is the caller's. */
#define ADMIN_LABEL_BYTES 320
const char *admin_vm_label(const vgpu_vm_config_t *vm, char label[ADMIN_LABEL_BYTES]);
json_t *admin_vm_json(const vgpu_vm_config_t *vm);
bool admin_is_uuid(const char *text);

#endif /* ADMIN_SELECT_H */
