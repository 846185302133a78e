/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every access to the device goes through these functions.  Each is one machine
 * instruction and one exit to the host, and is counted.  Tests link a device of
 * their own in their place.
 */
#ifndef VGPU_MMIO_H
#define VGPU_MMIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vgpu_mmio {
    volatile uint8_t *base;
    uint64_t reads;
    uint64_t writes;
};

/* The device's file as memory, to be given back by munmap(); MAP_FAILED and errno. */
void *mmio_map(int fd, size_t bytes);
/* `offset` is a multiple of the access's size, inside the BAR. */
uint32_t mmio_read32(struct vgpu_mmio *mmio, uint32_t offset);
uint64_t mmio_read64(struct vgpu_mmio *mmio, uint32_t offset);
void mmio_write32(struct vgpu_mmio *mmio, uint32_t offset, uint32_t value);
void mmio_write64(struct vgpu_mmio *mmio, uint32_t offset, uint64_t value);

#endif
