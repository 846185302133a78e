/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * A connection goes through three steps: the keeper says WELCOME, then HELD for each worker that
 * it has, then LISTED.  Only then is it ready: a worker is never started before it is known which
 * there are.  keeper_link_open() goes through them while it waits; after a loss the loop does,
 * with a timer between two tries.
 *
 * Threads: all is the loop's, but that a probe may be asked for from any thread.  So the
 * descriptor is changed, and used to send, under a lock.
 */
#include "mediator/workers/keeper_link.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd_packet.h"
#include "common/log.h"
#include "common/ns.h"
#include "common/clock.h"
#include "mediator/workers/keeper_child.h"
#include "mediator/workers/keeper_place.h"

/* Packets at once, before the loop looks at others. */
#define TAKE_MAX 64u
#define TROUBLE_BYTES 448u

struct held {
    uint64_t number;
    vgpu_keeper_held held;
    int fd;
};

enum step { STEP_NONE, STEP_CONNECTED, STEP_WELCOME, STEP_LISTED };

struct keeper_link {
    struct keeper_link_config config;
    struct keeper_link_events events;
    struct keeper_child child; /* unused with a socket_path */
    uv_mutex_t lock;
    int fd; /* -1: none */
    enum step step;
    vgpu_keeper_welcome welcome;
    struct held *held; /* until they are handed over */
    uint32_t held_count;
    uint64_t last_number;
    uint32_t losses;
    char trouble[TROUBLE_BYTES];
    bool full; /* the keeper's socket takes no more now */
    uv_loop_t *loop;
    uv_poll_t *poll; /* of this connection */
    uv_timer_t timer;
    bool watched, stopping;
    uint64_t park_until_ns; /* 0: nothing was parked yet */
    void (*parked)(void *opaque, const int fds[VGPU_KEEPER_FDS]);
    void *parked_opaque;
};

/* ---- sending ---- */

