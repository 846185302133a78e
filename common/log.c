/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *log_program = "vgpu";
static enum log_level log_max_level = LOG_LEVEL_INFO;
static bool log_json;
static bool log_to_journal;

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

void log_init(const char *program, enum log_level max_level, bool json)
{
    log_program = program;
    log_max_level = max_level;
    log_json = json;
    log_to_journal = getenv("JOURNAL_STREAM") != NULL;
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

/* Peers' strings end up in lines: keep one line one line, and terminals safe. */
static void sanitise(char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f) {
            *text = '?';
        }
    }
}

static size_t json_escape(char *out, size_t cap, const char *text)
{
    size_t n = 0;

    for (; *text && n + 2 < cap; text++) {
        if (*text == '"' || *text == '\\') {
            out[n++] = '\\';
        }
        out[n++] = *text;
    }
    out[n] = '\0';
    return n;
}

void log_write_va(enum log_level level, const char *format, va_list args)
{
    char text[VGPU_LOG_LINE_MAX];
    char line[2 * VGPU_LOG_LINE_MAX + 256];
    char stamp[64];
    struct timespec now;
    struct tm parts;
    int n;

    if (!log_enabled(level)) {
        return;
    }
    vsnprintf(text, sizeof(text), format, args);
    sanitise(text);

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &parts);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);

    if (log_json) {
        char escaped[2 * VGPU_LOG_LINE_MAX];

        json_escape(escaped, sizeof(escaped), text);
        n = snprintf(
            line, sizeof(line),
            "{\"time\":\"%s.%03ld\",\"level\":\"%s\",\"program\":\"%s\",\"text\":\"%s\"}\n", stamp,
            now.tv_nsec / 1000000, level_names[level], log_program, escaped);
    } else if (log_to_journal) {
        /* journald names the unit's process; workers write to the same stream. */
        n = snprintf(line, sizeof(line), "<%d>%s: %s\n", level, log_program, text);
    } else {
        n = snprintf(line, sizeof(line), "%s.%03ld %s[%d] %s: %s\n", stamp, now.tv_nsec / 1000000,
                     log_program, (int)getpid(), level_names[level], text);
    }
    /* One write per line, so that lines of several processes do not mix. */
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0) {
        /* There is nowhere left to say it. */
        return;
    }
}

void log_write(enum log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_write_va(level, format, args);
    va_end(args);
}
