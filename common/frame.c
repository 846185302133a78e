/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/frame.h"

#include <errno.h>
#include <string.h>

void frame_reader_init(struct frame_reader *reader)
{
    reader->used = 0;
}

static int check_header(const VGPUSocketHeader *header)
{
    if (header->magic != VGPU_SOCKET_MAGIC) {
        return -EBADMSG;
    }
    if (header->payload_len > VGPU_SOCKET_PAYLOAD_MAX) {
        return -EMSGSIZE;
    }
    return 0;
}

static void take(struct frame_reader *reader, const uint8_t **data, size_t *length, uint32_t want)
{
    size_t n = want - reader->used;

    if (n > *length) {
        n = *length;
    }
    memcpy(reader->bytes + reader->used, *data, n);
    reader->used += (uint32_t)n;
    *data += n;
    *length -= n;
}

int frame_reader_next(struct frame_reader *reader, const uint8_t **data, size_t *length,
                      struct frame *frame)
{
    const uint32_t header_bytes = sizeof(frame->header);
    uint32_t total;
    int ret;

    frame->fds = NULL;
    frame->fd_count = 0;
    /* The usual case: a whole frame in one read needs no copy. */
    if (reader->used == 0 && *length >= header_bytes) {
        memcpy(&frame->header, *data, header_bytes);
        ret = check_header(&frame->header);
        if (ret < 0) {
            return ret;
        }
        total = header_bytes + frame->header.payload_len;
        if (*length >= total) {
            frame->payload = *data + header_bytes;
            *data += total;
            *length -= total;
            return 1;
        }
    }

    if (reader->used < header_bytes) {
        take(reader, data, length, header_bytes);
        if (reader->used < header_bytes) {
            return 0;
        }
    }
    memcpy(&frame->header, reader->bytes, header_bytes);
    ret = check_header(&frame->header);
    if (ret < 0) {
        return ret;
    }
    total = header_bytes + frame->header.payload_len;
    take(reader, data, length, total);
    if (reader->used < total) {
        return 0;
    }
    frame->payload = reader->bytes + header_bytes;
    reader->used = 0;
    return 1;
}
