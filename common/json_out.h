/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing JSON straight into a growing buffer: a status of a thousand VMs is
 * made on the loop's thread, so it must be cheap.
 *
 * Keys are literals of ours; string values are escaped, control characters of
 * C1 too, and what is no UTF-8 becomes '?'.  When memory runs out or `limit` is reached, `failed`
 * stays set and the rest does nothing.
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
};

void jout_init(struct json_out *json, size_t limit);
void jout_destroy(struct json_out *json);

/* key NULL: an element of an array, or the outermost value. */
void jout_object(struct json_out *json, const char *key);
void jout_object_end(struct json_out *json);
void jout_array(struct json_out *json, const char *key);
void jout_array_end(struct json_out *json);
void jout_string(struct json_out *json, const char *key, const char *value);
void jout_uint(struct json_out *json, const char *key, uint64_t value);
void jout_int(struct json_out *json, const char *key, int64_t value);
void jout_bool(struct json_out *json, const char *key, bool value);
void jout_null(struct json_out *json, const char *key);
/* Not finite becomes null. */
void jout_double(struct json_out *json, const char *key, double value);

/* Text as it is: what others have written. */
void jout_bytes(struct json_out *json, const char *bytes, size_t length);

#endif /* COMMON_JSON_OUT_H */
