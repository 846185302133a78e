/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables and quantities, as they are printed. */
#include "admin/test_support.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "admin/base/render.h"

#define EACH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- tables ---- */

static const struct render_column plain[] = {
    {"N", COLUMN_RIGHT},
    {"NAME", 0},
    {"STATE", 0},
};

static void print_plain(const void *unused)
{
    struct render_table *t = render_table_new(plain, EACH(plain));

    (void)unused;
    render_cell(t, STYLE_PLAIN, "%d", 1);
    render_cell(t, STYLE_BOLD, "%s", "web");
    render_cell(t, STYLE_GOOD, "%s", "idle");
    render_cell(t, STYLE_PLAIN, "%d", 1000);
    render_cell(t, STYLE_PLAIN, "%s", "");
    render_cell(t, STYLE_BAD, "%s", "quarantined");
    render_table_end(t, "nobody");
}

/* Into no terminal: nothing is cut, and the last column has no blanks behind it. */
static void test_table(void **state)
{
    (void)state;
    support_capture(print_plain, NULL);
    assert_string_equal(printed.out, "   N  NAME  STATE\n"
                                     "   1  web   idle\n"
                                     "1000        quarantined\n");
}

static void print_empty(const void *unused)
{
    (void)unused;
    render_table_end(render_table_new(plain, EACH(plain)), "There are no VMs.");
    render_table_discard(render_table_new(plain, EACH(plain)));
}

static void test_empty_table(void **state)
{
    (void)state;
    support_capture(print_empty, NULL);
    assert_string_equal(printed.out, "There are no VMs.\n");
}

/* Letters of two columns, of none, and bytes that are no letters. */
static void print_letters(const void *unused)
{
    struct render_table *t = render_table_new(plain, EACH(plain));

    (void)unused;
    render_cell(t, STYLE_PLAIN, "1");
    render_cell(t, STYLE_PLAIN, "\xe6\xbc\xa2\xe5\xad\x97");
    render_cell(t, STYLE_PLAIN, "x");
    render_cell(t, STYLE_PLAIN, "2");
    render_cell(t, STYLE_PLAIN,
                "u\xcc\x88"
                "bel");
    render_cell(t, STYLE_PLAIN, "x");
    render_cell(t, STYLE_PLAIN, "3");
    render_cell(t, STYLE_PLAIN, "\x1b[2J\xff");
    render_cell(t, STYLE_PLAIN, "x\ny");
    render_table_end(t, "");
}

static void test_width_of_letters(void **state)
{
    (void)state;
    support_capture(print_letters, NULL);
    assert_string_equal(printed.out, "N  NAME   STATE\n"
                                     "1  \xe6\xbc\xa2\xe5\xad\x97   x\n"
                                     "2  u\xcc\x88"
                                     "bel   x\n"
                                     "3  ?[2J?  x?y\n");
}

static const struct render_column flexible[] = {
    {"NAME", COLUMN_SHRINK | COLUMN_KEY},
    {"A", COLUMN_RIGHT},
    {"GPU", COLUMN_DROP},
    {"OWED", COLUMN_DROP | COLUMN_RIGHT},
    {"B", 0},
};

static void print_flexible(const void *name)
{
    struct render_table *t = render_table_new(flexible, EACH(flexible));

    render_cell(t, STYLE_PLAIN, "%s", (const char *)name);
    render_cell(t, STYLE_PLAIN, "1");
    render_cell(t, STYLE_PLAIN, "22");
    render_cell(t, STYLE_PLAIN, "3");
    render_cell(t, STYLE_PLAIN, "end");
    render_table_end(t, "");
}

static void expect_at(unsigned columns, void (*print)(const void *), const void *argument,
                      const char *expected)
{
    support_terminal(columns);
    support_capture(print, argument);
    assert_string_equal(printed.out, expected);
}

