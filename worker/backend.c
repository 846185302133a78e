/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/backend.h"

void backend_copy_name(char *to, size_t to_bytes, const char *from)
{
    size_t n = 0;

    for (; *from && n + 1 < to_bytes; from++) {
        unsigned char c = (unsigned char)*from;

        to[n++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    to[n] = '\0';
}
