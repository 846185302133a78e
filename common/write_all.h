/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module writes all bytes into a file, for whoever makes a file of its own. */
#ifndef COMMON_WRITE_ALL_H
#define COMMON_WRITE_ALL_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* 0, or -errno: then an unknown part of them is written. */
static inline int write_all(int fd, const void *bytes, size_t left)
{
    const uint8_t *from = bytes;

    while (left > 0) {
        ssize_t n = write(fd, from, left);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        from += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

#endif /* COMMON_WRITE_ALL_H */
