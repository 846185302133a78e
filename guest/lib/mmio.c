/* SPDX-License-Identifier: BSD-3-Clause */
#include "mmio.h"

#include <sys/mman.h>

void *mmio_map(int fd, size_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

uint32_t mmio_read32(struct vgpu_mmio *mmio, uint32_t offset)
{
    mmio->reads++;
    return *(volatile uint32_t *)(mmio->base + offset);
}

uint64_t mmio_read64(struct vgpu_mmio *mmio, uint32_t offset)
{
    mmio->reads++;
    return *(volatile uint64_t *)(mmio->base + offset);
}

void mmio_write32(struct vgpu_mmio *mmio, uint32_t offset, uint32_t value)
{
    mmio->writes++;
    *(volatile uint32_t *)(mmio->base + offset) = value;
}

void mmio_write64(struct vgpu_mmio *mmio, uint32_t offset, uint64_t value)
{
    mmio->writes++;
    *(volatile uint64_t *)(mmio->base + offset) = value;
}
