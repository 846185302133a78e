/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fuzz targets share these functions.  A target is one file with LLVMFuzzerTestOneInput();
 * it is linked twice: with replay.c, which runs the corpus under any compiler, and, with clang
 * and -Dfuzz=true, with libFuzzer.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert(): must hold in every build. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The input as a supply of small decisions; 0 when it is used up. */
struct supply {
    const uint8_t *data;
    size_t size;
};

static inline uint8_t supply_byte(struct supply *s)
{
    if (s->size == 0) {
        return 0;
    }
    s->size--;
    return *s->data++;
}

/* Up to `want` bytes; how many is in *got. */
static inline const uint8_t *supply_bytes(struct supply *s, size_t want, size_t *got)
{
    const uint8_t *bytes = s->data;

    *got = want < s->size ? want : s->size;
    s->data += *got;
    s->size -= *got;
    return bytes;
}

#endif /* TESTS_FUZZ_H */
