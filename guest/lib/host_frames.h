/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header is the frames of a connection to the mediator that channels need: whole frames with
 * their descriptors, sent and received without ever waiting.
 */
#ifndef VGPU_HOST_FRAMES_H
#define VGPU_HOST_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "internal.h"
#include "vgpu/vgpu_channel_frames.h"

struct host_frames {
    int socket;      /* -1: not there */
    uint32_t filled; /* bytes of `frame` that have arrived */
    _Alignas(8) uint8_t frame[VGPU_SOCKET_FRAME_MAX];
};

/* What comes beside a frame's bytes.  The descriptors are the receiver's. */
struct host_received {
    VGPUSocketHeader header;
    int fds[VGPU_FD_COUNT];
    unsigned fd_count;
};

/* False: the socket takes nothing.  `fd` goes with the frame, and stays ours; -1: none. */
bool host_put_frame(struct host_frames *link, const struct vgpu *v, uint32_t type,
                    const void *payload, uint32_t bytes, int fd);

/*
 * Takes what has arrived of the next frame, never past its end.  1: it is whole, its payload
 * stands in link->frame behind the header until the next call; 0: not yet; -1: the connection is
 * lost, or says what is no frame.  `frame` is the same until the frame is whole, with fd_count 0
 * at the beginning.
 */
int host_receive(struct host_frames *link, struct host_received *frame);

void host_close_fds(struct host_received *frame);

#endif /* VGPU_HOST_FRAMES_H */
