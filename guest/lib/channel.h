/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header has a channel as the process has it, for the files of libvgpu that make, use and fill
 * it: transport_host.c, host_frames.c, transport_dev.c, channel.c, buffers.c.
 */
#ifndef VGPU_LIB_CHANNEL_H
#define VGPU_LIB_CHANNEL_H

#include "internal.h"
#include "vgpu/vgpu_ring.h"

#define CHANNEL_LANES 2u
#define CHANNEL_LANE_CALL 0u
#define CHANNEL_PIECES 16u
#define CHANNEL_PIECE_BYTES (1u << 20)
#define CHANNEL_FOREVER UINT64_MAX

/* Pinned memory: a chunk beyond chunk 0. */
struct channel_chunk {
    uint8_t *memory; /* NULL: there is none */
    uint64_t bytes;
    uint32_t number; /* as records name it */
    int lives;       /* the worker has it */
};

/*
 * A way to have a channel.  Calls that return uint32_t give 0 or an error code, after
 * vgpu_set_error().
 */
struct channel_way {
    /*
     * Opens one by link->geometry and sets chunk0, transport, granted.  After an error close()
     * is called, too.
     */
    uint32_t (*open)(struct vgpu *v, uint64_t deadline_ns);
    /* The worker's doorbell. */
    void (*ring)(struct vgpu *v);
    /* Until the interrupt or for rest_ms; an error code: the channel has ended. */
    uint32_t (*sleep)(struct vgpu *v, int rest_ms);
    /*
     * A chunk of chunk->bytes, mapped: sets chunk->memory.  chunk->number is one that is free, and
     * may be changed.  And its end for the worker; the caller unmaps it.
     */
    uint32_t (*add_chunk)(struct vgpu *v, struct channel_chunk *chunk);
    uint32_t (*remove_chunk)(struct vgpu *v, uint32_t number);
    /*
     * Maps a range of chunk 0, in whole pages, once more, over the addresses from `place` on, which
     * the caller has reserved.  False: they are as they were.
     */
    bool (*map_again)(struct vgpu *v, uint64_t offset, uint64_t bytes, void *place);
    /* Gives back what open() got, all or a part of it; open() may be called again. */
    void (*close)(struct vgpu *v);
};

/* A transport's own state begins with this. */
struct channel_link {
    const struct channel_way *way;
    uint8_t *chunk0;    /* NULL: not mapped */
    uint32_t transport; /* enum vgpu_channel_transport */
    VGPUGeometry geometry;
    struct vgpu_channel_layout layout;
    VGPUControl *control; /* shared: each word is read once */
    struct vgpu_ring commands, notices;
    uint64_t posted;        /* records, so far */
    uint64_t failed_record; /* the first record without an answer that failed, 0: none */
    uint32_t failed_status; /* enum vgpu_error */
    uint32_t dead;          /* error code of what ended the channel; 0: it lives */
    unsigned spins;         /* looks before it sleeps */
    uint64_t reconnects;    /* channels after the first */
    uint64_t mmio_writes;   /* doorbells that are registers */
    uint64_t piece_posted[CHANNEL_PIECES]; /* the arena: which record used each piece last */
    unsigned next_piece;
    struct channel_chunk chunks[VGPU_CHUNKS_MAX]; /* from 1 on */
    uint32_t buffer_count;
    uint32_t buffer_generation[VGPU_BUFFERS_MAX];
    uint64_t buffers[VGPU_BUFFERS_MAX]; /* their handles; 0: free */
};

/* ---- for the transports ---- */

/*
 * Makes v->link, `link_bytes` large and zeroed, with this way, and opens the channel.  The
 * description is set.  0 or an error code, with nothing left.
 */
uint32_t vgpu_channel_new(struct vgpu *v, const struct channel_way *way, size_t link_bytes);
/* Ends the channel for this process: every later call fails.  They return the code. */
uint32_t vgpu_channel_dead(struct vgpu *v, uint32_t code, const char *why);
uint32_t vgpu_channel_closed(struct vgpu *v, uint32_t reason);
/* The text for OPENED's status, or the RESULT of the device. */
uint32_t vgpu_channel_refused(struct vgpu *v, uint32_t status);

/* Which channel is wanted, where it is not one for operations. */
struct channel_wish {
    uint32_t profile, features;
    uint32_t vm_id; /* as in struct vgpu_options */
    VGPUGeometry geometry;
};

/*
 * vgpu_open() for a channel of another profile: of "auto", "dev" and "host:/path".  The caller
 * writes its rings and waits on its doorbells by itself; vgpu_close() ends it.  *wish must outlive
 * the handle.
 */
int vgpu_open_channel(const char *spec, const struct channel_wish *wish, struct vgpu **out);

/* ---- for operations ---- */

/* The channel of this handle, or NULL after vgpu_set_error(). */
struct channel_link *vgpu_channel_of(struct vgpu *v);

/*
 * Appends a record: header, then `bytes` of body and zeros.  Sleeps while the ring is full.
 * 0 or the error code, after vgpu_set_error().
 */
uint32_t vgpu_channel_post(struct vgpu *v, VGPURecord *record, const void *body, uint32_t bytes,
                           uint64_t deadline_ns);
/* The chunk with these bytes, and where in it they are; 0: it is ordinary memory. */
uint32_t vgpu_pinned_find(const struct channel_link *link, const void *memory, uint64_t bytes,
                          uint64_t *offset);
/* The channel has ended, and with it all chunks; the memory stays. */
void vgpu_pinned_lost(struct channel_link *link);
void vgpu_pinned_unmap(struct channel_link *link);
/* Until so many records are over.  CHANNEL_FOREVER: no deadline. */
uint32_t vgpu_channel_wait_over(struct vgpu *v, uint64_t records, uint64_t deadline_ns);
/* Until the lane's mailbox has the answer to the last record. */
uint32_t vgpu_channel_wait_answer(struct vgpu *v, VGPUMailbox **mailbox, uint64_t deadline_ns);

#endif
