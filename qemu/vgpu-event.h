/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Eventfds that a process we don't trust has open, too.
 *
 * Such a process can fill the count, empty it, and change O_NONBLOCK, which belongs to the open
 * file: a read() or write() of it may then block for ever.  So nothing here does either.
 */
#ifndef HW_MISC_VGPU_EVENT_H
#define HW_MISC_VGPU_EVENT_H

#include "qemu/event_notifier.h"

/* The end at which signals arrive. */
typedef struct VgpuWatch {
    EventNotifier ready; /* readable when one has come: an epoll of our own; never to be read */
    int fd;              /* the shared one */
} VgpuWatch;

/* Takes the eventfd, which may be signalled already.  False, and it is the caller's: no more
 * descriptors. */
bool vgpu_watch_init(VgpuWatch *watch, int fd);
void vgpu_watch_cleanup(VgpuWatch *watch);
/* Has it been signalled since the last time?  Clears `ready`. */
bool vgpu_watch_take(VgpuWatch *watch);

/* Can this process signal?  Under the big lock.  The answer never changes. */
bool vgpu_signal_possible(void);
/* Signals the eventfd, where that is possible; in any thread. */
void vgpu_signal(int fd);

#endif
