/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the command line: each kind of value at the edges of what it may be. */
#include "admin/test_support.h"

#include <string.h>

#include "admin/globals.h"
#include "admin/options.h"

#define EACH(array) (sizeof(array) / sizeof((array)[0]))

static const struct admin_option some_options[] = {
    {.name = "number", .metavar = "N", .alias = "old-number"},
    {.name = "name", .metavar = "NAME"},
    {.name = "flag"},
    {0},
};
static const struct admin_command some_command = {
    .name = "some",
    .example = "vgpu-admin some --number=1\nvgpu-admin some 2",
    .options = some_options,
};
static const struct admin_option needed_options[] = {
    {.name = "number", .metavar = "N", .required = true},
    {0},
};
static const struct admin_command needing = {
    .name = "needing",
    .example = "vgpu-admin needing 1",
    .options = needed_options,
    .positional = "number",
};
static const struct admin_command bare_command = {.name = "bare", .example = "vgpu-admin bare"};

static struct admin admin;
static int status;

/* ---- which options there are ---- */

struct words {
    const struct admin_command *command;
    const char *argv[6];
};

static void parse(const void *argument)
{
    const struct words *w = argument;
    int argc = 0;

    memset(&admin, 0, sizeof(admin));
    admin.command = w->command;
    while (w->argv[argc]) {
        argc++;
    }
    status = admin_parse_options(&admin, argc, (char **)w->argv);
}

static void test_options(void **state)
{
    static const struct {
        struct words words;
        int status;
        const char *number, *name, *flag;
    } cases[] = {
        {{&some_command, {NULL}}, 0, NULL, NULL, NULL},
        {{&some_command, {"--number=1", "--name=a b", "--flag"}}, 0, "1", "a b", ""},
        {{&some_command, {"--number", "1", "--name", "a=b"}}, 0, "1", "a=b", NULL},
        {{&some_command, {"--old-number=1"}}, 0, "1", NULL, NULL},
        {{&some_command, {"--name=--flag"}}, 0, NULL, "--flag", NULL},
        {{&some_command, {"--name", "-1"}}, 0, NULL, "-1", NULL},
        {{&some_command, {"--name=="}}, 0, NULL, "=", NULL},
        {{&needing, {"7"}}, 0, "7", NULL, NULL},
        {{&needing, {"-7"}}, 0, "-7", NULL, NULL},
        {{&bare_command, {NULL}}, 0, NULL, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < EACH(cases); i++) {
        const char *const expected[] = {cases[i].number, cases[i].name, cases[i].flag};

        support_capture(parse, &cases[i].words);
        assert_int_equal(status, cases[i].status);
        assert_string_equal(printed.err, "");
        for (size_t o = 0; o < EACH(expected); o++) {
            const char *value = admin_option(&admin, some_options[o].name);

            assert_int_equal(value != NULL, expected[o] != NULL);
            if (value) {
                assert_string_equal(value, expected[o]);
            }
        }
        assert_null(admin_option(&admin, "nonsense"));
    }
}

static void test_refused(void **state)
{
    static const struct {
        struct words words;
        const char *error;
    } cases[] = {
        {{&some_command, {"--number=1", "--number=1"}}, "--number is given twice"},
        {{&some_command, {"--number=1", "--old-number=2"}}, "--number is given twice"},
        {{&some_command, {"--flag", "--flag"}}, "--flag is given twice"},
        {{&some_command, {"--flag=yes"}}, "--flag takes no value"},
        {{&some_command, {"--flag="}}, "--flag takes no value"},
        {{&some_command, {"--number"}}, "--number needs a value: --number=N"},
        {{&some_command, {"--number="}}, "--number needs a value"},
        {{&some_command, {"--number", "--flag"}}, "--number needs a value"},
        {{&some_command, {"--old-number"}}, "--number needs a value"},
        {{&some_command, {"--numbr=1"}}, "some has no option --numbr; did you mean --number?"},
        {{&some_command, {"--numberx"}}, "did you mean --number?"},
        {{&some_command, {"--number1=1"}}, "has no option --number1"},
        {{&some_command, {"--=1"}}, "has no option --;"},
        {{&some_command, {"--"}}, "does not know what to do with \"--\""},
        {{&some_command, {"-n"}}, "does not know what to do with \"-n\""},
        {{&some_command, {"1"}}, "for example:\n  vgpu-admin some --number=1\n"},
        {{&some_command, {""}}, "does not know what to do with \"\""},
        {{&needing, {NULL}}, "needing needs --number=N, for example:\n  vgpu-admin needing 1"},
        {{&needing, {"1", "2"}}, "--number is given twice"},
        {{&needing, {"1", "--number=2"}}, "--number is given twice"},
        {{&needing, {""}}, "--number needs a value"},
        {{&bare_command, {"--number=1"}}, "bare has no option --number; vgpu-admin bare --help"},
        /* What is no name at all is cut, and no terminal obeys it. */
        {{&some_command,
          {"--\x1b[2J0123456789012345678901234567890123456789012345678901234567890123456789"}},
         "no option --?[2J01234567890123456789012345678901234567890123456789012345678;"},
    };

    (void)state;
    for (size_t i = 0; i < EACH(cases); i++) {
        support_capture(parse, &cases[i].words);
        assert_int_equal(status, ADMIN_USAGE);
        assert_string_equal(printed.out, "");
        if (!strstr(printed.err, cases[i].error)) {
            fail_msg("\"%s\" is not in \"%s\"", cases[i].error, printed.err);
        }
    }
}

/* ---- values ---- */

static const char *text; /* of the option that is read */
static uint64_t number;
static char pool;
static uint8_t priority;

static void give(void)
{
    memset(&admin, 0, sizeof(admin));
    admin.command = &some_command;
    admin.values[0] = text;
}

static void read_uint(const void *unused)
{
    (void)unused;
    give();
    status = admin_uint(&admin, "number", 1, 4294967295, &number);
}

static void read_any_uint(const void *unused)
{
    (void)unused;
    give();
    status = admin_uint(&admin, "number", 0, UINT64_MAX, &number);
}

static void read_size(const void *unused)
{
    (void)unused;
    give();
    status = admin_size(&admin, "number", &number);
}

struct value {
    const char *text;
    uint64_t number; /* REFUSED: it is none */
};
#define REFUSED (UINT64_MAX - 1)

static void expect_values(void (*read)(const void *), const struct value *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        number = REFUSED;
        text = values[i].text;
        support_capture(read, NULL);
        if (status != (values[i].number == REFUSED ? ADMIN_USAGE : ADMIN_OK) ||
            number != values[i].number) {
            fail_msg("\"%s\": status %d, %llu", text, status, (unsigned long long)number);
        }
        if (status != ADMIN_OK) {
            assert_non_null(strstr(printed.err, "--number must be "));
        }
    }
}

