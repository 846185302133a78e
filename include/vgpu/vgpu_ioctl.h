/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * /dev/vgpu0, the character device of the Linux driver (guest/linux): what a program that wants a
 * channel (vgpu_channel.h) asks of it.  docs/guest-linux.md has it at length.
 *
 *     fd = open("/dev/vgpu0", O_RDWR | O_CLOEXEC);
 *     ioctl(fd, VGPU_IOCTL_OPEN, &open);        a channel: its memory (chunk 0) and its doorbell
 *     mmap(..., MAP_SHARED, fd, open.mmap_offset)
 *     mmap(NULL, VGPU_DOORBELL_PAGE, PROT_WRITE, MAP_SHARED, fd, open.doorbell_offset)
 *     ioctl(fd, VGPU_IOCTL_WAIT, &wait);        sleep until the worker's interrupt; poll() too
 *     close(fd)                                 the channel ends
 *
 * An open file has one channel at most, and belongs to the process that opened it: in another
 * one (after fork(), or a descriptor that was sent) all calls but close() fail with EPERM.  When
 * that process ends, the channel does, whoever else has the file.
 *
 * Each structure is the same for 32-bit and 64-bit programs.  Later versions add fields at the
 * end only; the size is part of the ioctl's number.  The driver takes fields that the program
 * doesn't have for 0, and refuses (E2BIG) such as it doesn't know and that are not 0.  `flags`
 * and `reserved` are 0, or EINVAL.
 *
 * Errors, besides those of each call: ENOTTY no such ioctl; EFAULT the structure can't be read
 * or written; ENODEV the device is gone, open the next one; EPERM another process's file; EINTR
 * a signal's handler ran (the call may be made again, unless it says otherwise).
 */
#ifndef VGPU_IOCTL_H
#define VGPU_IOCTL_H

#include "vgpu/vgpu_channel_device.h"

/* Of this interface.  Another major number would mean that old programs can't use it. */
#define VGPU_IOCTL_VERSION 0x00010000u

#define VGPU_DEVICE_PREFIX "/dev/vgpu" /* and a number, from 0 on */
#define VGPU_DEVICES_MAX 16u

/* As _IOWR() makes it on x86-64 and arm64: read and write, size, letter, number. */
#define VGPU_IOCTL_LETTER 0xB7u
#define VGPU_IOCTL_NUMBER(number, type)                                                            \
    (3u << 30 | (uint32_t)sizeof(type) << 16 | VGPU_IOCTL_LETTER << 8 | (number))

#define VGPU_ADDRESS_TEXT_BYTES 16u

/* Where device and channel stand.  Allowed at any time, also before OPEN. */
struct vgpu_ioctl_info {
    uint32_t flags;
    uint32_t version;   /* out: VGPU_IOCTL_VERSION of the driver */
    uint32_t device;    /* out: VGPU_DEVICE_*, the ways that the device has */
    uint32_t channels;  /* out: that the device can have at a time */
    uint32_t channel;   /* out: number of this file's; VGPU_CHANNEL_NONE before OPEN */
    uint32_t state;     /* out: enum vgpu_register_state */
    uint32_t reason;    /* out: enum vgpu_channel_reason, once it has ended */
    uint32_t transport; /* out: enum vgpu_channel_transport of an open channel */
    uint32_t features;  /* out: VGPU_CHANNEL_* granted */
    uint32_t reserved;
    uint64_t bytes;                        /* out: memory of this channel's chunks */
    uint64_t process_bytes_max;            /* out: limit for all channels of a process */
    uint64_t events;                       /* out: interrupts so far */
    char address[VGPU_ADDRESS_TEXT_BYTES]; /* out: PCI address, with a NUL */
};

#define VGPU_CHANNEL_NONE 0xFFFFFFFFu

VGPU_STATIC_ASSERT(sizeof(struct vgpu_ioctl_info) == 80, "vgpu_ioctl_info has no padding");

/*
 * Makes the channel: allocates chunk 0 by the geometry and asks the host.  It may take seconds,
 * since the host may have to start a worker.  Once for each open file.
 *   EINVAL     the geometry is outside the limits of vgpu_channel.h
 *   EBUSY      this file has, or had, a channel
 *   EMFILE     the process has as many channels as it may have
 *   ENOSPC     the device has no number free
 *   EDQUOT     more memory than the process, or all together, may have
 *   ENOMEM     the kernel has no memory in pieces large enough
 *   EREMOTEIO  the host refused: `status` says why; the file may try again
 *   ETIMEDOUT  the host did not answer; this file can't open any more
 */
