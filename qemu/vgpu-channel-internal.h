/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header is what the parts of the channel module know of each other: vgpu-channel.c has the
 * states, frames and registers, vgpu-channel-open.c the way from a setup to OPEN,
 * vgpu-channel-chunks.c chunks beyond chunk 0, vgpu-channel-events.c doorbells, interrupts and the
 * copy engine of a channel.
 */
#ifndef HW_MISC_VGPU_CHANNEL_INTERNAL_H
#define HW_MISC_VGPU_CHANNEL_INTERNAL_H

#include "qemu/bitmap.h"
#include "qemu/rcu.h"
#include "vgpu-channel.h"
#include "vgpu-chunk.h"
#include "vgpu-copy.h"
#include "vgpu-event.h"

/* How long an open channel waits for the next mediator, and the pause between two questions. */
#define VGPU_RESUME_MS 60000
#define VGPU_RESUME_AGAIN_MS 50

/* Of a channel that has outlived its connection. */
typedef enum VgpuResume {
    VGPU_RESUME_NONE,  /* it has not */
    VGPU_RESUME_AWAY,  /* no mediator knows of it that we could ask */
    VGPU_RESUME_ASKED, /* RESUME was sent: its answer is owed to us */
} VgpuResume;

typedef struct VgpuChannel {
    VgpuChannels *set;
    uint32_t number;
    enum vgpu_register_state state;
    uint32_t reason;
    uint32_t result;
    uint32_t vector;
    uint32_t transport; /* enum vgpu_channel_transport: offered, then granted */
    uint32_t granted;   /* VGPU_CHANNEL_* */
    bool opened;        /* OPENED with status 0 has come: a CLOSED is owed to us */
    bool last_word;     /* nothing more comes about it */
    VgpuResume resume;
    int life;             /* our end; -1: it has none */
    int lease;            /* our end; -1: the host has let go */
    bool waited;          /* for the lease, once and in vain: not again */
    VGPUChannelOpen open; /* as sent */
    VgpuChunk chunk0;
    VgpuChunk *chunks;      /* VGPU_CHUNKS_MAX, from 1 on; NULL: there were none */
    uint32_t awaited_chunk; /* what ADD or REMOVE waits for; 0: nothing */
    bool removing;          /* it is REMOVE */
    bool has_events;
    EventNotifier doorbell; /* SHARED: the worker's, as the next; never to be written to */
    VgpuWatch interrupt;
    VgpuCopy *copy;      /* COPIED: has the worker's, and a doorbell of its own */
    bool interrupt_held; /* COPIED: the machine was stopped when it came */
} VgpuChannel;

struct VgpuChannels {
    struct rcu_head rcu; /* a vCPU may be on its way into BAR2 when the device is unplugged */
    VgpuChannelsUses uses;
    VMChangeStateEntry *state_entry;
    VgpuPieceTree *pieces;
    IOThread *copy_thread; /* of all copy engines; NULL: none yet, or the main loop */
    QEMUTimer *resume_timer;
    int64_t resume_until_ms; /* 0: no channel is AWAY */
    bool running;
    bool resetting; /* GENERATION grows when no channel is left */
    uint32_t select;
    uint64_t setup;
    uint32_t driver_features;
    uint32_t generation;
    DECLARE_BITMAP(changed, VGPU_CHANNELS_MAX);
    VgpuChannel all[]; /* uses.count */
};

/* In host byte order. */
VGPUGeometry vgpu_channel_geometry(const VGPUChannelOpen *open);

/* Sends an interrupt, unless there is no such vector. */
static inline void vgpu_channels_notify(VgpuChannels *set, uint32_t vector)
{
    if (vector < set->uses.vectors) {
        set->uses.notify(set->uses.opaque, vector);
    }
}

/* vgpu-channel.c: RESULT has become another one, without a read of it. */
void vgpu_channel_tell_changed(VgpuChannel *channel);
/* The channel's copy engine gave up. */
void vgpu_channel_copy_failed(VgpuChannel *channel);
/* The last word on an open channel. */
void vgpu_channel_closed(VgpuChannel *channel, uint32_t reason);
/* Asks the host to let go. */
void vgpu_channel_send_close(VgpuChannel *channel);

/* vgpu-channel-resume.c: channels that outlive their connection. */
void vgpu_channels_resume_init(VgpuChannels *set);
/* Ends those that are AWAY. */
void vgpu_channels_resume_end(VgpuChannels *set);
void vgpu_channels_resume_cleanup(VgpuChannels *set);
/* The connection is gone.  Returns whether the channel waits for the next one. */
bool vgpu_channel_resume_later(VgpuChannel *channel);
/* The answer.  False: it makes no sense. */
bool vgpu_channel_resumed(VgpuChannel *channel, uint32_t status);
/* Closes our end: the worker lets go, whether a mediator is there or not. */
void vgpu_channel_life_end(VgpuChannel *channel);

/* vgpu-channel-open.c: COMMAND_OPEN.  NONE: it is OPENING, on_lease watches its lease. */
enum vgpu_error vgpu_channel_open(VgpuChannel *channel, IOHandler *on_lease);

/*
 * vgpu-channel-chunks.c: COMMAND_CHUNK_ADD and _REMOVE.  NONE: RESULT is PENDING, and the frames
 * ADDED and REMOVED end that.
 */
enum vgpu_error vgpu_channel_chunk_add(VgpuChannel *channel);
enum vgpu_error vgpu_channel_chunk_remove(VgpuChannel *channel);
/* Returns how many descriptors were taken; -1: the frame makes no sense. */
int vgpu_channel_chunk_added(VgpuChannel *channel, const VGPUChunkAdded *added, const int *fds,
                             unsigned fd_count);
int vgpu_channel_chunk_removed(VgpuChannel *channel, const VGPUChunkRemove *removed);
/* The host has let go of all of them. */
void vgpu_channel_chunks_release(VgpuChannel *channel);

/* vgpu-channel-events.c */
/* Can this process signal what a channel of this transport needs?  The answer never changes. */
bool vgpu_channel_events_possible(uint32_t transport);
extern const MemoryRegionOps vgpu_doorbell_ops; /* its opaque: VgpuChannels */
/*
 * Takes the descriptors of OPENED.  Returns false, and they are the caller's, when they are not
 * what they have to be.
 */
bool vgpu_channel_events_begin(VgpuChannel *channel, const int *fds);
/* reason: what the guest's control page is to say, where nobody else writes it; or NONE. */
void vgpu_channel_events_end(VgpuChannel *channel, enum vgpu_channel_reason reason);
/* The machine runs again, or stops: then no interrupt is sent. */
void vgpu_channel_events_watch(VgpuChannel *channel);

#endif
