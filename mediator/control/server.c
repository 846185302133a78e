/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/server.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/unused.h"
#include "mediator/control/commands.h"
#include "mediator/control/export.h"
#include "mediator/control/holds.h"
#include "mediator/control/peer.h"
#include "mediator/base/byte_queue.h"
#include "mediator/config/config_store.h"
#include "mediator/events.h"
#include "common/json_out.h"
#include "mediator/mediator.h"
#include "mediator/base/listen_point.h"

#define REQUEST_MAX (sizeof(VGPUAdminRequest) + VGPU_ADMIN_BODY_MAX)
/* A client that has not read its answers gets no new ones beyond this. */
#define OUT_PAUSE_BYTES 1048576u

/*
 * A client reads requests, one at a time; is BUSY while a reload or an export goes on; or
 * listens to EVENTS, for good.  CLOSING: what waits is written, then it ends.
 */
enum client_state {
    CLIENT_READING,
    CLIENT_BUSY,
    CLIENT_EVENTS,
    CLIENT_CLOSING,
};

struct admin_client {
    uv_poll_t poll;
    struct admin_server *server;
    LIST_ENTRY(admin_client) link;
    struct reload *reload;       /* BUSY: tells it where we are */
    struct admin_export *export; /* BUSY with that */
    enum client_state state;
    int fd;
    int poll_events;
    struct admin_who who;
    size_t used;
    struct byte_queue out;
    uint8_t request[REQUEST_MAX];
};

/* A reload goes on when its client has gone. */
struct reload {
    struct admin_client *client; /* NULL: gone */
};

struct admin_server {
    struct mediator *mediator;
    struct listen_point point;
    int spare_fd; /* given up for a moment to refuse a client when there are no more */
    LIST_HEAD(, admin_client) clients;
    uint32_t count;
    uint32_t places; /* a bit for each client's number that is taken */
    struct admin_refusals refusals;
    gid_t group; /* VGPU_ADMIN_GROUP, (gid_t)-1 if there is none */
};

_Static_assert(ADMIN_CLIENTS_MAX <= HOLDS_CONNECTIONS_MAX, "each client has a bit");

/* ---- clients ---- */

static void on_client(uv_poll_t *poll, int status, int events);

static void on_client_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void close_client(struct admin_client *client)
{
    struct admin_server *server = client->server;

    if (client->fd < 0) {
        return;
    }
    if (client->reload) {
        client->reload->client = NULL;
    }
    if (client->export) {
        admin_export_cancel(client->export);
    }
    LIST_REMOVE(client, link);
    server->count--;
    server->places &= ~(1u << client->who.connection);
    byte_queue_destroy(&client->out);
    uv_poll_stop(&client->poll);
    close(client->fd);
    client->fd = -1;
    uv_close((uv_handle_t *)&client->poll, on_client_closed);
    /* Last, because it may tell other clients, and close them. */
    if (!server->mediator->stopping) {
        admin_command_leave(server->mediator, &client->who);
    }
}

/* Sends what it can and waits for what is due next. False: the client is gone. */
static bool settle(struct admin_client *client)
{
    int events = UV_READABLE;
    int ret = byte_queue_flush(&client->out, client->fd);

    if ((ret < 0 && ret != -EAGAIN) ||
        (client->state == CLIENT_CLOSING && client->out.length == 0)) {
        close_client(client);
        return false;
    }
    if (client->out.length) {
        events |= UV_WRITABLE;
    }
    if (client->used == REQUEST_MAX || client->out.length > OUT_PAUSE_BYTES ||
        client->state == CLIENT_CLOSING) {
        events &= ~UV_READABLE;
    }
    /* Nothing to wait for but the reload's end: then its closing is worth knowing. */
    if (!events) {
        events = UV_DISCONNECT;
    }
    if (events != client->poll_events) {
        client->poll_events = events;
        if (uv_poll_start(&client->poll, events, on_client) < 0) {
            close_client(client);
            return false;
        }
    }
    return true;
}

