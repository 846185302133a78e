/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module does what must follow a change of the database. */
#ifndef ADMIN_CHANGE_H
#define ADMIN_CHANGE_H

#include <jansson.h>

#include "store/vgpu_config.h"

struct admin;

/*
 * After a change was written: tells the mediator, and goes on with a restart if
 * the VM's device is too old to be told.  before or after is NULL for a VM that
 * is new or gone; both are for changes that are not about one VM.  Prints
 * message, or the JSON document (steals it).  Returns the exit status.
 */
int admin_finish_change(struct admin *admin, const vgpu_vm_config_t *before,
                        const vgpu_vm_config_t *after, const char *message, json_t *document);

#endif /* ADMIN_CHANGE_H */
