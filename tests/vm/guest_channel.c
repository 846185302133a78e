/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of the Linux driver do in a guest, one kind of thing per run.  Nobody parses
 * records here: the test plays the host and sees the same memory.
 *
 *   guest_channel checks        what the calls refuse and give, on channels of its own
 *   guest_channel limits        the same, with 8 MiB for a process and 3 files allowed
 *   guest_channel hold [MIB]    a channel with an arena of so many MiB; stays until it is killed
 *   guest_channel echo N        N times: a word, the doorbell, the interrupt, the host's word
 *   guest_channel watch         says how the channel ended; then stays until the device is gone,
 *                               and uses what it has mapped
 *   guest_channel family        a channel; a child keeps the file, the parent ends when it is told
 *   guest_channel early         a channel, then one that the host keeps waiting: what of the second
 *                               can be mapped meanwhile
 *   guest_channel chunk MIB     a channel and one more chunk; added, used, removed
 *
 * Those that stay print "ready NUMBER" first.  "host: ..." is printed when the host refused.
 * Exit status: 0 all right, 1 a check failed, 2 no channel.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vgpu/vgpu_ioctl.h"
#include "vgpu/vgpu_ring.h"

#define DEVICE "/dev/vgpu0"

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            printf("line %d: %s (errno %d)\n", __LINE__, #cond, errno);                            \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The call fails, and with this error. */
#define REFUSED(call, error) CHECK((errno = 0, (call)) == -1 && errno == (error))
#define NOT_MAPPED(call, error) CHECK((errno = 0, (call)) == MAP_FAILED && errno == (error))

struct channel {
    int fd;
    struct vgpu_ioctl_open open;
    struct vgpu_channel_layout layout;
    uint8_t *memory;
    volatile uint32_t *doorbell;
    VGPUControl *control;
    uint32_t *arena;
};

static struct vgpu_ioctl_open wanted(uint64_t arena_bytes)
{
    return (struct vgpu_ioctl_open){
        .profile = VGPU_PROFILE_OPS,
        .features = VGPU_CHANNEL_BULK,
        .geometry = {1, 0, VGPU_NOTICE_BYTES_MIN, VGPU_COMMAND_BYTES_MIN, arena_bytes},
    };
}

static void map_channel(struct channel *c)
{
    c->memory = mmap(NULL, c->open.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd,
                     (off_t)c->open.mmap_offset);
    CHECK(c->memory != MAP_FAILED);
    c->doorbell = mmap(NULL, VGPU_DOORBELL_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd,
                       (off_t)c->open.doorbell_offset);
    CHECK(c->doorbell != MAP_FAILED);
    c->control = (VGPUControl *)c->memory;
    c->arena = (uint32_t *)(c->memory + c->layout.arena);
}

static struct channel open_channel(uint64_t arena_bytes)
{
    struct channel c = {.fd = open(DEVICE, O_RDWR | O_CLOEXEC), .open = wanted(arena_bytes)};

    if (c.fd < 0) {
        printf("no %s: %s\n", DEVICE, strerror(errno));
        exit(2);
    }
    vgpu_channel_layout(&c.open.geometry, &c.layout);
    if (ioctl(c.fd, VGPU_IOCTL_OPEN, &c.open) < 0) {
        printf("host: %s, status %u\n", strerror(errno), c.open.status);
        exit(2);
    }
    CHECK(c.open.bytes == c.layout.bytes);
    map_channel(&c);
    return c;
}

static void ready(const struct channel *c)
{
    printf("ready %u\n", c->open.channel);
    fflush(stdout);
}

static void stay(void)
{
    for (;;) {
        pause();
    }
}

/* ---- checks ---- */

static void check_errors(void)
{
    struct vgpu_ioctl_open open_arguments = wanted(VGPU_CHANNEL_PAGE);
    struct vgpu_ioctl_wait wait = {.timeout_ns = 0};
    struct vgpu_ioctl_info info = {.flags = 0};
    struct vgpu_ioctl_chunk_add add = {.bytes = VGPU_CHANNEL_PAGE};
    struct vgpu_ioctl_chunk_remove removal = {.chunk = 1};
    int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

    CHECK(fd >= 0);
    CHECK(ioctl(fd, VGPU_IOCTL_INFO, &info) == 0);
    CHECK(info.version == VGPU_IOCTL_VERSION && info.channel == VGPU_CHANNEL_NONE);
    CHECK(info.channels >= 1 && info.state == VGPU_REGISTER_FREE && info.bytes == 0);
    CHECK(strlen(info.address) == 12);
    REFUSED(ioctl(fd, VGPU_IOCTL_WAIT, &wait), ENOTCONN);
    REFUSED(ioctl(fd, VGPU_IOCTL_CHUNK_ADD, &add), ENOTCONN);
    REFUSED(ioctl(fd, VGPU_IOCTL_CHUNK_REMOVE, &removal), ENOTCONN);
    NOT_MAPPED(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, (off_t)1 << 32), ENXIO);
    open_arguments.geometry.lanes = 0;
    REFUSED(ioctl(fd, VGPU_IOCTL_OPEN, &open_arguments), EINVAL);
    open_arguments = wanted(VGPU_ARENA_BYTES_MAX + VGPU_CHANNEL_PAGE);
    REFUSED(ioctl(fd, VGPU_IOCTL_OPEN, &open_arguments), EINVAL);
    open_arguments = wanted(VGPU_CHANNEL_PAGE);
    open_arguments.flags = 1;
    REFUSED(ioctl(fd, VGPU_IOCTL_OPEN, &open_arguments), EINVAL);
    REFUSED(ioctl(fd, VGPU_IOCTL_OPEN, (void *)8), EFAULT);
    REFUSED(ioctl(fd, VGPU_IOCTL_NUMBER(5u, struct vgpu_ioctl_wait), &wait), ENOTTY);
    REFUSED(ioctl(fd, VGPU_IOCTL_NUMBER(200u, struct vgpu_ioctl_wait), &wait), ENOTTY);
    REFUSED(ioctl(fd, 0x5401, &wait), ENOTTY);
    REFUSED(read(fd, &wait, 8), EINVAL);
    CHECK(close(fd) == 0);
}

