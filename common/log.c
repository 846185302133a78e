/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FIELD_TEXT_MAX 256
/* Every byte of the text may need a backslash, and so may those of the fields. */
#define LINE_BYTES (2 * VGPU_LOG_LINE_MAX + VGPU_LOG_FIELDS_MAX * (2 * FIELD_TEXT_MAX + 48) + 256)

static const char *log_program = "vgpu";
static enum log_level log_max_level = LOG_LEVEL_INFO;
static bool log_json;
static bool log_to_journal;

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

/* A program that systemd started has JOURNAL_STREAM even if its stderr goes elsewhere. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat st;

    return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(const char *program, enum log_level max_level, bool json)
{
    log_program = program;
    log_max_level = max_level;
    log_json = json;
    log_to_journal = stderr_is_journal();
}

bool log_enabled(enum log_level level)
{
    return level <= log_max_level;
}

int log_level_from_name(const char *name)
{
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        if (strcmp(name, level_names[level]) == 0) {
            return level;
        }
    }
    return -1;
}

/* Bytes of the well-formed UTF-8 character at `text`, 0 if it is none. */
static size_t utf8_length(const unsigned char *text)
{
    size_t length = text[0] < 0x80   ? 1
                    : text[0] < 0xc2 ? 0
                    : text[0] < 0xe0 ? 2
                    : text[0] < 0xf0 ? 3
                    : text[0] < 0xf5 ? 4
                                     : 0;

    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f)) {
        return 0; /* too long a form, a surrogate, beyond the last character */
    }
    return length;
}

/* Peers' strings end up in lines: keep one line one line, and terminals safe. */
static void sanitise(char *text)
{
    unsigned char *p = (unsigned char *)text;

    while (*p) {
        size_t length = utf8_length(p);
        bool c1 = length == 2 && p[0] == 0xc2 && p[1] < 0xa0; /* more control characters */

        if (length == 0 || *p < 0x20 || *p == 0x7f || c1) {
            *p = '?';
            if (c1) {
                p[1] = '?';
            }
            length = length ? length : 1;
        }
        p += length;
    }
}

struct line {
    char text[LINE_BYTES];
    size_t used;
};

static void __attribute__((format(printf, 2, 3))) add(struct line *line, const char *format, ...)
{
    size_t room = sizeof(line->text) - line->used;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line->text + line->used, room, format, args);
    va_end(args);
    line->used += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* In quotes; sanitised already. */
static void add_quoted(struct line *line, const char *text)
{
    add(line, "\"");
    for (; *text && line->used + 3 < sizeof(line->text); text++) {
        if (*text == '"' || *text == '\\') {
            line->text[line->used++] = '\\';
        }
        line->text[line->used++] = *text;
    }
    add(line, "\"");
}

/* key=value needs quotes only where a reader would not find the value's end. */
static bool is_plain(const char *text)
{
    return text[0] && text[strcspn(text, " \"=\\")] == '\0';
}

static void add_field(struct line *line, const struct log_field *field)
{
    char text[FIELD_TEXT_MAX];

    add(line, log_json ? ",\"%s\":" : " %s=", field->key);
    if (!field->text) {
        add(line, "%" PRId64, field->number);
        return;
    }
    snprintf(text, sizeof(text), "%s", field->text);
    sanitise(text);
    if (!log_json && is_plain(text)) {
        add(line, "%s", text);
    } else {
        add_quoted(line, text);
    }
}

static void write_line(enum log_level level, const struct log_field *fields, size_t count,
                       const char *format, va_list args)
{
    char text[VGPU_LOG_LINE_MAX];
    struct line line;
    char stamp[64];
    struct timespec now;
    struct tm parts;

    if (!log_enabled(level)) {
        return;
    }
    vsnprintf(text, sizeof(text), format, args);
    sanitise(text);
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &parts);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
    count = count < VGPU_LOG_FIELDS_MAX ? count : VGPU_LOG_FIELDS_MAX;

    line.used = 0;
    if (log_to_journal) {
        /* journald takes it off again, before JSON too. */
        add(&line, "<%d>", level);
    }
    if (log_json) {
        add(&line, "{\"time\":\"%s.%03ld\",\"level\":\"%s\",\"program\":\"%s\",\"text\":", stamp,
            now.tv_nsec / 1000000, level_names[level], log_program);
        add_quoted(&line, text);
    } else if (log_to_journal) {
        /* journald names the unit's process; workers write to the same stream. */
        add(&line, "%s: %s", log_program, text);
    } else {
        add(&line, "%s.%03ld %s[%d] %s: %s", stamp, now.tv_nsec / 1000000, log_program,
            (int)getpid(), level_names[level], text);
    }
    for (size_t i = 0; i < count; i++) {
        add_field(&line, &fields[i]);
    }
    add(&line, log_json ? "}\n" : "\n");
    /* One write per line, so that lines of several processes do not mix. */
    if (write(STDERR_FILENO, line.text, line.used) < 0) {
        /* There is nowhere left to say it. */
        return;
    }
}

void log_write(enum log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_line(level, NULL, 0, format, args);
    va_end(args);
}

void log_fields(enum log_level level, const struct log_field *fields, size_t count,
                const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_line(level, fields, count, format, args);
    va_end(args);
}
