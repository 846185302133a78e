/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module reads UTF-8 of unknown origin.  It is the one place that says what a character
 * is, and which ones a terminal would obey.
 */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Bytes of the well-formed character at the NUL-terminated `text`, with its
 * number in *code; 0 (and *code 0) when none begins here: too long a form, a
 * surrogate, beyond U+10FFFF, broken off.  Reads nothing behind the NUL, which
 * itself is a character of one byte.
 */
size_t utf8_decode(const char *text, uint32_t *code);

/* U+0000 to U+001F, DEL, and U+0080 to U+009F, which terminals obey too. */
bool utf8_is_control(uint32_t code);

/* Is there a control character in it?  Bytes that are no UTF-8 are none. */
bool utf8_has_control(const char *text);

#endif /* COMMON_UTF8_H */
