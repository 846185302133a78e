/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/json_out.h"
#include "common/ns.h"
#include "common/utf8.h"

#define FIELD_TEXT_MAX 256
/* Every byte of the text may need a backslash, and so may those of the fields. */
#define LINE_BYTES (2 * VGPU_LOG_LINE_MAX + VGPU_LOG_FIELDS_MAX * (2 * FIELD_TEXT_MAX + 48) + 256)

static const char *log_program = "vgpu";
static enum log_level log_max_level = LOG_LEVEL_INFO;
static bool log_json;
static bool log_to_journal;

/*
 * How a line gets out without ever waiting for who reads it.  stderr's open file
 * is shared with other processes, so O_NONBLOCK isn't ours to set on it: a pipe
 * or a terminal is opened once more, a socket is asked each time.
 */
static enum { OUT_PLAIN, OUT_SOCKET, OUT_REOPENED, OUT_POLLED } log_out;
static int log_fd = STDERR_FILENO;
static atomic_uint_fast64_t log_lost;   /* since the start */
static atomic_uint_fast64_t log_unsaid; /* of these, not yet told in the log */
static atomic_bool log_cut;             /* the last line's end did not get out */

const char *const log_level_names[] = {"error", "warning", "notice", "info", "debug", NULL};

/* A program that systemd started has JOURNAL_STREAM even if its stderr goes elsewhere. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat st;

    return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static void choose_output(void)
{
    struct stat st;

    if (log_fd != STDERR_FILENO) {
        close(log_fd);
    }
    log_fd = STDERR_FILENO;
    log_out = OUT_PLAIN;
    if (fstat(STDERR_FILENO, &st) < 0 ||
        !(S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
        return; /* a file: its disk is waited for, as everywhere */
    }
    if (S_ISSOCK(st.st_mode)) {
        log_out = OUT_SOCKET;
        return;
    }
    log_fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    log_out = log_fd < 0 ? OUT_POLLED : OUT_REOPENED;
    log_fd = log_fd < 0 ? STDERR_FILENO : log_fd;
}

void log_init(const char *program, enum log_level max_level, bool json)
{
    log_program = program;
    log_max_level = max_level;
    log_json = json;
    log_to_journal = stderr_is_journal();
    choose_output();
}

uint64_t log_dropped(void)
{
    return atomic_load(&log_lost);
}

bool log_enabled(enum log_level level)
{
    return level <= log_max_level;
}

const char *log_level_name(enum log_level level)
{
    return log_level_names[level - LOG_LEVEL_ERROR];
}

/* Peers' strings end up in lines: keep one line one line, and terminals safe. */
static void sanitise(char *text)
{
    uint32_t code;

    while (*text) {
        size_t length = utf8_decode(text, &code);

        if (length == 0 || utf8_is_control(code)) {
            length = length ? length : 1;
            memset(text, '?', length);
        }
        text += length;
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
    while (*text && line->used + JSON_ESCAPE_BYTES < sizeof(line->text)) {
        line->used += json_escape(&text, line->text + line->used);
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

static ssize_t write_now(const char *text, size_t length)
{
    struct pollfd room = {.fd = log_fd, .events = POLLOUT};

    switch (log_out) {
    case OUT_SOCKET: return send(log_fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    case OUT_POLLED:
        /* A pipe that may be written takes this much at once. */
        length = length < PIPE_BUF ? length : PIPE_BUF;
        if (poll(&room, 1, 0) <= 0) {
            errno = EAGAIN;
            return -1;
        }
        return write(log_fd, text, length);
    default: return write(log_fd, text, length);
    }
}

/* One write per line, so that lines of several processes do not mix. */
static bool put_out(const char *text, size_t length)
{
    ssize_t n;

    do {
        n = write_now(text, length);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        atomic_store(&log_cut, (size_t)n < length);
    }
    return n == (ssize_t)length;
}

static void begin_line(struct line *line, enum log_level level, const char *text)
{
    char stamp[64];
    struct timespec now;
    struct tm parts;

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &parts);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
    line->used = 0;
    if (log_to_journal) {
        /* journald takes it off again, before JSON too. */
        add(line, "<%d>", level);
    }
    if (log_json) {
        add(line, "{\"time\":\"%s.%03ld\",\"level\":\"%s\",\"program\":\"%s\",\"text\":", stamp,
            now.tv_nsec / (long)NS_PER_MS, log_level_name(level), log_program);
        add_quoted(line, text);
    } else if (log_to_journal) {
        /* journald names the unit's process; workers write to the same stream. */
        add(line, "%s: %s", log_program, text);
    } else {
        add(line, "%s.%03ld %s[%d] %s: %s", stamp, now.tv_nsec / (long)NS_PER_MS, log_program,
            (int)getpid(), log_level_name(level), text);
    }
}

/* Before the first line that gets out again: how many did not.  False: still no room. */
static bool tell_dropped(void)
{
    uint64_t unsaid = atomic_exchange(&log_unsaid, 0);
    struct line line;
    char text[160];
    bool told;

    if (unsaid == 0 && !atomic_load(&log_cut)) {
        return true;
    }
    if (atomic_load(&log_cut) && !put_out("\n", 1)) {
        atomic_fetch_add(&log_unsaid, unsaid);
        return false;
    }
    if (unsaid == 0) {
        return true;
    }
    snprintf(text, sizeof(text),
             "%" PRIu64 " log lines were dropped: what reads this log did not keep up", unsaid);
    begin_line(&line, LOG_LEVEL_WARNING, text);
    add(&line, log_json ? "}\n" : "\n");
    told = put_out(line.text, line.used);
    if (!told) {
        atomic_fetch_add(&log_unsaid, unsaid);
    }
    return told;
}

static void write_line(enum log_level level, const struct log_field *fields, size_t count,
                       const char *format, va_list args)
{
    char text[VGPU_LOG_LINE_MAX];
    struct line line;

    if (!log_enabled(level)) {
        return;
    }
    vsnprintf(text, sizeof(text), format, args);
    sanitise(text);
    count = count < VGPU_LOG_FIELDS_MAX ? count : VGPU_LOG_FIELDS_MAX;
    begin_line(&line, level, text);
    for (size_t i = 0; i < count; i++) {
        add_field(&line, &fields[i]);
    }
    add(&line, log_json ? "}\n" : "\n");
    if (!tell_dropped() || !put_out(line.text, line.used)) {
        atomic_fetch_add(&log_lost, 1);
        atomic_fetch_add(&log_unsaid, 1);
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
