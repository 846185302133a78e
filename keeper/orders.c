/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/launcher.h"
#include "common/log.h"
#include "common/ns.h"
#include "keeper/helper.h"
#include "keeper/keeper_internal.h"

bool orders_may_help(const struct keeper *keeper)
{
    return keeper->options->socket_path && geteuid() == 0;
}

static bool is_gpu_name(const char *name)
{
    size_t length = strnlen(name, VGPU_KEEPER_GPU_BYTES);

    return length > 0 && length < VGPU_KEEPER_GPU_BYTES && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") ==
               length;
}

static int take_start(struct keeper *keeper, const vgpu_keeper_header *header,
                      const vgpu_keeper_worker *worker, const int *fds)
{
    if ((worker->flags & ~VGPU_KEEPER_WORKER_FLAGS) || worker->pad || !is_gpu_name(worker->gpu)) {
        close(fds[0]);
        close(fds[1]);
        return -EPROTO;
    }
    return processes_start(keeper->processes, header->worker, worker, fds);
}

/* One that can't be had is told so by the end of both. */
static int take_reset(struct keeper *keeper, const vgpu_keeper_reset *reset, const int *fds)
{
    int ret = launcher_ask(keeper->launcher, 0, reset->gpu, fds);

    if (ret < 0) {
        log_warning("the reset command can't be started for GPU %s: %s", reset->gpu,
                    strerror(-ret));
    }
    close(fds[0]);
    close(fds[1]);
    return 0;
}

/* One that can't be had is closed, which says it all. */
static void take_help(struct keeper *keeper, const int *fds)
{
    for (unsigned i = 0, j = 0; i < VGPU_KEEPER_FDS; i++) {
        while (j < HELPERS_MAX && keeper->helpers[j]) {
            j++;
        }
        if (j < HELPERS_MAX) {
            pid_t pid = helper_start(fds[i], keeper->mediator_uid, keeper->options->proc_path);

            keeper->helpers[j] = pid > 0 ? pid : 0;
        } else {
            log_warning("%u helpers of vgpu-mediator have not ended: there is no other",
                        HELPERS_MAX);
        }
        close(fds[i]);
    }
}

/* No longer than the workers wait, without whom a connection is worth nothing. */
static void take_park(struct keeper *keeper, const int *fds)
{
    uint64_t alone_s = keeper->options->alone_s;
    uint64_t park_s = alone_s < VGPU_KEEPER_PARK_S ? alone_s : VGPU_KEEPER_PARK_S;

    parked_add(&keeper->parked, fds, clock_now_ns() + park_s * NS_PER_S);
}

int orders_take(struct keeper *keeper, const uint8_t *bytes, size_t length, const int *fds,
                unsigned fd_count)
{
    vgpu_keeper_header header;
    union {
        vgpu_keeper_worker worker;
        vgpu_keeper_probe probe;
        vgpu_keeper_reset reset;
        vgpu_keeper_memory memory;
    } body;
    size_t body_bytes = length - sizeof(header);

    if (length < sizeof(header)) {
        body_bytes = 0;
        memset(&header, 0, sizeof(header));
    } else {
        memcpy(&header, bytes, sizeof(header));
    }
    if (header.magic == VGPU_KEEPER_MAGIC && header.version == VGPU_KEEPER_VERSION &&
        header.length == length && header.pad == 0 && body_bytes <= sizeof(body)) {
        memcpy(&body, bytes + sizeof(header), body_bytes);
        if (header.type == VGPU_KEEPER_START && body_bytes == sizeof(body.worker) &&
            fd_count == VGPU_KEEPER_FDS) {
            return take_start(keeper, &header, &body.worker, fds);
        }
        if (header.type == VGPU_KEEPER_PROBE && body_bytes == sizeof(body.probe) &&
            fd_count == VGPU_KEEPER_FDS) {
            return processes_probe(keeper->processes, header.worker, body.probe.backend, fds);
        }
        if (header.type == VGPU_KEEPER_RESET && body_bytes == sizeof(body.reset) &&
            fd_count == VGPU_KEEPER_FDS && keeper->options->reset_command &&
            is_gpu_name(body.reset.gpu)) {
            return take_reset(keeper, &body.reset, fds);
        }
        if (header.type == VGPU_KEEPER_HELP && body_bytes == 0 && fd_count == VGPU_KEEPER_FDS &&
            orders_may_help(keeper)) {
            take_help(keeper, fds);
            return 0;
        }
        if (header.type == VGPU_KEEPER_PARK && body_bytes == 0 && fd_count == VGPU_KEEPER_FDS &&
            keeper->options->socket_path) {
            take_park(keeper, fds);
            return 0;
        }
        if (header.type == VGPU_KEEPER_FETCH && body_bytes == 0 && fd_count == 0) {
            keeper->tell_parked = true;
            return 0;
        }
        if (header.type == VGPU_KEEPER_MEMORY && body_bytes == sizeof(body.memory) &&
            fd_count == 0) {
            processes_set_memory(keeper->processes, header.worker, body.memory.bytes);
            return 0;
        }
        if (header.type == VGPU_KEEPER_KILL && body_bytes == 0 && fd_count == 0) {
            processes_kill(keeper->processes, header.worker);
            return 0;
        }
    }
    for (unsigned i = 0; i < fd_count; i++) {
        close(fds[i]);
    }
    return -EPROTO;
}

int orders_take_cut(struct keeper *keeper, const uint8_t *bytes)
{
    vgpu_keeper_header header;

    memcpy(&header, bytes, sizeof(header));
    if (header.magic != VGPU_KEEPER_MAGIC || header.version != VGPU_KEEPER_VERSION) {
        return -EPROTO;
    }
    return header.type == VGPU_KEEPER_START
               ? processes_refuse(keeper->processes, header.worker, EMFILE)
               : 0;
}

void orders_end_helpers(const struct keeper *keeper)
{
    for (unsigned i = 0; i < HELPERS_MAX; i++) {
        if (keeper->helpers[i]) {
            kill(keeper->helpers[i], SIGTERM);
        }
    }
}
