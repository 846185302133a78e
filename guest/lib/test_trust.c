/* SPDX-License-Identifier: BSD-3-Clause */
/* Which sockets vgpu_open(NULL) takes.  Only root can make those of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "internal.h"

#define MEDIATOR 12345
#define SOMEBODY 54321

struct place {
    char folder[64], path[80], mediators[80]; /* as /tmp, a socket there, and /run/vgpu */
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_non_null(place);
    assert_true(fd >= 0);
    strcpy(place->folder, "/tmp/vgpu-trust-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    snprintf(place->path, sizeof(place->path), "%s/sock", place->folder);
    snprintf(place->mediators, sizeof(place->mediators), "%s/run", place->folder);
    strcpy(address.sun_path, place->path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    assert_int_equal(chmod(place->folder, 01777), 0);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;

    unlink(place->path);
    rmdir(place->mediators);
    rmdir(place->folder);
    free(place);
    return 0;
}

static bool is_trusted(const struct place *place)
{
    return vgpu_socket_is_trusted(place->path, place->mediators);
}

static void test_our_own(void **state)
{
    assert_true(is_trusted(*state));
}

static void test_what_is_no_socket(void **state)
{
    const struct place *place = *state;

    assert_false(vgpu_socket_is_trusted(place->folder, place->mediators));
    assert_int_equal(unlink(place->path), 0);
    assert_false(is_trusted(place));
}

static void test_the_mediators(void **state)
{
    const struct place *place = *state;

    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(chown(place->path, MEDIATOR, MEDIATOR), 0);
    assert_false(is_trusted(place));
    assert_int_equal(mkdir(place->mediators, 0755), 0);
    assert_false(is_trusted(place));
    assert_int_equal(chown(place->mediators, MEDIATOR, MEDIATOR), 0);
    assert_true(is_trusted(place));
    assert_int_equal(chown(place->path, SOMEBODY, MEDIATOR), 0);
    assert_false(is_trusted(place));
}

static void test_what_only_root_can_have_put_there(void **state)
{
    const struct place *place = *state;

    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(chown(place->path, SOMEBODY, SOMEBODY), 0);
    assert_false(is_trusted(place));
    assert_int_equal(chmod(place->folder, 0775), 0);
    assert_false(is_trusted(place));
    assert_int_equal(chmod(place->folder, 0755), 0);
    assert_true(is_trusted(place));
    assert_int_equal(chown(place->folder, SOMEBODY, SOMEBODY), 0);
    assert_false(is_trusted(place));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_our_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_mediators, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_only_root_can_have_put_there, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
