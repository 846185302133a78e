/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module says what a VM's weight is: a number from VGPU_WEIGHT_MIN to VGPU_WEIGHT_MAX with
 * at most two decimals.  "%g" prints one.
 */
#ifndef COMMON_WEIGHT_H
#define COMMON_WEIGHT_H

#include <stdbool.h>

#include "vgpu/vgpu_protocol.h"

/* For usages and sentences. */
#define WEIGHT_METAVAR "1..100"
#define WEIGHT_WORDS "a number from 1 to 100 with at most two decimals"

/* Within the limits?  NaN is not. */
static inline bool weight_valid(double weight)
{
    return weight >= VGPU_WEIGHT_MIN && weight <= VGPU_WEIGHT_MAX;
}

/* The nearest weight, for numbers that come from a file. */
double weight_nearest(double number);

/* False, and *weight stays, when the text is none: an exponent, a third decimal. */
bool weight_parse(const char *text, double *weight);

#endif /* COMMON_WEIGHT_H */
