/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header is the contract of channels (vgpu_channel.h) of a VM's device:
 *
 *   1. between the guest's driver and the device: registers, and the doorbell pages;
 *   2. between the device and the worker: the copy engine, for hosts that can't map a guest's
 *      memory.
 *
 * Each side takes the other for hostile; docs/channels.md says what it checks.
 */
#ifndef VGPU_CHANNEL_DEVICE_H
#define VGPU_CHANNEL_DEVICE_H

#include "vgpu/vgpu_channel_frames.h"

/* ---- 1. Registers and doorbells ------------------------------------------- */

/*
 * BAR0, from VGPU_PROTOCOL2_BLOCK on, all 32 bits wide; for set-up only, nothing here is on the
 * way of work.  Only aligned accesses of 4 bytes count: another one reads 0 and writes nothing.
 * A driver: tests ID; writes DRIVER_FEATURES; for each channel writes SELECT, VECTOR, SETUP_LO,
 * SETUP_HI, then COMMAND, and waits for the config interrupt (vector 0) or polls RESULT until
 * it is no longer PENDING.  One command per channel at a time: while its RESULT is PENDING,
 * another one is ignored.  A device without channels has 0 in all of these registers.
 *
 * VECTOR may be shared by channels; one that the device has not becomes VGPU_VECTOR_NONE.
 * A read of CHANGED takes the number of a channel that the host closed or whose PENDING command
 * ended, each once; VGPU_CHANGED_NONE: no more.  When GENERATION grows, by COMMAND_RESET or a
 * reset of the device, the host has let go of all that was open before.
 */
#define VGPU_REG2_ID 0x840u              /* RO  VGPU_CHANNEL_ID; after a removal it is not */
#define VGPU_REG2_FEATURES 0x844u        /* RO  VGPU_DEVICE_* that the device has */
#define VGPU_REG2_DRIVER_FEATURES 0x848u /* RW  those that the driver uses */
#define VGPU_REG2_CHANNELS 0x84Cu        /* RO  channels, and pages of BAR2; 0: no protocol 2 */
#define VGPU_REG2_SELECT 0x850u          /* RW  the channel that the registers below are about */
#define VGPU_REG2_COMMAND 0x854u         /* W   enum vgpu_channel_command */
#define VGPU_REG2_STATE 0x858u           /* RO  enum vgpu_register_state; read after RESULT */
#define VGPU_REG2_REASON 0x85Cu          /* RO  enum vgpu_channel_reason of its last end */
#define VGPU_REG2_RESULT 0x860u          /* RO  of its last command: enum vgpu_error or PENDING */
#define VGPU_REG2_SETUP_LO 0x864u        /* RW  DMA address of a VGPUChannelSetup; one for all */
#define VGPU_REG2_SETUP_HI 0x868u        /* RW  its upper 32 bits */
#define VGPU_REG2_VECTOR 0x86Cu          /* RW  MSI-X vector of its interrupts */
#define VGPU_REG2_CHANGED 0x870u         /* RO  which channel has changed; see below */
#define VGPU_REG2_GENERATION 0x874u      /* RO  + 1 with each reset that is complete */
#define VGPU_REG2_TRANSPORT 0x878u       /* RO  OPEN: enum vgpu_channel_transport */
#define VGPU_REG2_GRANTED 0x87Cu         /* RO  OPEN: the VGPU_CHANNEL_* that it has */
#define VGPU_REG2_END 0x880u

#define VGPU_CHANNEL_ID 0x32434756u /* "VGC2" */
#define VGPU_RESULT_PENDING 0xFFFFFFFFu
#define VGPU_CHANGED_NONE 0xFFFFFFFFu
#define VGPU_VECTOR_NONE 0xFFFFu
#define VGPU_VECTOR_CONFIG 0u /* CHANGED or GENERATION has something new */

#define VGPU_DEVICE_SHARED (1u << 0) /* it can pass descriptors of guest RAM */
#define VGPU_DEVICE_COPIED (1u << 1) /* it has a copy engine */

/* RESULT is VGPU_ERR_NONE or an error of vgpu_protocol.h when a command has ended. */
enum vgpu_channel_command {
    VGPU_COMMAND_OPEN = 1,         /* setup: open, bytes, pieces of chunk 0; STATE must be FREE */
    VGPU_COMMAND_CLOSE = 2,        /* no setup; ends when the host has let go and STATE is FREE */
    VGPU_COMMAND_CHUNK_ADD = 3,    /* setup: chunk, bytes, pieces */
    VGPU_COMMAND_CHUNK_REMOVE = 4, /* setup: chunk */
    VGPU_COMMAND_RESET = 5,        /* all channels, whatever SELECT says; has no RESULT, see
                                    * GENERATION */
};

/*
 * A channel that the host ends is CLOSING, then FREE, without a command; CHANGED names it when
 * it is FREE.  What it had in guest memory belongs to the guest again when it is FREE, never
 * before.  A reset of the device (of the machine, or of its function), Bus Master off and the
 * device's removal close all channels; the device then waits until the host has let go, but
 * at most VGPU_LET_GO_MS.
 */
