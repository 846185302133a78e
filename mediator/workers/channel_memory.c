/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/foreign_fd.h"
#include "mediator/workers/channel_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"
#include "mediator/base/byte_queue.h"
#include "vgpu/vgpu_channel_device.h"

VGPU_STATIC_ASSERT(VGPU_OPENED_FDS_MAX <= BYTE_QUEUE_FDS_MAX, "they go out with one frame");

/* A part of a shared chunk 0. */
struct part {
    STAILQ_ENTRY(part) link;
    int fd;
    VGPUChunkAdd add;
    VGPUPiece pieces[];
};

struct descriptors {
    uint64_t channel;       /* 0: free */
    int lease;              /* a device's; -1: none */
    int lives, watches;     /* the ends of its life, the process's and the worker's; -1: none */
    int fds[VGPU_FD_COUNT]; /* enum vgpu_channel_fd; -1: none */
    unsigned part_count;
    STAILQ_HEAD(, part) parts;
};

/* Of chunks whose worker has not answered: few. */
struct chunk_fd {
    LIST_ENTRY(chunk_fd) link;
    uint64_t channel;
    uint32_t chunk;
    int fd;
};

struct channel_memory {
    LIST_HEAD(, chunk_fd) chunks;
    struct descriptors all[CORE_CHANNELS_MAX]; /* by handle modulo, as the core has them */
};

struct channel_memory *channel_memory_new(void)
{
    return calloc(1, sizeof(struct channel_memory));
}

void channel_memory_free(struct channel_memory *memory)
{
    if (!memory) {
        return;
    }
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX; i++) {
        channel_memory_drop(memory, memory->all[i].channel);
    }
    while (!LIST_EMPTY(&memory->chunks)) {
        channel_memory_drop(memory, LIST_FIRST(&memory->chunks)->channel);
    }
    free(memory);
}

static struct descriptors *find(const struct channel_memory *memory, uint64_t channel)
{
    const struct descriptors *made = &memory->all[channel % CORE_CHANNELS_MAX];

    return channel != 0 && made->channel == channel ? (struct descriptors *)made : NULL;
}

/* Its place, with nothing in it if it is new. */
static struct descriptors *find_or_begin(struct channel_memory *memory, uint64_t channel)
{
    struct descriptors *made = &memory->all[channel % CORE_CHANNELS_MAX];

    if (made->channel != channel) {
        channel_memory_drop(memory, made->channel);
        made->channel = channel;
        made->lease = made->lives = made->watches = -1;
        for (unsigned i = 0; i < VGPU_FD_COUNT; i++) {
            made->fds[i] = -1;
        }
        made->part_count = 0;
        STAILQ_INIT(&made->parts);
    }
    return made;
}

static void close_one(int *fd)
{
    if (*fd >= 0) {
        foreign_fd_close(*fd);
    }
    *fd = -1;
}

static void free_first_part(struct descriptors *made)
{
    struct part *part = STAILQ_FIRST(&made->parts);

    STAILQ_REMOVE_HEAD(&made->parts, link);
    foreign_fd_close(part->fd);
    free(part);
}

/* ---- what a device sends ---- */

int channel_memory_lease(struct channel_memory *memory, uint64_t channel, int fd)
{
    struct descriptors *made = find_or_begin(memory, channel);

    close_one(&made->lease);
    made->lease = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return made->lease < 0 ? -errno : 0;
}

/* Only these can neither block who maps them nor end before their size says. */
bool channel_memory_is_memory(int fd, const VGPUPiece *pieces, uint32_t count)
{
    struct stat about;

    if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &about) < 0 || about.st_size < 0) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (pieces[i].address + pieces[i].bytes > (uint64_t)about.st_size) {
            return false;
        }
    }
    return true;
}

int channel_memory_part(struct channel_memory *memory, uint64_t channel, const VGPUChunkAdd *add,
                        const VGPUPiece *pieces, int fd)
{
    struct descriptors *made = find_or_begin(memory, channel);
    size_t bytes = add->piece_count * sizeof(pieces[0]);
    struct part *part;

    if (made->part_count == VGPU_FRAME_FDS_MAX ||
        !channel_memory_is_memory(fd, pieces, add->piece_count)) {
        return -EINVAL;
    }
    part = malloc(sizeof(*part) + bytes);
    if (!part) {
        return -ENOMEM;
    }
    part->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (part->fd < 0) {
        int ret = -errno;

        free(part);
        return ret;
    }
    part->add = *add;
    memcpy(part->pieces, pieces, bytes);
    STAILQ_INSERT_TAIL(&made->parts, part, link);
    made->part_count++;
    return 0;
}

void channel_memory_take_parts(struct channel_memory *memory, uint64_t channel,
                               void (*take)(void *opaque, const VGPUChunkAdd *add,
                                            const VGPUPiece *pieces, int fd),
                               void *opaque)
{
    struct descriptors *made = find(memory, channel);

    while (made && !STAILQ_EMPTY(&made->parts)) {
        const struct part *part = STAILQ_FIRST(&made->parts);

        take(opaque, &part->add, part->pieces, part->fd);
        free_first_part(made);
    }
}

