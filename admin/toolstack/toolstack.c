/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/unused.h"

#include "admin/toolstack/run_program.h"
#include "admin/toolstack/toolstack.h"

#define UUID_LENGTH 36

struct toolstack {
    const struct toolstack_ops *ops;
    int timeout_ms; /* 0: the defaults */
    char error[1536];
};

static const struct toolstack_ops *const known[] = {
    &toolstack_xe,
    &toolstack_libvirt,
    &toolstack_none,
};

static bool in_path(const char *program)
{
    const char *path = getenv("PATH");
    char file[4096];

    while (path && *path) {
        size_t length = strcspn(path, ":");
        if (length > 0 &&
            snprintf(file, sizeof(file), "%.*s/%s", (int)length, path, program) <
                (int)sizeof(file) &&
            access(file, X_OK) == 0) {
            return true;
        }
        path += length + (path[length] == ':');
    }
    return false;
}

struct toolstack *toolstack_new(const char *name, int timeout_ms)
{
    const struct toolstack_ops *ops = NULL;
    struct toolstack *t;

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && !ops; i++) {
        if (name ? strcmp(name, known[i]->name) == 0
                 : !known[i]->program || in_path(known[i]->program)) {
            ops = known[i];
        }
    }
    t = ops ? calloc(1, sizeof(*t)) : NULL;
    if (t) {
        t->ops = ops;
        t->timeout_ms = timeout_ms;
    }
    return t;
}

void toolstack_free(struct toolstack *t)
{
    free(t);
}

const struct toolstack_ops *toolstack_ops(const struct toolstack *t)
{
    return t->ops;
}

const char *toolstack_error(const struct toolstack *t)
{
    return t->error;
}

int toolstack_shutdown_ms(const struct toolstack *t)
{
    return t->timeout_ms ? t->timeout_ms : TOOLSTACK_SHUTDOWN_MS;
}

int toolstack_fail(struct toolstack *t, int result, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(t->error, sizeof(t->error), format, args);
    va_end(args);
    return result;
}

/* "xe vm-list", for messages: the program and what it was asked. */
static const char *short_command(const char *const argv[], char out[64])
{
    snprintf(out, 64, "%s %s", argv[0], argv[1] ? argv[1] : "");
    return out;
}

int toolstack_run(struct toolstack *t, const char *const argv[], int timeout_ms, char **out)
{
    struct run_result result;
    char command[64];
    int rc;

    short_command(argv, command);
    if (timeout_ms == 0) {
        timeout_ms = t->timeout_ms ? t->timeout_ms : TOOLSTACK_TIMEOUT_MS;
    }
    if (out) {
        *out = NULL;
    }
    rc = run_program(argv, timeout_ms, &result);
    switch (rc) {
    case 0: break;
    case -ENOENT: /* not passed on: from set_device() it would mean that there is no device */
        return toolstack_fail(t, -EIO,
                              "the program %s is not here; install it, or use another toolstack "
                              "with --toolstack",
                              argv[0]);
    case -ETIMEDOUT:
        return toolstack_fail(t, rc,
                              "%s did not end within %d s and was stopped; the toolstack may hang "
                              "(allow more with --timeout=SECONDS)",
                              command, timeout_ms / 1000);
    case -E2BIG:
        return toolstack_fail(t, rc, "%s printed more than %u bytes and was stopped", command,
                              RUN_OUTPUT_MAX);
    default: return toolstack_fail(t, rc, "%s could not be run: %s", command, strerror(-rc));
    }
    if (result.status != 0) {
        size_t length = strlen(result.error);
        while (length > 0 &&
               (result.error[length - 1] == '\n' || result.error[length - 1] == ' ')) {
            result.error[--length] = '\0';
        }
        for (char *p = result.error; *p; p++) {
            *p = *p == '\n' ? ' ' : *p;
        }
        toolstack_fail(t, -EIO, "%s failed with status %d: %s", command, result.status,
                       length ? result.error : "it did not say why");
        run_result_free(&result);
        return -EIO;
    }
    if (out) {
        *out = result.out;
    } else {
        run_result_free(&result);
    }
    return 0;
}

int toolstack_add(struct toolstack *t, struct toolstack_vm **vms, size_t *count,
                  const struct toolstack_vm *vm)
{
    if (*count == TOOLSTACK_VMS_MAX) {
        return toolstack_fail(t, -E2BIG, "%s lists more than %d VMs", t->ops->name,
                              TOOLSTACK_VMS_MAX);
    }
    if ((*count & (*count - 1)) == 0) {
        struct toolstack_vm *larger = realloc(*vms, (*count ? 2 * *count : 1) * sizeof(*larger));
        if (!larger) {
            return toolstack_fail(t, -ENOMEM, "out of memory");
        }
        *vms = larger;
    }
    (*vms)[(*count)++] = *vm;
    return 0;
}

