/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module closes descriptors that somebody else has sent.  close() of a socket that has
 * SO_LINGER waits as long as its sender likes, and with it the one thread that serves all VMs; it
 * also waits where the kernel closes what a message brought and nobody had room for.
 */
#ifndef MEDIATOR_BASE_FOREIGN_FD_H
#define MEDIATOR_BASE_FOREIGN_FD_H

#define FOREIGN_FDS_MAX 253 /* that one message can bring (SCM_MAX_FD): give room for all */

struct msghdr;

/* Closes it without waiting for what a socket has not sent yet. */
void foreign_fd_close(int fd);
/*
 * What came beside a message: the first `room` are put into fds, and are the caller's, the others
 * are closed.  Returns how many came, which may be more than `room`.
 */
unsigned foreign_fds_take(struct msghdr *message, int *fds, unsigned room);

#endif /* MEDIATOR_BASE_FOREIGN_FD_H */
