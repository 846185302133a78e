/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module makes lines of styled text for vgpu-admin top.  Widths are columns of a
 * terminal, not bytes: a character of a VM's name may have none, one or two, and one that
 * cannot be shown stands as '?'.  Nothing is written beyond column `limit`.
 */
#ifndef ADMIN_TOP_TOP_LINE_H
#define ADMIN_TOP_TOP_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "admin/base/render.h"

#define TOP_LINE_BYTES 1024u /* 4 bytes a column */
#define TOP_SPANS_MAX 40u

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

/* An empty line at the page's end, valid until the next one; NULL: no memory. */
struct top_line *top_page_add(struct top_page *page);
void top_page_free(struct top_page *page);

/* A cell of `width` columns: the text cut off, or filled up. */
void top_line_cell(struct top_line *line, unsigned limit, enum render_style style, unsigned width,
                   bool right, const char *text);
void top_line_text(struct top_line *line, unsigned limit, enum render_style style,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
/* One blank between cells. */
void top_line_gap(struct top_line *line, unsigned limit);
/* At the right end of the line; left out where it would touch what stands there. */
void top_line_right(struct top_line *line, unsigned limit, enum render_style style,
                    const char *text);

#endif /* ADMIN_TOP_TOP_LINE_H */
