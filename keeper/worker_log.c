/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/worker_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/ns.h"

struct worker_log {
    int fd;
    uint32_t vm_id;
    pid_t pid;
    uint64_t second_ns;  /* when the second of `said` began */
    uint32_t said_bytes; /* in it */
    size_t used;
    char line[WORKER_LOG_LINE_MAX];
};

int worker_log_new(uint32_t vm_id, struct worker_log **made, int *write_fd)
{
    struct worker_log *log = calloc(1, sizeof(*log));
    int pair[2], ret;

    if (!log) {
        return -ENOMEM;
    }
    if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0) {
        ret = -errno;
        free(log);
        return ret;
    }
    log->fd = pair[0];
    log->vm_id = vm_id;
    *made = log;
    *write_fd = pair[1];
    return 0;
}

int worker_log_fd(const struct worker_log *log)
{
    return log->fd;
}

void worker_log_set_pid(struct worker_log *log, pid_t pid)
{
    log->pid = pid;
}

/* "<6>" as for the journal.  What has none is no line of vgpu-worker: a library's, say. */
static enum log_level take_level(const char **text, size_t *length)
{
    const char *at = *text;
    int level = *length > 3 && at[0] == '<' && at[2] == '>' ? at[1] - '0' : -1;

    if (level < LOG_LEVEL_ERROR || level > LOG_LEVEL_DEBUG) {
        return LOG_LEVEL_NOTICE;
    }
    *text += 3;
    *length -= 3;
    return (enum log_level)level;
}

static void put_line(struct worker_log *log)
{
    const char *text = log->line;
    size_t length = log->used;
    enum log_level level = take_level(&text, &length);

    log->used = 0;
    for (size_t i = 0; i < WORKER_LOG_LINE_MAX; i++) {
        log->line[i] = log->line[i] ? log->line[i] : '?';
    }
    if (length > 0) {
        log_write(level, "VM %" PRIu32 ": worker %d: %.*s", log->vm_id, (int)log->pid, (int)length,
                  text);
    }
}

static void take_bytes(struct worker_log *log, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != '\n') {
            log->line[log->used++] = bytes[i];
        }
        if (bytes[i] == '\n' || log->used == sizeof(log->line)) {
            put_line(log);
        }
    }
}

bool worker_log_read(struct worker_log *log, uint64_t now_ns, uint64_t *again_ns)
{
    char bytes[1024];
    ssize_t n;

    if (now_ns - log->second_ns >= NS_PER_S) {
        log->second_ns = now_ns;
        log->said_bytes = 0;
    }
    while (log->said_bytes < WORKER_LOG_BYTES_S) {
        size_t room = WORKER_LOG_BYTES_S - log->said_bytes;

        n = read(log->fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
        if (n <= 0) {
            return true;
        }
        log->said_bytes += (uint32_t)n;
        take_bytes(log, bytes, (size_t)n);
    }
    *again_ns = log->second_ns + NS_PER_S;
    return false;
}

void worker_log_free(struct worker_log *log)
{
    uint64_t again_ns;

    if (log) {
        worker_log_read(log, log->second_ns, &again_ns);
        put_line(log);
        close(log->fd);
        free(log);
    }
}
