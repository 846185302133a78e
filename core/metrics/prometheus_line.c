/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/metrics/prometheus_line.h"

#include <math.h>

static const char *const bucket_names[METRICS_BUCKETS] = {
    "1e-05",  "2.5e-05", "5e-05", "0.0001", "0.00025", "0.0005", "0.001",
    "0.0025", "0.005",   "0.01",  "0.025",  "0.05",    "0.1",    "0.25",
    "0.5",    "1",       "2.5",   "5",      "10",      "30",     "60",
};

static void prom_begin(struct text_out *out, const char *name, const struct text_out *labels)
{
    text_string(out, name);
    if (labels) {
        text_char(out, '{');
        text_bytes(out, labels->text, labels->used);
        out->overflow |= labels->overflow;
        text_char(out, '}');
    }
    text_char(out, ' ');
}

void prom_uint(struct text_out *out, const char *name, const struct text_out *labels,
               uint64_t value)
{
    prom_begin(out, name, labels);
    text_uint(out, value);
    text_char(out, '\n');
}

void prom_double(struct text_out *out, const char *name, const struct text_out *labels,
                 double value)
{
    if (!isnan(value)) {
        prom_begin(out, name, labels);
        text_double(out, value);
        text_char(out, '\n');
    }
}

void prom_seconds(struct text_out *out, const char *name, const struct text_out *labels,
                  uint64_t time_ns)
{
    prom_begin(out, name, labels);
    text_seconds(out, time_ns);
    text_char(out, '\n');
}

void prom_histogram(struct text_out *out, const char *name, const struct text_out *labels,
                    const struct metrics_histogram *values)
{
    const char *begin = out->text + out->used; /* of a line: the same for all buckets */
    size_t length;
    uint64_t so_far = 0;

    text_string(out, name);
    text_string(out, "_bucket{");
    if (labels) {
        text_bytes(out, labels->text, labels->used);
        text_char(out, ',');
    }
    text_string(out, "le=\"");
    length = (size_t)(out->text + out->used - begin);
    for (uint32_t bucket = 0; bucket <= METRICS_BUCKETS; bucket++) {
        so_far += values->buckets[bucket];
        if (bucket > 0) {
            text_bytes(out, begin, length);
        }
        text_string(out, bucket < METRICS_BUCKETS ? bucket_names[bucket] : "+Inf");
        text_string(out, "\"} ");
        text_uint(out, so_far);
        text_char(out, '\n');
    }
    text_string(out, name);
    prom_seconds(out, "_sum", labels, values->sum_ns);
    text_string(out, name);
    prom_uint(out, "_count", labels, values->count);
}
