/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may open a socket, by the modes on the way to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/unused.h"
#include "mediator/sessions/socket_access.h"

#define OTHER 12345u /* no owner of anything here */

static char root[64], path[96];
static char obstacle[SOCKET_ACCESS_TEXT_BYTES];

static int setup(void **state)
{
    FILE *file;

    strcpy(root, "/tmp/vgpu-access-XXXXXX");
    assert_non_null(mkdtemp(root));
    assert_int_equal(chmod(root, 0755), 0);
    snprintf(path, sizeof(path), "%s/a.sock", root);
    file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    return 0;
}

static int remove_one(const char *name, UNUSED const struct stat *st, UNUSED int type,
                      UNUSED struct FTW *place)
{
    return remove(name);
}

static int teardown(void **state)
{
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static bool may(const struct process_owner *who)
{
    obstacle[0] = '\0';
    return socket_access_may(path, who, obstacle, sizeof(obstacle));
}

static void test_the_class_that_applies_decides(void **state)
{
    static const struct {
        mode_t mode;
        bool owner, group, others;
    } cases[] = {
        {0600, true, false, false}, {0660, true, true, false}, {0666, true, true, true},
        {0060, false, true, false}, {0606, true, false, true}, {0555, false, false, false},
    };
    const struct process_owner owner = {.uid = OTHER, .gid = OTHER};
    const struct process_owner member = {
        .uid = OTHER + 1, .gid = OTHER, .groups = {1, 2}, .group_count = 2};
    const struct process_owner by_list = {
        .uid = OTHER + 1, .gid = OTHER + 1, .groups = {1, OTHER}, .group_count = 2};
    const struct process_owner stranger = {.uid = OTHER + 1, .gid = OTHER + 1};
    const struct process_owner root_user = {.uid = 0};

    if (geteuid() != 0) {
        skip(); /* only root gives files away */
    }
    assert_int_equal(chown(path, OTHER, OTHER), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(chmod(path, cases[i].mode), 0);
        assert_int_equal(may(&owner), cases[i].owner);
        assert_int_equal(may(&member), cases[i].group);
        assert_int_equal(may(&by_list), cases[i].group);
        assert_int_equal(may(&stranger), cases[i].others);
        assert_true(may(&root_user));
    }
}

static void test_what_is_in_the_way_is_named(void **state)
{
    const struct process_owner stranger = {.uid = OTHER, .gid = OTHER};
    char want[160];

    assert_int_equal(chmod(path, 0640), 0);
    assert_false(may(&stranger));
    snprintf(want, sizeof(want), "%s (uid %u, gid %u, mode 0640)", path, geteuid(), getegid());
    assert_string_equal(obstacle, want);
    /* The folder's turn is first; it needs no more than the right to pass. */
    assert_int_equal(chmod(root, 0750), 0);
    assert_false(may(&stranger));
    snprintf(want, sizeof(want), "%s (uid %u, gid %u, mode 0750)", root, geteuid(), getegid());
    assert_string_equal(obstacle, want);
    assert_int_equal(chmod(root, 0711), 0);
    assert_int_equal(chmod(path, 0666), 0);
    assert_true(may(&stranger));
}

static void test_what_is_not_known_is_no_obstacle(void **state)
{
    struct process_owner crowd = {.uid = OTHER, .gid = OTHER};

    assert_int_equal(chmod(path, 0600), 0);
    assert_false(may(&crowd));
    crowd.group_count = PROCESS_GROUPS_MAX + 1;
    assert_true(may(&crowd));
    crowd.group_count = 0;
    assert_true(socket_access_may("a.sock", &crowd, obstacle, sizeof(obstacle)));
    assert_true(socket_access_may("", &crowd, obstacle, sizeof(obstacle)));
    assert_true(socket_access_may("/nowhere/a.sock", &crowd, obstacle, sizeof(obstacle)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_class_that_applies_decides),
        TEST(test_what_is_in_the_way_is_named),
        TEST(test_what_is_not_known_is_no_obstacle),
    };

    return cmocka_run_group_tests_name("socket_access", tests, NULL, NULL);
}
