/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "admin/top/top_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

struct top_line *top_page_add(struct top_page *page)
{
    if (page->count == page->space) {
        size_t space = page->space ? 2 * page->space : 64;
        struct top_line *lines = realloc(page->lines, space * sizeof(*lines));

        if (!lines) {
            return NULL;
        }
        page->lines = lines;
        page->space = space;
    }
    page->lines[page->count] = (struct top_line){0};
    return &page->lines[page->count++];
}

void top_page_free(struct top_page *page)
{
    free(page->lines);
    *page = (struct top_page){0};
}

static void end_span(struct top_line *line, enum render_style style)
{
    size_t n = line->span_count;

    if (n > 0 && (line->spans[n - 1].style == style || n == TOP_SPANS_MAX)) {
        line->spans[n - 1].end = line->bytes;
        return;
    }
    line->spans[n].end = line->bytes;
    line->spans[n].style = style;
    line->span_count++;
}

static void put_spaces(struct top_line *line, unsigned count, unsigned limit)
{
    while (count-- > 0 && line->columns < limit && line->bytes + 1 < TOP_LINE_BYTES) {
        line->text[line->bytes++] = ' ';
        line->columns++;
    }
    line->text[line->bytes] = '\0';
}

/* Columns of the character at text and its bytes; what cannot be shown is one '?'. */
static size_t next_character(const char *text, unsigned *columns, bool *shown)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t bytes = mbrtowc(&c, text, strlen(text), &state);
    int width = bytes > 0 && bytes < (size_t)-2 ? wcwidth(c) : -1;

    *shown = width >= 0;
    *columns = *shown ? (unsigned)width : 1;
    return *shown ? bytes : bytes > 0 && bytes < (size_t)-2 ? bytes : 1;
}

static unsigned width_of(const char *text)
{
    unsigned total = 0, columns;
    bool shown;

    while (*text) {
        text += next_character(text, &columns, &shown);
        total += columns;
    }
    return total;
}

/* As much of the text as fits `room` columns. */
static void put_characters(struct top_line *line, const char *text, unsigned room)
{
    while (*text) {
        unsigned columns;
        bool shown;
        size_t bytes = next_character(text, &columns, &shown);

        if (columns > room || line->bytes + bytes + 1 > TOP_LINE_BYTES) {
            break;
        }
        if (shown) {
            memcpy(line->text + line->bytes, text, bytes);
            line->bytes += bytes;
        } else {
            line->text[line->bytes++] = '?';
        }
        line->columns += columns;
        room -= columns;
        text += bytes;
    }
    line->text[line->bytes] = '\0';
}

void top_line_cell(struct top_line *line, unsigned limit, enum render_style style, unsigned width,
                   bool right, const char *text)
{
    unsigned have = width_of(text);
    unsigned room = line->columns < limit ? limit - line->columns : 0;

    width = width < room ? width : room;
    if (right && have < width) {
        put_spaces(line, width - have, limit);
    }
    put_characters(line, text, have < width ? have : width);
    end_span(line, style);
    if (!right && have < width) {
        put_spaces(line, width - have, limit);
        end_span(line, STYLE_PLAIN);
    }
}

void top_line_text(struct top_line *line, unsigned limit, enum render_style style,
                   const char *format, ...)
{
    char text[TOP_LINE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    top_line_cell(line, limit, style, width_of(text), false, text);
}

void top_line_gap(struct top_line *line, unsigned limit)
{
    put_spaces(line, 1, limit);
    end_span(line, STYLE_PLAIN);
}

void top_line_right(struct top_line *line, unsigned limit, enum render_style style,
                    const char *text)
{
    unsigned width = width_of(text);

    if (line->columns + width + 2 <= limit) {
        put_spaces(line, limit - width - line->columns, limit);
        end_span(line, STYLE_PLAIN);
        top_line_text(line, limit, style, "%s", text);
    }
}
