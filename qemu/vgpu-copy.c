/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the engine works
 * --------------------
 *   guest memory                                 memfd                       worker
 *   command_tail, new bytes  --- a doorbell ---> command ring, then tail --> wakes up
 *   any range                <-- PUSH, PULL ---> the same range          <-- requests
 *   process_parked           --- INTERRUPT ----> an interrupt, if it is not 0; then it is 0
 *   worker_parked            <-- after a look, if it is 0: the next batch rings
 *
 * Order: from the guest the position first, then the bytes before it; into the memfd the bytes,
 * then the position.  A PUSH stores the first 8 bytes of its range last, as one word.
 *
 * A hostile guest writes the position, a hostile worker the requests: each word is read once and
 * checked, and nothing outside of the channel's chunks is ever touched, on either side.
 *
 * Chunks come and go from the main loop while requests are served: a lock keeps the table, and is
 * held for a slice at most.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "vgpu-copy-area.h"
#include "vgpu-copy.h"
#include "vgpu-event.h"
#include "vgpu/vgpu_channel_device.h"
#include "vgpu/vgpu_ring.h"

/* One stretch of copying, and what is done before others have their turn. */
#define SLICE_BYTES (1u << 20)
#define TURN_BYTES (4u << 20)
#define TURN_REQUESTS 1024u
/* In the main loop a pause lets the processors of the guest have the lock. */
#define PAUSE_NS 200000

struct VgpuCopy {
    VgpuCopyUses uses;
    struct vgpu_channel_layout layout;
    uint64_t command_bytes;
    VgpuCopyArea chunk0;
    QemuMutex chunks_lock;
    VgpuCopyArea *chunks; /* under the lock: VGPU_CHUNKS_MAX, from 1 on; NULL: there were none */
    VGPUCopyPage *page;
    EventNotifier doorbell; /* the guest rings, or the engine itself to go on */
    VgpuWatch wake;         /* the worker has requests */
    int worker;             /* the eventfd that wakes the worker */
    EventNotifier event;    /* tells the main loop */
    QEMUTimer *pause;       /* in the main loop */
    QemuEvent stopped;

    /* The engine's own. */
    uint64_t pulled;     /* command_tail as the worker knows it */
    uint64_t head;       /* requests that are done */
    uint64_t moved;      /* bytes of the request under way */
    uint64_t turn_bytes; /* moved in this turn */
    bool broken;         /* it has failed, and does nothing more */

    /* To the main loop; atomic. */
    int has_failed, has_interrupt;
};

/* ---- Copying ----------------------------------------------------------------- */

static bool copy_area(VgpuCopy *copy, const VgpuCopyArea *area, uint64_t offset, uint8_t *host,
                      uint64_t bytes, bool to_guest)
{
    __atomic_fetch_add(copy->uses.copied_bytes, bytes, __ATOMIC_RELAXED);
    return vgpu_copy_area(copy->uses.dev, area, offset, host, bytes, to_guest);
}

/* The same of chunk 0. */
static bool copy_range(VgpuCopy *copy, uint64_t offset, uint8_t *host, uint64_t bytes,
                       bool to_guest)
{
    return copy_area(copy, &copy->chunk0, offset, host, bytes, to_guest);
}

static bool load_word(VgpuCopy *copy, uint64_t offset, uint64_t *word)
{
    return copy_range(copy, offset, (uint8_t *)word, sizeof(*word), false);
}

static bool store_word(VgpuCopy *copy, uint64_t offset, uint64_t word)
{
    return copy_range(copy, offset, (uint8_t *)&word, sizeof(word), true);
}

static bool store_parked(VgpuCopy *copy, uint64_t offset, uint32_t parked)
{
    return copy_range(copy, offset, (uint8_t *)&parked, sizeof(parked), true);
}

/* ---- The command ring ------------------------------------------------------------ */

static VGPUControl *control_of(VgpuCopy *copy)
{
    return (VGPUControl *)(copy->chunk0.memory + copy->layout.control);
}

static bool pull_ring(VgpuCopy *copy, uint64_t tail)
{
    uint64_t at = copy->pulled % copy->command_bytes;
    uint64_t bytes = tail - copy->pulled;
    uint64_t first = MIN(bytes, copy->command_bytes - at);
    uint64_t ring = copy->layout.commands;

    uint8_t *memory = copy->chunk0.memory;

    return copy_range(copy, ring + at, memory + ring + at, first, false) &&
           copy_range(copy, ring, memory + ring, bytes - first, false);
}