static void queue_answer(struct admin_client *client, int status, struct json_out *out)
{
    static const char too_large[] = "{\"error\":\"the answer is too large\"}";
    const char *data = out->text ? out->text : "";
    size_t length = out->length;
    VGPUAdminResponse response = {.magic = VGPU_ADMIN_MAGIC, .status = (uint32_t)status};

    if (out->failed) {
        response.status = ENOMEM;
        data = too_large;
        length = sizeof(too_large) - 1;
    }
    response.data_len = (uint32_t)length;
    if (byte_queue_add(&client->out, &response, sizeof(response), ADMIN_OUT_MAX_BYTES) < 0 ||
        byte_queue_add(&client->out, data, length, ADMIN_OUT_MAX_BYTES) < 0) {
        client->state = CLIENT_CLOSING;
        byte_queue_destroy(&client->out);
    }
    jout_destroy(out);
}

static void queue_error(struct admin_client *client, int status, const char *text)
{
    struct json_out out;

    jout_init(&out, VGPU_ADMIN_DATA_MAX);
    admin_command_error(&out, "%s", text);
    queue_answer(client, status, &out);
}

static void on_reloaded(void *opaque, const struct core_apply_result *result, const char *error)
{
    struct reload *reload = opaque;
    struct admin_client *client = reload->client;
    struct json_out out;

    free(reload);
    if (!client) {
        return;
    }
    client->reload = NULL;
    client->state = CLIENT_READING;
    if (error) {
        jout_init(&out, VGPU_ADMIN_DATA_MAX);
        admin_command_error(&out, "the last good configuration stays in force: %s", error);
        queue_answer(client, EIO, &out);
    } else {
        jout_init(&out, VGPU_ADMIN_DATA_MAX);
        jout_object(&out, NULL);
        jout_uint(&out, "changed", result->changed);
        jout_uint(&out, "added", result->added);
        jout_uint(&out, "removed", result->removed);
        jout_array(&out, "restart_needed");
        for (uint32_t i = 0; i < result->restart_needed_count; i++) {
            jout_uint(&out, NULL, result->restart_needed[i]);
        }
        jout_array_end(&out);
        jout_object_end(&out);
        queue_answer(client, 0, &out);
    }
    if (settle(client)) {
        /* A request that came meanwhile. */
        on_client(&client->poll, 0, 0);
    }
}

static void start_reload(struct admin_client *client)
{
    struct config_store *config = client->server->mediator->config;
    struct reload *reload;

    if (!config) {
        queue_error(client, ENOTSUP,
                    "this mediator runs without a database (--no-db): there is nothing to read");
        return;
    }
    log_notice("configuration reload asked for by process %d, uid %u", (int)client->who.pid,
               (unsigned)client->who.uid);
    reload = calloc(1, sizeof(*reload));
    if (reload) {
        reload->client = client;
        client->reload = reload;
        client->state = CLIENT_BUSY;
        if (config_store_reload(config, on_reloaded, reload) == 0) {
            return;
        }
        client->reload = NULL;
        client->state = CLIENT_READING;
        free(reload);
    }
    queue_error(client, EBUSY, "the database is too slow: too much is waiting; try again later");
}

static void on_exported(void *opaque, struct json_out *out)
{
    struct admin_client *client = opaque;

    client->export = NULL;
    client->state = CLIENT_READING;
    queue_answer(client, 0, out);
    if (settle(client)) {
        on_client(&client->poll, 0, 0);
    }
}

static void start_export(struct admin_client *client, uint32_t format)
{
    if (format > 1) {
        queue_error(client, EINVAL, "param1 must be 0 (JSON) or 1 (Prometheus text)");
        return;
    }
    client->export = admin_export_start(client->server->mediator,
                                        format ? METRICS_FORMAT_PROMETHEUS : METRICS_FORMAT_SUMMARY,
                                        on_exported, client);
    if (client->export) {
        client->state = CLIENT_BUSY;
    } else {
        queue_error(client, ENOMEM, "the mediator has no memory for that");
    }
}

static void send_event(struct admin_client *client, const struct event_record *record)
{
    struct json_out out;

    if (client->out.length > ADMIN_STREAM_MAX_BYTES) {
        if (client->state != CLIENT_CLOSING) {
            log_warning("process %d does not read its events: disconnected", (int)client->who.pid);
        }
        client->state = CLIENT_CLOSING;
        byte_queue_destroy(&client->out);
        return;
    }
    jout_init(&out, VGPU_ADMIN_DATA_MAX);
    event_record_json(&out, record);
    queue_answer(client, 0, &out);
}

