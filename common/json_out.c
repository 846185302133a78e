/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/json_out.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "common/uuid.h"

#define FIRST_BYTES 4096u
#define WHOLE_BELOW 1e15 /* a double has each whole number below it */

void jout_init(struct json_out *json, size_t limit)
{
    memset(json, 0, sizeof(*json));
    json->limit = limit;
}

void jout_init_fixed(struct json_out *json, char *buffer, size_t size)
{
    assert(size > 0);
    memset(json, 0, sizeof(*json));
    json->text = buffer;
    json->capacity = size;
    json->limit = size - 1; /* so that it never grows */
    json->fixed = true;
    buffer[0] = '\0';
}

void jout_destroy(struct json_out *json)
{
    if (!json->fixed) {
        free(json->text);
    }
    memset(json, 0, sizeof(*json));
}

/* Makes room for `length` more bytes and a NUL; the capacity never exceeds limit + 1. */
static bool grow(struct json_out *json, size_t length)
{
    size_t capacity = json->capacity ? json->capacity : FIRST_BYTES;
    char *text;

    if (json->failed || length > json->limit || json->length > json->limit - length) {
        json->failed = true;
        return false;
    }
    while (capacity <= json->length + length) {
        capacity *= 2;
    }
    capacity = capacity <= json->limit ? capacity : json->limit + 1;
    text = realloc(json->text, capacity);
    if (!text) {
        json->failed = true;
        return false;
    }
    json->text = text;
    json->capacity = capacity;
    return true;
}

static inline void add(struct json_out *json, const char *bytes, size_t length)
{
    bool fits = length < json->capacity - json->length && !json->failed;

    if (fits || grow(json, length)) {
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

size_t json_escape(const char **text, char out[JSON_ESCAPE_BYTES])
{
    const char *at = *text;
    uint32_t code;
    size_t length = utf8_decode(at, &code);

    *text += length ? length : 1;
    if (length == 0) {
        out[0] = '?';
        return 1;
    }
    if (utf8_is_control(code)) {
        return (size_t)snprintf(out, JSON_ESCAPE_BYTES, "\\u%04x", code & 0xffffu);
    }
    if (code == '"' || code == '\\') {
        *out++ = '\\';
    }
    memcpy(out, at, length);
    return code == '"' || code == '\\' ? 2 : length;
}

/* Most text needs no second look. */
static size_t plain_length(const char *text)
{
    size_t length = 0;

    while (text[length] >= 0x20 && text[length] < 0x7f && text[length] != '"' &&
           text[length] != '\\') {
        length++;
    }
    return length;
}

void jout_string(struct json_out *json, const char *key, const char *value)
{
    char escaped[JSON_ESCAPE_BYTES];

    if (!value) {
        jout_null(json, key);
        return;
    }
    begin_value(json, key);
    add(json, "\"", 1);
    while (*value) {
        size_t plain = plain_length(value);

        add(json, value, plain);
        value += plain;
        if (*value) {
            add(json, escaped, json_escape(&value, escaped));
        }
    }
    add(json, "\"", 1);
}

static void add_digits(struct json_out *json, uint64_t value)
{
    char digits[24];
    char *end = digits + sizeof(digits), *p = end;

    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    add(json, p, (size_t)(end - p));
}

void jout_uint(struct json_out *json, const char *key, uint64_t value)
{
    begin_value(json, key);
    add_digits(json, value);
}

void jout_uint_if(struct json_out *json, const char *key, bool known, uint64_t value)
{
    if (known) {
        jout_uint(json, key, value);
    } else {
        jout_null(json, key);
    }
}

void jout_int(struct json_out *json, const char *key, int64_t value)
{
    begin_value(json, key);
    if (value < 0) {
        add(json, "-", 1);
    }
    add_digits(json, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
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

void jout_uuid(struct json_out *json, const char *key, const uint8_t *uuid)
{
    char text[UUID_TEXT_BYTES];

    if (uuid) {
        uuid_format(uuid, text);
    }
    jout_string(json, key, uuid ? text : NULL);
}

void jout_double(struct json_out *json, const char *key, double value)
{
    char text[40];

    if (!isfinite(value)) {
        jout_null(json, key);
        return;
    }
    begin_value(json, key);
    if (value >= 0 && value < WHOLE_BELOW && floor(value) == value) {
        add_digits(json, (uint64_t)value);
    } else {
        snprintf(text, sizeof(text), "%.9g", value);
        add_text(json, text);
    }
}

void jout_bytes(struct json_out *json, const char *bytes, size_t length)
{
    add(json, bytes, length);
}
