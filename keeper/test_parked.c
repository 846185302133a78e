/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections that are held for the next mediator: none is lost, none is held for ever. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "keeper/parked.h"

static struct parked parked;

/* What is parked; the other end is returned. */
static int park(uint64_t until_ns)
{
    int connection[2], story[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, connection), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, story), 0);
    close(story[1]);
    parked_add(&parked, (int[]){connection[0], story[0]}, until_ns);
    return connection[1];
}

static bool has_ended(int fd)
{
    char byte;

    return read(fd, &byte, 1) == 0;
}

static void test_all_are_told_of_once(void **state)
{
    int ends[] = {park(10), park(20), park(30)};
    unsigned told = 0;

    assert_int_equal(parked.count, 3);
    while (parked_next(&parked)) {
        const int *fds = parked_next(&parked);

        assert_ptr_equal(parked_next(&parked), fds); /* it stays until it is dropped */
        assert_int_equal(write(fds[VGPU_KEEPER_FDS_CONNECTION], "x", 1), 1);
        parked_drop_next(&parked);
        told++;
    }
    assert_int_equal(told, 3);
    for (unsigned i = 0; i < 3; i++) {
        char byte;

        assert_int_equal(read(ends[i], &byte, 1), 1);
        assert_true(has_ended(ends[i]));
        close(ends[i]);
    }
    assert_null(parked.pairs);
}

static void test_none_is_held_for_ever(void **state)
{
    int first = park(10), second = park(20);

    assert_int_equal(parked_expire(&parked, 19), 0);
    assert_false(has_ended(first));
    assert_int_equal(parked_expire(&parked, 20), 2);
    assert_true(has_ended(first) && has_ended(second));
    assert_null(parked_next(&parked));
    assert_int_equal(parked_expire(&parked, UINT64_MAX), 0);
    close(first);
    close(second);
}

static void test_more_than_there_is_room_for_are_closed(void **state)
{
    int end;

    parked.count = VGPU_KEEPER_PARKED_MAX; /* as if; nobody looks at them */
    end = park(10);
    assert_int_equal(parked.count, VGPU_KEEPER_PARKED_MAX);
    assert_true(has_ended(end));
    parked.count = 0;
    close(end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_are_told_of_once),
        cmocka_unit_test(test_none_is_held_for_ever),
        cmocka_unit_test(test_more_than_there_is_room_for_are_closed),
    };

    return cmocka_run_group_tests_name("parked", tests, NULL, NULL);
}