/* ---- what is made here ---- */

/* No page is taken before somebody writes to it. */
static int make_chunk(uint64_t bytes)
{
    int fd = memfd_create("vgpu-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int error;

    if (fd < 0) {
        return -1;
    }
    if (ftruncate(fd, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int make_life(struct descriptors *made)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -errno;
    }
    close_one(&made->watches);
    close_one(&made->lives);
    made->watches = ends[0];
    made->lives = ends[1];
    return 0;
}

int channel_memory_make(struct channel_memory *memory, uint64_t channel,
                        enum vgpu_channel_transport transport, bool life, uint64_t bytes)
{
    struct descriptors *made = find_or_begin(memory, channel);
    unsigned count = vgpu_opened_fd_count(transport, 0);
    int ret = 0;

    made->fds[VGPU_FD_DOORBELL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    made->fds[VGPU_FD_INTERRUPT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (count > VGPU_FD_CHUNK0) {
        made->fds[VGPU_FD_CHUNK0] = make_chunk(bytes);
    }
    if (life) {
        ret = make_life(made);
    }
    if (count > VGPU_FD_COPY) {
        made->fds[VGPU_FD_COPY] = make_chunk(sizeof(VGPUCopyPage));
    }
    for (unsigned i = 0; i < count; i++) {
        if (made->fds[i] < 0) {
            ret = errno ? -errno : -EMFILE;
        }
    }
    if (ret < 0) {
        channel_memory_drop(memory, channel);
    }
    return ret;
}

/* What both of them get. */
static unsigned take_common(const struct descriptors *made, int fds[CHANNEL_FDS_MAX])
{
    unsigned count = 0;

    while (count < VGPU_FD_COUNT && made->fds[count] >= 0) {
        fds[count] = made->fds[count];
        count++;
    }
    return count;
}

unsigned channel_memory_for_session(const struct channel_memory *memory, uint64_t channel,
                                    int fds[CHANNEL_FDS_MAX])
{
    const struct descriptors *made = find(memory, channel);
    unsigned count = made ? take_common(made, fds) : 0;

    if (made && made->lives >= 0) {
        fds[count++] = made->lives;
    }
    return count;
}

unsigned channel_memory_for_worker(const struct channel_memory *memory, uint64_t channel,
                                   int fds[CHANNEL_FDS_MAX])
{
    const struct descriptors *made = find(memory, channel);
    unsigned count = made ? take_common(made, fds) : 0;

    if (made && made->lease >= 0) {
        fds[count++] = made->lease;
    }
    if (made && made->watches >= 0) {
        fds[count++] = made->watches;
    }
    return count;
}

void channel_memory_handed_over(struct channel_memory *memory, uint64_t channel)
{
    struct descriptors *made = find(memory, channel);

    for (unsigned i = 0; made && i < VGPU_FD_COUNT; i++) {
        close_one(&made->fds[i]);
    }
    if (made) {
        close_one(&made->lives);
        close_one(&made->watches);
    }
}

static struct chunk_fd *find_chunk(const struct channel_memory *memory, uint64_t channel,
                                   uint32_t chunk)
{
    struct chunk_fd *entry;

    LIST_FOREACH (entry, &memory->chunks, link) {
        if (entry->channel == channel && entry->chunk == chunk) {
            return entry;
        }
    }
    return NULL;
}

int channel_memory_make_chunk(struct channel_memory *memory, uint64_t channel, uint32_t chunk,
                              uint64_t bytes)
{
    struct chunk_fd *entry = calloc(1, sizeof(*entry));

    if (!entry) {
        return -ENOMEM;
    }
    entry->fd = make_chunk(bytes);
    if (entry->fd < 0) {
        int error = errno ? errno : EMFILE;

        free(entry);
        return -error;
    }
    entry->channel = channel;
    entry->chunk = chunk;
    LIST_INSERT_HEAD(&memory->chunks, entry, link);
    return entry->fd;
}

int channel_memory_chunk_fd(const struct channel_memory *memory, uint64_t channel, uint32_t chunk)
{
    const struct chunk_fd *entry = find_chunk(memory, channel, chunk);

    return entry ? entry->fd : -1;
}

static void drop_chunk(struct chunk_fd *entry)
{
    LIST_REMOVE(entry, link);
    close(entry->fd);
    free(entry);
}

void channel_memory_drop_chunk(struct channel_memory *memory, uint64_t channel, uint32_t chunk)
{
    struct chunk_fd *entry = find_chunk(memory, channel, chunk);

    if (entry) {
        drop_chunk(entry);
    }
}

void channel_memory_drop(struct channel_memory *memory, uint64_t channel)
{
    struct descriptors *made = find(memory, channel);
    struct chunk_fd *entry, *next;

    for (entry = LIST_FIRST(&memory->chunks); entry; entry = next) {
        next = LIST_NEXT(entry, link);
        if (entry->channel == channel) {
            drop_chunk(entry);
        }
    }
    if (!made) {
        return;
    }
    channel_memory_handed_over(memory, channel);
    close_one(&made->lease);
    while (!STAILQ_EMPTY(&made->parts)) {
        free_first_part(made);
    }
    made->channel = 0;
}
