/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This lock sees to it that one mediator at a time makes sockets in the roots of a host's
 * QEMUs: a second one would find the first one's there, or be first where it is not meant to
 * be.
 */
#ifndef MEDIATOR_SESSIONS_DISCOVERY_LOCK_H
#define MEDIATOR_SESSIONS_DISCOVERY_LOCK_H

#include <sys/types.h>

#define DISCOVERY_LOCK_PATH "/run/vgpu-discovery.lock"

/*
 * A descriptor: it is ours until that is closed, or the process ends, however it does.
 * -EWOULDBLOCK: another process has it, *holder (0: nobody knows which).  Another -errno: the
 * file can't be had, as on a host where we are not root.
 */
int discovery_lock_take(const char *path, pid_t *holder);

#endif /* MEDIATOR_SESSIONS_DISCOVERY_LOCK_H */
