/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "admin/top/top_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *top_text_duration(double ns, char out[RENDER_BYTES])
{
    char text[RENDER_BYTES];
    char *to = out;

    if (isnan(ns)) {
        return strcpy(out, "-");
    }
    for (const char *from = render_duration_ns(ns, text); *from; from++) {
        if (*from != ' ') {
            *to++ = *from;
        }
    }
    *to = '\0';
    return out;
}

const char *top_text_signed_duration(double ns, char out[RENDER_BYTES])
{
    out[0] = '-';
    top_text_duration(ns < 0 ? -ns : ns, ns < 0 ? out + 1 : out);
    return out;
}

const char *top_text_rate(double hz, char out[RENDER_BYTES])
{
    if (isnan(hz)) {
        snprintf(out, RENDER_BYTES, "-");
    } else if (hz < 1000) {
        snprintf(out, RENDER_BYTES, "%.1f", hz);
    } else if (hz < 1e6) {
        snprintf(out, RENDER_BYTES, "%.1fk", hz / 1e3);
    } else {
        snprintf(out, RENDER_BYTES, "%.1fM", hz / 1e6);
    }
    return out;
}

const char *top_text_unit(double value, const char *unit, char out[RENDER_BYTES])
{
    if (isnan(value)) {
        snprintf(out, RENDER_BYTES, "-");
    } else {
        snprintf(out, RENDER_BYTES, "%.0f%s", value, unit);
    }
    return out;
}

const char *top_text_percent(double part, char out[RENDER_BYTES])
{
    double value = part * 100;

    if (isnan(part)) {
        snprintf(out, RENDER_BYTES, "-");
    } else {
        snprintf(out, RENDER_BYTES, value < 99.95 ? "%.1f%%" : "%.0f%%", value);
    }
    return out;
}

const char *top_text_queue(double waiting, double in_flight, char out[RENDER_BYTES])
{
    if (isnan(waiting)) {
        snprintf(out, RENDER_BYTES, "-");
    } else if (isnan(in_flight)) {
        snprintf(out, RENDER_BYTES, "%.0f", waiting);
    } else {
        snprintf(out, RENDER_BYTES, "%.0f+%.0f", waiting, in_flight);
    }
    return out;
}

const char *top_text_memory(const struct top_gpu *gpu, char out[RENDER_BYTES])
{
    double gib = 1024.0 * 1024 * 1024;

    if (isnan(gpu->memory_total_bytes)) {
        snprintf(out, RENDER_BYTES, "-");
    } else if (isnan(gpu->memory_used_bytes)) {
        snprintf(out, RENDER_BYTES, "-/%.1f GiB", gpu->memory_total_bytes / gib);
    } else {
        snprintf(out, RENDER_BYTES, "%.1f/%.1f GiB", gpu->memory_used_bytes / gib,
                 gpu->memory_total_bytes / gib);
    }
    return out;
}

enum render_style top_state_style(const char *state)
{
    if (strcmp(state, "ok") == 0 || strcmp(state, "active") == 0) {
        return STYLE_GOOD;
    }
    if (strcmp(state, "failed") == 0 || strcmp(state, "quarantined") == 0) {
        return STYLE_BAD;
    }
    if (strcmp(state, "idle") == 0) {
        return STYLE_PLAIN;
    }
    return strcmp(state, "not connected") == 0 ? STYLE_DIM : STYLE_WARN;
}
