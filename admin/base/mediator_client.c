/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/base/clock.h"
#include "admin/base/mediator_client.h"
#include "vgpu/vgpu_admin.h"

#define FOREVER (-1)

struct mediator {
    char *path;
    int timeout_ms;
    int fd;
    char error[512];
};

struct mediator *mediator_new(const char *path, int timeout_ms)
{
    struct mediator *m = calloc(1, sizeof(*m));

    if (m && !(m->path = strdup(path))) {
        free(m);
        return NULL;
    }
    if (m) {
        m->timeout_ms = timeout_ms;
        m->fd = -1;
    }
    return m;
}

static void disconnect(struct mediator *m)
{
    if (m->fd >= 0) {
        close(m->fd);
        m->fd = -1;
    }
}

void mediator_free(struct mediator *m)
{
    if (m) {
        disconnect(m);
        free(m->path);
        free(m);
    }
}

const char *mediator_error(const struct mediator *m)
{
    return m->error;
}

bool mediator_is_unreachable(int result)
{
    return result == -ECONNREFUSED || result == -ENOENT || result == -EACCES ||
           result == -ETIMEDOUT || result == -ECONNRESET || result == -EPROTO || result == -EUSERS;
}

/* The connection is of no use after any of these. */
static int __attribute__((format(printf, 3, 4)))
broken(struct mediator *m, int result, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(m->error, sizeof(m->error), format, args);
    va_end(args);
    disconnect(m);
    return result;
}

static int wait_for(struct mediator *m, short events, int64_t deadline_ms, bool interruptible)
{
    for (;;) {
        struct pollfd p = {.fd = m->fd, .events = events};
        int64_t left = deadline_ms == FOREVER ? -1 : deadline_ms - clock_now_ms();
        if (deadline_ms != FOREVER && left <= 0) {
            return broken(m, -ETIMEDOUT,
                          "the mediator at %s did not answer within %d s; it may be overloaded or "
                          "stuck: look at its log (journalctl -u vgpu-mediator)",
                          m->path, m->timeout_ms / 1000);
        }
        int n = poll(&p, 1, (int)left);
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno == EINTR && interruptible) {
            return -EINTR;
        }
        if (n < 0 && errno != EINTR) {
            return broken(m, -ECONNRESET, "waiting for the mediator: %s", strerror(errno));
        }
    }
}

static int mediator_connect(struct mediator *m)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (m->fd >= 0) {
        return 0;
    }
    if (strlen(m->path) >= sizeof(address.sun_path)) {
        return broken(m, -ENOENT, "the socket's path %s is longer than the %zu bytes that fit",
                      m->path, sizeof(address.sun_path) - 1);
    }
    strcpy(address.sun_path, m->path);
    m->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (m->fd < 0) {
        return broken(m, -ECONNREFUSED, "cannot make a socket: %s", strerror(errno));
    }
    int64_t deadline_ms = clock_now_ms() + m->timeout_ms;
    while (connect(m->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int err = errno;
        if (err == EINTR) {
            continue;
        }
        if (err == EAGAIN && clock_now_ms() < deadline_ms) {
            /* The listener's backlog is full; there is nothing to poll for. */
            poll(NULL, 0, 20);
            continue;
        }
        switch (err) {
        case ENOENT:
        case ECONNREFUSED:
            return broken(m, -err,
                          "no mediator listens on %s; start it (systemctl start vgpu-mediator), or "
                          "give its socket with --admin-socket",
                          m->path);
        case EACCES:
        case EPERM:
            return broken(m, -EACCES,
                          "no permission for %s; run this as root or as a member of the group %s",
                          m->path, VGPU_ADMIN_GROUP);
        case EAGAIN:
            return broken(m, -ETIMEDOUT, "the mediator at %s takes no connections; it may be stuck",
                          m->path);
        default:
            return broken(m, -ECONNREFUSED, "cannot connect to %s: %s", m->path, strerror(err));
        }
    }
    return 0;
}

/* A mediator that closed the connection may have said why before: reading finds that, or the end. */
static int send_all(struct mediator *m, const void *data, size_t bytes, int64_t deadline_ms)
{
    const char *p = data;

    while (bytes > 0) {
        ssize_t n = send(m->fd, p, bytes, MSG_NOSIGNAL);
        if (n > 0) {
            p += n;
            bytes -= (size_t)n;
        } else if (errno == EAGAIN) {
            int result = wait_for(m, POLLOUT, deadline_ms, false);
            if (result < 0) {
                return result;
            }
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return 0;
        } else if (errno != EINTR) {
            int err = errno;
            return broken(m, -ECONNRESET, "the mediator at %s closed the connection (%s)", m->path,
                          strerror(err));
        }
    }
    return 0;
}

