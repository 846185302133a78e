/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "admin/base/render.h"
#include "common/utf8.h"

#define CELL_BYTES_MAX 512
#define GAP 2
#define SHRUNK_MIN 8   /* a cut off column keeps this many letters */
#define WRAPPED_MIN 16 /* and one that goes on in the next line, this many */

struct cell {
    enum render_style style;
    char *text;
};

struct render_table {
    const struct render_column *columns;
    size_t column_count;
    struct cell *cells;
    size_t cell_count;
    size_t cell_space;
};

static bool use_color;

void render_init(bool color)
{
    use_color = color;
}

unsigned render_width(void)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO)) {
        return 0;
    }
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    return 80;
}

static const char *style_code(enum render_style style)
{
    switch (style) {
    case STYLE_BOLD: return "\033[1m";
    case STYLE_DIM: return "\033[2m";
    case STYLE_GOOD: return "\033[32m";
    case STYLE_WARN: return "\033[33m";
    case STYLE_BAD: return "\033[31m";
    default: return NULL;
    }
}

/* Bytes of the character at text, and its columns; a byte that is none has one column. */
static size_t character(const char *text, unsigned *width)
{
    uint32_t code;
    size_t length = utf8_decode(text, &code);
    int columns = length ? wcwidth((wchar_t)code) : -1;

    *width = columns < 0 ? 1 : (unsigned)columns;
    return length ? length : 1;
}

void render_sanitise(char *text, bool keep_newlines)
{
    uint32_t code;

    while (*text) {
        size_t length = utf8_decode(text, &code);

        if (length == 0 || (utf8_is_control(code) && !(keep_newlines && code == '\n'))) {
            length = length ? length : 1;
            memset(text, '?', length);
        }
        text += length;
    }
}

static unsigned text_width(const char *text)
{
    unsigned total = 0, width;

    while (*text) {
        text += character(text, &width);
        total += width;
    }
    return total;
}

static void put_styled(enum render_style style, const char *text, size_t bytes)
{
    const char *code = use_color ? style_code(style) : NULL;

    if (code) {
        fputs(code, stdout);
    }
    fwrite(text, 1, bytes, stdout);
    if (code) {
        fputs("\033[0m", stdout);
    }
}

void render_text(enum render_style style, const char *text)
{
    char *copy = strdup(text);

    if (copy) {
        render_sanitise(copy, false);
        put_styled(style, copy, strlen(copy));
        free(copy);
    }
}

/* ---- Tables ------------------------------------------------------------------- */

struct render_table *render_table_new(const struct render_column *columns, size_t count)
{
    struct render_table *table = calloc(1, sizeof(*table));

    if (!table) {
        abort();
    }
    table->columns = columns;
    table->column_count = count;
    return table;
}

void render_cell(struct render_table *table, enum render_style style, const char *format, ...)
{
    char text[CELL_BYTES_MAX];
    va_list args;
    char *copy;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    render_sanitise(text, false);
    if (table->cell_count == table->cell_space) {
        table->cell_space = table->cell_space ? 2 * table->cell_space : 64;
        table->cells = realloc(table->cells, table->cell_space * sizeof(*table->cells));
    }
    copy = strdup(text);
    if (!table->cells || !copy) {
        abort();
    }
    table->cells[table->cell_count++] = (struct cell){style, copy};
    /* cppcheck-suppress memleak; its end is render_table_free() */
}

/* What dropped columns have left over goes back to those that were cut before. */
static void widen(const struct render_table *t, unsigned *widths, const unsigned *wanted,
                  const bool *shown, unsigned spare)
{
    for (; spare > 0; spare--) {
        size_t narrowest = t->column_count;
        for (size_t c = 0; c < t->column_count; c++) {
            if (shown[c] && widths[c] < wanted[c] &&
                (narrowest == t->column_count || widths[c] < widths[narrowest])) {
                narrowest = c;
            }
        }
        if (narrowest == t->column_count) {
            break;
        }
        widths[narrowest]++;
    }
}

/* One part of a table as it is printed: which columns, and how wide. */
struct part {
    unsigned *widths;
    unsigned *wanted; /* what they would need */
    bool *shown;
};

static unsigned least_width(unsigned flags, unsigned width)
{
    unsigned least = flags & COLUMN_WRAP     ? WRAPPED_MIN
                     : flags & COLUMN_SHRINK ? SHRUNK_MIN
                                             : UINT_MAX;

    return width < least ? width : least;
}

static void measure(const struct render_table *t, struct part *part)
{
    size_t n = t->column_count;

    for (size_t c = 0; c < n; c++) {
        part->widths[c] = text_width(t->columns[c].title);
        for (size_t i = c; i < t->cell_count; i += n) {
            unsigned width = text_width(t->cells[i].text);
            part->widths[c] = width > part->widths[c] ? width : part->widths[c];
        }
        part->wanted[c] = part->widths[c];
    }
}

