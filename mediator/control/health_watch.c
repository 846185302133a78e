/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/health_watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/ns.h"
#include "common/utc.h"
#include "core/core.h"
#include "mediator/base/listen_point.h"
#include "mediator/config/config_store.h"
#include "mediator/control/driver_watch.h"
#include "mediator/gpu/gpu_health.h"
#include "mediator/health/health.h"
#include "mediator/identity/identity.h"
#include "mediator/mediator.h"
#include "mediator/sessions/discovery.h"
#include "mediator/sessions/discovery_lock.h"
#include "mediator/sessions/listeners.h"
#include "mediator/workers/gpus.h"
#include "mediator/workers/keeper_link.h"
#include "store/vgpu_config.h"

struct health_watch {
    struct mediator *mediator;
    uv_timer_t timer;
    bool open;
    /* vm_id of the VM in this slot whose worker was given up, 0: none. */
    uint32_t given_up[CORE_VMS_MAX];
};

struct health_watch *health_watch_new(struct mediator *mediator)
{
    struct health_watch *watch = calloc(1, sizeof(*watch));

    if (watch) {
        watch->mediator = mediator;
    }
    return watch;
}

void health_watch_free(struct health_watch *watch)
{
    free(watch);
}

void health_watch_event(struct health_watch *watch, const struct core_event *event)
{
    if (event->vm >= CORE_VMS_MAX) {
        return;
    }
    if (event->kind == CORE_EVENT_WORKER_GIVEN_UP) {
        watch->given_up[event->vm] = event->vm_id;
    } else if (event->kind == CORE_EVENT_WORKER_READY) {
        watch->given_up[event->vm] = 0;
    }
}

/* ---- what is looked at ---- */

static bool any_available(const struct core *core, uint32_t mask)
{
    for (uint32_t gpu = 0; gpu < core_gpu_count(core); gpu++) {
        if ((mask >> gpu & 1) && core_gpu_available(core, gpu)) {
            return true;
        }
    }
    return false;
}

static void look_at_gpus(struct mediator *mediator, struct health *health)
{
    enum health_severity severity =
        any_available(mediator->core, UINT32_MAX) ? HEALTH_WARNING : HEALTH_ERROR;
    char subject[32];

    health_begin(health, HEALTH_GPU);
    for (uint32_t gpu = 0; gpu < core_gpu_count(mediator->core); gpu++) {
        const char *reason = gpu_health_reason(mediator->gpu_health, gpu);

        snprintf(subject, sizeof(subject), "GPU %" PRIu32, gpu);
        if (!core_gpu_available(mediator->core, gpu)) {
            health_report(health, HEALTH_GPU, severity, subject,
                          "it takes no work: %s; docs/gpu.md says what helps",
                          reason[0] ? reason : "its workers can't use it");
        }
    }
    health_end(health, HEALTH_GPU);
}

/* `vms`: how many VMs each pool has. */
static void look_at_pools(struct mediator *mediator, struct health *health, const uint32_t *vms)
{
    char subject[16];

    health_begin(health, HEALTH_POOL);
    for (char pool = VGPU_POOL_FIRST; pool <= VGPU_POOL_LAST; pool++) {
        uint32_t count = vms[pool - VGPU_POOL_FIRST], mask = core_pool_gpus(mediator->core, pool);

        if (count == 0 || core_gpu_count(mediator->core) == 0) {
            continue; /* without any GPU it is the driver's matter */
        }
        snprintf(subject, sizeof(subject), "pool %c", pool);
        if (mask == 0) {
            health_report(health, HEALTH_POOL, HEALTH_ERROR, subject,
                          "it has %" PRIu32 " VM%s and no GPU of this host, so %s refused; give it "
                          "one: vgpu-admin assign-gpu --pool=%c --gpu=N (show-health lists them)",
                          count, count == 1 ? "" : "s", count == 1 ? "that is" : "they are", pool);
        } else if (!any_available(mediator->core, mask)) {
            health_report(health, HEALTH_POOL, HEALTH_ERROR, subject,
                          "it has %" PRIu32 " VM%s and none of its GPUs takes work; move %s to "
                          "another pool, or see what is wrong with the GPUs",
                          count, count == 1 ? "" : "s", count == 1 ? "it" : "them");
        }
    }
    health_end(health, HEALTH_POOL);
}

