/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mediator/state/state_file.h"

#define VERSION 7u
#define RECORDS 3u

static char folder[64], path[96], partial[104];
static char error[STATE_FILE_ERROR_BYTES];

static int begin(void **state)
{
    strcpy(folder, "/tmp/vgpu-state-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/state", folder);
    snprintf(partial, sizeof(partial), "%s.new", path);
    return 0;
}

static int end(void **state)
{
    unlink(path);
    unlink(partial);
    return rmdir(folder);
}

static void write_one(void)
{
    struct state_file file;

    assert_int_equal(state_file_new(VERSION, 8, sizeof(uint64_t), RECORDS, &file), 0);
    *(uint64_t *)file.extra = 42;
    for (uint32_t i = 0; i < RECORDS; i++) {
        ((uint64_t *)file.records)[i] = i + 1;
    }
    assert_int_equal(state_file_write(path, &file), 0);
    state_file_free(&file);
}

static int read_one(struct state_file *file)
{
    return state_file_read(path, VERSION, 8, sizeof(uint64_t), file, error);
}

static void test_there_and_back(void **state)
{
    struct state_file file;
    struct stat about;

    assert_int_equal(read_one(&file), -ENOENT);
    umask(0);
    write_one();
    write_one(); /* over one that is there */
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 07777, 0600);
    assert_int_equal(access(partial, F_OK), -1);
    assert_int_equal(read_one(&file), 0);
    assert_int_equal(file.header->count, RECORDS);
    assert_int_equal(*(uint64_t *)file.extra, 42);
    assert_int_equal(((uint64_t *)file.records)[2], 3);
    assert_true(state_file_of_this_boot(&file));
    file.header->boot_id[3] ^= 1;
    assert_false(state_file_of_this_boot(&file));
    state_file_free(&file);
}

/* Each byte that is another one, and each cut, is seen. */
static void test_damage(void **state)
{
    const size_t size = sizeof(struct state_file_header) + 8 + RECORDS * 8;
    struct state_file file;
    uint8_t byte;

    for (size_t at = 0; at < size; at++) {
        int fd;

        write_one();
        fd = open(path, O_RDWR);
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        close(fd);
        assert_int_equal(read_one(&file), -EBADMSG);
        assert_true(strlen(error) > 0);
    }
    for (size_t left = 0; left < size; left++) {
        write_one();
        assert_int_equal(truncate(path, (off_t)left), 0);
        assert_int_equal(read_one(&file), -EBADMSG);
    }
    write_one();
    assert_int_equal(truncate(path, (off_t)size + 1), 0);
    assert_int_equal(read_one(&file), -EBADMSG);
}

static void test_of_another_version(void **state)
{
    struct state_file file;

    write_one();
    assert_int_equal(state_file_read(path, VERSION + 1, 8, 8, &file, error), -EBADMSG);
    assert_int_equal(state_file_read(path, VERSION, 16, 8, &file, error), -EBADMSG);
    assert_int_equal(state_file_read(path, VERSION, 8, 16, &file, error), -EBADMSG);
    assert_non_null(strstr(error, "another version"));
    assert_int_equal(read_one(&file), 0);
    state_file_free(&file);
}

/* What others could have written, or put in its place. */
static void test_not_ours_alone(void **state)
{
    struct state_file file;
    char other[112];

    write_one();
    assert_int_equal(chmod(path, 0620), 0);
    assert_int_equal(read_one(&file), -EPERM);
    assert_int_equal(chmod(path, 0604), 0);
    assert_int_equal(read_one(&file), -EPERM);
    assert_int_equal(chmod(path, 0600), 0);
    snprintf(other, sizeof(other), "%s/other", folder);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(read_one(&file), -ELOOP);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(read_one(&file), -EPERM);
    unlink(path);
    if (geteuid() == 0) {
        assert_int_equal(rename(other, path), 0);
        assert_int_equal(chown(path, 12345, 0), 0);
        assert_int_equal(read_one(&file), -EPERM);
    }
    unlink(other);
}

/* A link where the new one is made is not followed. */
static void test_a_link_in_the_way(void **state)
{
    struct state_file file;
    char other[112];

    snprintf(other, sizeof(other), "%s/other", folder);
    assert_int_equal(symlink(other, partial), 0);
    write_one();
    assert_int_equal(access(other, F_OK), -1);
    assert_int_equal(read_one(&file), 0);
    state_file_free(&file);
}

/* What can't be written leaves what was there. */
static void test_a_folder_that_is_gone(void **state)
{
    struct state_file file;

    assert_int_equal(state_file_new(VERSION, 8, 8, 0, &file), 0);
    assert_int_equal(state_file_write("/tmp/vgpu-no-such-folder/state", &file), -ENOENT);
    assert_int_equal(state_file_write("/dev/full/state", &file), -ENOTDIR);
    state_file_free(&file);
    assert_int_equal(state_file_new(VERSION, 8, 1u << 20, 1u << 20, &file), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, begin, end),
        cmocka_unit_test_setup_teardown(test_damage, begin, end),
        cmocka_unit_test_setup_teardown(test_of_another_version, begin, end),
        cmocka_unit_test_setup_teardown(test_not_ours_alone, begin, end),
        cmocka_unit_test_setup_teardown(test_a_link_in_the_way, begin, end),
        cmocka_unit_test(test_a_folder_that_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
