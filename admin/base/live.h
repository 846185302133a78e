/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several commands show these figures of a VM from the mediator's answers.  The same figure
 * has the same name everywhere (docs/words.md).
 */
#ifndef ADMIN_BASE_LIVE_H
#define ADMIN_BASE_LIVE_H

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "admin/base/json_get.h"

/* REFUSED: answered with an error instead of becoming a job, whatever the reason. */
static inline double live_refused(const json_t *vm)
{
    return json_get_number(vm, "rejected_rate", 0) + json_get_number(vm, "rejected_queue", 0) +
           json_get_number(vm, "rejected_quarantined", 0) + json_get_number(vm, "invalid", 0);
}

/* STATE; vm NULL: the mediator knows none.  A worker's end is seen after its VM's, too. */
static inline const char *live_state(const json_t *vm)
{
    const char *state = json_get_text(vm, "state", "idle");

    if (json_get_bool(vm, "quarantined")) {
        return "quarantined";
    }
    return !json_get_bool(vm, "connected") && strcmp(state, "idle") == 0 ? "not connected" : state;
}

/* OWED, in ns; below 0: had ahead.  NAN: the mediator does not say. */
static inline double live_owed_ns(const json_t *vm)
{
    return json_get_number(vm, "lag_ns", NAN);
}

/* What the VM is in for the scheduler just now, beside its STATE; may be empty. */
static inline const char *live_standing(const json_t *vm)
{
    if (json_get_bool(vm, "suspended")) {
        return "suspended";
    }
    return json_get_bool(vm, "pausing") ? "pausing" : "";
}

/* The mediator runs with --no-db. */
static inline bool live_without_db(const json_t *status)
{
    return json_is_null(json_object_get(status, "database"));
}

#endif /* ADMIN_BASE_LIVE_H */
