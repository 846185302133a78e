/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the defaults of options come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <getopt.h>
#include <cmocka.h>

#include "mediator/options.h"
#include "store/vgpu_config.h"
#include "vgpu/vgpu_admin.h"

static struct options options;

static enum options_result parse(const char *option, const char *value)
{
    char *argv[] = {"vgpu-mediator", (char *)option, (char *)value, NULL};

    optind = 0; /* getopt's way to begin again */
    return options_parse(&options, option ? value ? 3 : 2 : 1, argv);
}

/* The option, else the environment, else what is built in; the same in vgpu-admin. */
static void test_admin_socket(void **state)
{
    unsetenv("VGPU_ADMIN_SOCKET");
    assert_int_equal(parse(NULL, NULL), OPTIONS_RUN);
    assert_string_equal(options.admin_path, VGPU_ADMIN_SOCKET_PATH);
    setenv("VGPU_ADMIN_SOCKET", "", 1);
    assert_int_equal(parse(NULL, NULL), OPTIONS_RUN);
    assert_string_equal(options.admin_path, VGPU_ADMIN_SOCKET_PATH);
    setenv("VGPU_ADMIN_SOCKET", "/elsewhere/admin.sock", 1);
    assert_int_equal(parse(NULL, NULL), OPTIONS_RUN);
    assert_string_equal(options.admin_path, "/elsewhere/admin.sock");
    assert_int_equal(parse("--admin-socket", "/given.sock"), OPTIONS_RUN);
    assert_string_equal(options.admin_path, "/given.sock");
    unsetenv("VGPU_ADMIN_SOCKET");
}

static void test_database(void **state)
{
    unsetenv(VGPU_DB_ENV);
    assert_int_equal(parse(NULL, NULL), OPTIONS_RUN);
    assert_string_equal(vgpu_db_path(options.db_path), VGPU_DB_PATH);
    setenv(VGPU_DB_ENV, "/elsewhere.db", 1);
    assert_int_equal(parse(NULL, NULL), OPTIONS_RUN);
    assert_string_equal(vgpu_db_path(options.db_path), "/elsewhere.db");
    assert_int_equal(parse("--db", "/given.db"), OPTIONS_RUN);
    assert_string_equal(vgpu_db_path(options.db_path), "/given.db");
    /* What is set for vgpu-admin is no contradiction. */
    assert_int_equal(parse("--no-db", NULL), OPTIONS_RUN);
    assert_false(options.use_db);
    unsetenv(VGPU_DB_ENV);
}

/* sun_path has 108 bytes: who connects needs one of them for its end. */
static void test_long_paths(void **state)
{
    static const char uuid[] = "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001=";
    char path[128] = "", vm[192];

    memset(path, 'x', 108);
    path[0] = '/';
    for (size_t length = 108; length >= 107; length--) {
        enum options_result want = length > 107 ? OPTIONS_EXIT_USAGE : OPTIONS_RUN;

        path[length] = '\0';
        snprintf(vm, sizeof(vm), "%s%s", uuid, path);
        assert_int_equal(parse("--socket-path", path), want);
        assert_int_equal(parse("--admin-socket", path), want);
        assert_int_equal(parse("--vm", vm), want);
        setenv("VGPU_ADMIN_SOCKET", path, 1);
        assert_int_equal(parse(NULL, NULL), want);
        unsetenv("VGPU_ADMIN_SOCKET");
    }
    assert_int_equal(parse("--socket-path", ""), OPTIONS_EXIT_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admin_socket),
        cmocka_unit_test(test_database),
        cmocka_unit_test(test_long_paths),
    };

    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
