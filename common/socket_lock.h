/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * While one mediator looks whether a socket file is dead, removes it and listens in its place,
 * no other one of the same user may: it would find a file that nobody listens on yet, and remove
 * that.  The lock is a file that only its user can open, so nobody else can hold it.
 */
#ifndef COMMON_SOCKET_LOCK_H
#define COMMON_SOCKET_LOCK_H

/* One for root and, below /tmp, one for each other user (%u). */
#define SOCKET_LOCK_OF_ROOT "/run/vgpu-sockets.lock"
#define SOCKET_LOCK_OF_USER "/tmp/vgpu-sockets-%u.lock"
#define SOCKET_LOCK_WAIT_MS 2000

/*
 * Waits for the lock.  A descriptor: close it when the socket is listened on.  -errno: it can't be
 * had (the file is somebody else's, its holder is stopped); to go on without is as it was before.
 */
int socket_lock_take(void);

#endif /* COMMON_SOCKET_LOCK_H */
