/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/clock.h"
#include "mediator/gpu/gpu_reset.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t now_ms(void)
{
    return clock_now_ns() / NS_PER_MS;
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

/* Until its end is told.  Its output may stay open longer, held by a child of it.  -errno. */
static int wait_for(int output_fd, int end_fd, uint64_t deadline_ms,
                    struct gpu_reset_result *result)
{
    struct pollfd look[] = {{.fd = output_fd, .events = POLLIN}, {.fd = end_fd, .events = POLLIN}};
    vgpu_keeper_end end = {.error = ETIMEDOUT};
    int status;

    while (look[1].revents == 0) {
        uint64_t now = now_ms();

        if (now >= deadline_ms) {
            break;
        }
        if (poll(look, 2, (int)(deadline_ms - now) + 1) > 0 && look[0].revents &&
            !take_output(output_fd, result)) {
            look[0].fd = -1;
        }
    }
    if (look[1].revents && read(end_fd, &end, sizeof(end)) != (ssize_t)sizeof(end)) {
        return -EPIPE;
    }
    take_output(output_fd, result);
    if (end.step != VGPU_KEEPER_STEP_NONE) {
        return -end.error;
    }
    status = (int)end.status;
    result->timed_out = end.error == ETIMEDOUT;
    result->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return 0;
}

static int ask(const struct gpu_reset_way *way, const char *uuid, int output[2], int ends[2])
{
    int ret = fcntl(output[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;

    if (ret == 0) {
        ret = way->ask(way->opaque, uuid, (int[LAUNCHER_FDS]){output[1], ends[1]});
    }
    close(output[1]);
    close(ends[1]);
    return ret;
}

int gpu_reset_run(const struct gpu_reset_way *way, const char *uuid,
                  struct gpu_reset_result *result)
{
    uint64_t begin_ms = now_ms();
    int output[2], ends[2], ret;

    memset(result, 0, sizeof(*result));
    if (pipe2(output, O_CLOEXEC) < 0) {
        return -errno;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        ret = -errno;
        close(output[0]);
        close(output[1]);
        return ret;
    }
    ret = ask(way, uuid, output, ends);
    if (ret == 0) {
        ret = wait_for(output[0], ends[0], begin_ms + GPU_RESET_TIMEOUT_MS + GPU_RESET_GRACE_MS,
                       result);
        result->took_ms = now_ms() - begin_ms;
        for (size_t i = strlen(result->output); i > 0 && result->output[i - 1] == ' '; i--) {
            result->output[i - 1] = '\0';
        }
    }
    close(output[0]);
    close(ends[0]);
    return ret;
}

/* ---- in a thread ---- */

#define THREAD_ENDED 1u
#define OWNER_LEFT 2u

struct gpu_reset {
    const struct gpu_reset_way *way;
    char *uuid;
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
    free(reset->uuid);
    free(reset);
}

static void *run(void *opaque)
{
    struct gpu_reset *reset = opaque;

    reset->error = gpu_reset_run(reset->way, reset->uuid, &reset->result);
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

int gpu_reset_start(const struct gpu_reset_way *way, const char *uuid, struct gpu_reset **result)
{
    struct gpu_reset *reset = calloc(1, sizeof(*reset));
    int ret = -ENOMEM;

    if (!reset) {
        return ret;
    }
    reset->way = way;
    reset->uuid = strdup(uuid);
    if (reset->uuid) {
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
