/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module prints text for people: tables that fit the terminal, and quantities.
 * Everything that is printed here is sanitised: names come from toolstacks and tenants.
 */
#ifndef ADMIN_BASE_RENDER_H
#define ADMIN_BASE_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum render_style {
    STYLE_PLAIN,
    STYLE_BOLD,
    STYLE_DIM,
    STYLE_GOOD,
    STYLE_WARN,
    STYLE_BAD,
};

enum render_column_flags {
    COLUMN_RIGHT = 1 << 0,  /* numbers */
    COLUMN_SHRINK = 1 << 1, /* may be cut off when the terminal is narrow */
    COLUMN_DROP = 1 << 2,   /* may be left out, the rightmost first */
    COLUMN_WRAP = 1 << 3,   /* goes on in the next line; the last column only */
    COLUMN_KEY = 1 << 4,    /* says whose row it is: also in the second part of a table */
    COLUMN_LATER = 1 << 5,  /* in a second part below, when the terminal is narrow */
};

struct render_column {
    const char *title;
    unsigned flags;
};

struct render_table;

/* Whether text is coloured; set once. */
void render_init(bool color);
/* Columns of the terminal, or 0 if stdout is none. */
unsigned render_width(void);

/* columns must live as long as the table. */
struct render_table *render_table_new(const struct render_column *columns, size_t count);
/* Cells go in row by row; a row is full after one per column. */
void render_cell(struct render_table *table, enum render_style style, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/*
 * Prints and frees it.  An empty table prints `empty`.  Columns that were left out
 * because the terminal is too narrow are named below it.
 */
void render_table_end(struct render_table *table, const char *empty);
/* Frees it unprinted. */
void render_table_discard(struct render_table *table);

void render_heading(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One "label  value" line. */
void render_pair(const char *label, enum render_style style, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Replaces what a terminal would obey, and broken UTF-8, by '?'; the length stays. */
void render_sanitise(char *text, bool keep_newlines);
/* A text with its control characters replaced, on stdout. */
void render_text(enum render_style style, const char *text);

/* Quantities; the buffers are the caller's. */
#define RENDER_BYTES 32
const char *render_duration_ns(double ns, char out[RENDER_BYTES]);
/* The same, with a sign where it is below 0. */
const char *render_signed_duration_ns(double ns, char out[RENDER_BYTES]);
const char *render_bytes(double bytes, char out[RENDER_BYTES]);
const char *render_count(uint64_t value, char out[RENDER_BYTES]);

#endif /* ADMIN_BASE_RENDER_H */