/* started: part of an answer is here, so a signal no longer interrupts. */
static int receive_all(struct mediator *m, void *data, size_t bytes, int64_t deadline_ms,
                       bool started)
{
    char *p = data;

    while (bytes > 0) {
        ssize_t n = recv(m->fd, p, bytes, 0);
        if (n > 0) {
            p += n;
            bytes -= (size_t)n;
            started = true;
        } else if (n == 0 || errno == ECONNRESET) {
            return broken(m, -ECONNRESET,
                          "the mediator at %s closed the connection; it may have been stopped, or "
                          "this user is not allowed (root and group %s are)",
                          m->path, VGPU_ADMIN_GROUP);
        } else if (errno == EAGAIN) {
            int result = wait_for(m, POLLIN, deadline_ms, deadline_ms == FOREVER && !started);
            if (result < 0) {
                return result;
            }
        } else if (errno != EINTR) {
            int err = errno;
            return broken(m, -ECONNRESET, "reading the mediator's answer: %s", strerror(err));
        }
    }
    return 0;
}

static int send_request(struct mediator *m, uint32_t command, uint32_t param1, const json_t *body,
                        int64_t deadline_ms)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    size_t length = text ? strlen(text) : 0;
    VGPUAdminRequest request = {VGPU_ADMIN_MAGIC, command, param1, (uint32_t)length};
    int result;

    if (length > VGPU_ADMIN_BODY_MAX) {
        free(text);
        snprintf(m->error, sizeof(m->error), "the request is longer than %u bytes",
                 VGPU_ADMIN_BODY_MAX);
        return -E2BIG;
    }
    result = send_all(m, &request, sizeof(request), deadline_ms);
    if (result == 0 && length > 0) {
        result = send_all(m, text, length, deadline_ms);
    }
    free(text);
    return result;
}

/* *data is NUL-terminated and the caller's, also if the mediator reports an error. */
static int receive_answer(struct mediator *m, char **data, int64_t deadline_ms)
{
    VGPUAdminResponse response;
    int result = receive_all(m, &response, sizeof(response), deadline_ms, false);

    *data = NULL;
    if (result < 0) {
        return result;
    }
    if (response.magic != VGPU_ADMIN_MAGIC || response.data_len > VGPU_ADMIN_DATA_MAX) {
        return broken(m, -EPROTO,
                      "what listens on %s does not speak the admin protocol of this version",
                      m->path);
    }
    char *text = malloc((size_t)response.data_len + 1);
    if (!text) {
        return broken(m, -ENOMEM, "out of memory");
    }
    /* Having begun, an answer comes to its end in time. */
    result = receive_all(m, text, response.data_len, clock_now_ms() + m->timeout_ms, true);
    if (result < 0) {
        free(text);
        return result;
    }
    text[response.data_len] = '\0';
    if (response.status != 0) {
        json_t *object = json_loads(text, 0, NULL);
        const char *error = json_string_value(json_object_get(object, "error"));
        snprintf(m->error, sizeof(m->error), "the mediator refused: %s",
                 error ? error : strerror((int)response.status));
        json_decref(object);
        free(text);
        if (response.status == EUSERS) {
            disconnect(m); /* it has no place for us, and is gone */
            return -EUSERS;
        }
        return -EREMOTEIO;
    }
    *data = text;
    return 0;
}

static int parse(struct mediator *m, char *text, json_t **answer)
{
    json_error_t error;

    *answer = text[0] ? json_loads(text, 0, &error) : json_object();
    free(text);
    if (!json_is_object(*answer)) {
        json_decref(*answer);
        *answer = NULL;
        return broken(m, -EPROTO, "the mediator at %s answered something that is no JSON object",
                      m->path);
    }
    return 0;
}

static int transact(struct mediator *m, uint32_t command, uint32_t param1, const json_t *body,
                    char **text)
{
    int64_t deadline_ms = clock_now_ms() + m->timeout_ms;
    int result = mediator_connect(m);

    if (result == 0) {
        result = send_request(m, command, param1, body, deadline_ms);
    }
    return result == 0 ? receive_answer(m, text, deadline_ms) : result;
}

int mediator_request(struct mediator *m, uint32_t command, uint32_t param1, const json_t *body,
                     json_t **answer)
{
    char *text;
    int result = transact(m, command, param1, body, &text);

    *answer = NULL;
    return result == 0 ? parse(m, text, answer) : result;
}

int mediator_request_text(struct mediator *m, uint32_t command, uint32_t param1, char **answer)
{
    *answer = NULL;
    return transact(m, command, param1, NULL, answer);
}

int mediator_stream(struct mediator *m, uint32_t command)
{
    int result = mediator_connect(m);

    return result == 0 ? send_request(m, command, 0, NULL, clock_now_ms() + m->timeout_ms) : result;
}

int mediator_next(struct mediator *m, json_t **answer)
{
    char *text;
    int result = receive_answer(m, &text, FOREVER);

    *answer = NULL;
    return result == 0 ? parse(m, text, answer) : result;
}
