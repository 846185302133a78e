/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module reads a command line by one table: what an option is called, what its value may
 * be, where it goes, and what the help says of it.
 *
 *     static const struct args_option rows[] = {
 *         ARGS_HEADING("What to do:"),
 *         {"depth", "N", "jobs handed ahead, {range} (default {default})",
 *          ARGS_NUMBER(struct options, depth, 1, 16, 1)},
 *         {"json", NULL, "results as JSON", ARGS_FLAG(struct options, json)},
 *     };
 *
 * --help, --version and their short forms -h and -V are every program's.  Numbers are decimal, or
 * hexadecimal after 0x.  Strings that are stored point into argv.  When an option is given twice,
 * the last one counts.
 */
#ifndef COMMON_ARGS_H
#define COMMON_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/log.h"

/* The exit status of every program that does not understand its command line. */
#define ARGS_EXIT_USAGE 2

/* Rows of one program, headings among them. */
#define ARGS_ROWS_MAX 96u

enum args_kind {
    ARGS_KIND_HEADING,
    ARGS_KIND_FLAG,  /* 1, or true */
    ARGS_KIND_CLEAR, /* 0, or false */
    ARGS_KIND_TEXT,
    ARGS_KIND_SOCKET, /* the path of a socket: 1 to 107 characters */
    ARGS_KIND_NUMBER, /* a whole one */
    ARGS_KIND_REAL,
    ARGS_KIND_CHOICE, /* one of some words; stored is its place among them */
    ARGS_KIND_TAKE,   /* a function looks at the value */
};

enum args_type {
    ARGS_TYPE_BOOL,
    ARGS_TYPE_INT,
    ARGS_TYPE_U8,
    ARGS_TYPE_U32,
    ARGS_TYPE_U64,
    ARGS_TYPE_REAL,
};

/* -1: taken; else the exit status, after args_refused() or a sentence of its own. */
typedef int (*args_take)(void *target, const char *name, char *value);

struct args_option {
    const char *name;  /* without "--"; NULL: `help` is a heading */
    const char *value; /* what stands for the value in the help; NULL: none, or a choice's words */
    /* {range} and {default} are filled in; wrapped where it is printed.  NULL: not shown. */
    const char *help;

    enum args_kind kind;
    enum args_type type;
    size_t offset;           /* in the program's own structure */
    size_t text;             /* of a const char * there that is set to the value's text; 0: none */
    uint64_t min, max, unit; /* NUMBER: limits in units; what is stored is the number times unit */
    double least, most, scale; /* REAL: the same */
    const char *of;            /* "seconds": of what a number is, for the message; NULL: not said */
    const char *const *words;  /* CHOICE: up to a NULL ... */
    unsigned first;            /* ... of which the first is stored as this number */
    args_take take;
};

/* clang-format off */
#define ARGS_TARGET(type_, field_)                                                                 \
    .offset = offsetof(type_, field_),                                                             \
    .type = _Generic(((type_ *)0)->field_, bool: ARGS_TYPE_BOOL, int: ARGS_TYPE_INT,               \
                     uint8_t: ARGS_TYPE_U8, uint32_t: ARGS_TYPE_U32, uint64_t: ARGS_TYPE_U64,      \
                     double: ARGS_TYPE_REAL)
#define ARGS_HEADING(text) {NULL, NULL, (text), ARGS_KIND_HEADING}
#define ARGS_FLAG(type_, field_) .kind = ARGS_KIND_FLAG, ARGS_TARGET(type_, field_)
#define ARGS_CLEAR(type_, field_) .kind = ARGS_KIND_CLEAR, ARGS_TARGET(type_, field_)
#define ARGS_TEXT(type_, field_) .kind = ARGS_KIND_TEXT, .offset = offsetof(type_, field_)
#define ARGS_SOCKET(type_, field_) .kind = ARGS_KIND_SOCKET, .offset = offsetof(type_, field_)
#define ARGS_NUMBER(type_, field_, min_, max_, unit_)                                              \
    .kind = ARGS_KIND_NUMBER, ARGS_TARGET(type_, field_), .min = (min_), .max = (max_),      \
    .unit = (unit_)
#define ARGS_REAL(type_, field_, least_, most_, scale_)                                            \
    .kind = ARGS_KIND_REAL, ARGS_TARGET(type_, field_), .least = (least_), .most = (most_),        \
    .scale = (scale_)
#define ARGS_CHOICE(type_, field_, words_)                                                         \
    .kind = ARGS_KIND_CHOICE, ARGS_TARGET(type_, field_), .words = (words_)
#define ARGS_LOG_LEVEL(type_, field_)                                                              \
    ARGS_CHOICE(type_, field_, log_level_names), .first = LOG_LEVEL_ERROR
#define ARGS_TAKE(function_) .kind = ARGS_KIND_TAKE, .take = (function_)
/* clang-format on */

struct args_program {
    const char *name;
    const char *intro; /* the help, up to the first option */
    const char *outro; /* and behind the last one, from its own first line on */
    const struct args_option *rows;
    size_t row_count; /* at most ARGS_ROWS_MAX */
};

/* "text" and "json" for a bool that is true for JSON. */
extern const char *const args_log_formats[];

/*
 * Fills *target, the structure that the rows speak of, with what the options say; its fields hold
 * the defaults.  -1: go on; else exit with this status, 0 after --help and --version, or
 * ARGS_EXIT_USAGE after saying on stderr what is wrong.  *words is what follows the options, up
 * to a NULL; argv is put in order for it.  `words` NULL: a word that is no option is refused.
 */
int args_parse(const struct args_program *program, int argc, char **argv, void *target,
               char ***words);

/* Takes one value as its row says: -1, or ARGS_EXIT_USAGE after saying what is wrong. */
int args_take_value(const char *program, const struct args_option *row, void *target,
                    const char *name, char *value);

/* Says "PROGRAM: NAME: "VALUE" is not WANT." and where the help is.  ARGS_EXIT_USAGE. */
int args_refused(const char *program, const char *name, const char *value, const char *want);

#endif /* COMMON_ARGS_H */
