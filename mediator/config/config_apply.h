/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module turns the database's view of VMs and pools into the core's. */
#ifndef MEDIATOR_CONFIG_CONFIG_APPLY_H
#define MEDIATOR_CONFIG_CONFIG_APPLY_H

#include <stddef.h>
#include <stdint.h>

#include "core/core.h"
#include "common/uuid.h"
#include "store/vgpu_config.h"

/* Which UUID a vm_id has; all zero is empty. */
struct config_names {
    struct config_name *names; /* sorted by vm_id */
    uint32_t count;
};

/* NULL: not registered. Valid until the next config_apply(). */
const char *config_names_find(const struct config_names *names, uint32_t vm_id);
void config_names_free(struct config_names *names);

/*
 * Applies all of it or, with -errno and an `error`, nothing.  A pool without
 * GPUs of its own has all of them; GPUs that are not there are left out, with
 * a warning.
 */
int config_apply(struct core *core, const struct vgpu_config_snapshot *snapshot,
                 struct config_names *names, struct core_apply_result *result, char *error,
                 size_t error_bytes);

/* Without a database: every pool of `pools` has every GPU. */
void config_apply_default_pools(struct core *core, const char *pools);

#endif /* MEDIATOR_CONFIG_CONFIG_APPLY_H */
