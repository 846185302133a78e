/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module knows the guest memory that a driver names, and where it lies on the host.
 *
 * A chunk is a list of pieces (VGPUPiece) in addresses of the device's.  Here they are checked
 * and, where the host can map them, resolved to a descriptor and offsets, for the frames of the
 * transport `shared`.
 *
 * All functions run under QEMU's big lock.
 */
#ifndef HW_MISC_VGPU_CHUNK_H
#define HW_MISC_VGPU_CHUNK_H

#include "vgpu-link.h"

/* The pieces of all chunks of one device, so that none overlaps another. */
typedef GTree VgpuPieceTree;

VgpuPieceTree *vgpu_piece_tree_new(void);
void vgpu_piece_tree_free(VgpuPieceTree *tree);

typedef struct VgpuChunk {
    uint64_t bytes;
    uint32_t piece_count;
    VGPUPiece *pieces; /* addresses of the device's, in host byte order; ours */
} VgpuChunk;

/*
 * Takes over what a setup says of a chunk: the pieces' addresses, lengths and sum, and that
 * they overlap nothing in the tree, into which they go.  Returns false, and nothing is taken,
 * when something is wrong.  pieces is little-endian, as in the setup, and read once.
 */
bool vgpu_chunk_take(VgpuChunk *chunk, VgpuPieceTree *tree, uint64_t bytes, uint32_t piece_count,
                     const VGPUPiece *pieces);

/* Takes it out of the tree and frees what it has.  An empty one may be released again. */
void vgpu_chunk_release(VgpuChunk *chunk, VgpuPieceTree *tree);

/* Is all of it RAM that the device can reach now?  It may change later. */
bool vgpu_chunk_is_ram(PCIDevice *dev, const VgpuChunk *chunk);

/* A piece of guest RAM that a process of the host can map. */
typedef struct VgpuRamPlace {
    int fd; /* QEMU's own, of the whole RAM: to be duplicated */
    uint64_t offset;
    uint64_t page_bytes; /* of that memory; the piece is aligned to it */
} VgpuRamPlace;

/* A CHUNK_ADD: pieces that lie in one descriptor.  The first two are what is sent. */
typedef struct VgpuChunkFrame {
    VGPUChunkAdd add;
    VGPUPiece pieces[VGPU_CHUNK_PIECES_FRAME_MAX];
    uint32_t count;
    VgpuRamPlace place; /* of its first piece */
} VgpuChunkFrame;

/* All frames of a chunk. */
typedef struct VgpuChunkFrames {
    uint32_t count;
    VgpuChunkFrame all[VGPU_FRAME_FDS_MAX];
} VgpuChunkFrames;

/* What they have at most. */
#define VGPU_CHUNK_FRAMES_BYTES (VGPU_FRAME_FDS_MAX * VGPU_SOCKET_FRAME_MAX)

/* Returns whether the host can map all of the chunk; then the frames are made. */
bool vgpu_chunk_frames_make(VgpuChunkFrames *frames, PCIDevice *dev, const VgpuChunk *chunk);

/* Copies of the frames' descriptors, one for each.  Returns false, and there are none, when the
 * process may have no more. */
bool vgpu_chunk_frames_duplicate(const VgpuChunkFrames *frames, int *fds);

/* Sends them; the descriptors are the link's from now on. */
void vgpu_chunk_frames_send(VgpuChunkFrames *frames, VgpuLink *link, uint32_t channel,
                            uint32_t chunk, uint64_t chunk_bytes, const int *fds);

#endif
