/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/weight.h"

#include <stddef.h>
#include <stdint.h>

#include "common/parse.h"

#define STEPS 100 /* to a whole one: two decimals */

double weight_nearest(double number)
{
    if (!(number > VGPU_WEIGHT_MIN)) {
        return VGPU_WEIGHT_MIN;
    }
    if (number > VGPU_WEIGHT_MAX) {
        return VGPU_WEIGHT_MAX;
    }
    return (double)(uint32_t)(number * STEPS + 0.5) / STEPS;
}

/* "5" is 50 hundredths, "05" 5; no digits, or a third one: NULL. */
static const char *parse_hundredths(const char *text, uint64_t *hundredths)
{
    const char *end = parse_digits(text, STEPS - 1, hundredths);

    if (end == NULL || end - text > 2) {
        return NULL;
    }
    if (end - text == 1) {
        *hundredths *= 10;
    }
    return end;
}

bool weight_parse(const char *text, double *weight)
{
    uint64_t whole, hundredths = 0;
    const char *end = parse_digits(text, VGPU_WEIGHT_MAX, &whole);
    double number;

    if (end && *end == '.') {
        end = parse_hundredths(end + 1, &hundredths);
    }
    if (!end || *end) {
        return false;
    }
    number = (double)(whole * STEPS + hundredths) / STEPS;
    if (!weight_valid(number)) {
        return false;
    }
    *weight = number;
    return true;
}
