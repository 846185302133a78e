/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * The launcher makes a process for each start, which runs the program, waits for its end, and tells
 * that.  So many may run at a time, and one that hangs keeps none from starting.
 */
#include "common/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd_packet.h"
#include "common/unused.h"
#include "common/usual_signals.h"

#define ARGS_MAX 32

struct order {
    uint32_t program;
    char argument[LAUNCHER_ARGUMENT_BYTES];
};

/* ---- the program's own process ---- */

/* Killed when the process that started it ends.  Or an errno. */
static int end_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        return errno;
    }
    return getppid() == parent ? 0 : ESRCH;
}

static int place_descriptors(int fd, int as_fd)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0) {
        return errno;
    }
    if (fd == as_fd) {
        return fcntl(fd, F_SETFD, 0) < 0 ? errno : 0;
    }
    if (dup2(fd, as_fd) < 0 || (as_fd == STDOUT_FILENO && dup2(fd, STDERR_FILENO) < 0)) {
        return errno;
    }
    return 0;
}

/* Comes back with an errno only. */
static int become(const struct launcher_program *program, const struct order *order, int fd,
                  pid_t parent)
{
    char *argv[ARGS_MAX + 2];
    int n = 0, error;

    usual_signals();
    setpgid(0, 0); /* Ctrl-C at a terminal is not for it */
    error = program->ends_with_us ? end_with(parent) : 0;
    if (error == 0) {
        error = place_descriptors(fd, program->as_fd);
    }
    if (error) {
        return error;
    }
    for (; n < ARGS_MAX && program->argv[n]; n++) {
        argv[n] = program->argv[n];
    }
    if (program->argument) {
        argv[n++] = (char *)order->argument;
    }
    argv[n] = NULL;
    if (!argv[0]) {
        return EINVAL;
    }
    execv(argv[0], argv);
    return errno;
}

/* ---- who waits for it ---- */

static volatile sig_atomic_t group;

static volatile sig_atomic_t timed_out;

static void on_alarm(UNUSED int number)
{
    timed_out = 1;
    kill((pid_t)-group, SIGKILL);
}

/* 0, or why it can't be run.  Nothing of it is open then in this process but `told`. */
static int await_exec(int told)
{
    int error = 0;
    ssize_t n;

    do {
        n = read(told, &error, sizeof(error));
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(error) ? error : 0;
}

static vgpu_keeper_end await_end(pid_t pid, unsigned timeout_s)
{
    struct sigaction on_time;
    int status = 0;

    memset(&on_time, 0, sizeof(on_time));
    on_time.sa_handler = on_alarm;
    group = pid;
    sigaction(SIGALRM, &on_time, NULL);
    alarm(timeout_s);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return (vgpu_keeper_end){.status = (uint32_t)status, .error = timed_out ? ETIMEDOUT : 0};
}

static vgpu_keeper_end run(const struct launcher_program *program, const struct order *order,
                           int fd)
{
    vgpu_keeper_end end = {.step = VGPU_KEEPER_STEP_FORK};
    pid_t parent = getpid(), pid;
    int told[2], error;

    if (pipe2(told, O_CLOEXEC) < 0) {
        end.error = errno;
        return end;
    }
    pid = fork();
    if (pid == 0) {
        error = become(program, order, fd, parent);
        if (write(told[1], &error, sizeof(error)) < 0) {
            _exit(126);
        }
        _exit(127);
    }
    end.error = pid < 0 ? errno : 0;
    close(told[1]);
    close(fd);
    if (pid > 0) {
        setpgid(pid, pid); /* whoever of the two comes first */
        error = await_exec(told[0]);
        end = await_end(pid, program->timeout_s);
        if (error) {
            end = (vgpu_keeper_end){.step = VGPU_KEEPER_STEP_PROGRAM, .error = error};
        }
    }
    return end;
}

/* ---- the launcher ---- */

static void start(const struct launcher_program *program, const struct order *order,
                  const int fds[LAUNCHER_FDS], pid_t launcher)
{
    vgpu_keeper_end end;

    usual_signals();
    signal(SIGPIPE, SIG_IGN);
    if (program->ends_with_us && end_with(launcher)) {
        return;
    }
    end = run(program, order, fds[LAUNCHER_FDS_PROGRAM]);
    /* Nobody may wait for it any more. */
    if (write(fds[LAUNCHER_FDS_END], &end, sizeof(end)) < 0) {
        return;
    }
}

/* False: there is nobody any more who could ask. */
static bool serve_one(const struct launcher_program *programs, unsigned count, int fd)
{
    struct order order;
    int fds[LAUNCHER_FDS];
    unsigned fd_count = 0;
    pid_t launcher = getpid();
    ssize_t n = fd_packet_receive(fd, 0, &order, sizeof(order), fds, LAUNCHER_FDS, &fd_count);

    if (n == (ssize_t)sizeof(order) && fd_count == LAUNCHER_FDS && order.program < count &&
        memchr(order.argument, '\0', sizeof(order.argument)) && fork() == 0) {
        close(fd);
        start(&programs[order.program], &order, fds, launcher);
        _exit(EXIT_SUCCESS);
    }
    for (unsigned i = 0; i < fd_count; i++) {
        close(fds[i]);
    }
    return n > 0 || n == -EINTR;
}

int launcher_start(const struct launcher_program *programs, unsigned count)
{
    int pair[2], ret;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    pid = fork();
    if (pid == 0) {
        close(pair[0]);
        setsid();
        usual_signals();
        signal(SIGCHLD, SIG_IGN); /* who tells an end is awaited by nobody */
        while (serve_one(programs, count, pair[1])) {
        }
        _exit(EXIT_SUCCESS);
    }
    ret = pid < 0 ? -errno : pair[0];
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
    }
    return ret;
}

int launcher_ask(int launcher, unsigned program, const char *argument, const int fds[LAUNCHER_FDS])
{
    struct order order = {.program = program};
    struct iovec part = {&order, sizeof(order)};

    if (argument) {
        if (strlen(argument) >= sizeof(order.argument)) {
            return -EINVAL;
        }
        strcpy(order.argument, argument);
    }
    return fd_packet_send(launcher, &part, 1, fds, LAUNCHER_FDS);
}
