/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Outside the big lock the view of memory may change at any time.  So each stretch is looked up
 * under RCU and copied only if it is RAM: no access here can end in a device's code, which would
 * need the lock, and wait for the thread that waits for this one to stop.
 */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "vgpu-copy-area.h"
#include "vgpu/vgpu_ring.h"

static bool is_plain_ram(MemoryRegion *mr, bool to_guest)
{
    return memory_region_is_ram(mr) && !memory_region_is_ram_device(mr) &&
           !(to_guest && (mr->readonly || mr->rom_device));
}

/* One word is one access; what is longer is no word. */
static void move(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
    if (bytes == 8 && ((uintptr_t)to | (uintptr_t)from) % 8 == 0) {
        VGPU_STORE_RELEASE((uint64_t *)to, VGPU_LOAD_ACQUIRE((const uint64_t *)from));
    } else {
        memcpy(to, from, bytes);
    }
}

/* A stretch of RAM that has an address here. */
static void copy_mapped(MemoryRegion *mr, hwaddr offset, uint8_t *host, uint64_t bytes,
                        bool to_guest)
{
    uint8_t *guest = (uint8_t *)memory_region_get_ram_ptr(mr) + offset;

    move(to_guest ? guest : host, to_guest ? host : guest, bytes);
    if (to_guest) {
        memory_region_set_dirty(mr, offset, bytes);
    }
}

/*
 * Copies where there is RAM, and nowhere else: a device's code would need the big lock, and this
 * one's could end the engine.  Xen's RAM has an address for a moment only: there the ordinary way
 * is gone, under the lock, so what was looked up stays what it is.
 */
static bool copy_piece(PCIDevice *dev, hwaddr address, uint8_t *host, uint64_t bytes, bool to_guest)
{
    AddressSpace *as = pci_get_address_space(dev);
    bool well = true;

    rcu_read_lock();
    while (bytes > 0 && well) {
        hwaddr length = bytes, offset;
        MemoryRegion *mr = address_space_translate(as, address, &offset, &length, to_guest,
                                                   MEMTXATTRS_UNSPECIFIED);

        well = length > 0 && is_plain_ram(mr, to_guest);
        if (well && xen_enabled()) {
            well = to_guest ? vgpu_dma_write(dev, address, host, length)
                            : vgpu_dma_read(dev, address, host, length);
        } else if (well) {
            copy_mapped(mr, offset, host, length, to_guest);
        }
        address += length;
        host += length;
        bytes -= length;
    }
    rcu_read_unlock();
    return well;
}

/* The piece in which an offset lies. */
static uint32_t find_piece(const VgpuCopyArea *area, uint64_t offset)
{
    uint32_t low = 0, high = area->chunk->piece_count - 1;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (area->piece_ends[middle] > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

bool vgpu_copy_area(PCIDevice *dev, const VgpuCopyArea *area, uint64_t offset, uint8_t *host,
                    uint64_t bytes, bool to_guest)
{
    while (bytes > 0) {
        uint32_t i = find_piece(area, offset);
        const VGPUPiece *piece = &area->chunk->pieces[i];
        uint64_t now = MIN(bytes, area->piece_ends[i] - offset);
        hwaddr address = piece->address + (piece->bytes - (area->piece_ends[i] - offset));

        if (!copy_piece(dev, address, host, now, to_guest)) {
            return false;
        }
        offset += now;
        host += now;
        bytes -= now;
    }
    return true;
}

void *vgpu_copy_map(int fd, uint64_t bytes)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat about;
    void *memory;

    if (seals < 0 || (seals & wanted) != wanted || fstat(fd, &about) < 0 ||
        (uint64_t)about.st_size != bytes) {
        return NULL;
    }
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void vgpu_copy_area_end(VgpuCopyArea *area)
{
    if (area->memory) {
        munmap(area->memory, area->chunk->bytes);
    }
    g_free(area->piece_ends);
    memset(area, 0, sizeof(*area));
}

bool vgpu_copy_area_begin(VgpuCopyArea *area, const VgpuChunk *chunk, int fd)
{
    uint64_t end = 0;
    uint32_t i;

    area->memory = vgpu_copy_map(fd, chunk->bytes);
    if (!area->memory) {
        return false;
    }
    area->chunk = chunk;
    area->piece_ends = g_new(uint64_t, chunk->piece_count);
    for (i = 0; i < chunk->piece_count; i++) {
        end += chunk->pieces[i].bytes;
        area->piece_ends[i] = end;
    }
    return true;
}