static void look_at_vms(struct health_watch *watch, struct health *health)
{
    struct mediator *mediator = watch->mediator;
    uint32_t pools[VGPU_POOL_LAST - VGPU_POOL_FIRST + 1] = {0};
    struct core_vm_stats stats;
    char subject[32];

    health_begin(health, HEALTH_WORKER);
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        if (!core_vm_stats(mediator->core, slot, clock_now_ns(), &stats)) {
            watch->given_up[slot] = 0;
            continue;
        }
        if (stats.config.pool >= VGPU_POOL_FIRST && stats.config.pool <= VGPU_POOL_LAST) {
            pools[stats.config.pool - VGPU_POOL_FIRST]++;
        }
        if (watch->given_up[slot] == stats.config.vm_id && stats.config.vm_id != 0 &&
            !stats.config.quarantined) {
            snprintf(subject, sizeof(subject), "VM %" PRIu32, stats.config.vm_id);
            health_report(health, HEALTH_WORKER, HEALTH_ERROR, subject,
                          "its worker does not start, so its jobs are refused; the log has the "
                          "worker's own messages, and the VM's next job tries again");
        }
    }
    health_end(health, HEALTH_WORKER);
    look_at_pools(mediator, health, pools);
}

/* What a connection holds ends with it; what an administrator paused stays until somebody asks. */
static void look_at_pauses(struct mediator *mediator, struct health *health)
{
    char subject[32], since[UTC_BYTES];

    health_begin(health, HEALTH_PAUSED);
    for (uint32_t gpu = 0; gpu < core_gpu_count(mediator->core); gpu++) {
        const struct hold_gpu *hold = &mediator->holds.gpus[gpu];

        if (hold->paused) {
            snprintf(subject, sizeof(subject), "GPU %" PRIu32, gpu);
            health_report(
                health, HEALTH_PAUSED, HEALTH_ERROR, subject,
                "paused by an administrator (process %d, uid %u) since %s, held by nobody: "
                "vgpu-admin resume --gpu=%" PRIu32,
                (int)hold->who.pid, (unsigned)hold->who.uid,
                utc_text((uint64_t)hold->since_s * NS_PER_S, 0, since), gpu);
        }
    }
    health_end(health, HEALTH_PAUSED);
}

static void report_socket(void *opaque, const char *path, const char *trouble)
{
    health_report(opaque, HEALTH_SOCKET, HEALTH_ERROR, path,
                  "this socket can't be made: %s. VMs that are connected are served, others can't "
                  "connect",
                  trouble);
}

static void look_at_admin_socket(struct mediator *mediator, struct health *health)
{
    const char *path = mediator->options.admin_path;
    char error[SOCKET_ERROR_BYTES];
    int ret;

    if (!mediator->admin_point) {
        return;
    }
    ret = listen_point_look(mediator->admin_point, path, error, sizeof(error));
    if (ret > 0) {
        log_warning("vgpu-admin's socket %s was removed, and is made again", path);
    } else if (ret < 0) {
        health_report(health, HEALTH_SOCKET, HEALTH_WARNING, path,
                      "vgpu-admin's socket is gone and can't be made again: %s", error);
    }
}

/* Makes again what is gone. */
static void look_at_sockets(struct mediator *mediator, struct health *health)
{
    health_begin(health, HEALTH_SOCKET);
    listeners_look(mediator->listeners);
    listeners_troubles(mediator->listeners, report_socket, health);
    look_at_admin_socket(mediator, health);
    health_end(health, HEALTH_SOCKET);
}

/* Is this a VM that should be served, and is not connected? */
static bool is_missed(const struct mediator *mediator, const struct process *process)
{
    bool any_vm = mediator->options.core.allow_unregistered;
    struct core_identity identity;
    struct core_vm_stats stats;
    uint32_t count, slot;

    if (!identity_from_process(process, &identity)) {
        return false;
    }
    count = identity.kind == CORE_IDENTITY_UUID ? 1 : identity.vm_id_count;
    for (uint32_t i = 0; i < count; i++) {
        slot = identity.kind == CORE_IDENTITY_UUID
                   ? core_vm_find_uuid(mediator->core, identity.uuid)
                   : core_vm_find(mediator->core, identity.vm_ids[i]);
        if (slot == CORE_NONE ? any_vm
                              : core_vm_stats(mediator->core, slot, clock_now_ns(), &stats) &&
                                    stats.session == CORE_NONE) {
            return true;
        }
    }
    return false;
}

static void report_qemu(void *opaque, const struct process *process, const char *text)
{
    const char *name = process->cmdline.name;
    struct mediator *mediator = opaque;
    char subject[HEALTH_SUBJECT_BYTES];

    if (is_missed(mediator, process)) {
        snprintf(subject, sizeof(subject), "QEMU %d (%s)", (int)process->pid,
                 name[0] ? name : "no name");
        health_report(mediator->health, HEALTH_SOCKET_ACCESS, HEALTH_ERROR, subject, "%s", text);
    }
}

static void look_at_access(struct mediator *mediator, struct health *health)
{
    pid_t holder;

    health_begin(health, HEALTH_SOCKET_ACCESS);
    if (mediator->discovery_lock && discovery_lock_taken(mediator->discovery_lock, &holder)) {
        health_report(
            health, HEALTH_SOCKET_ACCESS, HEALTH_WARNING, "discovery",
            "another vgpu-mediator (process %d) looks for the QEMUs of this host, so this "
            "one makes no sockets for them before that one ends; start it with --no-discovery "
            "if it is never to, or stop the other one",
            (int)holder);
    }
    if (mediator->discovery) {
        discovery_troubles(mediator->discovery, report_qemu, mediator);
    }
    health_end(health, HEALTH_SOCKET_ACCESS);
}

