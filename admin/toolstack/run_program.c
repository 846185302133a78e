/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/base/clock.h"
#include "admin/toolstack/run_program.h"

extern char **environ;

/*
 * Our environment with LC_ALL=C, so that what a program prints is in no language but
 * its own: "virsh domstate" answers in the user's else.  NULL: no memory.
 */
static char **untranslated(void)
{
    static char locale[] = "LC_ALL=C";
    size_t count = 0, kept = 0;
    char **copy;

    while (environ[count]) {
        count++;
    }
    copy = calloc(count + 2, sizeof(*copy));
    for (size_t i = 0; copy && i < count; i++) {
        if (strncmp(environ[i], "LC_ALL=", 7) != 0 && strncmp(environ[i], "LANGUAGE=", 9) != 0) {
            copy[kept++] = environ[i];
        }
    }
    if (copy) {
        copy[kept] = locale;
    }
    return copy;
}

static int spawn(const char *const argv[], int out_fd, int err_fd, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char **environment = untranslated();
    sigset_t none;
    int err;

    if (!environment) {
        return -ENOMEM;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
    posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
    posix_spawnattr_init(&attributes);
    /* Its own process group, so that its children can be killed with it. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    err = posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(environment);
    return -err;
}

/* Reads both pipes until they close or the time is over. */
static int collect(int out_fd, int err_fd, int64_t deadline_ms, struct run_result *result)
{
    struct pollfd fds[2] = {{.fd = out_fd, .events = POLLIN}, {.fd = err_fd, .events = POLLIN}};
    size_t error_bytes = 0, space = 0;
    char buffer[8192];

    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int64_t left = deadline_ms - clock_now_ms();
        if (left <= 0) {
            return -ETIMEDOUT;
        }
        if (poll(fds, 2, (int)left) < 0 && errno != EINTR) {
            return -errno;
        }
        for (int i = 0; i < 2; i++) {
            ssize_t n;

            if (fds[i].fd < 0 || !fds[i].revents) {
                continue;
            }
            n = read(fds[i].fd, buffer, sizeof(buffer));
            if (n <= 0) {
                if (n == 0 || errno != EINTR) {
                    fds[i].fd = -1;
                }
            } else if (i == 1) {
                size_t room = sizeof(result->error) - 1 - error_bytes;
                size_t take = (size_t)n < room ? (size_t)n : room;
                memcpy(result->error + error_bytes, buffer, take);
                error_bytes += take;
            } else {
                if (result->out_bytes + (size_t)n > RUN_OUTPUT_MAX) {
                    return -E2BIG;
                }
                if (result->out_bytes + (size_t)n + 1 > space) {
                    char *larger;

                    space = 2 * (result->out_bytes + (size_t)n + 1);
                    larger = realloc(result->out, space);
                    if (!larger) {
                        return -ENOMEM;
                    }
                    result->out = larger;
                }
                memcpy(result->out + result->out_bytes, buffer, (size_t)n);
                result->out_bytes += (size_t)n;
                result->out[result->out_bytes] = '\0';
            }
        }
    }
    return 0;
}

/* It may close its output and stay; the time limit holds for that, too. */
static int reap(pid_t pid, int64_t deadline_ms, int *status)
{
    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid) {
            return 0;
        }
        if (got < 0 && errno != EINTR) {
            return -errno;
        }
        if (clock_now_ms() >= deadline_ms) {
            return -ETIMEDOUT;
        }
        poll(NULL, 0, 5);
    }
}

int run_program(const char *const argv[], int timeout_ms, struct run_result *result)
{
    int64_t deadline_ms = clock_now_ms() + timeout_ms;
    int out[2], err[2], status = 0;
    pid_t pid;
    int rc;

    memset(result, 0, sizeof(*result));
    if (pipe2(out, O_CLOEXEC) < 0) {
        return -errno;
    }
    if (pipe2(err, O_CLOEXEC) < 0) {
        int saved = errno;
        close(out[0]);
        close(out[1]);
        return -saved;
    }
    rc = spawn(argv, out[1], err[1], &pid);
    close(out[1]);
    close(err[1]);
    if (rc == 0) {
        rc = collect(out[0], err[0], deadline_ms, result);
        if (rc == 0) {
            rc = reap(pid, deadline_ms, &status);
        }
        if (rc < 0) {
            kill(-pid, SIGKILL);
            while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
            }
        }
    }
    close(out[0]);
    close(err[0]);
    if (rc == 0 && !result->out) {
        result->out = strdup("");
        rc = result->out ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        run_result_free(result);
        return rc;
    }
    result->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}

void run_result_free(struct run_result *result)
{
    free(result->out);
    result->out = NULL;
}
