/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module reads numbers in command lines, files and requests.  A text is a number as a
 * whole or not at all: no space or sign before it, nothing behind it, and within the limits.
 * *value stays as it is when it is none.
 */
#ifndef COMMON_PARSE_H
#define COMMON_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* Decimal digits at the start of `text`, at most `max`: where they end, or NULL. */
const char *parse_digits(const char *text, uint64_t max, uint64_t *value);

/* `base` as strtoull() has it: 10, 16, or 0 for numbers as in C. */
bool parse_uint_base(const char *text, int base, uint64_t min, uint64_t max, uint64_t *value);
bool parse_u32_base(const char *text, int base, uint32_t min, uint32_t max, uint32_t *value);

static inline bool parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    return parse_uint_base(text, 10, min, max, value);
}

static inline bool parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *value)
{
    return parse_u32_base(text, 10, min, max, value);
}

/* As people write numbers on a command line: decimal, or hexadecimal after 0x. */
bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);

/* As strtod() reads it; neither infinite nor NaN when the limits are finite. */
bool parse_real(const char *text, double min, double max, double *value);

#endif /* COMMON_PARSE_H */
