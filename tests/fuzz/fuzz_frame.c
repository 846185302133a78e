/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device's byte stream: however it is cut into pieces, the same frames come out.
 * Input: one byte that steers the cutting, then the stream.
 */
#include <errno.h>
#include <string.h>

#include "common/frame.h"
#include "fuzz.h"

#define FRAMES_MAX 4096u

struct outcome {
    uint32_t frames;
    uint64_t digest;
    int error;
};

static void digest(struct outcome *o, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        o->digest = (o->digest ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
    }
}

static struct outcome cut(const uint8_t *data, size_t size, uint32_t step)
{
    struct outcome o = {.digest = 14695981039346656037u};
    struct frame_reader reader;
    struct frame frame;
    uint32_t random = step;

    frame_reader_init(&reader);
    while (size > 0 && o.error == 0) {
        size_t n = step ? 1 + (random >> 8) % step : size, left;
        uint8_t *piece;
        const uint8_t *at;

        n = n < size ? n : size;
        piece = malloc(n);
        CHECK(piece);
        memcpy(piece, data, n);
        at = piece;
        left = n;
        for (;;) {
            size_t before = left;
            int ret = frame_reader_next(&reader, &at, &left, &frame);

            CHECK(left <= before && at == piece + (n - left));
            if (ret == 1) {
                CHECK(frame.header.magic == VGPU_SOCKET_MAGIC);
                CHECK(frame.header.payload_len <= VGPU_SOCKET_PAYLOAD_MAX);
                digest(&o, &frame.header, sizeof(frame.header));
                digest(&o, frame.payload, frame.header.payload_len);
                CHECK(++o.frames < FRAMES_MAX);
                continue;
            }
            CHECK(ret == 0 || ret == -EBADMSG || ret == -EMSGSIZE);
            CHECK(ret != 0 || left == 0);
            CHECK(reader.used <= sizeof(reader.bytes));
            o.error = ret;
            break;
        }
        free(piece);
        data += n;
        size -= n;
        random = random * 1664525u + 1013904223u;
    }
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, pieces;

    if (size < 1 || size > 65536) {
        return 0;
    }
    whole = cut(data + 1, size - 1, 0);
    pieces = cut(data + 1, size - 1, 1 + data[0]);
    CHECK(whole.frames == pieces.frames && whole.digest == pieces.digest);
    CHECK(whole.error == pieces.error);
    return 0;
}
