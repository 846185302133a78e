/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/clock.h"
#include "mediator/gpu/gpu_reset.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How often the end of a program is looked for that has closed its output. */
#define LOOK_MS 20

extern char **environ;

static uint64_t now_ms(void)
{
    return clock_now_ns() / NS_PER_MS;
}

/* Its own group, default signals, no input, its output to us. */
static int start(const char *command, const char *uuid, int output_fd, pid_t *pid)
{
    char *argv[] = {(char *)command, (char *)uuid, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int error;

    error = posix_spawn_file_actions_init(&files);
    if (error) {
        return -error;
    }
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&files);
        return -error;
    }
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    error = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    error = error ? error : posix_spawn_file_actions_adddup2(&files, output_fd, STDOUT_FILENO);
    error = error ? error : posix_spawn_file_actions_adddup2(&files, output_fd, STDERR_FILENO);
    error = error ? error : posix_spawn(pid, command, &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return -error;
}

/* Takes what there is of the output; keeps its beginning. False: no more will come. */
static bool take_output(int fd, struct gpu_reset_result *result)
{
    size_t used = strlen(result->output);
    char bytes[4096];
    ssize_t n;

    while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < n && used < sizeof(result->output) - 1; i++) {
            unsigned char c = (unsigned char)bytes[i];

            result->output[used++] = c < ' ' || c >= 0x7f ? ' ' : (char)c;
        }
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Until it has ended.  Its output may stay open longer, held by a child of it. */
static void wait_for(pid_t pid, int fd, uint64_t deadline_ms, struct gpu_reset_result *result)
{
    bool open = true;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) != pid) {
        struct pollfd output = {.fd = open ? fd : -1, .events = POLLIN};

        if (!result->timed_out && now_ms() >= deadline_ms) {
            result->timed_out = true;
            kill(-pid, SIGKILL);
        }
        if (poll(&output, 1, LOOK_MS) > 0) {
            open = take_output(fd, result);
        }
    }
    take_output(fd, result);
    result->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int gpu_reset_run(const char *command, const char *uuid, uint32_t timeout_ms,
                  struct gpu_reset_result *result)
{
    uint64_t begin_ms = now_ms();
    int fds[2], ret;
    pid_t pid = -1;

    memset(result, 0, sizeof(*result));
    if (pipe2(fds, O_CLOEXEC) < 0) {
        return -errno;
    }
    ret = fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : start(command, uuid, fds[1], &pid);
    close(fds[1]);
    if (ret == 0) {
        wait_for(pid, fds[0], begin_ms + timeout_ms, result);
        result->took_ms = now_ms() - begin_ms;
        for (size_t i = strlen(result->output); i > 0 && result->output[i - 1] == ' '; i--) {
            result->output[i - 1] = '\0';
        }
    }
    close(fds[0]);
    return ret;
}

/* ---- in a thread ---- */

#define THREAD_ENDED 1u
#define OWNER_LEFT 2u

struct gpu_reset {
    char *command, *uuid;
    uint32_t timeout_ms;
    int error;
    struct gpu_reset_result result;
    /* The second of the two to set its flag frees.  GCC's builtins: its 4.8, which XCP-ng's
     * Dom0 has, knows no <stdatomic.h>. */
    unsigned flags;
};

/* What was set before. */
static unsigned set_flag(struct gpu_reset *reset, unsigned flag)
{
    return __atomic_fetch_or(&reset->flags, flag, __ATOMIC_SEQ_CST);
}

static void free_reset(struct gpu_reset *reset)
{
    free(reset->command);
    free(reset->uuid);
    free(reset);
}

static void *run(void *opaque)
{
    struct gpu_reset *reset = opaque;

    reset->error = gpu_reset_run(reset->command, reset->uuid, reset->timeout_ms, &reset->result);
    if (set_flag(reset, THREAD_ENDED) & OWNER_LEFT) {
        free_reset(reset);
    }
    return NULL;
}

/* Signals are the main thread's. */
static int start_thread(struct gpu_reset *reset)
{
    pthread_t thread;
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, NULL, run, reset);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) {
        pthread_detach(thread);
    }
    return -error;
}

int gpu_reset_start(const char *command, const char *uuid, uint32_t timeout_ms,
                    struct gpu_reset **result)
{
    struct gpu_reset *reset = calloc(1, sizeof(*reset));
    int ret = -ENOMEM;

    if (!reset) {
        return ret;
    }
    reset->command = strdup(command);
    reset->uuid = strdup(uuid);
    reset->timeout_ms = timeout_ms;
    if (reset->command && reset->uuid) {
        ret = start_thread(reset);
    }
    if (ret < 0) {
        free_reset(reset);
        return ret;
    }
    *result = reset;
    return 0;
}

bool gpu_reset_ended(struct gpu_reset *reset, int *error, struct gpu_reset_result *result)
{
    if (!(__atomic_load_n(&reset->flags, __ATOMIC_SEQ_CST) & THREAD_ENDED)) {
        return false;
    }
    *error = reset->error;
    *result = reset->result;
    free_reset(reset);
    return true;
}

void gpu_reset_abandon(struct gpu_reset *reset)
{
    if (set_flag(reset, OWNER_LEFT) & THREAD_ENDED) {
        free_reset(reset);
    }
}
