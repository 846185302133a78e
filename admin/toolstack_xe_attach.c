/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vgpu-stub device in an XCP-ng VM's platform:device-model-args, a text of
 * arguments for its QEMU.  Other arguments in it are somebody else's and stay as
 * they are, to the last blank.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/toolstack_xe.h"

#define ARGS_KEY "device-model-args"
#define DRIVER "vgpu-stub"
#define BLANKS " \t"

struct span {
    const char *at;
    size_t length; /* 0: the text's end */
};

static struct span next_word(const char *at)
{
    at += strspn(at, BLANKS);
    return (struct span){at, strcspn(at, BLANKS)};
}

static bool is_word(struct span span, const char *word)
{
    return span.length == strlen(word) && memcmp(span.at, word, span.length) == 0;
}

/* "vgpu-stub" or "vgpu-stub,..." */
static bool is_device(struct span span)
{
    size_t length = strlen(DRIVER);

    return span.length >= length && memcmp(span.at, DRIVER, length) == 0 &&
           (span.length == length || span.at[length] == ',');
}

bool toolstack_xe_remove_devices(const char *text, char out[TOOLSTACK_ARGS_BYTES])
{
    bool removed = false;
    size_t used = 0;

    while (*text) {
        struct span option = next_word(text), value = next_word(option.at + option.length);
        const char *end = option.at + option.length;

        if (is_word(option, "-device") && is_device(value)) {
            text = value.at + value.length;
            removed = true;
            continue;
        }
        /* With the blanks before it; the output is never longer than the text. */
        memcpy(out + used, text, (size_t)(end - text));
        used += (size_t)(end - text);
        text = end;
    }
    out[used] = '\0';
    memmove(out, out + strspn(out, BLANKS), strlen(out + strspn(out, BLANKS)) + 1);
    return removed;
}

static int too_long(struct toolstack *t, int result, const char *uuid)
{
    return toolstack_fail(t, result, "VM %s's platform:" ARGS_KEY " is too long", uuid);
}

/* *args is the caller's; NULL: the VM has none. */
static int read_args(struct toolstack *t, const char *selector, char **args)
{
    const char *const get[] = {
        "xe", "vm-param-get", selector, "param-name=platform", "param-key=" ARGS_KEY, NULL};
    int status, result = toolstack_run(t, get, 0, args, &status);

    if (result == 0 && status != 0) { /* "Key device-model-args not found in map" */
        free(*args);
        *args = NULL;
    } else if (result == 0) {
        (*args)[strcspn(*args, "\n")] = '\0';
    }
    return result;
}

/* "" when the VM has none. */
static int copy_args(struct toolstack *t, const char *selector, char args[TOOLSTACK_ARGS_BYTES])
{
    char *text;
    int result = read_args(t, selector, &text);

    if (result < 0) {
        return result;
    }
    if (text && strlen(text) >= TOOLSTACK_ARGS_BYTES) {
        result = toolstack_fail(t, -E2BIG, "the VM's platform:" ARGS_KEY " is too long");
    } else {
        strcpy(args, text ? text : "");
    }
    free(text);
    return result;
}

static int set_args(struct toolstack *t, const char *selector, const char *args)
{
    char assignment[TOOLSTACK_ARGS_BYTES + 64];

    snprintf(assignment, sizeof(assignment), "platform:" ARGS_KEY "=%s", args);
    const char *const set[] = {"xe", "vm-param-set", selector, assignment, NULL};
    const char *const drop[] = {
        "xe", "vm-param-remove", selector, "param-name=platform", "param-key=" ARGS_KEY, NULL};
    return toolstack_run(t, args[0] ? set : drop, 0, NULL, NULL);
}

int toolstack_xe_set_device(struct toolstack *t, const char *uuid,
                            const struct toolstack_device *device)
{
    char selector[TOOLSTACK_UUID_BYTES + 8], after[TOOLSTACK_ARGS_BYTES];
    char *before;

    snprintf(selector, sizeof(selector), "uuid=%s", uuid);
    int result = read_args(t, selector, &before);
    if (result < 0) {
        return result;
    }
    if (!before) {
        return -ENOENT;
    }
    result = toolstack_rewrite_device(before, BLANKS, device, after, sizeof(after));
    bool same = result == 0 && strcmp(before, after) == 0;
    free(before);
    if (result == -ENOENT || same) {
        return result;
    }
    return result < 0 ? too_long(t, result, uuid) : set_args(t, selector, after);
}

int toolstack_xe_attach(struct toolstack *t, const char *uuid,
                        const struct toolstack_device *device)
{
    char selector[TOOLSTACK_UUID_BYTES + 8];
    char before[TOOLSTACK_ARGS_BYTES], args[TOOLSTACK_ARGS_BYTES + 32];
    char after[TOOLSTACK_ARGS_BYTES];
    int result;

    snprintf(selector, sizeof(selector), "uuid=%s", uuid);
    result = copy_args(t, selector, before);
    if (result < 0) {
        return result;
    }
    snprintf(args, sizeof(args), "%s", before);
    result = toolstack_rewrite_device(args, BLANKS, device, after, sizeof(after));
    if (result == -ENOENT) {
        snprintf(args, sizeof(args), "%s%s-device " DRIVER, before, before[0] ? " " : "");
        result = toolstack_rewrite_device(args, BLANKS, device, after, sizeof(after));
    }
    if (result < 0) {
        return too_long(t, result, uuid);
    }
    if (strcmp(before, after) == 0) {
        return 0;
    }
    result = set_args(t, selector, after);
    return result < 0 ? result : 1;
}

int toolstack_xe_detach(struct toolstack *t, const char *uuid)
{
    char selector[TOOLSTACK_UUID_BYTES + 8];
    char before[TOOLSTACK_ARGS_BYTES], after[TOOLSTACK_ARGS_BYTES];
    int result;

    snprintf(selector, sizeof(selector), "uuid=%s", uuid);
    result = copy_args(t, selector, before);
    if (result < 0) {
        return result;
    }
    if (!toolstack_xe_remove_devices(before, after)) {
        return 0;
    }
    result = set_args(t, selector, after);
    return result < 0 ? result : 1;
}
