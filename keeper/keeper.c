/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * One thread sleeps in ppoll() on a signalfd, the listening socket and the mediator's.  What the
 * mediator must be told is never queued: each process has a mark for it, and whenever the socket
 * takes more, the marks are looked through.  So a mediator that does not read costs nothing, and
 * a new one is told what is true by then.
 *
 * Who comes while a mediator is there is refused.  A mediator that is gone is noticed before the
 * next one is looked at, or both would have to wait for each other.
 */
#include "keeper/keeper_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd_packet.h"
#include "common/launcher.h"
#include "common/log.h"
#include "common/ns.h"
#include "keeper/listener.h"

/* Two per worker, its socket and its log, two per parked connection, and some. */
#define FILES_WANTED (2u * (VGPU_KEEPER_WORKERS_MAX + VGPU_KEEPER_PARKED_MAX) + 64u)
/* Messages from the mediator before anything else is looked at. */
#define TAKE_MAX 64u
/* The kinds that are taken: of each at most one is pending. */
#define SIGNALS 4

/* ---- to the mediator ---- */

static int tell_with(struct keeper *keeper, uint16_t type, uint64_t number, void *body,
                     size_t bytes, const int *fds, unsigned fd_count)
{
    vgpu_keeper_header header = {
        .magic = VGPU_KEEPER_MAGIC,
        .version = VGPU_KEEPER_VERSION,
        .type = type,
        .length = (uint32_t)(sizeof(header) + bytes),
        .worker = number,
    };
    struct iovec parts[] = {{&header, sizeof(header)}, {body, bytes}};
    int ret = fd_packet_send(keeper->link, parts, bytes ? 2 : 1, fds, fd_count);

    /* Whatever else is wrong with the link, its end follows. */
    keeper->full |= ret < 0;
    return ret;
}

static int tell(struct keeper *keeper, uint16_t type, uint64_t number, void *body, size_t bytes)
{
    return tell_with(keeper, type, number, body, bytes, NULL, 0);
}

static int tell_welcome(struct keeper *keeper)
{
    const struct uids_config *uids = &keeper->options->uids;
    vgpu_keeper_welcome welcome = {
        .flags = processes_own(keeper->processes) |
                 (keeper->options->socket_path ? 0 : VGPU_KEEPER_PRIVATE) |
                 (orders_may_help(keeper) ? VGPU_KEEPER_HELPS : 0) |
                 (keeper->options->reset_command ? VGPU_KEEPER_RESETS : 0) |
                 (keeper->options->socket_path ? VGPU_KEEPER_PARKS : 0) |
                 (processes_limit_memory(keeper->processes) ? VGPU_KEEPER_LIMITS_MEMORY : 0),
        .pid = (uint32_t)getpid(),
        .uid = geteuid(),
        .uid_base = uids->base,
        .uid_count = uids->count,
        .held = processes_living(keeper->processes),
    };

    return tell(keeper, VGPU_KEEPER_WELCOME, 0, &welcome, sizeof(welcome));
}

static bool tell_held(void *opaque, struct process *process)
{
    struct keeper *keeper = opaque;
    vgpu_keeper_held held = {.process = {(uint32_t)process->pid, process->uid},
                             .worker = process->what};

    if (process->tell_held && tell_with(keeper, VGPU_KEEPER_HELD, process->number, &held,
                                        sizeof(held), &process->socket, 1) == 0) {
        process->tell_held = false;
    }
    return !keeper->full;
}

static bool tell_news(void *opaque, struct process *process)
{
    struct keeper *keeper = opaque;
    vgpu_keeper_process started = {(uint32_t)process->pid, process->uid};

    /* One that has ended meanwhile: its end says enough. */
    if (process->tell_started &&
        (process->tell_ended ||
         tell(keeper, VGPU_KEEPER_STARTED, process->number, &started, sizeof(started)) == 0)) {
        process->tell_started = false;
    }
    if (process->tell_ended && !keeper->full &&
        tell(keeper, VGPU_KEEPER_ENDED, process->number, &process->end, sizeof(process->end)) ==
            0) {
        processes_forget(keeper->processes, process);
    }
    return !keeper->full;
}

static void tell_parked(struct keeper *keeper)
{
    const int *fds;

    while (!keeper->full && (fds = parked_next(&keeper->parked)) != NULL) {
        if (tell_with(keeper, VGPU_KEEPER_PARKED, 0, NULL, 0, fds, VGPU_KEEPER_FDS) == 0) {
            parked_drop_next(&keeper->parked);
        }
    }
    keeper->tell_parked = keeper->full;
}

