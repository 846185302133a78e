/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UNUSED marks a parameter that a callback must take and has no use for: `UNUSED void
 * *opaque`. A function that only we call has no such parameter.  (The guest's part is apart
 * from common/: it writes `(void)opaque;`.)
 */
#ifndef COMMON_UNUSED_H
#define COMMON_UNUSED_H

#define UNUSED __attribute__((unused))

#endif /* COMMON_UNUSED_H */