/* A program that is newer or older than the driver. */
static void check_sizes(void)
{
    struct {
        struct vgpu_ioctl_info info;
        uint64_t more;
    } newer = {.more = 0};
    struct {
        uint32_t flags, version;
    } older = {0, 0};
    int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

    CHECK(fd >= 0);
    CHECK(ioctl(fd, VGPU_IOCTL_NUMBER(0u, older), &older) == 0);
    CHECK(older.version == VGPU_IOCTL_VERSION);
    CHECK(ioctl(fd, VGPU_IOCTL_NUMBER(0u, newer), &newer) == 0);
    newer.more = 1;
    REFUSED(ioctl(fd, VGPU_IOCTL_NUMBER(0u, newer), &newer), E2BIG);
    CHECK(close(fd) == 0);
}

static void check_mappings(struct channel *c)
{
    off_t at = (off_t)c->open.mmap_offset;
    size_t bytes = c->open.bytes;

    for (uint64_t i = 0; i < bytes / 8; i++) {
        CHECK(((uint64_t *)c->memory)[i] == 0);
    }
    memset(c->memory + c->layout.arena, 0x5A, c->open.geometry.arena_bytes);
    NOT_MAPPED(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, c->fd, at), EINVAL);
    NOT_MAPPED(mmap(NULL, bytes + 4096, PROT_READ, MAP_SHARED, c->fd, at), EINVAL);
    NOT_MAPPED(mmap(NULL, 4096, PROT_READ, MAP_SHARED, c->fd, at + (off_t)bytes), EINVAL);
    NOT_MAPPED(mmap(NULL, 4096, PROT_READ, MAP_SHARED, c->fd, 0), EINVAL);
    NOT_MAPPED(mmap(NULL, 4096, PROT_READ, MAP_SHARED, c->fd, at + ((off_t)1 << 32)), ENXIO);
    NOT_MAPPED(mmap(NULL, 8192, PROT_READ, MAP_SHARED, c->fd, (off_t)c->open.doorbell_offset),
               EINVAL);
    errno = 0;
    CHECK(mremap(c->memory, bytes, bytes + 4096, MREMAP_MAYMOVE) == MAP_FAILED && errno != 0);
    REFUSED(madvise(c->memory, 4096, MADV_DOFORK), EINVAL);
    /* A part of it again, and an area that is cut in two. */
    at += (off_t)c->layout.arena;
    CHECK(((uint8_t *)mmap(NULL, 4096, PROT_READ, MAP_SHARED, c->fd, at))[17] == 0x5A);
    CHECK(munmap(c->memory + c->layout.arena - 4096, 4096) == 0);
    CHECK(c->memory[0] == 0 && c->memory[c->layout.arena] == 0x5A);
}

