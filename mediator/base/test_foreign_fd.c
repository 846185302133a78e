/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors that somebody else has sent keep nobody waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "mediator/base/foreign_fd.h"

static void test_a_socket_does_not_linger(void **state)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 1000};
    socklen_t length = sizeof(linger);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int other = dup(fd);

    assert_true(fd >= 0 && other >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    foreign_fd_close(fd);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(getsockopt(other, SOL_SOCKET, SO_LINGER, &linger, &length), 0);
    assert_int_equal(linger.l_onoff, 0);
    close(other);
}

static void test_others_are_just_closed(void **state)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    foreign_fd_close(fd);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_socket_does_not_linger),
        cmocka_unit_test(test_others_are_just_closed),
    };

    return cmocka_run_group_tests_name("foreign_fd", tests, NULL, NULL);
}
