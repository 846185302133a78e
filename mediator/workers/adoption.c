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
 * Each channel that it has costs us memory and a descriptor before the core knows of it.  So a
 * worker may have as many as a VM, and one that has not told of all of them in time is killed.
 *
 * What nobody has wanted after SUPERVISOR_ORPHAN_MS is told to go, and killed after the time that
 * the core gives any worker for that.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "mediator/base/foreign_fd.h"
#include "mediator/workers/keeper_link.h"
#include "mediator/workers/supervisor_internal.h"

/* For a job without a time limit: a year. */
#define WITHOUT_LIMIT_NS (UINT64_C(31536000) * NS_PER_S)

/* False: it does not take it. */
static bool say(struct worker *worker, uint16_t type, uint64_t number)
{
    const vgpu_worker_header header = {
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

/* ---- their channels ---- */

static bool last_is_whole(const struct worker *worker)
{
    const struct held_channel *last = TAILQ_LAST(&worker->held, held_list);

    return !last || last->chunks_due == 0;
}

bool adoption_has_all(const struct worker *worker)
{
    return worker->held_due == 0 && last_is_whole(worker);
}

void adoption_forget_held(struct worker *worker)
{
    struct held_channel *held;

    while ((held = TAILQ_FIRST(&worker->held)) != NULL) {
        TAILQ_REMOVE(&worker->held, held, link);
        if (held->life >= 0) {
            foreign_fd_close(held->life);
        }
        free(held);
    }
}

/* From now on the timer looks at what there is; nothing happens if it does already. */
static void watch(struct supervisor *supervisor)
{
    if (!uv_is_active((uv_handle_t *)&supervisor->orphans)) {
        uv_timer_start(&supervisor->orphans, adoption_on_timer, SUPERVISOR_LOOK_MS,
                       SUPERVISOR_LOOK_MS);
    }
}

void adoption_announced(struct worker *worker, uint32_t channels)
{
    worker->held_due = channels;
    if (channels > 0) {
        worker->held_until_ns = clock_now_ns() + SUPERVISOR_ORPHAN_MS * NS_PER_MS;
        watch(worker->supervisor);
    }
}

/* The core wants no worker of itself before somebody has work: this one has. */
static void offer(struct worker *worker)
{
    const vgpu_keeper_worker *what = &worker->what;
    struct core *core = worker->supervisor->uses.core;
    uint32_t gpu = 0;

    while (gpu < core_gpu_count(core) && strcmp(core_gpu_uuid(core, gpu), what->gpu) != 0) {
        gpu++;
    }
    core_worker_offer(core, (what->flags & VGPU_KEEPER_HAS_UUID) != 0, what->uuid, what->vm_id, gpu,
                      clock_now_ns());
}

/* All of it has come: as soon as its VM has this worker, it has them. */
static void when_complete(struct worker *worker)
{
    if (!adoption_has_all(worker)) {
        return;
    }
    if (worker->step == WORKER_READY) {
        adoption_hand_over(worker);
    } else if (worker->step == WORKER_ORPHAN && !TAILQ_EMPTY(&worker->held)) {
        offer(worker);
    }
}

bool adoption_take_held(struct worker *worker, uint64_t number, const uint8_t *body, size_t length,
                        int fd)
{
    vgpu_worker_held told;
    struct held_channel *held = NULL;

    if (length == sizeof(told) && fd >= 0 && worker->held_due > 0 && last_is_whole(worker)) {
        memcpy(&told, body, sizeof(told));
        if (told.chunk_count < VGPU_CHUNKS_MAX) {
            held = calloc(1, sizeof(*held) + told.chunk_count * sizeof(held->chunks[0]));
        }
    }
    if (!held) {
        if (fd >= 0) {
            foreign_fd_close(fd);
        }
        return false;
    }
    held->number = number;
    held->what = told.what;
    held->life = fd;
    held->chunks_due = held->chunk_count = told.chunk_count;
    TAILQ_INSERT_TAIL(&worker->held, held, link);
    worker->held_due--;
    when_complete(worker);
    return true;
}

bool adoption_take_chunk(struct worker *worker, uint64_t number, const uint8_t *body, size_t length)
{
    struct held_channel *held = TAILQ_LAST(&worker->held, held_list);
    vgpu_worker_chunk chunk;

    if (length != sizeof(chunk) || !held || held->number != number || held->chunks_due == 0) {
        return false;
    }
    memcpy(&chunk, body, sizeof(chunk));
    held->chunks[held->chunk_count - held->chunks_due--] =
        (struct core_chunk_held){.number = chunk.chunk, .bytes = chunk.bytes};
    when_complete(worker);
    return true;
}

static void hand_over(struct worker *worker, struct held_channel *held)
{
    struct supervisor *supervisor = worker->supervisor;
    const struct core_channel_held channel = {
        .profile = held->what.profile,
        .transport = held->what.transport,
        .features = held->what.features,
        .geometry = held->what.geometry,
        .chunk_count = held->chunk_count,
        .chunks = held->chunks,
    };
    uint64_t handle =
        core_channel_adopt(supervisor->uses.core, worker->handle, &channel, clock_now_ns());

    supervisor_claim(supervisor, worker->handle, held->number, handle);
    if (handle != 0 && lives_add(supervisor->lives, handle, held->life) < 0) {
        core_channel_left(supervisor->uses.core, handle, clock_now_ns());
    } else if (handle == 0) {
        foreign_fd_close(held->life);
    }
    held->life = -1;
    watch(supervisor); /* over its life */
}

void adoption_hand_over(struct worker *worker)
{
    struct held_channel *held;

    if (!adoption_has_all(worker)) {
        return; /* again behind the last of it */
    }
    TAILQ_FOREACH (held, &worker->held, link) {
        hand_over(worker, held);
    }
    adoption_forget_held(worker);
}

static void on_life_gone(void *opaque, uint64_t channel)
{
    struct supervisor *supervisor = opaque;

    core_channel_left(supervisor->uses.core, channel, clock_now_ns());
}

void supervisor_channel_forget(struct supervisor *supervisor, uint64_t channel)
{
    lives_drop(supervisor->lives, channel);
}

/* ---- whose they are ---- */

static bool is_same_vm(const vgpu_keeper_worker *a, const vgpu_keeper_worker *b)
{
    return a->flags & b->flags & VGPU_KEEPER_HAS_UUID
               ? memcmp(a->uuid, b->uuid, sizeof(a->uuid)) == 0
               : a->vm_id == b->vm_id;
}

/* It may still tell of a channel. */
static bool may_tell_more(const struct worker *worker)
{
    return !worker->killed && (worker->step == WORKER_ORPHAN || worker->adopting != 0 ||
                               !TAILQ_EMPTY(&worker->held) || !adoption_has_all(worker));
}

uint64_t supervisor_channel_match(struct supervisor *supervisor, const struct core_vm_config *vm,
                                  int life)
{
    uint64_t channel = lives_match(supervisor->lives, life);
    const struct worker *worker;
    vgpu_keeper_worker what = {.vm_id = vm->vm_id,
                               .flags = vm->has_uuid ? VGPU_KEEPER_HAS_UUID : 0};

    if (channel != 0) {
        return channel;
    }
    memcpy(what.uuid, vm->uuid, sizeof(what.uuid));
    LIST_FOREACH (worker, &supervisor->all, link) {
        if (is_same_vm(&worker->what, &what) && may_tell_more(worker)) {
            return 0;
        }
    }
    return keeper_link_ready(supervisor->uses.keeper) ? CORE_NO_CHANNEL : 0;
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
        worker_enter(found, found->has_ready ? WORKER_ADOPTED : WORKER_CLAIMED);
    }
    return found;
}

/* A worker that is to start for the same VM; NULL: there is none. */
static const struct worker *replacement(const struct supervisor *supervisor,
                                        const struct worker *orphan)
{
    const struct worker *worker;

    LIST_FOREACH (worker, &supervisor->all, link) {
        if (worker->step == WORKER_WAITS && is_same_vm(&worker->what, &orphan->what)) {
            return worker;
        }
    }
    return NULL;
}

void adoption_end_replaced(struct supervisor *supervisor)
{
    struct worker *worker;

    LIST_FOREACH (worker, &supervisor->all, link) {
        if (worker->step == WORKER_ORPHAN && !worker->killed && replacement(supervisor, worker)) {
            log_info("VM %" PRIu32 ": worker %d is ended, for a new one is to start: what it did "
                     "was answered for when the connection to the keeper was lost",
                     worker->what.vm_id, (int)worker->pid);
            worker_kill(worker);
        }
    }
}

void adoption_begin_wait(struct supervisor *supervisor)
{
    if (supervisor->adoptions > 0 && supervisor->orphans_until_ns == 0) {
        supervisor->orphans_until_ns = clock_now_ns() + SUPERVISOR_ORPHAN_MS * NS_PER_MS;
        watch(supervisor);
    }
}

/* Their VMs may have come meanwhile. */
static void offer_all(struct supervisor *supervisor)
{
    struct worker *worker, *next;

    for (worker = LIST_FIRST(&supervisor->all); worker; worker = next) {
        next = LIST_NEXT(worker, link);
        if (!worker->killed && !worker->told_to_go && worker->has_ready) {
            when_complete(worker);
        }
    }
}

/* True: one of them has still to leave. */
static bool tell_to_go(struct supervisor *supervisor)
{
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
    return again;
}

/* True: one has still to tell of what it has. */
static bool end_incomplete(struct supervisor *supervisor, uint64_t now_ns)
{
    struct worker *worker;
    bool any = false;

    LIST_FOREACH (worker, &supervisor->all, link) {
        if (worker->killed || worker->step == WORKER_FAILED || adoption_has_all(worker)) {
            continue;
        }
        if (now_ns < worker->held_until_ns) {
            any = true;
        } else {
            adoption_forget_held(worker);
            worker_kill_for_protocol(worker, "did not tell of all its channels in time");
        }
    }
    return any;
}

void adoption_on_timer(uv_timer_t *timer)
{
    struct supervisor *supervisor = timer->data;
    uint64_t now_ns = clock_now_ns();
    bool incomplete = end_incomplete(supervisor, now_ns);

    lives_look(supervisor->lives, on_life_gone, supervisor);
    if (supervisor->orphans_until_ns != 0 && now_ns < supervisor->orphans_until_ns) {
        offer_all(supervisor);
    } else if (supervisor->orphans_until_ns != 0) {
        supervisor->orphans_until_ns = tell_to_go(supervisor) ? now_ns + CORE_STOP_GRACE_NS : 0;
    }
    if (supervisor->orphans_until_ns == 0 && !incomplete && !lives_any(supervisor->lives)) {
        uv_timer_stop(timer);
    }
}

void adoption_report(struct worker *worker)
{
    struct core *core = worker->supervisor->uses.core;

    worker_now_ready(worker);
    core_worker_adopted(core, worker->handle);
    core_worker_ready(core, worker->handle, &worker->ready, clock_now_ns());
    adoption_hand_over(worker);
}

/* What the mediator before has asked of it may take as long as any job. */
void adoption_report_claimed(struct worker *worker)
{
    const struct supervisor_uses *uses = &worker->supervisor->uses;
    uint64_t limit_ns = uses->config->job_timeout_ns;

    worker_enter(worker, WORKER_ENDS);
    core_worker_begun(uses->core, worker->handle,
                      clock_now_ns() + (limit_ns ? limit_ns : WITHOUT_LIMIT_NS));
}
