/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header is the contract of the frames that open, extend and close channels (vgpu_channel.h).
 * They go between the mediator and a device of a VM, or a process of the host, on the socket of
 * vgpu_protocol.h.  docs/channels.md describes them at length.
 *
 * Each side takes the other for hostile: it checks numbers, sizes and the count of descriptors.
 */
#ifndef VGPU_CHANNEL_FRAMES_H
#define VGPU_CHANNEL_FRAMES_H

#include "vgpu/vgpu_channel.h"

/*
 * In HELLO, beside those of vgpu_protocol.h.  Without CHANNELS granted, neither side sends a
 * frame of this header.  HOST: this session is a process of the host and one of many of its
 * VM; it sends no REQUEST.  RESUME, of a device: its channels may have a life (VGPUChannelResume).
 */
#define VGPU_FEATURE_CHANNELS (1u << 2)
#define VGPU_FEATURE_HOST (1u << 3)
#define VGPU_FEATURE_RESUME (1u << 4)

/*
 * Go on where enum vgpu_msg ends.  "-> mediator" comes from the device or the host process.
 * VGPUSocketHeader.pad is the number of descriptors that come with the frame, in the order
 * that stands here; they are attached to the frame's first byte.  A frame with descriptors
 * begins a write of its own.  Another number than the frame's closes the connection.
 */
enum vgpu_channel_msg {
    VGPU_MSG_CHANNEL_OPEN = 9,    /* -> mediator: VGPUChannelOpen; of a device: 1 fd, the lease */
    VGPU_MSG_CHANNEL_OPENED = 10, /* -> device: VGPUChannelOpened; status 0: fds, see below */
    VGPU_MSG_CHANNEL_CLOSE = 11,  /* -> mediator: VGPUChannelClose */
    VGPU_MSG_CHANNEL_CLOSED = 12, /* -> device: VGPUChannelClose; the host has let go */
    VGPU_MSG_CHUNK_ADD = 13,      /* -> mediator: VGPUChunkAdd and its pieces; SHARED: 1 fd */
    VGPU_MSG_CHUNK_ADDED = 14,    /* -> device: VGPUChunkAdded; HOST and COPIED: 1 fd */
    VGPU_MSG_CHUNK_REMOVE = 15,   /* -> mediator: VGPUChunkRemove */
    VGPU_MSG_CHUNK_REMOVED = 16,  /* -> device: VGPUChunkRemove; the host has let go */
    VGPU_MSG_CHANNEL_RESET = 17,  /* -> mediator: close all; back, empty: all are closed */
    VGPU_MSG_CHANNEL_RESUME = 18, /* -> mediator: VGPUChannelResume; 1 fd; back: its status */
};

#define VGPU_FRAME_FDS_MAX 16u

/*
 * OPENED's descriptors.  All are new, so that no count of an earlier channel is left in them.
 * With VGPU_CHANNEL_LIFE one more comes behind them: the end of a pipe, for writing.
 */
enum vgpu_channel_fd {
    VGPU_FD_DOORBELL = 0,  /* eventfd: the process (its device) signals, the worker waits */
    VGPU_FD_INTERRUPT = 1, /* eventfd: the worker signals, the process (its device) waits */
    VGPU_FD_CHUNK0 = 2,    /* HOST, COPIED: memfd of chunk 0, sealed: no other size */
    VGPU_FD_COPY = 3,      /* COPIED: memfd of VGPUCopyPage */
    VGPU_FD_LIFE = 3,      /* HOST: where the life is */
    VGPU_FD_COUNT
};

/* With the life. */
#define VGPU_OPENED_FDS_MAX 5u

/* How many come with an OPENED whose status is 0. */
static inline unsigned vgpu_opened_fd_count(uint32_t transport, uint32_t features)
{
    unsigned count = transport == VGPU_TRANSPORT_SHARED   ? (unsigned)VGPU_FD_CHUNK0
                     : transport == VGPU_TRANSPORT_COPIED ? (unsigned)VGPU_FD_COUNT
                                                          : (unsigned)VGPU_FD_COPY;

    return count + ((features & VGPU_CHANNEL_LIFE) != 0);
}

#define VGPU_PROCESS_NAME_BYTES 16u

/*
 * Asks for a channel.  SHARED: chunk 0 follows in CHUNK_ADD frames, and OPENED is sent when it
 * is mapped.  The number is the device's choice among those that are not open; it is free again
 * after CLOSED, or after OPENED with an error.  One channel is one process.
 *
 * A device offers one transport, SHARED or COPIED, and sends a lease: the end of a pipe that is
 * for writing.  Whoever on the host may touch the guest's memory for this channel keeps a copy
 * of it open and closes it when it has unmapped that memory.  Nobody writes to it.  The device
 * has the other end: a hang-up there says that the host has let go, whoever died meanwhile.
 */
typedef struct VGPUChannelOpen {
    uint32_t channel;    /* below VGPU_CHANNELS_MAX */
    uint32_t profile;    /* enum vgpu_channel_profile */
    uint32_t transports; /* bit i: enum vgpu_channel_transport i is possible */
    uint32_t features;   /* VGPU_CHANNEL_*: wanted */
    VGPUGeometry geometry;
    uint32_t process; /* its pid there, for people */
    uint32_t reserved;
    char name[VGPU_PROCESS_NAME_BYTES]; /* for people: any bytes, perhaps no NUL */
} VGPUChannelOpen;

