/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * A keeper that outlives a mediator hands its workers to the next one, with their sockets.  What
 * lies in such a socket, or is still to come, answers what the old mediator asked.  So each is told
 * ADOPT with a number, and all that it says is thrown away up to the READY with that number.
 *
 * The core knows nothing of this.  When it wants a worker for a VM, and one that is the same in
 * every respect (VM, GPU, backend, limits) is there, it is given that one, which is ready at once
 * or as soon as it has answered.  One of the same VM that is not the same is ended: its VM's limits
 * have changed, or it is on another GPU.
 *
 * What nobody has wanted after SUPERVISOR_ORPHAN_MS is told to go, and killed after the time that
 * the core gives any worker for that.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "mediator/workers/supervisor_internal.h"

/* False: it does not take it. */
static bool say(struct worker *worker, uint16_t type, uint64_t number)
{
    vgpu_worker_header header = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .type = type,
        .length = sizeof(header),
        .job_id = number,
    };

    return send(worker->fd, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

void adoption_held(struct supervisor *supervisor, uint64_t number, const vgpu_keeper_held *held,
                   int fd)
{
    struct worker *worker = worker_new(supervisor, number, &held->worker);

    if (worker->step == WORKER_FAILED || worker_watch(worker, fd) < 0) {
        log_error("VM %" PRIu32 ": its worker %" PRIu32 " can't be adopted: it is ended",
                  held->worker.vm_id, held->process.pid);
        if (!worker->poll_open) {
            close(fd);
        }
        worker_kill(worker);
        worker_fail(worker, ENOMEM);
        return;
    }
    worker->pid = (pid_t)held->process.pid;
    /* No mediator before this one has used it: its READY may still be on the way. */
    worker->adopting = clock_now_ns();
    supervisor->adoptions++;
    worker_enter(worker, WORKER_ORPHAN);
    if (!say(worker, VGPU_WORKER_ADOPT, worker->adopting)) {
        worker_kill(worker);
    }
}

static bool is_same_vm(const vgpu_keeper_worker *a, const vgpu_keeper_worker *b)
{
    return a->flags & b->flags & VGPU_KEEPER_HAS_UUID
               ? memcmp(a->uuid, b->uuid, sizeof(a->uuid)) == 0
               : a->vm_id == b->vm_id;
}

struct worker *adoption_take(struct supervisor *supervisor, const vgpu_keeper_worker *what,
                             uint64_t handle)
{
    struct worker *worker, *found = NULL;

    LIST_FOREACH (worker, &supervisor->all, link) {
        if (worker->step != WORKER_ORPHAN || worker->killed || worker->told_to_go ||
            !is_same_vm(&worker->what, what)) {
            continue;
        }
        if (!found && memcmp(&worker->what, what, sizeof(*what)) == 0) {
            found = worker;
        } else {
            worker_kill(worker);
        }
    }
    if (found) {
        log_info("VM %" PRIu32 ": worker %d of the vgpu-mediator before goes on", what->vm_id,
                 (int)found->pid);
        found->handle = handle;
        worker_enter(found, found->has_ready ? WORKER_ADOPTED : WORKER_STARTS);
    }
    return found;
}

void adoption_begin_wait(struct supervisor *supervisor)
{
    if (supervisor->adoptions > 0 && !uv_is_active((uv_handle_t *)&supervisor->orphans)) {
        uv_timer_start(&supervisor->orphans, adoption_on_timer, SUPERVISOR_ORPHAN_MS, 0);
    }
}

void adoption_on_timer(uv_timer_t *timer)
{
    struct supervisor *supervisor = timer->data;
    struct worker *worker;
    bool again = false;

    LIST_FOREACH (worker, &supervisor->all, link) {
        if (worker->step != WORKER_ORPHAN || worker->killed) {
            continue;
        }
        if (worker->told_to_go || !say(worker, VGPU_WORKER_QUIT, 0)) {
            worker_kill(worker);
            continue;
        }
        log_info("VM %" PRIu32 ": nobody wants worker %d of the vgpu-mediator before: it is told "
                 "to go",
                 worker->what.vm_id, (int)worker->pid);
        worker->told_to_go = again = true;
    }
    if (again) {
        uv_timer_start(timer, adoption_on_timer, CORE_STOP_GRACE_NS / NS_PER_MS, 0);
    }
}
