/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * These functions read members of the mediator's answers.  The mediator may be of a newer or
 * an older version, so a member that is missing, or of another type, gives the default.
 */
#ifndef ADMIN_BASE_JSON_GET_H
#define ADMIN_BASE_JSON_GET_H

#include <jansson.h>
#include <stdbool.h>

static inline json_int_t json_get_int(const json_t *object, const char *key, json_int_t otherwise)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? (json_int_t)json_number_value(value) : otherwise;
}

static inline double json_get_number(const json_t *object, const char *key, double otherwise)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static inline const char *json_get_text(const json_t *object, const char *key,
                                        const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : otherwise;
}

static inline bool json_get_bool(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static inline bool json_has_number(const json_t *object, const char *key)
{
    return json_is_number(json_object_get(object, key));
}

#endif /* ADMIN_BASE_JSON_GET_H */
