/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module is the copy engine: it moves the bytes of one `copied` channel between the guest's
 * memory and the memfds that the worker maps.
 *
 * It runs in an AioContext: in that of a thread of its own, without QEMU's big lock, or in the
 * main loop's, under that lock, in slices with pauses.  It knows positions and ranges, and
 * nothing of what the bytes mean.  All functions are called under the big lock, none blocks for
 * longer than a slice takes.
 */
#ifndef HW_MISC_VGPU_COPY_H
#define HW_MISC_VGPU_COPY_H

#include "block/aio.h"
#include "qemu/event_notifier.h"
#include "vgpu-chunk.h"

typedef struct VgpuCopy VgpuCopy;

typedef struct VgpuCopyUses {
    PCIDevice *dev;
    AioContext *context;
    bool own_thread;        /* else the context is the main loop's */
    const VgpuChunk *chunk; /* chunk 0; outlives the engine */
    const VGPUGeometry *geometry;
    uint64_t *copied_bytes; /* counts all that is moved; atomic, not the engine's alone */
    /* From the main loop: the process waits for it; the guest's memory is out of reach. */
    void (*interrupt)(void *opaque);
    void (*failed)(void *opaque);
    void *opaque;
} VgpuCopyUses;

/*
 * Takes the descriptors of OPENED (enum vgpu_channel_fd) and begins.  NULL, and none is taken,
 * when they are not what they have to be.
 */
VgpuCopy *vgpu_copy_start(const VgpuCopyUses *uses, const int fds[VGPU_FD_COUNT]);

/*
 * A chunk beyond chunk 0, which is not there yet and outlives its place here, and its memfd.  True:
 * the descriptor is taken.  Remove: no byte of it is touched afterwards.
 */
bool vgpu_copy_add_chunk(VgpuCopy *copy, uint32_t number, const VgpuChunk *chunk, int fd);
void vgpu_copy_remove_chunk(VgpuCopy *copy, uint32_t number);

/* What the guest's doorbell is to signal. */
EventNotifier *vgpu_copy_doorbell(VgpuCopy *copy);

/*
 * Ends it: no byte of the guest's is touched afterwards.  reason not 0: the control page in the
 * guest's memory says that the channel is closed, with this reason.
 */
void vgpu_copy_stop(VgpuCopy *copy, enum vgpu_channel_reason reason);

#endif
