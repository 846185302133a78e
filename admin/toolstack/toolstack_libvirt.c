/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt.  Domains are listed by their UUIDs; a domain's name is asked with "virsh
 * domname", which prints nothing else.  The states come from further lists, because
 * --uuid hides them.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/base/clock.h"
#include "admin/toolstack/toolstack_device.h"

#define POLL_MS 500 /* between two looks whether the guest is down */

/* What virsh says of a domain that it does not know. */
static const char no_such_domain[] = "failed to get domain";

/* What "virsh domname" or another question prints of a domain, without its line break. */
static int ask(struct toolstack *t, const char *question, const char *uuid, char *value,
               size_t bytes)
{
    const char *const argv[] = {"virsh", "-q", question, uuid, NULL};

    return toolstack_ask(t, argv, no_such_domain, value, bytes);
}

/* The UUIDs of the domains that the option chooses. */
static int list_uuids(struct toolstack *t, const char *option, char **out)
{
    const char *const argv[] = {"virsh", "-q", "list", option, "--uuid", NULL};

    return toolstack_run(t, argv, 0, out);
}

static int mark(struct toolstack *t, struct toolstack_vm *vms, size_t count, const char *option,
                const char *state, bool running)
{
    char *out;
    int result = list_uuids(t, option, &out);

    if (result == 0) {
        toolstack_mark(vms, count, out, state, running);
        free(out);
    }
    return result;
}

static int ask_name(struct toolstack *t, const char *uuid, char *name, size_t bytes)
{
    return ask(t, "domname", uuid, name, bytes);
}

static int libvirt_list(struct toolstack *t, struct toolstack_vm **vms, size_t *count)
{
    char *out;
    int result = list_uuids(t, "--all", &out);

    if (result < 0) {
        return result;
    }
    result = toolstack_add_uuids(t, out, vms, count);
    free(out);
    for (size_t i = 0; i < *count; i++) {
        snprintf((*vms)[i].state, sizeof((*vms)[i].state), "shut off");
    }
    if (result == 0) {
        result = toolstack_name_all(t, *vms, count, ask_name);
    }
    if (result == 0 && *count > 0) {
        result = mark(t, *vms, *count, "--state-running", "running", true);
    }
    if (result == 0 && *count > 0) {
        result = mark(t, *vms, *count, "--state-paused", "paused", false);
    }
    return result;
}

static int libvirt_find(struct toolstack *t, const char *uuid, struct toolstack_vm *vm)
{
    int result = ask(t, "domname", uuid, vm->name, sizeof(vm->name));

    if (result == 0) {
        result = ask(t, "domstate", uuid, vm->state, sizeof(vm->state));
    }
    snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
    vm->running = strcmp(vm->state, "running") == 0;
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
    int64_t deadline_ms = clock_now_ms() + toolstack_shutdown_ms(t);

    for (;;) {
        char state[TOOLSTACK_STATE_BYTES];
        int result = ask(t, "domstate", uuid, state, sizeof(state));

        if (result < 0) {
            return result == -ENOENT
                       ? toolstack_fail(t, -EIO, "domain %s went away while it was shut down", uuid)
                       : result;
        }
        if (strcmp(state, "shut off") == 0) {
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
    .find = libvirt_find,
    .set_device = libvirt_set_device,
    .restart = libvirt_restart,
    .restart_by_hand = "virsh shutdown UUID, then, when it is off: virsh start UUID",
};
