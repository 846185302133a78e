/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 * ------------
 * A signal wakes those that wait for the eventfd, whatever its count is.  An edge-triggered epoll
 * keeps that, so the count need not be read.
 *
 * The kernel can signal an eventfd for a process: when an asynchronous read is over.  It never
 * waits then, and a full count stays full.  The read is of an empty file, so it is over at once.
 */
#include "qemu/osdep.h"
#include <linux/aio_abi.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include "qemu/error-report.h"
#include "qemu/memfd.h"
#include "vgpu-event.h"

/* ---- Arriving signals ------------------------------------------------------ */

bool vgpu_watch_init(VgpuWatch *watch, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0) {
        return false;
    }
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        close(epoll);
        return false;
    }
    event_notifier_init_fd(&watch->ready, epoll);
    watch->fd = fd;
    return true;
}

void vgpu_watch_cleanup(VgpuWatch *watch)
{
    event_notifier_cleanup(&watch->ready);
    close(watch->fd);
}

bool vgpu_watch_take(VgpuWatch *watch)
{
    struct epoll_event event;

    return epoll_wait(event_notifier_get_fd(&watch->ready), &event, 1, 0) > 0;
}

/* ---- Signals of our own ------------------------------------------------------ */

/*
 * Reads that are not reaped yet; each signal reaps.  They count in fs.aio-max-nr, 65,536 on most
 * hosts, which all QEMUs share.
 */
#define READS_MAX 8
#define REAPED_MAX 8

static aio_context_t reads;
static int empty = -1; /* the file */

static void signal_init(void)
{
    empty = qemu_memfd_create("vgpu-empty", 0, false, 0, 0, NULL);
    if (empty >= 0 && syscall(SYS_io_setup, READS_MAX, &reads) < 0) {
        close(empty);
        empty = -1;
    }
    if (empty < 0) {
        error_report("vgpu-stub: no asynchronous input and output (%s), so no channels that need "
                     "it; is fs.aio-max-nr used up?",
                     strerror(errno));
    }
}

bool vgpu_signal_possible(void)
{
    static bool tried;

    if (!tried) {
        tried = true;
        signal_init();
    }
    return empty >= 0;
}

static void reap(void)
{
    struct io_event over[REAPED_MAX];
    struct timespec now = {0};

    syscall(SYS_io_getevents, reads, 0, REAPED_MAX, over, &now);
}

void vgpu_signal(int fd)
{
    static uint8_t byte;
    struct iocb read_nothing = {
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = empty,
        .aio_buf = (uintptr_t)&byte,
        .aio_nbytes = sizeof(byte),
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = fd,
    };
    struct iocb *list = &read_nothing;
    unsigned tries = empty < 0 ? 0 : READS_MAX;
    bool sent = false;

    while (tries-- > 0 && !sent) {
        sent = syscall(SYS_io_submit, reads, 1, &list) == 1;
        if (!sent && errno != EAGAIN) {
            break;
        }
        reap(); /* others may not have reaped theirs yet */
    }
    if (!sent) {
        error_report_once(
            "vgpu-stub: a signal to a worker got lost (%s): programs ring again after 1 s",
            strerror(errno));
    }
}
