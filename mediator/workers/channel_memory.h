/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module holds the memory, the doorbells and the leases of channels, from the moment they
 * are made or come from a device until both the worker and the process have what they need.
 *
 * Guest memory that is `shared` comes as descriptors of all of a guest's RAM.  They go to the
 * worker and are closed at once: channel_memory_take_parts().  A lease stays until
 * channel_memory_drop(), since the device learns from its end that the host has let go.
 */
#ifndef MEDIATOR_WORKERS_CHANNEL_MEMORY_H
#define MEDIATOR_WORKERS_CHANNEL_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu/vgpu_worker.h"

/* How many descriptors a channel hands over at most. */
#define CHANNEL_FDS_MAX VGPU_WORKER_CHANNEL_FDS_MAX

struct channel_memory;

/* NULL when there is no memory. */
struct channel_memory *channel_memory_new(void);
/* Closes what is left. */
void channel_memory_free(struct channel_memory *memory);

/* Keeps a copy of a lease that a device has sent.  0 or -errno. */
int channel_memory_lease(struct channel_memory *memory, uint64_t channel, int fd);
/* May a worker map these pieces of it?  It is memory of the kernel's (memfd, tmpfs, hugetlbfs), and
 * reaches so far. */
bool channel_memory_is_memory(int fd, const VGPUPiece *pieces, uint32_t count);
/*
 * Keeps a copy of a descriptor with a part of chunk 0.  0 or -errno; -EINVAL: a worker may
 * not map it.
 */
int channel_memory_part(struct channel_memory *memory, uint64_t channel, const VGPUChunkAdd *add,
                        const VGPUPiece *pieces, int fd);

/*
 * Makes two eventfds at 0, and where the transport wants it chunk 0, zeroed, of this size for
 * ever; with `life` a pipe, too.  All are CLOEXEC.  0 or -errno.
 */
int channel_memory_make(struct channel_memory *memory, uint64_t channel,
                        enum vgpu_channel_transport transport, bool life, uint64_t bytes);

/* What goes to the one and to the other; how many.  They stay ours.  0: there are none. */
unsigned channel_memory_for_worker(const struct channel_memory *memory, uint64_t channel,
                                   int fds[CHANNEL_FDS_MAX]);
unsigned channel_memory_for_session(const struct channel_memory *memory, uint64_t channel,
                                    int fds[CHANNEL_FDS_MAX]);

/* Shows each part in its order, and closes it. */
void channel_memory_take_parts(struct channel_memory *memory, uint64_t channel,
                               void (*take)(void *opaque, const VGPUChunkAdd *add,
                                            const VGPUPiece *pieces, int fd),
                               void *opaque);
/* Both have theirs: closes all but the lease. */
void channel_memory_handed_over(struct channel_memory *memory, uint64_t channel);
/*
 * A chunk of its own, zeroed and of this size for ever; ours until it is dropped, alone or with its
 * channel.  Its descriptor or -errno.
 */
int channel_memory_make_chunk(struct channel_memory *memory, uint64_t channel, uint32_t chunk,
                              uint64_t bytes);
/* -1: there is none. */
int channel_memory_chunk_fd(const struct channel_memory *memory, uint64_t channel, uint32_t chunk);
/* Unknown ones are ignored, here and below. */
void channel_memory_drop_chunk(struct channel_memory *memory, uint64_t channel, uint32_t chunk);

/* With all its chunks. */
void channel_memory_drop(struct channel_memory *memory, uint64_t channel);

#endif /* MEDIATOR_WORKERS_CHANNEL_MEMORY_H */