/* The next UUID of a list, its length in *length; NULL: there is no more. */
static const char *next_uuid(const char *text, size_t *length)
{
    while (*text) {
        text += strspn(text, ", \t\r\n");
        *length = strcspn(text, ", \t\r\n");
        if (*length == UUID_LENGTH && text[8] == '-') {
            return text;
        }
        text += *length;
    }
    return NULL;
}

int toolstack_add_uuids(struct toolstack *t, const char *text, struct toolstack_vm **vms,
                        size_t *count)
{
    size_t length;

    while ((text = next_uuid(text, &length))) {
        struct toolstack_vm vm = {.uuid = ""};
        int result;

        memcpy(vm.uuid, text, length);
        result = toolstack_add(t, vms, count, &vm);
        if (result < 0) {
            return result;
        }
        text += length;
    }
    return 0;
}

void toolstack_mark(struct toolstack_vm *vms, size_t count, const char *uuids, const char *state,
                    bool running)
{
    size_t length;

    while ((uuids = next_uuid(uuids, &length))) {
        for (size_t i = 0; i < count; i++) {
            if (strncmp(uuids, vms[i].uuid, length) == 0) {
                snprintf(vms[i].state, sizeof(vms[i].state), "%s", state);
                vms[i].running = running;
            }
        }
        uuids += length;
    }
}

int toolstack_ask(struct toolstack *t, const char *const argv[], const char *unknown, char *value,
                  size_t bytes)
{
    size_t length;
    char *out;
    int result = toolstack_run(t, argv, 0, &out);

    if (result < 0) {
        return strstr(toolstack_error(t), unknown) ? -ENOENT : result;
    }
    length = strlen(out); /* a name may have line breaks in it */
    while (length > 0 && out[length - 1] == '\n') {
        length--;
    }
    snprintf(value, bytes, "%.*s", (int)length, out);
    free(out);
    return 0;
}

int toolstack_name_all(struct toolstack *t, struct toolstack_vm *vms, size_t *count,
                       int (*name)(struct toolstack *toolstack, const char *uuid, char *name,
                                   size_t bytes))
{
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++) {
        int result = name(t, vms[i].uuid, vms[i].name, sizeof(vms[i].name));

        if (result == 0) {
            vms[kept++] = vms[i];
        } else if (result != -ENOENT) {
            return result;
        }
    }
    *count = kept;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct toolstack_vm *x = a, *y = b;
    int order = strcasecmp(x->name, y->name);

    return order ? order : strcmp(x->uuid, y->uuid);
}

int toolstack_list(struct toolstack *t, struct toolstack_vm **vms, size_t *count)
{
    int result;

    *vms = NULL;
    *count = 0;
    result = t->ops->list(t, vms, count);
    if (result < 0) {
        free(*vms);
        *vms = NULL;
        *count = 0;
        return result;
    }
    if (*count > 0) {
        qsort(*vms, *count, sizeof(**vms), by_name);
    }
    return 0;
}

int toolstack_find(struct toolstack *t, const char *uuid, struct toolstack_vm *vm)
{
    char lower[TOOLSTACK_UUID_BYTES];
    size_t i;

    for (i = 0; i < sizeof(lower) - 1 && uuid[i]; i++) {
        lower[i] = (char)tolower((unsigned char)uuid[i]);
    }
    lower[i] = '\0';
    memset(vm, 0, sizeof(*vm));
    return t->ops->find(t, lower, vm);
}

/* ---- None --------------------------------------------------------------------------- */

static int none_list(struct toolstack *t, UNUSED struct toolstack_vm **vms, UNUSED size_t *count)
{
    return toolstack_fail(t, -ENOTSUP,
                          "there is no toolstack to ask (neither xe nor virsh is in PATH, or "
                          "--toolstack=none); name VMs by --vm-uuid");
}

static int none_find(struct toolstack *t, UNUSED const char *uuid, UNUSED struct toolstack_vm *vm)
{
    return none_list(t, NULL, NULL);
}

static int none_set_device(UNUSED struct toolstack *t, UNUSED const char *uuid,
                           UNUSED const struct toolstack_device *device)
{
    return -ENOENT;
}

static int none_restart(struct toolstack *t, const char *uuid)
{
    return toolstack_fail(t, -ENOTSUP,
                          "there is no toolstack that could restart VM %s: shut it down and start "
                          "it again by hand",
                          uuid);
}

const struct toolstack_ops toolstack_none = {
    .name = "none",
    .list = none_list,
    .find = none_find,
    .set_device = none_set_device,
    .restart = none_restart,
    .restart_by_hand = "shut down VM UUID and start it again",
};
