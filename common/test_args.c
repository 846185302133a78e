/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/args.h"

#define WORDS_MAX 16
#define OUTPUT_BYTES 4096

struct settings {
    const char *path, *socket, *depth_text;
    uint32_t depth;
    uint64_t wait_ns;
    double rate;
    bool fast, checks;
    int exclusive;
    uint8_t priority;
    uint32_t mode;
    enum log_level level;
    char letter;
};

static const char *const modes[] = {"auto", "cpu", "cuda", NULL};

static int take_letter(void *target, const char *name, char *value)
{
    if (value[0] < 'A' || value[0] > 'Z' || value[1]) {
        return args_refused("prog", name, value, "a letter from A to Z");
    }
    ((struct settings *)target)->letter = value[0];
    return -1;
}

static const struct args_option rows[] = {
    ARGS_HEADING("What:"),
    {"path", "PATH", "where it is (default {default})", ARGS_TEXT(struct settings, path)},
    {"socket", "PATH", "a socket (default {default})", ARGS_SOCKET(struct settings, socket)},
    {"depth", "N", "how deep, {range} (default {default})",
     ARGS_NUMBER(struct settings, depth, 1, 16, 1), .text = offsetof(struct settings, depth_text)},
    {"wait-ms", "N", "how long", ARGS_NUMBER(struct settings, wait_ns, 0, 1000, 1000000),
     .of = "milliseconds"},
    {"priority", "N", "its priority", ARGS_NUMBER(struct settings, priority, 0, 2, 1)},
    ARGS_HEADING("How:"),
    {"a-rather-long-name-for-it", "HZ",
     "how often, {range}: with so many words behind it that they do not go into one line of the "
     "help (default {default})",
     ARGS_REAL(struct settings, rate, 0, 1e6, 1)},
    {"fast", NULL, "be fast", ARGS_FLAG(struct settings, fast)},
    {"exclusive", NULL, "alone", ARGS_FLAG(struct settings, exclusive)},
    {"no-checks", NULL, "check nothing", ARGS_CLEAR(struct settings, checks)},
    {"mode", NULL, "which one (default {default})", ARGS_CHOICE(struct settings, mode, modes)},
    {"log-level", "LEVEL", "{range} (default {default})", ARGS_LOG_LEVEL(struct settings, level)},
    {"letter", "LETTER", "a letter", ARGS_TAKE(take_letter)},
    {"hidden", "X", NULL, ARGS_TEXT(struct settings, path)},
};

