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
#include "admin/base/link.h"
#include "vgpu/vgpu_admin.h"

#define FOREVER (-1)

struct admin_link {
    char *path;
    int timeout_ms;
    int fd;
    char error[512];
};

struct admin_link *admin_link_new(const char *path, int timeout_ms)
{
    struct admin_link *link = calloc(1, sizeof(*link));

    if (link && !(link->path = strdup(path))) {
        free(link);
        return NULL;
    }
    if (link) {
        link->timeout_ms = timeout_ms;
        link->fd = -1;
    }
    return link;
}

static void disconnect(struct admin_link *link)
{
    if (link->fd >= 0) {
        close(link->fd);
        link->fd = -1;
    }
}

void admin_link_free(struct admin_link *link)
{
    if (link) {
        disconnect(link);
        free(link->path);
        free(link);
    }
}

const char *admin_link_error(const struct admin_link *link)
{
    return link->error;
}

bool admin_link_is_unreachable(int result)
{
    return result == -ECONNREFUSED || result == -ENOENT || result == -EACCES ||
           result == -ETIMEDOUT || result == -ECONNRESET || result == -EPROTO || result == -EUSERS;
}

/* The connection is of no use after any of these. */
static int __attribute__((format(printf, 3, 4)))
broken(struct admin_link *link, int result, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(link->error, sizeof(link->error), format, args);
    va_end(args);
    disconnect(link);
    return result;
}

static int wait_for(struct admin_link *link, short events, int64_t deadline_ms, bool interruptible)
{
    for (;;) {
        struct pollfd p = {.fd = link->fd, .events = events};
        int64_t left = deadline_ms == FOREVER ? -1 : deadline_ms - clock_now_ms();
        int n;

        if (deadline_ms != FOREVER && left <= 0) {
            return broken(link, -ETIMEDOUT,
                          "the mediator at %s did not answer within %d s; it may be overloaded or "
                          "stuck: look at its log (journalctl -u vgpu-mediator)",
                          link->path, link->timeout_ms / 1000);
        }
        n = poll(&p, 1, (int)left);
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno == EINTR && interruptible) {
            return -EINTR;
        }
        if (n < 0 && errno != EINTR) {
            return broken(link, -ECONNRESET, "waiting for the mediator: %s", strerror(errno));
        }
    }
}

static int open_connection(struct admin_link *link)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int64_t deadline_ms;

    if (link->fd >= 0) {
        return 0;
    }
    if (strlen(link->path) >= sizeof(address.sun_path)) {
        return broken(link, -ENOENT, "the socket's path %s is longer than the %zu bytes that fit",
                      link->path, sizeof(address.sun_path) - 1);
    }
    strcpy(address.sun_path, link->path);
    link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->fd < 0) {
        return broken(link, -ECONNREFUSED, "cannot make a socket: %s", strerror(errno));
    }
    deadline_ms = clock_now_ms() + link->timeout_ms;
    while (connect(link->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
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
            return broken(link, -err,
                          "no mediator listens on %s; start it (systemctl start vgpu-mediator), or "
                          "give its socket with --admin-socket",
                          link->path);
        case EACCES:
        case EPERM:
            return broken(link, -EACCES,
                          "no permission for %s; run this as root or as a member of the group %s",
                          link->path, VGPU_ADMIN_GROUP);
        case EAGAIN:
            return broken(link, -ETIMEDOUT,
                          "the mediator at %s takes no connections; it may be stuck", link->path);
        default:
            return broken(link, -ECONNREFUSED, "cannot connect to %s: %s", link->path,
                          strerror(err));
        }
    }
    return 0;
}

/* A mediator that closed the connection may have said why: reading finds that, or the end. */
static int send_all(struct admin_link *link, const void *data, size_t bytes, int64_t deadline_ms)
{
    const char *p = data;

    while (bytes > 0) {
        ssize_t n = send(link->fd, p, bytes, MSG_NOSIGNAL);
        if (n > 0) {
            p += n;
            bytes -= (size_t)n;
        } else if (errno == EAGAIN) {
            int result = wait_for(link, POLLOUT, deadline_ms, false);
            if (result < 0) {
                return result;
            }
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return 0;
        } else if (errno != EINTR) {
            int err = errno;
            return broken(link, -ECONNRESET, "the mediator at %s closed the connection (%s)",
                          link->path, strerror(err));
        }
    }
    return 0;
}

