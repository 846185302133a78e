/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/byte_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUE_FIRST_BYTES 4096u
/* What an idle queue may keep: the answers of a usual burst. */
#define QUEUE_KEEP_BYTES 65536u

void byte_queue_destroy(struct byte_queue *queue)
{
    free(queue->bytes);
    memset(queue, 0, sizeof(*queue));
}

static int make_room(struct byte_queue *queue, size_t length)
{
    size_t capacity = queue->capacity ? queue->capacity : QUEUE_FIRST_BYTES;
    uint8_t *bytes;

    if (queue->head + queue->length + length <= queue->capacity) {
        return 0;
    }
    /*
     * Moving is worth it only when it makes much room: else a slow reader would cost a move an add.
     */
    if (queue->length + length <= queue->capacity && queue->head >= queue->capacity / 2) {
        memmove(queue->bytes, queue->bytes + queue->head, queue->length);
        queue->head = 0;
        return 0;
    }
    while (capacity < 2 * queue->length + length) {
        capacity *= 2;
    }
    bytes = malloc(capacity);
    if (!bytes) {
        return -ENOMEM;
    }
    if (queue->length) {
        memcpy(bytes, queue->bytes + queue->head, queue->length);
    }
    free(queue->bytes);
    queue->bytes = bytes;
    queue->capacity = capacity;
    queue->head = 0;
    return 0;
}

int byte_queue_add(struct byte_queue *queue, const void *bytes, size_t length, size_t limit)
{
    int ret;

    if (length > limit || queue->length > limit - length) {
        return -ENOBUFS;
    }
    if (length == 0) {
        return 0;
    }
    ret = make_room(queue, length);
    if (ret < 0) {
        return ret;
    }
    memcpy(queue->bytes + queue->head + queue->length, bytes, length);
    queue->length += length;
    return 0;
}

ssize_t byte_queue_send(struct byte_queue *queue, int fd, size_t most, const int *fds,
                        unsigned count)
{
    union {
        struct cmsghdr header; /* for its alignment */
        uint8_t bytes[CMSG_SPACE(sizeof(int) * BYTE_QUEUE_FDS_MAX)];
    } control;
    struct iovec part = {queue->bytes + queue->head, most < queue->length ? most : queue->length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t n;

    assert(count <= BYTE_QUEUE_FDS_MAX);
    if (count) {
        memset(&control, 0, sizeof(control));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    }
    do {
        n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
    queue->head += (size_t)n;
    queue->length -= (size_t)n;
    return n;
}

int byte_queue_flush(struct byte_queue *queue, int fd)
{
    while (queue->length) {
        ssize_t n =
            send(fd, queue->bytes + queue->head, queue->length, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        }
        queue->head += (size_t)n;
        queue->length -= (size_t)n;
    }
    queue->head = 0;
    if (queue->capacity > QUEUE_KEEP_BYTES) {
        byte_queue_destroy(queue);
    }
    return 0;
}
