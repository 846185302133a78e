/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module is what the copy engine knows of memory: a chunk in the guest, with its memfd.
 *
 * vgpu_copy_area() may be called from a thread without QEMU's big lock.
 */
#ifndef HW_MISC_VGPU_COPY_AREA_H
#define HW_MISC_VGPU_COPY_AREA_H

#include "vgpu-chunk.h"

/* A chunk on both sides.  All zero: there is none. */
typedef struct VgpuCopyArea {
    const VgpuChunk *chunk; /* outlives the area */
    uint64_t *piece_ends;   /* offsets in the chunk */
    uint8_t *memory;        /* the memfd */
} VgpuCopyArea;

/* Maps a memfd that has exactly this size for ever; NULL: it has not, and an access could end this
 * process.  The descriptor stays the caller's, here and below. */
void *vgpu_copy_map(int fd, uint64_t bytes);

/* False, and nothing is there, when the descriptor is not what it has to be. */
bool vgpu_copy_area_begin(VgpuCopyArea *area, const VgpuChunk *chunk, int fd);
/* Nothing to do for one that is not there. */
void vgpu_copy_area_end(VgpuCopyArea *area);

/* Copies a range, which is within the chunk, between the guest and `host`.  False: not all of it is
 * RAM now; a part may have been copied. */
bool vgpu_copy_area(PCIDevice *dev, const VgpuCopyArea *area, uint64_t offset, uint8_t *host,
                    uint64_t bytes, bool to_guest);

#endif
