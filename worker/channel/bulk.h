/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has the buffers of one channel, and does the bulk operations on them in plain C:
 * it is the CPU backend for VGPUBulkRecord (vgpu_channel.h).
 *
 * An operation is done in units of a few milliseconds at most, so that nothing that a guest
 * asks for holds the worker's thread for long.
 */
#ifndef WORKER_CHANNEL_BULK_H
#define WORKER_CHANNEL_BULK_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu/vgpu_channel.h"

/* What all channels of a worker may use together. */
struct bulk_account {
    uint64_t limit_bytes;
    uint64_t used_bytes;
};

struct bulk;

/* An operation under way.  Its record is private memory. */
struct bulk_op {
    VGPUBulkRecord record;
    uint8_t *target; /* the checked ranges */
    const uint8_t *a, *b;
    uint64_t done; /* units of its own */
};

/* NULL when there is no memory.  `account` and the chunk outlive it. */
struct bulk *bulk_new(struct bulk_account *account, uint8_t *chunk0, uint64_t chunk0_bytes,
                      uint64_t arena_offset);
/* With all its buffers. */
void bulk_free(struct bulk *bulk);

/* Does this operation use the GPU, so that it needs a turn? */
bool bulk_needs_turn(uint16_t opcode);

/*
 * Checks the record in op->record and finds its ranges; what is wrong is the record's answer
 * (enum vgpu_error).  The small operations are done then.
 */
enum vgpu_error bulk_begin(struct bulk *bulk, struct bulk_op *op);
/* Does one unit more.  True: it is complete. */
bool bulk_step(struct bulk_op *op);

#endif /* WORKER_CHANNEL_BULK_H */
