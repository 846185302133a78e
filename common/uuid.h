/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module reads and writes UUIDs.  Their bytes have the order in which they are written. */
#ifndef COMMON_UUID_H
#define COMMON_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_BYTES 16u
#define UUID_TEXT_BYTES 37u /* with the NUL */

/* "01234567-89ab-cdef-0123-456789abcdef", either case; false: something else. */
bool uuid_parse(const char *text, uint8_t uuid[UUID_BYTES]);
/* Lower case. */
void uuid_format(const uint8_t uuid[UUID_BYTES], char text[UUID_TEXT_BYTES]);

#endif /* COMMON_UUID_H */
