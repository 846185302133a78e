/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module writes one line, or one histogram's lines, of Prometheus' text format.  `labels`
 * is what stands between the braces, NULL for none.
 */
#ifndef CORE_METRICS_PROMETHEUS_LINE_H
#define CORE_METRICS_PROMETHEUS_LINE_H

#include <stdint.h>

#include "core/metrics/metrics.h"
#include "core/text_out.h"

void prom_uint(struct text_out *out, const char *name, const struct text_out *labels,
               uint64_t value);
/* NAN, which means not known, writes nothing. */
void prom_double(struct text_out *out, const char *name, const struct text_out *labels,
                 double value);
/* Nanoseconds, written as seconds. */
void prom_seconds(struct text_out *out, const char *name, const struct text_out *labels,
                  uint64_t time_ns);
void prom_histogram(struct text_out *out, const char *name, const struct text_out *labels,
                    const struct metrics_histogram *values);

#endif /* CORE_METRICS_PROMETHEUS_LINE_H */
