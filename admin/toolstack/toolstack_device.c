/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin/toolstack/toolstack_device.h"
#include "common/names.h"
#include "vgpu/vgpu_protocol.h"

#define PROPERTIES 3
#define VALUE_BYTES 32

static const char *const property_names[PROPERTIES] = {"pool_id", "priority", "vm_id"};

void toolstack_text_put(struct toolstack_text *text, const char *from, size_t length)
{
    if (text->full || length >= text->bytes - text->used) {
        text->full = true;
        return;
    }
    memcpy(text->out + text->used, from, length);
    text->used += length;
    text->out[text->used] = '\0';
}

bool toolstack_is_device(const char *at, size_t length)
{
    size_t driver = strlen(TOOLSTACK_DRIVER);

    return length >= driver && memcmp(at, TOOLSTACK_DRIVER, driver) == 0 &&
           (length == driver || at[driver] == ',');
}

/* old: the first letter of the value that is replaced; 0: there was none. */
static void put_property(struct toolstack_text *text, const struct toolstack_device *device,
                         size_t property, char old)
{
    char value[VALUE_BYTES], pair[2 * VALUE_BYTES];
    int n;

    switch (property) {
    case 0: snprintf(value, sizeof(value), "%c", device->pool_id); break;
    case 1:
        /* Both spellings are allowed; keep the one that is used here. */
        if (old >= '0' && old <= '9') {
            snprintf(value, sizeof(value), "%u", device->priority);
        } else {
            snprintf(value, sizeof(value), "%s",
                     priority_name(device->priority <= VGPU_PRIORITY_HIGH ? device->priority
                                                                          : VGPU_PRIORITY_MEDIUM));
        }
        break;
    default: snprintf(value, sizeof(value), "%u", device->vm_id); break;
    }
    n = snprintf(pair, sizeof(pair), ",%s=%s", property_names[property], value);
    toolstack_text_put(text, pair, (size_t)n);
}

/* Of ",name=value".  Two commas in a row are a comma in the value. */
static size_t property_length(const char *at, const char *end)
{
    const char *p = at + 1;

    while (p < end && (*p != ',' || (p + 1 < end && p[1] == ','))) {
        p += *p == ',' ? 2 : 1;
    }
    return (size_t)(p - at);
}

/* PROPERTIES: none of ours. */
static size_t which_property(const char *at, size_t length)
{
    size_t i;

    for (i = 0; i < PROPERTIES; i++) {
        size_t name = strlen(property_names[i]);
        if (length > name + 1 && memcmp(at + 1, property_names[i], name) == 0 &&
            at[1 + name] == '=') {
            break;
        }
    }
    return i;
}

void toolstack_device_put(struct toolstack_text *text, const char *at, size_t length,
                          const struct toolstack_device *device)
{
    const char *end = at + length;
    bool seen[PROPERTIES] = {false};

    toolstack_text_put(text, at, strlen(TOOLSTACK_DRIVER));
    at += strlen(TOOLSTACK_DRIVER);
    while (at < end) {
        size_t property_bytes = property_length(at, end);
        size_t which = which_property(at, property_bytes);
        if (which < PROPERTIES) {
            size_t value = 2 + strlen(property_names[which]);
            put_property(text, device, which, value < property_bytes ? at[value] : '\0');
            seen[which] = true;
        } else {
            toolstack_text_put(text, at, property_bytes);
        }
        at += property_bytes;
    }
    for (size_t i = 0; i < PROPERTIES; i++) {
        if (!seen[i]) {
            put_property(text, device, i, '\0');
        }
    }
}

int toolstack_device_rewrite_xml(const char *xml, const struct toolstack_device *device, char *out,
                                 size_t out_bytes)
{
    static const char ends[] = "'\"<>& \n";
    struct toolstack_text text = {out, out_bytes};
    const char *at = xml;
    size_t length;

    /* A whole value, or what follows driver=; not a part of a path, not an element's text. */
    for (;; at++) {
        at = strstr(at, TOOLSTACK_DRIVER);
        if (!at) {
            return -ENOENT;
        }
        if (at > xml && strchr("'\"=", at[-1]) && toolstack_is_device(at, strcspn(at, ends))) {
            break;
        }
    }
    length = strcspn(at, ends);
    toolstack_text_put(&text, xml, (size_t)(at - xml));
    toolstack_device_put(&text, at, length, device);
    toolstack_text_put(&text, at + length, strlen(at + length));
    return text.full ? -E2BIG : 0;
}
