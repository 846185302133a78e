/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header has the two ends of a byte ring in channel memory (vgpu_channel.h), and says when
 * a side sleeps and when it wakes the other one.
 *
 * Whoever writes or reads such a ring uses this code, so that its order stands in one place.
 * tests/models runs it under a weak memory model, with each fence taken out in turn.
 *
 * A struct vgpu_ring is private to its side and to one thread.  Its own position is counted
 * there; the shared word is only ever written from it.  The other side's position is read once
 * for each look and checked; one that can't be right gives VGPU_RING_BROKEN, and then the
 * channel is to be closed.  Nothing here writes or reads outside `bytes`, whatever the other
 * side does.
 *
 * Plain C99 with the atomics of GCC and Clang.  A program that has its own (a kernel, a model
 * checker) defines VGPU_ATOMICS and the macros below it before including this.
 */
#ifndef VGPU_RING_H
#define VGPU_RING_H

#include "vgpu/vgpu_channel.h"

#ifndef VGPU_ATOMICS
#define VGPU_LOAD_RELAXED(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define VGPU_LOAD_ACQUIRE(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define VGPU_STORE_RELAXED(p, value) __atomic_store_n((p), (value), __ATOMIC_RELAXED)
#define VGPU_STORE_RELEASE(p, value) __atomic_store_n((p), (value), __ATOMIC_RELEASE)
#define VGPU_FULL_FENCE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
/* Bytes of the ring may change under a hostile peer's hands: the copy is what counts. */
#define VGPU_COPY_IN(to, from, bytes) __builtin_memcpy((to), (from), (bytes))
#define VGPU_COPY_OUT(to, from, bytes) __builtin_memcpy((to), (from), (bytes))
#endif

enum vgpu_ring_result {
    VGPU_RING_OK = 0,
    VGPU_RING_EMPTY = 1,   /* reader: nothing new */
    VGPU_RING_FULL = 2,    /* writer: not so much room yet */
    VGPU_RING_BROKEN = -1, /* the other side's position or record can't be right */
};

struct vgpu_ring {
    uint8_t *bytes; /* shared; `size` of them */
    uint64_t size;  /* a power of two */
    uint64_t *tail_word, *head_word;
    uint32_t *reader_parked, *writer_parked; /* shared; writer_parked NULL: it never sleeps */
    uint64_t tail, head;                     /* as this side knows them */
    uint64_t published;                      /* what it has last told the other */
};

static inline void vgpu_ring_init(struct vgpu_ring *ring, void *bytes, uint64_t size,
                                  uint64_t *tail_word, uint64_t *head_word, uint32_t *reader_parked,
                                  uint32_t *writer_parked)
{
    ring->bytes = (uint8_t *)bytes;
    ring->size = size;
    ring->tail_word = tail_word;
    ring->head_word = head_word;
    ring->reader_parked = reader_parked;
    ring->writer_parked = writer_parked;
    ring->tail = 0;
    ring->head = 0;
    ring->published = 0;
}

/* A position that the other side may have written: forwards, within the ring, aligned? */
static inline int vgpu_position_ok(uint64_t now, uint64_t before, uint64_t most)
{
    return now - before <= most && now % VGPU_RECORD_ALIGN == 0;
}

/* ---- sleeping ---- */

/*
 * Before sleeping: announce it, then look once more at what is waited for (acquire), and sleep
 * only if there is still nothing.  Without the fence both sides could miss each other.
 */
static inline void vgpu_park(uint32_t *parked)
{
    VGPU_STORE_RELAXED(parked, 1u);
    VGPU_FULL_FENCE();
}

static inline void vgpu_unpark(uint32_t *parked)
{
    VGPU_STORE_RELAXED(parked, 0u);
}

/*
 * After the release-store that the other side may wait for: does it sleep, is it to be woken?  Then
 * its word is cleared, so that it is woken once, however much comes until it runs; the caller must
 * signal it, always.  The clearing must come before the signal, or it could undo the next
 * vgpu_park(): a system call sees to that, a doorbell that is a register needs the second fence.
 */
static inline int vgpu_must_wake(uint32_t *parked)
{
    VGPU_FULL_FENCE();
    if (VGPU_LOAD_RELAXED(parked) == 0) {
        return 0;
    }
    VGPU_STORE_RELAXED(parked, 0u);
    VGPU_FULL_FENCE();
    return 1;
}

/* ---- the writer's end ---- */

/* Is there room for so many bytes?  OK, FULL or BROKEN. */
static inline int vgpu_ring_room(struct vgpu_ring *ring, uint64_t bytes)
{
    uint64_t head;

    if (ring->size - (ring->tail - ring->head) >= bytes) {
        return VGPU_RING_OK;
    }
    head = VGPU_LOAD_ACQUIRE(ring->head_word);
    if (!vgpu_position_ok(head, ring->head, ring->published - ring->head)) {
        return VGPU_RING_BROKEN;
    }
    ring->head = head;
    return ring->size - (ring->tail - ring->head) >= bytes ? VGPU_RING_OK : VGPU_RING_FULL;
}

/* Appends bytes for which vgpu_ring_room() has found room; nobody sees them before publish. */
static inline void vgpu_ring_put(struct vgpu_ring *ring, const void *from, uint64_t bytes)
{
    uint64_t at = ring->tail & (ring->size - 1);
    uint64_t first = bytes < ring->size - at ? bytes : ring->size - at;

    if (first) {
        VGPU_COPY_OUT(ring->bytes + at, from, first);
    }
    if (bytes > first) {
        VGPU_COPY_OUT(ring->bytes, (const uint8_t *)from + first, bytes - first);
    }
    ring->tail += bytes;
}