/* Another process has the file, and nothing of the channel. */
static void check_child(struct channel *c)
{
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        struct vgpu_ioctl_info info = {.flags = 0};

        REFUSED(ioctl(c->fd, VGPU_IOCTL_INFO, &info), EPERM);
        NOT_MAPPED(mmap(NULL, 4096, PROT_READ, MAP_SHARED, c->fd, (off_t)c->open.mmap_offset),
                   EPERM);
        c->control->command_tail = 8; /* no such memory here */
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void on_alarm(int number)
{
    (void)number;
}

static void check_waiting(struct channel *c)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct vgpu_ioctl_wait wait = {.timeout_ns = 0};

    REFUSED(ioctl(c->fd, VGPU_IOCTL_WAIT, &wait), ETIME);
    wait.timeout_ns = 1000000;
    REFUSED(ioctl(c->fd, VGPU_IOCTL_WAIT, &wait), ETIME);
    CHECK(wait.state == VGPU_REGISTER_OPEN);
    wait.timeout_ns = VGPU_WAIT_FOREVER;
    sigaction(SIGALRM, &action, NULL);
    alarm(1);
    REFUSED(ioctl(c->fd, VGPU_IOCTL_WAIT, &wait), EINTR);
    wait.flags = 1;
    REFUSED(ioctl(c->fd, VGPU_IOCTL_WAIT, &wait), EINVAL);
}

static void run_checks(void)
{
    struct vgpu_ioctl_info info = {.flags = 0};
    struct channel one, two;

    check_errors();
    check_sizes();
    one = open_channel(64 << 10);
    REFUSED(ioctl(one.fd, VGPU_IOCTL_OPEN, &one.open), EBUSY);
    CHECK(ioctl(one.fd, VGPU_IOCTL_INFO, &info) == 0);
    CHECK(info.channel == one.open.channel && info.state == VGPU_REGISTER_OPEN);
    CHECK(info.bytes == one.open.bytes && info.transport == one.open.transport);
    check_mappings(&one);
    check_child(&one);
    check_waiting(&one);
    two = open_channel(5 << 20);
    CHECK(two.open.channel != one.open.channel);
    /* Of all its pieces. */
    for (uint64_t i = 0; i < two.open.bytes; i += 4096) {
        CHECK(two.memory[i] == 0);
        two.memory[i] = (uint8_t)(i >> 12);
    }
    for (uint64_t i = 0; i < two.open.bytes; i += 4096) {
        CHECK(two.memory[i] == (uint8_t)(i >> 12));
    }
    CHECK(one.memory[one.layout.arena] == 0x5A);
    *two.doorbell = 1;
    printf("checks done\n");
}