static void tell_all(struct keeper *keeper)
{
    keeper->full = false;
    if (keeper->tell_welcome) {
        keeper->tell_welcome = tell_welcome(keeper) < 0;
    }
    if (!keeper->full && keeper->tell_listed) {
        processes_each(keeper->processes, tell_held, keeper);
        keeper->tell_listed = keeper->full || tell(keeper, VGPU_KEEPER_LISTED, 0, NULL, 0) < 0;
    }
    if (!keeper->full) {
        processes_each(keeper->processes, tell_news, keeper);
    }
    if (!keeper->full && keeper->tell_parked) {
        tell_parked(keeper);
    }
}

/* ---- the mediator comes and goes ---- */

/* A new mediator hears of the living, and of nothing that was before it. */
static bool begin_anew(void *opaque, struct process *process)
{
    struct keeper *keeper = opaque;

    process->tell_started = false;
    if (process->tell_ended) {
        processes_forget(keeper->processes, process);
    } else {
        process->tell_held = process->status < 0;
    }
    return true;
}

static void drop_mediator(struct keeper *keeper, const char *why)
{
    unsigned living = processes_living(keeper->processes);

    if (keeper->link < 0) {
        return;
    }
    if (why) {
        log_error("the mediator (process %d) %s: its connection is closed", (int)keeper->mediator,
                  why);
    }
    if (!keeper->options->socket_path) {
        keeper->stopping = true; /* its end of the link is told after the workers' */
        return;
    }
    close(keeper->link);
    keeper->link = -1;
    keeper->tell_parked = false;
    orders_end_helpers(keeper);
    keeper->alone_since_ns = clock_now_ns();
    processes_each(keeper->processes, begin_anew, keeper);
    if (living > 0) {
        log_notice("the mediator is gone; its %u workers wait for the next one for %u s", living,
                   keeper->options->alone_s);
    }
}

static void greet(struct keeper *keeper, int link, pid_t mediator, uid_t uid)
{
    keeper->link = link;
    keeper->mediator = mediator;
    keeper->mediator_uid = uid;
    keeper->tell_welcome = keeper->tell_listed = true;
    processes_each(keeper->processes, begin_anew, keeper);
    tell_all(keeper);
}

static void refuse(struct keeper *keeper, int link)
{
    struct {
        vgpu_keeper_header header;
        vgpu_keeper_process process;
    } refused = {
        {VGPU_KEEPER_MAGIC, VGPU_KEEPER_VERSION, VGPU_KEEPER_REFUSED, sizeof(refused), 0, 0},
        {(uint32_t)keeper->mediator, 0}};

    send(link, &refused, sizeof(refused), MSG_DONTWAIT | MSG_NOSIGNAL);
    close(link);
}

static bool mediator_is_gone(const struct keeper *keeper)
{
    struct pollfd look = {.fd = keeper->link, .events = POLLIN};

    return poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLERR));
}

