/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/utf8.h"

/* Bytes that a lead byte promises; 0: it leads nothing. */
static size_t promised_length(unsigned char lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

size_t utf8_decode(const char *text, uint32_t *code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length = promised_length(bytes[0]);
    uint32_t value = length < 2 ? bytes[0] : bytes[0] & (0x7fu >> length);

    *code = 0;
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0; /* also at the NUL */
        }
        value = value << 6 | (bytes[i] & 0x3fu);
    }
    if (length == 0 || value < smallest[length] || value > 0x10ffff ||
        (value >= 0xd800 && value < 0xe000)) {
        return 0;
    }
    *code = value;
    return length;
}

bool utf8_is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

bool utf8_has_control(const char *text)
{
    uint32_t code;
    size_t length;

    for (; *text; text += length ? length : 1) {
        length = utf8_decode(text, &code);
        if (length > 0 && utf8_is_control(code)) {
            return true;
        }
    }
    return false;
}
