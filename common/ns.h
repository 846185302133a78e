/* SPDX-License-Identifier: GPL-2.0-or-later */
/* These constants say how many nanoseconds the units of people have. */
#ifndef COMMON_NS_H
#define COMMON_NS_H

#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

#endif /* COMMON_NS_H */