static void test_numbers(void **state)
{
    static const struct value limited[] = {
        {"1", 1},
        {"4294967295", 4294967295},
        {"007", 7},
        {"0", REFUSED},
        {"-1", REFUSED},
        {"4294967296", REFUSED},
        {"+1", REFUSED},
        {" 1", REFUSED},
        {"1 ", REFUSED},
        {"1x", REFUSED},
        {"0x1", REFUSED},
        {"1.0", REFUSED},
        {"1e3", REFUSED},
        {"one", REFUSED},
        {"18446744073709551617", REFUSED},
    };
    static const struct value any[] = {
        {"0", 0},
        {"18446744073709551615", UINT64_MAX},
        {"18446744073709551616", REFUSED},
        {"99999999999999999999999", REFUSED},
        {"-0", REFUSED},
    };

    (void)state;
    expect_values(read_uint, limited, EACH(limited));
    expect_values(read_any_uint, any, EACH(any));
}

static void test_sizes(void **state)
{
    static const struct value sizes[] = {
        {"0", 0},
        {"1", 1},
        {"4k", 4096},
        {"512M", 512ull << 20},
        {"512MB", 512ull << 20},
        {"512mib", 512ull << 20},
        {"16G", 16ull << 30},
        {"2T", 2ull << 40},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", REFUSED},
        {"8388607T", 8388607ull << 40},
        {"8388608T", REFUSED}, /* 2^63 */
        {"18446744073709551616", REFUSED},
        {"1P", REFUSED},
        {"1i", REFUSED},
        {"1Gi", REFUSED},
        {"1GBB", REFUSED},
        {"1 G", REFUSED},
        {"1.5G", REFUSED},
        {"-1G", REFUSED},
        {"G", REFUSED},
        {"b", REFUSED},
        {"1b", REFUSED},
    };

    (void)state;
    expect_values(read_size, sizes, EACH(sizes));
}

static void read_pool(const void *unused)
{
    (void)unused;
    give();
    status = admin_pool(&admin, "number", &pool);
}

static void read_priority(const void *unused)
{
    (void)unused;
    give();
    status = admin_priority(&admin, "number", &priority);
}

