/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A byte queue has the bytes that wait to be written to a socket.  They are contiguous, so
 * that any number of messages leaves in one system call, and bounded.
 */
#ifndef MEDIATOR_BASE_BYTE_QUEUE_H
#define MEDIATOR_BASE_BYTE_QUEUE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BYTE_QUEUE_FDS_MAX 5u /* those of an OPENED */

struct byte_queue {
    uint8_t *bytes;
    size_t capacity;
    size_t head;
    size_t length;
};

/* An empty one is all zero.  Frees the memory, and is empty again. */
void byte_queue_destroy(struct byte_queue *queue);
/* -ENOBUFS: more than `limit` bytes would wait; -ENOMEM.  Takes all or nothing. */
int byte_queue_add(struct byte_queue *queue, const void *bytes, size_t length, size_t limit);
/*
 * Writes as much as the socket takes.  0: all gone; -EAGAIN: some is left;
 * another -errno: the peer is gone.
 */
int byte_queue_flush(struct byte_queue *queue, int fd);
/*
 * One write of at most `most` bytes, with `count` descriptors at its first byte, which stay the
 * caller's.  How many bytes went, or -errno; with a number above 0 the descriptors went too.
 */
ssize_t byte_queue_send(struct byte_queue *queue, int fd, size_t most, const int *fds,
                        unsigned count);

#endif /* MEDIATOR_BASE_BYTE_QUEUE_H */
