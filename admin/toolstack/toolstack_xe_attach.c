/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading and writing an XCP-ng VM's platform:device-model-args through xe. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/toolstack/toolstack_args.h"
#include "admin/toolstack/toolstack_xe.h"

#define ARGS_KEY "device-model-args"
#define SELECTOR_BYTES (TOOLSTACK_UUID_BYTES + 8)

/*
 * xe's answer for a map without the key.  Whatever else makes it fail (no
 * connection, no such VM, no permission) does not say that the VM has no arguments,
 * and writing then could lose somebody's.
 */
static const char not_found[] = "Key " ARGS_KEY " not found in map";

static const char *select_vm(const char *uuid, char selector[SELECTOR_BYTES])
{
    snprintf(selector, SELECTOR_BYTES, "uuid=%s", uuid);
    return selector;
}

static int too_long(struct toolstack *t, const char *uuid)
{
    return toolstack_fail(t, -E2BIG,
                          "VM %s's platform:" ARGS_KEY " is too long (more than %d bytes); nothing "
                          "was changed",
                          uuid, TOOLSTACK_ARGS_BYTES - 1);
}

/* "" when the VM has none. */
static int read_args(struct toolstack *t, const char *uuid, char args[TOOLSTACK_ARGS_BYTES])
{
    char selector[SELECTOR_BYTES], *text;
    const char *const get[] = {"xe",
                               "vm-param-get",
                               select_vm(uuid, selector),
                               "param-name=platform",
                               ("param-key=" ARGS_KEY),
                               NULL};
    int result = toolstack_run(t, get, 0, &text);
    size_t length;

    args[0] = '\0';
    if (result < 0) {
        return strstr(toolstack_error(t), not_found) ? 0 : result;
    }
    length = strlen(text);
    length -= length > 0 && text[length - 1] == '\n';
    if (length < TOOLSTACK_ARGS_BYTES) {
        memcpy(args, text, length);
        args[length] = '\0';
    } else {
        result = too_long(t, uuid);
    }
    free(text);
    return result;
}

static int write_args(struct toolstack *t, const char *uuid, const char *args)
{
    char selector[SELECTOR_BYTES], assignment[TOOLSTACK_ARGS_BYTES + 64];
    const char *const set[] = {"xe", "vm-param-set", selector, assignment, NULL};
    const char *const drop[] = {
        "xe", "vm-param-remove", selector, "param-name=platform", ("param-key=" ARGS_KEY), NULL};

    /* xe sends its arguments to xapi as lines. */
    if (strchr(args, '\n')) {
        return toolstack_fail(t, -EINVAL,
                              "VM %s's platform:" ARGS_KEY
                              " has a line break in it, which xe cannot "
                              "write; nothing was changed. Write it as one line first: xe "
                              "vm-param-set uuid=%s platform:" ARGS_KEY "=\"...\"",
                              uuid, uuid);
    }
    snprintf(assignment, sizeof(assignment), "platform:" ARGS_KEY "=%s", args);
    select_vm(uuid, selector);
    return toolstack_run(t, args[0] ? set : drop, 0, NULL);
}

/* The VM's arguments and what they say of vgpu devices, if that can be relied on. */
static int look(struct toolstack *t, const char *uuid, char args[TOOLSTACK_ARGS_BYTES],
                struct toolstack_args *found)
{
    int result = read_args(t, uuid, args);

    *found = (struct toolstack_args){0};
    if (result < 0) {
        return result;
    }
    toolstack_args_read(args, found);
    if (found->refused[0]) {
        return toolstack_fail(t, -EINVAL,
                              "VM %s's platform:" ARGS_KEY " has a vgpu device in a form that does "
                              "not reach QEMU: %s. Nothing was changed. Write it as -device "
                              "vgpu-stub,..., without quotes, backslashes and driver=, or leave it "
                              "out: xe vm-param-set uuid=%s platform:" ARGS_KEY
                              "=\"...\"; then try "
                              "again",
                              uuid, found->refused, uuid);
    }
    return 0;
}

/* 1 written, 0 is so already. */
static int change(struct toolstack *t, const char *uuid, const char *before,
                  const struct toolstack_device *device)
{
    char after[TOOLSTACK_ARGS_BYTES];
    struct toolstack_args found;
    int result;

    if (toolstack_args_write(before, device, after, sizeof(after)) < 0) {
        return too_long(t, uuid);
    }
    if (strcmp(before, after) == 0) {
        return 0;
    }
    /* Taking a pair out may make another of its neighbours. */
    toolstack_args_read(after, &found);
    if (found.devices != (device ? 1 : 0) || found.refused[0]) {
        return toolstack_fail(t, -EINVAL,
                              "VM %s's platform:" ARGS_KEY
                              " cannot be changed without making another "
                              "device of what is left; nothing was changed. Correct it first: xe "
                              "vm-param-set uuid=%s platform:" ARGS_KEY "=\"...\"",
                              uuid, uuid);
    }
    result = write_args(t, uuid, after);
    return result < 0 ? result : 1;
}

int toolstack_xe_set_device(struct toolstack *t, const char *uuid,
                            const struct toolstack_device *device)
{
    char before[TOOLSTACK_ARGS_BYTES];
    struct toolstack_args found;
    int result = look(t, uuid, before, &found);

    if (result == 0) {
        result = found.devices > 0 ? change(t, uuid, before, device) : -ENOENT;
    }
    return result < 0 ? result : 0;
}

int toolstack_xe_attach(struct toolstack *t, const char *uuid,
                        const struct toolstack_device *device, unsigned *devices)
{
    char before[TOOLSTACK_ARGS_BYTES];
    struct toolstack_args found;
    int result = look(t, uuid, before, &found);

    *devices = found.devices;
    if (result == 0 && found.left_out[0]) {
        return toolstack_fail(
            t, -EINVAL,
            "VM %s's platform:" ARGS_KEY " has a vgpu device that QEMU's wrapper "
            "leaves out, because of properties other than pool_id, priority, vm_id "
            "and wait-mediator, or a value with other characters than letters and "
            "digits: %s. Nothing was changed. Take it out and try again: vgpu-admin "
            "detach-vm --vm-uuid=%s",
            uuid, found.left_out, uuid);
    }
    return result < 0 ? result : change(t, uuid, before, device);
}

int toolstack_xe_detach(struct toolstack *t, const char *uuid)
{
    char before[TOOLSTACK_ARGS_BYTES];
    struct toolstack_args found;
    int result = look(t, uuid, before, &found);

    return result < 0 || found.devices == 0 ? result : change(t, uuid, before, NULL);
}
