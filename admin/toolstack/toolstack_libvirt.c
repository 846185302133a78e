/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt.  "virsh list --uuid --name" prints "UUID  NAME" lines (the UUID has a
 * fixed length, the name is the rest of the line); the states come from a second
 * list, because --uuid hides them.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/base/clock.h"
#include "admin/toolstack/toolstack_device.h"

#define UUID_LENGTH 36
#define POLL_MS 500 /* between two looks whether the guest is down */

static char *trim(char *text)
{
    size_t length;

    text += strspn(text, " \t\r");
    length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1])) {
        text[--length] = '\0';
    }
    return text;
}

/* Sets the state of those whose UUIDs the list contains. */
static int mark(struct toolstack *t, struct toolstack_vm *vms, size_t count, const char *option,
                const char *state, bool running)
{
    const char *const argv[] = {"virsh", "-q", "list", option, "--uuid", NULL};
    char *out, *rest, *line;
    int result = toolstack_run(t, argv, 0, &out);

    if (result < 0) {
        return result;
    }
    rest = out;
    while ((line = strsep(&rest, "\n"))) {
        line = trim(line);
        for (size_t i = 0; i < count; i++) {
            if (strcmp(line, vms[i].uuid) == 0) {
                snprintf(vms[i].state, sizeof(vms[i].state), "%s", state);
                vms[i].running = running;
            }
        }
    }
    free(out);
    return 0;
}

static int libvirt_list(struct toolstack *t, struct toolstack_vm **vms, size_t *count)
{
    static const char *const argv[] = {"virsh", "-q", "list", "--all", "--uuid", "--name", NULL};
    char *out, *rest, *line;
    int result = toolstack_run(t, argv, 0, &out);

    if (result < 0) {
        return result;
    }
    rest = out;
    while (result == 0 && (line = strsep(&rest, "\n"))) {
        struct toolstack_vm vm = {.state = "shut off"};
        line = trim(line);
        if (strlen(line) < UUID_LENGTH || line[8] != '-') {
            continue;
        }
        snprintf(vm.uuid, sizeof(vm.uuid), "%.*s", UUID_LENGTH, line);
        snprintf(vm.name, sizeof(vm.name), "%s", trim(line + UUID_LENGTH));
        result = toolstack_add(t, vms, count, &vm);
    }
    free(out);
    if (result == 0 && *count > 0) {
        result = mark(t, *vms, *count, "--state-running", "running", true);
    }
    if (result == 0 && *count > 0) {
        result = mark(t, *vms, *count, "--state-paused", "paused", false);
    }
    return result;
}

/* Defines the domain anew from a file; its name is unique to this process. */
static int define(struct toolstack *t, const char *xml)
{
    char path[] = "/tmp/vgpu-admin-XXXXXX";
    int fd = mkstemp(path);
    size_t length;
    ssize_t n;
    int result;

    if (fd < 0) {
        return toolstack_fail(t, -EIO, "cannot write a temporary file: %s", strerror(errno));
    }
    length = strlen(xml);
    n = write(fd, xml, length);
    close(fd);
    if (n != (ssize_t)length) {
        result = toolstack_fail(t, -EIO, "cannot write the temporary file %s", path);
    } else {
        const char *const argv[] = {"virsh", "-q", "define", path, NULL};
        result = toolstack_run(t, argv, 0, NULL);
    }
    unlink(path);
    return result;
}

static int libvirt_set_device(struct toolstack *t, const char *uuid,
                              const struct toolstack_device *device)
{
    const char *const argv[] = {"virsh",           "-q", "dumpxml", "--inactive",
                                "--security-info", uuid, NULL};
    char *xml;
    int result = toolstack_run(t, argv, 0, &xml);
    size_t room;
    char *changed;

    if (result < 0) {
        return result;
    }
    room = strlen(xml) + 256;
    changed = malloc(room);
    if (!changed) {
        free(xml);
        return toolstack_fail(t, -ENOMEM, "out of memory");
    }
    result = toolstack_device_rewrite_xml(xml, device, changed, room);
    if (result == -E2BIG) {
        toolstack_fail(t, result, "the device of domain %s has its properties more than once",
                       uuid);
    }
    if (result == 0 && strcmp(xml, changed) != 0) {
        result = define(t, changed);
    }
    free(xml);
    free(changed);
    return result;
}

/* virsh shutdown only asks the guest; wait until it has done so. */
static int wait_until_off(struct toolstack *t, const char *uuid)
{
    const char *const argv[] = {"virsh", "-q", "domstate", uuid, NULL};
    int64_t deadline_ms = clock_now_ms() + toolstack_shutdown_ms(t);

    for (;;) {
        char *out;
        int result = toolstack_run(t, argv, 0, &out);
        bool off;

        if (result < 0) {
            return result;
        }
        off = strncmp(out, "shut off", 8) == 0;
        free(out);
        if (off) {
            return 0;
        }
        if (clock_now_ms() >= deadline_ms) {
            return toolstack_fail(t, -ETIMEDOUT,
                                  "the guest did not shut down within %d s; shut it down from "
                                  "inside, or by force: virsh destroy %s, then: virsh start %s",
                                  toolstack_shutdown_ms(t) / 1000, uuid, uuid);
        }
        poll(NULL, 0, POLL_MS);
    }
}

static int libvirt_restart(struct toolstack *t, const char *uuid)
{
    const char *const stop[] = {"virsh", "-q", "shutdown", uuid, NULL};
    const char *const start[] = {"virsh", "-q", "start", uuid, NULL};
    int result = toolstack_run(t, stop, 0, NULL);

    if (result == 0) {
        result = wait_until_off(t, uuid);
    }
    return result == 0 ? toolstack_run(t, start, 0, NULL) : result;
}

const struct toolstack_ops toolstack_libvirt = {
    .name = "virsh",
    .program = "virsh",
    .list = libvirt_list,
    .set_device = libvirt_set_device,
    .restart = libvirt_restart,
    .restart_by_hand = "virsh shutdown UUID, then, when it is off: virsh start UUID",
};
