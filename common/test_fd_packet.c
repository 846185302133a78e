/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets with descriptors: none gets lost open, whatever comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/fd_packet.h"
#include "common/test_open_files.h"

static int pair[2];

static int setup(void **state)
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int teardown(void **state)
{
    close(pair[0]);
    close(pair[1]);
    return 0;
}

static int send_text(const char *text, unsigned fd_count)
{
    struct iovec parts[] = {{(void *)text, 1}, {(void *)(text + 1), strlen(text) - 1}};
    int fds[FD_PACKET_FDS_MAX];

    for (unsigned i = 0; i < FD_PACKET_FDS_MAX; i++) {
        fds[i] = pair[0];
    }
    return fd_packet_send(pair[0], parts, 2, fds, fd_count);
}

static ssize_t receive(char *text, size_t size, int *fds, unsigned max, unsigned *count)
{
    memset(text, 0, size);
    return fd_packet_receive(pair[1], MSG_DONTWAIT, text, size, fds, max, count);
}

static void test_bytes_and_descriptors_arrive_together(void **state)
{
    unsigned before = open_files(), count = 99;
    int fds[3];
    char text[8];

    assert_int_equal(receive(text, sizeof(text), fds, 3, &count), -EAGAIN);
    assert_int_equal(send_text("first", 2), 0);
    assert_int_equal(send_text("second", 0), 0);
    assert_int_equal(receive(text, sizeof(text), fds, 3, &count), 5);
    assert_string_equal(text, "first");
    assert_int_equal(count, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        close(fds[i]);
    }
    assert_int_equal(receive(text, sizeof(text), fds, 3, &count), 6);
    assert_int_equal(count, 0);
    assert_int_equal(open_files(), before);
    shutdown(pair[0], SHUT_WR);
    assert_int_equal(receive(text, sizeof(text), fds, 3, &count), 0);
    assert_int_equal(send_text("x.", 1), -EPIPE);
}

static void test_what_has_no_room_is_closed(void **state)
{
    unsigned before = open_files(), count;
    int fds[3];
    char text[4];

    send_text("abc", 4);   /* a descriptor too many */
    send_text("abcde", 2); /* a byte too many */
    send_text("abc", FD_PACKET_FDS_MAX);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(receive(text, sizeof(text), fds, 3, &count), -EMSGSIZE);
        assert_int_equal(count, 0);
    }
    assert_int_equal(open_files(), before);
}

static void test_a_process_without_free_descriptors_hears_of_it(void **state)
{
    unsigned before = open_files(), count;
    struct rlimit usual, tight;
    int fds[3];
    char text[8];

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    tight = usual;
    tight.rlim_cur = (rlim_t)dup(0);
    close((int)tight.rlim_cur);
    send_text("abc", 3);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    assert_int_equal(receive(text, sizeof(text), fds, 3, &count), -EMFILE);
    assert_string_equal(text, "abc");
    assert_int_equal(count, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_int_equal(open_files(), before);
}

static void test_a_full_queue_is_said(void **state)
{
    int ret = 0;

    for (unsigned i = 0; i < 100000 && ret == 0; i++) {
        ret = send_text("abc", 0);
    }
    assert_int_equal(ret, -EAGAIN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_and_descriptors_arrive_together),
        TEST(test_what_has_no_room_is_closed),
        TEST(test_a_process_without_free_descriptors_hears_of_it),
        TEST(test_a_full_queue_is_said),
    };

    return cmocka_run_group_tests_name("fd_packet", tests, NULL, NULL);
}