VGPU_STATIC_ASSERT(sizeof(VGPUChannelOpen) == 64, "VGPUChannelOpen is 64 bytes");

typedef struct VGPUChannelOpened {
    uint32_t channel;
    uint32_t status;    /* enum vgpu_error; not 0: there is no channel */
    uint32_t transport; /* enum vgpu_channel_transport */
    uint32_t features;  /* VGPU_CHANNEL_*: granted */
    VGPUGeometry geometry;
    uint64_t chunk0_bytes; /* as vgpu_channel_layout() says; the receiver checks it */
} VGPUChannelOpened;

VGPU_STATIC_ASSERT(sizeof(VGPUChannelOpened) == 48, "VGPUChannelOpened is 48 bytes");

/*
 * CLOSE asks, CLOSED is the last word on a channel and comes exactly once for each that was
 * open, asked for or not.  After it no process of the host reads or writes the chunks.  CLOSE
 * of a channel that is not open is ignored: its CLOSED is on the way.
 */
typedef struct VGPUChannelClose {
    uint32_t channel;
    uint32_t reason; /* CLOSED: enum vgpu_channel_reason; CLOSE: 0 */
} VGPUChannelClose;

VGPU_STATIC_ASSERT(sizeof(VGPUChannelClose) == 8, "VGPUChannelClose is 8 bytes");

/*
 * With VGPU_CHANNEL_LIFE the worker and the process go on when the mediator ends.  The process, or
 * the device for it, connects to the next one, says HELLO, and RESUME with the end of the pipe that
 * came with OPENED: who has it is the channel's process.  It never writes to it, and has it open as
 * long as it wants the channel: when it is closed, the process is gone.  `channel` is the number
 * that the channel has from now on.  The answer's status: 0: it is this connection's; QUEUE_FULL:
 * ask again, its worker has not been taken over yet; else there is no such channel.
 *
 * A device gets it in answer to VGPU_FEATURE_RESUME.  When it closes its end, the worker lets go of
 * the guest's memory, whether there is a mediator or not.
 */
typedef struct VGPUChannelResume {
    uint32_t channel; /* below VGPU_CHANNELS_MAX, of no channel that is open */
    uint32_t status;  /* back: enum vgpu_error; there: 0 */
} VGPUChannelResume;

VGPU_STATIC_ASSERT(sizeof(VGPUChannelResume) == 8, "VGPUChannelResume is 8 bytes");

/* A stretch of a chunk.  Pieces of a chunk follow each other without gaps. */
typedef struct VGPUPiece {
    uint64_t address; /* in frames: offset in the descriptor; in guest memory: a DMA address */
    uint64_t bytes;   /* multiple of VGPU_CHANNEL_PAGE, at most VGPU_PIECE_BYTES_MAX */
} VGPUPiece;

VGPU_STATIC_ASSERT(sizeof(VGPUPiece) == 16, "VGPUPiece is 16 bytes");

#define VGPU_PIECE_BYTES_MAX (4u << 20)
#define VGPU_CHUNK_MORE (1u << 0) /* more pieces of this chunk follow in the next frame */

/* ADD of chunks 1 and up: HOST and COPIED have no pieces, the mediator makes the memory. */
typedef struct VGPUChunkAdd {
    uint32_t channel;
    uint32_t chunk; /* below VGPU_CHUNKS_MAX, not in use */
    uint32_t flags; /* VGPU_CHUNK_MORE */
    uint32_t piece_count;
    uint64_t bytes;      /* of the whole chunk, the same in each of its frames */
    uint64_t page_bytes; /* SHARED: pages of the descriptor's memory, a power of two */
} VGPUChunkAdd;          /* then VGPUPiece[piece_count] */

VGPU_STATIC_ASSERT(sizeof(VGPUChunkAdd) == 32, "VGPUChunkAdd is 32 bytes");

#define VGPU_CHUNK_PIECES_FRAME_MAX                                                                \
    ((VGPU_SOCKET_PAYLOAD_MAX - (uint32_t)sizeof(VGPUChunkAdd)) / (uint32_t)sizeof(VGPUPiece))

typedef struct VGPUChunkAdded {
    uint32_t channel;
    uint32_t chunk;
    uint32_t status; /* enum vgpu_error; not 0: there is no chunk of this number */
    uint32_t reserved;
    uint64_t bytes;
} VGPUChunkAdded;

VGPU_STATIC_ASSERT(sizeof(VGPUChunkAdded) == 24, "VGPUChunkAdded is 24 bytes");

typedef struct VGPUChunkRemove {
    uint32_t channel;
    uint32_t chunk; /* not 0: chunk 0 goes with its channel */
} VGPUChunkRemove;

VGPU_STATIC_ASSERT(sizeof(VGPUChunkRemove) == 8, "VGPUChunkRemove is 8 bytes");

#endif /* VGPU_CHANNEL_FRAMES_H */