/* The limits that the test has set: 8 MiB for a process, 3 files. */
static void run_limits(void)
{
    struct channel one = open_channel(4 << 20), two;
    struct vgpu_ioctl_open more = wanted(4 << 20);
    int fds[2] = {open(DEVICE, O_RDWR), open(DEVICE, O_RDWR)};

    CHECK(fds[0] >= 0 && fds[1] >= 0);
    REFUSED(open(DEVICE, O_RDWR), EMFILE);
    REFUSED(ioctl(fds[0], VGPU_IOCTL_OPEN, &more), EDQUOT);
    CHECK(close(fds[0]) == 0);
    two = open_channel(1 << 20);
    CHECK(two.open.channel != one.open.channel);
    printf("limits done\n");
}

/* ---- with the host's help ---- */

static void run_hold(uint64_t arena_bytes)
{
    struct channel c = open_channel(arena_bytes);

    memset(c.arena, 0x77, arena_bytes);
    ready(&c);
    stay();
}

/* The host answers word n of the arena's first page with n in the second word. */
static void run_echo(uint32_t count)
{
    struct channel c = open_channel(VGPU_CHANNEL_PAGE);
    struct vgpu_ioctl_wait wait = {.timeout_ns = VGPU_WAIT_FOREVER};

    for (uint32_t n = 1; n <= count; n++) {
        VGPU_STORE_RELEASE(&c.arena[0], n);
        *c.doorbell = 1;
        while (VGPU_LOAD_ACQUIRE(&c.arena[1]) != n) {
            CHECK(ioctl(c.fd, VGPU_IOCTL_WAIT, &wait) == 0);
            CHECK(wait.state == VGPU_REGISTER_OPEN);
        }
    }
    printf("echo %u done\n", count);
}

static void run_watch(void)
{
    struct channel c = open_channel(VGPU_CHANNEL_PAGE);
    struct vgpu_ioctl_wait wait = {.timeout_ns = VGPU_WAIT_FOREVER};
    struct vgpu_ioctl_info info = {.flags = 0};
    int result;

    c.arena[5] = 4711;
    ready(&c);
    do {
        errno = 0;
        result = ioctl(c.fd, VGPU_IOCTL_WAIT, &wait);
    } while (result == 0 && wait.state == VGPU_REGISTER_OPEN);
    /* CLOSING becomes FREE when the host has let go; the control page says so then. */
    while (result == 0 && wait.state == VGPU_REGISTER_CLOSING) {
        usleep(10000);
        errno = 0;
        result = ioctl(c.fd, VGPU_IOCTL_WAIT, &wait);
    }
    printf("ended: errno %d, state %u, reason %u; page: state %u, reason %u, word %u\n", errno,
           wait.state, wait.reason, c.control->state, c.control->reason, c.arena[5]);
    fflush(stdout);
    while (ioctl(c.fd, VGPU_IOCTL_INFO, &info) == 0) {
        usleep(10000);
    }
    printf("gone: errno %d; page: state %u, reason %u, word %u\n", errno, c.control->state,
           c.control->reason, c.arena[5]);
    *c.doorbell = 1;
    c.arena[6] = 1;
    CHECK(c.arena[6] == 1);
}

static void run_family(void)
{
    struct channel c = open_channel(VGPU_CHANNEL_PAGE);
    pid_t child;

    CHECK(fcntl(c.fd, F_SETFD, 0) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(STDOUT_FILENO);
        close(STDERR_FILENO);
        stay();
    }
    printf("child %d\n", (int)child);
    ready(&c);
    stay();
}

