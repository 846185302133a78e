/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module cuts the device's byte stream into frames (VGPUSocketHeader and payload).
 *
 * The reader owns a buffer for one frame.  Feed it with what arrived; it hands
 * out complete frames and keeps the rest.  A header with a wrong magic or an
 * oversized payload makes the stream useless: there is no way to find the next
 * frame, so the connection must be closed.
 */
#ifndef COMMON_FRAME_H
#define COMMON_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "vgpu/vgpu_protocol.h"

struct frame_reader {
    uint8_t bytes[VGPU_SOCKET_FRAME_MAX];
    uint32_t used;
};

/*
 * A frame handed out; `payload` points into the reader or into the fed bytes.  Whoever reads the
 * socket fills in the descriptors that came with it, which stay its own; the reader gives none.
 */
struct frame {
    VGPUSocketHeader header;
    const uint8_t *payload;
    const int *fds;
    unsigned fd_count;
};

void frame_reader_init(struct frame_reader *reader);

/*
 * Takes bytes from *data (advancing *data and *length) until one frame is
 * complete.  Returns 1 with *frame filled (valid until the next call), 0 when
 * all bytes are taken and more are needed, -EBADMSG for a wrong magic or
 * -EMSGSIZE for a payload_len beyond VGPU_SOCKET_PAYLOAD_MAX.
 */
int frame_reader_next(struct frame_reader *reader, const uint8_t **data, size_t *length,
                      struct frame *frame);

#endif /* COMMON_FRAME_H */