/* What the process has written since the last look.  False: its memory is out of reach. */
static bool pull_commands(VgpuCopy *copy)
{
    VGPUControl *control = control_of(copy);
    uint64_t tail, notice_head;

    if (!load_word(copy, offsetof(VGPUControl, command_tail), &tail) ||
        !load_word(copy, offsetof(VGPUControl, notice_head), &notice_head)) {
        return false;
    }
    VGPU_STORE_RELEASE(&control->notice_head, notice_head);
    if (tail == copy->pulled) {
        return true;
    }
    /* A position that can't be right the worker judges; then the bytes don't matter. */
    if (tail - copy->pulled <= copy->command_bytes && !pull_ring(copy, tail)) {
        return false;
    }
    copy->pulled = tail;
    VGPU_STORE_RELEASE(&control->command_tail, tail);
    if (vgpu_must_wake(&control->worker_parked)) {
        vgpu_signal(copy->worker);
    }
    return true;
}

/* ---- Requests ---------------------------------------------------------------------- */

/* One slice of a range.  False: out of reach. */
static bool move_slice(VgpuCopy *copy, const VgpuCopyArea *area, const VGPUCopyRequest *request)
{
    bool push = request->kind == VGPU_COPY_PUSH;
    /* The first word of a range goes last. */
    bool has_word = push && request->offset % 8 == 0 && request->bytes >= 8;
    uint64_t skip = has_word ? 8 : 0;
    uint64_t at = request->offset + skip + copy->moved;
    uint64_t bytes;

    /* It may have become shorter since the last slice. */
    if (copy->moved > request->bytes - skip) {
        return false;
    }
    bytes = MIN(request->bytes - skip - copy->moved, SLICE_BYTES);
    if (!copy_area(copy, area, at, area->memory + at, bytes, push)) {
        return false;
    }
    copy->moved += bytes;
    copy->turn_bytes += bytes;
    if (copy->moved + skip == request->bytes) {
        copy->moved += skip;
        return !has_word ||
               copy_area(copy, area, request->offset, area->memory + request->offset, 8, true);
    }
    return true;
}

static bool tell_interrupt(VgpuCopy *copy)
{
    uint64_t parked;

    VGPU_FULL_FENCE();
    if (!load_word(copy, offsetof(VGPUControl, process_parked), &parked)) {
        return false;
    }
    if ((uint32_t)parked != 0) {
        /* As vgpu_must_wake() does. */
        if (!store_parked(copy, offsetof(VGPUControl, process_parked), 0)) {
            return false;
        }
        VGPU_STORE_RELEASE(&copy->has_interrupt, 1);
        event_notifier_set(&copy->event);
    }
    return true;
}

/* The chunk that a request names, with the whole range in it; NULL: it makes no sense. */
static const VgpuCopyArea *area_of(const VgpuCopy *copy, const VGPUCopyRequest *request)
{
    const VgpuCopyArea *area = &copy->chunk0;

    if (request->chunk != 0) {
        area =
            request->chunk < VGPU_CHUNKS_MAX && copy->chunks ? &copy->chunks[request->chunk] : NULL;
    }
    return area && area->chunk && request->offset <= area->chunk->bytes &&
                   request->bytes <= area->chunk->bytes - request->offset
               ? area
               : NULL;
}

/* A slice of a range.  A request that was changed half-way may end too early, never too late. */
static bool serve_range(VgpuCopy *copy, const VGPUCopyRequest *request)
{
    const VgpuCopyArea *area;
    bool well;

    qemu_mutex_lock(&copy->chunks_lock);
    area = area_of(copy, request);
    well = area && copy->moved <= request->bytes && move_slice(copy, area, request);
    qemu_mutex_unlock(&copy->chunks_lock);
    return well;
}

/* A slice of the oldest request.  False: it makes no sense, or is out of reach. */
static bool serve_request(VgpuCopy *copy)
{
    VGPUCopyRequest request;
    bool done = true;

    memcpy(&request, &copy->page->requests[copy->head % VGPU_COPY_SLOTS], sizeof(request));
    switch (request.kind) {
    case VGPU_COPY_PULL:
    case VGPU_COPY_PUSH:
        if (!serve_range(copy, &request)) {
            return false;
        }
        done = copy->moved == request.bytes;
        break;
    case VGPU_COPY_INTERRUPT:
        if (!tell_interrupt(copy)) {
            return false;
        }
        break;
    default: return false;
    }
    if (done) {
        copy->moved = 0;
        VGPU_STORE_RELEASE(&copy->page->head, ++copy->head);
        if (vgpu_must_wake(&copy->page->worker_parked)) {
            vgpu_signal(copy->worker);
        }
    }
    return true;
}