/* First the wide text is cut, then what may be left out is, from the right, and is named. */
static void test_narrow(void **state)
{
    static const char name[] = "a-name-of-20-letters";

    (void)state;
    expect_at(41, print_flexible, name,
              "NAME                  A  GPU  OWED  B\n"
              "a-name-of-20-letters  1  22      3  end\n");
    expect_at(39, print_flexible, name,
              "NAME                  A  GPU  OWED  B\n"
              "a-name-of-20-letters  1  22      3  end\n");
    expect_at(38, print_flexible, name,
              "NAME                 A  GPU  OWED  B\n"
              "a-name-of-20-lett..  1  22      3  end\n");
    expect_at(27, print_flexible, name,
              "NAME      A  GPU  OWED  B\n"
              "a-name..  1  22      3  end\n");
    /* What OWED took goes back to the name. */
    expect_at(26, print_flexible, name,
              "NAME           A  GPU  B\n"
              "a-name-of-2..  1  22   end\n"
              "(no room for OWED: a wider\n"
              "terminal or --json shows\n"
              "it)\n");
    expect_at(16, print_flexible, name,
              "NAME      A  B\n"
              "a-name..  1  end\n"
              "(no room for\n"
              "GPU, OWED: a\n"
              "wider terminal\n"
              "or --json shows\n"
              "them)\n");
    /* Less there can't be. */
    support_terminal(3);
    support_capture(print_flexible, name);
    assert_non_null(strstr(printed.out, "a-name..  1  end\n"));
    /* A letter of two columns is not cut in half. */
    expect_at(27, print_flexible, "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97\xe5\xad\x97",
              "NAME      A  GPU  OWED  B\n"
              "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2..  1  22      3  end\n");
}

static const struct render_column wrapping[] = {
    {"AT", 0},
    {"TEXT", COLUMN_WRAP},
};

static void print_wrapping(const void *text)
{
    struct render_table *t = render_table_new(wrapping, EACH(wrapping));

    render_cell(t, STYLE_PLAIN, "12:00");
    render_cell(t, STYLE_PLAIN, "%s", (const char *)text);
    render_table_end(t, "");
}

static void test_wrapped(void **state)
{
    (void)state;
    expect_at(0, print_wrapping, "a text that is longer than any line",
              "AT     TEXT\n"
              "12:00  a text that is longer than any line\n");
    expect_at(23, print_wrapping, "a text that is longer than one line",
              "AT     TEXT\n"
              "12:00  a text that is\n"
              "       longer than one\n"
              "       line\n");
    /* A word that does not fit is cut. */
    expect_at(23, print_wrapping, "abcdefghijklmnopqrstuvw xyz",
              "AT     TEXT\n"
              "12:00  abcdefghijklmnop\n"
              "       qrstuvw xyz\n");
    expect_at(23, print_wrapping, "exactly 16 wide! then",
              "AT     TEXT\n"
              "12:00  exactly 16 wide!\n"
              "       then\n");
    /* It goes on in lines of 16 columns, however narrow the terminal is. */
    support_terminal(10);
    support_capture(print_wrapping, "exactly 16 wide! then");
    assert_non_null(strstr(printed.out, "exactly 16 wide!\n"));
}

static const struct render_column two_parts[] = {
    {"ID", COLUMN_RIGHT | COLUMN_KEY},
    {"FIRST", 0},
    {"SECOND", COLUMN_LATER},
    {"THIRD", COLUMN_LATER},
};

static void print_two_parts(const void *unused)
{
    struct render_table *t = render_table_new(two_parts, EACH(two_parts));

    (void)unused;
    for (int i = 1; i <= 2; i++) {
        render_cell(t, STYLE_PLAIN, "%d", i);
        render_cell(t, STYLE_PLAIN, "f%d", i);
        render_cell(t, STYLE_PLAIN, "s%d", i);
        render_cell(t, STYLE_PLAIN, "t%d", i);
    }
    render_table_end(t, "");
}

static void test_in_two_parts(void **state)
{
    (void)state;
    expect_at(24, print_two_parts, NULL,
              "ID  FIRST  SECOND  THIRD\n"
              " 1  f1     s1      t1\n"
              " 2  f2     s2      t2\n");
    expect_at(23, print_two_parts, NULL,
              "ID  FIRST\n"
              " 1  f1\n"
              " 2  f2\n"
              "\n"
              "ID  SECOND  THIRD\n"
              " 1  s1      t1\n"
              " 2  s2      t2\n");
}

/* Many rows, and cells that are longer than a cell may be. */
static void print_large(const void *unused)
{
    struct render_table *t = render_table_new(plain, EACH(plain));
    char text[2000];

    (void)unused;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < 100; i++) {
        render_cell(t, STYLE_PLAIN, "%d", i);
        render_cell(t, STYLE_PLAIN, "n");
        render_cell(t, STYLE_PLAIN, "%s", i == 99 ? text : "s");
    }
    render_table_end(t, "");
}

