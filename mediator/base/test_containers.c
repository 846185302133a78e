/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handle_map, byte_queue and json_out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "mediator/base/byte_queue.h"
#include "mediator/base/handle_map.h"

#define HANDLES 300u

/* Against a plain array: many that collide come and go in any order. */
static void test_handle_map(void **state)
{
    static char objects[HANDLES];
    bool present[HANDLES] = {false};
    struct handle_map map;
    uint32_t count = 0;

    srand(7);
    assert_int_equal(handle_map_init(&map, HANDLES), 0);
    for (unsigned step = 0; step < 200000; step++) {
        unsigned i = (unsigned)rand() % HANDLES;
        uint64_t handle = (uint64_t)i * 1024 + 5;

        assert_ptr_equal(handle_map_get(&map, handle), present[i] ? &objects[i] : NULL);
        if (present[i]) {
            handle_map_remove(&map, handle);
            count--;
        } else {
            assert_int_equal(handle_map_put(&map, handle, &objects[i]), 0);
            count++;
        }
        present[i] = !present[i];
        assert_int_equal(map.used, count);
    }
    for (unsigned i = 0; i < HANDLES; i++) {
        assert_ptr_equal(handle_map_get(&map, (uint64_t)i * 1024 + 5),
                         present[i] ? &objects[i] : NULL);
    }
    handle_map_remove(&map, 999999);
    assert_int_equal(map.used, count);
    handle_map_destroy(&map);
}

static void test_handle_map_is_bounded(void **state)
{
    struct handle_map map;
    uint64_t handle = 0;

    assert_int_equal(handle_map_init(&map, 100), 0);
    while (handle_map_put(&map, handle, &map) == 0) {
        handle++;
        assert_true(handle < 1000);
    }
    assert_true(handle >= 100);
    assert_null(handle_map_get(&map, handle));
    handle_map_destroy(&map);
}

/* What goes in comes out, in order, however the socket takes it. */
static void test_byte_queue(void **state)
{
    struct byte_queue queue = {0};
    uint8_t in[3000], out[5000];
    uint32_t written = 0, read_bytes = 0;
    int pair[2];

    srand(3);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    for (unsigned step = 0; step < 20000; step++) {
        size_t length = (size_t)rand() % sizeof(in);
        ssize_t n;
        int ret;

        for (size_t i = 0; i < length; i++) {
            in[i] = (uint8_t)((written + i) * 31 >> 3);
        }
        ret = byte_queue_add(&queue, in, length, 1000000);
        if (ret == 0) {
            written += (uint32_t)length;
        } else {
            assert_int_equal(ret, -ENOBUFS);
            assert_true(queue.length + length > 1000000);
        }
        ret = byte_queue_flush(&queue, pair[0]);
        assert_true(ret == 0 || ret == -EAGAIN);
        assert_int_equal(ret == 0, queue.length == 0);
        n = recv(pair[1], out, 1 + (size_t)rand() % sizeof(out), MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(out[i], (uint8_t)((read_bytes + (uint32_t)i) * 31 >> 3));
        }
        read_bytes += n > 0 ? (uint32_t)n : 0;
    }
    close(pair[1]);
    assert_int_equal(byte_queue_add(&queue, in, 1, 2000000), 0);
    assert_int_equal(byte_queue_flush(&queue, pair[0]), -EPIPE);
    close(pair[0]);
    byte_queue_destroy(&queue);
}

static void test_byte_queue_takes_all_or_nothing(void **state)
{
    struct byte_queue queue = {0};
    uint8_t bytes[100] = {0};

    assert_int_equal(byte_queue_add(&queue, bytes, 100, 99), -ENOBUFS);
    assert_int_equal(byte_queue_add(&queue, bytes, 60, 100), 0);
    assert_int_equal(byte_queue_add(&queue, bytes, 41, 100), -ENOBUFS);
    assert_int_equal(queue.length, 60);
    assert_int_equal(byte_queue_add(&queue, bytes, SIZE_MAX, 100), -ENOBUFS);
    assert_int_equal(byte_queue_add(&queue, bytes, 40, 100), 0);
    byte_queue_destroy(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handle_map),
        cmocka_unit_test(test_handle_map_is_bounded),
        cmocka_unit_test(test_byte_queue),
        cmocka_unit_test(test_byte_queue_takes_all_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
