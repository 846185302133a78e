/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The view is the terminal of vgpu-admin top.  It uses ncurses.  However the program ends, by
 * a key, a signal or a crash, the terminal is as it was before.
 */
#ifndef ADMIN_TOP_TOP_VIEW_H
#define ADMIN_TOP_TOP_VIEW_H

#include <stdbool.h>

#include "admin/top/top_layout.h"

/* What top_view_wait() returns besides characters. */
enum top_key {
    TOP_KEY_NONE = -1,
    TOP_KEY_QUIT = -2, /* a signal to end, or the terminal is gone */
    TOP_KEY_RESIZED = -3,
    TOP_KEY_UP = -4,
    TOP_KEY_DOWN = -5,
    TOP_KEY_PAGE_UP = -6,
    TOP_KEY_PAGE_DOWN = -7,
    TOP_KEY_HOME = -8,
    TOP_KEY_END = -9,
    TOP_KEY_BACKSPACE = -10,
    TOP_KEY_ENTER = -11,
    TOP_KEY_ESCAPE = -12,
};

/* 0, or -ENOTTY (no terminal), -ENODEV (TERM names none that is known), -ENOSYS (not built in). */
int top_view_start(bool color);
/* May be called more than once. */
void top_view_end(void);
void top_view_size(unsigned *width, unsigned *height);
void top_view_show(const struct top_page *page);
/* A key, or TOP_KEY_NONE after timeout_ms. */
int top_view_wait(int timeout_ms);
/* The signal that asked to end, 0 = none. */
int top_view_signal(void);

#endif /* ADMIN_TOP_TOP_VIEW_H */
