/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/json_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES 4096u

void jout_init(struct json_out *json, size_t limit)
{
    memset(json, 0, sizeof(*json));
    json->limit = limit;
}

void jout_destroy(struct json_out *json)
{
    free(json->text);
    memset(json, 0, sizeof(*json));
}

/* Room for `length` bytes and a NUL. */
static bool reserve(struct json_out *json, size_t length)
{
    size_t capacity = json->capacity ? json->capacity : FIRST_BYTES;
    char *text;

    if (json->failed || length > json->limit || json->length > json->limit - length) {
        json->failed = true;
        return false;
    }
    if (json->length + length < json->capacity) {
        return true;
    }
    while (capacity <= json->length + length) {
        capacity *= 2;
    }
    text = realloc(json->text, capacity);
    if (!text) {
        json->failed = true;
        return false;
    }
    json->text = text;
    json->capacity = capacity;
    return true;
}

static void add(struct json_out *json, const char *bytes, size_t length)
{
    if (reserve(json, length)) {
        memcpy(json->text + json->length, bytes, length);
        json->length += length;
        json->text[json->length] = '\0';
    }
}

static void add_text(struct json_out *json, const char *text)
{
    add(json, text, strlen(text));
}

static void begin_value(struct json_out *json, const char *key)
{
    if (json->comma) {
        add(json, ",", 1);
    }
    json->comma = true;
    if (key) {
        add(json, "\"", 1);
        add_text(json, key);
        add(json, "\":", 2);
    }
}

void jout_object(struct json_out *json, const char *key)
{
    begin_value(json, key);
    add(json, "{", 1);
    json->comma = false;
}

void jout_object_end(struct json_out *json)
{
    add(json, "}", 1);
    json->comma = true;
}

void jout_array(struct json_out *json, const char *key)
{
    begin_value(json, key);
    add(json, "[", 1);
    json->comma = false;
}

void jout_array_end(struct json_out *json)
{
    add(json, "]", 1);
    json->comma = true;
}

/* Length of the valid UTF-8 sequence at `text`, 0 if there is none. */
static size_t utf8_length(const unsigned char *text)
{
    size_t length;
    uint32_t code;

    if (text[0] < 0x80) {
        return 1;
    }
    if (text[0] >= 0xc2 && text[0] < 0xe0) {
        length = 2;
        code = text[0] & 0x1f;
    } else if (text[0] >= 0xe0 && text[0] < 0xf0) {
        length = 3;
        code = text[0] & 0x0f;
    } else if (text[0] >= 0xf0 && text[0] < 0xf5) {
        length = 4;
        code = text[0] & 0x07;
    } else {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (text[i] & 0x3f);
    }
    if ((length == 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) ||
        (length == 4 && (code < 0x10000 || code > 0x10ffff))) {
        return 0;
    }
    return length;
}

void jout_string(struct json_out *json, const char *key, const char *value)
{
    const unsigned char *text = (const unsigned char *)value;
    char escaped[8];

    begin_value(json, key);
    add(json, "\"", 1);
    while (*text) {
        size_t length = utf8_length(text);

        if (length == 0) {
            add(json, "?", 1);
            text++;
            continue;
        }
        if (*text == '"' || *text == '\\') {
            add(json, "\\", 1);
        }
        /* U+0080 to U+009F are control characters too, and terminals obey them. */
        if (*text < 0x20 || *text == 0x7f || (*text == 0xc2 && text[1] < 0xa0)) {
            snprintf(escaped, sizeof(escaped), "\\u%04x", text[length - 1]);
            add_text(json, escaped);
        } else {
            add(json, (const char *)text, length);
        }
        text += length;
    }
    add(json, "\"", 1);
}

void jout_uint(struct json_out *json, const char *key, uint64_t value)
{
    char digits[24];
    char *end = digits + sizeof(digits), *p = end;

    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    begin_value(json, key);
    add(json, p, (size_t)(end - p));
}

void jout_int(struct json_out *json, const char *key, int64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, value);
    begin_value(json, key);
    add_text(json, text);
}

void jout_bool(struct json_out *json, const char *key, bool value)
{
    begin_value(json, key);
    add_text(json, value ? "true" : "false");
}

void jout_null(struct json_out *json, const char *key)
{
    begin_value(json, key);
    add(json, "null", 4);
}

void jout_double(struct json_out *json, const char *key, double value)
{
    char text[40];

    if (!isfinite(value)) {
        jout_null(json, key);
        return;
    }
    snprintf(text, sizeof(text), "%.9g", value);
    begin_value(json, key);
    add_text(json, text);
}

void jout_bytes(struct json_out *json, const char *bytes, size_t length)
{
    add(json, bytes, length);
}
