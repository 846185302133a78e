/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/names.h"

#include <stddef.h>
#include <string.h>

#include "vgpu/vgpu_protocol.h"

const char *const priority_names[] = {
    [VGPU_PRIORITY_LOW] = "low",
    [VGPU_PRIORITY_MEDIUM] = "medium",
    [VGPU_PRIORITY_HIGH] = "high",
    NULL,
};

const char *const policy_names[] = {POLICY_NAMES(, ), NULL};

const char *priority_name(uint32_t priority)
{
    return priority <= VGPU_PRIORITY_HIGH ? priority_names[priority] : "?";
}

int priority_from_name(const char *name)
{
    for (int priority = 0; priority_names[priority]; priority++) {
        if (strcmp(name, priority_names[priority]) == 0) {
            return priority;
        }
    }
    return -1;
}
