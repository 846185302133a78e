/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module writes text into a buffer of fixed size, without the cost of printf(), for what
 * is written a hundred thousand times.  What does not fit sets `overflow`.
 */
#ifndef CORE_TEXT_OUT_H
#define CORE_TEXT_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text_out {
    char *text; /* not NUL-terminated */
    size_t used, size;
    bool overflow;
};

void text_init(struct text_out *out, char *buffer, size_t size);
void text_bytes(struct text_out *out, const char *bytes, size_t length);
void text_string(struct text_out *out, const char *string);
static inline void text_char(struct text_out *out, char c)
{
    if (out->used < out->size) {
        out->text[out->used++] = c;
    } else {
        out->overflow = true;
    }
}
void text_lower(struct text_out *out, const char *ascii);
void text_uint(struct text_out *out, uint64_t value);
/* Nanoseconds as exact decimal seconds: 0.00003, 12. */
void text_seconds(struct text_out *out, uint64_t time_ns);
/* Nine significant digits; NaN and infinities as Prometheus writes them. */
void text_double(struct text_out *out, double value);

/* A Prometheus label's value with the quotes around it: \\ \" \n are escaped. */
void text_quoted(struct text_out *out, const char *string);

#endif /* CORE_TEXT_OUT_H */
