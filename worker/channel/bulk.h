/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has the buffers of one channel, and checks the bulk operations on them
 * (VGPUBulkRecord, vgpu_channel.h).  What then executes an operation is an engine: plain C
 * (worker/cpu/bulk_cpu.c) or a GPU (worker/cuda/bulk_cuda.c).
 *
 * An operation is done in units of a few milliseconds at most, so that nothing that a process
 * asks for holds the worker's thread or the GPU for long.  An engine that starts units and
 * doesn't wait for them says BULK_STARTED once all of an operation's are on their way.
 */
#ifndef WORKER_CHANNEL_BULK_H
#define WORKER_CHANNEL_BULK_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu/vgpu_channel.h"

#define BULK_QUEUES 4u /* in which an engine may have units in flight */

enum bulk_state {
    BULK_DONE,    /* it is over, with all that it did */
    BULK_MORE,    /* a unit was done or started, and there are more */
    BULK_STARTED, /* all its units are on their way: ask poll() */
    BULK_FULL,    /* nothing was done: no room for another unit now, or no memory yet */
    BULK_FAILED,  /* this operation failed, the engine goes on */
    BULK_LOST,    /* the engine is lost: the worker leaves */
};

/* An operation under way.  Its record is private memory. */
struct bulk_op {
    VGPUBulkRecord record;
    /* Checked ranges: addresses of the engine's memory; of a chunk's for the far side of a copy. */
    uint64_t target, a, b;
    uint64_t target_bytes, a_bytes, b_bytes;
    uint64_t done;              /* units of its own */
    uint64_t last[BULK_QUEUES]; /* the engine's: numbers of its last units */
};

struct bulk_engine {
    void *opaque;
    bool alloc_needs_turn; /* it zeroes memory with the GPU */

    /*
     * Memory for buffers, within the VM's limit; the operation's units zero it.  DONE; FULL: ask
     * again when what is in flight is over; FAILED: there is no more.
     */
    enum bulk_state (*alloc)(void *opaque, uint64_t bytes, uint64_t *address);
    /* What is in flight may use it still: the engine waits for that, the caller doesn't. */
    void (*free)(void *opaque, uint64_t address, uint64_t bytes);
    /* Memory of a chunk, whole pages, from which and to which it will copy; and its end, when no
     * copy of it is in flight. */
    void (*share)(void *opaque, void *memory, uint64_t bytes);
    void (*unshare)(void *opaque, void *memory, uint64_t bytes);
    /* Before each product, outside of turns: it may take a while, the first time. */
    void (*prepare_products)(void *opaque);
    /* Does or starts one unit more. */
    enum bulk_state (*step)(void *opaque, struct bulk_op *op);
    /* Of one that is STARTED, by its `last`: DONE, STARTED or LOST. */
    enum bulk_state (*poll)(void *opaque, const uint64_t last[BULK_QUEUES]);
    /* For how long what is in flight and takes turns will keep the GPU; 0: nothing is. */
    uint64_t (*busy_ns)(void *opaque);
};

struct bulk;

/* NULL when there is no memory.  The engine outlives it. */
struct bulk *bulk_new(const struct bulk_engine *engine);
/* With all its buffers and chunks, which its caller may unmap then.  None of its copies may be in
 * flight. */
void bulk_free(struct bulk *bulk);

/*
 * Chunk `number`, which has no memory yet: records may name its bytes from `from` on, whole pages,
 * in memory that is its caller's until it is removed or all go.
 */
void bulk_add_chunk(struct bulk *bulk, uint32_t number, uint8_t *memory, uint64_t from,
                    uint64_t bytes);
/* From now on records can't name it. */
void bulk_hide_chunk(struct bulk *bulk, uint32_t number);
/* No copy of it is in flight. */
void bulk_remove_chunk(struct bulk *bulk, uint32_t number);

/* Does this operation use the GPU, so that it needs a turn? */
bool bulk_needs_turn(const struct bulk *bulk, uint16_t opcode);

/*
 * Checks the record in op->record and finds its ranges; what is wrong is the record's answer
 * (enum vgpu_error).  *full: it has to be asked again later, nothing has happened.
 */
enum vgpu_error bulk_begin(struct bulk *bulk, struct bulk_op *op, bool *full);
/* Its units failed: what bulk_begin() made for it goes. */
void bulk_undo(struct bulk *bulk, const struct bulk_op *op);

#endif /* WORKER_CHANNEL_BULK_H */
