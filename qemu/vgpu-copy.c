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
 * Outside the big lock the view of memory may change at any time.  So each stretch is looked up
 * under RCU and copied only if it is RAM: no access here can end in a device's code, which would
 * need the lock, and wait for the thread that waits for this one to stop.
 *
 * A hostile guest writes the position, a hostile worker the requests: each word is read once and
 * checked, and nothing outside of chunk 0 is ever touched, on either side.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
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
    uint64_t *piece_ends; /* offsets in chunk 0 */
    uint8_t *memory;      /* the memfd */
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

/* ---- Guest memory ------------------------------------------------------------ */

static bool is_plain_ram(MemoryRegion *mr, bool to_guest)
{
    return memory_region_is_ram(mr) && !memory_region_is_ram_device(mr) &&
           !(to_guest && (mr->readonly || mr->rom_device));
}

/* One word is one access; what is longer is no word. */
static void move(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
    if (bytes == 8 && ((uintptr_t)to | (uintptr_t)from) % 8 == 0) {
        VGPU_STORE_RELEASE((uint64_t *)to, VGPU_LOAD_ACQUIRE((const uint64_t *)from));
    } else {
        memcpy(to, from, bytes);
    }
}

/* A stretch of RAM that has an address here. */
static void copy_mapped(MemoryRegion *mr, hwaddr offset, uint8_t *host, uint64_t bytes,
                        bool to_guest)
{
    uint8_t *guest = (uint8_t *)memory_region_get_ram_ptr(mr) + offset;

    move(to_guest ? guest : host, to_guest ? host : guest, bytes);
    if (to_guest) {
        memory_region_set_dirty(mr, offset, bytes);
    }
}

/*
 * Copies where there is RAM, and nowhere else: a device's code would need the big lock, and this
 * one's could end the engine.  Xen's RAM has an address for a moment only: there the ordinary way
 * is gone, under the lock, so what was looked up stays what it is.
 */
static bool copy_piece(VgpuCopy *copy, hwaddr address, uint8_t *host, uint64_t bytes, bool to_guest)
{
    AddressSpace *as = pci_get_address_space(copy->uses.dev);
    bool well = true;

    rcu_read_lock();
    while (bytes > 0 && well) {
        hwaddr length = bytes, offset;
        MemoryRegion *mr = address_space_translate(as, address, &offset, &length, to_guest,
                                                   MEMTXATTRS_UNSPECIFIED);

        well = length > 0 && is_plain_ram(mr, to_guest);
        if (well && xen_enabled()) {
            well = to_guest ? vgpu_dma_write(copy->uses.dev, address, host, length)
                            : vgpu_dma_read(copy->uses.dev, address, host, length);
        } else if (well) {
            copy_mapped(mr, offset, host, length, to_guest);
        }
        address += length;
        host += length;
        bytes -= length;
    }
    rcu_read_unlock();
    return well;
}

/* The piece in which an offset of chunk 0 lies. */
static uint32_t find_piece(const VgpuCopy *copy, uint64_t offset)
{
    uint32_t low = 0, high = copy->uses.chunk->piece_count - 1;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (copy->piece_ends[middle] > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Copies a range of chunk 0, which is within it, between the guest and `host`. */
static bool copy_range(VgpuCopy *copy, uint64_t offset, uint8_t *host, uint64_t bytes,
                       bool to_guest)
{
    while (bytes > 0) {
        uint32_t i = find_piece(copy, offset);
        const VGPUPiece *piece = &copy->uses.chunk->pieces[i];
        uint64_t now = MIN(bytes, copy->piece_ends[i] - offset);
        hwaddr address = piece->address + (piece->bytes - (copy->piece_ends[i] - offset));

        if (!copy_piece(copy, address, host, now, to_guest)) {
            return false;
        }
        offset += now;
        host += now;
        bytes -= now;
    }
    return true;
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
    return (VGPUControl *)(copy->memory + copy->layout.control);
}

static bool pull_ring(VgpuCopy *copy, uint64_t tail)
{
    uint64_t at = copy->pulled % copy->command_bytes;
    uint64_t bytes = tail - copy->pulled;
    uint64_t first = MIN(bytes, copy->command_bytes - at);
    uint64_t ring = copy->layout.commands;

    return copy_range(copy, ring + at, copy->memory + ring + at, first, false) &&
           copy_range(copy, ring, copy->memory + ring, bytes - first, false);
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
static bool move_slice(VgpuCopy *copy, const VGPUCopyRequest *request)
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
    if (!copy_range(copy, at, copy->memory + at, bytes, push)) {
        return false;
    }
    copy->moved += bytes;
    copy->turn_bytes += bytes;
    if (copy->moved + skip == request->bytes) {
        copy->moved += skip;
        return !has_word ||
               copy_range(copy, request->offset, copy->memory + request->offset, 8, true);
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

static bool request_is_right(const VgpuCopy *copy, const VGPUCopyRequest *request)
{
    return request->chunk == 0 && request->offset <= copy->layout.bytes &&
           request->bytes <= copy->layout.bytes - request->offset;
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
        /* A request that was changed half-way may end too early, and never too late. */
        if (!request_is_right(copy, &request) || copy->moved > request.bytes ||
            !move_slice(copy, &request)) {
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

/* A memfd of exactly this size for ever: else an access could end this process. */
static void *map_sealed(int fd, uint64_t bytes)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat about;
    void *memory;

    if (seals < 0 || (seals & wanted) != wanted || fstat(fd, &about) < 0 ||
        (uint64_t)about.st_size != bytes) {
        return NULL;
    }
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void unmap(VgpuCopy *copy)
{
    if (copy->memory) {
        munmap(copy->memory, copy->layout.bytes);
    }
    if (copy->page) {
        munmap(copy->page, sizeof(*copy->page));
    }
    g_free(copy->piece_ends);
    g_free(copy);
}

static void watch(VgpuCopy *copy, bool on)
{
    vgpu_aio_set_notifier(copy->uses.context, &copy->doorbell, on ? on_doorbell : NULL);
    vgpu_aio_set_notifier(copy->uses.context, &copy->wake.ready, on ? on_wake : NULL);
}

static void fill_piece_ends(VgpuCopy *copy)
{
    uint64_t end = 0;
    uint32_t i;

    copy->piece_ends = g_new(uint64_t, copy->uses.chunk->piece_count);
    for (i = 0; i < copy->uses.chunk->piece_count; i++) {
        end += copy->uses.chunk->pieces[i].bytes;
        copy->piece_ends[i] = end;
    }
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
    fill_piece_ends(copy);
    copy->memory = map_sealed(fds[VGPU_FD_CHUNK0], copy->layout.bytes);
    copy->page = map_sealed(fds[VGPU_FD_COPY], sizeof(*copy->page));
    if (!copy->memory || !copy->page || event_notifier_init(&copy->doorbell, 0) < 0) {
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