/* The columns that are cut as far as may be do not fit side by side, even without some. */
static bool needs_two_parts(const struct render_table *t, const struct part *part)
{
    unsigned limit = render_width(), total = 0;
    bool later = false;

    for (size_t c = 0; c < t->column_count; c++) {
        if (!(t->columns[c].flags & COLUMN_DROP)) {
            total +=
                least_width(t->columns[c].flags, part->widths[c]) + (total ? (unsigned)GAP : 0);
        }
        later = later || (t->columns[c].flags & COLUMN_LATER);
    }
    return later && limit > 0 && total > limit;
}

/* One step towards the limit: cuts the widest text, else leaves out the last that may be. */
static bool narrow(const struct render_table *t, struct part *part)
{
    size_t n = t->column_count, widest = n, droppable = n;

    for (size_t c = 0; c < n; c++) {
        unsigned flags = t->columns[c].flags;

        if (!part->shown[c]) {
            continue;
        }
        if (part->widths[c] > least_width(flags, part->widths[c]) &&
            (widest == n || part->widths[c] > part->widths[widest])) {
            widest = c;
        }
        if (flags & COLUMN_DROP) {
            droppable = c;
        }
    }
    if (widest < n) {
        part->widths[widest]--;
    } else if (droppable < n) {
        part->shown[droppable] = false;
    }
    return widest < n || droppable < n;
}

static unsigned width_of(const struct render_table *t, const struct part *part)
{
    unsigned total = 0;

    for (size_t c = 0; c < t->column_count; c++) {
        total += part->shown[c] ? part->widths[c] + (total ? (unsigned)GAP : 0) : 0;
    }
    return total;
}

/* Widths that fit: first cut the wide texts, then leave out what may be left out. */
static void fit(const struct render_table *t, struct part *part)
{
    unsigned limit = render_width();

    memcpy(part->widths, part->wanted, t->column_count * sizeof(*part->widths));
    while (limit > 0 && width_of(t, part) > limit && narrow(t, part)) {
    }
    if (limit > width_of(t, part)) {
        widen(t, part->widths, part->wanted, part->shown, limit - width_of(t, part));
    }
}

static void put_cell(const char *text, enum render_style style, unsigned width, unsigned flags,
                     bool last)
{
    unsigned have = text_width(text);
    unsigned taken = 0, one;
    size_t bytes = 0;

    if (have <= width) {
        if (flags & COLUMN_RIGHT) {
            printf("%*s", (int)(width - have), "");
        }
        put_styled(style, text, strlen(text));
        if (!(flags & COLUMN_RIGHT) && !last) {
            printf("%*s", (int)(width - have), "");
        }
        return;
    }
    while (text[bytes]) {
        size_t length = character(text + bytes, &one);
        if (taken + one > width - 2) {
            break;
        }
        taken += one;
        bytes += length;
    }
    put_styled(style, text, bytes);
    fputs("..", stdout);
    if (!last) {
        printf("%*s", (int)(width - taken - 2), "");
    }
}

/* In lines of width, cut at blanks where there are any; indent columns are before it. */
static void put_wrapped(const char *text, enum render_style style, unsigned width, unsigned indent)
{
    while (text_width(text) > width) {
        size_t bytes = 0, blank = 0;
        unsigned taken = 0, one;
        for (;;) {
            size_t length = character(text + bytes, &one);
            if (text[bytes] == ' ' && bytes > 0) {
                blank = bytes;
            }
            if (taken + one > width) {
                break;
            }
            taken += one;
            bytes += length;
        }
        if (blank > 0) {
            bytes = blank;
        }
        put_styled(style, text, bytes);
        printf("\n%*s", (int)indent, "");
        text += bytes + (text[bytes] == ' ');
    }
    put_styled(style, text, strlen(text));
}

static void print_row(const struct render_table *t, const struct part *part, size_t row,
                      size_t last, unsigned indent)
{
    size_t n = t->column_count;

    for (size_t c = 0; c <= last; c++) {
        const struct cell *cell = row ? &t->cells[(row - 1) * n + c] : NULL;
        const char *text = cell ? cell->text : t->columns[c].title;
        enum render_style style = cell ? cell->style : STYLE_BOLD;

        if (!part->shown[c]) {
            continue;
        }
        if (c == last && (t->columns[c].flags & COLUMN_WRAP)) {
            put_wrapped(text, style, part->widths[c], indent);
        } else {
            put_cell(text, style, part->widths[c], t->columns[c].flags, c == last);
        }
        fputs(c == last ? "\n" : "  ", stdout);
    }
}

static void print_part(const struct render_table *t, struct part *part)
{
    unsigned indent = 0;
    size_t last = 0;

    assert(t->column_count > 0);
    fit(t, part);
    for (size_t c = 0; c < t->column_count; c++) {
        last = part->shown[c] ? c : last;
    }
    for (size_t c = 0; c < last; c++) {
        indent += part->shown[c] ? part->widths[c] + GAP : 0;
    }
    for (size_t row = 0; row <= t->cell_count / t->column_count; row++) {
        print_row(t, part, row, last, indent);
    }
}

