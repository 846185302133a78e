/* SPDX-License-Identifier: GPL-2.0-or-later */
/* On real folders: what a guest may put there, and in which order the files change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/request_file.h"

static char path[64];
static int folder = -1;

static int set_up(void **state)
{
    strcpy(path, "/tmp/test-bridge-XXXXXX");
    if (!mkdtemp(path)) {
        return -1;
    }
    folder = open(path, O_RDONLY | O_DIRECTORY);
    return folder < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"request.txt", "response.txt", "other"};

    for (size_t i = 0; i < 3; i++) {
        if (unlinkat(folder, names[i], 0) < 0 && errno == EISDIR) {
            unlinkat(folder, names[i], AT_REMOVEDIR);
        }
    }
    close(folder);
    return rmdir(path);
}

static void put(const char *name, const char *text)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC, 0666);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void assert_holds(const char *name, const char *text)
{
    char got[512] = "";
    int fd = openat(folder, name, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, got, sizeof(got) - 1), strlen(text));
    assert_string_equal(got, text);
    close(fd);
}

static enum request_file_state look(struct request_file *file)
{
    return request_file_read(folder, NULL, file);
}

static void test_the_way_of_a_request(void **state)
{
    struct request_file file;

    assert_int_equal(request_file_set_up(folder, "0:Ready"), 0);
    assert_holds("request.txt", "");
    assert_holds("response.txt", "0:Ready\n");
    assert_false(request_file_waits(folder));
    assert_int_equal(look(&file), REQUEST_FILE_NONE);

    put("request.txt", "A:2:1:100:200\nmore\n");
    assert_true(request_file_waits(folder));
    assert_int_equal(look(&file), REQUEST_FILE_WHOLE);
    assert_int_equal(file.length, strlen("A:2:1:100:200"));
    assert_memory_equal(file.text, "A:2:1:100:200", file.length);
    assert_int_equal(request_file_take(folder, &file), 0);
    assert_holds("request.txt", "");
    assert_holds("response.txt", "");
    assert_int_equal(look(&file), REQUEST_FILE_NONE);

    assert_int_equal(request_file_answer(folder, "1:300"), 0);
    assert_holds("response.txt", "1:300\n");
    assert_int_equal(request_file_set_up(folder, "0:Ready"), 0);
    assert_holds("response.txt", "1:300\n");
    assert_int_equal(request_file_clear(folder), 0);
    assert_holds("response.txt", "");
}

static void test_a_line_without_end(void **state)
{
    struct request_file first, second;

    put("request.txt", "A:2:1:100:20");
    assert_int_equal(request_file_read(folder, NULL, &first), REQUEST_FILE_AGAIN);
    put("request.txt", "A:2:1:100:200");
    assert_int_equal(request_file_read(folder, &first, &second), REQUEST_FILE_AGAIN);
    assert_int_equal(request_file_read(folder, &second, &first), REQUEST_FILE_WHOLE);
    assert_int_equal(first.length, strlen("A:2:1:100:200"));
}

static void test_written_again_is_not_taken(void **state)
{
    struct request_file file;

    put("response.txt", "1:5\n");
    put("request.txt", "A:2:1:1:2\n");
    assert_int_equal(look(&file), REQUEST_FILE_WHOLE);
    put("request.txt", "A:2:1:3:4\nx");
    assert_int_equal(request_file_take(folder, &file), -EAGAIN);
    assert_holds("request.txt", "A:2:1:3:4\nx");
    assert_int_equal(unlinkat(folder, "request.txt", 0), 0);
    assert_int_equal(request_file_take(folder, &file), -EAGAIN);
}

static void test_long_and_empty(void **state)
{
    char text[REQUEST_TEXT_MAX + 2];
    struct request_file file;

    memset(text, '1', sizeof(text));
    text[REQUEST_TEXT_MAX - 1] = '\n';
    text[REQUEST_TEXT_MAX] = '\0';
    put("request.txt", text);
    assert_int_equal(look(&file), REQUEST_FILE_WHOLE);
    text[REQUEST_TEXT_MAX - 1] = '1';
    text[REQUEST_TEXT_MAX] = '\n';
    text[REQUEST_TEXT_MAX + 1] = '\0';
    put("request.txt", text);
    assert_int_equal(look(&file), REQUEST_FILE_REFUSE);
    assert_int_equal(request_file_take(folder, &file), 0);
    assert_holds("request.txt", "");
    put("request.txt", "\n");
    assert_int_equal(look(&file), REQUEST_FILE_NONE);
}

static void test_links_and_fifos_are_refused(void **state)
{
    struct request_file file;

    put("other", "A:2:1:1:2\n");
    assert_int_equal(symlinkat("other", folder, "request.txt"), 0);
    assert_int_equal(look(&file), REQUEST_FILE_REFUSE);
    assert_true(request_file_take(folder, &file) < 0);
    assert_int_equal(unlinkat(folder, "request.txt", 0), 0);

    assert_int_equal(linkat(folder, "other", folder, "request.txt", 0), 0);
    assert_int_equal(look(&file), REQUEST_FILE_REFUSE);
    assert_true(request_file_take(folder, &file) < 0);
    assert_holds("other", "A:2:1:1:2\n");
    assert_int_equal(unlinkat(folder, "request.txt", 0), 0);

    assert_int_equal(mkfifoat(folder, "request.txt", 0666), 0);
    assert_int_equal(look(&file), REQUEST_FILE_REFUSE);
    assert_int_equal(unlinkat(folder, "request.txt", 0), 0);

    assert_int_equal(mkdirat(folder, "request.txt", 0777), 0);
    assert_int_equal(look(&file), REQUEST_FILE_REFUSE);
    assert_true(request_file_take(folder, &file) < 0);
}

/* Neither is followed nor waited for: a plain file stands there afterwards. */
static void test_an_answer_replaces_what_is_no_file(void **state)
{
    struct stat stat;

    put("other", "precious");
    assert_int_equal(symlinkat("other", folder, "response.txt"), 0);
    assert_int_equal(request_file_answer(folder, "1:1"), 0);
    assert_int_equal(fstatat(folder, "response.txt", &stat, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISREG(stat.st_mode));
    assert_holds("other", "precious");
    assert_int_equal(unlinkat(folder, "response.txt", 0), 0);

    assert_int_equal(linkat(folder, "other", folder, "response.txt", 0), 0);
    assert_int_equal(request_file_answer(folder, "1:2"), 0);
    assert_holds("other", "precious");
    assert_holds("response.txt", "1:2\n");
    assert_int_equal(unlinkat(folder, "response.txt", 0), 0);

    assert_int_equal(mkfifoat(folder, "response.txt", 0666), 0);
    assert_int_equal(request_file_answer(folder, "1:3"), 0);
    assert_holds("response.txt", "1:3\n");
    assert_int_equal(unlinkat(folder, "response.txt", 0), 0);

    assert_int_equal(mkdirat(folder, "response.txt", 0777), 0);
    assert_true(request_file_answer(folder, "1:4") < 0);
    assert_int_equal(unlinkat(folder, "response.txt", AT_REMOVEDIR), 0);
}

static void test_a_long_answer_is_cut(void **state)
{
    char text[2 * RESPONSE_TEXT_MAX];
    struct stat stat;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(request_file_answer(folder, text), 0);
    assert_int_equal(fstatat(folder, "response.txt", &stat, 0), 0);
    assert_int_equal(stat.st_size, RESPONSE_TEXT_MAX + 1);
}

/* Who may make files in the folder may write these: an NFS server's user is not ours. */
static void test_modes_follow_the_folder(void **state)
{
    struct stat stat;

    assert_int_equal(fchmod(folder, 0777), 0);
    assert_int_equal(request_file_set_up(folder, "0:Ready"), 0);
    assert_int_equal(fstatat(folder, "request.txt", &stat, 0), 0);
    assert_int_equal(stat.st_mode & 0777, 0666);
    assert_int_equal(unlinkat(folder, "response.txt", 0), 0);
    assert_int_equal(fchmod(folder, 0750), 0);
    assert_int_equal(request_file_set_up(folder, "0:Ready"), 0);
    assert_int_equal(fstatat(folder, "response.txt", &stat, 0), 0);
    assert_int_equal(stat.st_mode & 0777, 0640);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_the_way_of_a_request),
        WITH_FOLDER(test_a_line_without_end),
        WITH_FOLDER(test_written_again_is_not_taken),
        WITH_FOLDER(test_long_and_empty),
        WITH_FOLDER(test_links_and_fifos_are_refused),
        WITH_FOLDER(test_an_answer_replaces_what_is_no_file),
        WITH_FOLDER(test_a_long_answer_is_cut),
        WITH_FOLDER(test_modes_follow_the_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
