/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XCP-ng.  xe prints records of "field ( RO)  : value" lines; a value goes to the
 * end of the line and may contain anything, commas and colons too, which is why
 * the records are read and not xe's --minimal list.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/toolstack.h"

#define ARGS_KEY "device-model-args"

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
    int result = toolstack_run(t, argv, 0, &out, NULL);

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

static int xe_set_device(struct toolstack *t, const char *uuid,
                         const struct toolstack_device *device)
{
    char selector[TOOLSTACK_UUID_BYTES + 8], args[TOOLSTACK_ARGS_BYTES];
    char assignment[TOOLSTACK_ARGS_BYTES + 64];
    char *out;
    int status;

    snprintf(selector, sizeof(selector), "uuid=%s", uuid);
    const char *const get[] = {
        "xe", "vm-param-get", selector, "param-name=platform", "param-key=" ARGS_KEY, NULL};
    int result = toolstack_run(t, get, 0, &out, &status);
    if (result < 0) {
        return result;
    }
    if (status != 0) { /* "Key device-model-args not found in map" */
        free(out);
        return -ENOENT;
    }
    out[strcspn(out, "\n")] = '\0';
    result = toolstack_rewrite_device(out, " \t", device, args, sizeof(args));
    bool same = result == 0 && strcmp(out, args) == 0;
    free(out);
    if (result == -ENOENT || same) {
        return result;
    }
    if (result < 0) {
        return toolstack_fail(t, result, "VM %s's platform:" ARGS_KEY " is too long", uuid);
    }
    snprintf(assignment, sizeof(assignment), "platform:" ARGS_KEY "=%s", args);
    const char *const set[] = {"xe", "vm-param-set", selector, assignment, NULL};
    result = toolstack_run(t, set, 0, &out, NULL);
    free(out);
    return result;
}

static int xe_restart(struct toolstack *t, const char *uuid)
{
    char selector[TOOLSTACK_UUID_BYTES + 8];
    char *out;

    snprintf(selector, sizeof(selector), "uuid=%s", uuid);
    const char *const stop[] = {"xe", "vm-shutdown", selector, NULL};
    const char *const start[] = {"xe", "vm-start", selector, NULL};
    int result = toolstack_run(t, stop, toolstack_shutdown_ms(t), &out, NULL);
    free(out);
    if (result == 0) {
        result = toolstack_run(t, start, 0, &out, NULL);
        free(out);
    }
    return result;
}

const struct toolstack_ops toolstack_xe = {
    .name = "xe",
    .program = "xe",
    .list = xe_list,
    .set_device = xe_set_device,
    .restart = xe_restart,
    .restart_by_hand = "xe vm-shutdown uuid=UUID && xe vm-start uuid=UUID",
};
