/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/metrics/http_metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/unused.h"
#include "common/json_out.h"
#include "common/ns.h"
#include "core/metrics/metrics_export.h"
#include "common/socket_file.h"
#include "mediator/health/health.h"
#include "vgpu/vgpu_admin.h"

/* Above HTTP_CLIENTS_MAX the oldest is cut off, which takes libmicrohttpd one more turn. */
#define CONNECTIONS_MAX (2u * HTTP_CLIENTS_MAX)
#define SWEEP_MS 1000u
#define HTTP_ADDRESS_TEXT_BYTES 128u
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct client {
    TAILQ_ENTRY(client) link;
    uint64_t since_ns;
    int fd;
    bool cut;
};

struct http_metrics {
    struct socket_file file; /* of a Unix socket, if it listens on one */
    struct http_metrics_uses uses;
    struct MHD_Daemon *daemon;
    int listen_fd;
    uv_poll_t poll;
    uv_timer_t timer; /* when libmicrohttpd wants to run again */
    uv_timer_t sweep;
    unsigned open_handles;
    TAILQ_HEAD(, client) open; /* the oldest first */
    uint32_t clients;
};

/* One answer to /metrics, while it is being given. */
struct scrape {
    struct metrics_export *export;
    size_t at, used; /* of text */
    char text[METRICS_EXPORT_STEP_BYTES];
};

/* ---- answers ---- */

static ssize_t read_scrape(void *opaque, UNUSED uint64_t position, char *out, size_t size)
{
    struct scrape *scrape = opaque;
    size_t part;

    if (scrape->at == scrape->used) {
        scrape->at = 0;
        scrape->used = metrics_export_step(scrape->export, scrape->text, sizeof(scrape->text));
        if (scrape->used == 0) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
    }
    part = scrape->used - scrape->at < size ? scrape->used - scrape->at : size;
    memcpy(out, scrape->text + scrape->at, part);
    scrape->at += part;
    return (ssize_t)part;
}

static void end_scrape(void *opaque)
{
    struct scrape *scrape = opaque;

    metrics_export_end(scrape->export);
    free(scrape);
}

static struct MHD_Response *make_scrape(const struct http_metrics_uses *uses)
{
    struct scrape *scrape = malloc(sizeof(*scrape));
    struct metrics_external external;
    struct MHD_Response *response;

    if (!scrape) {
        return NULL;
    }
    uses->fill(uses->opaque, &external);
    scrape->at = scrape->used = 0;
    scrape->export =
        metrics_export_begin(uses->core, METRICS_FORMAT_PROMETHEUS, &external, clock_now_ns());
    if (!scrape->export) {
        free(scrape);
        return NULL;
    }
    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, sizeof(scrape->text),
                                                 read_scrape, scrape, end_scrape);
    if (!response) {
        end_scrape(scrape);
    }
    return response;
}

/* The loop runs, or nobody would answer; what is left to ask is whether work can be done. */
#define HEALTHZ_BYTES_MAX (256u * 1024)

static struct MHD_Response *make_health(const struct http_metrics_uses *uses, unsigned *status)
{
    const struct health *health = uses->health(uses->opaque);
    uint32_t gpus = core_gpu_count(uses->core), available = 0;
    const struct health_problem *problem;
    struct MHD_Response *response;
    struct json_out json;
    bool serving;

    serving = health_serving(health) && !*uses->stopping;
    for (uint32_t gpu = 0; gpu < gpus; gpu++) {
        available += core_gpu_available(uses->core, gpu);
    }
    *status = serving ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    jout_init(&json, HEALTHZ_BYTES_MAX);
    jout_object(&json, NULL);
    jout_string(&json, "status",
                *uses->stopping       ? "stopping"
                : available == 0      ? "no GPU is available"
                : !serving            ? "not all VMs are served"
                : health_good(health) ? "ok"
                                      : "degraded");
    jout_uint(&json, "gpus", gpus);
    jout_uint(&json, "gpus_available", available);
    jout_string(&json, "version", VGPU_VERSION);
    jout_array(&json, "problems");
    for (uint32_t i = 0; (problem = health_at(health, i)); i++) {
        char text[HEALTH_SUBJECT_BYTES + HEALTH_TEXT_BYTES + 4];

        snprintf(text, sizeof(text), "%s: %s", problem->subject, problem->text);
        jout_string(&json, NULL, text);
    }
    jout_array_end(&json);
    jout_object_end(&json);
    if (json.failed) {
        jout_destroy(&json);
        return NULL;
    }
    response = MHD_create_response_from_buffer(json.length, json.text, MHD_RESPMEM_MUST_COPY);
    jout_destroy(&json);
    return response;
}

