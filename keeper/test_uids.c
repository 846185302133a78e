/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which uid a VM gets, and its folder.  Folders that belong to others take root to make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "keeper/remove_tree.h"
#include "keeper/uids.h"

#define BASE 2100200000u

static char folder[] = "/tmp/vgpu-uids-XXXXXX", lock_path[64], cache_path[64];
static char error[512], cache[PATH_MAX];

static int setup(void **state)
{
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(lock_path, sizeof(lock_path), "%s/lock", folder);
    snprintf(cache_path, sizeof(cache_path), "%s/cache", folder);
    return 0;
}

static int teardown(void **state)
{
    int tmp = open("/tmp", O_RDONLY | O_DIRECTORY), ret = remove_tree(tmp, folder + 5);

    close(tmp);
    return ret;
}

static struct uids *open_uids(uint32_t base, uint32_t count)
{
    const struct uids_config config = {base, count, lock_path, cache_path};
    struct uids *uids;

    if (uids_new(&config, &uids, error, sizeof(error)) < 0) {
        fail_msg("%s", error);
    }
    return uids;
}

static uid_t take(struct uids *uids, const char *key, char *path)
{
    uid_t uid;

    assert_int_equal(uids_take(uids, key, &uid, path), 0);
    return uid;
}

static void test_a_vm_has_one_uid_and_no_two_have_the_same(void **state)
{
    struct uids *uids = open_uids(BASE, 3);
    uid_t one = take(uids, "one", NULL), two = take(uids, "two", NULL), uid;

    assert_int_not_equal(one, two);
    assert_true(one >= BASE && one < BASE + 3 && two >= BASE && two < BASE + 3);
    assert_int_equal(take(uids, "one", NULL), one);
    take(uids, "three", NULL);
    assert_int_equal(uids_take(uids, "four", &uid, NULL), -EAGAIN);
    /* It has two processes: the first one's end changes nothing. */
    uids_release(uids, "one");
    assert_int_equal(uids_take(uids, "four", &uid, NULL), -EAGAIN);
    uids_release(uids, "one");
    assert_int_equal(take(uids, "four", NULL), one);
    uids_release(uids, "nobody");
    uids_free(uids);
}

static void test_two_keepers_have_none_in_common(void **state)
{
    struct uids *here = open_uids(BASE, 2), *there = open_uids(BASE, 2);
    uid_t one = take(here, "vm", NULL), other = take(there, "vm", NULL), uid;

    assert_int_not_equal(one, other);
    assert_int_equal(uids_take(there, "more", &uid, NULL), -EAGAIN);
    /* A keeper that ends, in whatever way, gives back what it had. */
    uids_free(here);
    assert_int_equal(take(there, "more", NULL), one);
    uids_free(there);
}

static void test_a_range_that_is_not_free(void **state)
{
    struct uids_config config = {0, 10, lock_path, NULL};
    struct uids *uids;

    assert_int_equal(uids_new(&config, &uids, error, sizeof(error)), -EADDRINUSE);
    assert_non_null(strstr(error, "the user root has one of them"));
    assert_non_null(strstr(error, "--uid-base"));
}

static void test_a_lock_file_that_cannot_be_had(void **state)
{
    struct uids_config config = {BASE, 10, "/nowhere/lock", NULL};
    struct uids *uids;

    assert_int_equal(uids_new(&config, &uids, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "/nowhere/lock: No such file"));
    /* A link is nobody's lock: where it leads might be anything. */
    assert_int_equal(symlink("/etc/passwd", lock_path), 0);
    config.lock_path = lock_path;
    assert_int_equal(uids_new(&config, &uids, error, sizeof(error)), -ELOOP);
}

