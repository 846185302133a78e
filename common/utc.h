/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module writes a moment as text, in UTC, as ISO 8601 has it: "2026-11-30T12:00:00.250Z". */
#ifndef COMMON_UTC_H
#define COMMON_UTC_H

#include <stdint.h>

#define UTC_BYTES 40u

/* `wall_ns` is CLOCK_REALTIME's; `digits` of the second: 0, 3 or 6.  Returns `out`. */
const char *utc_text(uint64_t wall_ns, int digits, char out[UTC_BYTES]);

#endif /* COMMON_UTC_H */
