/* SPDX-License-Identifier: BSD-3-Clause */
/* This is a channel as its process has it.  Only transport_host.c and buffers.c know it. */
#ifndef VGPU_LIB_CHANNEL_H
#define VGPU_LIB_CHANNEL_H

#include "internal.h"
#include "vgpu/vgpu_ring.h"

#define CHANNEL_LANES 2u
#define CHANNEL_LANE_CALL 0u
#define CHANNEL_PIECES 16u
#define CHANNEL_PIECE_BYTES (1u << 20)
#define CHANNEL_FOREVER UINT64_MAX

struct host_link {
    int socket, doorbell, interrupt; /* -1: not there */
    uint8_t *chunk0;
    VGPUGeometry geometry;
    struct vgpu_channel_layout layout;
    VGPUControl *control; /* shared: each word is read once */
    struct vgpu_ring commands, notices;
    uint64_t posted;        /* records, so far */
    uint64_t failed_record; /* the first record without an answer that failed, 0: none */
    uint32_t failed_status; /* enum vgpu_error */
    uint32_t dead;          /* error code of what ended the channel; 0: it lives */
    unsigned spins;         /* looks before it sleeps */
    uint64_t piece_posted[CHANNEL_PIECES]; /* the arena: which record used each piece last */
    unsigned next_piece;
    uint32_t buffer_generation[VGPU_BUFFERS_MAX];
    uint64_t buffers[VGPU_BUFFERS_MAX]; /* their handles; 0: free */
    uint32_t filled;                    /* bytes of `frame` that have arrived */
    _Alignas(8) uint8_t frame[VGPU_SOCKET_FRAME_MAX];
};

/* The channel of this handle, or NULL after vgpu_set_error(). */
struct host_link *vgpu_channel_of(struct vgpu *v);

/*
 * Appends a record: header, then `bytes` of body and zeros.  Sleeps while the ring is full.
 * 0 or the error code, after vgpu_set_error().
 */
uint32_t vgpu_channel_post(struct vgpu *v, VGPURecord *record, const void *body, uint32_t bytes,
                           uint64_t deadline_ns);
/* Until so many records are over.  CHANNEL_FOREVER: no deadline. */
uint32_t vgpu_channel_wait_over(struct vgpu *v, uint64_t records, uint64_t deadline_ns);
/* Until the lane's mailbox has the answer to the last record. */
uint32_t vgpu_channel_wait_answer(struct vgpu *v, VGPUMailbox **mailbox, uint64_t deadline_ns);

#endif
