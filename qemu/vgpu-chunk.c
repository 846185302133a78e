/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "hw/boards.h"
#include "qemu/bswap.h"
#include "vgpu-chunk.h"
#include "vgpu/vgpu_channel_device.h"
#if QEMU_AT_LEAST(8, 1)
#if __has_include("system/ramblock.h")
#include "system/ramblock.h"
#else
#include "exec/ramblock.h"
#endif
#endif

/* ---- Overlaps -------------------------------------------------------------- */

/* Pieces that overlap are equal: so a look-up finds what a piece overlaps. */
static gint compare_pieces(gconstpointer x, gconstpointer y)
{
    const VGPUPiece *a = x, *b = y;

    if (a->address + (a->bytes - 1) < b->address) {
        return -1;
    }
    return a->address > b->address + (b->bytes - 1) ? 1 : 0;
}

VgpuPieceTree *vgpu_piece_tree_new(void)
{
    return g_tree_new(compare_pieces);
}

void vgpu_piece_tree_free(VgpuPieceTree *tree)
{
    g_tree_destroy(tree);
}

/* ---- Chunks ------------------------------------------------------------------ */

static bool piece_is_well_formed(const VGPUPiece *piece)
{
    return piece->bytes > 0 && piece->bytes <= VGPU_PIECE_BYTES_MAX &&
           piece->bytes % VGPU_CHANNEL_PAGE == 0 && piece->address % VGPU_CHANNEL_PAGE == 0 &&
           piece->address <= UINT64_MAX - piece->bytes;
}

bool vgpu_chunk_take(VgpuChunk *chunk, VgpuPieceTree *tree, uint64_t bytes, uint32_t piece_count,
                     const VGPUPiece *pieces)
{
    uint64_t sum = 0;
    uint32_t i;

    if (piece_count == 0 || piece_count > VGPU_SETUP_PIECES_MAX || bytes > VGPU_CHUNK_BYTES_MAX) {
        return false;
    }
    chunk->bytes = bytes;
    chunk->pieces = g_new(VGPUPiece, piece_count);
    for (i = 0; i < piece_count; i++) {
        VGPUPiece *piece = &chunk->pieces[i];

        piece->address = le64_to_cpu(pieces[i].address);
        piece->bytes = le64_to_cpu(pieces[i].bytes);
        if (!piece_is_well_formed(piece) || g_tree_lookup(tree, piece)) {
            break;
        }
        g_tree_insert(tree, piece, piece);
        sum += piece->bytes;
    }
    chunk->piece_count = i; /* those that are in the tree */
    if (i < piece_count || sum != bytes) {
        vgpu_chunk_release(chunk, tree);
        return false;
    }
    return true;
}

void vgpu_chunk_release(VgpuChunk *chunk, VgpuPieceTree *tree)
{
    uint32_t i;

    for (i = 0; i < chunk->piece_count; i++) {
        g_tree_remove(tree, &chunk->pieces[i]);
    }
    g_free(chunk->pieces);
    memset(chunk, 0, sizeof(*chunk));
}

/* ---- Where guest memory lies --------------------------------------------------- */

/* Is this the machine's own memory, and not a BAR of some device that looks like it? */
static bool is_machine_ram(MemoryRegion *mr)
{
#if QEMU_AT_LEAST(5, 0)
    MachineState *machine = MACHINE(qdev_get_machine());

    return machine->ram &&
           (mr == machine->ram || mr->container == machine->ram ||
            (machine->device_memory && mr->container == &machine->device_memory->mr));
#else
    return false; /* it has no name for the machine's memory */
#endif
}

static bool is_plain_ram(const MemoryRegionSection *section, uint64_t bytes)
{
    MemoryRegion *mr = section->mr;

    return memory_region_is_ram(mr) && int128_get64(section->size) == bytes && !section->readonly &&
           !mr->readonly && !mr->rom_device && !memory_region_is_ram_device(mr);
}

/* Where in its file the block begins. */
static uint64_t block_offset(RAMBlock *block)
{
#if QEMU_AT_LEAST(8, 1)
    return block->fd_offset;
#else
    return 0;
#endif
}

/* Only memory of the kernel's: a process that maps it never waits for a file system. */
static bool is_memory_file(int fd)
{
    return fcntl(fd, F_GET_SEALS) >= 0;
}

/* The checks in this order: each refuses something that passes all those before it. */
static bool resolve_section(const MemoryRegionSection *section, const VGPUPiece *piece,
                            VgpuRamPlace *place)
{
    MemoryRegion *mr = section->mr;

    if (!is_plain_ram(section, piece->bytes)) {
        return false;
    }
    place->fd = memory_region_get_fd(mr);
    if (place->fd < 0 || !qemu_ram_is_shared(mr->ram_block) || !is_machine_ram(mr) ||
        !is_memory_file(place->fd)) {
        return false;
    }
    place->page_bytes = qemu_ram_pagesize(mr->ram_block);
    place->offset = section->offset_within_region + block_offset(mr->ram_block);
    return place->offset % place->page_bytes == 0 && piece->bytes % place->page_bytes == 0;
}

