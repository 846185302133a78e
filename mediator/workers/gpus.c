/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/clock.h"
#include "mediator/workers/gpus.h"
#include "common/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

/*
 * How it ended, from the keeper.  It has closed its output or is killed: this takes no time to
 * speak of, unless the driver does not let go of it.
 */
static int read_status(int fd, vgpu_keeper_end *end)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    int n;

    do {
        n = poll(&look, 1, GPUS_PROBE_DEADLINE_MS);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        return -ETIMEDOUT;
    }
    return read(fd, end, sizeof(*end)) == (ssize_t)sizeof(*end) ? 0 : -EPIPE;
}

static int run_probe(const struct options *options, struct keeper_link *keeper, char *text,
                     size_t size, int *status)
{
    /* Asked for CUDA alone it would fail without a report: what is wrong is wanted, too. */
    uint32_t backend =
        options->backend == BACKEND_CHOICE_CPU ? VGPU_KEEPER_PROBE_CPU : VGPU_KEEPER_PROBE_AUTO;
    uint64_t number = keeper_link_number(keeper);
    int output[2], ends[2], fds[VGPU_KEEPER_FDS], ret, ends_ret;
    vgpu_keeper_end end;

    if (pipe2(output, O_CLOEXEC) < 0) {
        return -errno;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        ret = -errno;
        close(output[0]);
        close(output[1]);
        return ret;
    }
    fds[VGPU_KEEPER_FDS_OUTPUT] = output[1];
    fds[VGPU_KEEPER_FDS_STATUS] = ends[1];
    ret = keeper_link_probe(keeper, number, backend, fds);
    close(output[1]);
    close(ends[1]);
    if (ret == 0) {
        ret = read_all(output[0], text, size);
        if (ret < 0) {
            keeper_link_kill_probe(keeper, number);
        }
        ends_ret = read_status(ends[0], &end);
        ret = ret < 0 ? ret : ends_ret;
        if (ret == 0 && end.step != VGPU_KEEPER_STEP_NONE) {
            ret = -end.error;
        }
        *status = ret == 0 ? (int)end.status : 0;
    }
    close(output[0]);
    close(ends[0]);
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

int gpus_probe(const struct options *options, struct keeper_link *keeper, struct gpu_list *list,
               char *error, size_t error_bytes)
{
    static char text[PROBE_BYTES_MAX];
    int status = 0;
    int ret = run_probe(options, keeper, text, sizeof(text), &status);

    memset(list, 0, sizeof(*list));
    if (ret == -ETIMEDOUT && options->backend != BACKEND_CHOICE_CPU) {
        return no_gpus(list, "vgpu-worker --probe did not answer in time: the GPU driver hangs");
    }
    if (ret < 0) {
        snprintf(error, error_bytes, "cannot run vgpu-worker --probe: %s", strerror(-ret));
        return ret;
    }
    if (WIFSIGNALED(status) && options->backend != BACKEND_CHOICE_CPU) {
        return no_gpus(list, "vgpu-worker --probe crashed: the GPU driver is broken");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        snprintf(error, error_bytes,
                 "vgpu-worker --probe failed (its message is above); --backend cpu needs no GPU");
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