static void test_large_table(void **state)
{
    const char *last;

    (void)state;
    support_capture(print_large, NULL);
    last = strstr(printed.out, "\n99  n     xxx");
    assert_non_null(last);
    assert_int_equal(strlen(last), strlen("\n99  n     \n") + 511);
}

/* ---- colours and single lines ---- */

static void print_styles(const void *color)
{
    render_init(color != NULL);
    render_text(STYLE_PLAIN, "a");
    render_text(STYLE_BOLD, "b");
    render_text(STYLE_DIM, "c");
    render_text(STYLE_GOOD, "d");
    render_text(STYLE_WARN, "e");
    render_text(STYLE_BAD, "f\x1b[0m");
    render_heading("%s", "Pool \x07");
    render_pair("Weight", STYLE_BAD, "%d", 50);
    render_init(false);
}

static void test_styles(void **state)
{
    (void)state;
    support_capture(print_styles, NULL);
    assert_string_equal(printed.out, "abcdef?[0mPool ?\nWeight             50\n");
    support_capture(print_styles, "yes");
    assert_string_equal(printed.out, "a\033[1mb\033[0m\033[2mc\033[0m\033[32md\033[0m"
                                     "\033[33me\033[0m\033[31mf?[0m\033[0m"
                                     "\033[1mPool ?\033[0m\n"
                                     "Weight             \033[31m50\033[0m\n");
}

static void print_width(const void *unused)
{
    (void)unused;
    printf("%u", render_width());
}

static void test_width_of_the_terminal(void **state)
{
    (void)state;
    support_capture(print_width, NULL);
    assert_string_equal(printed.out, "0");
    support_terminal(132);
    support_capture(print_width, NULL);
    assert_string_equal(printed.out, "132");
}

/* ---- quantities: one value below, at and above each edge ---- */

static void test_durations(void **state)
{
    static const struct {
        double ns;
        const char *text;
    } cases[] = {
        {999, "999 ns"},
        {1e3, "1.0 us"},
        {999.9e3, "999.9 us"},
        {1e6, "1.0 ms"},
        {999.9e6, "999.9 ms"},
        {1e9, "1.0 s"},
        {119.9e9, "119.9 s"},
        {120e9, "2 min"},
        {7199e9, "120 min"},
        {7200e9, "2 h"},
        {172799e9, "48 h"},
        {172800e9, "2 d"},
        {3650 * 86400e9, "3650 d"},
        {-0.5, "-"},
        {NAN, "-"},
        {INFINITY, "-"},
        {1e300, NULL}, /* of whatever length, it fits */
    };
    char text[RENDER_BYTES];

    (void)state;
    for (size_t i = 0; i < EACH(cases); i++) {
        render_duration_ns(cases[i].ns, text);
        assert_true(strlen(text) < sizeof(text));
        if (cases[i].text) {
            assert_string_equal(text, cases[i].text);
        }
    }
}

static void test_bytes_and_counts(void **state)
{
    static const struct {
        double bytes;
        const char *text;
    } sizes[] = {
        {1023, "1023 B"},
        {1024, "1 KiB"},
        {1048575, "1024.0 KiB"},
        {1048576, "1 MiB"},
        {80.0 * (1 << 30), "80 GiB"},
        {1.5 * (1ull << 40), "1.5 TiB"},
        {3.0 * (1ull << 50), "3 PiB"},
        {4096.0 * (1ull << 50), "4096 PiB"},
    };
    static const struct {
        uint64_t count;
        const char *text;
    } counts[] = {
        {0, "0"},
        {999999, "999999"},
        {1000000, "1.00 M"},
        {999999999, "1000.00 M"},
        {1000000000, "1.00 G"},
        {UINT64_MAX, "18446744073.71 G"},
    };
    char text[RENDER_BYTES];

    (void)state;
    for (size_t i = 0; i < EACH(sizes); i++) {
        assert_string_equal(render_bytes(sizes[i].bytes, text), sizes[i].text);
    }
    for (size_t i = 0; i < EACH(counts); i++) {
        assert_string_equal(render_count(counts[i].count, text), counts[i].text);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_table),       TEST(test_empty_table),      TEST(test_width_of_letters),
        TEST(test_narrow),      TEST(test_wrapped),          TEST(test_in_two_parts),
        TEST(test_large_table), TEST(test_styles),           TEST(test_width_of_the_terminal),
        TEST(test_durations),   TEST(test_bytes_and_counts),
    };

    setlocale(LC_ALL, "C.UTF-8");
    return cmocka_run_group_tests_name("render", tests, NULL, NULL);
}