enum vgpu_register_state {
    VGPU_REGISTER_FREE = 0,
    VGPU_REGISTER_OPENING = 1,
    VGPU_REGISTER_OPEN = 2,
    VGPU_REGISTER_CLOSING = 3, /* the host has not let go yet: its memory is not to be reused */
};

#define VGPU_LET_GO_MS 3000u

/* In guest memory.  The device reads it once, when COMMAND is written; then it is free. */
#define VGPU_SETUP_PIECES_MAX 256u

/*
 * Pieces lie in the order of the chunk's bytes, aligned to VGPU_CHANNEL_PAGE, all in RAM, and
 * overlap nothing that this device has.  Larger pieces that are aligned to their size cost the
 * host less; with pieces aligned to huge pages, guest memory of huge pages can be `shared`.
 */
typedef struct VGPUChannelSetup {
    VGPUChannelOpen open; /* OPEN; channel and transports are the device's to fill in */
    uint32_t chunk;       /* CHUNK_ADD, CHUNK_REMOVE */
    uint32_t piece_count; /* OPEN, CHUNK_ADD */
    uint64_t bytes;       /* of the chunk: the sum of its pieces; chunk 0: as the layout says */
    VGPUPiece pieces[VGPU_SETUP_PIECES_MAX];
} VGPUChannelSetup;

VGPU_STATIC_ASSERT(sizeof(VGPUChannelSetup) == 80 + 16 * VGPU_SETUP_PIECES_MAX,
                   "VGPUChannelSetup has no padding");

/*
 * BAR2: a page for each channel, so that a process maps its own alone.  A write of 4 bytes of
 * any value at the page's offset 0 is the doorbell; everything else is ignored, reads give 0.
 * BAR4: the MSI-X table.  Vector 0 is for CHANGED and for the interrupts of 1.0.
 */
#define VGPU_DOORBELL_PAGE 4096u

/* ---- 2. The copy engine (COPIED) ------------------------------------------ */

/*
 * The device's engine moves bytes between the guest's chunks and the memfds of the same sizes.
 * At each doorbell of the guest it pulls, by itself: command_tail, then the new bytes, then it
 * stores the position into the memfd (release) and signals VGPU_FD_DOORBELL.  What else is to
 * move the worker asks for in this page, which the guest never sees.
 *
 * A PUSH moves the bytes behind the first 8, and after a barrier the first 8 as one store: a
 * position or a mailbox's number that begins the range is seen last.  A range that is shorter, or
 * does not begin at a multiple of 8, has no such word.  Requests end in their order.  One that
 * fails (no RAM there, bus mastering off) closes the channel with COPY_FAILED.
 *
 * The worker wakes the engine by VGPU_FD_INTERRUPT, the engine the worker by VGPU_FD_DOORBELL.
 *
 * In guest RAM the engine sets worker_parked: when the channel opens, and when it has looked at
 * command_tail and found the word 0; then it looks once more.
 */
enum vgpu_copy_kind {
    VGPU_COPY_PULL = 1,      /* guest -> memfd */
    VGPU_COPY_PUSH = 2,      /* memfd -> guest */
    VGPU_COPY_INTERRUPT = 3, /* after what came before; as in vgpu_must_wake() */
};

typedef struct VGPUCopyRequest {
    uint32_t kind; /* enum vgpu_copy_kind */
    uint32_t chunk;
    uint64_t offset;
    uint64_t bytes;
    uint64_t reserved;
} VGPUCopyRequest;

VGPU_STATIC_ASSERT(sizeof(VGPUCopyRequest) == 32, "VGPUCopyRequest is 32 bytes");

#define VGPU_COPY_SLOTS 64u

typedef struct VGPUCopyPage {
    uint64_t tail; /* worker, release: requests made; then signal the engine if it parked */
    uint8_t pad0[VGPU_CONTROL_LINE - 8];
    uint64_t head; /* engine, release: requests done */
    uint8_t pad1[VGPU_CONTROL_LINE - 8];
    uint32_t engine_parked; /* as worker_parked is for the command ring */
    uint8_t pad2[VGPU_CONTROL_LINE - 4];
    uint32_t worker_parked; /* it waits for head */
    uint8_t pad3[VGPU_CONTROL_LINE - 4];
    uint8_t reserved[VGPU_CHANNEL_PAGE - 4 * VGPU_CONTROL_LINE -
                     VGPU_COPY_SLOTS * sizeof(VGPUCopyRequest)];
    VGPUCopyRequest requests[VGPU_COPY_SLOTS]; /* worker; number modulo VGPU_COPY_SLOTS */
} VGPUCopyPage;

VGPU_STATIC_ASSERT(sizeof(VGPUCopyPage) == VGPU_CHANNEL_PAGE, "VGPUCopyPage is one page");

#endif /* VGPU_CHANNEL_DEVICE_H */