/* Shows the reader what was put.  Not 0: it sleeps, ring its doorbell. */
static inline int vgpu_ring_publish(struct vgpu_ring *ring)
{
    if (ring->published == ring->tail) {
        return 0;
    }
    ring->published = ring->tail;
    VGPU_STORE_RELEASE(ring->tail_word, ring->tail);
    return vgpu_must_wake(ring->reader_parked);
}

/* ---- the reader's end ---- */

/* Is there something?  OK, EMPTY or BROKEN. */
static inline int vgpu_ring_look(struct vgpu_ring *ring)
{
    uint64_t tail;

    if (ring->tail != ring->head) {
        return VGPU_RING_OK;
    }
    tail = VGPU_LOAD_ACQUIRE(ring->tail_word);
    if (!vgpu_position_ok(tail, ring->tail, ring->size - (ring->tail - ring->published))) {
        return VGPU_RING_BROKEN;
    }
    ring->tail = tail;
    return tail != ring->head ? VGPU_RING_OK : VGPU_RING_EMPTY;
}

/* Copies out and steps over bytes of what look() has found.  They may not be more. */
static inline void vgpu_ring_get(struct vgpu_ring *ring, void *to, uint64_t bytes)
{
    uint64_t at = ring->head & (ring->size - 1);
    uint64_t first = bytes < ring->size - at ? bytes : ring->size - at;

    if (first) {
        VGPU_COPY_IN(to, ring->bytes + at, first);
    }
    if (bytes > first) {
        VGPU_COPY_IN((uint8_t *)to + first, ring->bytes, bytes - first);
    }
    ring->head += bytes;
}

/* Gives back the room of what was taken.  Not 0: the writer sleeps for want of it, wake it. */
static inline int vgpu_ring_release(struct vgpu_ring *ring)
{
    if (ring->published == ring->head) {
        return 0;
    }
    ring->published = ring->head;
    VGPU_STORE_RELEASE(ring->head_word, ring->head);
    return ring->writer_parked ? vgpu_must_wake(ring->writer_parked) : 0;
}

/*
 * Takes the next record into `to`, which is aligned to 8 and has VGPU_RECORD_BYTES_MAX bytes.
 * Its header is read once and is then the copy's; its number must be `seq`, its lane below
 * `lanes`.  OK, EMPTY or BROKEN; what is beyond the header is for the profile to check.
 */
static inline int vgpu_ring_take_record(struct vgpu_ring *ring, void *to, uint32_t seq,
                                        uint32_t lanes)
{
    VGPURecord *record = (VGPURecord *)to;
    uint64_t there;
    int result = vgpu_ring_look(ring);

    if (result != VGPU_RING_OK) {
        return result;
    }
    there = ring->tail - ring->head;
    if (there < sizeof(*record)) {
        return VGPU_RING_BROKEN;
    }
    vgpu_ring_get(ring, record, sizeof(*record));
    if (record->bytes < sizeof(*record) || record->bytes > VGPU_RECORD_BYTES_MAX ||
        record->bytes > there || record->bytes % VGPU_RECORD_ALIGN != 0 || record->seq != seq ||
        record->lane >= lanes || (record->flags & ~VGPU_RECORD_FLAGS) != 0) {
        return VGPU_RING_BROKEN;
    }
    vgpu_ring_get(ring, (uint8_t *)to + sizeof(*record), record->bytes - sizeof(*record));
    return VGPU_RING_OK;
}

/* ---- mailboxes ---- */

/*
 * The worker has written everything else of the answer.  The process may sleep: after the
 * last answer of a batch vgpu_must_wake(), or a vgpu_ring_release() that found something.
 */
static inline void vgpu_mailbox_answer(VGPUMailbox *mailbox, uint32_t seq)
{
    VGPU_STORE_RELEASE(&mailbox->seq, seq);
}

/* Is the answer there?  Then what it holds may be read, each word once. */
static inline int vgpu_mailbox_has(VGPUMailbox *mailbox, uint32_t seq)
{
    return VGPU_LOAD_ACQUIRE(&mailbox->seq) == seq;
}

/* ---- both ends of the rings of a channel ---- */

/* The command ring: the process writes it, and may sleep until there is room. */
static inline void vgpu_command_ring(struct vgpu_ring *ring, uint8_t *chunk0,
                                     const struct vgpu_channel_layout *layout,
                                     const VGPUGeometry *geometry)
{
    VGPUControl *control = (VGPUControl *)(chunk0 + layout->control);

    vgpu_ring_init(ring, chunk0 + layout->commands, geometry->command_bytes, &control->command_tail,
                   &control->command_head, &control->worker_parked, &control->process_parked);
}

/* The notice ring: the worker writes it, and never waits. */
static inline void vgpu_notice_ring(struct vgpu_ring *ring, uint8_t *chunk0,
                                    const struct vgpu_channel_layout *layout,
                                    const VGPUGeometry *geometry)
{
    VGPUControl *control = (VGPUControl *)(chunk0 + layout->control);

    vgpu_ring_init(ring, chunk0 + layout->notices, geometry->notice_bytes, &control->notice_tail,
                   &control->notice_head, &control->process_parked, (uint32_t *)0);
}

#endif /* VGPU_RING_H */
