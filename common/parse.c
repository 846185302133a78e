/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* strtoull() takes a sign and spaces, and calls "-1" the largest number. */
static const char *take(const char *text, int base, uint64_t max, uint64_t *value)
{
    unsigned long long number;
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return NULL;
    }
    errno = 0;
    number = strtoull(text, &end, base);
    if (errno || number > max) {
        return NULL;
    }
    *value = number;
    return end;
}

const char *parse_digits(const char *text, uint64_t max, uint64_t *value)
{
    return take(text, 10, max, value);
}

bool parse_uint_base(const char *text, int base, uint64_t min, uint64_t max, uint64_t *value)
{
    uint64_t number;
    const char *end = take(text, base, max, &number);

    if (!end || *end || number < min) {
        return false;
    }
    *value = number;
    return true;
}

bool parse_u32_base(const char *text, int base, uint32_t min, uint32_t max, uint32_t *value)
{
    uint64_t number;

    if (!parse_uint_base(text, base, min, max, &number)) {
        return false;
    }
    *value = (uint32_t)number;
    return true;
}

bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    return parse_uint_base(text, strncmp(text, "0x", 2) == 0 ? 16 : 10, min, max, value);
}

bool parse_real(const char *text, double min, double max, double *value)
{
    char *end;
    double number = strtod(text, &end);

    if (end == text || *end || !(number >= min && number <= max)) {
        return false;
    }
    *value = number;
    return true;
}
