/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nanoseconds in what people count by. */
#ifndef COMMON_NS_H
#define COMMON_NS_H

#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

#endif /* COMMON_NS_H */
