/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/channel/mapping.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/log.h"

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        close(fds[i]);
    }
}

/* Is the descriptor's memory at least so long? */
static bool reaches(int fd, uint64_t bytes)
{
    struct stat about;

    return fstat(fd, &about) == 0 && about.st_size >= 0 && (uint64_t)about.st_size >= bytes;
}

enum vgpu_error stretch_map(struct stretch *stretch, uint64_t bytes, int fd)
{
    void *memory = MAP_FAILED;

    if (reaches(fd, bytes) && !reaches(fd, bytes + 1)) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (memory == MAP_FAILED) {
        return VGPU_ERR_MEMORY_LIMIT;
    }
    *stretch = (struct stretch){.memory = memory,
                                .bytes = bytes,
                                .reserved = memory,
                                .reserved_bytes = bytes,
                                .mapped_bytes = bytes,
                                .piece_count = 1};
    return VGPU_ERR_NONE;
}

/* Chunk 0, which the mediator has made. */
static enum vgpu_error map_whole(struct channel_mapping *mapping, int fd)
{
    enum vgpu_error error = stretch_map(&mapping->stretch, mapping->layout.bytes, fd);

    mapping->chunk0 = mapping->stretch.memory;
    mapping->piece_ends[0] = mapping->layout.bytes;
    return error;
}

