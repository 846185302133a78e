/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets whose files somebody removes. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "mediator/test_loop.h"

#include "mediator/base/listen_point.h"

static uv_loop_t loop;
static struct listen_point point;
static char root[64], path[96], error[SOCKET_ERROR_BYTES];
static uint32_t connections;

static void on_connection(uv_poll_t *poll, UNUSED int status, UNUSED int events)
{
    int fd;

    assert_ptr_equal(poll->data, &connections);
    fd = accept4(point.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        connections++;
        close(fd);
    }
}

/* An fd, or -errno. */
static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int ret = -errno;

        close(fd);
        return ret;
    }
    return fd;
}

static void assert_heard(void)
{
    uint32_t before = connections;
    int fd = dial();

    assert_true(fd >= 0);
    run_until(&loop, connections > before);
    close(fd);
}

static int setup(void **state)
{
    const struct socket_file_owner owner = {geteuid(), SOCKET_KEEP_GID, 0600};
    struct socket_file file;

    strcpy(root, "/tmp/vgpu-listen-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof(path), "%s/own/a.sock", root);
    uv_loop_init(&loop);
    connections = 0;
    assert_int_equal(socket_file_open(&file, path, true, error, sizeof(error)), 0);
    assert_int_equal(listen_point_open(&point, &loop, &file, &owner, on_connection, &connections,
                                       error, sizeof(error)),
                     0);
    assert_heard();
    return 0;
}

static int remove_one(const char *name, UNUSED const struct stat *st, UNUSED int type,
                      UNUSED struct FTW *place)
{
    return remove(name);
}

static int teardown(void **state)
{
    listen_point_close(&point);
    listen_point_close(&point); /* once more does nothing */
    end_loop(&loop);
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int look(void)
{
    return listen_point_look(&point, path, error, sizeof(error));
}

static void remove_folder(void)
{
    char folder[80];

    snprintf(folder, sizeof(folder), "%s/own", root);
    assert_int_equal(rmdir(folder), 0);
}

static void test_a_file_that_is_removed_is_made_again(void **state)
{
    assert_int_equal(look(), 0);
    for (uint32_t i = 1; i < 4; i++) {
        assert_true(listen_point_has_name(&point));
        assert_int_equal(unlink(path), 0);
        assert_false(listen_point_has_name(&point));
        assert_int_equal(dial(), -ENOENT);
        assert_int_equal(look(), 1);
        assert_int_equal(point.times_again, i);
        assert_heard();
        assert_int_equal(look(), 0);
    }
}

static void test_its_folder_too_and_it_goes_at_the_end(void **state)
{
    struct stat st;

    assert_int_equal(unlink(path), 0);
    remove_folder();
    assert_int_equal(look(), 1);
    assert_heard();
    assert_int_equal(unlink(path), 0);
    assert_int_equal(look(), 1); /* the folder that we made is still remembered as ours */
    listen_point_close(&point);
    assert_int_equal(stat(path, &st), -1);
    remove(path);
    snprintf(path, sizeof(path), "%s/own", root);
    assert_int_equal(stat(path, &st), -1);
}

static void test_another_folder_in_its_place(void **state)
{
    char from[96], to[96];

    snprintf(from, sizeof(from), "%s/own", root);
    snprintf(to, sizeof(to), "%s/away", root);
    assert_int_equal(rename(from, to), 0);
    assert_true(listen_point_has_name(&point)); /* but the path doesn't lead there */
    assert_int_equal(dial(), -ENOENT);
    assert_int_equal(look(), 1);
    assert_heard();
}

static void test_what_is_in_its_place_is_left_alone(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat mine, there;
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* A live socket of somebody else's, also where the file system reuses the inode's number. */
    assert_int_equal(unlink(path), 0);
    strcpy(address.sun_path, path);
    assert_int_equal(bind(other, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(other, 1), 0);
    assert_int_equal(lstat(path, &mine), 0);
    assert_int_equal(look(), -EADDRINUSE);
    assert_non_null(strstr(error, "another program listens"));
    assert_false(listen_point_has_name(&point));
    assert_int_equal(lstat(path, &there), 0);
    assert_int_equal(there.st_ino, mine.st_ino);
    /* A dead one makes room. */
    close(other);
    assert_int_equal(look(), 1);
    assert_heard();
    /* A file does not. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(look(), -EEXIST);
    assert_int_equal(look(), -EEXIST);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(look(), 1);
    assert_heard();
}

static void test_one_that_could_not_be_made_yet(void **state)
{
    const struct socket_file_owner owner = {geteuid(), SOCKET_KEEP_GID, 0600};

    listen_point_close(&point);
    run_ready(&loop);
    assert_int_equal(look(), 0);             /* it is closed for good */
    assert_int_equal(mkdir(path, 0700), -1); /* its folder went with it */
    listen_point_prepare(&point, &loop, &owner, on_connection, &connections);
    assert_false(listen_point_has_name(&point));
    listen_point_rest(&point, true);
    strcpy(strrchr(path, '/'), "");
    assert_int_equal(mkdir(path, 0755), 0);
    strcat(path, "/a.sock");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(look(), -EEXIST);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(look(), 1);
    assert_int_equal(point.times_again, 0);
    assert_heard();
}

static void test_it_rests_on(void **state)
{
    int fd;

    listen_point_rest(&point, true);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(look(), 1);
    fd = dial();
    assert_true(fd >= 0);
    run_ready(&loop);
    assert_int_equal(connections, 1); /* setup's */
    listen_point_rest(&point, false);
    run_until(&loop, connections == 2);
    close(fd);
}

static void test_a_new_owner_stays_the_owner(void **state)
{
    struct socket_file_owner other = {12345, SOCKET_KEEP_GID, 0600};
    struct stat st;
    char second[sizeof(path) + 2];

    if (geteuid() != 0) {
        skip();
    }
    /* Another name of it may be a trick to have it given away. */
    snprintf(second, sizeof(second), "%s.2", path);
    assert_int_equal(link(path, second), 0);
    assert_int_equal(listen_point_give(&point, &other), -EPERM);
    assert_int_equal(unlink(second), 0);
    assert_int_equal(listen_point_give(&point, &other), 0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_uid, 12345);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(look(), 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_file_that_is_removed_is_made_again),
        TEST(test_its_folder_too_and_it_goes_at_the_end),
        TEST(test_another_folder_in_its_place),
        TEST(test_what_is_in_its_place_is_left_alone),
        TEST(test_one_that_could_not_be_made_yet),
        TEST(test_it_rests_on),
        TEST(test_a_new_owner_stays_the_owner),
    };

    return cmocka_run_group_tests_name("listen_point", tests, NULL, NULL);
}