/* ---- A turn of the engine -------------------------------------------------------------- */

static void go_on_later(VgpuCopy *copy)
{
    if (copy->uses.own_thread) {
        event_notifier_set(&copy->doorbell);
    } else {
        timer_mod(copy->pause, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + PAUSE_NS);
    }
}

/* The guest has cleared this word with its doorbell, which has been looked after. */
static bool wait_for_doorbell(VgpuCopy *copy)
{
    uint64_t parked, tail;

    if (!load_word(copy, offsetof(VGPUControl, worker_parked), &parked)) {
        return false;
    }
    if ((uint32_t)parked != 0) {
        return true;
    }
    if (!store_parked(copy, offsetof(VGPUControl, worker_parked), 1)) {
        return false;
    }
    VGPU_FULL_FENCE();
    if (!load_word(copy, offsetof(VGPUControl, command_tail), &tail)) {
        return false;
    }
    if (tail != copy->pulled) {
        go_on_later(copy); /* it came before it could ring */
    }
    return true;
}

/* How many requests there are; -1: the worker's position can't be right. */
static int64_t waiting_requests(VgpuCopy *copy)
{
    uint64_t count = VGPU_LOAD_ACQUIRE(&copy->page->tail) - copy->head;

    return count <= VGPU_COPY_SLOTS ? (int64_t)count : -1;
}

/* Does what there is to do, up to a limit.  False: it has failed. */
static bool serve(VgpuCopy *copy)
{
    uint64_t limit = copy->uses.own_thread ? TURN_BYTES : SLICE_BYTES;
    unsigned left = TURN_REQUESTS;
    int64_t count;

    copy->turn_bytes = 0;
    if (!pull_commands(copy) || !wait_for_doorbell(copy)) {
        return false;
    }
    vgpu_unpark(&copy->page->engine_parked);
    while ((count = waiting_requests(copy)) != 0) {
        if (count < 0 || !serve_request(copy)) {
            return false;
        }
        if (copy->turn_bytes >= limit || --left == 0) {
            go_on_later(copy);
            return true;
        }
    }
    vgpu_park(&copy->page->engine_parked);
    if (waiting_requests(copy) != 0) {
        go_on_later(copy);
    }
    return true;
}

static void turn(VgpuCopy *copy)
{
    if (copy->broken || serve(copy)) {
        return;
    }
    copy->broken = true;
    VGPU_STORE_RELEASE(&copy->has_failed, 1);
    event_notifier_set(&copy->event);
}

static void on_doorbell(EventNotifier *notifier)
{
    VgpuCopy *copy = container_of(notifier, VgpuCopy, doorbell);

    if (event_notifier_test_and_clear(notifier)) {
        turn(copy);
    }
}

static void on_wake(EventNotifier *notifier)
{
    VgpuCopy *copy = container_of(notifier, VgpuCopy, wake.ready);

    if (vgpu_watch_take(&copy->wake)) {
        turn(copy);
    }
}

static void on_pause_over(void *opaque)
{
    turn(opaque);
}

/* In the main loop. */
static void on_event(void *opaque)
{
    VgpuCopy *copy = opaque;
    VgpuCopyUses uses = copy->uses;
    bool failed, interrupt;

    event_notifier_test_and_clear(&copy->event);
    failed = __atomic_exchange_n(&copy->has_failed, 0, __ATOMIC_ACQ_REL);
    interrupt = __atomic_exchange_n(&copy->has_interrupt, 0, __ATOMIC_ACQ_REL);
    /* Each may end this engine: an interrupt's message can be aimed at the device itself. */
    if (failed) {
        uses.failed(uses.opaque);
    } else if (interrupt) {
        uses.interrupt(uses.opaque);
    }
}

/* ---- Life --------------------------------------------------------------------------------- */

static void unmap(VgpuCopy *copy)
{
    uint32_t i;

    for (i = 1; copy->chunks && i < VGPU_CHUNKS_MAX; i++) {
        vgpu_copy_area_end(&copy->chunks[i]);
    }
    g_free(copy->chunks);
    vgpu_copy_area_end(&copy->chunk0);
    if (copy->page) {
        munmap(copy->page, sizeof(*copy->page));
    }
    qemu_mutex_destroy(&copy->chunks_lock);
    g_free(copy);
}