/* No descriptor is left for it: else it would be there again at once, and for ever. */
static void turn_away(struct keeper *keeper)
{
    int link;

    if ((errno != EMFILE && errno != ENFILE) || keeper->spare < 0) {
        return;
    }
    log_warning("a connection is closed: this process may not open another file: raise "
                "LimitNOFILE= (or ulimit -n)");
    close(keeper->spare);
    link = accept4(keeper->listener, NULL, NULL, SOCK_CLOEXEC);
    if (link >= 0) {
        close(link);
    }
    keeper->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* ---- from the mediator ---- */

static void on_other_end(void *opaque, pid_t pid)
{
    struct keeper *keeper = opaque;

    for (unsigned i = 0; i < HELPERS_MAX; i++) {
        if (keeper->helpers[i] == pid) {
            keeper->helpers[i] = 0;
        }
    }
}

static void on_link(struct keeper *keeper)
{
    _Alignas(8) uint8_t bytes[VGPU_KEEPER_MESSAGE_MAX] = {0};
    int fds[VGPU_KEEPER_FDS];
    unsigned fd_count;
    ssize_t n;

    for (unsigned i = 0; i < TAKE_MAX; i++) {
        n = fd_packet_receive(keeper->link, MSG_DONTWAIT, bytes, sizeof(bytes), fds,
                              VGPU_KEEPER_FDS, &fd_count);
        if (n == -EAGAIN) {
            break;
        }
        if (n == 0 || n == -ECONNRESET || n == -EPIPE) {
            drop_mediator(keeper, NULL);
            return;
        }
        if (n == -EMFILE && orders_take_cut(keeper, bytes) == 0) {
            continue;
        }
        if (n < 0 || orders_take(keeper, bytes, (size_t)n, fds, fd_count) < 0) {
            drop_mediator(keeper, n < 0 && n != -EMSGSIZE ? strerror((int)-n) : "sent nonsense");
            return;
        }
    }
    if (!keeper->full) {
        tell_all(keeper);
    }
}

/* ---- who wants to be the mediator ---- */

static void on_listener(struct keeper *keeper)
{
    int link = accept4(keeper->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);

    if (link < 0) {
        turn_away(keeper);
        return;
    }
    if (getsockopt(link, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 ||
        (peer.uid != 0 && peer.uid != keeper->allowed_uid)) {
        log_warning("process %d of uid %u wants to be the mediator: refused", (int)peer.pid,
                    (unsigned)peer.uid);
        close(link);
        return;
    }
    while (keeper->link >= 0 && mediator_is_gone(keeper)) {
        on_link(keeper); /* up to its last word */
    }
    if (keeper->link >= 0) {
        log_warning("process %d wants to be the mediator beside process %d: refused", (int)peer.pid,
                    (int)keeper->mediator);
        refuse(keeper, link);
        return;
    }
    log_info("vgpu-mediator (process %d) is here", (int)peer.pid);
    greet(keeper, link, peer.pid, peer.uid);
}

/* ---- signals and time ---- */

static void on_signals(struct keeper *keeper)
{
    struct signalfd_siginfo infos[SIGNALS];
    ssize_t n = read(keeper->signals, infos, sizeof(infos));

    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(infos[0]); i++) {
        if (infos[i].ssi_signo == SIGTERM) {
            log_notice("SIGTERM: all workers are ended");
            keeper->stopping = true;
        }
    }
    keeper->reap_more = processes_reap(keeper->processes);
    if (keeper->link < 0) {
        processes_each(keeper->processes, begin_anew, keeper);
    } else if (!keeper->full) {
        tell_all(keeper);
    }
}

static int ms_until(uint64_t due_ns, uint64_t now_ns)
{
    return due_ns <= now_ns ? 0 : (int)((due_ns - now_ns) / NS_PER_MS) + 1;
}

/* ms until workers that nobody asks for are ended; -1: no end. */
static int alone_ms(struct keeper *keeper, uint64_t now_ns)
{
    uint64_t end_ns = keeper->alone_since_ns + keeper->options->alone_s * NS_PER_S;

    if (keeper->link >= 0 || processes_living(keeper->processes) == 0) {
        return -1;
    }
    if (now_ns < end_ns) {
        return ms_until(end_ns, now_ns);
    }
    log_notice("no mediator came for %u workers: they are ended",
               processes_living(keeper->processes));
    processes_kill_all(keeper->processes);
    keeper->alone_since_ns = now_ns; /* and again, if one of them takes so long */
    return -1;
}

/* ms until parked connections end; -1: there are none. */
static int parked_ms(struct keeper *keeper, uint64_t now_ns)
{
    uint32_t ended = parked_expire(&keeper->parked, now_ns);

    if (ended > 0) {
        log_notice("no mediator came for %" PRIu32 " connections of devices: they are closed",
                   ended);
    }
    return keeper->parked.count > 0 ? ms_until(keeper->parked.until_ns, now_ns) : -1;
}

/* -1: never. */
static int sooner(int a_ms, int b_ms)
{
    return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}

static int wait_ms(struct keeper *keeper)
{
    uint64_t now_ns = clock_now_ns(), due_ns = processes_logs_due_ns(keeper->processes);
    int due = sooner(alone_ms(keeper, now_ns), parked_ms(keeper, now_ns));
    int logs = due_ns == UINT64_MAX ? -1 : ms_until(due_ns, now_ns);

    return keeper->reap_more ? 0 : sooner(due, logs);
}

void keeper_run(struct keeper *keeper)
{
    while (!keeper->stopping) {
        struct pollfd fds[] = {
            {.fd = keeper->signals, .events = POLLIN},
            {.fd = keeper->link, .events = (short)(POLLIN | (keeper->full ? POLLOUT : 0))},
            {.fd = keeper->listener, .events = POLLIN},
            {.fd = processes_logs_fd(keeper->processes), .events = POLLIN},
        };

        if (poll(fds, 4, wait_ms(keeper)) < 0 && errno != EINTR) {
            log_error("poll: %s", strerror(errno));
            return;
        }
        processes_read_logs(keeper->processes); /* before an end that it may tell the cause of */
        if (fds[0].revents || keeper->reap_more) {
            on_signals(keeper);
        }
        if (fds[1].revents & POLLOUT) {
            tell_all(keeper);
        }
        if (keeper->link >= 0 && (fds[1].revents & ~POLLOUT)) {
            on_link(keeper);
        }
        if (fds[2].revents) {
            on_listener(keeper);
        }
    }
}

/* ---- life ---- */

static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    /* From the terminal: they are the mediator's business. */
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
        return -1;
    }
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int open_private_link(struct keeper *keeper, char *error, size_t bytes)
{
    int type = 0;
    socklen_t length = sizeof(type);

    if (getsockopt(VGPU_KEEPER_FD, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
        type != SOCK_SEQPACKET) {
        snprintf(error, bytes,
                 "--private: file descriptor 3 is not the mediator's socket; vgpu-mediator starts "
                 "this program so, a person gives it --socket PATH");
        return -EBADF;
    }
    fcntl(VGPU_KEEPER_FD, F_SETFD, FD_CLOEXEC);
    greet(keeper, VGPU_KEEPER_FD, getppid(), geteuid());
    return 0;
}

/* 0, or -errno and an `error`. */
static int find_mediator_user(struct keeper *keeper, gid_t *gid, char *error, size_t bytes)
{
    const char *name = keeper->options->mediator_user;
    const struct passwd *user = name ? getpwnam(name) : NULL;

    keeper->allowed_uid = geteuid();
    *gid = (gid_t)-1;
    if (user) {
        keeper->allowed_uid = user->pw_uid;
        *gid = user->pw_gid;
    } else if (name) {
        snprintf(error, bytes, "--mediator-user: there is no user %s", name);
        return -ENOENT;
    }
    return 0;
}

static int open_listener(struct keeper *keeper, char *error, size_t bytes)
{
    gid_t gid;
    int ret = find_mediator_user(keeper, &gid, error, bytes);

    if (ret == 0) {
        ret = listener_open(keeper->options->socket_path, gid, error, bytes);
        keeper->listener = ret;
    }
    return ret < 0 ? ret : 0;
}

/* Its children are given a limit of their own, as far as ours goes. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FILES_WANTED) {
        limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int start_launcher(struct keeper *keeper)
{
    char *argv[] = {(char *)keeper->options->reset_command, NULL};
    struct launcher_program reset = {
        .argv = argv,
        .argument = true,
        .as_fd = STDOUT_FILENO,
        .timeout_s = VGPU_KEEPER_RESET_S,
    };
    int ret = argv[0] ? launcher_start(&reset, 1) : -1;

    keeper->launcher = argv[0] ? ret : -1;
    return argv[0] && ret < 0 ? ret : 0;
}

int keeper_new(const struct keeper_options *options, struct keeper **made, char *error,
               size_t error_bytes)
{
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    int ret;

    snprintf(error, error_bytes, "out of memory or descriptors");
    if (!keeper) {
        return -ENOMEM;
    }
    keeper->options = options;
    keeper->listener = keeper->link = keeper->launcher = -1;
    keeper->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ret = start_launcher(keeper); /* before it has anything that one would inherit */
    if (ret < 0) {
        keeper_free(keeper);
        return ret;
    }
    keeper->signals = open_signals();
    /* What a worker leaves behind becomes ours: its end is seen, too. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    ret = keeper->signals < 0 ? -errno
                              : processes_new(options, &keeper->processes, error, error_bytes);
    if (ret == 0) {
        processes_on_other_end(keeper->processes, on_other_end, keeper);
        raise_file_limit();
        ret = options->socket_path ? open_listener(keeper, error, error_bytes)
                                   : open_private_link(keeper, error, error_bytes);
    }
    if (ret < 0) {
        keeper_free(keeper);
        return ret;
    }
    *made = keeper;
    return 0;
}

void keeper_free(struct keeper *keeper)
{
    /* First the workers: who sees the socket's end may count on their being gone. */
    processes_free(keeper->processes);
    parked_drop_all(&keeper->parked);
    if (keeper->link >= 0) {
        close(keeper->link);
    }
    if (keeper->listener >= 0) {
        close(keeper->listener);
    }
    if (keeper->launcher >= 0) {
        close(keeper->launcher);
    }
    if (keeper->signals >= 0) {
        close(keeper->signals);
    }
    if (keeper->spare >= 0) {
        close(keeper->spare);
    }
    free(keeper);
}
