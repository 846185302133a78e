/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process in a guest: a channel (channel.c) from the kernel's driver, /dev/vgpu0.  The driver
 * allocates its memory and opens it (vgpu_ioctl.h); then the process rings the doorbell in a
 * page of its own and sleeps in WAIT.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "channel.h"
#include "vgpu/vgpu_ioctl.h"

#define DEV_PREFIX "dev " /* in the description, before the path */
#define DEV_PREFIX_BYTES (sizeof(DEV_PREFIX) - 1)

struct dev_link {
    struct channel_link channel;
    int fd;                      /* -1: not open */
    uint64_t mmap_offset;        /* chunk 0's */
    volatile uint32_t *doorbell; /* NULL: not mapped */
};

static void dev_ring(struct vgpu *v)
{
    struct dev_link *link = v->link;

    *link->doorbell = 1;
    __atomic_fetch_add(&link->channel.mmio_writes, 1, __ATOMIC_RELAXED); /* libcuda's threads */
}

static uint32_t device_gone(struct vgpu *v)
{
    return vgpu_channel_dead(v, VGPU_ERR_NO_DEVICE, "the device is gone; open the next one");
}

static uint32_t dev_sleep(struct vgpu *v, int rest_ms)
{
    struct dev_link *link = v->link;
    struct vgpu_ioctl_wait wait = {.timeout_ns = (uint64_t)rest_ms * NS_PER_MS};

    if (ioctl(link->fd, VGPU_IOCTL_WAIT, &wait) < 0) {
        if (errno == ENODEV) {
            return device_gone(v);
        }
        return errno == ETIME || errno == EINTR
                   ? VGPU_ERR_NONE
                   : vgpu_channel_dead(v, VGPU_ERR_SYSTEM, strerror(errno));
    }
    return wait.state == VGPU_REGISTER_OPEN ? VGPU_ERR_NONE : vgpu_channel_closed(v, wait.reason);
}

static void dev_close(struct vgpu *v)
{
    struct dev_link *link = v->link;

    if (link->doorbell) {
        munmap((void *)(uintptr_t)link->doorbell, VGPU_DOORBELL_PAGE);
    }
    if (link->channel.chunk0) {
        munmap(link->channel.chunk0, link->channel.layout.bytes);
    }
    if (link->fd >= 0) {
        close(link->fd); /* the driver closes the channel then */
    }
}

static uint32_t open_failed(struct vgpu *v, const char *path)
{
    switch (errno) {
    case EACCES:
    case EPERM:
        return vgpu_set_error(v, VGPU_ERR_PERMISSION,
                              "this user may not open %s: it takes root or the group vgpu", path);
    case EMFILE:
        return vgpu_set_error(v, VGPU_ERR_SYSTEM,
                              "can't open %s: this process has as many files or channels as it "
                              "may have (parameter process_channels of the module vgpu)",
                              path);
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return vgpu_set_error(v, VGPU_ERR_NO_DEVICE,
                              "there is no %s: the driver vgpu is not loaded, or the VM's device "
                              "has no channels; pci: does without",
                              path);
    default: return vgpu_set_error(v, VGPU_ERR_SYSTEM, "can't open %s: %s", path, strerror(errno));
    }
}

/* What OPEN says when it fails. */
static uint32_t channel_failed(struct vgpu *v, const struct vgpu_ioctl_open *open)
{
    switch (errno) {
    case EREMOTEIO: return vgpu_channel_refused(v, open->status);
    case ENOTTY:
    case E2BIG:
        return vgpu_set_error(v, VGPU_ERR_VERSION,
                              "%s: this is no device of the driver vgpu, or one of another version",
                              v->description);
    case ENODEV:
        return vgpu_set_error(v, VGPU_ERR_NO_DEVICE, "%s: the device is gone", v->description);
    case EDQUOT:
        return vgpu_set_error(
            v, VGPU_ERR_SYSTEM,
            "%s: a channel takes %llu MiB, and the driver's limit is reached "
            "(parameters memory_mib, process_memory_mib of the module vgpu)",
            v->description,
            (unsigned long long)(((struct channel_link *)v->link)->layout.bytes >> 20));
    case ENOSPC:
        return vgpu_set_error(v, VGPU_ERR_QUEUE_FULL, "%s: the device has no channel free",
                              v->description);
    case ETIMEDOUT:
        return vgpu_set_error(v, VGPU_ERR_TIMEOUT, "%s: the host did not open a channel in time",
                              v->description);
    default:
        return vgpu_set_error(v, VGPU_ERR_SYSTEM, "%s: can't open a channel: %s", v->description,
                              strerror(errno));
    }
}

/* Memory and doorbell. */
static uint32_t map_channel(struct vgpu *v, const struct vgpu_ioctl_open *open)
{
    struct dev_link *link = v->link;
    void *memory = MAP_FAILED, *page;

    if (open->bytes != link->channel.layout.bytes) {
        return vgpu_set_error(v, VGPU_ERR_BAD_RESPONSE,
                              "%s: the channel's memory has not the agreed size", v->description);
    }
    link->mmap_offset = open->mmap_offset;
    memory = mmap(NULL, open->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, link->fd,
                  (off_t)open->mmap_offset);
    if (memory != MAP_FAILED) {
        link->channel.chunk0 = memory;
        page = mmap(NULL, VGPU_DOORBELL_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, link->fd,
                    (off_t)open->doorbell_offset);
        if (page != MAP_FAILED) {
            link->doorbell = page;
            return VGPU_ERR_NONE;
        }
    }
    return vgpu_set_error(v, VGPU_ERR_SYSTEM, "%s: can't map the channel: %s", v->description,
                          strerror(errno));
}

