/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/text_out.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/ns.h"

void text_init(struct text_out *out, char *buffer, size_t size)
{
    *out = (struct text_out){.text = buffer, .size = size};
}

void text_bytes(struct text_out *out, const char *bytes, size_t length)
{
    if (length > out->size - out->used) {
        out->overflow = true;
        return;
    }
    if (length > 0) { /* a buffer of no size may have no address */
        memcpy(out->text + out->used, bytes, length);
        out->used += length;
    }
}

void text_string(struct text_out *out, const char *string)
{
    text_bytes(out, string, strlen(string));
}

void text_lower(struct text_out *out, const char *ascii)
{
    for (; *ascii; ascii++) {
        text_char(out, *ascii >= 'A' && *ascii <= 'Z' ? (char)(*ascii - 'A' + 'a') : *ascii);
    }
}

void text_uint(struct text_out *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    text_bytes(out, digits + at, sizeof(digits) - at);
}

void text_seconds(struct text_out *out, uint64_t time_ns)
{
    uint64_t rest = time_ns % NS_PER_S;
    char digits[10];
    size_t length = sizeof(digits);

    text_uint(out, time_ns / NS_PER_S);
    if (rest == 0) {
        return;
    }
    digits[0] = '.';
    for (size_t i = length - 1; i > 0; i--) {
        digits[i] = (char)('0' + rest % 10);
        rest /= 10;
    }
    while (digits[length - 1] == '0') {
        length--;
    }
    text_bytes(out, digits, length);
}

void text_double(struct text_out *out, double value)
{
    char digits[32];

    if (isnan(value)) {
        text_string(out, "NaN");
    } else if (isinf(value)) {
        text_string(out, value > 0 ? "+Inf" : "-Inf");
    } else if (value >= 0 && value < 1e15 && floor(value) == value) {
        text_uint(out, (uint64_t)value);
    } else {
        text_bytes(out, digits, (size_t)snprintf(digits, sizeof(digits), "%.9g", value));
    }
}

void text_quoted(struct text_out *out, const char *string)
{
    text_char(out, '"');
    for (;;) {
        size_t plain = strcspn(string, "\"\\\n");

        text_bytes(out, string, plain);
        string += plain;
        if (!*string) {
            break;
        }
        text_char(out, '\\');
        text_char(out, *string == '\n' ? 'n' : *string);
        string++;
    }
    text_char(out, '"');
}
