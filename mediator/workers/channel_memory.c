/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/workers/channel_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/core.h"

struct descriptors {
    uint64_t channel; /* 0: free */
    int fds[CHANNEL_FDS];
};

struct channel_memory {
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
    free(memory);
}

static void close_all(int fds[CHANNEL_FDS])
{
    for (unsigned i = 0; i < CHANNEL_FDS; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

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

int channel_memory_make(struct channel_memory *memory, uint64_t channel, uint64_t bytes)
{
    struct descriptors *made = &memory->all[channel % CORE_CHANNELS_MAX];
    int fds[CHANNEL_FDS];
    int ret = 0;

    fds[VGPU_FD_DOORBELL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fds[VGPU_FD_INTERRUPT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fds[VGPU_FD_CHUNK0] = make_chunk(bytes);
    for (unsigned i = 0; i < CHANNEL_FDS; i++) {
        if (fds[i] < 0) {
            ret = errno ? -errno : -EMFILE;
        }
    }
    if (ret < 0) {
        close_all(fds);
        return ret;
    }
    made->channel = channel;
    for (unsigned i = 0; i < CHANNEL_FDS; i++) {
        made->fds[i] = fds[i];
    }
    return 0;
}

const int *channel_memory_fds(const struct channel_memory *memory, uint64_t channel)
{
    const struct descriptors *made = &memory->all[channel % CORE_CHANNELS_MAX];

    return channel != 0 && made->channel == channel ? made->fds : NULL;
}

void channel_memory_drop(struct channel_memory *memory, uint64_t channel)
{
    struct descriptors *made = &memory->all[channel % CORE_CHANNELS_MAX];

    if (channel != 0 && made->channel == channel) {
        close_all(made->fds);
        made->channel = 0;
    }
}