static void test_words(void **state)
{
    static const struct {
        const char *text;
        int status, value;
    } pools[] = {
        {"A", ADMIN_OK, 'A'},     {"z", ADMIN_OK, 'Z'},   {"@", ADMIN_USAGE, 0},
        {"[", ADMIN_USAGE, 0},    {"AB", ADMIN_USAGE, 0}, {"0", ADMIN_USAGE, 0},
        {"\xc4", ADMIN_USAGE, 0},
    };
    static const struct {
        const char *text;
        int status, value;
    } priorities[] = {
        {"low", ADMIN_OK, 0},   {"Medium", ADMIN_OK, 1}, {"HIGH", ADMIN_OK, 2},
        {"0", ADMIN_OK, 0},     {"2", ADMIN_OK, 2},      {"3", ADMIN_USAGE, 0},
        {"00", ADMIN_USAGE, 0}, {"lo", ADMIN_USAGE, 0},  {"highest", ADMIN_USAGE, 0},
        {"-1", ADMIN_USAGE, 0},
    };

    (void)state;
    for (size_t i = 0; i < EACH(pools); i++) {
        text = pools[i].text;
        support_capture(read_pool, NULL);
        assert_int_equal(status, pools[i].status);
        if (status == ADMIN_OK) {
            assert_int_equal(pool, pools[i].value);
        }
    }
    for (size_t i = 0; i < EACH(priorities); i++) {
        text = priorities[i].text;
        support_capture(read_priority, NULL);
        assert_int_equal(status, priorities[i].status);
        if (status == ADMIN_OK) {
            assert_int_equal(priority, priorities[i].value);
        }
    }
}

/* ---- the options of every command ---- */

static struct admin_asked asked;
static int left;
static char *kept[8];

static void parse_globals(const void *argument)
{
    const struct words *w = argument;

    memset(&admin, 0, sizeof(admin));
    memset(&asked, 0, sizeof(asked));
    left = 0;
    while (w->argv[left]) {
        kept[left] = (char *)w->argv[left];
        left++;
    }
    status = admin_parse_globals(&admin, &left, kept, &asked);
}

static void globals(const char *a, const char *b, const char *c, const char *d)
{
    struct words words = {NULL, {a, b, c, d}};

    support_capture(parse_globals, &words);
}

/* They may stand anywhere; what is left is the command's. */
static void test_globals(void **state)
{
    (void)state;
    globals("status", "--json", "--db=/x", "--yes");
    assert_int_equal(status, ADMIN_OK);
    assert_int_equal(left, 1);
    assert_string_equal(kept[0], "status");
    assert_true(admin.json && admin.yes);
    assert_string_equal(admin.db_path, "/x");
    globals("--admin-socket", "/y", "set-weight", "--weight=1");
    assert_int_equal(left, 2);
    assert_string_equal(kept[1], "--weight=1");
    assert_string_equal(admin.socket_path, "/y");
    globals("--watch", "status", NULL, NULL); /* its value is optional, so it is no value */
    assert_int_equal(status, ADMIN_OK);
    assert_int_equal(left, 1);
    assert_true(admin.watch_s > 0);
    globals("--watch=0.5", "-h", "--no-color", "--toolstack=libvirt");
    assert_true(admin.watch_s == 0.5 && asked.help && asked.no_color);
    assert_int_equal(admin_check_toolstack_name(&admin), ADMIN_OK);
    assert_string_equal(admin.toolstack_name, "virsh");
    globals("--jsonx", "--js", "--", "-x");
    assert_int_equal(status, ADMIN_OK);
    assert_int_equal(left, 4);
    /* After --version nothing else is looked at. */
    globals("--version", "--db", NULL, NULL);
    assert_true(status == ADMIN_OK && asked.version);
}

static void test_refused_globals(void **state)
{
    static const char *const arguments[] = {
        "--db",
        "--db=",
        "--admin-socket=",
        "--json=1",
        "--yes=",
        "--timeout=",
        "--timeout=0",
        "--timeout=-1",
        "--timeout=5x",
        "--timeout=1.5",
        "--timeout=x",
        "--timeout=86401",
        "--timeout=4294967301",
        "--timeout=18446744073709551621",
        "--watch=",
        "--watch=0",
        "--watch=0.09",
        "--watch=nan",
        "--watch=inf",
        "--watch=-1",
        "--watch=1s",
        "--watch=1e9",
        "--version=1",
    };

    (void)state;
    for (size_t i = 0; i < EACH(arguments); i++) {
        globals(arguments[i], NULL, NULL, NULL);
        if (status != ADMIN_USAGE) {
            fail_msg("%s: status %d", arguments[i], status);
        }
        assert_true(strlen(printed.err) > 0);
    }
    globals("--timeout=86400", NULL, NULL, NULL);
    assert_int_equal(admin.timeout_s, 86400);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_options), TEST(test_refused), TEST(test_numbers),         TEST(test_sizes),
        TEST(test_words),   TEST(test_globals), TEST(test_refused_globals),
    };

    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
