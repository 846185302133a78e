/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/metrics/metrics_label.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

/* Room for " (vm 4294967295, 4294967295)" and the NUL. */
#define SUFFIX_BYTES 32u
#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

static size_t copy_name(char *out, size_t size, const char *name)
{
    size_t used = 0;
    uint32_t code;

    while (*name) {
        size_t length = utf8_decode(name, &code);
        bool shown = length > 0 && !utf8_is_control(code);
        const char *character = shown ? name : REPLACEMENT;
        size_t bytes = shown ? length : strlen(REPLACEMENT);

        if (used + bytes > size) {
            break;
        }
        memcpy(out + used, character, bytes);
        used += bytes;
        name += shown ? length : 1;
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
        /* cppcheck-suppress duplicateExpressionTernary; it knows no PRIu32 */
        snprintf(rest, SUFFIX_BYTES, attempt ? "vm %" PRIu32 ", %" PRIu32 : "vm %" PRIu32, vm_id,
                 attempt + 1);
    } else if (attempt == 1) {
        snprintf(rest, SUFFIX_BYTES, " (vm %" PRIu32 ")", vm_id);
    } else if (attempt > 1) {
        snprintf(rest, SUFFIX_BYTES, " (vm %" PRIu32 ", %" PRIu32 ")", vm_id, attempt);
    }
}
