/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/metrics/metrics_label.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Room for " (vm 4294967295, 4294967295)" and the NUL. */
#define SUFFIX_BYTES 32u
#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Length of the well-formed character at `text`, 0 if there is none. */
static size_t character_length(const unsigned char *text)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t code;
    size_t length;

    if (text[0] < 0x80) {
        return text[0] >= 0x20 && text[0] != 0x7F ? 1 : 0;
    } else if ((text[0] & 0xE0) == 0xC0) {
        length = 2;
        code = text[0] & 0x1Fu;
    } else if ((text[0] & 0xF0) == 0xE0) {
        length = 3;
        code = text[0] & 0x0Fu;
    } else if ((text[0] & 0xF8) == 0xF0) {
        length = 4;
        code = text[0] & 0x07u;
    } else {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0; /* also at the NUL: nothing behind it is read */
        }
        code = code << 6 | (text[i] & 0x3Fu);
    }
    if (code < smallest[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF) ||
        (code >= 0x80 && code < 0xA0)) {
        return 0;
    }
    return length;
}

static size_t copy_name(char *out, size_t size, const char *name)
{
    size_t used = 0;

    while (*name) {
        size_t length = character_length((const unsigned char *)name);
        const char *character = length ? name : REPLACEMENT;
        size_t bytes = length ? length : strlen(REPLACEMENT);

        if (used + bytes > size) {
            break;
        }
        memcpy(out + used, character, bytes);
        used += bytes;
        name += length ? length : 1;
    }
    return used;
}

void metrics_label(char label[METRICS_LABEL_BYTES], const char *name, uint32_t vm_id,
                   uint32_t attempt)
{
    size_t used = copy_name(label, METRICS_LABEL_BYTES - SUFFIX_BYTES, name);
    char *rest = label + used;

    memset(rest, 0, METRICS_LABEL_BYTES - used);
    if (used == 0) {
        snprintf(rest, SUFFIX_BYTES, attempt ? "vm %" PRIu32 ", %" PRIu32 : "vm %" PRIu32, vm_id,
                 attempt + 1);
    } else if (attempt == 1) {
        snprintf(rest, SUFFIX_BYTES, " (vm %" PRIu32 ")", vm_id);
    } else if (attempt > 1) {
        snprintf(rest, SUFFIX_BYTES, " (vm %" PRIu32 ", %" PRIu32 ")", vm_id, attempt);
    }
}