static void test_a_folder_keeps_the_uid(void **state)
{
    struct uids *uids;
    struct stat st;
    uid_t one;

    if (geteuid() != 0) {
        skip();
    }
    uids = open_uids(BASE, 100);
    assert_int_equal(access(cache_path, F_OK), -1); /* made when it is needed */
    one = take(uids, "one", cache);
    assert_int_equal(stat(cache, &st), 0);
    assert_int_equal(st.st_uid, one);
    assert_int_equal(st.st_gid, one);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(cache_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
    uids_free(uids);
    /* Another keeper, whose range's first choice may be another one, finds it. */
    uids = open_uids(one, 2);
    assert_int_not_equal(take(uids, "two", NULL), one);
    assert_int_equal(take(uids, "one", cache), one);
    assert_non_null(strstr(cache, "/cache/one"));
    uids_free(uids);
}

/* ... and no keeper with another cache gives it to anybody: his worker could write there. */
static void test_a_folders_uid_is_not_anothers(void **state)
{
    char other_path[80];
    struct uids_config config = {BASE, 100, lock_path, other_path};
    struct uids *here, *there;
    uid_t one;

    if (geteuid() != 0) {
        skip();
    }
    snprintf(other_path, sizeof(other_path), "%s/other", folder);
    here = open_uids(BASE, 100);
    one = take(here, "one", cache);
    uids_release(here, "one");
    assert_int_equal(uids_new(&config, &there, error, sizeof(error)), 0);
    assert_int_not_equal(take(there, "one", cache), one); /* its first choice */
    assert_non_null(strstr(cache, "/other/one"));
    uids_release(there, "one");
    uids_free(there);
    /* One with the same cache has the same folder. */
    there = open_uids(BASE, 100);
    assert_int_equal(take(there, "one", cache), one);
    uids_free(there);
    uids_free(here);
}

/* Folders that are being removed, by a process of its own. */
static unsigned count_gone(void)
{
    DIR *listing = opendir(cache_path);
    struct dirent *entry;
    unsigned count = 0;

    assert_non_null(listing);
    while ((entry = readdir(listing)) != NULL) {
        count += strncmp(entry->d_name, ".gone-", 6) == 0;
    }
    closedir(listing);
    return count;
}

static void await_removals(void)
{
    for (int i = 0; i < 60000 && count_gone() > 0; i++) {
        usleep(1000);
    }
    assert_int_equal(count_gone(), 0);
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

/* What a keeper that was killed has left of one. */
static void test_a_removal_is_taken_up_again(void **state)
{
    char path[128];

    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(mkdir(cache_path, 0711), 0);
    snprintf(path, sizeof(path), "%s/.gone-vm-1-2", cache_path);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/.gone-vm-1-2/file", cache_path);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    assert_int_equal(count_gone(), 1);
    uids_free(open_uids(BASE, 2));
    await_removals();
}

static void test_folders_of_vms_that_are_gone_make_room(void **state)
{
    struct uids *uids;
    uid_t uid;

    if (geteuid() != 0) {
        skip();
    }
    uids = open_uids(BASE, 2);
    take(uids, "one", cache);
    take(uids, "two", cache);
    uids_release(uids, "two");
    take(uids, "three", cache); /* two's folder goes, one is in use */
    assert_string_equal(strrchr(cache, '/'), "/three");
    snprintf(cache, sizeof(cache), "%s/two", cache_path);
    assert_int_equal(access(cache, F_OK), -1);
    snprintf(cache, sizeof(cache), "%s/one", cache_path);
    assert_int_equal(access(cache, F_OK), 0);
    assert_int_equal(uids_take(uids, "four", &uid, NULL), -EAGAIN);
    await_removals();
    uids_free(uids);
}

static void test_what_is_no_folder_is_no_cache(void **state)
{
    struct uids *uids;
    struct stat st;
    char path[128];

    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(mkdir(cache_path, 0711), 0);
    snprintf(path, sizeof(path), "%s/one", cache_path);
    assert_int_equal(symlink(folder, path), 0);
    uids = open_uids(BASE, 100);
    take(uids, "one", cache);
    assert_string_equal(cache, "");
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_uid, 0); /* the link was not followed */
    uids_free(uids);
}

static void test_a_tree_is_removed_and_nothing_else(void **state)
{
    int parent = open(folder, O_RDONLY | O_DIRECTORY), fd, last = -1;
    char path[128];

    snprintf(path, sizeof(path), "%s/kept", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(mkdirat(parent, "tree", 0700), 0);
    assert_int_equal(mkdirat(parent, "tree/sub", 0700), 0);
    assert_int_equal(symlinkat(path, parent, "tree/sub/link"), 0);
    close(openat(parent, "tree/sub/file", O_WRONLY | O_CREAT, 0000));
    assert_int_equal(remove_tree(parent, "tree"), 0);
    assert_int_equal(faccessat(parent, "tree", F_OK, 0), -1);
    assert_int_equal(faccessat(parent, "kept", F_OK, 0), 0);
    assert_int_equal(remove_tree(parent, "tree"), -1);
    assert_int_equal(errno, ENOENT);
    /* A tree without end, as a guest's worker might make one. */
    fd = dup(parent);
    for (unsigned i = 0; i < REMOVE_TREE_DEPTH_MAX + 2; i++) {
        assert_int_equal(mkdirat(fd, "deep", 0700), 0);
        last = openat(fd, "deep", O_RDONLY | O_DIRECTORY);
        close(fd);
        fd = last;
    }
    close(fd);
    assert_int_equal(remove_tree(parent, "deep"), -1);
    assert_int_equal(errno, ELOOP);
    /* In two pieces it can go. */
    fd = openat(parent, "deep/deep/deep", O_RDONLY | O_DIRECTORY);
    assert_int_equal(remove_tree(fd, "deep"), 0);
    close(fd);
    assert_int_equal(remove_tree(parent, "deep"), 0);
    close(parent);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_vm_has_one_uid_and_no_two_have_the_same),
        TEST(test_two_keepers_have_none_in_common),
        TEST(test_a_range_that_is_not_free),
        TEST(test_a_lock_file_that_cannot_be_had),
        TEST(test_a_folder_keeps_the_uid),
        TEST(test_a_folders_uid_is_not_anothers),
        TEST(test_a_removal_is_taken_up_again),
        TEST(test_folders_of_vms_that_are_gone_make_room),
        TEST(test_what_is_no_folder_is_no_cache),
        TEST(test_a_tree_is_removed_and_nothing_else),
    };

    return cmocka_run_group_tests_name("uids", tests, NULL, NULL);
}
