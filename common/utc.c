/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/utc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/ns.h"

const char *utc_text(uint64_t wall_ns, int digits, char out[UTC_BYTES])
{
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    char fraction[24];
    struct tm parts;
    size_t length;

    gmtime_r(&seconds, &parts); /* 64 bits of nanoseconds end in the year 2554 */
    length = strftime(out, UTC_BYTES, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(fraction, sizeof(fraction), ".%09u", (unsigned)(wall_ns % NS_PER_S));
    if (digits > 0) {
        memcpy(out + length, fraction, (size_t)digits + 1);
        length += (size_t)digits + 1;
    }
    strcpy(out + length, "Z");
    return out;
}
