/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mapping is what a worker has of a channel's memory: the doorbells, chunk 0 as one stretch
 * of addresses, and the lease of a guest's memory.
 *
 * Memory made by the mediator is mapped at once.  Guest memory comes in parts, each with a
 * descriptor of all of the guest's RAM: exactly the named pieces are mapped, one behind the
 * other, and the descriptor is closed at once.
 */
#ifndef WORKER_CHANNEL_MAPPING_H
#define WORKER_CHANNEL_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "vgpu/vgpu_channel_device.h"
#include "vgpu/vgpu_worker.h"

/* Memory as one stretch of addresses.  It comes whole, or in parts that follow each other. */
struct stretch {
    uint8_t *memory; /* NULL: there is none; `bytes`, once it is complete */
    uint64_t bytes;

    /* mapping.c's own. */
    uint8_t *reserved; /* the addresses that are taken for it, with what aligns the memory */
    size_t reserved_bytes;
    uint64_t mapped_bytes;
    uint64_t page_bytes; /* of the guest's memory */
    uint32_t piece_count;
};

/* Maps all of a descriptor, which must have this size, and closes it.  enum vgpu_error. */
enum vgpu_error stretch_map(struct stretch *stretch, uint64_t bytes, int fd);

/*
 * Maps a part behind those before it, and closes its descriptor, whatever becomes of it.  The
 * first one needs a stretch that is zero but for `bytes`.  piece_ends: takes the offset of each
 * piece's end, VGPU_SETUP_PIECES_MAX at most; or NULL.  After an error it is to be freed.
 */
enum vgpu_error stretch_add(struct stretch *stretch, const VGPUChunkAdd *add,
                            const VGPUPiece *pieces, int fd, uint64_t *piece_ends);

static inline bool stretch_is_complete(const struct stretch *stretch)
{
    return stretch->mapped_bytes == stretch->bytes;
}

/* Unmaps what is mapped; then it is zero. */
void stretch_free(struct stretch *stretch);

/* How many descriptors come with a frame at most. */
#define MAPPING_FDS_MAX VGPU_WORKER_CHANNEL_FDS_MAX

struct channel_mapping {
    LIST_ENTRY(channel_mapping) link; /* of its owner, while it is not complete */
    uint64_t handle;                  /* the channel's */
    vgpu_worker_channel what;
    struct vgpu_channel_layout layout;
    int doorbell, interrupt;
    uint8_t *chunk0;         /* layout.bytes, once it is complete */
    VGPUCopyPage *copy_page; /* COPIED; then `interrupt` wakes the engine; else NULL */

    /* mapping.c's own. */
    int lease; /* -1: none */
    int life;  /* the same */
    struct stretch stretch;
    uint64_t piece_ends[VGPU_SETUP_PIECES_MAX]; /* offsets in chunk 0 */
};

/*
 * Takes the descriptors, whatever becomes of it.  Returns VGPU_ERR_NONE with *mapping, or an
 * error and there is none: wrong numbers, or memory that can't be mapped.
 */
enum vgpu_error mapping_begin(uint64_t handle, const vgpu_worker_channel *what, const int *fds,
                              unsigned fd_count, struct channel_mapping **mapping);

/* The pipe's end that says whether its process lives; -1: it has none. */
int mapping_life(const struct channel_mapping *mapping);
/*
 * To be watched: when it hangs up, the device wants its memory back, perhaps where no mediator is
 * to say so.  -1: of a process of the host, or none.
 */
int mapping_watched_life(const struct channel_mapping *mapping);

/* Is all of chunk 0 mapped? */
bool mapping_is_complete(const struct channel_mapping *mapping);

/* Maps a part and closes its descriptor, whatever becomes of it.  enum vgpu_error. */
enum vgpu_error mapping_add(struct channel_mapping *mapping, const VGPUChunkAdd *add,
                            const VGPUPiece *pieces, int fd);

/*
 * Maps a range of a complete chunk 0 once more, over the addresses from `place` on, which the
 * caller has reserved.  Returns whether all of it is there.
 */
bool mapping_again(const struct channel_mapping *mapping, uint64_t offset, uint64_t bytes,
                   uint8_t *place);

/* Unmaps, and then closes all descriptors, the lease last.  NULL: does nothing. */
void mapping_free(struct channel_mapping *mapping);

#endif /* WORKER_CHANNEL_MAPPING_H */