static struct MHD_Response *make_text(const char *text)
{
    return MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result send_response(struct MHD_Connection *connection, unsigned status,
                                     struct MHD_Response *response, const char *content_type)
{
    enum MHD_Result result;

    if (!response) {
        return MHD_NO; /* no memory: the connection ends */
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* Called when the header is there; an answer now means that no body is read. */
static enum MHD_Result on_request(void *opaque, struct MHD_Connection *connection, const char *url,
                                  const char *method, UNUSED const char *version,
                                  UNUSED const char *upload, UNUSED size_t *upload_size,
                                  UNUSED void **context)
{
    struct http_metrics *http = opaque;
    struct MHD_Response *response;
    unsigned status;

    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        return send_response(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                             make_text("only GET is answered here\n"), "text/plain");
    }
    if (strcmp(url, "/metrics") == 0) {
        return send_response(connection, MHD_HTTP_OK, make_scrape(&http->uses), CONTENT_TYPE);
    }
    if (strcmp(url, "/healthz") == 0) {
        response = make_health(&http->uses, &status);
        return send_response(connection, status, response, "application/json");
    }
    return send_response(connection, MHD_HTTP_NOT_FOUND,
                         make_text("vgpu-mediator has /metrics and /healthz\n"), "text/plain");
}

/* ---- connections ---- */

static void cut_off(struct client *client)
{
    /* libmicrohttpd owns the descriptor: it sees the end and closes. */
    if (!client->cut) {
        client->cut = true;
        shutdown(client->fd, SHUT_RDWR);
    }
}

static void on_connection(void *opaque, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_metrics *http = opaque;
    const union MHD_ConnectionInfo *info;
    struct client *client = *context, *candidate;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (!client) {
            return;
        }
        TAILQ_REMOVE(&http->open, client, link);
        http->clients--;
        free(client);
        return;
    }
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    client = calloc(1, sizeof(*client));
    if (!client || !info) {
        free(client);
        return; /* it still has libmicrohttpd's own time limit */
    }
    *context = client;
    client->fd = info->connect_fd;
    client->since_ns = clock_now_ns();
    TAILQ_INSERT_TAIL(&http->open, client, link);
    http->clients++;
    if (http->clients > HTTP_CLIENTS_MAX) {
        TAILQ_FOREACH (candidate, &http->open, link) {
            if (!candidate->cut) {
                cut_off(candidate);
                break;
            }
        }
    }
}

static void on_sweep(uv_timer_t *timer)
{
    struct http_metrics *http = timer->data;
    uint64_t now_ns = clock_now_ns();
    struct client *client;

    TAILQ_FOREACH (client, &http->open, link) {
        if (now_ns - client->since_ns > HTTP_CONNECTION_MAX_MS * NS_PER_MS) {
            cut_off(client);
        }
    }
}

/* ---- in the loop ---- */

static void on_timer(uv_timer_t *timer);

static void run(struct http_metrics *http)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;

    MHD_run(http->daemon);
    if (http->clients > 0 && !uv_is_active((uv_handle_t *)&http->sweep)) {
        uv_timer_start(&http->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    } else if (http->clients == 0) {
        uv_timer_stop(&http->sweep);
    }
    if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES) {
        uv_timer_start(&http->timer, on_timer, wait_ms, 0);
    } else {
        uv_timer_stop(&http->timer);
    }
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_poll(uv_poll_t *poll, UNUSED int status, UNUSED int events)
{
    run(poll->data);
}

/* ---- life ---- */

static void address_text(const struct http_address *address, char *text, size_t bytes)
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->path) {
        snprintf(text, bytes, "%s", address->path);
    } else if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->storage;

        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        snprintf(text, bytes, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->storage;

        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(text, bytes, "%s:%u", host, ntohs(v4->sin_port));
    }
}

