/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/cuda_names.h"

#include <stdlib.h>

uint32_t cuda_name_hash(const char *name)
{
    uint32_t value = 0x811C9DC5u;

    for (; *name; name++) {
        value = (value ^ (uint8_t)*name) * 0x01000193u;
    }
    return value;
}

static int compare(const void *key, const void *row)
{
    uint32_t wanted = *(const uint32_t *)key, here = ((const struct cuda_name_row *)row)->hash;

    return (wanted > here) - (wanted < here);
}

const char *cuda_name_of(uint32_t hash)
{
    const struct cuda_name_row *row =
        bsearch(&hash, cuda_name_rows, cuda_name_row_count, sizeof(cuda_name_rows[0]), compare);

    return row ? row->name : "other";
}
