/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module writes the quantities of vgpu-admin top in few characters, and knows the styles
 * of states.  NAN, which means not known, is "-".  Each writes `out` and returns it.
 */
#ifndef ADMIN_TOP_TOP_TEXT_H
#define ADMIN_TOP_TOP_TEXT_H

#include "admin/base/render.h"
#include "admin/top/top_model.h"

/* "13.2ms" */
const char *top_text_duration(double ns, char out[RENDER_BYTES]);
/* "-13.2ms" */
const char *top_text_signed_duration(double ns, char out[RENDER_BYTES]);
/* "950.0", "1.2k" */
const char *top_text_rate(double hz, char out[RENDER_BYTES]);
/* A whole number and its unit. */
const char *top_text_unit(double value, const char *unit, char out[RENDER_BYTES]);
/* part: 0 to 1. */
const char *top_text_percent(double part, char out[RENDER_BYTES]);
/* "12+2": waiting and in flight. */
const char *top_text_queue(double waiting, double in_flight, char out[RENDER_BYTES]);
/* "1.5/80.0 GiB" */
const char *top_text_memory(const struct top_gpu *gpu, char out[RENDER_BYTES]);

/* Of a VM or a GPU. */
enum render_style top_state_style(const char *state);

#endif /* ADMIN_TOP_TOP_TEXT_H */