static int send_message(struct keeper_link *link, uint16_t type, uint64_t number, const void *body,
                        size_t bytes, const int *fds)
{
    vgpu_keeper_header header = {
        .magic = VGPU_KEEPER_MAGIC,
        .version = VGPU_KEEPER_VERSION,
        .type = type,
        .length = (uint32_t)(sizeof(header) + bytes),
        .worker = number,
    };
    struct iovec parts[] = {{&header, sizeof(header)}, {(void *)body, bytes}};
    int ret = -ENOTCONN;

    uv_mutex_lock(&link->lock);
    if (link->fd >= 0 && link->step == STEP_LISTED) {
        ret = fd_packet_send(link->fd, parts, bytes ? 2 : 1, fds, fds ? VGPU_KEEPER_FDS : 0);
    }
    uv_mutex_unlock(&link->lock);
    if (ret == -ETOOMANYREFS || ret == -ENOBUFS || ret == -ENOMEM) {
        return -EAGAIN; /* the host has no room for it now: the link is none the worse */
    }
    /* The link's end is seen by the loop; until then nobody is there. */
    return ret == 0 || ret == -EAGAIN ? ret : -ENOTCONN;
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* Orders of the loop: it is told when there is room again. */
static int order(struct keeper_link *link, uint16_t type, uint64_t number, const void *body,
                 size_t bytes, const int *fds)
{
    int ret = send_message(link, type, number, body, bytes, fds);

    if (ret == -EAGAIN && !link->full && link->poll) {
        link->full = true;
        uv_poll_start(link->poll, UV_READABLE | UV_WRITABLE, on_poll);
    }
    return ret;
}

int keeper_link_start(struct keeper_link *link, uint64_t number, const vgpu_keeper_worker *worker,
                      const int fds[VGPU_KEEPER_FDS])
{
    return order(link, VGPU_KEEPER_START, number, worker, sizeof(*worker), fds);
}

int keeper_link_kill(struct keeper_link *link, uint64_t number)
{
    return order(link, VGPU_KEEPER_KILL, number, NULL, 0, NULL);
}

int keeper_link_memory(struct keeper_link *link, uint64_t number, uint64_t bytes)
{
    vgpu_keeper_memory memory = {.bytes = bytes};

    return order(link, VGPU_KEEPER_MEMORY, number, &memory, sizeof(memory), NULL);
}

int keeper_link_probe(struct keeper_link *link, uint64_t number, uint32_t backend,
                      const int fds[VGPU_KEEPER_FDS])
{
    vgpu_keeper_probe probe = {.backend = backend};

    return send_message(link, VGPU_KEEPER_PROBE, number, &probe, sizeof(probe), fds);
}

int keeper_link_kill_probe(struct keeper_link *link, uint64_t number)
{
    return send_message(link, VGPU_KEEPER_KILL, number, NULL, 0, NULL);
}

int keeper_link_help(struct keeper_link *link, const int fds[VGPU_KEEPER_FDS])
{
    return send_message(link, VGPU_KEEPER_HELP, 0, NULL, 0, fds);
}

int keeper_link_reset(struct keeper_link *link, const char *gpu, const int fds[VGPU_KEEPER_FDS])
{
    vgpu_keeper_reset reset = {.gpu = ""};

    if (strlen(gpu) >= sizeof(reset.gpu)) {
        return -EINVAL;
    }
    strcpy(reset.gpu, gpu);
    return send_message(link, VGPU_KEEPER_RESET, 0, &reset, sizeof(reset), fds);
}

int keeper_link_park(struct keeper_link *link, const int fds[VGPU_KEEPER_FDS])
{
    int ret;

    if (!(link->welcome.flags & VGPU_KEEPER_PARKS)) {
        return -EOPNOTSUPP;
    }
    if (link->park_until_ns == 0) {
        link->park_until_ns = clock_now_ns() + KEEPER_LINK_PARK_MS * NS_PER_MS;
    }
    while ((ret = send_message(link, VGPU_KEEPER_PARK, 0, NULL, 0, fds)) == -EAGAIN &&
           clock_now_ns() < link->park_until_ns) {
        struct pollfd room = {.fd = link->fd, .events = POLLOUT};

        poll(&room, 1, 1); /* there may be room, and too many descriptors under way */
    }
    return ret;
}

int keeper_link_fetch(struct keeper_link *link,
                      void (*parked)(void *opaque, const int fds[VGPU_KEEPER_FDS]), void *opaque)
{
    link->parked = parked;
    link->parked_opaque = opaque;
    return link->welcome.flags & VGPU_KEEPER_PARKS
               ? send_message(link, VGPU_KEEPER_FETCH, 0, NULL, 0, NULL)
               : -EOPNOTSUPP;
}

uint64_t keeper_link_number(struct keeper_link *link)
{
    return __atomic_add_fetch(&link->last_number, 1, __ATOMIC_RELAXED);
}

/* ---- state ---- */

bool keeper_link_ready(const struct keeper_link *link)
{
    return link->step == STEP_LISTED;
}

const vgpu_keeper_welcome *keeper_link_welcome(const struct keeper_link *link)
{
    return &link->welcome;
}

uint32_t keeper_link_losses(const struct keeper_link *link)
{
    return link->losses;
}

const char *keeper_link_trouble(const struct keeper_link *link)
{
    return link->step == STEP_LISTED ? "" : link->trouble;
}

static void set_fd(struct keeper_link *link, int fd, enum step step)
{
    uv_mutex_lock(&link->lock);
    link->fd = fd;
    link->step = step;
    uv_mutex_unlock(&link->lock);
}

/* ---- receiving ---- */

static bool take_held(struct keeper_link *link, uint64_t number, const vgpu_keeper_held *held,
                      int fd)
{
    struct held *more = realloc(link->held, (link->held_count + 1) * sizeof(*more));

    if (!more || number == 0) {
        close(fd);
        link->held = more ? more : link->held;
        return false;
    }
    link->held = more;
    more[link->held_count++] = (struct held){number, *held, fd};
    if (number > link->last_number) {
        link->last_number = number;
    }
    return true;
}

static bool take_welcome(struct keeper_link *link, const vgpu_keeper_welcome *welcome)
{
    if (link->step != STEP_CONNECTED || welcome->held > VGPU_KEEPER_WORKERS_MAX) {
        return false;
    }
    link->welcome = *welcome;
    link->step = STEP_WELCOME;
    return true;
}

static void hand_over(struct keeper_link *link)
{
    link->trouble[0] = '\0';
    for (uint32_t i = 0; i < link->held_count; i++) {
        struct held *one = &link->held[i];

        link->events.held(link->events.opaque, one->number, &one->held, one->fd);
    }
    free(link->held);
    link->held = NULL;
    link->held_count = 0;
    link->events.ready(link->events.opaque);
}

static bool take_listed(struct keeper_link *link)
{
    if (link->step != STEP_WELCOME) {
        return false;
    }
    set_fd(link, link->fd, STEP_LISTED);
    if (link->config.there) {
        link->config.there(link);
    }
    if (link->watched) {
        log_notice("vgpu-keeper (process %" PRIu32 ") is there again", link->welcome.pid);
        hand_over(link);
    }
    return true;
}

static void close_fds(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        close(fds[i]);
    }
}

