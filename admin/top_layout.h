/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The picture of vgpu-admin top as styled lines, without a terminal.  What is
 * drawn depends on nothing but the arguments, so 80x24 can be tested as text.
 */
#ifndef ADMIN_TOP_LAYOUT_H
#define ADMIN_TOP_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admin/render.h"
#include "admin/top_model.h"

#define TOP_WIDTH_MIN 60u
#define TOP_HEIGHT_MIN 12u
#define TOP_WIDTH_MAX 240u
#define TOP_LINE_BYTES 1024u /* 4 bytes a column */
#define TOP_SPANS_MAX 32u

struct top_line {
    char text[TOP_LINE_BYTES];
    size_t bytes;
    unsigned columns;
    struct {
        size_t end; /* in bytes; a span begins where the one before it ends */
        enum render_style style;
    } spans[TOP_SPANS_MAX];
    size_t span_count;
    bool selected;
};

struct top_page {
    struct top_line *lines;
    size_t count, space;
};

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
void top_page_free(struct top_page *page);

/* "######|...": what it had, and a mark where its due part ends. */
void top_bar(double share, double due, unsigned width, char *out);

#endif /* ADMIN_TOP_LAYOUT_H */
