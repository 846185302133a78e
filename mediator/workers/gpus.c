/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/clock.h"
#include "mediator/workers/gpus.h"
#include "common/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mediator/workers/worker_spawn.h"

#define PROBE_BYTES_MAX 65536u

/* All that comes until the other end closes, or until the deadline: -ETIMEDOUT. */
static int read_all(int fd, char *text, size_t size)
{
    uint64_t deadline_ns = clock_now_ns() + GPUS_PROBE_DEADLINE_MS * NS_PER_MS;
    size_t used = 0;

    while (used < size - 1) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        uint64_t now_ns = clock_now_ns();
        ssize_t n;

        if (now_ns >= deadline_ns) {
            return -ETIMEDOUT;
        }
        if (poll(&poll_fd, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1) <= 0) {
            continue;
        }
        n = read(fd, text + used, size - 1 - used);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        used += (size_t)n;
    }
    text[used] = '\0';
    return 0;
}

static int run_probe(const struct options *options, const char *worker_path, char *text,
                     size_t size, int *status)
{
    static const char *const names[] = {"auto", "cpu", "cuda"};
    /* Asked for CUDA alone it would fail without a report: what is wrong is wanted, too. */
    const char *backend =
        names[options->backend == BACKEND_CHOICE_CUDA ? BACKEND_CHOICE_AUTO : options->backend];
    char *argv[] = {(char *)worker_path, "--probe", "--backend", (char *)backend, NULL};
    int pipe_fds[2], ret;
    pid_t pid;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return -errno;
    }
    pid = worker_spawn(argv, pipe_fds[1], STDOUT_FILENO);
    close(pipe_fds[1]);
    if (pid < 0) {
        close(pipe_fds[0]);
        return pid;
    }
    ret = read_all(pipe_fds[0], text, size);
    close(pipe_fds[0]);
    if (ret < 0) {
        kill(pid, SIGKILL);
    }
    while (waitpid(pid, status, 0) < 0 && errno == EINTR) {
    }
    return ret;
}

static void copy_string(char *to, size_t size, const json_t *value)
{
    const char *text = json_string_value(value);

    snprintf(to, size, "%.*s", (int)size - 1, text ? text : "");
}

static int take_report(const char *text, struct gpu_list *list, char *error, size_t error_bytes)
{
    json_t *root = json_loads(text, 0, NULL), *gpu;
    const json_t *gpus = json_object_get(root, "gpus");
    size_t index;

    copy_string(list->backend, sizeof(list->backend), json_object_get(root, "backend"));
    copy_string(list->reason, sizeof(list->reason), json_object_get(root, "reason"));
    json_array_foreach(gpus, index, gpu)
    {
        struct gpu_info *info = &list->gpus[list->count];

        if (list->count == CORE_GPUS_MAX) {
            break;
        }
        copy_string(info->uuid, sizeof(info->uuid), json_object_get(gpu, "uuid"));
        copy_string(info->name, sizeof(info->name), json_object_get(gpu, "name"));
        info->memory_bytes = (uint64_t)json_integer_value(json_object_get(gpu, "memory_bytes"));
        list->count += info->uuid[0] != '\0';
    }
    json_decref(root);
    if (strcmp(list->backend, "cpu") != 0 && strcmp(list->backend, "cuda") != 0) {
        snprintf(error, error_bytes,
                 "vgpu-worker --probe gave no usable answer; run it by hand "
                 "to see what it says");
        return -EPROTO;
    }
    if (strcmp(list->backend, "cuda") == 0 && list->count == 0 && !list->reason[0]) {
        snprintf(list->reason, sizeof(list->reason), "the CUDA driver finds no GPU");
    }
    return 0;
}

/* The CPU stands for as many GPUs as one asks for. */
static void make_cpu_gpus(struct gpu_list *list, uint32_t count)
{
    struct gpu_info first = list->gpus[0];

    if (list->count == 0 || first.name[0] == '\0') {
        snprintf(first.name, sizeof(first.name), "CPU");
    }
    for (uint32_t i = 0; i < count; i++) {
        list->gpus[i] = first;
        snprintf(list->gpus[i].uuid, sizeof(list->gpus[i].uuid), "CPU-%u", i);
    }
    list->count = count;
}

/* The driver is there, or wanted, and does not work. */
static int no_gpus(struct gpu_list *list, const char *reason)
{
    char copy[sizeof(list->reason)];

    snprintf(copy, sizeof(copy), "%s", reason);
    memset(list, 0, sizeof(*list));
    strcpy(list->backend, "cuda");
    strcpy(list->reason, copy);
    return 0;
}

int gpus_probe(const struct options *options, const char *worker_path, struct gpu_list *list,
               char *error, size_t error_bytes)
{
    static char text[PROBE_BYTES_MAX];
    int status = 0;
    int ret = run_probe(options, worker_path, text, sizeof(text), &status);

    memset(list, 0, sizeof(*list));
    if (ret == -ETIMEDOUT && options->backend != BACKEND_CHOICE_CPU) {
        return no_gpus(list, "vgpu-worker --probe did not answer in time: the GPU driver hangs");
    }
    if (ret < 0) {
        snprintf(error, error_bytes, "cannot run %s: %s", worker_path, strerror(-ret));
        return ret;
    }
    if (WIFSIGNALED(status) && options->backend != BACKEND_CHOICE_CPU) {
        return no_gpus(list, "vgpu-worker --probe crashed: the GPU driver is broken");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        snprintf(error, error_bytes,
                 "%s --probe failed (its message is above); --backend cpu needs no GPU",
                 worker_path);
        return -ENODEV;
    }
    ret = take_report(text, list, error, error_bytes);
    if (ret == 0 && strcmp(list->backend, "cpu") == 0 && options->backend == BACKEND_CHOICE_CUDA) {
        return no_gpus(list, list->reason);
    }
    if (ret == 0 && strcmp(list->backend, "cpu") == 0) {
        make_cpu_gpus(list, options->cpu_gpus);
    }
    return ret;
}