union body {
    vgpu_keeper_welcome welcome;
    vgpu_keeper_held held;
    vgpu_keeper_process process;
    vgpu_keeper_end end;
};

/* False: no keeper of this build says so.  `fds` are taken over. */
static bool take_message(struct keeper_link *link, const vgpu_keeper_header *header,
                         const union body *body, size_t bytes, const int *fds, unsigned fd_count)
{
    if (header->type == VGPU_KEEPER_HELD && bytes == sizeof(body->held) && fd_count == 1 &&
        link->step == STEP_WELCOME) {
        return take_held(link, header->worker, &body->held, fds[0]);
    }
    if (header->type == VGPU_KEEPER_PARKED && bytes == 0 && fd_count == VGPU_KEEPER_FDS &&
        link->parked) {
        link->parked(link->parked_opaque, fds);
        return true;
    }
    if (fd_count > 0) {
        close_fds(fds, fd_count);
        return false;
    }
    switch (header->type) {
    case VGPU_KEEPER_WELCOME:
        return bytes == sizeof(body->welcome) && take_welcome(link, &body->welcome);
    case VGPU_KEEPER_LISTED: return bytes == 0 && take_listed(link);
    case VGPU_KEEPER_REFUSED:
        snprintf(link->trouble, sizeof(link->trouble),
                 "it serves another vgpu-mediator (process %" PRIu32 "); stop that one, or give "
                 "this one a keeper of its own",
                 bytes == sizeof(body->process) ? body->process.pid : 0);
        return false;
    default: break;
    }
    if (link->step != STEP_LISTED || !link->watched) {
        return false;
    }
    if (header->type == VGPU_KEEPER_STARTED && bytes == sizeof(body->process)) {
        link->events.started(link->events.opaque, header->worker, &body->process);
        return true;
    }
    if (header->type == VGPU_KEEPER_ENDED && bytes == sizeof(body->end) &&
        body->end.step < VGPU_KEEPER_STEP_COUNT) {
        link->events.ended(link->events.opaque, header->worker, &body->end);
        return true;
    }
    return false;
}