static uint32_t dev_open(struct vgpu *v, uint64_t deadline_ns)
{
    struct dev_link *link = v->link;
    const char *path = v->description + DEV_PREFIX_BYTES;
    struct vgpu_ioctl_open open_channel = {
        .profile = v->wish ? v->wish->profile : VGPU_PROFILE_OPS,
        .features = v->wish ? v->wish->features : VGPU_CHANNEL_BULK,
        .geometry = link->channel.geometry,
    };

    (void)deadline_ns; /* the driver has one of its own */
    link->doorbell = NULL;
    link->fd = open(path, O_RDWR | O_CLOEXEC);
    if (link->fd < 0) {
        return open_failed(v, path);
    }
    if (ioctl(link->fd, VGPU_IOCTL_OPEN, &open_channel) < 0) {
        return channel_failed(v, &open_channel);
    }
    link->channel.transport = open_channel.transport;
    return map_channel(v, &open_channel);
}

/* The driver's memory can't be moved to another place (mremap), but be mapped twice. */
static bool dev_map_again(struct vgpu *v, uint64_t offset, uint64_t bytes, void *place)
{
    struct dev_link *link = v->link;

    return mmap(place, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, link->fd,
                (off_t)(link->mmap_offset + offset)) == place;
}

/* What CHUNK_ADD and CHUNK_REMOVE say when they fail. */
static uint32_t chunk_failed(struct vgpu *v, uint32_t status, uint64_t bytes)
{
    switch (errno) {
    case EREMOTEIO: return vgpu_channel_refused(v, status);
    case ENODEV: return device_gone(v);
    case EDQUOT:
    case ENOMEM:
        return vgpu_set_error(v, VGPU_ERR_MEMORY_LIMIT,
                              "%s: there is no memory for %llu MiB that the GPU can reach (limits: "
                              "parameters memory_mib, process_memory_mib of the module vgpu)",
                              v->description, (unsigned long long)(bytes >> 20));
    case ETIMEDOUT:
        return vgpu_channel_dead(v, VGPU_ERR_TIMEOUT, "the host did not take a chunk in time");
    default:
        return vgpu_set_error(v, VGPU_ERR_SYSTEM, "%s: pinned memory: %s", v->description,
                              strerror(errno));
    }
}

static uint32_t dev_remove_chunk(struct vgpu *v, uint32_t number)
{
    struct vgpu_ioctl_chunk_remove remove = {.chunk = number};
    struct dev_link *link = v->link;

    return ioctl(link->fd, VGPU_IOCTL_CHUNK_REMOVE, &remove) < 0 ? chunk_failed(v, remove.status, 0)
                                                                 : VGPU_ERR_NONE;
}

/* The driver chooses the number. */
static uint32_t dev_add_chunk(struct vgpu *v, struct channel_chunk *chunk)
{
    struct vgpu_ioctl_chunk_add add = {.bytes = chunk->bytes};
    struct dev_link *link = v->link;
    void *memory;

    if (ioctl(link->fd, VGPU_IOCTL_CHUNK_ADD, &add) < 0) {
        return chunk_failed(v, add.status, chunk->bytes);
    }
    memory = mmap(NULL, chunk->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, link->fd,
                  (off_t)add.mmap_offset);
    if (memory == MAP_FAILED) {
        int error = errno;

        dev_remove_chunk(v, add.chunk);
        return vgpu_set_error(v, VGPU_ERR_SYSTEM, "%s: can't map pinned memory: %s", v->description,
                              strerror(error));
    }
    chunk->number = add.chunk;
    chunk->memory = memory;
    return VGPU_ERR_NONE;
}

static const struct channel_way dev_way = {
    .open = dev_open,
    .ring = dev_ring,
    .sleep = dev_sleep,
    .add_chunk = dev_add_chunk,
    .remove_chunk = dev_remove_chunk,
    .map_again = dev_map_again,
    .close = dev_close,
};

static uint32_t open_path(struct vgpu *v, const char *path)
{
    if (strlen(path) >= VGPU_PATH_BYTES) {
        return vgpu_set_error(v, VGPU_ERR_ARGUMENT, "a device's path has less than %u bytes",
                              VGPU_PATH_BYTES);
    }
    snprintf(v->description, sizeof(v->description), DEV_PREFIX "%s", path);
    return vgpu_channel_new(v, &dev_way, sizeof(struct dev_link));
}

uint32_t vgpu_dev_open(struct vgpu *v, const char *path)
{
    uint32_t code = VGPU_ERR_NONE;

    if (path) {
        return open_path(v, path);
    }
    for (unsigned i = 0; i < VGPU_DEVICES_MAX; i++) {
        char name[VGPU_ADDRESS_TEXT_BYTES];

        snprintf(name, sizeof(name), VGPU_DEVICE_PREFIX "%u", i);
        if (access(name, F_OK) == 0) {
            code = open_path(v, name);
            if (code != VGPU_ERR_NO_DEVICE) {
                return code;
            }
        }
    }
    errno = ENOENT;
    return code != VGPU_ERR_NONE ? code : open_failed(v, VGPU_DEVICE_PREFIX "0");
}
