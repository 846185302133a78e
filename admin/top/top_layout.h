/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module draws the picture of vgpu-admin top as styled lines, without a terminal.  What
 * is drawn depends on nothing but the arguments, so 80x24 can be tested as text.
 */
#ifndef ADMIN_TOP_TOP_LAYOUT_H
#define ADMIN_TOP_TOP_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admin/top/top_line.h"
#include "admin/top/top_model.h"

#define TOP_WIDTH_MIN 60u
#define TOP_HEIGHT_MIN 12u
#define TOP_WIDTH_MAX 240u

struct top_view {
    unsigned width;
    unsigned height; /* 0: as many lines as there are (--once) */
    struct top_query query;
    bool has_selection;
    uint32_t selected; /* vm_id */
    size_t scroll;     /* first VM shown; kept within bounds by the layout */
    bool paused;       /* the picture stands still */
    bool help;
    double interval_s;
    const char *clock;   /* "14:03:22" */
    const char *trouble; /* the mediator does not answer, NULL: it does */
    const char *prompt;  /* NULL: the keys */
};

/*
 * snapshot NULL: nothing is known yet.  Returns false without memory.  Adjusts
 * view->scroll so that the selected VM is in sight.
 */
bool top_layout(struct top_view *view, const struct top_snapshot *snapshot,
                const struct top_rows *rows, struct top_page *page);

#endif /* ADMIN_TOP_TOP_LAYOUT_H */
