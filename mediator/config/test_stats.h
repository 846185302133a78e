/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module shows the tests of this folder what the core knows of a VM. */
#ifndef MEDIATOR_CONFIG_TEST_STATS_H
#define MEDIATOR_CONFIG_TEST_STATS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/core.h"

static inline struct core_vm_stats stats_of(struct core *core, uint32_t vm_id)
{
    struct core_vm_stats stats;
    uint32_t slot = core_vm_find(core, vm_id);

    assert_true(slot != CORE_NONE);
    assert_true(core_vm_stats(core, slot, 1, &stats));
    return stats;
}

#endif /* MEDIATOR_CONFIG_TEST_STATS_H */
