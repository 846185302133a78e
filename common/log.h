/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module logs to stderr, one line per event.
 *
 * When stderr is the journal's (JOURNAL_STREAM names it) each line starts with
 * its priority, "<6>", and has no time stamp; elsewhere it starts with the local
 * time and the level.  What a line is about may be given as fields too, which
 * follow the text as key=value, or are members of the line's JSON object.
 * Text is sanitised: control characters and broken UTF-8 of a peer's string
 * become '?'.  Texts longer than VGPU_LOG_LINE_MAX are cut.  Not safe in signal
 * handlers.
 *
 * Logging never waits for a reader: when a pipe, a socket or a terminal takes no
 * more, the line is dropped and counted, and the next one that gets out is
 * preceded by one that says how many are missing.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VGPU_LOG_LINE_MAX 1024
#define VGPU_LOG_FIELDS_MAX 12 /* those beyond are left out */

enum log_level {
    LOG_LEVEL_ERROR = 3, /* syslog's numbers */
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7,
};

/* The levels' names from LOG_LEVEL_ERROR on, and NULL behind them. */
extern const char *const log_level_names[];

/* `program` is kept, not copied.  json: each line is one JSON object. */
void log_init(const char *program, enum log_level max_level, bool json);
bool log_enabled(enum log_level level);
/* Lines that did not get out since the start. */
uint64_t log_dropped(void);
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct log_field {
    const char *key;  /* a word of ours */
    const char *text; /* NULL: it is the number */
    int64_t number;
};

/* A line with `count` fields. */
void log_fields(enum log_level level, const struct log_field *fields, size_t count,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_LEVEL_DEBUG)) {                                                        \
            log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                               \
        }                                                                                          \
    } while (0)

#endif /* COMMON_LOG_H */
