/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mediator/gpu/gpu_reset.h"

#define UUID "GPU-00000000-0000-0000-0000-000000000007"
#define LONG_S 60

static char folder[] = "/tmp/vgpu-reset-XXXXXX";
static char script[sizeof(folder) + 16], mark[sizeof(folder) + 16];

static int launchers[3];
static struct gpu_reset_way way, hasty, nowhere;

static int ask(void *opaque, const char *uuid, const int fds[LAUNCHER_FDS])
{
    return launcher_ask(*(int *)opaque, 0, uuid, fds);
}

static void start_launcher(int *launcher, struct gpu_reset_way *made, char *path, unsigned limit_s)
{
    char *argv[] = {path, NULL};
    struct launcher_program program = {
        .argv = argv, .argument = true, .as_fd = STDOUT_FILENO, .timeout_s = limit_s};

    *launcher = launcher_start(&program, 1);
    *made = (struct gpu_reset_way){path, ask, launcher};
}

static void write_script(const char *text)
{
    FILE *file = fopen(script, "w");

    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", text);
    fclose(file);
    assert_int_equal(chmod(script, 0700), 0);
}

static void test_the_command_gets_the_uuid(void **state)
{
    struct gpu_reset_result result;

    write_script("echo \"$# $1\"; echo more >&2");
    assert_int_equal(gpu_reset_run(&way, UUID, &result), 0);
    assert_true(gpu_reset_succeeded(&result));
    assert_string_equal(result.output, "1 " UUID " more");
}

static void test_its_failure_is_told(void **state)
{
    struct gpu_reset_result result;

    write_script("echo 'in use'; exit 19");
    assert_int_equal(gpu_reset_run(&way, UUID, &result), 0);
    assert_false(gpu_reset_succeeded(&result));
    assert_int_equal(result.status, 19);
    assert_string_equal(result.output, "in use");
    write_script("kill -TERM $$");
    assert_int_equal(gpu_reset_run(&way, UUID, &result), 0);
    assert_int_equal(result.status, 128 + SIGTERM);
}

static void test_what_cannot_be_started(void **state)
{
    struct gpu_reset_result result;

    assert_int_equal(gpu_reset_run(&nowhere, UUID, &result), -ENOENT);
    write_script("exit 0");
    chmod(script, 0600);
    assert_int_equal(gpu_reset_run(&way, UUID, &result), -EACCES);
}

/* Nothing of what it started goes on. */
static void test_deadline_ends_the_whole_group(void **state)
{
    struct gpu_reset_result result;
    char text[256];
    pid_t child = 0;
    FILE *file;

    snprintf(text, sizeof(text), "sleep 600 & echo $! > %s; echo begun; wait", mark);
    write_script(text);
    assert_int_equal(gpu_reset_run(&hasty, UUID, &result), 0);
    assert_true(result.timed_out);
    assert_false(gpu_reset_succeeded(&result));
    assert_true(result.took_ms >= 900);
    assert_int_equal(result.status, 128 + SIGKILL);
    file = fopen(mark, "r");
    if (!file) {
        return; /* a machine so slow that the script had not begun */
    }
    assert_int_equal(fscanf(file, "%d", &child), 1);
    fclose(file);
    for (int i = 0; i < 20000 && kill(child, 0) == 0; i++) {
        char path[64], state_char = 'Z';

        snprintf(path, sizeof(path), "/proc/%d/stat", child);
        file = fopen(path, "r");
        if (file) {
            if (fscanf(file, "%*d %*s %c", &state_char) != 1) {
                state_char = 'Z';
            }
            fclose(file);
        }
        if (state_char == 'Z') {
            return; /* dead; nobody has looked yet */
        }
        usleep(1000);
    }
    assert_int_not_equal(kill(child, 0), 0);
}

/* A daemon that it leaves behind keeps its output open; that doesn't hold us. */
static void test_output_may_stay_open(void **state)
{
    struct gpu_reset_result result;
    char text[256];
    pid_t child = 0;
    FILE *file;

    snprintf(text, sizeof(text), "sleep 600 & echo $! > %s; exit 0", mark);
    write_script(text);
    assert_int_equal(gpu_reset_run(&way, UUID, &result), 0);
    file = fopen(mark, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &child), 1);
    fclose(file);
    kill(child, SIGKILL);
    assert_true(gpu_reset_succeeded(&result));
}

static void test_in_a_thread(void **state)
{
    struct gpu_reset_result result;
    struct gpu_reset *reset;
    int error = 1;

    write_script("echo done; exit 3");
    assert_int_equal(gpu_reset_start(&way, UUID, &reset), 0);
    while (!gpu_reset_ended(reset, &error, &result)) {
        usleep(1000);
    }
    assert_int_equal(error, 0);
    assert_int_equal(result.status, 3);
    assert_string_equal(result.output, "done");
    assert_int_equal(gpu_reset_start(&nowhere, UUID, &reset), 0);
    while (!gpu_reset_ended(reset, &error, &result)) {
        usleep(1000);
    }
    assert_int_equal(error, -ENOENT);
}

/* Left alone it still does its work. */
static void test_abandoned(void **state)
{
    struct gpu_reset *reset;
    char text[256];

    unlink(mark);
    snprintf(text, sizeof(text), "sleep 0.2; echo 1 > %s", mark);
    write_script(text);
    assert_int_equal(gpu_reset_start(&way, UUID, &reset), 0);
    gpu_reset_abandon(reset);
    for (int i = 0; i < 20000 && access(mark, F_OK) < 0; i++) {
        usleep(1000);
    }
    assert_int_equal(access(mark, F_OK), 0);
}

static void test_long_output_is_cut(void **state)
{
    struct gpu_reset_result result;

    write_script("i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; "
                 "i=$((i+1)); done; printf '\\033[0m\\200'");
    assert_int_equal(gpu_reset_run(&way, UUID, &result), 0);
    assert_true(gpu_reset_succeeded(&result));
    assert_true(strlen(result.output) > GPU_RESET_OUTPUT_BYTES - 42);
    assert_null(strchr(result.output, '\n'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_command_gets_the_uuid),
        cmocka_unit_test(test_its_failure_is_told),
        cmocka_unit_test(test_what_cannot_be_started),
        cmocka_unit_test(test_deadline_ends_the_whole_group),
        cmocka_unit_test(test_output_may_stay_open),
        cmocka_unit_test(test_long_output_is_cut),
        cmocka_unit_test(test_in_a_thread),
        cmocka_unit_test(test_abandoned),
    };
    int failed;

    if (!mkdtemp(folder)) {
        perror("mkdtemp");
        return 2;
    }
    snprintf(script, sizeof(script), "%s/reset", folder);
    snprintf(mark, sizeof(mark), "%s/mark", folder);
    start_launcher(&launchers[0], &way, script, LONG_S);
    start_launcher(&launchers[1], &hasty, script, 1);
    start_launcher(&launchers[2], &nowhere, "/nonexistent/reset", LONG_S);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(script);
    unlink(mark);
    rmdir(folder);
    return failed;
}