static void send_recent(void *opaque, const struct event_record *record)
{
    send_event(opaque, record);
}

uint32_t admin_server_clients(const struct admin_server *server)
{
    return server->count;
}

/* To those who listen to events. */
static void publish(void *opaque, const struct event_record *record)
{
    struct admin_server *server = opaque;
    struct admin_client *client, *next;

    for (client = LIST_FIRST(&server->clients); client; client = next) {
        next = LIST_NEXT(client, link);
        if (client->state == CLIENT_EVENTS && client->fd >= 0) {
            send_event(client, record);
            settle(client);
        }
    }
}

static void run_request(struct admin_client *client, const VGPUAdminRequest *request,
                        const char *body)
{
    struct mediator *mediator = client->server->mediator;
    struct json_out out;
    int status;

    if (request->command == VGPU_ADMIN_RELOAD_CONFIG) {
        start_reload(client);
    } else if (request->command == VGPU_ADMIN_SHOW_METRICS) {
        start_export(client, request->param1);
    } else if (request->command == VGPU_ADMIN_EVENTS) {
        client->state = CLIENT_EVENTS;
        events_recent(mediator->events, request->param1, send_recent, client);
    } else {
        jout_init(&out, VGPU_ADMIN_DATA_MAX);
        status = admin_command_run(mediator, request, body, &client->who, &out);
        queue_answer(client, status, &out);
    }
}

/* Runs the request at the start of the buffer. False: there is no whole one. */
static bool take_request(struct admin_client *client)
{
    VGPUAdminRequest request;
    char body[VGPU_ADMIN_BODY_MAX + 1];
    size_t body_bytes = 0, total;

    if (client->state != CLIENT_READING || client->used < sizeof(request) ||
        client->out.length > OUT_PAUSE_BYTES) {
        return false;
    }
    memcpy(&request, client->request, sizeof(request));
    if (request.magic != VGPU_ADMIN_MAGIC) {
        queue_error(client, EBADMSG, "that is no request of the admin protocol");
        client->state = CLIENT_CLOSING;
        return false;
    }
    if (admin_command_has_body(request.command)) {
        if (request.param2 > VGPU_ADMIN_BODY_MAX) {
            queue_error(client, EMSGSIZE, "the request's body is longer than 4096 bytes");
            client->state = CLIENT_CLOSING;
            return false;
        }
        body_bytes = request.param2;
    }
    total = sizeof(request) + body_bytes;
    if (client->used < total) {
        return false;
    }
    memcpy(body, client->request + sizeof(request), body_bytes);
    body[body_bytes] = '\0';
    client->used -= total;
    memmove(client->request, client->request + total, client->used);
    run_request(client, &request, body);
    return true;
}

/* False: the peer is gone. */
static bool read_requests(struct admin_client *client)
{
    ssize_t n =
        recv(client->fd, client->request + client->used, REQUEST_MAX - client->used, MSG_DONTWAIT);

    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n == 0) {
        return false;
    }
    client->used += (size_t)n;
    if (client->state == CLIENT_EVENTS) {
        client->used = 0; /* nothing is expected from it any more */
    }
    return true;
}

static void on_client(uv_poll_t *poll, int status, int events)
{
    struct admin_client *client = poll->data;

    if (client->fd < 0) {
        return;
    }
    if (status < 0 ||
        ((events & UV_READABLE) && client->used < REQUEST_MAX && !read_requests(client)) ||
        (events & UV_DISCONNECT)) {
        close_client(client);
        return;
    }
    while (take_request(client)) {
    }
    settle(client);
}

/* ---- the socket ---- */

/* False: it may not, and is gone. */
static bool know_peer(struct admin_server *server, int fd, struct ucred *peer)
{
    socklen_t length = sizeof(*peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &length) < 0) {
        close(fd);
        return false;
    }
    if (!admin_peer_may(fd, peer, server->group)) {
        log_warning("admin socket: uid %u (pid %d) is neither root nor in group " VGPU_ADMIN_GROUP
                    ": connection refused",
                    (unsigned)peer->uid, (int)peer->pid);
        close(fd);
        return false;
    }
    return true;
}

