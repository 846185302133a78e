/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module sends and takes packets with descriptors over a SOCK_SEQPACKET socket.  Sending never
 * waits, and no descriptor that comes is lost: it is handed over or closed.
 */
#ifndef COMMON_FD_PACKET_H
#define COMMON_FD_PACKET_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define FD_PACKET_FDS_MAX 16u

/* `fds` stay the caller's.  0 or -errno; -EAGAIN: the peer's queue is full. */
int fd_packet_send(int socket, struct iovec *parts, size_t part_count, const int *fds,
                   unsigned fd_count);

/*
 * The bytes of one packet; 0: the peer has closed.  `flags` are recvmsg()'s: with MSG_DONTWAIT
 * -EAGAIN says that there is none now.  *fd_count: how many descriptors came, all CLOEXEC; the
 * caller closes them.  -EMSGSIZE: a packet of more bytes or more descriptors than there is room
 * for, which are closed.
 */
ssize_t fd_packet_receive(int socket, int flags, void *bytes, size_t size, int *fds,
                          unsigned fds_max, unsigned *fd_count);

/*
 * The descriptors that came with a message, however it was received: the first `room` of them
 * stand in fds and are the caller's, `refuse` is called with each of the others.  How many came.
 */
unsigned fd_packet_take(struct msghdr *message, int *fds, unsigned room, void (*refuse)(int fd));

#endif /* COMMON_FD_PACKET_H */
