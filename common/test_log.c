/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each test logs into a pipe in place of stderr and reads the line back. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log.h"

static int ends[2], saved_stderr;

static int begin(void **state)
{
    unsetenv("JOURNAL_STREAM");
    saved_stderr = dup(STDERR_FILENO);
    return saved_stderr < 0 || pipe(ends) < 0 || dup2(ends[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int end(void **state)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static const char *line(void)
{
    static char text[65536];
    ssize_t n = read(ends[0], text, sizeof(text) - 1);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static const struct log_field fields[] = {
    {.key = "event", .text = "fault"},
    {.key = "vm_id", .number = 7},
    {.key = "name", .text = "web \"1\" \\"},
    {.key = "lag_ns", .number = -5},
    {.key = "empty", .text = ""},
};

static void test_text(void **state)
{
    const char *text;

    log_init("prog", LOG_LEVEL_INFO, false);
    log_fields(LOG_LEVEL_WARNING, fields, 5, "VM %d: it %s", 7, "failed");
    text = line();
    assert_non_null(strstr(text, " prog["));
    assert_non_null(strstr(text, "] warning: VM 7: it failed event=fault vm_id=7 "
                                 "name=\"web \\\"1\\\" \\\\\" lag_ns=-5 empty=\"\"\n"));
    log_debug("not wanted");
    log_error("wanted");
    assert_non_null(strstr(line(), "error: wanted\n"));
}

static void test_json(void **state)
{
    const char *text;

    log_init("prog", LOG_LEVEL_INFO, true);
    log_fields(LOG_LEVEL_NOTICE, fields, 5, "a \"quote\" and \\");
    text = line();
    assert_non_null(strstr(text, "\"level\":\"notice\",\"program\":\"prog\","
                                 "\"text\":\"a \\\"quote\\\" and \\\\\",\"event\":\"fault\","
                                 "\"vm_id\":7,\"name\":\"web \\\"1\\\" \\\\\",\"lag_ns\":-5,"
                                 "\"empty\":\"\"}\n"));
    assert_int_equal(text[0], '{');
}

/* One line stays one line of well-formed UTF-8, whatever a peer's string holds. */
static void test_hostile_text(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"a\nb\x1b[2J\x7f", "a?b?[2J?"},
        {"f\xc3\xbcr \xe6\xbc\xa2 \xf0\x9f\x92\xa9", "f\xc3\xbcr \xe6\xbc\xa2 \xf0\x9f\x92\xa9"},
        {"\xff\xc3.\xe6\xbc", "??.??"},
        {"\xc0\xaf\xe0\x80\xaf", "?????"}, /* too long a form */
        {"\xed\xa0\x80\xf5\x80", "?????"}, /* a surrogate, beyond the last character */
        {"x\xc2\x9by", "x??y"},            /* a control character of C1 */
        {"cut \xc3", "cut ?"},
    };

    log_init("prog", LOG_LEVEL_INFO, false);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct log_field field = {.key = "f", .text = cases[i].text};
        char expected[128];
        const char *text;

        log_fields(LOG_LEVEL_INFO, &field, 1, "%s", cases[i].text);
        text = line();
        snprintf(expected, sizeof(expected), "info: %s f=", cases[i].shown);
        assert_non_null(strstr(text, expected));
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    }
}

/* The longest there can be is still whole: cut in its values, not at its end. */
static void test_longest(void **state)
{
    struct log_field many[VGPU_LOG_FIELDS_MAX + 3];
    char quotes[4000];
    const char *text;

    memset(quotes, '"', sizeof(quotes) - 1);
    quotes[sizeof(quotes) - 1] = '\0';
    for (size_t i = 0; i < VGPU_LOG_FIELDS_MAX + 3; i++) {
        many[i] = (struct log_field){.key = "a_rather_long_name_for_it", .text = quotes};
    }
    log_init("prog", LOG_LEVEL_INFO, true);
    log_fields(LOG_LEVEL_INFO, many, VGPU_LOG_FIELDS_MAX + 3, "%s", quotes);
    text = line();
    assert_int_equal(strcmp(text + strlen(text) - 3, "\"}\n"), 0);
    assert_true(strlen(text) > 2 * VGPU_LOG_LINE_MAX + 2 * 255 * VGPU_LOG_FIELDS_MAX);
    unsigned count = 0;
    for (const char *p = text; (p = strstr(p, "a_rather_long_name_for_it")) != NULL; p++) {
        count++;
    }
    assert_int_equal(count, VGPU_LOG_FIELDS_MAX);
}

static void test_journal(void **state)
{
    struct stat st;
    char stream[64];

    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init("prog", LOG_LEVEL_INFO, false);
    log_notice("hello");
    assert_string_equal(line(), "<5>prog: hello\n");
    log_init("prog", LOG_LEVEL_INFO, true);
    log_error("hello");
    assert_int_equal(strncmp(line(), "<3>{\"time\":", 11), 0);
    setenv("JOURNAL_STREAM", "1:2", 1); /* inherited; stderr is something else */
    log_init("prog", LOG_LEVEL_INFO, false);
    log_notice("hello");
    assert_true(line()[0] != '<');
    unsetenv("JOURNAL_STREAM");
}

/* ---- a reader that stops ---- */

/* All that is in the pipe or socket now. */
static char *drain(int fd)
{
    static char text[4 << 20];
    size_t used = 0;
    ssize_t n;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (used < sizeof(text) - 1 && (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0) {
        used += (size_t)n;
    }
    text[used] = '\0';
    return text;
}

/* Lines of `text` with `word`; the numbers before it are added to `sum`. */
static unsigned count_lines(const char *text, const char *word, uint64_t *sum)
{
    unsigned lines = 0;

    for (const char *p = text; (p = strstr(p, word)); p++) {
        const char *number = p;

        while (number > text && number[-1] >= '0' && number[-1] <= '9') {
            number--;
        }
        *sum += strtoull(number, NULL, 10);
        lines++;
    }
    return lines;
}

/* A call that blocks ends the test by its time limit: nobody reads `reader` meanwhile. */
static void check_stopped_reader(int reader)
{
    static char filler[600];
    uint64_t before = log_dropped(), lost, none = 0, told = 0;
    const char *text;

    memset(filler, 'x', sizeof(filler) - 1);
    log_init("prog", LOG_LEVEL_INFO, false);
    for (unsigned i = 0; i < 2000; i++) {
        log_info("%s", filler);
    }
    lost = log_dropped() - before;
    assert_in_range(lost, 1, 1999);
    text = drain(reader);
    assert_int_equal(count_lines(text, "xxx\n", &none), 2000 - lost);
    /* This short line may have fitted where the others didn't. */
    count_lines(text, " log lines were dropped", &told);
    assert_in_range(told, 0, lost - 1);

    log_notice("it reads again");
    text = drain(reader);
    assert_int_equal(count_lines(text, " log lines were dropped", &told), 1);
    assert_int_equal(told, lost);
    assert_non_null(strstr(strstr(text, "dropped"), "notice: it reads again\n"));
    log_notice("once");
    assert_null(strstr(drain(reader), "dropped"));
    assert_int_equal(log_dropped() - before, lost);
}

static void test_stopped_pipe(void **state)
{
    check_stopped_reader(ends[0]);
    /* The open file is other processes' too: it must block as before. */
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
}

static void test_stopped_socket(void **state)
{
    int sockets[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    dup2(sockets[1], STDERR_FILENO);
    close(sockets[1]);
    check_stopped_reader(sockets[0]);
    close(sockets[0]);
}

static void test_stopped_terminal(void **state)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
    uint64_t dropped;
    bool read_again;

    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    dup2(slave, STDERR_FILENO);
    close(slave);
    log_init("prog", LOG_LEVEL_INFO, false);
    dropped = log_dropped();
    for (unsigned i = 0; i < 2000; i++) {
        log_info("a line that is written to a terminal which was stopped by Ctrl-S");
    }
    assert_true(log_dropped() > dropped);
    /* The kernel moves what it holds to the reader's side bit by bit. */
    do {
        read_again = strstr(drain(master), "log lines were dropped");
        log_notice("goes on");
    } while (!read_again);
    close(master);
}

static void test_levels_have_their_names(void **state)
{
    assert_string_equal(log_level_name(LOG_LEVEL_ERROR), "error");
    assert_string_equal(log_level_name(LOG_LEVEL_WARNING), "warning");
    assert_string_equal(log_level_name(LOG_LEVEL_NOTICE), "notice");
    assert_string_equal(log_level_name(LOG_LEVEL_INFO), "info");
    assert_string_equal(log_level_name(LOG_LEVEL_DEBUG), "debug");
    assert_null(log_level_names[LOG_LEVEL_DEBUG - LOG_LEVEL_ERROR + 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_have_their_names),
        cmocka_unit_test_setup_teardown(test_text, begin, end),
        cmocka_unit_test_setup_teardown(test_json, begin, end),
        cmocka_unit_test_setup_teardown(test_hostile_text, begin, end),
        cmocka_unit_test_setup_teardown(test_longest, begin, end),
        cmocka_unit_test_setup_teardown(test_journal, begin, end),
        cmocka_unit_test_setup_teardown(test_stopped_pipe, begin, end),
        cmocka_unit_test_setup_teardown(test_stopped_socket, begin, end),
        cmocka_unit_test_setup_teardown(test_stopped_terminal, begin, end),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