/* The names of all VMs stand on the page: whom the administrators trust may read it. */
static int listen_on_path(struct http_metrics *http, const char *path, char *error,
                          size_t error_bytes)
{
    struct socket_file_owner owner = socket_file_owner_for(VGPU_ADMIN_GROUP);
    int fd = socket_file_open(&http->file, path, true, error, error_bytes);

    if (fd == 0) {
        fd = socket_file_listen(&http->file, &owner, error, error_bytes);
    }
    if (fd < 0) {
        socket_file_remove(&http->file);
    }
    return fd;
}

/* -errno, or the listening socket. */
static int listen_on_address(const struct http_address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1, ret;

    if (fd < 0) {
        return -errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&address->storage, address->length) < 0 ||
        listen(fd, (int)HTTP_CLIENTS_MAX) < 0) {
        ret = -errno;
        close(fd);
        return ret;
    }
    return fd;
}

static int start_daemon(struct http_metrics *http)
{
    const union MHD_DaemonInfo *info;

    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, http->listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        HTTP_IDLE_MAX_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_HEADER_BYTES,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_END);
    if (!http->daemon) {
        close(http->listen_fd); /* else it is libmicrohttpd's */
        return -ENOMEM;
    }
    info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || info->epoll_fd < 0 ||
        uv_poll_init(http->uses.loop, &http->poll, info->epoll_fd) < 0) {
        MHD_stop_daemon(http->daemon);
        http->daemon = NULL;
        return -ENOTSUP;
    }
    return 0;
}

static int listen_on(struct http_metrics *http, const struct http_address *address, char *error,
                     size_t error_bytes)
{
    char text[HTTP_ADDRESS_TEXT_BYTES];
    int fd;

    if (address->path) {
        return listen_on_path(http, address->path, error, error_bytes);
    }
    fd = listen_on_address(address);
    if (fd < 0) {
        address_text(address, text, sizeof(text));
        snprintf(error, error_bytes,
                 "%s: %s; choose another address with --metrics-listen ADDRESS:PORT, or off", text,
                 strerror(-fd));
    }
    return fd;
}

/* With the port that was found, where any would do. */
static void tell_address(const struct http_metrics *http, const struct http_address *address)
{
    char text[HTTP_ADDRESS_TEXT_BYTES];
    struct http_address bound = *address;
    socklen_t length = sizeof(bound.storage);

    if (!bound.path) {
        getsockname(http->listen_fd, (struct sockaddr *)&bound.storage, &length);
    }
    address_text(&bound, text, sizeof(text));
    log_info(bound.path ? "metrics for Prometheus on %s, by HTTP"
                        : "metrics for Prometheus on http://%s/metrics",
             text);
}

int http_metrics_start(const struct http_metrics_uses *uses, const struct http_address *address,
                       struct http_metrics **out, char *error, size_t error_bytes)
{
    struct http_metrics *http = calloc(1, sizeof(*http));
    int ret;

    if (!http) {
        snprintf(error, error_bytes, "out of memory");
        return -ENOMEM;
    }
    TAILQ_INIT(&http->open);
    http->uses = *uses;
    socket_file_none(&http->file);
    http->listen_fd = listen_on(http, address, error, error_bytes);
    if (http->listen_fd < 0) {
        ret = http->listen_fd;
        free(http);
        return ret;
    }
    tell_address(http, address);
    ret = start_daemon(http);
    if (ret < 0) {
        snprintf(error, error_bytes, "libmicrohttpd does not start");
        socket_file_remove(&http->file);
        free(http);
        return ret;
    }
    uv_timer_init(uses->loop, &http->timer);
    uv_timer_init(uses->loop, &http->sweep);
    http->poll.data = http->timer.data = http->sweep.data = http;
    http->open_handles = 3;
    uv_poll_start(&http->poll, UV_READABLE, on_poll);
    *out = http;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct http_metrics *http = handle->data;

    http->open_handles--;
}

void http_metrics_stop(struct http_metrics *http)
{
    if (!http || !http->daemon) {
        return;
    }
    uv_close((uv_handle_t *)&http->poll, on_closed);
    uv_close((uv_handle_t *)&http->timer, on_closed);
    uv_close((uv_handle_t *)&http->sweep, on_closed);
    MHD_stop_daemon(http->daemon);
    http->daemon = NULL;
    socket_file_remove(&http->file);
}

void http_metrics_free(struct http_metrics *http)
{
    free(http);
}

uint32_t http_metrics_clients(const struct http_metrics *http)
{
    return http ? http->clients : 0;
}