struct vgpu_ioctl_open {
    uint32_t flags;
    uint32_t profile;  /* enum vgpu_channel_profile */
    uint32_t features; /* in: VGPU_CHANNEL_* wanted; out: granted */
    uint32_t channel;  /* out */
    VGPUGeometry geometry;
    uint32_t status;                       /* out: enum vgpu_error */
    uint32_t transport;                    /* out: enum vgpu_channel_transport */
    uint64_t bytes;                        /* out: of chunk 0, whole pages */
    uint64_t mmap_offset, doorbell_offset; /* out: for mmap(); MAP_SHARED */
};

VGPU_STATIC_ASSERT(sizeof(struct vgpu_ioctl_open) == 72, "vgpu_ioctl_open has no padding");

/*
 * One more chunk, zeroed.  EINVAL: bytes is 0, no multiple of VGPU_CHANNEL_PAGE or more than
 * VGPU_CHUNK_BYTES_MAX; ENOTCONN: no open channel; ENOSPC: no number is free; EDQUOT, ENOMEM,
 * EREMOTEIO, ETIMEDOUT as above.  After ETIMEDOUT the chunk may be there; it goes with the
 * channel.
 */
struct vgpu_ioctl_chunk_add {
    uint32_t flags;
    uint32_t chunk;  /* out */
    uint32_t status; /* out: enum vgpu_error */
    uint32_t reserved;
    uint64_t bytes;
    uint64_t mmap_offset; /* out */
};

VGPU_STATIC_ASSERT(sizeof(struct vgpu_ioctl_chunk_add) == 32, "vgpu_ioctl_chunk_add: no padding");

/*
 * Returns when no process of the host has the chunk any more.  What is mapped of it stays so
 * until it is unmapped.  EINVAL: there is no such chunk, or it is chunk 0.
 */
struct vgpu_ioctl_chunk_remove {
    uint32_t flags;
    uint32_t chunk;
    uint32_t status; /* out: enum vgpu_error */
    uint32_t reserved;
};

VGPU_STATIC_ASSERT(sizeof(struct vgpu_ioctl_chunk_remove) == 16, "chunk_remove: no padding");

#define VGPU_WAIT_FOREVER 0xFFFFFFFFFFFFFFFFull

/*
 * Sleeps until an interrupt has come that no WAIT has told of yet, or the channel has ended
 * (then it returns 0 at once, every time, and `state` is not VGPU_REGISTER_OPEN).  Interrupts
 * for nothing are allowed.  For one thread at a time.  timeout_ns 0 only fetches what has come.
 * poll() says POLLIN while a WAIT would return for an interrupt, POLLHUP once the channel ended.
 *   ETIME     nothing has come within timeout_ns
 *   ENOTCONN  there is no channel
 */
struct vgpu_ioctl_wait {
    uint32_t flags;
    uint32_t state;  /* out: enum vgpu_register_state */
    uint32_t reason; /* out: enum vgpu_channel_reason */
    uint32_t reserved;
    uint64_t timeout_ns; /* VGPU_WAIT_FOREVER: none */
    uint64_t events;     /* out: interrupts so far */
};

VGPU_STATIC_ASSERT(sizeof(struct vgpu_ioctl_wait) == 32, "vgpu_ioctl_wait has no padding");

#define VGPU_IOCTL_INFO VGPU_IOCTL_NUMBER(0u, struct vgpu_ioctl_info)
#define VGPU_IOCTL_OPEN VGPU_IOCTL_NUMBER(1u, struct vgpu_ioctl_open)
#define VGPU_IOCTL_CHUNK_ADD VGPU_IOCTL_NUMBER(2u, struct vgpu_ioctl_chunk_add)
#define VGPU_IOCTL_CHUNK_REMOVE VGPU_IOCTL_NUMBER(3u, struct vgpu_ioctl_chunk_remove)
#define VGPU_IOCTL_WAIT VGPU_IOCTL_NUMBER(4u, struct vgpu_ioctl_wait)

#endif /* VGPU_IOCTL_H */
