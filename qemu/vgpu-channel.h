/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has a device's channels, from the registers of protocol 2 to the frames about them.
 *
 * It owns the register block from VGPU_PROTOCOL2_BLOCK on, the doorbell pages of BAR2, and for
 * each channel its descriptors and the guest memory that it has.  What is in that memory it
 * never looks at.  docs/channels.md describes registers, frames and lifetimes.
 *
 * All functions and callbacks run under QEMU's big lock.  None blocks, but for
 * vgpu_channels_reset().
 */
#ifndef HW_MISC_VGPU_CHANNEL_H
#define HW_MISC_VGPU_CHANNEL_H

#include "vgpu/vgpu_channel_device.h"
#include "vgpu-link.h"

typedef struct VgpuChannels VgpuChannels;

typedef struct VgpuChannelsUses {
    PCIDevice *dev;
    VgpuLink *link;       /* has its owner; not started yet */
    MemoryRegion *bar2;   /* uninitialised; the owner registers it as a BAR */
    uint32_t count;       /* a power of two, at most VGPU_CHANNELS_MAX */
    uint32_t vectors;     /* of MSI-X; 0: there are none */
    bool shared_possible; /* else every channel is `copied` */
    bool copied_possible;
    bool copy_thread;       /* the copy engine has a thread of its own where QEMU allows it */
    uint64_t *copied_bytes; /* counts what copy engines have moved; atomic */
    /* Sends an MSI-X message, if the guest has that enabled. */
    void (*notify)(void *opaque, uint32_t vector);
    void *opaque;
} VgpuChannelsUses;

VgpuChannels *vgpu_channels_new(const VgpuChannelsUses *uses);
/* After the link has stopped.  Waits as vgpu_channels_reset() does. */
void vgpu_channels_free(VgpuChannels *channels);

/* A register of the block, by its offset in BAR0; 4 bytes. */
uint32_t vgpu_channels_read(VgpuChannels *channels, uint32_t reg);
void vgpu_channels_write(VgpuChannels *channels, uint32_t reg, uint32_t val);

/* What the link's owner passes on (VgpuLinkOps). */
void vgpu_channels_link_greeted(VgpuChannels *channels);
void vgpu_channels_link_lost(VgpuChannels *channels);
bool vgpu_channels_frame(VgpuChannels *channels, uint32_t msg_type, const uint8_t *payload,
                         uint32_t payload_bytes, const int *fds, unsigned fd_count);

/*
 * Ends all channels for this reason, and waits until nobody on the host touches the guest's
 * memory for them any more, at most VGPU_LET_GO_MS.  Nobody tells the guest.
 */
void vgpu_channels_reset(VgpuChannels *channels, enum vgpu_channel_reason reason);

/* The registers' values after a reset of the device. */
void vgpu_channels_reset_registers(VgpuChannels *channels);

#endif
