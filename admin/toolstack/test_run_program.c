/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running other programs: what comes back of them, and that nothing is left of them. */
#include "admin/test_support.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/test_faults.h"
#include "admin/toolstack/run_program.h"

#define LONG_MS 60000
#define SHORT_MS 200 /* for what never ends */
#define EACH(array) (sizeof(array) / sizeof((array)[0]))

static struct run_result result;

static int shell(const char *script, int timeout_ms)
{
    const char *const argv[] = {"sh", "-c", script, support_folder(), NULL};

    return run_program(argv, timeout_ms, &result);
}

static void assert_no_child(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void test_ends(void **state)
{
    static const struct {
        const char *script;
        int status;
        const char *out, *error;
    } cases[] = {
        {"exit 0", 0, "", ""},
        {"echo hello; echo sorry >&2", 0, "hello\n", "sorry\n"},
        {"printf hello; exit 7", 7, "hello", ""},
        {"exit 255", 255, "", ""},
        {"echo begun; kill -9 $$", 128 + SIGKILL, "begun\n", ""},
        {"kill -TERM $$", 128 + SIGTERM, "", ""},
        {"exec >&-; exec 2>&-; exit 3", 3, "", ""},
        {"echo late >&2; exec 2>&-; echo out", 0, "out\n", "late\n"},
        {"echo \"$0\" | grep -c /vgpu-admin-test-", 0, "1\n", ""},
    };

    (void)state;
    for (size_t i = 0; i < EACH(cases); i++) {
        assert_int_equal(shell(cases[i].script, LONG_MS), 0);
        assert_int_equal(result.status, cases[i].status);
        assert_string_equal(result.out, cases[i].out);
        assert_int_equal(result.out_bytes, strlen(cases[i].out));
        assert_string_equal(result.error, cases[i].error);
        run_result_free(&result);
        assert_null(result.out);
    }
    assert_no_child();
}

static void test_not_there(void **state)
{
    char file[128];
    const char *const missing[] = {"vgpu-no-such-program", NULL};
    const char *const not_executable[] = {file, NULL};
    FILE *f;

    (void)state;
    assert_int_equal(run_program(missing, LONG_MS, &result), -ENOENT);
    assert_null(result.out);
    snprintf(file, sizeof(file), "%s/text", support_folder());
    f = fopen(file, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(run_program(not_executable, LONG_MS, &result), -EACCES);
    assert_null(result.out);
    assert_no_child();
}

/* ---- what it is given ---- */

/* What a program prints is read by us, so it is in no user's language. */
static void test_environment(void **state)
{
    static const char *const names[] = {"LC_ALL", "LANGUAGE", "VGPU_TEST"};
    char before[EACH(names)][64];

    (void)state;
    for (size_t i = 0; i < EACH(names); i++) {
        const char *value = getenv(names[i]);

        snprintf(before[i], sizeof(before[i]), "%s", value ? value : "");
        setenv(names[i], "de_DE.UTF-8", 1);
    }
    assert_int_equal(
        shell("echo \"$LC_ALL|${LANGUAGE-none}|$VGPU_TEST\"; env | grep -c ^LC_ALL=", LONG_MS), 0);
    assert_string_equal(result.out, "C|none|de_DE.UTF-8\n1\n");
    run_result_free(&result);
    assert_string_equal(getenv("LC_ALL"), "de_DE.UTF-8"); /* ours stays */
    for (size_t i = 0; i < EACH(names); i++) {
        if (before[i][0]) {
            setenv(names[i], before[i], 1);
        } else {
            unsetenv(names[i]);
        }
    }
}

/* Not our input, a group of its own, and no signal that is kept back. */
static void test_surroundings(void **state)
{
    sigset_t all, before;

    (void)state;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    assert_int_equal(shell("wc -c; grep SigBlk /proc/self/status;"
                           "test $(cut -d' ' -f5 /proc/$$/stat) -eq $$ && echo leads",
                           LONG_MS),
                     0);
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_string_equal(result.out, "0\nSigBlk:\t0000000000000000\nleads\n");
    run_result_free(&result);
}

/* ---- limits ---- */

static void test_much_output(void **state)
{
    static const struct {
        const char *script;
        int result;
        size_t bytes;
    } cases[] = {
        {"head -c 4194303 /dev/zero", 0, RUN_OUTPUT_MAX - 1},
        {"head -c 4194304 /dev/zero", 0, RUN_OUTPUT_MAX},
        {"head -c 4194305 /dev/zero", -E2BIG, 0},
        {"exec cat /dev/zero", -E2BIG, 0},
        /* Both pipes are emptied, or this would stand still. */
        {"head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero", 0, 1000000},
    };

    (void)state;
    for (size_t i = 0; i < EACH(cases); i++) {
        assert_int_equal(shell(cases[i].script, LONG_MS), cases[i].result);
        assert_int_equal(result.out != NULL, cases[i].result == 0);
        if (cases[i].result == 0) {
            assert_int_equal(result.out_bytes, cases[i].bytes);
            assert_int_equal(result.out[result.out_bytes], '\0');
        }
        run_result_free(&result);
    }
    assert_no_child();
}

static void test_long_complaint(void **state)
{
    (void)state;
    assert_int_equal(
        shell("printf begin >&2; head -c 5000 /dev/zero | tr '\\0' x >&2; exit 1", LONG_MS), 0);
    assert_int_equal(strlen(result.error), sizeof(result.error) - 1);
    assert_memory_equal(result.error, "beginxxx", 8);
    run_result_free(&result);
}

/* Waits until this process has gone, or is a zombie that only its new parent can end. */
static void assert_goes(const char *pid)
{
    char path[64], text[256] = "";

    snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    for (;;) {
        FILE *f = fopen(path, "r");

        if (!f || !fgets(text, sizeof(text), f) || strstr(text, ") Z ")) {
            if (f) {
                fclose(f);
            }
            return;
        }
        fclose(f);
        usleep(1000);
    }
}

/* However it hangs: it is ended, with the children that it has started. */
static void test_time_limit(void **state)
{
    static const char *const scripts[] = {
        "echo $$ > $0/pid; exec sleep 1000",
        "echo $$ > $0/pid; exec >&- 2>&-; exec sleep 1000", /* it ends no more */
        "sleep 1000 & echo $! > $0/pid; exit 0",            /* its child keeps the pipe */
        "trap '' TERM HUP INT; echo $$ > $0/pid; sleep 1000; sleep 1000",
        "echo $$ > $0/pid; while echo x; do sleep 0.01; done", /* it prints, and goes on */
    };
    char file[128], pid[32];

    (void)state;
    snprintf(file, sizeof(file), "%s/pid", support_folder());
    for (size_t i = 0; i < EACH(scripts); i++) {
        FILE *f;

        do {
            assert_int_equal(shell(scripts[i], SHORT_MS), -ETIMEDOUT);
            assert_null(result.out);
            f = fopen(file, "r"); /* a slow machine may not even have begun */
        } while (!f);
        assert_non_null(fgets(pid, sizeof(pid), f));
        fclose(f);
        pid[strcspn(pid, "\n")] = '\0';
        assert_goes(pid);
        assert_no_child();
        unlink(file);
    }
}

/* ---- calls that fail ---- */

static void test_failing_calls(void **state)
{
    unsigned descriptors = faults_descriptors(), k;
    bool failed = true;

    (void)state;
    for (k = 1; failed; k++) {
        int rc;

        faults_at(k);
        rc = shell("head -c 100000 /dev/zero; echo x >&2", LONG_MS);
        failed = faults_end();
        assert_true(rc <= 0);
        assert_true(failed || rc == 0);
        assert_int_equal(result.out != NULL, rc == 0);
        if (rc == 0) {
            assert_int_equal(result.out_bytes, 100000);
        }
        run_result_free(&result);
        assert_int_equal(faults_descriptors(), descriptors);
        assert_no_child();
    }
    assert_true(k > 6);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_ends),         TEST(test_not_there),     TEST(test_environment),
        TEST(test_surroundings), TEST(test_much_output),   TEST(test_long_complaint),
        TEST(test_time_limit),   TEST(test_failing_calls),
    };

    return cmocka_run_group_tests_name("run_program", tests, NULL, NULL);
}
