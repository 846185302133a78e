/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has the memory and the doorbells of channels, from the moment they are made until
 * both the worker and the process have their descriptors.  Then the mediator has none of them.
 */
#ifndef MEDIATOR_WORKERS_CHANNEL_MEMORY_H
#define MEDIATOR_WORKERS_CHANNEL_MEMORY_H

#include <stdint.h>

#include "vgpu/vgpu_channel.h"

/* What a channel of a host process has: VGPU_FD_DOORBELL, _INTERRUPT, _CHUNK0. */
#define CHANNEL_FDS (VGPU_FD_CHUNK0 + 1u)

struct channel_memory;

/* NULL when there is no memory. */
struct channel_memory *channel_memory_new(void);
/* Closes what is left. */
void channel_memory_free(struct channel_memory *memory);

/*
 * Chunk 0, zeroed, of this size for ever, and two eventfds at 0.  All are CLOEXEC and stay
 * ours until channel_memory_drop().  0 or -errno.
 */
int channel_memory_make(struct channel_memory *memory, uint64_t channel, uint64_t bytes);
/* CHANNEL_FDS of them; NULL: there are none. */
const int *channel_memory_fds(const struct channel_memory *memory, uint64_t channel);
/* Unknown ones are ignored. */
void channel_memory_drop(struct channel_memory *memory, uint64_t channel);

#endif /* MEDIATOR_WORKERS_CHANNEL_MEMORY_H */