static void watch(VgpuCopy *copy, bool on)
{
    vgpu_aio_set_notifier(copy->uses.context, &copy->doorbell, on ? on_doorbell : NULL);
    vgpu_aio_set_notifier(copy->uses.context, &copy->wake.ready, on ? on_wake : NULL);
}

VgpuCopy *vgpu_copy_start(const VgpuCopyUses *uses, const int fds[VGPU_FD_COUNT])
{
    VgpuCopy *copy = g_new0(VgpuCopy, 1);

    copy->uses = *uses;
    copy->command_bytes = uses->geometry->command_bytes;
    if (!vgpu_channel_layout(uses->geometry, &copy->layout) ||
        copy->layout.bytes != uses->chunk->bytes) {
        g_free(copy);
        return NULL;
    }
    qemu_mutex_init(&copy->chunks_lock);
    copy->page = vgpu_copy_map(fds[VGPU_FD_COPY], sizeof(*copy->page));
    if (!vgpu_copy_area_begin(&copy->chunk0, uses->chunk, fds[VGPU_FD_CHUNK0]) || !copy->page ||
        event_notifier_init(&copy->doorbell, 0) < 0) {
        unmap(copy);
        return NULL;
    }
    if (event_notifier_init(&copy->event, 0) < 0) {
        event_notifier_cleanup(&copy->doorbell);
        unmap(copy);
        return NULL;
    }
    if (!vgpu_watch_init(&copy->wake, fds[VGPU_FD_INTERRUPT])) {
        event_notifier_cleanup(&copy->doorbell);
        event_notifier_cleanup(&copy->event);
        unmap(copy);
        return NULL;
    }
    close(fds[VGPU_FD_CHUNK0]);
    close(fds[VGPU_FD_COPY]);
    copy->worker = fds[VGPU_FD_DOORBELL];
    qemu_event_init(&copy->stopped, false);
    copy->pause = timer_new_ns(QEMU_CLOCK_REALTIME, on_pause_over, copy);
    qemu_set_fd_handler(event_notifier_get_fd(&copy->event), on_event, NULL, copy);
    /* The engine waits in the worker's place. */
    store_parked(copy, offsetof(VGPUControl, worker_parked), 1);
    VGPU_STORE_RELEASE(&copy->page->engine_parked, 1u);
    watch(copy, true);
    event_notifier_set(&copy->doorbell); /* what is there already */
    return copy;
}

bool vgpu_copy_add_chunk(VgpuCopy *copy, uint32_t number, const VgpuChunk *chunk, int fd)
{
    bool well;

    qemu_mutex_lock(&copy->chunks_lock);
    if (!copy->chunks) {
        copy->chunks = g_new0(VgpuCopyArea, VGPU_CHUNKS_MAX);
    }
    well = vgpu_copy_area_begin(&copy->chunks[number], chunk, fd);
    qemu_mutex_unlock(&copy->chunks_lock);
    if (well) {
        close(fd);
    }
    return well;
}

void vgpu_copy_remove_chunk(VgpuCopy *copy, uint32_t number)
{
    qemu_mutex_lock(&copy->chunks_lock);
    if (copy->chunks) {
        vgpu_copy_area_end(&copy->chunks[number]);
    }
    qemu_mutex_unlock(&copy->chunks_lock);
}

EventNotifier *vgpu_copy_doorbell(VgpuCopy *copy)
{
    return &copy->doorbell;
}

static void stop_in_thread(void *opaque)
{
    VgpuCopy *copy = opaque;

    watch(copy, false);
    qemu_event_set(&copy->stopped);
}

void vgpu_copy_stop(VgpuCopy *copy, enum vgpu_channel_reason reason)
{
    if (copy->uses.own_thread) {
        aio_bh_schedule_oneshot(copy->uses.context, stop_in_thread, copy);
        qemu_event_wait(&copy->stopped);
    } else {
        watch(copy, false);
    }
    timer_del(copy->pause);
    timer_free(copy->pause);
    qemu_set_fd_handler(event_notifier_get_fd(&copy->event), NULL, NULL, NULL);
    if (reason != VGPU_CLOSED_NONE) {
        /* The worker's own word on it may have come too late for the engine. */
        store_word(copy, offsetof(VGPUControl, state),
                   VGPU_CHANNEL_CLOSED | (uint64_t)reason << 32);
    }
    event_notifier_cleanup(&copy->doorbell);
    event_notifier_cleanup(&copy->event);
    vgpu_watch_cleanup(&copy->wake);
    close(copy->worker);
    qemu_event_destroy(&copy->stopped);
    unmap(copy);
}
