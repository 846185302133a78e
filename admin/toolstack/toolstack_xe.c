/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XCP-ng.  xe prints records of "field ( RO)  : value" lines; a value goes to the
 * end of the line and may contain anything, commas and colons too, which is why
 * the records are read and not xe's --minimal list.  The VM's device is
 * toolstack_xe_attach.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/toolstack/toolstack_xe.h"

/* Splits "   name-label ( RW): My VM" into field and value; false for other lines. */
static bool split_line(char *line, char **field, char **value)
{
    char *open = strchr(line, '(');
    char *colon = open ? strchr(open, ')') : NULL;

    if (!colon) {
        return false;
    }
    colon += 1 + strspn(colon + 1, " ");
    if (*colon != ':') {
        return false;
    }
    *value = colon + 1 + strspn(colon + 1, " ");
    *field = line + strspn(line, " ");
    while (open > *field && open[-1] == ' ') {
        open--;
    }
    *open = '\0';
    return true;
}

static int xe_list(struct toolstack *t, struct toolstack_vm **vms, size_t *count)
{
    static const char *const argv[] = {"xe", "vm-list", "is-control-domain=false",
                                       "params=uuid,name-label,power-state", NULL};
    struct toolstack_vm vm = {.uuid = ""};
    char *out, *rest, *line;
    int result = toolstack_run(t, argv, 0, &out);

    if (result < 0) {
        return result;
    }
    rest = out;
    while (result == 0 && (line = strsep(&rest, "\n"))) {
        char *field, *value;
        if (!split_line(line, &field, &value)) {
            continue;
        }
        if (strcmp(field, "uuid") == 0) {
            if (vm.uuid[0]) {
                result = toolstack_add(t, vms, count, &vm);
            }
            memset(&vm, 0, sizeof(vm));
            snprintf(vm.uuid, sizeof(vm.uuid), "%s", value);
        } else if (strcmp(field, "name-label") == 0) {
            snprintf(vm.name, sizeof(vm.name), "%s", value);
        } else if (strcmp(field, "power-state") == 0) {
            snprintf(vm.state, sizeof(vm.state), "%s", value);
            vm.running = strcmp(value, "running") == 0;
        }
    }
    if (result == 0 && vm.uuid[0]) {
        result = toolstack_add(t, vms, count, &vm);
    }
    free(out);
    return result;
}

static int xe_restart(struct toolstack *t, const char *uuid)
{
    char selector[TOOLSTACK_UUID_BYTES + 8];
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
    .set_device = toolstack_xe_set_device,
    .restart = xe_restart,
    .restart_by_hand = "xe vm-shutdown uuid=UUID && xe vm-start uuid=UUID",
    .reboot_is_enough = true,
};
