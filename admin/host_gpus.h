/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module asks the mediator, if it runs, which GPUs this host has. */
#ifndef ADMIN_HOST_GPUS_H
#define ADMIN_HOST_GPUS_H

#include <jansson.h>
#include <stdbool.h>

#include "store/vgpu_config.h"

struct admin;

/* The GPUs of the mediator's status, the caller's; NULL: no mediator answers. */
json_t *host_gpus(struct admin *admin);
/* gpu: an index or a UUID, as a pool has it.  gpus NULL: nobody knows, so true. */
bool host_has_gpu(const json_t *gpus, const char *gpu);
/* A pool that has GPUs of its own, none of which is here: its VMs can't be served. */
bool host_lacks_pool(const json_t *gpus, const vgpu_pool_config_t *pool);
/* Notes for each GPU of a pool that this host lacks: before its VMs ask in vain. */
void host_note_missing_gpus(struct admin *admin, const json_t *gpus);

#endif /* ADMIN_HOST_GPUS_H */