static void run_chunk(uint64_t bytes)
{
    struct channel c = open_channel(VGPU_CHANNEL_PAGE);
    struct vgpu_ioctl_chunk_add add = {.bytes = bytes};
    struct vgpu_ioctl_chunk_remove removal = {.chunk = 0};
    uint8_t *memory;

    REFUSED(ioctl(c.fd, VGPU_IOCTL_CHUNK_REMOVE, &removal), EINVAL);
    removal.chunk = 9;
    REFUSED(ioctl(c.fd, VGPU_IOCTL_CHUNK_REMOVE, &removal), EINVAL);
    add.bytes = 100;
    REFUSED(ioctl(c.fd, VGPU_IOCTL_CHUNK_ADD, &add), EINVAL);
    add.bytes = bytes;
    if (ioctl(c.fd, VGPU_IOCTL_CHUNK_ADD, &add) < 0) {
        printf("host: %s, status %u\n", strerror(errno), add.status);
        exit(2);
    }
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c.fd, (off_t)add.mmap_offset);
    CHECK(memory != MAP_FAILED && memory[bytes - 1] == 0);
    memset(memory, 0x33, bytes);
    removal.chunk = add.chunk;
    CHECK(ioctl(c.fd, VGPU_IOCTL_CHUNK_REMOVE, &removal) == 0);
    CHECK(memory[bytes - 1] == 0x33); /* mapped, so still there */
    NOT_MAPPED(mmap(NULL, bytes, PROT_READ, MAP_SHARED, c.fd, (off_t)add.mmap_offset), ENXIO);
    printf("chunk %u done\n", add.chunk);
}

static void *open_in_thread(void *channel)
{
    struct channel *c = channel;

    REFUSED(ioctl(c->fd, VGPU_IOCTL_OPEN, &c->open), EREMOTEIO);
    return NULL;
}

static void run_early(void)
{
    struct channel first = open_channel(64 << 10);
    struct channel c = {.fd = open(DEVICE, O_RDWR | O_CLOEXEC), .open = wanted(64 << 10)};
    struct vgpu_ioctl_info info = {.flags = 0};
    off_t doorbell = (off_t)first.open.doorbell_offset;
    pthread_t opening;

    CHECK(c.fd >= 0 && pthread_create(&opening, NULL, open_in_thread, &c) == 0);
    do {
        CHECK(ioctl(c.fd, VGPU_IOCTL_INFO, &info) == 0);
    } while (info.state != VGPU_REGISTER_OPENING);
    NOT_MAPPED(mmap(NULL, VGPU_DOORBELL_PAGE, PROT_WRITE, MAP_SHARED, c.fd, doorbell), ENXIO);
    NOT_MAPPED(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, c.fd, (off_t)first.open.mmap_offset),
               ENXIO);
    ready(&first);
    CHECK(pthread_join(opening, NULL) == 0);
    /* Refused: the file is as new, and can be opened again. */
    NOT_MAPPED(mmap(NULL, VGPU_DOORBELL_PAGE, PROT_WRITE, MAP_SHARED, c.fd, doorbell), ENXIO);
    c.open = wanted(64 << 10);
    CHECK(ioctl(c.fd, VGPU_IOCTL_OPEN, &c.open) == 0);
    vgpu_channel_layout(&c.open.geometry, &c.layout);
    map_channel(&c);
    printf("early done\n");
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    unsigned long number = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;

    if (strcmp(what, "checks") == 0) {
        run_checks();
    } else if (strcmp(what, "limits") == 0) {
        run_limits();
    } else if (strcmp(what, "hold") == 0) {
        run_hold((uint64_t)number << 20);
    } else if (strcmp(what, "echo") == 0) {
        run_echo((uint32_t)number);
    } else if (strcmp(what, "watch") == 0) {
        run_watch();
    } else if (strcmp(what, "family") == 0) {
        run_family();
    } else if (strcmp(what, "early") == 0) {
        run_early();
    } else if (strcmp(what, "chunk") == 0) {
        run_chunk((uint64_t)number << 20);
    } else {
        printf("usage: guest_channel checks|limits|hold|echo|watch|family|early|chunk [NUMBER]\n");
        return 1;
    }
    return 0;
}