static void *map_page(int fd)
{
    void *page = MAP_FAILED;

    if (reaches(fd, sizeof(VGPUCopyPage))) {
        page = mmap(NULL, sizeof(VGPUCopyPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

enum vgpu_error mapping_begin(uint64_t handle, const vgpu_worker_channel *what, const int *fds,
                              unsigned fd_count, struct channel_mapping **mapping)
{
    struct channel_mapping *begun = calloc(1, sizeof(*begun));
    enum vgpu_error error = VGPU_ERR_NONE;
    bool has_life = (what->features & VGPU_CHANNEL_LIFE) != 0;
    unsigned expected = vgpu_opened_fd_count(what->transport, what->features) +
                        (what->transport != VGPU_TRANSPORT_HOST); /* the lease */

    if (!begun) {
        close_all(fds, fd_count);
        return VGPU_ERR_MEMORY_LIMIT;
    }
    if (what->transport > VGPU_TRANSPORT_COPIED || fd_count != expected ||
        !vgpu_channel_layout(&what->geometry, &begun->layout)) {
        close_all(fds, fd_count);
        free(begun);
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    begun->handle = handle;
    begun->what = *what;
    begun->doorbell = fds[VGPU_FD_DOORBELL];
    begun->interrupt = fds[VGPU_FD_INTERRUPT];
    begun->lease = what->transport == VGPU_TRANSPORT_HOST ? -1 : fds[expected - 1 - has_life];
    begun->life = has_life ? fds[expected - 1] : -1;
    if (what->transport == VGPU_TRANSPORT_SHARED) {
        begun->stretch.bytes = begun->layout.bytes;
    } else {
        error = map_whole(begun, fds[VGPU_FD_CHUNK0]);
    }
    if (what->transport == VGPU_TRANSPORT_COPIED) {
        begun->copy_page = map_page(fds[VGPU_FD_COPY]);
        if (!begun->copy_page) {
            error = VGPU_ERR_MEMORY_LIMIT;
        }
    }
    if (error != VGPU_ERR_NONE) {
        log_error("a channel of %llu bytes cannot be mapped",
                  (unsigned long long)begun->layout.bytes);
        mapping_free(begun);
        return error;
    }
    *mapping = begun;
    return VGPU_ERR_NONE;
}

int mapping_life(const struct channel_mapping *mapping)
{
    return mapping->life;
}

int mapping_watched_life(const struct channel_mapping *mapping)
{
    return mapping->what.transport == VGPU_TRANSPORT_HOST ? -1 : mapping->life;
}

bool mapping_is_complete(const struct channel_mapping *mapping)
{
    return stretch_is_complete(&mapping->stretch);
}

/* Takes addresses for all of it, aligned to the pages of the guest's memory. */
static bool reserve(struct stretch *stretch, uint64_t page_bytes)
{
    size_t bytes = stretch->bytes + page_bytes;
    void *addresses =
        mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (addresses == MAP_FAILED) {
        return false;
    }
    stretch->reserved = addresses;
    stretch->reserved_bytes = bytes;
    stretch->page_bytes = page_bytes;
    stretch->memory =
        (uint8_t *)(((uintptr_t)addresses + page_bytes - 1) / page_bytes * page_bytes);
    return true;
}

static bool is_page_size(uint64_t bytes)
{
    return bytes >= VGPU_CHANNEL_PAGE && bytes <= VGPU_CHUNK_BYTES_MAX &&
           (bytes & (bytes - 1)) == 0;
}

/* For a file of huge pages mmap() would round up, and map over what lies behind the piece. */
static bool has_pages_of(int fd, uint64_t bytes)
{
    struct statfs about;

    return fstatfs(fd, &about) == 0 &&
           (about.f_type != HUGETLBFS_MAGIC || (uint64_t)about.f_bsize == bytes);
}

static bool map_piece(struct stretch *stretch, const VGPUPiece *piece, int fd)
{
    uint64_t left = stretch->bytes - stretch->mapped_bytes;

    if (stretch->piece_count == VGPU_SETUP_PIECES_MAX || piece->bytes == 0 || piece->bytes > left ||
        piece->bytes % stretch->page_bytes != 0 || piece->address % stretch->page_bytes != 0 ||
        piece->address > INT64_MAX - piece->bytes || !has_pages_of(fd, stretch->page_bytes) ||
        !reaches(fd, piece->address + piece->bytes)) {
        return false;
    }
    if (mmap(stretch->memory + stretch->mapped_bytes, piece->bytes, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_FIXED, fd, (off_t)piece->address) == MAP_FAILED) {
        return false;
    }
    stretch->mapped_bytes += piece->bytes;
    stretch->piece_count++;
    return true;
}

static enum vgpu_error add_pieces(struct stretch *stretch, const VGPUChunkAdd *add,
                                  const VGPUPiece *pieces, int fd, uint64_t *piece_ends)
{
    if (add->bytes != stretch->bytes || stretch_is_complete(stretch) ||
        !is_page_size(add->page_bytes)) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (!stretch->reserved && !reserve(stretch, add->page_bytes)) {
        return VGPU_ERR_MEMORY_LIMIT;
    }
    if (add->page_bytes != stretch->page_bytes) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    for (uint32_t i = 0; i < add->piece_count; i++) {
        if (!map_piece(stretch, &pieces[i], fd)) {
            return VGPU_ERR_INVALID_REQUEST;
        }
        if (piece_ends) {
            piece_ends[stretch->piece_count - 1] = stretch->mapped_bytes;
        }
    }
    return VGPU_ERR_NONE;
}

enum vgpu_error stretch_add(struct stretch *stretch, const VGPUChunkAdd *add,
                            const VGPUPiece *pieces, int fd, uint64_t *piece_ends)
{
    enum vgpu_error error = add_pieces(stretch, add, pieces, fd, piece_ends);

    close(fd);
    return error;
}

void stretch_free(struct stretch *stretch)
{
    if (stretch->reserved) {
        munmap(stretch->reserved, stretch->reserved_bytes);
    }
    *stretch = (struct stretch){.memory = NULL};
}

enum vgpu_error mapping_add(struct channel_mapping *mapping, const VGPUChunkAdd *part,
                            const VGPUPiece *pieces, int fd)
{
    enum vgpu_error error;

    if (mapping->what.transport != VGPU_TRANSPORT_SHARED) {
        close(fd);
        return VGPU_ERR_INVALID_REQUEST;
    }
    error = stretch_add(&mapping->stretch, part, pieces, fd, mapping->piece_ends);
    mapping->chunk0 = mapping->stretch.memory;
    return error;
}

bool mapping_again(const struct channel_mapping *mapping, uint64_t offset, uint64_t bytes,
                   uint8_t *place)
{
    uint64_t end = offset + bytes;

    /* Piece by piece: beyond the end of one lies memory that is none of ours. */
    for (uint32_t i = 0; i < mapping->stretch.piece_count && offset < end; i++) {
        uint64_t piece_end = mapping->piece_ends[i] < end ? mapping->piece_ends[i] : end;

        if (piece_end <= offset) {
            continue;
        }
        if (mremap(mapping->chunk0 + offset, 0, piece_end - offset, MREMAP_MAYMOVE | MREMAP_FIXED,
                   place) != place) {
            return false;
        }
        place += piece_end - offset;
        offset = piece_end;
    }
    return offset == end;
}

void mapping_free(struct channel_mapping *mapping)
{
    if (!mapping) {
        return;
    }
    stretch_free(&mapping->stretch);
    if (mapping->copy_page) {
        munmap(mapping->copy_page, sizeof(*mapping->copy_page));
    }
    close(mapping->doorbell);
    close(mapping->interrupt);
    if (mapping->life >= 0) {
        close(mapping->life);
    }
    if (mapping->lease >= 0) {
        close(mapping->lease);
    }
    free(mapping);
}
