/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header makes JSON numbers as people write them: 50, and 62.5.  (Jansson writes a real that
 * is whole as 50.0, which some readers take for another type.)  For those who link jansson.
 */
#ifndef COMMON_JSON_NUMBER_H
#define COMMON_JSON_NUMBER_H

#include <jansson.h>

/* `value` is finite, and within +-2^53.  A new reference, or NULL without memory. */
static inline json_t *json_number(double value)
{
    json_int_t whole = (json_int_t)value;

    return (double)whole == value ? json_integer(whole) : json_real(value);
}

#endif /* COMMON_JSON_NUMBER_H */