/* The memory at the piece, or a section without a region: to be given back. */
static MemoryRegionSection find_section(PCIDevice *dev, const VGPUPiece *piece)
{
    return memory_region_find(pci_get_address_space(dev)->root, piece->address, piece->bytes);
}

static bool resolve(PCIDevice *dev, const VGPUPiece *piece, VgpuRamPlace *place)
{
    MemoryRegionSection section;
    bool found;

    /* Behind an IOMMU an address means something else, perhaps only later. */
    if (pci_device_iommu_address_space(dev) != &address_space_memory) {
        return false;
    }
    section = find_section(dev, piece);
    if (!section.mr) {
        return false;
    }
    found = resolve_section(&section, piece, place);
    memory_region_unref(section.mr);
    return found;
}

static bool is_ram(PCIDevice *dev, const VGPUPiece *piece)
{
    VGPUPiece rest = *piece;

    if (pci_device_iommu_address_space(dev) != &address_space_memory) {
        return true; /* each copy is checked */
    }
    while (rest.bytes) {
        MemoryRegionSection section = find_section(dev, &rest);
        uint64_t bytes;

        if (!section.mr) {
            return false;
        }
        bytes = int128_get64(section.size);
        if (!memory_region_is_ram(section.mr) || memory_region_is_ram_device(section.mr) ||
            section.offset_within_address_space != rest.address) {
            bytes = 0;
        }
        memory_region_unref(section.mr);
        if (bytes == 0) {
            return false;
        }
        rest.address += bytes;
        rest.bytes -= bytes;
    }
    return true;
}

bool vgpu_chunk_is_ram(PCIDevice *dev, const VgpuChunk *chunk)
{
    uint32_t i;

    for (i = 0; i < chunk->piece_count; i++) {
        if (!is_ram(dev, &chunk->pieces[i])) {
            return false;
        }
    }
    return true;
}

/* ---- The frames of a chunk ------------------------------------------------------ */

static bool frames_add(VgpuChunkFrames *frames, const VgpuRamPlace *place, uint64_t bytes)
{
    VgpuChunkFrame *frame = frames->count ? &frames->all[frames->count - 1] : NULL;

    if (!frame || frame->place.fd != place->fd || frame->count == VGPU_CHUNK_PIECES_FRAME_MAX) {
        if (frames->count == VGPU_FRAME_FDS_MAX) {
            return false;
        }
        frame = &frames->all[frames->count++];
        frame->count = 0;
        frame->place = *place;
    }
    frame->pieces[frame->count].address = cpu_to_le64(place->offset);
    frame->pieces[frame->count].bytes = cpu_to_le64(bytes);
    frame->count++;
    return true;
}

bool vgpu_chunk_frames_make(VgpuChunkFrames *frames, PCIDevice *dev, const VgpuChunk *chunk)
{
    VgpuRamPlace place;
    uint32_t i;

    frames->count = 0;
    for (i = 0; i < chunk->piece_count; i++) {
        if (!resolve(dev, &chunk->pieces[i], &place) ||
            !frames_add(frames, &place, chunk->pieces[i].bytes)) {
            return false;
        }
    }
    return true;
}

void vgpu_chunk_frames_send(VgpuChunkFrames *frames, VgpuLink *link, uint32_t channel,
                            uint32_t chunk, uint64_t chunk_bytes, const int *fds)
{
    uint32_t i;

    for (i = 0; i < frames->count; i++) {
        VgpuChunkFrame *frame = &frames->all[i];

        frame->add.channel = cpu_to_le32(channel);
        frame->add.chunk = cpu_to_le32(chunk);
        frame->add.flags = cpu_to_le32(i + 1 < frames->count ? VGPU_CHUNK_MORE : 0);
        frame->add.piece_count = cpu_to_le32(frame->count);
        frame->add.bytes = cpu_to_le64(chunk_bytes);
        frame->add.page_bytes = cpu_to_le64(frame->place.page_bytes);
        vgpu_link_channel(
            link, VGPU_MSG_CHUNK_ADD, frame,
            offsetof(VgpuChunkFrame, pieces) + frame->count * sizeof(frame->pieces[0]), &fds[i], 1);
    }
}

bool vgpu_chunk_frames_duplicate(const VgpuChunkFrames *frames, int *fds)
{
    uint32_t i;

    for (i = 0; i < frames->count; i++) {
        fds[i] = fcntl(frames->all[i].place.fd, F_DUPFD_CLOEXEC, 0);
        if (fds[i] < 0) {
            while (i > 0) {
                close(fds[--i]);
            }
            return false;
        }
    }
    return true;
}
