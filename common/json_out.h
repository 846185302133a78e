/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module writes JSON straight into a growing buffer: a status of a thousand VMs is made
 * on the loop's thread, so it must be cheap.
 *
 * Keys are words of ours; string values are escaped as json_escape() says.  When
 * memory runs out or `limit` is reached, `failed` stays set and the rest does
 * nothing.
 */
#ifndef COMMON_JSON_OUT_H
#define COMMON_JSON_OUT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_out {
    char *text; /* NUL-terminated unless failed */
    size_t length;
    size_t capacity;
    size_t limit;
    bool comma; /* the next value needs one before it */
    bool failed;
    bool fixed; /* `text` is the caller's */
};

void jout_init(struct json_out *json, size_t limit);
/* Into `size` bytes of the caller's, the NUL included; nothing is allocated. */
void jout_init_fixed(struct json_out *json, char *buffer, size_t size);
void jout_destroy(struct json_out *json);

/* key NULL: an element of an array, or the outermost value. */
void jout_object(struct json_out *json, const char *key);
void jout_object_end(struct json_out *json);
void jout_array(struct json_out *json, const char *key);
void jout_array_end(struct json_out *json);
/* NULL: null. */
void jout_string(struct json_out *json, const char *key, const char *value);
void jout_uint(struct json_out *json, const char *key, uint64_t value);
/* null where it is not known. */
void jout_uint_if(struct json_out *json, const char *key, bool known, uint64_t value);
void jout_int(struct json_out *json, const char *key, int64_t value);
void jout_bool(struct json_out *json, const char *key, bool value);
void jout_null(struct json_out *json, const char *key);
/* UUID_BYTES of it; NULL: null. */
void jout_uuid(struct json_out *json, const char *key, const uint8_t *uuid);
/* Whole numbers in full, others with nine digits; what is not finite becomes null. */
void jout_double(struct json_out *json, const char *key, double value);

/* Text as it is: what others have written. */
void jout_bytes(struct json_out *json, const char *bytes, size_t length);

#define JSON_ESCAPE_BYTES 8u

/*
 * The next character of *text as it stands in a JSON string, without a NUL;
 * returns its bytes and moves *text behind it.  Control characters, those that
 * only terminals obey too, become \\u....; a byte that is no UTF-8 becomes '?'.
 */
size_t json_escape(const char **text, char out[JSON_ESCAPE_BYTES]);

#endif /* COMMON_JSON_OUT_H */