/* One packet.  -EAGAIN: none; else below 0: the connection has no future. */
static int take_packet(struct keeper_link *link)
{
    struct {
        vgpu_keeper_header header;
        union body body;
    } packet;
    unsigned fd_count;
    int fds[VGPU_KEEPER_FDS];
    ssize_t n = fd_packet_receive(link->fd, MSG_DONTWAIT, &packet, sizeof(packet), fds,
                                  VGPU_KEEPER_FDS, &fd_count);

    if (n == -EAGAIN) {
        return -EAGAIN;
    }
    if (n == 0 || n == -ECONNRESET) {
        if (!link->trouble[0]) {
            snprintf(link->trouble, sizeof(link->trouble), "it has ended");
        }
        return -EPIPE;
    }
    if (n >= (ssize_t)sizeof(packet.header) && packet.header.magic == VGPU_KEEPER_MAGIC &&
        packet.header.version == VGPU_KEEPER_VERSION && packet.header.length == (size_t)n) {
        if (take_message(link, &packet.header, &packet.body, (size_t)n - sizeof(packet.header), fds,
                         fd_count)) {
            return 0;
        }
    } else if (n > 0) {
        close_fds(fds, fd_count);
    }
    if (n == -EMFILE && packet.header.type == VGPU_KEEPER_PARKED) {
        return 0; /* that device connects again */
    }
    if (n == -EMFILE) {
        snprintf(link->trouble, sizeof(link->trouble),
                 "a worker's socket can't be taken over: this process may not open another file; "
                 "raise LimitNOFILE= (or ulimit -n)");
    }
    if (!link->trouble[0]) {
        snprintf(link->trouble, sizeof(link->trouble),
                 "it said what no keeper of this build says (is it of another version?)");
    }
    return -EPROTO;
}

/* ---- connecting ---- */

static void drop_held(struct keeper_link *link)
{
    for (uint32_t i = 0; i < link->held_count; i++) {
        close(link->held[i].fd);
    }
    free(link->held);
    link->held = NULL;
    link->held_count = 0;
}

static void disconnect(struct keeper_link *link)
{
    int fd = link->fd;

    set_fd(link, -1, STEP_NONE);
    if (fd >= 0) {
        close(fd);
    }
    keeper_child_reap(&link->child, link->welcome.pid);
    drop_held(link);
    link->full = false;
}

static int connect_to(struct keeper_link *link)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ret;

    if (fd < 0) {
        return -errno;
    }
    strncpy(address.sun_path, link->config.socket_path, sizeof(address.sun_path) - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        ret = -errno;
        close(fd);
        return ret;
    }
    return fd;
}

/* 0, or -errno and the trouble is known. */
static int begin(struct keeper_link *link)
{
    const char *where = link->config.socket_path ? link->config.socket_path : link->child.program;
    int fd = link->config.socket_path ? connect_to(link) : keeper_child_start(&link->child);

    if (fd < 0) {
        snprintf(link->trouble, sizeof(link->trouble), "cannot %s %.300s: %s",
                 link->config.socket_path ? "reach a vgpu-keeper at" : "start", where,
                 strerror(-fd));
        return fd;
    }
    link->trouble[0] = '\0';
    set_fd(link, fd, STEP_CONNECTED);
    return 0;
}

static int await(struct keeper_link *link)
{
    uint64_t end_ns = clock_now_ns() + KEEPER_LINK_DEADLINE_MS * NS_PER_MS;
    int ret = 0;

    while (ret == 0 && link->step != STEP_LISTED) {
        struct pollfd look = {.fd = link->fd, .events = POLLIN};
        uint64_t now_ns = clock_now_ns();

        if (now_ns >= end_ns) {
            snprintf(link->trouble, sizeof(link->trouble), "it does not answer");
            return -ETIMEDOUT;
        }
        if (poll(&look, 1, (int)((end_ns - now_ns) / NS_PER_MS) + 1) > 0) {
            ret = take_packet(link);
            ret = ret == -EAGAIN ? 0 : ret;
        }
    }
    return ret;
}

int keeper_link_open(const struct keeper_link_config *config, struct keeper_link **made,
                     char *error, size_t error_bytes)
{
    struct keeper_link *link = calloc(1, sizeof(*link));
    int ret;

    if (!link || uv_mutex_init(&link->lock) < 0) {
        free(link);
        snprintf(error, error_bytes, "out of memory");
        return -ENOMEM;
    }
    link->config = *config;
    link->fd = -1;
    keeper_child_init(&link->child);
    if (!config->socket_path) {
        ret = keeper_find(config->program, link->child.program);
        if (ret < 0) {
            snprintf(link->trouble, sizeof(link->trouble), "%.300s cannot be used: %s",
                     link->child.program, strerror(-ret));
        }
    } else {
        ret = 0;
    }
    if (ret == 0 && !config->socket_path) {
        ret = keeper_child_prepare(&link->child, link->config.args);
    }
    if (ret == 0) {
        ret = begin(link);
    }
    if (ret == 0) {
        ret = await(link);
    }
    if (ret < 0) {
        snprintf(error, error_bytes, "vgpu-keeper: %s%s", link->trouble,
                 ret == -EPIPE && !config->socket_path ? " (its own message is above)" : "");
        keeper_link_free(link);
        return ret;
    }
    *made = link;
    return 0;
}

