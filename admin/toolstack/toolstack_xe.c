/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XCP-ng.  What xe prints of a VM in a record is "field ( RO)  : value" lines, and a
 * name-label may have line breaks and such lines in it.  So the VMs are listed by
 * their UUIDs, those of one power state after the other, and each is asked for its
 * name alone.  The VM's device is toolstack_xe_attach.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/toolstack/toolstack_xe.h"

#define SELECTOR_BYTES (TOOLSTACK_UUID_BYTES + 8)

/* What xe says of a UUID that it does not know. */
static const char no_such_uuid[] = "The uuid you supplied was invalid";

/* The UUIDs of the VMs of which this is so; NULL: all. */
static int list_uuids(struct toolstack *t, const char *filter, char **out)
{
    const char *const argv[] = {"xe",        "vm-list", "is-control-domain=false",
                                "--minimal", filter,    NULL};

    return toolstack_run(t, argv, 0, out);
}

/* One parameter of a VM.  -ENOENT without text: there is no such VM. */
static int get(struct toolstack *t, const char *uuid, const char *name, char *value, size_t bytes)
{
    char selector[SELECTOR_BYTES], which[64];
    const char *const argv[] = {"xe", "vm-param-get", selector, which, NULL};

    snprintf(selector, sizeof(selector), "uuid=%s", uuid);
    snprintf(which, sizeof(which), "param-name=%s", name);
    return toolstack_ask(t, argv, no_such_uuid, value, bytes);
}

static int mark(struct toolstack *t, struct toolstack_vm *vms, size_t count, const char *state)
{
    char filter[TOOLSTACK_STATE_BYTES + 16], *out;
    int result;

    snprintf(filter, sizeof(filter), "power-state=%s", state);
    result = list_uuids(t, filter, &out);
    if (result == 0) {
        toolstack_mark(vms, count, out, state, strcmp(state, "running") == 0);
        free(out);
    }
    return result;
}

static int get_name(struct toolstack *t, const char *uuid, char *name, size_t bytes)
{
    return get(t, uuid, "name-label", name, bytes);
}

static int xe_list(struct toolstack *t, struct toolstack_vm **vms, size_t *count)
{
    static const char *const states[] = {"halted", "paused", "suspended", "running"};
    char *out;
    int result = list_uuids(t, NULL, &out);

    if (result < 0) {
        return result;
    }
    result = toolstack_add_uuids(t, out, vms, count);
    free(out);
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]) && result == 0; i++) {
        result = mark(t, *vms, *count, states[i]);
    }
    return result == 0 ? toolstack_name_all(t, *vms, count, get_name) : result;
}

static int xe_find(struct toolstack *t, const char *uuid, struct toolstack_vm *vm)
{
    int result = get(t, uuid, "power-state", vm->state, sizeof(vm->state));

    if (result == 0) {
        result = get(t, uuid, "name-label", vm->name, sizeof(vm->name));
    }
    snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
    vm->running = strcmp(vm->state, "running") == 0;
    return result;
}

static int xe_restart(struct toolstack *t, const char *uuid)
{
    char selector[SELECTOR_BYTES];
    const char *const stop[] = {"xe", "vm-shutdown", selector, NULL};
    const char *const start[] = {"xe", "vm-start", selector, NULL};
    int result;

    snprintf(selector, sizeof(selector), "uuid=%s", uuid);
    result = toolstack_run(t, stop, toolstack_shutdown_ms(t), NULL);
    return result == 0 ? toolstack_run(t, start, 0, NULL) : result;
}

const struct toolstack_ops toolstack_xe = {
    .name = "xe",
    .program = "xe",
    .list = xe_list,
    .find = xe_find,
    .set_device = toolstack_xe_set_device,
    .restart = xe_restart,
    .restart_by_hand = "xe vm-shutdown uuid=UUID && xe vm-start uuid=UUID",
    .reboot_is_enough = true,
};
