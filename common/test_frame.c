/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/frame.h"

static size_t put_frame(uint8_t *out, uint32_t request_id, uint32_t payload_len)
{
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = VGPU_MSG_REQUEST,
        .request_id = request_id,
        .payload_len = payload_len,
    };

    memcpy(out, &header, sizeof(header));
    for (uint32_t i = 0; i < payload_len; i++) {
        out[sizeof(header) + i] = (uint8_t)(request_id + i);
    }
    return sizeof(header) + payload_len;
}

/* Three frames must come out the same, however the stream is cut. */
static void test_any_chunking(void **state)
{
    uint8_t stream[3 * VGPU_SOCKET_FRAME_MAX];
    const uint32_t lengths[] = {0, 40, VGPU_SOCKET_PAYLOAD_MAX};
    size_t total = 0;

    for (uint32_t i = 0; i < 3; i++) {
        total += put_frame(stream + total, i, lengths[i]);
    }
    for (size_t chunk = 1; chunk <= total; chunk++) {
        struct frame_reader reader;
        struct frame frame;
        uint32_t seen = 0;

        frame_reader_init(&reader);
        for (size_t at = 0; at < total; at += chunk) {
            const uint8_t *data = stream + at;
            size_t length = chunk < total - at ? chunk : total - at;

            while (frame_reader_next(&reader, &data, &length, &frame) == 1) {
                assert_int_equal(frame.header.request_id, seen);
                assert_int_equal(frame.header.payload_len, lengths[seen]);
                for (uint32_t i = 0; i < lengths[seen]; i++) {
                    assert_int_equal(frame.payload[i], (uint8_t)(seen + i));
                }
                seen++;
            }
            assert_int_equal(length, 0);
        }
        assert_int_equal(seen, 3);
    }
}

static void feed(const VGPUSocketHeader *header, size_t first, int expected)
{
    struct frame_reader reader;
    struct frame frame;
    const uint8_t *data = (const uint8_t *)header;
    size_t length = first;
    int ret;

    frame_reader_init(&reader);
    ret = frame_reader_next(&reader, &data, &length, &frame);
    if (first < sizeof(*header)) {
        assert_int_equal(ret, 0);
        length = sizeof(*header) - first;
        ret = frame_reader_next(&reader, &data, &length, &frame);
    }
    assert_int_equal(ret, expected);
}

static void test_bad_headers(void **state)
{
    VGPUSocketHeader header = {.magic = VGPU_SOCKET_MAGIC + 1};

    feed(&header, sizeof(header), -EBADMSG);
    feed(&header, 5, -EBADMSG);
    header.magic = VGPU_SOCKET_MAGIC;
    header.payload_len = VGPU_SOCKET_PAYLOAD_MAX + 1;
    feed(&header, sizeof(header), -EMSGSIZE);
    feed(&header, 23, -EMSGSIZE);
    header.payload_len = UINT32_MAX;
    feed(&header, 1, -EMSGSIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_chunking),
        cmocka_unit_test(test_bad_headers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