/* ---- in the loop ---- */

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle);
}

static void close_poll(struct keeper_link *link)
{
    if (link->poll) {
        uv_poll_stop(link->poll);
        uv_close((uv_handle_t *)link->poll, on_poll_closed);
        link->poll = NULL;
    }
}

static int open_poll(struct keeper_link *link)
{
    int ret;

    link->poll = calloc(1, sizeof(*link->poll));
    if (!link->poll) {
        return -ENOMEM;
    }
    ret = uv_poll_init(link->loop, link->poll, link->fd);
    if (ret < 0) {
        free(link->poll);
        link->poll = NULL;
        return ret;
    }
    link->poll->data = link;
    return uv_poll_start(link->poll, UV_READABLE, on_poll);
}

static void on_again(uv_timer_t *timer);

static void try_again(struct keeper_link *link)
{
    if (begin(link) < 0 || open_poll(link) < 0) {
        close_poll(link);
        disconnect(link);
        uv_timer_start(&link->timer, on_again, KEEPER_LINK_AGAIN_MS, 0);
    }
}

static void on_again(uv_timer_t *timer)
{
    try_again(timer->data);
}

/* A keeper that was there is replaced at once, one that never was after a pause. */
static void on_lost(struct keeper_link *link)
{
    bool was_ready = link->step == STEP_LISTED;

    close_poll(link);
    disconnect(link);
    if (link->stopping) {
        return;
    }
    if (was_ready) {
        link->losses++;
        log_error("vgpu-keeper (process %" PRIu32 ") is lost, and its workers with it: %s",
                  link->welcome.pid, link->trouble);
        link->events.lost(link->events.opaque);
    }
    uv_timer_start(&link->timer, on_again, was_ready ? 0 : KEEPER_LINK_AGAIN_MS, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct keeper_link *link = poll->data;
    int ret = status < 0 ? -EPIPE : 0;

    for (unsigned i = 0; ret == 0 && i < TAKE_MAX; i++) {
        ret = take_packet(link);
    }
    if (ret < 0 && ret != -EAGAIN) {
        on_lost(link);
        return;
    }
    if (link->full && (events & UV_WRITABLE)) {
        link->full = false;
        uv_poll_start(poll, UV_READABLE, on_poll);
        link->events.ready(link->events.opaque);
    }
}

int keeper_link_watch(struct keeper_link *link, uv_loop_t *loop,
                      const struct keeper_link_events *events)
{
    int ret = uv_timer_init(loop, &link->timer);

    if (ret < 0) {
        return ret;
    }
    link->loop = loop;
    link->events = *events;
    link->timer.data = link;
    link->watched = true;
    ret = open_poll(link);
    if (ret == 0) {
        hand_over(link);
    }
    return ret;
}

void keeper_link_stop(struct keeper_link *link)
{
    if (!link || !link->watched || link->stopping) {
        return;
    }
    link->stopping = true;
    uv_close((uv_handle_t *)&link->timer, NULL);
    if (link->poll && keeper_child_runs(&link->child)) {
        /* It ends when it sees this, and the loop when it sees that end. */
        shutdown(link->fd, SHUT_WR);
    } else {
        close_poll(link);
        disconnect(link);
    }
}

void keeper_link_free(struct keeper_link *link)
{
    if (!link) {
        return;
    }
    disconnect(link);
    keeper_child_destroy(&link->child);
    uv_mutex_destroy(&link->lock);
    free(link);
}