static const struct args_program program = {
    .name = "prog",
    .intro = "Usage: prog [OPTION]...\n\n",
    .outro = "\nThat is all.\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

/* What args_parse() did with one command line. */
static struct {
    struct settings settings;
    char output[OUTPUT_BYTES]; /* of both streams */
    char *argv[WORDS_MAX + 1], **words;
    char line[256];
} run;

static int parse_into(char ***words, const char *line)
{
    FILE *file = tmpfile();
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO), argc = 1, status;
    char *rest = NULL;

    assert_non_null(file);
    run.settings = (struct settings){
        .path = "/here", .depth = 4, .rate = 2.5, .checks = true, .level = LOG_LEVEL_INFO};
    run.argv[0] = (char *)"/a/path/to/prog";
    snprintf(run.line, sizeof(run.line), "%s", line);
    for (char *word = strtok_r(run.line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        assert_true(argc < WORDS_MAX);
        run.argv[argc++] = word;
    }
    run.argv[argc] = NULL;
    fflush(NULL);
    dup2(fileno(file), STDOUT_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    status = args_parse(&program, argc, run.argv, &run.settings, words);
    fflush(NULL);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    rewind(file);
    run.output[fread(run.output, 1, sizeof(run.output) - 1, file)] = '\0';
    fclose(file);
    return status;
}

static void test_values(void **state)
{
    assert_int_equal(parse_into(NULL, "--path /x --socket=/s --depth 0x10 --wait-ms 7 --fast "
                                      "--a-rather-long-name-for-it 0.5 --no-checks"),
                     -1);
    assert_string_equal(run.output, "");
    assert_string_equal(run.settings.path, "/x");
    assert_string_equal(run.settings.socket, "/s");
    assert_int_equal(run.settings.depth, 16);
    assert_string_equal(run.settings.depth_text, "0x10");
    assert_int_equal(run.settings.wait_ns, 7000000);
    assert_true(run.settings.rate == 0.5);
    assert_true(run.settings.fast);
    assert_false(run.settings.checks);
    assert_int_equal(parse_into(NULL, "--exclusive --priority 2 --mode cuda --log-level debug "
                                      "--letter Q --depth 1 --depth 2 --dep 3"),
                     -1);
    assert_int_equal(run.settings.exclusive, 1);
    assert_int_equal(run.settings.priority, 2);
    assert_int_equal(run.settings.mode, 2);
    assert_int_equal(run.settings.level, LOG_LEVEL_DEBUG);
    assert_int_equal(run.settings.letter, 'Q');
    assert_int_equal(run.settings.depth, 3);
    assert_string_equal(run.settings.path, "/here");
    assert_true(run.settings.checks);
}

static void test_nothing_given_leaves_the_defaults(void **state)
{
    assert_int_equal(parse_into(NULL, ""), -1);
    assert_null(run.settings.depth_text);
    assert_int_equal(run.settings.depth, 4);
    assert_string_equal(run.settings.path, "/here");
}

static void test_what_is_refused(void **state)
{
    static char long_path[128] = "--socket /";
    const struct {
        const char *line, *said;
    } cases[] = {
        {"--depth 0", "prog: --depth: \"0\" is not a number from 1 to 16. See prog --help.\n"},
        {"--depth 17", "a number from 1 to 16"},
        {"--depth 2x", "\"2x\" is not a number"},
        {"--depth -1", "\"-1\" is not a number"},
        {"--depth 99999999999999999999", "is not a number"},
        {"--depth=", "\"\" is not a number"},
        {"--wait-ms 1001", "is not a number of milliseconds from 0 to 1000"},
        {"--a-rather-long-name-for-it nan", "is not a number from 0 to 1000000"},
        {"--mode tpu", "prog: --mode: \"tpu\" is not auto, cpu or cuda. See prog --help.\n"},
        {"--log-level loud", "is not error, warning, notice, info or debug"},
        {"--letter ab", "prog: --letter: \"ab\" is not a letter from A to Z. See prog --help.\n"},
        {"--socket=", "has 0 characters; a socket's path has 1 to 107"},
        {long_path, "has 108 characters; a socket's path has 1 to 107"},
        {"--depth", "prog: --depth needs a value. See prog --help.\n"},
        {"--fast=1", "prog: --fast takes no value. See prog --help.\n"},
        {"--help=1", "prog: --help takes no value. See prog --help.\n"},
        {"--dpeth=3", "prog: unknown option --dpeth. Did you mean --depth? See prog --help.\n"},
        {"--qqqqqqq", "prog: unknown option --qqqqqqq. See prog --help.\n"},
        {"-5", "prog: unknown option -5 (no number is below 0 here). See prog --help.\n"},
        {"-x", "prog: unknown option -x. See prog --help.\n"},
        {"more", "prog: unexpected argument \"more\". See prog --help.\n"},
        {"--fast -- --depth", "prog: unexpected argument \"--depth\""},
    };

    memset(long_path + strlen(long_path), 'x', 107);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse_into(NULL, cases[i].line), ARGS_EXIT_USAGE);
        if (!strstr(run.output, cases[i].said)) {
            fail_msg("%s: %s", cases[i].line, run.output);
        }
    }
}

static void test_words(void **state)
{
    assert_int_equal(parse_into(&run.words, "one --fast two -- --three"), -1);
    assert_true(run.settings.fast);
    assert_string_equal(run.words[0], "one");
    assert_string_equal(run.words[1], "two");
    assert_string_equal(run.words[2], "--three");
    assert_null(run.words[3]);
    assert_int_equal(parse_into(&run.words, "--fast"), -1);
    assert_null(run.words[0]);
}

static void test_help_shows_the_table_and_the_defaults(void **state)
{
    /* Not what is given before it. */
    assert_int_equal(parse_into(NULL, "--depth 9 --mode cuda --help"), 0);
    assert_string_equal(
        run.output, "Usage: prog [OPTION]...\n\n"
                    "What:\n"
                    "  --path PATH           where it is (default /here)\n"
                    "  --socket PATH         a socket (default none)\n"
                    "  --depth N             how deep, 1 to 16 (default 4)\n"
                    "  --wait-ms N           how long\n"
                    "  --priority N          its priority\n"
                    "\n"
                    "How:\n"
                    "  --a-rather-long-name-for-it HZ\n"
                    "                        how often, 0 to 1000000: with so many words behind it "
                    "that they do\n"
                    "                        not go into one line of the help (default 2.5)\n"
                    "  --fast                be fast\n"
                    "  --exclusive           alone\n"
                    "  --no-checks           check nothing\n"
                    "  --mode auto|cpu|cuda  which one (default auto)\n"
                    "  --log-level LEVEL     error, warning, notice, info or debug (default info)\n"
                    "  --letter LETTER       a letter\n"
                    "  --help, --version\n"
                    "\n"
                    "That is all.\n");
    assert_int_equal(parse_into(NULL, "-h"), 0);
    assert_non_null(strstr(run.output, "--wait-ms N"));
    assert_int_equal(parse_into(NULL, "--version"), 0);
    assert_string_equal(run.output, "prog " VGPU_VERSION "\n");
    assert_int_equal(parse_into(NULL, "-V"), 0);
    assert_string_equal(run.output, "prog " VGPU_VERSION "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_nothing_given_leaves_the_defaults),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_help_shows_the_table_and_the_defaults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