/* No descriptor is left: what waits must still be taken, or the loop spins. */
static void refuse_one(struct admin_server *server)
{
    struct ucred peer;
    int fd = socket_spare_accept(server->spare_fd, server->point.fd);

    if (fd >= 0 && know_peer(server, fd, &peer)) {
        admin_peer_refuse(&server->refusals, fd, &peer,
                          "the mediator may not open another file: raise LimitNOFILE= of its "
                          "service (or ulimit -n)");
    }
    server->spare_fd = socket_spare();
}

/* Says whom to look at: usually it is one program that never closes its connections. */
static void refuse_for_place(struct admin_server *server, int fd, const struct ucred *peer)
{
    const struct admin_client *one, *other;
    uint32_t most = 0;
    pid_t holder = 0;
    char text[320];

    LIST_FOREACH (one, &server->clients, link) {
        uint32_t held = 0;

        LIST_FOREACH (other, &server->clients, link) {
            held += other->who.pid == one->who.pid;
        }
        if (held > most) {
            most = held;
            holder = one->who.pid;
        }
    }
    snprintf(text, sizeof(text),
             "all %u places of administration clients are taken, %" PRIu32
             " of them by process %d: end what keeps its connections open (such as vgpu-admin top, "
             "vgpu-admin events --follow, a monitoring program), or try again",
             ADMIN_CLIENTS_MAX, most, (int)holder);
    admin_peer_refuse(&server->refusals, fd, peer, text);
}

/* There is one: ADMIN_CLIENTS_MAX was looked at. */
static unsigned take_place(struct admin_server *server)
{
    unsigned place = 0;

    while (server->places >> place & 1) {
        place++;
    }
    server->places |= 1u << place;
    return place;
}

static void on_connection(uv_poll_t *poll, UNUSED int status, UNUSED int events)
{
    struct admin_server *server = poll->data;
    struct admin_client *client;
    struct ucred credentials;
    int fd = accept4(server->point.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE) {
            refuse_one(server);
        }
        return;
    }
    if (!know_peer(server, fd, &credentials)) {
        return;
    }
    if (server->count >= ADMIN_CLIENTS_MAX) {
        refuse_for_place(server, fd, &credentials);
        return;
    }
    client = calloc(1, sizeof(*client));
    if (!client || uv_poll_init(&server->mediator->loop, &client->poll, fd) < 0) {
        free(client);
        admin_peer_refuse(&server->refusals, fd, &credentials,
                          "the mediator has no memory for another administration client");
        return;
    }
    client->poll.data = client;
    client->server = server;
    client->fd = fd;
    client->who = (struct admin_who){credentials.pid, credentials.uid, take_place(server)};
    LIST_INSERT_HEAD(&server->clients, client, link);
    server->count++;
    settle(client);
}

int admin_server_start(struct mediator *mediator, const char *path, struct admin_server **result,
                       char *error, size_t error_bytes)
{
    struct socket_file_owner owner = socket_file_owner_for(VGPU_ADMIN_GROUP);
    struct admin_server *server = calloc(1, sizeof(*server));
    struct socket_file file;
    int ret;

    *result = NULL;
    if (!server) {
        snprintf(error, error_bytes, "out of memory");
        return -ENOMEM;
    }
    server->group = owner.gid;
    server->mediator = mediator;
    ret = socket_file_open(&file, path, true, error, error_bytes);
    if (ret == 0) {
        ret = listen_point_open(&server->point, &mediator->loop, &file, &owner, on_connection,
                                server, error, error_bytes);
    }
    if (ret < 0) {
        free(server);
        return ret;
    }
    server->spare_fd = socket_spare();
    mediator->admin_point = &server->point;
    events_subscribe(mediator->events, publish, server);
    *result = server;
    return 0;
}

void admin_server_stop(struct admin_server *server)
{
    if (!server || server->point.fd < 0) {
        return;
    }
    events_subscribe(server->mediator->events, NULL, NULL);
    while (!LIST_EMPTY(&server->clients)) {
        close_client(LIST_FIRST(&server->clients));
    }
    close(server->spare_fd);
    listen_point_close(&server->point);
}

void admin_server_free(struct admin_server *server)
{
    free(server);
}
