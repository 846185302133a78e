/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The turn page is memory that the mediator shares with one worker: what the worker of a channel
 * has to know in the middle of a turn, when nobody reads its socket.  The mediator alone writes;
 * where the kernel has F_SEAL_FUTURE_WRITE, nobody else can.
 *
 * It is a hint.  The mediator charges a turn by its own clock from TURN to DONE whatever the worker
 * makes of it, and a turn has its budget and its time limit all the same.  No page, or zeros, mean
 * that nobody waits.
 */
#ifndef VGPU_TURN_H
#define VGPU_TURN_H

#include "vgpu/vgpu_protocol.h"

#define VGPU_TURN_PAGE_BYTES 4096u

typedef struct VGPUTurnPage {
    /*
     * Relaxed: others wait, and the turn is to end at this time (CLOCK_MONOTONIC), or with the unit
     * that is under way then.  0: nobody waits.  Set back before each TURN.
     */
    uint64_t yield_ns;
    uint8_t reserved[VGPU_TURN_PAGE_BYTES - 8];
} VGPUTurnPage;

VGPU_STATIC_ASSERT(sizeof(VGPUTurnPage) == VGPU_TURN_PAGE_BYTES, "VGPUTurnPage is one page");

#endif /* VGPU_TURN_H */
