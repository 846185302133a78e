/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/uuid.h"

#include <stddef.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

static bool dash_after(size_t byte)
{
    return byte == 3 || byte == 5 || byte == 7 || byte == 9;
}

bool uuid_parse(const char *text, uint8_t uuid[UUID_BYTES])
{
    for (size_t i = 0; i < UUID_BYTES; i++) {
        int high = hex_value(text[0]);
        int low = high < 0 ? -1 : hex_value(text[1]);

        if (low < 0) {
            return false;
        }
        uuid[i] = (uint8_t)(high << 4 | low);
        text += 2;
        if (dash_after(i) && *text++ != '-') {
            return false;
        }
    }
    return *text == '\0';
}

void uuid_format(const uint8_t uuid[UUID_BYTES], char text[UUID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < UUID_BYTES; i++) {
        *text++ = digits[uuid[i] >> 4];
        *text++ = digits[uuid[i] & 15];
        if (dash_after(i)) {
            *text++ = '-';
        }
    }
    *text = '\0';
}
