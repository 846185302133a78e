/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/parse.h"
#include "mediator/identity/qemu_cmdline.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define VALUE_BYTES 256u
#define CHARDEVS_MAX 64u

struct chardev {
    char id[QEMU_ID_BYTES];
    char path[QEMU_PATH_BYTES];
};

/*
 * Looks up `key` in QEMU's "first,key=value,key=value", where a comma in a
 * value is doubled.  key "": the first part, if it is no key=value.
 */
static bool find_option(const char *options, const char *key, char *value, size_t size)
{
    size_t key_length = strlen(key);
    bool first = true;

    while (*options) {
        char part[VALUE_BYTES];
        size_t used = 0;
        bool fits = true;

        while (*options && (options[0] != ',' || options[1] == ',')) {
            if (*options == ',') {
                options++;
            }
            if (used < sizeof(part) - 1) {
                part[used++] = *options;
            } else {
                fits = false;
            }
            options++;
        }
        part[used] = '\0';
        if (*options == ',') {
            options++;
        }
        if (!fits) {
            first = false;
            continue;
        }
        if (key_length == 0) {
            if (first && !strchr(part, '=') && used < size) {
                memcpy(value, part, used + 1);
                return true;
            }
            return false;
        }
        if (strncmp(part, key, key_length) == 0 && part[key_length] == '=' &&
            used - key_length - 1 < size) {
            strcpy(value, part + key_length + 1);
            return true;
        }
        first = false;
    }
    return false;
}

static struct qemu_stub *add_stub(struct qemu_cmdline *cmdline)
{
    /* More than there is room for: the last one is overwritten, the count stays. */
    if (cmdline->stub_count < QEMU_STUBS_MAX) {
        cmdline->stub_count++;
    }
    memset(&cmdline->stubs[cmdline->stub_count - 1], 0, sizeof(cmdline->stubs[0]));
    return &cmdline->stubs[cmdline->stub_count - 1];
}

static void parse_json_device(struct qemu_cmdline *cmdline, const char *text)
{
    json_t *root = json_loads(text, 0, NULL);
    const char *driver = json_string_value(json_object_get(root, "driver"));
    const json_t *vm_id = json_object_get(root, "vm_id");
    const char *chardev = json_string_value(json_object_get(root, "chardev"));
    struct qemu_stub *stub;

    if (driver && strcmp(driver, QEMU_DEVICE_NAME) == 0) {
        stub = add_stub(cmdline);
        if (json_is_integer(vm_id) && json_integer_value(vm_id) >= 0 &&
            json_integer_value(vm_id) <= (json_int_t)UINT32_MAX) {
            stub->has_vm_id = true;
            stub->vm_id = (uint32_t)json_integer_value(vm_id);
        }
        if (chardev) {
            snprintf(stub->chardev, sizeof(stub->chardev), "%.*s", (int)QEMU_ID_BYTES - 1, chardev);
        }
    }
    json_decref(root);
}

static void parse_device(struct qemu_cmdline *cmdline, const char *text)
{
    char value[VALUE_BYTES];
    struct qemu_stub *stub;

    if (text[0] == '{') {
        parse_json_device(cmdline, text);
        return;
    }
    if (!(find_option(text, "", value, sizeof(value)) ||
          find_option(text, "driver", value, sizeof(value))) ||
        strcmp(value, QEMU_DEVICE_NAME) != 0) {
        return;
    }
    stub = add_stub(cmdline);
    if (find_option(text, "vm_id", value, sizeof(value))) {
        stub->has_vm_id = parse_u32_base(value, 0, 0, UINT32_MAX, &stub->vm_id);
    }
    if (!find_option(text, "chardev", stub->chardev, sizeof(stub->chardev))) {
        stub->chardev[0] = '\0';
    }
}

static void parse_name(struct qemu_cmdline *cmdline, const char *text)
{
    char value[VALUE_BYTES];

    if (find_option(text, "guest", value, sizeof(value)) ||
        find_option(text, "", value, sizeof(value))) {
        snprintf(cmdline->name, sizeof(cmdline->name), "%.*s", (int)QEMU_NAME_BYTES - 1, value);
    }
}

static void parse_chardev(const char *text, struct chardev *chardevs, unsigned *count)
{
    struct chardev *chardev = &chardevs[*count];
    char backend[32];

    if (*count < CHARDEVS_MAX && find_option(text, "", backend, sizeof(backend)) &&
        strcmp(backend, "socket") == 0 &&
        find_option(text, "id", chardev->id, sizeof(chardev->id)) &&
        find_option(text, "path", chardev->path, sizeof(chardev->path))) {
        (*count)++;
    }
}

/* QEMU takes "-device" and "--device" alike. */
static bool is_option(const char *argument, const char *name)
{
    if (*argument++ != '-') {
        return false;
    }
    if (*argument == '-') {
        argument++;
    }
    return strcmp(argument, name) == 0;
}

/* The argument at *p, NUL-terminated within the bytes, or NULL at the end. */
static const char *next_argument(const char **p, const char *end)
{
    const char *argument = *p;
    const char *nul = argument < end ? memchr(argument, '\0', (size_t)(end - argument)) : NULL;

    if (!nul) {
        return NULL;
    }
    *p = nul + 1;
    return argument;
}

void qemu_cmdline_parse(struct qemu_cmdline *cmdline, const char *bytes, size_t length)
{
    struct chardev chardevs[CHARDEVS_MAX];
    unsigned chardev_count = 0;
    const char *end = bytes + length;
    const char *option, *value;

    memset(cmdline, 0, sizeof(*cmdline));
    while ((option = next_argument(&bytes, end))) {
        bool device = is_option(option, "device");
        bool uuid = is_option(option, "uuid");
        bool name = is_option(option, "name");
        bool chardev = is_option(option, "chardev");
        bool xen_domid = is_option(option, "xen-domid");

        if (!device && !uuid && !name && !chardev && !xen_domid) {
            continue;
        }
        value = next_argument(&bytes, end);
        if (!value) {
            break;
        }
        if (device) {
            parse_device(cmdline, value);
        } else if (uuid) {
            cmdline->has_uuid = uuid_parse(value, cmdline->uuid);
        } else if (name) {
            parse_name(cmdline, value);
        } else if (xen_domid) {
            cmdline->has_xen_domid = parse_u32_base(value, 0, 0, UINT32_MAX, &cmdline->xen_domid);
        } else {
            parse_chardev(value, chardevs, &chardev_count);
        }
    }
    for (uint32_t i = 0; i < cmdline->stub_count; i++) {
        struct qemu_stub *stub = &cmdline->stubs[i];

        for (unsigned j = 0; stub->chardev[0] && j < chardev_count; j++) {
            if (strcmp(chardevs[j].id, stub->chardev) == 0) {
                strcpy(stub->path, chardevs[j].path);
            }
        }
    }
}