/* A limit that nobody keeps is worse than none: its VMs are named. */
static void look_at_memory(struct mediator *mediator, struct health *health)
{
    struct core_vm_stats stats;
    uint32_t count = 0, first = 0;

    if (!mediator->keeper || !keeper_link_ready(mediator->keeper) ||
        (keeper_link_welcome(mediator->keeper)->flags & VGPU_KEEPER_LIMITS_MEMORY)) {
        return;
    }
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        if (core_vm_stats(mediator->core, slot, clock_now_ns(), &stats) &&
            stats.config.host_memory_bytes != 0) {
            first = count++ == 0 ? stats.config.vm_id : first;
        }
    }
    if (count > 0) {
        health_report(health, HEALTH_KEEPER, HEALTH_WARNING, "host memory",
                      "VM %" PRIu32 " and %" PRIu32 " more have a limit of the host's memory, and "
                      "vgpu-keeper can't keep it: it has no control group of its own that counts "
                      "memory (Delegate=memory in its unit; docs/keeper.md)",
                      first, count - 1);
    }
}

static void look_at_keeper(struct mediator *mediator, struct health *health)
{
    health_begin(health, HEALTH_KEEPER);
    if (mediator->keeper && !keeper_link_ready(mediator->keeper)) {
        health_report(health, HEALTH_KEEPER, HEALTH_ERROR, "vgpu-keeper",
                      "it is not there, so no worker can be started: %s. It is looked for again "
                      "every second; systemctl status vgpu-keeper says more",
                      keeper_link_trouble(mediator->keeper));
    }
    look_at_memory(mediator, health);
    health_end(health, HEALTH_KEEPER);
}

static void look_at_parts(struct mediator *mediator, struct health *health)
{
    const char *trouble = mediator->config ? config_store_trouble(mediator->config) : "";
    struct discovery_left_out left_out = {0};
    char others[64] = "";

    if (mediator->config && !mediator->stopping) {
        config_store_retry(mediator->config);
    }
    health_begin(health, HEALTH_DATABASE);
    if (trouble[0]) {
        health_report(health, HEALTH_DATABASE, HEALTH_WARNING, "database", "%s", trouble);
    }
    health_end(health, HEALTH_DATABASE);
    if (mediator->discovery) {
        left_out = discovery_left_out(mediator->discovery);
    }
    health_begin(health, HEALTH_QEMU_PLACES);
    if (left_out.count > 1) {
        snprintf(others, sizeof(others), " and %" PRIu32 " other%s", left_out.count - 1,
                 left_out.count == 2 ? "" : "s");
    }
    if (left_out.count && discovery_count(mediator->discovery) < DISCOVERY_QEMUS_MAX) {
        health_report(health, HEALTH_QEMU_PLACES, HEALTH_WARNING, "QEMUs",
                      "no socket is made for QEMU %d%s, because one user has %u already: see whose "
                      "they are; for a user that runs nothing but VMs there is --qemu-user",
                      (int)left_out.pid, others, DISCOVERY_OF_USER_MAX);
    } else if (left_out.count) {
        health_report(health, HEALTH_QEMU_PLACES, HEALTH_ERROR, "QEMUs",
                      "%u are found, and there is no place for more: no socket is made for QEMU "
                      "%d%s until one of those ends",
                      DISCOVERY_QEMUS_MAX, (int)left_out.pid, others);
    }
    health_end(health, HEALTH_QEMU_PLACES);
}

void health_watch_look(struct health_watch *watch)
{
    struct mediator *mediator = watch->mediator;

    look_at_keeper(mediator, mediator->health);
    driver_watch_doubts(mediator->driver_watch, gpu_health_doubts(mediator->gpu_health));
    look_at_gpus(mediator, mediator->health);
    look_at_vms(watch, mediator->health);
    look_at_pauses(mediator, mediator->health);
    look_at_sockets(mediator, mediator->health);
    look_at_access(mediator, mediator->health);
    look_at_parts(mediator, mediator->health);
}

/* ---- life ---- */

static void on_timer(uv_timer_t *timer)
{
    health_watch_look(timer->data);
}

int health_watch_start(struct health_watch *watch)
{
    int ret = uv_timer_init(&watch->mediator->loop, &watch->timer);

    if (ret < 0) {
        return ret;
    }
    watch->open = true;
    watch->timer.data = watch;
    return uv_timer_start(&watch->timer, on_timer, 0, HEALTH_WATCH_MS);
}

void health_watch_stop(struct health_watch *watch)
{
    if (watch && watch->open) {
        watch->open = false;
        uv_close((uv_handle_t *)&watch->timer, NULL);
    }
}