/* Which columns were left out: nobody should look for them in vain. */
static void print_left_out(const struct render_table *t, const bool *seen)
{
    char text[CELL_BYTES_MAX] = "(no room for ";
    size_t count = 0;

    for (size_t c = 0; c < t->column_count; c++) {
        size_t used = strlen(text);

        if (!seen[c]) {
            snprintf(text + used, sizeof(text) - used, "%s%s", count ? ", " : "",
                     t->columns[c].title);
            count++;
        }
    }
    if (count > 0) {
        size_t used = strlen(text);

        snprintf(text + used, sizeof(text) - used, ": a wider terminal or --json shows %s)",
                 count == 1 ? "it" : "them");
        put_wrapped(text, STYLE_DIM, render_width(), 0);
        putchar('\n');
    }
}

/* seen: all false; then, which columns were printed. */
static void print_table(const struct render_table *t, struct part *part, bool *seen)
{
    size_t n = t->column_count;
    bool two;

    measure(t, part);
    two = needs_two_parts(t, part);
    for (int round = 0; round <= (two ? 1 : 0); round++) {
        for (size_t c = 0; c < n; c++) {
            bool later = t->columns[c].flags & COLUMN_LATER;

            part->shown[c] = !two || (t->columns[c].flags & COLUMN_KEY) || (round ? later : !later);
        }
        printf("%s", round ? "\n" : "");
        print_part(t, part);
        for (size_t c = 0; c < n; c++) {
            seen[c] = seen[c] || part->shown[c];
        }
    }
    print_left_out(t, seen);
}

void render_table_end(struct render_table *t, const char *empty)
{
    struct part part = {calloc(t->column_count, sizeof(*part.widths)),
                        calloc(t->column_count, sizeof(*part.wanted)),
                        calloc(t->column_count, sizeof(*part.shown))};
    bool *seen = calloc(t->column_count, sizeof(*seen));

    if (!part.widths || !part.wanted || !part.shown || !seen) {
        abort();
    }
    if (t->cell_count == 0) {
        printf("%s\n", empty);
    } else {
        print_table(t, &part, seen);
    }
    free(part.widths);
    free(part.wanted);
    free(part.shown);
    free(seen);
    render_table_discard(t);
}

void render_table_discard(struct render_table *t)
{
    for (size_t i = 0; i < t->cell_count; i++) {
        free(t->cells[i].text);
    }
    free(t->cells);
    free(t);
}

void render_heading(const char *format, ...)
{
    char text[CELL_BYTES_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    render_text(STYLE_BOLD, text);
    putchar('\n');
}

void render_pair(const char *label, enum render_style style, const char *format, ...)
{
    char text[2 * CELL_BYTES_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    printf("%-18s ", label);
    render_text(style, text);
    putchar('\n');
}

/* ---- Quantities ----------------------------------------------------------------- */

const char *render_duration_ns(double ns, char out[RENDER_BYTES])
{
    double s = ns / 1e9;

    if (!(ns >= 0) || isinf(ns)) {
        snprintf(out, RENDER_BYTES, "-");
    } else if (ns < 1e3) {
        snprintf(out, RENDER_BYTES, "%.0f ns", ns);
    } else if (ns < 1e6) {
        snprintf(out, RENDER_BYTES, "%.1f us", ns / 1e3);
    } else if (ns < 1e9) {
        snprintf(out, RENDER_BYTES, "%.1f ms", ns / 1e6);
    } else if (s < 120) {
        snprintf(out, RENDER_BYTES, "%.1f s", s);
    } else if (s < 7200) {
        snprintf(out, RENDER_BYTES, "%.0f min", s / 60);
    } else if (s < 48 * 3600) {
        snprintf(out, RENDER_BYTES, "%.0f h", s / 3600);
    } else {
        snprintf(out, RENDER_BYTES, "%.0f d", s / 86400);
    }
    return out;
}

const char *render_signed_duration_ns(double ns, char out[RENDER_BYTES])
{
    out[0] = '-';
    render_duration_ns(ns < 0 ? -ns : ns, ns < 0 ? out + 1 : out);
    return out;
}

const char *render_bytes(double bytes, char out[RENDER_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;

    while (bytes >= 1024 && unit < 5) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, RENDER_BYTES, bytes == floor(bytes) ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return out;
}

const char *render_count(uint64_t value, char out[RENDER_BYTES])
{
    if (value < 1000000) {
        snprintf(out, RENDER_BYTES, "%" PRIu64, value);
    } else if (value < 1000000000) {
        snprintf(out, RENDER_BYTES, "%.2f M", (double)value / 1e6);
    } else {
        snprintf(out, RENDER_BYTES, "%.2f G", (double)value / 1e9);
    }
    return out;
}