/* started: part of an answer is here, so a signal no longer interrupts. */
static int receive_all(struct admin_link *link, void *data, size_t bytes, int64_t deadline_ms,
                       bool started)
{
    char *p = data;

    while (bytes > 0) {
        ssize_t n = recv(link->fd, p, bytes, 0);
        if (n > 0) {
            p += n;
            bytes -= (size_t)n;
            started = true;
        } else if (n == 0 || errno == ECONNRESET) {
            return broken(link, -ECONNRESET,
                          "the mediator at %s closed the connection; it may have been stopped, or "
                          "this user is not allowed (root and group %s are)",
                          link->path, VGPU_ADMIN_GROUP);
        } else if (errno == EAGAIN) {
            int result = wait_for(link, POLLIN, deadline_ms, deadline_ms == FOREVER && !started);
            if (result < 0) {
                return result;
            }
        } else if (errno != EINTR) {
            int err = errno;
            return broken(link, -ECONNRESET, "reading the mediator's answer: %s", strerror(err));
        }
    }
    return 0;
}

static int send_request(struct admin_link *link, uint32_t command, uint32_t param1,
                        const json_t *body, int64_t deadline_ms)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    size_t length = text ? strlen(text) : 0;
    VGPUAdminRequest request = {VGPU_ADMIN_MAGIC, command, param1, (uint32_t)length};
    int result;

    /* Without its body it would ask for something else: PAUSE, for all GPUs. */
    if (body && !text) {
        snprintf(link->error, sizeof(link->error), "out of memory");
        return -ENOMEM;
    }
    if (length > VGPU_ADMIN_BODY_MAX) {
        free(text);
        snprintf(link->error, sizeof(link->error), "the request is longer than %u bytes",
                 VGPU_ADMIN_BODY_MAX);
        return -E2BIG;
    }
    result = send_all(link, &request, sizeof(request), deadline_ms);
    if (result == 0 && length > 0) {
        result = send_all(link, text, length, deadline_ms);
    }
    free(text);
    return result;
}

/* *data is NUL-terminated and the caller's, also if the mediator reports an error. */
static int receive_answer(struct admin_link *link, char **data, int64_t deadline_ms)
{
    VGPUAdminResponse response;
    int result = receive_all(link, &response, sizeof(response), deadline_ms, false);
    char *text;

    *data = NULL;
    if (result < 0) {
        return result;
    }
    if (response.magic != VGPU_ADMIN_MAGIC || response.data_len > VGPU_ADMIN_DATA_MAX) {
        return broken(link, -EPROTO,
                      "what listens on %s does not speak the admin protocol of this version",
                      link->path);
    }
    text = malloc((size_t)response.data_len + 1);
    if (!text) {
        return broken(link, -ENOMEM, "out of memory");
    }
    /* Having begun, an answer comes to its end in time. */
    result = receive_all(link, text, response.data_len, clock_now_ms() + link->timeout_ms, true);
    if (result < 0) {
        free(text);
        return result;
    }
    text[response.data_len] = '\0';
    if (response.status != 0) {
        json_t *object = json_loads(text, 0, NULL);
        const char *error = json_string_value(json_object_get(object, "error"));
        snprintf(link->error, sizeof(link->error), "the mediator refused: %s",
                 error ? error : strerror((int)response.status));
        json_decref(object);
        free(text);
        if (response.status == EUSERS) {
            disconnect(link); /* it has no place for us, and is gone */
            return -EUSERS;
        }
        return -EREMOTEIO;
    }
    *data = text;
    return 0;
}

static int parse(struct admin_link *link, char *text, json_t **answer)
{
    json_error_t error;

    *answer = text[0] ? json_loads(text, 0, &error) : json_object();
    free(text);
    if (!json_is_object(*answer)) {
        json_decref(*answer);
        *answer = NULL;
        return broken(link, -EPROTO, "the mediator at %s answered something that is no JSON object",
                      link->path);
    }
    return 0;
}

static int transact(struct admin_link *link, uint32_t command, uint32_t param1, const json_t *body,
                    char **text)
{
    int64_t deadline_ms = clock_now_ms() + link->timeout_ms;
    int result = open_connection(link);

    if (result == 0) {
        result = send_request(link, command, param1, body, deadline_ms);
    }
    return result == 0 ? receive_answer(link, text, deadline_ms) : result;
}

int admin_link_request(struct admin_link *link, uint32_t command, uint32_t param1,
                       const json_t *body, json_t **answer)
{
    char *text;
    int result = transact(link, command, param1, body, &text);

    *answer = NULL;
    return result == 0 ? parse(link, text, answer) : result;
}

int admin_link_request_text(struct admin_link *link, uint32_t command, uint32_t param1,
                            char **answer)
{
    *answer = NULL;
    return transact(link, command, param1, NULL, answer);
}

int admin_link_stream(struct admin_link *link, uint32_t command)
{
    int result = open_connection(link);

    return result == 0 ? send_request(link, command, 0, NULL, clock_now_ms() + link->timeout_ms)
                       : result;
}

int admin_link_next(struct admin_link *link, json_t **answer)
{
    char *text;
    int result = receive_answer(link, &text, FOREVER);

    *answer = NULL;
    return result == 0 ? parse(link, text, answer) : result;
}
