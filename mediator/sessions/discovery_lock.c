/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/sessions/discovery_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/log.h"

struct discovery_lock {
    const char *path;
    int (*ours)(void *opaque);
    void *opaque;
    uv_timer_t timer;
    int fd; /* it is ours until that is closed; -1: it is not */
    bool taken;
    pid_t holder; /* 0: not known */
};

/* What the holder wrote into it. */
static pid_t read_holder(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long pid;

    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    pid = strtol(text, NULL, 10);
    return pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

/* It is for people: without it the lock holds all the same. */
static void write_holder(int fd)
{
    char text[32];
    int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)length, 0) < 0) {
        return;
    }
}

/* Sets fd, or taken and holder.  -errno: there can be no lock. */
static int take(struct discovery_lock *lock)
{
    int fd = open(lock->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    int ret;

    lock->taken = false;
    lock->holder = 0;
    if (fd < 0) {
        return -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        write_holder(fd);
        lock->fd = fd;
        return 0;
    }
    ret = -errno;
    lock->taken = ret == -EWOULDBLOCK;
    lock->holder = lock->taken ? read_holder(fd) : 0;
    close(fd);
    return lock->taken ? 0 : ret;
}

static void on_timer(uv_timer_t *timer)
{
    struct discovery_lock *lock = timer->data;

    take(lock);
    if (!lock->taken) {
        uv_timer_stop(timer);
        log_notice("no other vgpu-mediator looks for the QEMUs of this host any more: this one "
                   "does it from now on");
        lock->ours(lock->opaque);
    }
}

struct discovery_lock *discovery_lock_new(uv_loop_t *loop, const char *path)
{
    struct discovery_lock *lock = calloc(1, sizeof(*lock));

    if (lock) {
        lock->path = path;
        lock->fd = -1;
        lock->timer.data = lock;
        uv_timer_init(loop, &lock->timer);
    }
    return lock;
}

int discovery_lock_start(struct discovery_lock *lock, uint64_t again_ms, int (*ours)(void *opaque),
                         void *opaque)
{
    int ret = take(lock);

    lock->ours = ours;
    lock->opaque = opaque;
    if (lock->taken) {
        log_warning("another vgpu-mediator (process %d) looks for the QEMUs of this host: this one "
                    "goes on without, and takes over when that one ends; --no-discovery if it is "
                    "not to",
                    (int)lock->holder);
        return uv_timer_start(&lock->timer, on_timer, again_ms, again_ms);
    }
    if (ret < 0) {
        log_info("no other vgpu-mediator can be kept from looking for the QEMUs of this host: %s: "
                 "%s",
                 lock->path, strerror(-ret));
    }
    return ours(opaque);
}

bool discovery_lock_taken(const struct discovery_lock *lock, pid_t *holder)
{
    *holder = lock->holder;
    return lock->taken;
}

void discovery_lock_stop(struct discovery_lock *lock)
{
    uv_close((uv_handle_t *)&lock->timer, NULL);
}

void discovery_lock_free(struct discovery_lock *lock)
{
    if (!lock) {
        return;
    }
    if (lock->fd >= 0) {
        close(lock->fd);
    }
    free(lock);
}
